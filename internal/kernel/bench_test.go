package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The shapes are those of a student's training step: 2,048 tokens, hidden 128
// to 512, and a square one for comparison with other libraries.
var benchShapes = []struct {
	op      Op
	m, n, k int
}{
	{NT, 2048, 128, 128}, {NT, 2048, 384, 128}, {NT, 2048, 128, 384}, {NT, 2048, 512, 128}, {NT, 2048, 96, 128}, {NT, 2048, 256, 64},
	{NN, 2048, 128, 384}, {NN, 2048, 384, 128}, {NN, 2048, 128, 512}, {NN, 2048, 128, 4096},
	{TN, 384, 128, 2048}, {TN, 128, 384, 2048}, {TN, 128, 128, 2048}, {TN, 512, 128, 2048}, {TN, 64, 128, 2048},
	{NN, 128, 384, 128}, {NN, 1024, 1024, 1024},
}

func benchEveryISA(b *testing.B, run func(b *testing.B)) {
	was := Active()
	defer use(was)
	for _, isa := range Available() {
		use(isa)
		b.Run(isa.String(), run)
	}
}

func BenchmarkGemm(b *testing.B) {
	benchEveryISA(b, func(b *testing.B) {
		for _, threads := range []int{1, 2} {
			p := NewPool(threads)
			for _, s := range benchShapes {
				b.Run(fmt.Sprintf("%d/%v/%dx%dx%d", threads, s.op, s.m, s.n, s.k), func(b *testing.B) {
					rng := rand.New(rand.NewPCG(1, 1))
					x, y := random(rng, s.m*s.k), random(rng, s.n*s.k)
					c := make([]float32, s.m*s.n)
					lda, ldb := s.k, s.n
					if s.op == TN {
						lda = s.m
					}
					if s.op == NT {
						ldb = s.k
					}
					b.ReportAllocs()
					for b.Loop() {
						p.Gemm(s.op, s.m, s.n, s.k, x, lda, y, ldb, c, s.n, false)
					}
					gflops(b, 2*float64(s.m)*float64(s.n)*float64(s.k))
				})
			}
			p.Close()
		}
	})
}

// BenchmarkDecode multiplies few rows with packed weights.
func BenchmarkDecode(b *testing.B) {
	benchEveryISA(b, func(b *testing.B) {
		for _, m := range []int{1, 2, 4, 8, 16, 64} {
			const n, k = 384, 128
			b.Run(fmt.Sprintf("%dx%dx%d", m, n, k), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 1))
				x, w := random(rng, m*k), PackB(NT, n, k, random(rng, n*k), k)
				c := make([]float32, m*n)
				for b.Loop() {
					GemmPackedSerial(m, x, k, w, c, n, false, nil)
				}
				gflops(b, 2*float64(m*n*k))
			})
		}
	})
}

func gflops(b *testing.B, each float64) {
	b.ReportMetric(each*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAttention counts the useful operations: half of t², as causal.
func BenchmarkAttention(b *testing.B) {
	benchEveryISA(b, func(b *testing.B) {
		for _, t := range []int{32, 100, 256, 1024} {
			const dqk, dv, ld = 64, 32, 256
			rng := rand.New(rand.NewPCG(1, 1))
			draw := func() []float32 { return random(rng, t*ld) }
			q, k, v, out, g := draw(), draw(), draw(), draw(), draw()
			dq, dk, dvv, lse := draw(), draw(), draw(), random(rng, t)
			s := new(Scratch)
			scale := float32(1 / math.Sqrt(dqk))
			AttentionForward(t, dqk, dv, q, ld, k, ld, v, ld, out, ld, lse, scale, F32, s)
			pairs := float64(t*t) / 2
			for precision := F32; precision <= BF16 && (precision == F32 || FastBF16()); precision++ {
				b.Run(fmt.Sprintf("forward/%v/%d", precision, t), func(b *testing.B) {
					for b.Loop() {
						AttentionForward(t, dqk, dv, q, ld, k, ld, v, ld, out, ld, lse, scale, precision, s)
					}
					gflops(b, 2*pairs*(dqk+dv))
				})
				b.Run(fmt.Sprintf("backward/%v/%d", precision, t), func(b *testing.B) {
					for b.Loop() {
						AttentionBackward(t, dqk, dv, q, ld, k, ld, v, ld, out, ld, lse, g, ld, dq, ld, dk, ld, dvv, ld, scale, precision, s)
					}
					gflops(b, 2*pairs*(3*dqk+2*dv))
				})
			}
		}
	})
}
