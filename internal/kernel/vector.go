package kernel

import (
	"fmt"
	"math"
)

// The functions of this file run on the calling goroutine and allocate
// nothing. Unless stated otherwise all slices of a call have the same length,
// dst may be one of the sources, and other overlap is not allowed.

// Dot is the inner product of x and y.
func Dot(x, y []float32) float32 {
	same(len(x), len(y))
	return dot(x, y)
}

// SumSquares is the inner product of x with itself, summed in float64 over
// blocks of 4,096 elements, so that norms of whole gradients keep precision.
func SumSquares(x []float32) float64 {
	const block = 4096
	var sum float64
	for len(x) > block {
		sum += float64(dot(x[:block], x[:block]))
		x = x[block:]
	}
	return sum + float64(dot(x, x))
}

// Axpy adds a·x to y.
func Axpy(y []float32, a float32, x []float32) {
	same(len(x), len(y))
	axpy(y, a, x)
}

// Combine sets dst to a·x + b·y.
func Combine(dst []float32, a float32, x []float32, b float32, y []float32) {
	same(len(dst), len(x))
	same(len(dst), len(y))
	combine(dst, a, x, b, y)
}

// Scale multiplies x by a.
func Scale(x []float32, a float32) { scaleVector(x, a) }

// Add sets dst to x + y.
func Add(dst, x, y []float32) {
	same(len(dst), len(x))
	same(len(dst), len(y))
	add(dst, x, y)
}

// Mul sets dst to the elementwise product of x and y.
func Mul(dst, x, y []float32) {
	same(len(dst), len(x))
	same(len(dst), len(y))
	mul(dst, x, y)
}

// Exp sets dst to eˣ. The relative error is below 1e-7, less than 2 ulp; below
// -87.33 the result is 0, above 88.72 it is +Inf.
func Exp(dst, x []float32) {
	same(len(dst), len(x))
	exp(dst, x)
}

// Sigmoid sets dst to 1/(1+e⁻ˣ).
func Sigmoid(dst, x []float32) {
	same(len(dst), len(x))
	sigmoid(dst, x)
}

// Softmax turns scores into probabilities in place and returns the logarithm
// of the sum of the exponentials of the scores. An empty x gives -Inf.
func Softmax(x []float32) (lse float32) {
	if len(x) == 0 {
		return float32(math.Inf(-1))
	}
	top := maximum(x)
	sum := expSum(x, x, 1, -top)
	scaleVector(x, 1/sum)
	return top + float32(math.Log(float64(sum)))
}

// CrossEntropy is -log softmax(logits)[target]; it replaces the logits by the
// gradient of weight times that loss: weight·(softmax(logits) - one-hot).
func CrossEntropy(logits []float32, target int, weight float32) (loss float32) {
	if target < 0 || target >= len(logits) {
		panic(fmt.Sprintf("kernel: target %d is outside %d logits", target, len(logits)))
	}
	top := maximum(logits)
	of := logits[target] - top
	sum := expSum(logits, logits, 1, -top)
	scaleVector(logits, weight/sum)
	logits[target] -= weight
	return float32(math.Log(float64(sum))) - of
}

// RMSNorm sets dst to x·w/√(mean(x²)+eps) and returns 1/√(mean(x²)+eps), which
// RMSNormGrad needs.
func RMSNorm(dst, x, w []float32, eps float32) (rstd float32) {
	same(len(dst), len(x))
	same(len(dst), len(w))
	if len(x) == 0 {
		return 0
	}
	mean := float64(dot(x, x)) / float64(len(x))
	rstd = float32(1 / math.Sqrt(mean+float64(eps)))
	mulScale(dst, x, w, rstd)
	return rstd
}

// RMSNormGrad adds the gradients of RMSNorm to dx and dw, given that of its
// output, dy.
func RMSNormGrad(dx, dw, dy, x, w []float32, rstd float32) {
	RMSNormGradFrom(dx, dx, dw, dy, x, w, rstd)
}

// RMSNormGradFrom is RMSNormGrad with the sum of from and the gradient in dx.
func RMSNormGradFrom(dx, from, dw, dy, x, w []float32, rstd float32) {
	same(len(dx), len(from))
	same(len(dx), len(x))
	same(len(dx), len(dy))
	same(len(dx), len(w))
	same(len(dx), len(dw))
	if len(x) == 0 {
		return
	}
	// y = x·w·r with r = (mean(x²)+eps)^-½ gives
	// dx = r·(w·dy) - x·r³/n·Σ(w·dy·x).
	along := dot3(w, dy, x)
	rmsNormGradFrom(dx, from, dw, dy, x, w, rstd, -along*rstd*rstd*rstd/float32(len(x)))
}

// RMSNormInputGradFrom is RMSNormGradFrom without the gradient of w. It leaves anything
// in dy.
func RMSNormInputGradFrom(dx, from, dy, x, w []float32, rstd float32) {
	same(len(dx), len(from))
	same(len(dx), len(x))
	same(len(dx), len(dy))
	same(len(dx), len(w))
	if len(x) == 0 {
		return
	}
	along := dot3(w, dy, x)
	mulScale(dy, dy, w, rstd)
	add(dx, from, dy)
	axpy(dx, -along*rstd*rstd*rstd/float32(len(x)), x)
}

// SwiGLU sets dst to silu(gate)·up, silu(z) being z/(1+e⁻ᶻ).
func SwiGLU(dst, gate, up []float32) {
	same(len(dst), len(gate))
	same(len(dst), len(up))
	swiGLU(dst, gate, up)
}

// SwiGLUGrad sets dgate and dup to the gradients of SwiGLU, given that of its
// output, dy. dgate may be gate and dup may be up.
func SwiGLUGrad(dgate, dup, dy, gate, up []float32) {
	same(len(dgate), len(gate))
	same(len(dgate), len(up))
	same(len(dgate), len(dup))
	same(len(dgate), len(dy))
	swiGLUGrad(dgate, dup, dy, gate, up)
}

// RotaryInterleaved rotates the pairs (x[2i], x[2i+1]) by the angles whose
// cosines and sines are given, or back by them if inverse; len(x) is
// 2·len(cos). It is the form of DeepSeek's weights (rope_interleave).
func RotaryInterleaved(x, cos, sin []float32, inverse bool) {
	same(len(cos), len(sin))
	same(len(x), 2*len(cos))
	rotaryInterleaved(x, cos, sin, inverse)
}

// RotaryHalf rotates the pairs (x[i], x[i+len(cos)]); see RotaryInterleaved.
// It is the form of Llama's and Qwen's weights.
func RotaryHalf(x, cos, sin []float32, inverse bool) {
	same(len(cos), len(sin))
	same(len(x), 2*len(cos))
	rotaryHalf(x, cos, sin, inverse)
}

// AdamWStep holds the settings of one AdamW update.
type AdamWStep struct {
	LR          float32
	Beta1       float32
	Beta2       float32
	Eps         float32
	WeightDecay float32 // decoupled: w shrinks by LR·WeightDecay
	Step        int     // from 1, for bias correction
	GradScale   float32 // gradients are multiplied by this first (clipping)
}

// AdamW updates the weights w and the moments m and v with the gradient g:
//
//	m = β₁m + (1-β₁)g,  v = β₂v + (1-β₂)g²
//	w = w·(1 - LR·WeightDecay) - LR·m̂/(√v̂ + Eps)
//
// where m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ).
func AdamW(w, g, m, v []float32, o AdamWStep) {
	same(len(w), len(g))
	same(len(w), len(m))
	same(len(w), len(v))
	if o.Step < 1 {
		panic(fmt.Sprintf("kernel: AdamW step %d; steps count from 1", o.Step))
	}
	c1 := 1 - math.Pow(float64(o.Beta1), float64(o.Step))
	c2 := 1 - math.Pow(float64(o.Beta2), float64(o.Step))
	// LR·m/c₁ / (√(v/c₂) + ε) = (LR·√c₂/c₁)·m / (√v + ε√c₂)
	adamW(w, g, m, v, &adamWArgs{
		gradScale: o.GradScale,
		beta1:     o.Beta1,
		keep1:     1 - o.Beta1,
		beta2:     o.Beta2,
		keep2:     1 - o.Beta2,
		decay:     1 - o.LR*o.WeightDecay,
		rate:      float32(float64(o.LR) * math.Sqrt(c2) / c1),
		eps:       float32(float64(o.Eps) * math.Sqrt(c2)),
	})
}

// adamWArgs are the constants of an update; assembly reads them by offset.
type adamWArgs struct {
	gradScale, beta1, keep1, beta2, keep2, decay, rate, eps float32
}

func same(a, b int) {
	if a != b {
		panic(fmt.Sprintf("kernel: slices of %d and %d elements where equal lengths are needed", a, b))
	}
}
