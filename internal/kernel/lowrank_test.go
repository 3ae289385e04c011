package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// One packed copy of weights serves both directions, to the bits of two.
func TestATransposeMultipliesAsACopyOfItsOwn(t *testing.T) {
	was := Active()
	defer use(was)
	for _, isa := range Available() {
		use(isa)
		rng := rand.New(rand.NewPCG(7, 8))
		s := new(Scratch)
		for _, shape := range [][3]int{{1, 1, 1}, {5, 33, 31}, {96, 64, 256}, {100, 300, 520}, {7, 257, 17}, {3, 512, 1}} {
			m, out, in := shape[0], shape[1], shape[2]
			w, dy := random(rng, out*in), random(rng, m*(out+3))
			for _, precision := range []Precision{F32, BF16} {
				if precision == BF16 && FastBF16() {
					continue
				}
				forward, backward := NewPackedB(precision), NewPackedB(precision)
				forward.Repack(NT, out, in, w, in, s)
				backward.Repack(NN, in, out, w, in, s)
				for _, accumulate := range []bool{false, true} {
					want, got := random(rng, m*(in+5)), random(rng, m*(in+5))
					copy(got, want)
					GemmPackedSerial(m, dy, out+3, backward, want, in+5, accumulate, s)
					GemmPackedSerial(m, dy, out+3, forward.Transpose(), got, in+5, accumulate, s)
					if !slices.Equal(got, want) {
						t.Errorf("%v, %v, %v, added %v: other bits than with a copy of its own", isa, shape, precision, accumulate)
					}
				}
				from, want, got := random(rng, m*(in+5)), random(rng, m*(in+5)), random(rng, m*(in+5))
				copy(got, want)
				GemmPackedSerialFrom(m, dy, out+3, backward, from, want, in+5, s)
				GemmPackedSerialFrom(m, dy, out+3, forward.Transpose(), from, got, in+5, s)
				if !slices.Equal(got, want) {
					t.Errorf("%v, %v, %v, added to another: other bits than with a copy of its own", isa, shape, precision)
				}
			}
		}
		if !FastBF16() {
			continue
		}
		b := NewPackedB(BF16)
		b.Repack(NT, 2, 2, make([]float32, 4), 2, s)
		func() {
			defer func() {
				if v := fmt.Sprint(recover()); v != "kernel: the transpose of a transpose, or of a B in bfloat16" {
					t.Errorf("%v: of a B in bfloat16 it says %s", isa, v)
				}
			}()
			b.Transpose()
		}()
	}
}

// A product with a low-rank addition is those of which it is made, in float64, of operands
// that are rounded alike, whether its factors are one term or several.
func TestLowRankAdditions(t *testing.T) {
	was := Active()
	defer use(was)
	for _, isa := range Available() {
		use(isa)
		rng := rand.New(rand.NewPCG(9, 10))
		s := new(Scratch)
		for _, shape := range [][5]int{{1, 3, 2, 1, 1}, {50, 70, 90, 3, 2}, {96, 64, 1100, 16, 3}, {33, 600, 2100, 5, 2}, {40, 48, 64, 270, 1}} {
			m, n, k, rank, parts := shape[0], shape[1], shape[2], shape[3], shape[4]
			all, each := rank*parts, n/parts
			for _, precision := range []Precision{F32, BF16} {
				x, w, from := random(rng, m*(k+1)), random(rng, n*k), random(rng, m*(n+2))
				low, high := random(rng, all*k), make([]float32, n*all) // high is block-diagonal
				for p := range parts {
					for i := p * each; i < (p+1)*each; i++ {
						copy(high[i*all+p*rank:][:rank], random(rng, rank))
					}
				}
				pack := func(op Op, n, k int, b []float32, ldb int) *PackedB {
					p := NewPackedB(precision)
					p.Repack(op, n, k, b, ldb, s)
					return p
				}
				apart := LowRank{Rank: all, Scale: 0.5, Down: []Term{{B: pack(NT, all, k, low, k)}}}
				for p := range parts {
					apart.Up = append(apart.Up, Term{B: pack(NT, each, rank, high[p*each*all+p*rank:], all), From: p * rank, To: p * each})
				}
				together := LowRank{Rank: all, Scale: 0.5, Down: apart.Down, Up: []Term{{B: pack(NT, n, all, high, all)}}}
				rounded := func(x []float32) []float32 {
					if x = slices.Clone(x); precision == BF16 {
						roundBF16(x, x)
					}
					return x
				}
				xr, wr, lowr, highr := rounded(x), rounded(w), rounded(low), rounded(high)
				for name, l := range map[string]*LowRank{"apart": &apart, "together": &together} {
					for _, base := range [][]float32{nil, from} {
						u, y := make([]float32, m*(all+1)), random(rng, m*(n+2))
						GemmLowRankSerial(m, x, k+1, pack(NT, n, k, w, k), l, u, all+1, base, y, n+2, s)
						worst := 0.0
						for i := range m {
							row, mid := xr[i*(k+1):][:k], u[i*(all+1):][:all]
							for r := range all {
								want := 0.5 * dot64(row, lowr[r*k:][:k])
								worst = max(worst, math.Abs(want-float64(mid[r])))
							}
							mid = rounded(mid)
							for j := range n {
								want := dot64(row, wr[j*k:][:k]) + dot64(mid, highr[j*all:][:all])
								if base != nil {
									want += float64(base[i*(n+2)+j])
								}
								worst = max(worst, math.Abs(want-float64(y[i*(n+2)+j])))
							}
						}
						if worst > 1e-5*math.Sqrt(float64(k+all*all)) {
							t.Errorf("%v, %v, %v, %s, from %v: off by %v", isa, precision, shape, name, base != nil, worst)
						}
					}
				}
			}
		}
	}
}

func dot64(x, y []float32) (sum float64) {
	for i := range x {
		sum += float64(x[i]) * float64(y[i])
	}
	return sum
}
