package model

import "retort/internal/kernel"

// rows of a block of tokens.
func (p *Pass) rows(part int) (from, to int) {
	return part * blockRows, min((part+1)*blockRows, len(p.batch.Tokens))
}

// embed starts the residual stream and prepares the first layer's attention.
func (p *Pass) embed(part, worker int) {
	from, to := p.rows(part)
	d := p.config.Hidden
	for i := from; i < to; i++ {
		copy(p.act[0].x[i*d:(i+1)*d], p.model.w.embed[int(p.batch.Tokens[i])*d:])
	}
	p.beforeAttention(0, from, to, p.pool.Scratch(worker))
}

// beforeAttention computes queries, keys and values of rows [from, to).
func (p *Pass) beforeAttention(layer, from, to int, s *kernel.Scratch) {
	c, x, w, m := &p.config, &p.act[layer], &p.model.w.layer[layer], &p.forward.layer[layer]
	d, in, qIn, latent, n := c.Hidden, c.inWidth(), c.qIn(), c.KVLoraRank, to-from
	normRows(x.xn, x.x, w.attnNorm, x.rstd, d, d, from, to, float32(c.NormEps))
	kernel.GemmPackedSerial(n, x.xn[from*d:], d, m.in, x.in[from*in:], in, false, s)
	p.adapt(layer, siteIn, n, x.xn[from*d:], d, x.in[from*in:], in, from, s)
	if c.grouped() {
		for i := from; i < to; i++ {
			p.group(layer, i)
		}
		return
	}
	if c.QLoraRank > 0 {
		normRows(x.qn, x.in, w.qNorm, x.qRstd, in, qIn, from, to, latentEps)
		kernel.GemmPackedSerial(n, x.qn[from*qIn:], qIn, m.qB, x.q[from*x.ldq:], x.ldq, false, s)
		p.adapt(layer, siteQB, n, x.qn[from*qIn:], qIn, x.q[from*x.ldq:], x.ldq, from, s)
	}
	normRows(x.cn, x.in[qIn:], w.kvNorm, x.cRstd, in, latent, from, to, latentEps)
	kernel.GemmPackedSerial(n, x.cn[from*latent:], latent, m.kvB, x.kv[from*c.kvWidth():], c.kvWidth(), false, s)
	p.adapt(layer, siteKVB, n, x.cn[from*latent:], latent, x.kv[from*c.kvWidth():], c.kvWidth(), from, s)
	for i := from; i < to; i++ {
		cos, sin := p.rope.at(int(p.position[i]))
		shared := x.in[i*in+qIn+latent:][:c.RopeDim]
		kernel.RotaryInterleaved(shared, cos, sin, false)
		q, k, kv := x.q[i*x.ldq:], x.k[i*c.qWidth():], x.kv[i*c.kvWidth():]
		for h := range c.Heads {
			at := h * c.qkDim()
			kernel.RotaryInterleaved(q[at+c.NopeDim:][:c.RopeDim], cos, sin, false)
			copy(k[at:at+c.NopeDim], kv[h*(c.NopeDim+c.VDim):])
			copy(k[at+c.NopeDim:at+c.qkDim()], shared)
		}
	}
}

// normRows sets rows [from, to) of dst [·, n] to the RMS norm of those of x,
// whose rows are ldx apart, and keeps what the gradient needs.
func normRows(dst, x, w, rstd []float32, ldx, n, from, to int, eps float32) {
	for i := from; i < to; i++ {
		rstd[i] = kernel.RMSNorm(dst[i*n:(i+1)*n], x[i*ldx:i*ldx+n], w, eps)
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
		x.out[from*c.oWidth()+h*c.VDim:], c.oWidth(),
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
	c, x, w, m := &p.config, &p.act[p.layer], &p.model.w.layer[p.layer], &p.forward.layer[p.layer]
	d, n := c.Hidden, to-from
	x1, next := x.x1[from*d:to*d], p.stream(p.layer + 1)[from*d:to*d]
	kernel.GemmPackedSerialFrom(n, x.out[from*c.oWidth():], c.oWidth(), m.out, x.x[from*d:to*d], x1, d, s)
	p.adapt(p.layer, siteOut, n, x.out[from*c.oWidth():], c.oWidth(), x1, d, from, s)
	normRows(x.x1n, x.x1, w.ffnNorm, x.rstd1, d, d, from, to, float32(c.NormEps))
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
	d, n, w := p.config.Hidden, to-from, a.width
	gateUp, h := a.gateUp[from*2*w:], a.h[from*w:]
	kernel.GemmPackedSerial(n, x[from*d:], d, m.gateUp, gateUp, 2*w, false, s)
	p.adapt(p.layer, siteGateUp, n, x[from*d:], d, gateUp, 2*w, from, s)
	for i := range n {
		row := gateUp[i*2*w : (i+1)*2*w]
		kernel.SwiGLU(h[i*w:(i+1)*w], row[:w], row[w:])
	}
	kernel.GemmPackedSerialFrom(n, h, w, m.down, base, y, d, s)
	p.adapt(p.layer, siteDown, n, h, w, y, d, from, s)
}
