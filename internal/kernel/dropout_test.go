package kernel

import (
	"math"
	"testing"
)

// Of many elements the share that was asked for is dropped, independently of the
// neighbour and of the other rows, and the mean stays.
func TestDropoutDropsItsShare(t *testing.T) {
	const n, rows = 1001, 400
	x, dst, before := make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	for _, share := range []uint16{0, 655, 6554, 32768, 65535} {
		p := float64(share) / 65536
		var dropped, pairs, same, total float64
		for row := range rows {
			Dropout(dst, x, share, DropoutKey(7, uint64(row)))
			for i, v := range dst {
				total += float64(v)
				if v != 0 {
					continue
				}
				dropped++
				if i > 0 && dst[i-1] == 0 {
					pairs++
				}
				if row > 0 && before[i] == 0 {
					same++
				}
			}
			copy(before, dst)
		}
		within := func(what string, got, chance, trials float64) {
			if slack := 5*math.Sqrt(trials*chance*(1-chance)) + 1e-9; math.Abs(got-trials*chance) > slack {
				t.Errorf("share %v: %s %v of %v, want about %v", p, what, got, trials, trials*chance)
			}
		}
		within("dropped", dropped, p, n*rows)
		within("neighbours dropped", pairs, p*p, (n-1)*rows)
		within("dropped in the row before too", same, p*p, n*(rows-1))
		if p < 0.9 && math.Abs(total/(n*rows)-1) > 5*math.Sqrt(p/(1-p)/(n*rows))+1e-6 {
			t.Errorf("share %v: the mean is %v", p, total/(n*rows))
		}
	}
}

func TestDropoutIsAFunctionOfItsKey(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7}
	a, b, c := make([]float32, 7), make([]float32, 7), append([]float32(nil), x...)
	Dropout(a, x, 30000, DropoutKey(1, 2))
	Dropout(c, c, 30000, DropoutKey(1, 2))
	differs := false
	for other := range uint64(8) {
		Dropout(b, x, 30000, DropoutKey(1, 3+other))
		for i := range a {
			differs = differs || a[i] != b[i]
		}
	}
	for i := range a {
		if a[i] != c[i] {
			t.Errorf("element %d is %v, in place %v", i, a[i], c[i])
		}
	}
	if !differs {
		t.Error("other keys drop the same")
	}
}
