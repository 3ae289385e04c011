package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// sums are the reductions: four accumulators, folded in a fixed order.
func (v isa) sums() {
	v.text("dot", "(x, y *float32, n int) float32", "is Σ x·y.")
	p := pointers("x", "y", "n")
	acc := v.accumulators(4)
	v.loop(p[2], 4, p[:2], func(t turn) {
		x, y := t.load(p[0]), t.load(p[1])
		VFMADD231PS(x, y, acc[t.u])
	})
	v.reduce(acc, func(a, b, dst Op) { VADDPS(a, b, dst) })
	done()

	v.text("dot3", "(x, y, z *float32, n int) float32", "is Σ x·y·z.")
	p = pointers("x", "y", "z", "n")
	acc = v.accumulators(4)
	v.loop(p[3], 4, p[:3], func(t turn) {
		x, y, z := t.load(p[0]), t.load(p[1]), t.load(p[2])
		VMULPS(x, y, y)
		VFMADD231PS(z, y, acc[t.u])
	})
	v.reduce(acc, func(a, b, dst Op) { VADDPS(a, b, dst) })
	done()

	v.text("maximum", "(x *float32, n int) float32", "is the largest of x.")
	p = pointers("x", "n")
	acc = v.accumulators(4)
	for i := range acc {
		VBROADCASTSS(Mem{Base: p[0]}, acc[i])
	}
	v.loop(p[1], 4, p[:1], func(t turn) {
		x := t.load(p[0])
		if t.tail && v.wide() {
			VMAXPS(x, acc[t.u], t.k, acc[t.u])
			return
		}
		if t.tail {
			VBLENDVPS(t.mask, x, acc[t.u], x)
		}
		VMAXPS(x, acc[t.u], acc[t.u])
	})
	v.reduce(acc, func(a, b, dst Op) { VMAXPS(a, b, dst) })
	done()
}

func (v isa) accumulators(n int) []reg.VecVirtual {
	var acc []reg.VecVirtual
	for range n {
		acc = append(acc, v.zero())
	}
	return acc
}

// maps are the elementwise passes without exponentials.
func (v isa) maps() {
	v.text("axpy", "(y *float32, a float32, x *float32, n int)", "adds a·x to y.")
	p := pointers("y", "x", "n")
	a := v.broadcast("a")
	v.loop(p[2], 4, p[:2], func(t turn) {
		y, x := t.load(p[0]), t.load(p[1])
		VFMADD231PS(x, a, y)
		t.store(y, p[0])
	})
	done()

	v.text("combine", "(dst *float32, a float32, x *float32, b float32, y *float32, n int)", "sets dst to a·x + b·y.")
	p = pointers("dst", "x", "y", "n")
	a = v.broadcast("a")
	b := v.broadcast("b")
	v.loop(p[3], 4, p[:3], func(t turn) {
		x, y := t.load(p[1]), t.load(p[2])
		VMULPS(y, b, y)
		VFMADD231PS(x, a, y)
		t.store(y, p[0])
	})
	done()

	v.text("scale", "(x *float32, a float32, n int)", "multiplies x by a.")
	p = pointers("x", "n")
	a = v.broadcast("a")
	v.loop(p[1], 4, p[:1], func(t turn) {
		x := t.load(p[0])
		VMULPS(x, a, x)
		t.store(x, p[0])
	})
	done()

	v.binary("add", "sets dst to x + y.", func(x, y reg.VecVirtual) { VADDPS(x, y, x) })
	v.binary("mul", "sets dst to x·y.", func(x, y reg.VecVirtual) { VMULPS(x, y, x) })

	v.text("mulScale", "(dst, x, y *float32, a float32, n int)", "sets dst to a·x·y.")
	p = pointers("dst", "x", "y", "n")
	a = v.broadcast("a")
	v.loop(p[3], 4, p[:3], func(t turn) {
		x, y := t.load(p[1]), t.load(p[2])
		VMULPS(x, a, x)
		VMULPS(x, y, x)
		t.store(x, p[0])
	})
	done()

	v.text("scoreGrad", "(dp, p *float32, d, a float32, n int)", "sets dp to a·p·(dp-d).")
	p = pointers("dp", "p", "n")
	d := v.broadcast("d")
	a = v.broadcast("a")
	v.loop(p[2], 4, p[:2], func(t turn) {
		x, y := t.load(p[0]), t.load(p[1])
		VSUBPS(d, x, x)
		VMULPS(a, y, y)
		VMULPS(x, y, x)
		t.store(x, p[0])
	})
	done()

	v.text("rmsNormGrad", "(dx, from, dw, dy, x, w *float32, n int, rstd, along float32)", "adds dy·x·rstd to dw and sets dx to from + dy·w·rstd + x·along.")
	p = pointers("dx", "dw", "dy", "x", "w", "from", "n")
	r := v.broadcast("rstd")
	along := v.broadcast("along")
	v.loop(p[6], 2, p[:6], func(t turn) {
		dx, dw, g, x, w := t.load(p[5]), t.load(p[1]), t.load(p[2]), t.load(p[3]), t.load(p[4])
		VMULPS(r, g, g)
		VFMADD231PS(g, x, dw)
		VFMADD231PS(g, w, dx)
		VFMADD231PS(x, along, dx)
		t.store(dw, p[1])
		t.store(dx, p[0])
	})
	done()
}

func (v isa) binary(name, doc string, op func(x, y reg.VecVirtual)) {
	v.text(name, "(dst, x, y *float32, n int)", doc)
	p := pointers("dst", "x", "y", "n")
	v.loop(p[3], 4, p[:3], func(t turn) {
		x, y := t.load(p[1]), t.load(p[2])
		op(x, y)
		t.store(x, p[0])
	})
	done()
}

// expOf replaces x by eˣ: the algorithm and constants of exp1 in
// vector_portable.go.
func (v isa) expOf(x reg.VecVirtual) {
	n, p, least := v.vec(), v.vec(), constant(-87.33654)
	top := v.vec()
	VMOVUPS(constant(89), top)
	VMINPS(x, top, top) // in this order a NaN stays
	VMULPS(constant(1.44269504088896341), top, n)
	if v.wide() {
		VRNDSCALEPS(Imm(8), n, n)
	} else {
		VROUNDPS(Imm(8), n, n)
	}
	VFNMADD231PS(constant(0.693359375), n, top)
	VFNMADD231PS(constant(-2.12194440e-4), n, top)
	r := top
	VMOVUPS(constant(1.9875691500e-4), p)
	for _, c := range []float64{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		VFMADD213PS(constant(c), r, p)
	}
	square := v.vec()
	VMULPS(r, r, square)
	VFMADD213PS(r, square, p)
	VADDPS(constant(1), p, p)
	if v.wide() {
		VSCALEFPS(n, p, p)
		k := K()
		VCMPPS(Imm(5), least, x, k) // not less than, or a NaN
		VMOVAPS_Z(p, k, x)
		return
	}
	keep := v.vec()
	VCMPPS(Imm(5), least, x, keep)
	// 2ⁿ in two factors, as n may be 128.
	half := v.vec()
	VCVTPS2DQ(n, n)
	VPSRAD(Imm(1), n, half)
	VPSUBD(half, n, n)
	for _, i := range []reg.VecVirtual{n, half} {
		VPADDD(bits(127), i, i)
		VPSLLD(Imm(23), i, i)
		VMULPS(i, p, p)
	}
	VANDPS(keep, p, x)
}

// negated is -x.
func (v isa) negated(x reg.VecVirtual) reg.VecVirtual {
	y := v.vec()
	if v.wide() {
		VPXORD(bits(1<<31), x, y)
	} else {
		VXORPS(bits(1<<31), x, y)
	}
	return y
}

// sigmoidOf is 1/(1+e⁻ˣ); it keeps x.
func (v isa) sigmoidOf(x reg.VecVirtual) reg.VecVirtual {
	e, one := v.negated(x), v.vec()
	v.expOf(e)
	VMOVUPS(constant(1), one)
	VADDPS(one, e, e)
	VDIVPS(e, one, e)
	return e
}

// exponentials are the passes that need eˣ.
func (v isa) exponentials() {
	v.text("exp", "(dst, x *float32, n int)", "sets dst to eˣ.")
	p := pointers("dst", "x", "n")
	v.loop(p[2], 2, p[:2], func(t turn) {
		x := t.load(p[1])
		v.expOf(x)
		t.store(x, p[0])
	})
	done()

	v.text("expSum", "(dst, x *float32, n int, a, b float32) float32", "sets dst to e^(a·x+b) and returns the sum.")
	p = pointers("dst", "x", "n")
	a, b := v.broadcast("a"), v.broadcast("b")
	acc := v.accumulators(2)
	v.loop(p[2], 2, p[:2], func(t turn) {
		x := t.load(p[1])
		VFMADD213PS(b, a, x)
		v.expOf(x)
		t.store(x, p[0])
		t.only(x)
		VADDPS(x, acc[t.u], acc[t.u])
	})
	v.reduce(acc, func(a, b, dst Op) { VADDPS(a, b, dst) })
	done()

	v.text("sigmoid", "(dst, x *float32, n int)", "sets dst to 1/(1+e⁻ˣ).")
	p = pointers("dst", "x", "n")
	v.loop(p[2], 2, p[:2], func(t turn) {
		t.store(v.sigmoidOf(t.load(p[1])), p[0])
	})
	done()

	v.text("swiGLU", "(dst, gate, up *float32, n int)", "sets dst to gate·sigmoid(gate)·up.")
	p = pointers("dst", "gate", "up", "n")
	v.loop(p[3], 2, p[:3], func(t turn) {
		z := t.load(p[1])
		s := v.sigmoidOf(z)
		VMULPS(z, s, s)
		u := t.load(p[2])
		VMULPS(u, s, s)
		t.store(s, p[0])
	})
	done()

	v.text("swiGLUGrad", "(dgate, dup, dy, gate, up *float32, n int)", "sets dgate and dup to the gradients of swiGLU.")
	p = pointers("dgate", "dup", "dy", "gate", "up", "n")
	v.loop(p[5], 2, p[:5], func(t turn) {
		z := t.load(p[3])
		s := v.sigmoidOf(z)
		VMULPS(z, s, z) // silu
		slope := v.vec()
		VADDPS(z, s, slope)
		VFNMADD231PS(z, s, slope) // s + silu·(1-s)
		g, u := t.load(p[2]), t.load(p[4])
		VMULPS(g, z, z)
		VMULPS(g, u, u)
		VMULPS(u, slope, slope)
		t.store(z, p[1])
		t.store(slope, p[0])
	})
	done()
}

// rotary turns pairs; sign is 1, or -1 to turn back.
func (v isa) rotary() {
	v.text("rotaryInterleaved", "(x, cos, sin *float32, pairs int, sign float32)", "turns pairs of neighbours; their number is a multiple of half the lanes.")
	p := pointers("x", "cos", "sin", "pairs")
	sign := v.broadcast("sign")
	Label("next")
	CMPQ(p[3], U32(uint32(v.lanes()/2)))
	JL(LabelRef("end"))
	x, c, s, swapped := v.vec(), v.vec(), v.vec(), v.vec()
	VMOVUPS(Mem{Base: p[0]}, x)
	VPMOVZXDQ(Mem{Base: p[1]}, c)
	VPMOVZXDQ(Mem{Base: p[2]}, s)
	VMOVSLDUP(c, c)
	VMOVSLDUP(s, s)
	VMULPS(sign, s, s)
	VPERMILPS(Imm(0b10110001), x, swapped)
	VMULPS(s, swapped, swapped)
	VFMADDSUB213PS(swapped, c, x) // x·c - y·s, y·c + x·s
	VMOVUPS(x, Mem{Base: p[0]})
	ADDQ(U32(uint32(v.bytes())), p[0])
	ADDQ(U32(uint32(v.bytes()/2)), p[1])
	ADDQ(U32(uint32(v.bytes()/2)), p[2])
	SUBQ(U32(uint32(v.lanes()/2)), p[3])
	JMP(LabelRef("next"))
	Label("end")
	done()

	v.text("rotaryHalf", "(x, y, cos, sin *float32, n int, sign float32)", "turns the pairs (x, y).")
	p = pointers("x", "y", "cos", "sin", "n")
	sign = v.broadcast("sign")
	v.loop(p[4], 1, p[:4], func(t turn) {
		x, y, c, s := t.load(p[0]), t.load(p[1]), t.load(p[2]), t.load(p[3])
		VMULPS(sign, s, s)
		xs, ys := v.vec(), v.vec()
		VMULPS(x, s, xs)
		VMULPS(y, s, ys)
		VFMSUB213PS(ys, c, x)
		VFMADD213PS(xs, c, y)
		t.store(x, p[0])
		t.store(y, p[1])
	})
	done()
}

// adamW updates weights and moments; o points at an adamWArgs.
func (v isa) adamW() {
	v.text("adamW", "(w, grad, m, v *float32, n int, o *float32)", "is one step of AdamW with the constants of an adamWArgs.")
	p := pointers("w", "grad", "m", "v", "n")
	o := Load(Param("o"), GP64())
	var c [8]reg.VecVirtual
	for i := range c {
		c[i] = v.vec()
		VBROADCASTSS(Mem{Base: o, Disp: 4 * i}, c[i])
	}
	gradScale, beta1, keep1, beta2, keep2, decay, rate, eps := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	v.loop(p[4], 1, p[:4], func(t turn) {
		g, m, s, w := t.load(p[1]), t.load(p[2]), t.load(p[3]), t.load(p[0])
		VMULPS(gradScale, g, g)
		VMULPS(beta1, m, m)
		VFMADD231PS(g, keep1, m)
		VMULPS(g, g, g)
		VMULPS(beta2, s, s)
		VFMADD231PS(g, keep2, s)
		t.store(m, p[2])
		t.store(s, p[3])
		VSQRTPS(s, s)
		VADDPS(eps, s, s)
		VDIVPS(s, m, m)
		VMULPS(decay, w, w)
		VFNMADD231PS(m, rate, w)
		t.store(w, p[0])
	})
	done()
}
