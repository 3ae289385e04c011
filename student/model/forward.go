package model

import "retort/internal/kernel"

// rows of a block of tokens.
func (p *Pass) rows(part int) (from, to int) {
	return part * blockRows, min((part+1)*blockRows, len(p.batch.Tokens))
}

// embed starts the residual stream and prepares the first layer's attention.
func (p *Pass) embed(part, worker int) {
	from, to := p.rows(part)
	d, ld := p.config.Hidden, p.ld.d
	for i := from; i < to; i++ {
		copy(p.act[0].x[i*ld:][:d], p.w.embed[int(p.batch.Tokens[i])*d:])
	}
	p.beforeAttention(0, from, to, p.pool.Scratch(worker))
}

// beforeAttention computes queries, keys and values of rows [from, to).
func (p *Pass) beforeAttention(layer, from, to int, s *kernel.Scratch) {
	c, x, w, m := &p.config, &p.act[layer], &p.w.layer[layer], &p.forward.layer[layer]
	d, in, kv, qIn, latent, n := p.ld.d, p.ld.in, p.ld.kv, c.qIn(), c.KVLoraRank, to-from
	normRows(x.xn, d, x.x, d, w.attnNorm, x.rstd, from, to, float32(c.NormEps))
	p.multiply(layer, siteIn, m.in, n, x.xn[from*d:], d, nil, x.in[from*in:], in, from, s)
	if c.grouped() {
		for i := from; i < to; i++ {
			p.group(layer, i)
		}
		return
	}
	if c.QLoraRank > 0 {
		normRows(x.qn, qIn, x.in, in, w.qNorm, x.qRstd, from, to, latentEps)
		p.multiply(layer, siteQB, m.qB, n, x.qn[from*qIn:], qIn, nil, x.q[from*x.ldq:], x.ldq, from, s)
	}
	normRows(x.cn, latent, x.in[qIn:], in, w.kvNorm, x.cRstd, from, to, latentEps)
	p.multiply(layer, siteKVB, m.kvB, n, x.cn[from*latent:], latent, nil, x.kv[from*kv:], kv, from, s)
	for i := from; i < to; i++ {
		cos, sin := p.rope.at(int(p.position[i]))
		shared := x.in[i*in+qIn+latent:][:c.RopeDim]
		kernel.RotaryInterleaved(shared, cos, sin, false)
		q, k, kv := x.q[i*x.ldq:], x.k[i*x.ldk:], x.kv[i*kv:]
		for h := range c.Heads {
			at := h * c.qkDim()
			kernel.RotaryInterleaved(q[at+c.NopeDim:][:c.RopeDim], cos, sin, false)
			copy(k[at:at+c.NopeDim], kv[h*(c.NopeDim+c.VDim):])
			copy(k[at+c.NopeDim:at+c.qkDim()], shared)
		}
	}
}

// normRows sets rows [from, to) of dst to the RMS norm of those of x and keeps what the
// gradient needs.
func normRows(dst []float32, ldd int, x []float32, ldx int, w, rstd []float32, from, to int, eps float32) {
	for i := from; i < to; i++ {
		rstd[i] = kernel.RMSNorm(dst[i*ldd:][:len(w)], x[i*ldx:][:len(w)], w, eps)
	}
}

// attend computes attention of one head over one sequence.
func (p *Pass) attend(part, worker int) {
	c, x := &p.config, &p.act[p.layer]
	s, h := part/c.Heads, part%c.Heads
	from, to := p.batch.bounds(s)
	k, v := x.keys(c, h, from)
	kernel.AttentionForward(to-from, c.qkDim(), c.VDim,
		x.q[from*x.ldq+h*c.qkDim():], x.ldq, k, x.ldk, v, x.ldv,
		x.out[from*p.ld.o+h*c.VDim:], p.ld.o,
		x.lse[h*p.maxTokens+from:], p.scale, p.precision, p.pool.Scratch(worker))
}

// keys are the keys and the values that a head reads, from a row on.
func (x *activations) keys(c *Config, h, from int) (k, v []float32) {
	h /= c.queriesOf()
	return x.k[from*x.ldk+h*c.qkDim():], x.v[from*x.ldv+h*(c.NopeDim+c.VDim):]
}

// afterAttention adds attention and MLP to the residual stream. In a layer with
// experts only the shared one is added here.
func (p *Pass) afterAttention(part, worker int) {
	s := p.pool.Scratch(worker)
	from, to := p.rows(part)
	c, x, w, m := &p.config, &p.act[p.layer], &p.w.layer[p.layer], &p.forward.layer[p.layer]
	d, o, n := p.ld.d, p.ld.o, to-from
	x1, next := x.x1[from*d:to*d], p.stream(p.layer + 1)[from*d:to*d]
	p.multiply(p.layer, siteOut, m.out, n, x.out[from*o:], o, x.x[from*d:to*d], x1, d, from, s)
	normRows(x.x1n, d, x.x1, d, w.ffnNorm, x.rstd1, from, to, float32(c.NormEps))
	if c.isMoE(p.layer) {
		p.chooseExperts(from, to, s)
		p.mlpForwardFrom(&x.shared, m.shared, x.x1n, x1, next, from, to, s)
		return
	}
	p.mlpForwardFrom(&x.dense, m.dense, x.x1n, x1, next, from, to, s)
	if p.layer+1 < c.Layers {
		p.beforeAttention(p.layer+1, from, to, s)
	}
}

// stream is the residual stream [T, d] before a layer, or after the last.
func (p *Pass) stream(layer int) []float32 {
	if layer < len(p.act) {
		return p.act[layer].x
	}
	return p.last
}

// mlpForward adds to y (a block that begins at row from) the SwiGLU of rows
// [from, to) of x.
func (p *Pass) mlpForward(a *mlpActivations, m packedMLP, x, y []float32, from, to int, s *kernel.Scratch) {
	p.mlpForwardFrom(a, m, x, y, y, from, to, s)
}

// mlpForwardFrom is mlpForward with the sum of base, which begins at row from too,
// and the SwiGLU in y. Only models without experts are adapted.
func (p *Pass) mlpForwardFrom(a *mlpActivations, m packedMLP, x, base, y []float32, from, to int, s *kernel.Scratch) {
	d, n, w := p.ld.d, to-from, a.width
	gateUp, h := a.gateUp[from*a.ld:], a.h[from*a.ldh:]
	p.multiply(p.layer, siteGateUp, m.gateUp, n, x[from*d:], d, nil, gateUp, a.ld, from, s)
	for i := range n {
		row := gateUp[i*a.ld:][:2*w]
		kernel.SwiGLU(h[i*a.ldh:][:w], row[:w], row[w:])
	}
	p.multiply(p.layer, siteDown, m.down, n, h, a.ldh, base, y, d, from, s)
}
