package main

import "math"

// sums are the reductions: four accumulators, folded in a fixed order.
func (t *text) sums() {
	t.function("dot", "x, y *float32, n int", "float32", "is Σ x·y.")
	p := t.general("x", "y", "n")
	acc := t.zeros(4)
	t.loop(p[2], 4, p[:2], func(t turn) {
		x, y := t.load(p[0]), t.load(p[1])
		t.fmla(acc[t.u], x, y)
	})
	t.reduce(acc, t.fadd, t.faddp)
	t.op("RET")

	t.function("dot3", "x, y, z *float32, n int", "float32", "is Σ x·y·z.")
	p = t.general("x", "y", "z", "n")
	acc = t.zeros(4)
	t.loop(p[3], 4, p[:3], func(t turn) {
		x, y, z := t.load(p[0]), t.load(p[1]), t.load(p[2])
		t.fmul(y, x, y)
		t.fmla(acc[t.u], y, z)
	})
	t.reduce(acc, t.fadd, t.faddp)
	t.op("RET")

	t.function("maximum", "x *float32, n int", "float32", "is the largest of x. n is positive.")
	p = t.general("x", "n")
	acc = t.zeros(4)
	for _, x := range acc {
		t.op("VLD1R (%v), [%v.S4]", p[0], x)
	}
	t.loop(p[1], 4, p[:1], func(t turn) {
		x := t.free()
		if t.tail { // in all lanes, as 0 would be a value
			t.op("VLD1R (%v), [%v.S4]", p[0], x)
		} else {
			t.loadInto(x, p[0])
		}
		t.fmax(acc[t.u], x, acc[t.u])
	})
	t.reduce(acc, t.fmax, t.fmaxp)
	t.op("RET")
}

// maps are the elementwise passes without exponentials.
func (t *text) maps() {
	t.function("axpy", "y *float32, a float32, x *float32, n int", "", "adds a·x to y.")
	p := t.general("y", "x", "n")
	a := t.broadcast("a")
	t.loop(p[2], 4, p[:2], func(t turn) {
		y, x := t.load(p[0]), t.load(p[1])
		t.fmla(y, x, a)
		t.store(y, p[0])
	})
	t.op("RET")

	t.function("scale", "x *float32, a float32, n int", "", "multiplies x by a.")
	p = t.general("x", "n")
	a = t.broadcast("a")
	t.loop(p[1], 4, p[:1], func(t turn) {
		x := t.load(p[0])
		t.fmul(x, x, a)
		t.store(x, p[0])
	})
	t.op("RET")

	t.binary("add", "sets dst to x + y.", t.fadd)
	t.binary("mul", "sets dst to x·y.", t.fmul)

	t.function("mulScale", "dst, x, y *float32, a float32, n int", "", "sets dst to a·x·y.")
	p = t.general("dst", "x", "y", "n")
	a = t.broadcast("a")
	t.loop(p[3], 4, p[:3], func(t turn) {
		x, y := t.load(p[1]), t.load(p[2])
		t.fmul(x, x, a)
		t.fmul(x, x, y)
		t.store(x, p[0])
	})
	t.op("RET")

	t.function("scoreGrad", "dp, p *float32, d, a float32, n int", "", "sets dp to a·p·(dp-d).")
	p = t.general("dp", "p", "n")
	d := t.broadcast("d")
	a = t.broadcast("a")
	t.loop(p[2], 4, p[:2], func(t turn) {
		x, y := t.load(p[0]), t.load(p[1])
		t.fsub(x, x, d)
		t.fmul(y, y, a)
		t.fmul(x, x, y)
		t.store(x, p[0])
	})
	t.op("RET")

	t.function("rmsNormGrad", "dx, dw, dy, x, w *float32, n int, rstd, along float32", "", "adds dy·x·rstd to dw and dy·w·rstd + x·along to dx.")
	p = t.general("dx", "dw", "dy", "x", "w", "n")
	r := t.broadcast("rstd")
	along := t.broadcast("along")
	t.loop(p[5], 2, p[:5], func(t turn) {
		dx, dw, g, x, w := t.load(p[0]), t.load(p[1]), t.load(p[2]), t.load(p[3]), t.load(p[4])
		t.fmul(g, g, r)
		t.fmla(dw, g, x)
		t.fmla(dx, g, w)
		t.fmla(dx, x, along)
		t.store(dw, p[1])
		t.store(dx, p[0])
	})
	t.op("RET")
}

func (t *text) binary(name, doc string, op func(d, n, m vec)) {
	t.function(name, "dst, x, y *float32, n int", "", doc)
	p := t.general("dst", "x", "y", "n")
	t.loop(p[3], 4, p[:3], func(t turn) {
		x, y := t.load(p[1]), t.load(p[2])
		op(x, x, y)
		t.store(x, p[0])
	})
	t.op("RET")
}

// expConstants are those of exp1 in vector_portable.go, 4 lanes each. The first
// heldConstants stay in registers; the others begin a sum that a multiply-add
// overwrites, and are loaded each time.
var expConstants = []float64{89, 1.44269504088896341, 0.693359375, -2.12194440e-4, 1.9875691500e-4, 1, -87.33654,
	1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

const heldConstants = 7

func (t *text) expTable() {
	t.line("")
	put := func(i int, bits uint32) {
		for lanes := range 2 {
			t.line("DATA expConstants<>+%d(SB)/8, $0x%08x%08x", 16*i+8*lanes, bits, bits)
		}
	}
	for i, x := range expConstants {
		put(i, math.Float32bits(float32(x)))
	}
	put(len(expConstants), 127)
	t.line("GLOBL expConstants<>(SB), RODATA|NOPTR, $%d", 16*(len(expConstants)+1))
}

// exponential holds what eˣ needs in registers.
type exponential struct {
	table                                        gp
	most, log2e, hi, lo, first, one, least, bias vec
}

func (t *text) exponential() *exponential {
	e := &exponential{table: 19}
	t.op("MOVD $expConstants<>(SB), %v", e.table)
	for i, x := range []*vec{&e.most, &e.log2e, &e.hi, &e.lo, &e.first, &e.one, &e.least} {
		*x = t.free()
		t.op("FMOVQ %d(%v), F%d", 16*i, e.table, *x)
	}
	e.bias = t.free()
	t.op("FMOVQ %d(%v), F%d", 16*len(expConstants), e.table, e.bias)
	return e
}

// of replaces x by eˣ: the algorithm of exp1 in vector_portable.go.
func (e *exponential) of(t turn, x vec) {
	r, n, p, c, other := t.free(), t.free(), e.first, t.free(), t.free()
	t.fmin(r, x, e.most)
	t.fmul(n, r, e.log2e)
	t.frintn(n, n)
	t.fmls(r, n, e.hi)
	t.fmls(r, n, e.lo)
	for i := heldConstants; i < len(expConstants); i++ {
		t.op("FMOVQ %d(%v), F%d", 16*i, e.table, c)
		t.fmla(c, p, r)
		p, c, other = c, other, c
	}
	t.fmul(c, r, r)
	t.fmla(r, p, c)
	t.fadd(p, r, e.one)
	// 2ⁿ in two factors, as n may be 128.
	half := c
	t.fcvtns(n, n)
	t.half(half, n)
	t.subInt(n, n, half)
	for _, i := range []vec{n, half} {
		t.addInt(i, i, e.bias)
		t.shiftLeft(i, i, 23)
		t.fmul(p, p, i)
	}
	t.fcmgt(n, e.least, x) // not of a NaN
	t.bic(x, p, n)
}

// sigmoid is 1/(1+e⁻ˣ); it keeps x.
func (e *exponential) sigmoid(t turn, x vec) vec {
	y := t.free()
	t.fneg(y, x)
	e.of(t, y)
	t.fadd(y, y, e.one)
	t.fdiv(y, e.one, y)
	return y
}

// exponentials are the passes that need eˣ.
func (t *text) exponentials() {
	t.function("exp", "dst, x *float32, n int", "", "sets dst to eˣ.")
	p := t.general("dst", "x", "n")
	e := t.exponential()
	t.loop(p[2], 2, p[:2], func(t turn) {
		x := t.load(p[1])
		e.of(t, x)
		t.store(x, p[0])
	})
	t.op("RET")

	t.function("expSum", "dst, x *float32, n int, a, b float32", "float32", "sets dst to e^(a·x+b) and returns the sum.")
	p = t.general("dst", "x", "n")
	e = t.exponential()
	a, b := t.broadcast("a"), t.broadcast("b")
	acc := t.zeros(2)
	t.loop(p[2], 2, p[:2], func(t turn) {
		x, y := t.load(p[1]), t.free()
		t.op("VORR %v.B16, %v.B16, %v.B16", b, b, y)
		t.fmla(y, x, a)
		e.of(t, y)
		t.store(y, p[0])
		t.only(y)
		t.fadd(acc[t.u], acc[t.u], y)
	})
	t.reduce(acc, t.fadd, t.faddp)
	t.op("RET")

	t.function("sigmoid", "dst, x *float32, n int", "", "sets dst to 1/(1+e⁻ˣ).")
	p = t.general("dst", "x", "n")
	e = t.exponential()
	t.loop(p[2], 2, p[:2], func(t turn) {
		t.store(e.sigmoid(t, t.load(p[1])), p[0])
	})
	t.op("RET")

	t.function("swiGLU", "dst, gate, up *float32, n int", "", "sets dst to gate·sigmoid(gate)·up.")
	p = t.general("dst", "gate", "up", "n")
	e = t.exponential()
	t.loop(p[3], 2, p[:3], func(t turn) {
		z := t.load(p[1])
		s := e.sigmoid(t, z)
		t.fmul(s, s, z)
		t.loadInto(z, p[2])
		t.fmul(s, s, z)
		t.store(s, p[0])
	})
	t.op("RET")

	t.function("swiGLUGrad", "dgate, dup, dy, gate, up *float32, n int", "", "sets dgate and dup to the gradients of swiGLU.")
	p = t.general("dgate", "dup", "dy", "gate", "up", "n")
	e = t.exponential()
	t.loop(p[5], 2, p[:5], func(t turn) {
		z := t.load(p[3])
		s := e.sigmoid(t, z)
		t.fmul(z, z, s) // silu
		slope := t.free()
		t.fadd(slope, z, s)
		t.fmls(slope, z, s) // s + silu·(1-s)
		g, u := t.load(p[2]), s
		t.loadInto(u, p[4])
		t.fmul(z, z, g)
		t.fmul(u, u, g)
		t.fmul(slope, slope, u)
		t.store(z, p[1])
		t.store(slope, p[0])
	})
	t.op("RET")
}

// rotary turns pairs; sign is 1, or -1 to turn back.
func (t *text) rotary() {
	// turned is x·c - y·s and y·c + x·s.
	turned := func(x, y, c, s vec) (vec, vec) {
		a, b := t.free(), t.free()
		t.fmul(a, x, c)
		t.fmul(b, y, c)
		t.fmls(a, y, s)
		t.fmla(b, x, s)
		return a, b
	}

	t.function("rotaryInterleaved", "x, cos, sin *float32, pairs int, sign float32", "", "turns pairs of neighbours; their number is a multiple of 4.")
	p := t.general("x", "cos", "sin", "pairs")
	sign := t.broadcast("sign")
	x, y, c, s := t.free(), t.free(), t.free(), t.free()
	t.label("next")
	t.op("CBZ %v, end", p[3])
	t.op("VLD2 (%v), [%v.S4, %v.S4]", p[0], x, y)
	t.op("FMOVQ.P 16(%v), F%d", p[1], c)
	t.op("FMOVQ.P 16(%v), F%d", p[2], s)
	t.fmul(s, s, sign)
	a, b := turned(x, y, c, s)
	t.op("VST2.P [%v.S4, %v.S4], 32(%v)", a, b, p[0])
	t.op("SUB $4, %v", p[3])
	t.op("B next")
	t.label("end")
	t.op("RET")

	t.function("rotaryHalf", "x, y, cos, sin *float32, n int, sign float32", "", "turns the pairs (x, y).")
	p = t.general("x", "y", "cos", "sin", "n")
	sign = t.broadcast("sign")
	t.loop(p[4], 1, p[:4], func(t turn) {
		x, y, c, s := t.load(p[0]), t.load(p[1]), t.load(p[2]), t.load(p[3])
		t.fmul(s, s, sign)
		a, b := turned(x, y, c, s)
		t.store(a, p[0])
		t.store(b, p[1])
	})
	t.op("RET")
}

// adamW updates weights and moments; o points at an adamWArgs.
func (t *text) adamW() {
	t.function("adamW", "w, grad, m, v *float32, n int, o *float32", "", "is one step of AdamW with the constants of an adamWArgs.")
	p := t.general("w", "grad", "m", "v", "n", "o")
	var c [8]vec
	for i := range c {
		c[i] = t.free()
		t.op("VLD1R.P 4(%v), [%v.S4]", p[5], c[i])
	}
	gradScale, beta1, keep1, beta2, keep2, decay, rate, eps := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	t.loop(p[4], 1, p[:4], func(t turn) {
		g, m, s, w := t.load(p[1]), t.load(p[2]), t.load(p[3]), t.load(p[0])
		t.fmul(g, g, gradScale)
		t.fmul(m, m, beta1)
		t.fmla(m, g, keep1)
		t.fmul(g, g, g)
		t.fmul(s, s, beta2)
		t.fmla(s, g, keep2)
		t.store(m, p[2])
		t.store(s, p[3])
		t.fsqrt(s, s)
		t.fadd(s, s, eps)
		t.fdiv(m, m, s)
		t.fmul(w, w, decay)
		t.fmls(w, m, rate)
		t.store(w, p[0])
	})
	t.op("RET")
}
