package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// held are the numbers that weights of a format hold, [n, k] for NT and [k, n]
// for NN.
func held(f Format, op Op, n, k int, b []float32, ldb int) []float64 {
	rows, cols := n, k
	if op == NN {
		rows, cols = k, n
	}
	out := make([]float64, rows*cols)
	for i := range rows {
		row := slices.Clone(b[i*ldb : i*ldb+cols])
		scale := 1.0
		switch f {
		case FormatBF16:
			roundBF16(row, row)
		case FormatInt8:
			most := float32(0)
			for _, x := range row {
				most = max(most, x, -x)
			}
			scale = float64(most / 127)
			for j, x := range row {
				if most > 0 {
					row[j] = float32(math.RoundToEven(float64(x / (most / 127))))
				}
			}
		}
		for j, x := range row {
			out[i*cols+j] = scale * float64(x)
		}
	}
	return out
}

func TestWeightsAgreeWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for i := range cases(t, 400) {
			f, op := Format(i%3), NT
			if f != FormatInt8 && rng.IntN(2) == 0 {
				op = NN
			}
			m, n, k := 1+dim(rng, 30), 1+dim(rng, 300), 1+dim(rng, 90)
			if i%2 == 0 {
				m = 1
			}
			if i%20 == 0 {
				k = 250 + rng.IntN(300) // several blocks of k
			}
			rows, cols := n, k
			if op == NN {
				rows, cols = k, n
			}
			a, lda := matrix(rng, mem, m, k)
			b, ldb := matrix(rng, mem, rows, cols)
			c, ldc := matrix(rng, mem, m, n)
			was := slices.Clone(c)
			accumulate := rng.IntN(2) == 0
			w := NewWeights(f, op, n, k, b, ldb)
			parts := 1 + rng.IntN(5)
			var s Scratch
			next := 0
			for p := range parts {
				from, to := w.Columns(p, parts)
				if from != next {
					t.Fatalf("part %d begins with column %d, want %d", p, from, next)
				}
				next = to
				w.Multiply(m, a, lda, from, to, c, ldc, accumulate, &s)
			}
			if next != n {
				t.Fatalf("parts end with column %d, want %d", next, n)
			}
			exact := held(f, op, n, k, b, ldb)
			for r := range m {
				for j := range n {
					sum, size := 0.0, 0.0
					if accumulate {
						sum = float64(was[r*ldc+j])
						size = math.Abs(sum)
					}
					for l := range k {
						at := j*cols + l
						if op == NN {
							at = l*cols + j
						}
						x := exact[at] * float64(a[r*lda+l])
						sum, size = sum+x, size+math.Abs(x)
					}
					if d := math.Abs(float64(c[r*ldc+j]) - sum); !(d <= 1e-6*size+1e-30) {
						t.Fatalf("%v %v, %d×%d×%d: element (%d, %d) is %v, want %v", f, op, m, n, k, r, j, c[r*ldc+j], sum)
					}
				}
				for j := n; j < ldc && r*ldc+j < len(c); j++ {
					if c[r*ldc+j] != was[r*ldc+j] {
						t.Fatalf("%v %v, %d×%d×%d: wrote beside row %d", f, op, m, n, k, r)
					}
				}
			}
		}
	})
}

// A row has the same bits alone, among others and in any part.
func TestWeightsDoNotDependOnRowsAndParts(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		for f := FormatFP32; f <= FormatInt8; f++ {
			const m, n, k = 17, 203, 300
			w := NewWeights(f, NT, n, k, random(rng, n*k), k)
			a, base := random(rng, m*k), random(rng, m*n)
			var s Scratch
			all := slices.Clone(base)
			w.Multiply(m, a, k, 0, n, all, n, true, &s)
			alone := slices.Clone(base)
			for i := range m {
				for p := range 3 {
					from, to := w.Columns(p, 3)
					w.Multiply(1, a[i*k:], k, from, to, alone[i*n:], n, true, &s)
				}
			}
			if !slices.Equal(all, alone) {
				t.Errorf("%v: rows alone differ from rows together", f)
			}
			if f == FormatFP32 {
				packed := slices.Clone(base)
				GemmPackedSerial(m, a, k, w.asPackedB(), packed, n, true, &s)
				if !slices.Equal(all, packed) {
					t.Error("products differ from those of PackedB")
				}
			}
		}
	})
}

func (w *Weights) asPackedB() *PackedB {
	return &PackedB{n: w.n, k: w.k, isa: w.isa, data: w.f32}
}

func BenchmarkWeightsOneRow(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n, k = 1536, 256
	for f := FormatFP32; f <= FormatInt8; f++ {
		for _, m := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%v/%d", f, m), func(b *testing.B) {
				var all []*Weights
				for range 12 {
					all = append(all, NewWeights(f, NT, n, k, random(rng, n*k), k))
				}
				x, y := random(rng, m*k), make([]float32, m*n)
				var s Scratch
				b.SetBytes(int64(len(all) * all[0].Bytes()))
				for b.Loop() {
					for _, w := range all {
						w.Multiply(m, x, k, 0, n, y, n, false, &s)
					}
				}
				b.ReportMetric(float64(b.N)*float64(len(all)*n*k*m)/1e9/b.Elapsed().Seconds(), "GMAC/s")
			})
		}
	}
}
