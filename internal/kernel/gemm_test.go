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

// matrix is a random one in guarded memory, whose slice ends with its last
// element.
func matrix(rng *rand.Rand, mem *arena, rows, cols int) (x []float32, ld int) {
	ld = cols + rng.IntN(3)*rng.IntN(9)
	if rows == 0 || cols == 0 {
		return nil, ld
	}
	x = mem.slice((rows-1)*ld + cols)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x, ld
}

// copied is x again in guarded memory.
func copied(mem *arena, x []float32) []float32 {
	y := mem.slice(len(x))
	copy(y, x)
	return y
}

func TestGemmAgreesWithFloat64(t *testing.T) {
	pools := []*Pool{NewPool(1), NewPool(2), NewPool(3)}
	for _, p := range pools {
		defer p.Close()
	}
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for i := range cases(t, 400) {
			m, n, k := dim(rng, 130), dim(rng, 130), dim(rng, 90)
			if i%20 == 0 {
				k = 250 + rng.IntN(300) // several blocks of k
			}
			op := Op(rng.IntN(3))
			precision := Precision(rng.IntN(2))
			accumulate := rng.IntN(2) == 0
			var a, b []float32
			var lda, ldb int
			if op == TN {
				a, lda = matrix(rng, mem, k, m)
			} else {
				a, lda = matrix(rng, mem, m, k)
			}
			if op == NT {
				b, ldb = matrix(rng, mem, n, k)
			} else {
				b, ldb = matrix(rng, mem, k, n)
			}
			c, ldc := matrix(rng, mem, m, n)
			name := fmt.Sprintf("%v %v %d×%d×%d ld %d %d %d accumulate %v", op, precision, m, n, k, lda, ldb, ldc, accumulate)
			ra, rb := a, b // as the product takes them
			if precision == BF16 {
				ra, rb = make([]float32, len(a)), make([]float32, len(b))
				roundBF16(ra, a)
				roundBF16(rb, b)
			}

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
							x = ra[l*lda+i]
						} else {
							x = ra[i*lda+l]
						}
						if op == NT {
							y = rb[j*ldb+l]
						} else {
							y = rb[l*ldb+j]
						}
						sum += float64(x) * float64(y)
						size += math.Abs(float64(x) * float64(y))
					}
					want[i*ldc+j] = sum
					slack[i*ldc+j] = size * 2e-6
				}
			}

			results := make([][]float32, 0, 5)
			s := new(Scratch)
			got := copied(mem, c)
			GemmSerial(op, m, n, k, a, lda, b, ldb, got, ldc, accumulate, precision, s)
			results = append(results, got)
			for _, p := range pools {
				got := copied(mem, c)
				switch {
				case precision == F32:
					p.Gemm(op, m, n, k, a, lda, b, ldb, got, ldc, accumulate)
				case op == TN:
					p.GroupedGemm(op, []Group{{M: m, N: n, K: k, A: a, LDA: lda, B: b, LDB: ldb, C: got, LDC: ldc, Precision: precision}}, accumulate)
				}
				if precision == F32 || op == TN {
					results = append(results, got)
				}
				if op == TN {
					continue
				}
				packed := NewPackedB(precision)
				packed.Repack(op, n, k, b, ldb, s)
				got = copied(mem, c)
				p.GemmPacked(m, a, lda, packed, got, ldc, accumulate)
				results = append(results, got)
				got = copied(mem, c)
				GemmPackedSerial(m, a, lda, packed, got, ldc, accumulate, s)
				results = append(results, got)
				if !accumulate {
					continue
				}
				got = copied(mem, c)
				for i := range m {
					for j := range n {
						got[i*ldc+j] = float32(math.NaN()) // to be overwritten
					}
				}
				GemmPackedSerialFrom(m, a, lda, packed, c, got, ldc, s)
				results = append(results, got)
			}
			for i, w := range want { // those between the rows' ends included
				if d := math.Abs(float64(results[0][i]) - w); !(d <= slack[i]) {
					t.Fatalf("%s: element %d is %v, want %v", name, i, results[0][i], w)
				}
			}
			for r, other := range results[1:] {
				for i := range other {
					if math.Float32bits(other[i]) != math.Float32bits(results[0][i]) {
						t.Fatalf("%s: element %d is %v by way %d and %v by one goroutine", name, i, other[i], r+1, results[0][i])
					}
				}
			}
		}
	})
}

// TestSymmetricGemmIsGemm multiplies x by its transpose, and the symmetric result
// by itself.
func TestSymmetricGemmIsGemm(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for range cases(t, 100) {
			n, k := dim(rng, 150), dim(rng, 300)
			precision := Precision(rng.IntN(2))
			op := NT + Op(rng.IntN(2))
			rows, cols := n, k
			if op == TN {
				rows, cols = k, n
			}
			x, ldx := matrix(rng, mem, rows, cols)
			c, ldc := matrix(rng, mem, n, n)
			got, s := copied(mem, c), new(Scratch)
			same := func(what string) {
				t.Helper()
				for i := range c { // those between the rows' ends included
					if math.Float32bits(c[i]) != math.Float32bits(got[i]) {
						t.Fatalf("%v %v %d×%d, %s: element %d is %v, want %v", op, precision, n, k, what, i, got[i], c[i])
					}
				}
			}
			GemmSerial(op, n, n, k, x, ldx, x, ldx, c, ldc, false, precision, s)
			GemmSymmetric(op, n, k, x, ldx, x, ldx, got, ldc, false, precision, s)
			same("set")
			a := copied(mem, c)
			GemmSerial(NN, n, n, n, a, ldc, a, ldc, c, ldc, true, precision, s)
			GemmSymmetric(NN, n, n, a, ldc, a, ldc, got, ldc, true, precision, s)
			same("added")
		}
	})
}

func TestGroupedGemmIsGemmOfEach(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for _, threads := range []int{1, 2, 4} {
			p := NewPool(threads)
			defer p.Close()
			for _, op := range []Op{NN, NT, TN} {
				var groups []Group
				var want [][]float32
				for range 5 {
					g := Group{M: dim(rng, 120), N: dim(rng, 100), K: dim(rng, 300)}
					if op == TN {
						g.Precision = Precision(rng.IntN(2))
					}
					ar, ac, br, bc := g.M, g.K, g.K, g.N
					if op == TN {
						ar, ac = ac, ar
					}
					if op == NT {
						br, bc = bc, br
					}
					g.A, g.LDA = matrix(rng, mem, ar, ac)
					g.B, g.LDB = matrix(rng, mem, br, bc)
					g.C, g.LDC = matrix(rng, mem, g.M, g.N)
					c := copied(mem, g.C)
					GemmSerial(op, g.M, g.N, g.K, g.A, g.LDA, g.B, g.LDB, c, g.LDC, true, g.Precision, new(Scratch))
					groups, want = append(groups, g), append(want, c)
				}
				p.GroupedGemm(op, groups, true)
				for i := range groups {
					sameBits(t, fmt.Sprintf("%v, %d threads, group %d", op, threads, i), groups[i].C, want[i])
				}
			}
		}
	})
}

func sameBits(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %v, want %v exactly", name, i, got[i], want[i])
		}
	}
}

// The shapes are large enough that every number of threads cuts them
// differently.
func TestThreadsDoNotChangeBits(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		const rows, n, k = 700, 100, 520
		x, w, y := random(rng, rows*k), random(rng, n*k), random(rng, rows*n)
		norm := random(rng, n)
		run := func(p *Pool) [][]float32 {
			nt, nn, tn := make([]float32, rows*n), make([]float32, rows*k), make([]float32, n*k)
			p.Gemm(NT, rows, n, k, x, k, w, k, nt, n, false)
			p.Gemm(NN, rows, k, n, y, n, w, k, nn, k, false)
			p.Gemm(TN, n, k, rows, y, n, x, k, tn, k, false)
			out, rstd := make([]float32, rows*n), make([]float32, rows)
			dx, dw := make([]float32, rows*n), make([]float32, n)
			p.RMSNormRows(rows, n, out, n, y, n, norm, 1e-6, rstd)
			p.RMSNormGradRows(rows, n, dx, n, dw, out, n, y, n, norm, rstd)
			return [][]float32{nt, nn, tn, out, rstd, dx, dw}
		}
		one := NewPool(1)
		defer one.Close()
		want := run(one)
		for _, threads := range []int{2, 3, 4, 7} {
			p := NewPool(threads)
			defer p.Close()
			for i, got := range run(p) {
				sameBits(t, fmt.Sprintf("%d threads, output %d", threads, i), got, want[i])
			}
		}
	})
}

// A row's product does not depend on how many rows are multiplied with it, so
// decoding does not depend on who else is being served.
func TestRowsDoNotDependOnTheirNumber(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		const rows, n, k = 64, 75, 300
		x, w := random(rng, rows*k), PackB(NT, n, k, random(rng, n*k), k)
		want := make([]float32, rows*n)
		GemmPackedSerial(rows, x, k, w, want, n, false, nil)
		for m := 1; m < rows; m++ {
			got := make([]float32, m*n)
			GemmPackedSerial(m, x[(rows-m)*k:], k, w, got, n, false, nil)
			sameBits(t, fmt.Sprintf("%d rows", m), got, want[(rows-m)*n:])
		}
	})
}

func TestWrongShapesPanic(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	x := make([]float32, 20)
	s := new(Scratch)
	panics(t, "a short A", func() { p.Gemm(NN, 5, 2, 5, x, 5, x, 2, x, 2, false) })
	panics(t, "a short B", func() { p.Gemm(NT, 2, 5, 5, x, 5, x, 5, x, 5, false) })
	panics(t, "a short C", func() { p.Gemm(NN, 5, 5, 4, x, 4, x, 5, x, 5, false) })
	panics(t, "a small leading dimension", func() { p.Gemm(TN, 4, 4, 4, x, 3, x, 4, x, 4, false) })
	panics(t, "a negative size", func() { p.Gemm(NN, -1, 4, 4, x, 4, x, 4, x, 4, false) })
	panics(t, "packing a TN operand", func() { PackB(TN, 4, 4, x, 4) })
	panics(t, "attention with scale 0", func() {
		AttentionForward(2, 4, 4, x, 4, x, 4, x, 4, x, 4, x, 0, F32, s)
	})
	panics(t, "attention with a short lse", func() {
		AttentionForward(2, 4, 4, x, 4, x, 4, x, 4, x, 4, x[:1], 1, F32, s)
	})
	p.Gemm(NN, 2, 2, 2, x, 2, x, 2, x[4:], 2, false) // and the pool still works
}

func TestPackedForAnotherISAPanics(t *testing.T) {
	all := Available()
	if len(all) < 2 {
		t.Skip("this machine has one instruction set")
	}
	was := Active()
	defer use(was)
	use(all[0])
	b := PackB(NN, 2, 2, make([]float32, 4), 2)
	use(all[1])
	panics(t, "using it", func() { GemmPackedSerial(1, make([]float32, 2), 2, b, make([]float32, 2), 2, false, nil) })
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		p := NewPool(2)
		defer p.Close()
		const n = 100
		x, y, z, w := random(rng, n*n), random(rng, n*n), random(rng, n*n), random(rng, n)
		packed := PackB(NT, n, n, x, n)
		groups := []Group{{n, n, n, x, n, y, n, z, n, F32, nil}, {1, n, n, x, n, y, n, z, n, F32, nil}}
		low := []Group{{n, n, n, x, n, y, n, z, n, BF16, nil}}
		rounded := NewPackedB(BF16)
		s := new(Scratch)
		noop := func(int, int) {}
		allocs := testing.AllocsPerRun(10, func() {
			for op := NN; op <= TN; op++ {
				p.Gemm(op, n, n, n, x, n, y, n, z, n, false)
				p.GroupedGemm(op, groups[:1], false)
				GemmSerial(op, n, n, n, x, n, y, n, z, n, true, F32, s)
				GemmSerial(op, n, n, n, x, n, y, n, z, n, true, BF16, s)
			}
			p.GroupedGemm(NN, groups[1:], false)
			p.GroupedGemm(TN, low, false)
			packed.Repack(NT, n, n, x, n, nil)
			rounded.Repack(NN, n, n, x, n, s)
			GemmPackedSerial(3, x, n, rounded, z, n, false, s)
			p.GemmPacked(n, x, n, packed, z, n, false)
			GemmPackedSerial(3, x, n, packed, z, n, false, nil)
			for precision := F32; precision <= BF16; precision++ {
				AttentionForward(n, 64, 32, x, n, y, n, y, n, z, n, w, 1, precision, s)
				AttentionBackward(n, 32, 16, x, n, x, n, x, n, x, n, w, x, n, z, n, y, n, z[50:], n, 1, precision, s)
			}
			p.Run(9, noop)
			Softmax(w)
			AdamW(x, y, z, z, AdamWStep{Step: 1})
			RMSNormGrad(w, w, w, w, w, 1)
			SwiGLUGrad(w, w, w, w, w)
		})
		if allocs != 0 {
			t.Errorf("%v allocations a run", allocs)
		}
	})
}
