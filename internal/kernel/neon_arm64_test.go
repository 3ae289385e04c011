package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// chain is what an element of a product comes to by doc.go's rule: fused
// multiply-adds in ascending k. Go's compiler fuses on arm64.
func chain(k int, a, b func(l int) float32) float32 {
	var sum float32
	for l := range k {
		sum += a(l) * b(l)
	}
	return sum
}

// TestPanelsAreChains has A's and C's ends at guard pages, for every number of
// rows, for rows and for columns of A, and holds each bit.
func TestPanelsAreChains(t *testing.T) {
	was := Active()
	defer use(was)
	use(NEON)
	rng := rand.New(rand.NewPCG(5, 6))
	mem := newArena(t)
	fill := func(x []float32) []float32 {
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	for _, transposed := range []bool{false, true} {
		for m := 1; m <= 2*tile.mr+1; m++ {
			for _, k := range []int{1, 2, 3, 4, 5, 7, 8, 13} {
				for n := 1; n <= tile.nr; n++ {
					// Tiles of a transposed A lie one behind the other.
					step, rs, ks := tile.mr*(k+2), k+2, 1
					size := (m-1)*rs + k
					if transposed {
						step, rs, ks = k*tile.mr, 1, tile.mr
						size = m/tile.mr*step + (k-1)*ks + m%tile.mr
						if m%tile.mr == 0 {
							size = m / tile.mr * step
						}
					}
					a, b := fill(mem.slice(size)), fill(mem.slice(k*tile.nr))
					ldc := n + rng.IntN(3)
					c := fill(mem.slice((m-1)*ldc + n))
					was := copied(mem, c)
					accumulate := rng.IntN(2) == 0
					multiplyPanel(m, n, k, a, step, rs, ks, b, c, ldc, accumulate)
					for i := range c {
						row, col := i/ldc, i%ldc
						want := was[i]
						if col < n {
							at := row/tile.mr*step + row%tile.mr*rs
							sum := chain(k, func(l int) float32 { return a[at+l*ks] }, func(l int) float32 { return b[l*tile.nr+col] })
							if want = sum; accumulate {
								want = was[i] + sum
							}
						}
						if math.Float32bits(c[i]) != math.Float32bits(want) {
							t.Fatalf("%d×%d×%d, transposed %v, accumulate %v: element (%d, %d) is %v, want %v exactly", m, n, k, transposed, accumulate, row, col, c[i], want)
						}
					}
				}
			}
		}
	}
}

// TestPackingIsThePortableOne holds what the assembly packs, and that it reads
// nothing beyond.
func TestPackingIsThePortableOne(t *testing.T) {
	was := Active()
	defer use(was)
	use(NEON)
	rng := rand.New(rand.NewPCG(5, 6))
	mem := newArena(t)
	for range cases(t, 300) {
		n, k := 1+rng.IntN(tile.nr), 1+rng.IntN(40)
		b, ldb := matrix(rng, mem, k, n)
		got, want := mem.slice(k*tile.nr), make([]float32, k*tile.nr)
		packRows(got, b, ldb, n, k)
		packRowsPortable(want, b, ldb, n, k, tile.nr)
		sameBits(t, fmt.Sprintf("%d rows of %d", k, n), got, want)

		b, ldb = matrix(rng, mem, n, k)
		packColumns(got, b, ldb, n, k)
		packColumnsPortable(want, b, ldb, n, k, tile.nr)
		sameBits(t, fmt.Sprintf("%d columns of %d", n, k), got, want)

		m := 1 + rng.IntN(5*tile.mr)
		a, lda := matrix(rng, mem, k, m)
		step := k*tile.mr + vectorSlack
		tiles := (m + tile.mr - 1) / tile.mr * step
		got, want = make([]float32, tiles), make([]float32, tiles)
		packTiles(got, step, a, lda, m, k)
		packTilesPortable(want, step, a, lda, m, k, tile.mr)
		sameBits(t, fmt.Sprintf("tiles of %d by %d", m, k), got, want)
	}
}

// TestVectorsDoNotDependOnTheirPlace: an element of a tail has the bits that it
// has inside a vector.
func TestVectorsDoNotDependOnTheirPlace(t *testing.T) {
	was := Active()
	defer use(was)
	use(NEON)
	rng := rand.New(rand.NewPCG(5, 6))
	for name, run := range map[string]func(x []float32){
		"Exp":     func(x []float32) { Exp(x, x) },
		"Sigmoid": func(x []float32) { Sigmoid(x, x) },
		"SwiGLU":  func(x []float32) { SwiGLU(x, x, x) },
		"Scale":   func(x []float32) { Scale(x, 0.3) },
		"Axpy":    func(x []float32) { Axpy(x, 0.3, x) },
		"AdamW": func(x []float32) {
			m, v := make([]float32, len(x)), make([]float32, len(x))
			AdamW(x, x, m, v, AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Step: 1, GradScale: 1})
		},
	} {
		all := random(rng, 64)
		for n := range 20 {
			want, got := append([]float32(nil), all...), append([]float32(nil), all[:n]...)
			run(want)
			run(got)
			sameBits(t, fmt.Sprintf("%s of %d", name, n), got, want[:n])
		}
	}
}

func TestMaximumKeepsNaN(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		for n := 1; n < 40; n++ {
			x := random(rng, n)
			for i := range x {
				x[i] -= 10
			}
			if got, want := maximum(x), maximumPortable(x); got != want {
				t.Errorf("the largest of %d is %v, want %v", n, got, want)
			}
			x[rng.IntN(n)] = float32(math.NaN())
			if got := maximum(x); got == got {
				t.Errorf("the largest of %d with a NaN is %v", n, got)
			}
		}
	})
}
