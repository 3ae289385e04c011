package kernel

import "math"

// The plain forms of the vector kernels: what the assembly must agree with.

func dotPortable(x, y []float32) float32 {
	y = y[:len(x)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s0 += x[i] * y[i]
		s1 += x[i+1] * y[i+1]
		s2 += x[i+2] * y[i+2]
		s3 += x[i+3] * y[i+3]
	}
	for ; i < len(x); i++ {
		s0 += x[i] * y[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// dot3Portable is Σ x·y·z.
func dot3Portable(x, y, z []float32) float32 {
	var s float32
	for i := range x {
		s += x[i] * y[i] * z[i]
	}
	return s
}

func axpyPortable(y []float32, a float32, x []float32) {
	for i := range y {
		y[i] += a * x[i]
	}
}

func scalePortable(x []float32, a float32) {
	for i := range x {
		x[i] *= a
	}
}

// combinePortable sets dst to a·x + b·y.
func combinePortable(dst []float32, a float32, x []float32, b float32, y []float32) {
	for i := range dst {
		dst[i] = a*x[i] + b*y[i]
	}
}

func addPortable(dst, x, y []float32) {
	for i := range dst {
		dst[i] = x[i] + y[i]
	}
}

func mulPortable(dst, x, y []float32) {
	for i := range dst {
		dst[i] = x[i] * y[i]
	}
}

// mulScalePortable sets dst to a·x·y.
func mulScalePortable(dst, x, y []float32, a float32) {
	for i := range dst {
		dst[i] = x[i] * a * y[i]
	}
}

func maximumPortable(x []float32) float32 {
	top := x[0]
	for _, v := range x[1:] {
		top = max(top, v)
	}
	return top
}

// Constants of exp: x = n·ln 2 + r with |r| ≤ ½ln 2, ln 2 in two parts so that
// n·expLn2Hi is exact, and the coefficients of eʳ from r² on (Cephes' expf).
const (
	expLog2e = 1.44269504088896341
	expLn2Hi = 0.693359375
	expLn2Lo = -2.12194440e-4
	expC2    = 5.0000001201e-1
	expC3    = 1.6666665459e-1
	expC4    = 4.1665795894e-2
	expC5    = 8.3334519073e-3
	expC6    = 1.3981999507e-3
	expC7    = 1.9875691500e-4
	expMin   = -87.33654 // e^x is the smallest normal number
	expMax   = 88.72283  // e^x is the largest number
)

func exp1(x float32) float32 {
	switch {
	case x < expMin:
		return 0
	case x > expMax:
		return float32(math.Inf(1))
	case x != x:
		return x
	}
	n := float32(math.RoundToEven(float64(x * expLog2e)))
	r := x - n*expLn2Hi
	r -= n * expLn2Lo
	p := float32(expC7)
	p = p*r + expC6
	p = p*r + expC5
	p = p*r + expC4
	p = p*r + expC3
	p = p*r + expC2
	p = p*r*r + r + 1
	// 2ⁿ in two factors, as n may be 128.
	half := int32(n) / 2
	return p * power2(half) * power2(int32(n)-half)
}

func power2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func expPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp1(v)
	}
}

// expSumPortable sets dst to e^(a·x+b) and returns the sum.
func expSumPortable(dst, x []float32, a, b float32) float32 {
	var s float32
	for i, v := range x {
		e := exp1(a*v + b)
		dst[i] = e
		s += e
	}
	return s
}

// scoreGradPortable sets dp to p·(dp-d)·a.
func scoreGradPortable(dp, p []float32, d, a float32) {
	for i, v := range p {
		dp[i] = v * a * (dp[i] - d)
	}
}

func sigmoidPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = 1 / (1 + exp1(-v))
	}
}

func rmsNormGradPortable(dx, dw, dy, x, w []float32, rstd, along float32) {
	for i := range dx {
		g := dy[i]
		dw[i] += g * x[i] * rstd
		dx[i] += g*w[i]*rstd + x[i]*along
	}
}

func swiGLUPortable(dst, gate, up []float32) {
	for i, z := range gate {
		dst[i] = z / (1 + exp1(-z)) * up[i]
	}
}

func swiGLUGradPortable(dgate, dup, dy, gate, up []float32) {
	for i, z := range gate {
		s := 1 / (1 + exp1(-z))
		silu, g, u := z*s, dy[i], up[i]
		// d silu/dz = s + z·s·(1-s)
		dgate[i] = g * u * (s + silu*(1-s))
		dup[i] = g * silu
	}
}

func rotaryInterleavedPortable(x, cos, sin []float32, inverse bool) {
	for i, c := range cos {
		s := sin[i]
		if inverse {
			s = -s
		}
		a, b := x[2*i], x[2*i+1]
		x[2*i] = a*c - b*s
		x[2*i+1] = b*c + a*s
	}
}

func rotaryHalfPortable(x, cos, sin []float32, inverse bool) {
	h := len(cos)
	for i, c := range cos {
		s := sin[i]
		if inverse {
			s = -s
		}
		a, b := x[i], x[i+h]
		x[i] = a*c - b*s
		x[i+h] = b*c + a*s
	}
}

func adamWPortable(w, g, m, v []float32, o *adamWArgs) {
	for i := range w {
		d := g[i] * o.gradScale
		m[i] = o.beta1*m[i] + o.keep1*d
		v[i] = o.beta2*v[i] + o.keep2*d*d
		w[i] = w[i]*o.decay - o.rate*m[i]/(float32(math.Sqrt(float64(v[i])))+o.eps)
	}
}
