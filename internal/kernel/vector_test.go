package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// vectorCase is one kernel: run calls it on in, n elements each, and returns
// its outputs; want is the same in float64 from the definition.
type vectorCase struct {
	name string
	in   int
	sum  bool // the one output is Σ of the product of the inputs
	run  func(in [][]float32) [][]float32
	want func(in [][]float64) [][]float64
}

// each lifts a function of one element of every input.
func each(outputs int, f func(x []float64) []float64) func(in [][]float64) [][]float64 {
	return func(in [][]float64) [][]float64 {
		out := make([][]float64, outputs)
		for i := range in[0] {
			x := make([]float64, len(in))
			for j := range in {
				x[j] = in[j][i]
			}
			for j, y := range f(x) {
				out[j] = append(out[j], y)
			}
		}
		return out
	}
}

func sigmoid64(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

func sum64(in [][]float64) float64 {
	sum := 0.0
	for i := range in[0] {
		p := 1.0
		for j := range in {
			p *= in[j][i]
		}
		sum += p
	}
	return sum
}

// sizes64 is Σ|Π in|, a lone input being squared.
func sizes64(in [][]float64) float64 {
	sum := 0.0
	for i := range in[0] {
		p := 1.0
		for j := range in {
			p *= in[j][i]
		}
		if len(in) == 1 {
			p *= p
		}
		sum += math.Abs(p)
	}
	return sum
}

// slope is a central difference, good to about 1e-9.
func slope(f func(float64) float64, x float64) float64 {
	const h = 1e-5
	return (f(x+h) - f(x-h)) / (2 * h)
}

var vectorCases = []vectorCase{
	{"Dot", 2, true,
		func(in [][]float32) [][]float32 { return [][]float32{{Dot(in[0], in[1])}} },
		func(in [][]float64) [][]float64 { return [][]float64{{sum64(in)}} }},
	{"dot3", 3, true,
		func(in [][]float32) [][]float32 { return [][]float32{{dot3(in[0], in[1], in[2])}} },
		func(in [][]float64) [][]float64 { return [][]float64{{sum64(in)}} }},
	{"SumSquares", 1, true,
		func(in [][]float32) [][]float32 { return [][]float32{{float32(SumSquares(in[0]))}} },
		func(in [][]float64) [][]float64 { return [][]float64{{sum64([][]float64{in[0], in[0]})}} }},
	{"Axpy", 2, false,
		func(in [][]float32) [][]float32 { Axpy(in[0], -1.5, in[1]); return in[:1] },
		each(1, func(x []float64) []float64 { return []float64{x[0] - 1.5*x[1]} })},
	{"Combine", 3, false,
		func(in [][]float32) [][]float32 { Combine(in[0], -1.5, in[1], 0.3, in[2]); return in },
		each(3, func(x []float64) []float64 { return []float64{0.3*x[2] - 1.5*x[1], x[1], x[2]} })},
	{"Combine in place", 2, false,
		func(in [][]float32) [][]float32 { Combine(in[0], -1.5, in[1], 0.3, in[0]); return in },
		each(2, func(x []float64) []float64 { return []float64{0.3*x[0] - 1.5*x[1], x[1]} })},
	{"Scale", 1, false,
		func(in [][]float32) [][]float32 { Scale(in[0], 0.3); return in[:1] },
		each(1, func(x []float64) []float64 { return []float64{0.3 * x[0]} })},
	{"Add", 3, false,
		func(in [][]float32) [][]float32 { Add(in[0], in[1], in[2]); return in },
		each(3, func(x []float64) []float64 { return []float64{x[1] + x[2], x[1], x[2]} })},
	{"Add in place", 2, false,
		func(in [][]float32) [][]float32 { Add(in[0], in[0], in[1]); return in },
		each(2, func(x []float64) []float64 { return []float64{x[0] + x[1], x[1]} })},
	{"Mul", 3, false,
		func(in [][]float32) [][]float32 { Mul(in[0], in[1], in[2]); return in },
		each(3, func(x []float64) []float64 { return []float64{x[1] * x[2], x[1], x[2]} })},
	{"Exp", 2, false,
		func(in [][]float32) [][]float32 { Exp(in[0], in[1]); return in },
		each(2, func(x []float64) []float64 { return []float64{math.Exp(x[1]), x[1]} })},
	{"Sigmoid", 2, false,
		func(in [][]float32) [][]float32 { Sigmoid(in[0], in[1]); return in },
		each(2, func(x []float64) []float64 { return []float64{sigmoid64(x[1]), x[1]} })},
	{"scoreGrad", 2, false,
		func(in [][]float32) [][]float32 { scoreGrad(in[0], in[1], 0.25, 3); return in },
		each(2, func(x []float64) []float64 { return []float64{x[1] * (x[0] - 0.25) * 3, x[1]} })},
	{"SwiGLU", 3, false,
		func(in [][]float32) [][]float32 { SwiGLU(in[0], in[1], in[2]); return in },
		each(3, func(x []float64) []float64 { return []float64{x[1] * sigmoid64(x[1]) * x[2], x[1], x[2]} })},
	{"SwiGLUGrad", 5, false,
		func(in [][]float32) [][]float32 { SwiGLUGrad(in[0], in[1], in[2], in[3], in[4]); return in },
		each(5, func(x []float64) []float64 {
			silu := func(z float64) float64 { return z * sigmoid64(z) }
			return []float64{x[2] * x[4] * slope(silu, x[3]), x[2] * silu(x[3]), x[2], x[3], x[4]}
		})},
	{"SwiGLUGrad in place", 3, false,
		func(in [][]float32) [][]float32 { SwiGLUGrad(in[1], in[2], in[0], in[1], in[2]); return in },
		each(3, func(x []float64) []float64 {
			silu := func(z float64) float64 { return z * sigmoid64(z) }
			return []float64{x[0], x[0] * x[2] * slope(silu, x[1]), x[0] * silu(x[1])}
		})},
	{"Softmax", 1, false,
		func(in [][]float32) [][]float32 { return [][]float32{{Softmax(in[0])}, in[0]} },
		func(in [][]float64) [][]float64 {
			sum := 0.0
			for _, x := range in[0] {
				sum += math.Exp(x)
			}
			p := make([]float64, len(in[0]))
			for i, x := range in[0] {
				p[i] = math.Exp(x) / sum
			}
			return [][]float64{{math.Log(sum)}, p}
		}},
	{"CrossEntropy", 1, false,
		func(in [][]float32) [][]float32 {
			if len(in[0]) == 0 {
				return [][]float32{{0}, {}}
			}
			return [][]float32{{CrossEntropy(in[0], len(in[0])/2, 0.5)}, in[0]}
		},
		func(in [][]float64) [][]float64 {
			if len(in[0]) == 0 {
				return [][]float64{{0}, {}}
			}
			loss := func(x []float64) float64 {
				sum := 0.0
				for _, v := range x {
					sum += math.Exp(v)
				}
				return math.Log(sum) - x[len(x)/2]
			}
			grad := make([]float64, len(in[0]))
			for i, x := range in[0] {
				grad[i] = 0.5 * slope(func(v float64) float64 {
					in[0][i] = v
					return loss(in[0])
				}, x)
				in[0][i] = x
			}
			return [][]float64{{loss(in[0])}, grad}
		}},
	{"RMSNorm", 3, false,
		func(in [][]float32) [][]float32 {
			return [][]float32{{RMSNorm(in[0], in[1], in[2], 1e-2)}, in[0], in[1], in[2]}
		},
		func(in [][]float64) [][]float64 {
			if len(in[0]) == 0 {
				return [][]float64{{0}, {}, {}, {}}
			}
			y, r := rmsNorm64(in[1], in[2])
			return [][]float64{{r}, y, in[1], in[2]}
		}},
	{"RMSNormGrad", 5, false,
		func(in [][]float32) [][]float32 {
			if n := len(in[0]); n > 0 {
				r := float32(1 / math.Sqrt(SumSquares(in[3])/float64(n)+1e-2))
				from := append([]float32(nil), in[0]...)
				clear(in[0]) // to be overwritten
				RMSNormGradFrom(in[0], from, in[1], in[2], in[3], in[4], r)
			}
			return in
		},
		func(in [][]float64) [][]float64 {
			n := len(in[0])
			dx, dw := make([]float64, n), make([]float64, n)
			loss := func() float64 {
				y, _ := rmsNorm64(in[3], in[4])
				return sum64([][]float64{in[2], y})
			}
			for _, g := range []struct{ grad, of, x []float64 }{{dx, in[0], in[3]}, {dw, in[1], in[4]}} {
				for i, x := range g.x {
					g.grad[i] = g.of[i] + slope(func(v float64) float64 { g.x[i] = v; return loss() }, x)
					g.x[i] = x
				}
			}
			return [][]float64{dx, dw, in[2], in[3], in[4]}
		}},
	{"AdamW", 4, false,
		func(in [][]float32) [][]float32 {
			Mul(in[3], in[3], in[3])
			AdamW(in[0], in[1], in[2], in[3], AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-2, WeightDecay: 0.2, Step: 3, GradScale: 0.5})
			return in
		},
		each(4, func(x []float64) []float64 {
			g := x[1] * 0.5
			m := 0.9*x[2] + 0.1*g
			v := 0.95*x[3]*x[3] + 0.05*g*g
			mHat, vHat := m/(1-math.Pow(0.9, 3)), v/(1-math.Pow(0.95, 3))
			return []float64{x[0]*(1-0.1*0.2) - 0.1*mHat/(math.Sqrt(vHat)+1e-2), x[1], m, v}
		})},
}

func rmsNorm64(x, w []float64) (y []float64, r float64) {
	r = 1 / math.Sqrt(sum64([][]float64{x, x})/float64(len(x))+1e-2)
	for i := range x {
		y = append(y, x[i]*w[i]*r)
	}
	return y, r
}

// TestVectorKernelsAgreeWithFloat64 also holds the inputs that must not change
// against themselves, and has guard pages around all of them.
func TestVectorKernelsAgreeWithFloat64(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for _, c := range vectorCases {
			for i := range cases(t, 160) {
				n := i
				if i > 140 {
					n = 130 + rng.IntN(400)
				}
				in32, in64 := make([][]float32, c.in), make([][]float64, c.in)
				for j := range in32 {
					in32[j], in64[j] = mem.slice(n), make([]float64, n)
					for l := range in32[j] {
						in32[j][l] = float32(rng.NormFloat64() * 2)
						in64[j][l] = float64(in32[j][l])
					}
				}
				tolerance := 1e-5
				if c.sum { // what is added up may cancel
					tolerance = 1e-6 * (1 + sizes64(in64))
				}
				got, want := c.run(in32), c.want(in64)
				for j := range want {
					closeTo(t, fmt.Sprintf("%s of %d elements, output %d", c.name, n, j), got[j], want[j], tolerance)
				}
			}
		}
	})
}

func closeTo(t *testing.T, name string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); float64(got[i]) != w && !(d <= tolerance*(1+math.Abs(w))) {
			t.Fatalf("%s: element %d is %v, want %v", name, i, got[i], w)
		}
	}
}

func TestExpIsAsExactAsItSays(t *testing.T) {
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		const n = 1 << 16
		x, y := make([]float32, n), make([]float32, n)
		worst := 0.0
		for range cases(t, 4) {
			for i := range x {
				x[i] = -87.33 + 176.05*rng.Float32()
			}
			Exp(y, x)
			for i := range x {
				want := math.Exp(float64(x[i]))
				worst = max(worst, math.Abs(float64(y[i])-want)/want)
			}
		}
		t.Logf("largest relative error %.3g", worst)
		if worst > 1e-7 {
			t.Errorf("the relative error of Exp reaches %.3g; its comment says 1e-7", worst)
		}
	})
}

func TestExpAtItsEnds(t *testing.T) {
	inf := float32(math.Inf(1))
	onEveryISA(t, func(t *testing.T, _ *rand.Rand) {
		// Seventeen and more, so that whole vectors and tails both see them.
		var x, want []float32
		for range 5 {
			x = append(x, 0, -0, -87.4, -200, -inf, 88.73, 1e30, inf)
			want = append(want, 1, 1, 0, 0, 0, inf, inf, inf)
		}
		x, want = x[:37], want[:37]
		got := make([]float32, len(x))
		Exp(got, x)
		for i := range x {
			if got[i] != want[i] {
				t.Errorf("Exp(%v) = %v, want %v", x[i], got[i], want[i])
			}
		}
		x[0] = float32(math.NaN())
		Exp(got, x)
		if got[0] == got[0] {
			t.Errorf("Exp(NaN) = %v", got[0])
		}
	})
}

func TestSigmoidAndSwiGLUSaturate(t *testing.T) {
	onEveryISA(t, func(t *testing.T, _ *rand.Rand) {
		z := []float32{-1e4, -200, -90, 90, 200, 1e4}
		up, dst, dy, dup := []float32{1, 1, 1, 1, 1, 1}, make([]float32, 6), []float32{1, 1, 1, 1, 1, 1}, make([]float32, 6)
		Sigmoid(dst, z)
		closeTo(t, "Sigmoid", dst, []float64{0, 0, 0, 1, 1, 1}, 1e-6)
		SwiGLU(dst, z, up)
		closeTo(t, "SwiGLU", dst, []float64{0, 0, 0, 90, 200, 1e4}, 1e-6)
		SwiGLUGrad(dst, dup, dy, z, up)
		closeTo(t, "SwiGLUGrad's gate", dst, []float64{0, 0, 0, 1, 1, 1}, 1e-6)
		closeTo(t, "SwiGLUGrad's up", dup, []float64{0, 0, 0, 90, 200, 1e4}, 1e-6)
	})
}

func TestSoftmaxOfLargeScores(t *testing.T) {
	onEveryISA(t, func(t *testing.T, _ *rand.Rand) {
		x := []float32{1e4, 1e4 - 1, -1e4, float32(math.Inf(-1))}
		lse := Softmax(x)
		p := 1 / (1 + math.Exp(-1))
		closeTo(t, "Softmax", x, []float64{p, 1 - p, 0, 0}, 1e-6)
		closeTo(t, "its logarithm", []float32{lse}, []float64{1e4 + math.Log(1+math.Exp(-1))}, 1e-6)
	})
}

func TestRotaryTurnsPairsAndBack(t *testing.T) {
	forms := []struct {
		name   string
		rotate func(x, cos, sin []float32, inverse bool)
		pair   func(i, h int) (int, int)
	}{
		{"interleaved", RotaryInterleaved, func(i, h int) (int, int) { return 2 * i, 2*i + 1 }},
		{"half", RotaryHalf, func(i, h int) (int, int) { return i, i + h }},
	}
	onEveryISA(t, func(t *testing.T, rng *rand.Rand) {
		mem := newArena(t)
		for _, form := range forms {
			for h := range 40 {
				x, cos, sin := mem.slice(2*h), mem.slice(h), mem.slice(h)
				was, want := make([]float64, 2*h), make([]float64, 2*h)
				for i := range x {
					x[i] = float32(rng.NormFloat64())
					was[i] = float64(x[i])
				}
				for i := range h {
					angle := rng.Float64() * 7
					cos[i], sin[i] = float32(math.Cos(angle)), float32(math.Sin(angle))
					a, b := form.pair(i, h)
					want[a] = was[a]*math.Cos(angle) - was[b]*math.Sin(angle)
					want[b] = was[a]*math.Sin(angle) + was[b]*math.Cos(angle)
				}
				form.rotate(x, cos, sin, false)
				closeTo(t, form.name, x, want, 1e-6)
				form.rotate(x, cos, sin, true)
				closeTo(t, form.name+" and back", x, was, 1e-6)
			}
		}
	})
}

func TestMismatchedSlicesPanic(t *testing.T) {
	x, y := make([]float32, 8), make([]float32, 7)
	for name, call := range map[string]func(){
		"Dot":               func() { Dot(x, y) },
		"Axpy":              func() { Axpy(x, 1, y) },
		"Add":               func() { Add(x, x, y) },
		"Mul":               func() { Mul(x, y, x) },
		"Exp":               func() { Exp(y, x) },
		"RMSNorm":           func() { RMSNorm(x, x, y, 1) },
		"RMSNormGrad":       func() { RMSNormGrad(x, x, x, y, x, 1) },
		"SwiGLU":            func() { SwiGLU(y, x, x) },
		"SwiGLUGrad":        func() { SwiGLUGrad(x, x, x, x, y) },
		"RotaryInterleaved": func() { RotaryInterleaved(x, y, y, false) },
		"RotaryHalf":        func() { RotaryHalf(x, y, y, false) },
		"AdamW":             func() { AdamW(x, x, x, y, AdamWStep{Step: 1}) },
		"AdamW's step":      func() { AdamW(x, x, x, x, AdamWStep{}) },
		"CrossEntropy":      func() { CrossEntropy(x, 8, 1) },
	} {
		panics(t, name, call)
	}
}

func panics(t *testing.T, name string, call func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if recover() == nil {
			t.Errorf("%s did not panic", name)
		}
	}()
	call()
}
