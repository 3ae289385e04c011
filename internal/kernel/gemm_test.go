package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// cases is how many random cases a test tries: more if RETORT_KERNEL_CASES
// says so.
func cases(t *testing.T, n int) int {
	t.Helper()
	if s := os.Getenv("RETORT_KERNEL_CASES"); s != "" {
		factor, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("RETORT_KERNEL_CASES: %v", err)
		}
		n *= factor
	}
	return n
}

// onEveryISA runs the test with each instruction set that the machine has.
func onEveryISA(t *testing.T, test func(t *testing.T, rng *rand.Rand)) {
	was := Active()
	t.Cleanup(func() { use(was) })
	for i, isa := range Available() {
		t.Run(isa.String(), func(t *testing.T) {
			if err := Use(isa); err != nil {
				t.Fatal(err)
			}
			test(t, rand.New(rand.NewPCG(7, uint64(i))))
		})
	}
}

func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// dim draws a size that is often 0, 1 or at the edge of a tile.
func dim(rng *rand.Rand, limit int) int {
	edges := []int{0, 1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17, 24, 31, 32, 33, 47, 48, 64, 65, 95, 96, 97, 128}
	if rng.IntN(2) == 0 {
		if e := edges[rng.IntN(len(edges))]; e <= limit {
			return e
		}
	}
	return rng.IntN(limit + 1)
}

// matrix is a random one whose slice ends with its last element.
func matrix(rng *rand.Rand, rows, cols int) (x []float32, ld int) {
	ld = cols + rng.IntN(3)*rng.IntN(9)
	if rows == 0 || cols == 0 {
		return nil, ld
	}
	return random(rng, (rows-1)*ld+cols), ld
}

func TestGemmAgreesWithFloat64(t *testing.T) {
	pools := []*Pool{NewPool(1), NewPool(2), NewPool(3)}
	for _, p := range pools {
		defer p.Close()
	}
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		for i := range cases(t, 400) {
			m, n, k := dim(rng, 130), dim(rng, 130), dim(rng, 90)
			if i%20 == 0 {
				k = 250 + rng.IntN(300) // several blocks of k
			}
			op := Op(rng.IntN(3))
			accumulate := rng.IntN(2) == 0
			var a, b []float32
			var lda, ldb int
			if op == TN {
				a, lda = matrix(rng, k, m)
			} else {
				a, lda = matrix(rng, m, k)
			}
			if op == NT {
				b, ldb = matrix(rng, n, k)
			} else {
				b, ldb = matrix(rng, k, n)
			}
			c, ldc := matrix(rng, m, n)
			name := fmt.Sprintf("%v %d×%d×%d ld %d %d %d accumulate %v", op, m, n, k, lda, ldb, ldc, accumulate)

			want := make([]float64, len(c))
			slack := make([]float64, len(c))
			for i, x := range c {
				want[i] = float64(x)
			}
			for i := range m {
				for j := range n {
					sum, size := 0.0, 1.0
					if accumulate {
						sum = float64(c[i*ldc+j])
						size += math.Abs(sum)
					}
					for l := range k {
						var x, y float32
						if op == TN {
							x = a[l*lda+i]
						} else {
							x = a[i*lda+l]
						}
						if op == NT {
							y = b[j*ldb+l]
						} else {
							y = b[l*ldb+j]
						}
						sum += float64(x) * float64(y)
						size += math.Abs(float64(x) * float64(y))
					}
					want[i*ldc+j] = sum
					slack[i*ldc+j] = size * 2e-6
				}
			}

			results := make([][]float32, 0, 5)
			for _, p := range pools {
				got := append([]float32(nil), c...)
				p.Gemm(op, m, n, k, a, lda, b, ldb, got, ldc, accumulate)
				results = append(results, got)
			}
			got := append([]float32(nil), c...)
			GemmSerial(op, m, n, k, a, lda, b, ldb, got, ldc, accumulate, new(Scratch))
			results = append(results, got)
			if op != TN {
				packed := PackB(op, n, k, b, ldb)
				got := append([]float32(nil), c...)
				pools[1].GemmPacked(m, a, lda, packed, got, ldc, accumulate)
				results = append(results, got)
				got = append([]float32(nil), c...)
				GemmPackedSerial(m, a, lda, packed, got, ldc, accumulate)
				results = append(results, got)
			}
			for i, w := range want {
				if d := math.Abs(float64(results[0][i]) - w); !(d <= slack[i]) {
					t.Fatalf("%s: element %d is %v, want %v", name, i, results[0][i], w)
				}
			}
			for r, other := range results[1:] {
				for i := range other {
					if math.Float32bits(other[i]) != math.Float32bits(results[0][i]) {
						t.Fatalf("%s: element %d is %v by way %d and %v by one thread", name, i, other[i], r+1, results[0][i])
					}
				}
			}
		}
	})
}
