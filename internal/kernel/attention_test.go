package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// attentionOracle is causal attention and its gradients in float64, straight
// from the definition; g is the gradient of the output.
func attentionOracle(t, dqk, dv int, at func(x []float32, i, j int) float64, q, k, v, g []float32, scale float64) (out, dq, dk, dvv []float64, lse []float64) {
	out, dvv = make([]float64, t*dv), make([]float64, t*dv)
	dq, dk = make([]float64, t*dqk), make([]float64, t*dqk)
	lse = make([]float64, t)
	for i := range t {
		p := make([]float64, i+1)
		top := math.Inf(-1)
		for j := range p {
			for d := range dqk {
				p[j] += at(q, i, d) * at(k, j, d) * scale
			}
			top = max(top, p[j])
		}
		sum := 0.0
		for j := range p {
			p[j] = math.Exp(p[j] - top)
			sum += p[j]
		}
		lse[i] = top + math.Log(sum)
		dp := make([]float64, i+1)
		mean := 0.0
		for j := range p {
			p[j] /= sum
			for d := range dv {
				out[i*dv+d] += p[j] * at(v, j, d)
				dvv[j*dv+d] += p[j] * at(g, i, d)
				dp[j] += at(g, i, d) * at(v, j, d)
			}
			mean += p[j] * dp[j]
		}
		for j := range p {
			s := p[j] * (dp[j] - mean) * scale
			for d := range dqk {
				dq[i*dqk+d] += s * at(k, j, d)
				dk[j*dqk+d] += s * at(q, i, d)
			}
		}
	}
	return
}

func TestAttentionAgreesWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		s := new(Scratch)
		mem := newArena(t)
		lengths := []int{0, 1, 2, 3, 12, 13, 23, 24, 25, 31, 32, 33, 47, 48, 49, 95, 100, 129, 255, 256, 257, 300, 520}
		for c := range 2 * len(lengths) {
			n, precision := lengths[c/2], Precision(c%2)
			if precision == BF16 && !FastBF16() {
				continue
			}
			dqk, dv := 64, 32
			if n%2 == 1 {
				dqk, dv = 1+rng.IntN(70), 1+rng.IntN(70)
			}
			if n == 25 {
				dqk, dv = 300, 280 // more than one block of k
			}
			const gap = 5
			ld := max(dqk, dv) + gap
			draw := func(width int) []float32 {
				x := mem.slice(max(0, (n-1)*ld+width))
				if n == 0 {
					x = nil
				}
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
				return x
			}
			q, k, v, g := draw(dqk), draw(dqk), draw(dv), draw(dv)
			out, dq, dk, dvv, lse := draw(dv), draw(dqk), draw(dqk), draw(dv), mem.slice(n)
			fill := copied(mem, dq)
			scale := float32(1 / math.Sqrt(float64(dqk)))
			AttentionForward(n, dqk, dv, q, ld, k, ld, v, ld, out, ld, lse, scale, precision, s)
			AttentionBackward(n, dqk, dv, q, ld, k, ld, v, ld, out, ld, lse, g, ld, dq, ld, dk, ld, dvv, ld, scale, precision, s)
			at := func(x []float32, i, j int) float64 { return float64(x[i*ld+j]) }
			wout, wdq, wdk, wdv, wlse := attentionOracle(n, dqk, dv, at, q, k, v, g, float64(scale))
			compare := func(what string, got []float32, want []float64, width int) {
				t.Helper()
				if precision == BF16 { // what is off, by what there is
					off, all := 0.0, 1e-12 // n may be 0
					if n == 1 || n == 2 {  // what is left of nearly equal gradients
						all = float64(n * width)
					}
					for i := range n {
						for j := range width {
							w := want[i*width+j]
							all += w * w
							off += (w - float64(got[i*ld+j])) * (w - float64(got[i*ld+j]))
						}
					}
					if rel := math.Sqrt(off / all); !(rel <= 0.01) {
						t.Errorf("%d positions, widths %d and %d: %s is off by %.4f of its size", n, dqk, dv, what, rel)
					}
					return
				}
				for i := range n {
					for j := range width {
						w := want[i*width+j]
						if d := math.Abs(float64(got[i*ld+j]) - w); !(d <= 2e-5*(1+math.Abs(w))) {
							t.Fatalf("%d positions, widths %d and %d: %s[%d,%d] is %v, want %v", n, dqk, dv, what, i, j, got[i*ld+j], w)
						}
					}
				}
			}
			for i := 0; i < len(dq); i++ { // what lies between rows stays
				if i%ld >= dqk && dq[i] != fill[i] {
					t.Fatalf("%d positions: dq[%d], between two rows, was overwritten", n, i)
				}
			}
			compare("out", out, wout, dv)
			compare("dq", dq, wdq, dqk)
			compare("dk", dk, wdk, dqk)
			compare("dv", dvv, wdv, dv)
			for i, w := range wlse {
				if d := math.Abs(float64(lse[i]) - w); d > []float64{1e-5, 2e-2}[precision]*(1+math.Abs(w)) {
					t.Fatalf("%d positions: lse[%d] is %v, want %v", n, i, lse[i], w)
				}
			}
		}
	})
}
