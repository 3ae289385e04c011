package model

import "retort/internal/kernel"

// vectorWidth is the number of elements of all parameters that are no matrices.
func (p *Pass) vectorWidth() int {
	_, n := carveVectors[float32](&p.config, nil)
	return p.config.Layers*n + p.config.Hidden
}

// vectorPart is where a block of rows adds its part of the gradients of a layer's
// vectors, so that blocks can run in any order and be summed in theirs; of frozen
// vectors it is empty.
func (p *Pass) vectorPart(layer, part int) layerVectors[float32] {
	if p.adapting != nil {
		return layerVectors[float32]{}
	}
	_, n := carveVectors[float32](&p.config, nil)
	v, _ := carveVectors(&p.config, p.vectorParts[part*p.vectorWidth()+layer*n:])
	return v
}

// finalPart is the same for the final norm.
func (p *Pass) finalPart(part int) []float32 {
	if p.adapting != nil {
		return nil
	}
	end := (part + 1) * p.vectorWidth()
	return p.vectorParts[end-p.config.Hidden : end]
}

// mlpGrad takes the gradient through a block's dense MLP to what attention
// wrote; in a layer with experts, through the shared one to its input.
func (p *Pass) mlpGrad(part, worker int) {
	from, to := p.rows(part)
	c, x, m, work := &p.config, &p.act[p.layer], &p.backward.layer[p.layer], &p.work[worker]
	d := p.ld.d
	if c.isMoE(p.layer) {
		p.mlpBackward(&x.shared, m.shared, p.flow.dx[from*d:], p.flow.dx1n[from*d:], work.dh, from, to, p.pool.Scratch(worker))
		return
	}
	if p.adapting != nil {
		normRows(x.x1n, d, x.x1, d, p.w.layer[p.layer].ffnNorm, x.rstd1, from, to, float32(c.NormEps))
	}
	p.mlpBackward(&x.dense, m.dense, p.flow.dx[from*d:], work.dxn, work.dh, from, to, p.pool.Scratch(worker))
	p.outGrad(part, work.dxn, p.pool.Scratch(worker))
}

// mlpBackward replaces gateUp of rows [from, to) by its gradient and sets dx to
// that of the input; dy and dx begin at row from. Only models without experts are
// adapted.
func (p *Pass) mlpBackward(a *mlpActivations, m packedMLP, dy, dx, dh []float32, from, to int, s *kernel.Scratch) {
	d, n, w := p.ld.d, to-from, a.width
	gateUp := a.gateUp[from*a.ld:]
	p.multiplyBack(siteDown, m.down, n, dy, d, dh, a.ldh, from, s)
	for i := range n {
		row := gateUp[i*a.ld:][:2*w]
		if p.adapting != nil {
			kernel.SwiGLU(a.h[(from+i)*a.ldh:][:w], row[:w], row[w:])
		}
		kernel.SwiGLUGrad(row[:w], row[w:], dh[i*a.ldh:][:w], row[:w], row[w:])
	}
	p.multiplyBack(siteGateUp, m.gateUp, n, gateUp, a.ld, dx, d, from, s)
}

// outGrad takes the gradient of the MLP's normed input (dxn, which begins at the
// block's first row) to the residual stream after attention and to its output.
func (p *Pass) outGrad(part int, dxn []float32, s *kernel.Scratch) {
	from, to := p.rows(part)
	c, x, f := &p.config, &p.act[p.layer], &p.flow
	d, o, n := p.ld.d, p.ld.o, c.Hidden
	dw := p.vectorPart(p.layer, part).ffnNorm
	for i := from; i < to; i++ {
		p.normGradFrom(f.dx1[i*d:][:n], f.dx[i*d:][:n], dw, dxn[(i-from)*d:][:n], x.x1[i*d:][:n], p.w.layer[p.layer].ffnNorm, x.rstd1[i])
	}
	p.multiplyBack(siteOut, p.backward.layer[p.layer].out, to-from, f.dx1[from*d:], d, f.dout[from*o:], o, from, s)
}

// attentionGrad differentiates attention of one head over one sequence.
func (p *Pass) attentionGrad(part, worker int) {
	c, x, f := &p.config, &p.act[p.layer], &p.flow
	s, h := part/c.Heads, part%c.Heads
	from, to := p.batch.bounds(s)
	qk, qw, kvw, o := h*c.qkDim(), p.ld.q, p.ld.kv, from*p.ld.o+h*c.VDim
	value := from*kvw + h*(c.NopeDim+c.VDim) + c.NopeDim
	k, v := x.keys(c, h, from)
	kernel.AttentionBackward(to-from, c.qkDim(), c.VDim,
		x.q[from*x.ldq+qk:], x.ldq, k, x.ldk, v, x.ldv,
		x.out[o:], p.ld.o, x.lse[h*p.maxTokens+from:],
		f.dout[o:], p.ld.o,
		f.dq[from*f.lddq+qk:], f.lddq, f.dk[from*qw+qk:], qw, f.dkv[value:], kvw,
		p.scale, p.precision, p.pool.Scratch(worker))
}

// inputGrad takes the gradients of queries, keys and values of a block to the
// residual stream before attention.
func (p *Pass) inputGrad(part, worker int) {
	from, to := p.rows(part)
	c, x, f, work, s := &p.config, &p.act[p.layer], &p.flow, &p.work[worker], p.pool.Scratch(worker)
	w, m, vectors := &p.w.layer[p.layer], &p.backward.layer[p.layer], p.vectorPart(p.layer, part)
	d, in, kv, qIn, latent, n := p.ld.d, p.ld.in, p.ld.kv, c.qIn(), c.KVLoraRank, to-from
	if c.grouped() {
		for i := from; i < to; i++ {
			p.groupGrad(i, &vectors, work.dqk)
		}
	} else {
		for i := from; i < to; i++ {
			p.keyGrad(i)
		}
		p.multiplyBack(siteKVB, m.kvB, n, f.dkv[from*kv:], kv, work.dcn, latent, from, s)
		p.normGradRows(f.din[qIn:], x.in[qIn:], in, work.dcn, w.kvNorm, vectors.kvNorm, x.cRstd, latent, from, to)
	}
	if c.QLoraRank > 0 {
		p.multiplyBack(siteQB, m.qB, n, f.dq[from*f.lddq:], f.lddq, work.dqn, qIn, from, s)
		p.normGradRows(f.din, x.in, in, work.dqn, w.qNorm, vectors.qNorm, x.qRstd, qIn, from, to)
	}
	if p.adapting != nil {
		normRows(x.xn, d, x.x, d, w.attnNorm, x.rstd, from, to, float32(c.NormEps))
	}
	p.multiplyBack(siteIn, m.in, n, f.din[from*in:], in, work.dxn, d, from, s)
	for i := from; i < to; i++ {
		at, n := i*d, c.Hidden
		p.normGradFrom(f.dx[at:][:n], f.dx1[at:][:n], vectors.attnNorm, work.dxn[(i-from)*d:][:n], x.x[at:][:n], w.attnNorm, x.rstd[i])
	}
}

// keyGrad takes the gradients of one token's keys apart, into those of the
// heads' own parts and the sum of the shared rotary part, and turns rotated
// gradients back.
func (p *Pass) keyGrad(i int) {
	c, f := &p.config, &p.flow
	cos, sin := p.rope.at(int(p.position[i]))
	shared := f.din[i*p.ld.in+c.qIn()+c.KVLoraRank:][:c.RopeDim]
	clear(shared)
	q, k, kv := f.dq[i*f.lddq:], f.dk[i*p.ld.q:], f.dkv[i*p.ld.kv:]
	for h := range c.Heads {
		at := h * c.qkDim()
		kernel.RotaryInterleaved(q[at+c.NopeDim:][:c.RopeDim], cos, sin, true)
		kernel.Add(shared, shared, k[at+c.NopeDim:][:c.RopeDim])
		copy(kv[h*(c.NopeDim+c.VDim):][:c.NopeDim], k[at:])
	}
	kernel.RotaryInterleaved(shared, cos, sin, true)
}

// normGradFrom sets dx to the sum of from and the gradient of the norm of x, and adds to
// dw unless the norm is frozen. It leaves anything in dy.
func (p *Pass) normGradFrom(dx, from, dw, dy, x, w []float32, rstd float32) {
	if p.adapting != nil {
		kernel.RMSNormInputGradFrom(dx, from, dy, x, w, rstd)
		return
	}
	kernel.RMSNormGradFrom(dx, from, dw, dy, x, w, rstd)
}

// normGradRows sets rows [from, to) of dx to the gradient of the norm of x (both
// with rows ld apart) and adds to dw; dy begins at row from.
func (p *Pass) normGradRows(dx, x []float32, ld int, dy, w, dw, rstd []float32, n, from, to int) {
	for i := from; i < to; i++ {
		row := dx[i*ld : i*ld+n]
		clear(row)
		p.normGradFrom(row, row, dw, dy[(i-from)*n:][:n], x[i*ld:i*ld+n], w, rstd[i])
	}
}

// addGroup plans dw += dyᵀ·x over rows: dw [out, in], dy [rows, out], x [rows, in].
func (p *Pass) addGroup(dw []float32, out int, dy []float32, lddy, in int, x []float32, ldx, rows int) {
	p.groups = append(p.groups, kernel.Group{M: out, N: in, K: rows, A: dy, LDA: lddy, B: x, LDB: ldx, C: dw, LDC: in, Precision: p.precision})
}

func (p *Pass) addMLPGroup(g mlpWeights[float32], a *mlpActivations, dy, x []float32, from, rows int) {
	d, ld, w := p.config.Hidden, p.ld.d, a.width
	p.addGroup(g.gateUp, 2*w, a.gateUp[from*a.ld:], a.ld, d, x[from*ld:], ld, rows)
	p.addGroup(g.down, d, dy[from*ld:], ld, w, a.h[from*a.ldh:], a.ldh, rows)
}

// addMLPGroups plans the gradients of a layer's MLP and output projection.
func (p *Pass) addMLPGroups() {
	c, x, f, ld := &p.config, &p.act[p.layer], &p.flow, &p.ld
	t := len(p.batch.Tokens)
	if p.adapting != nil {
		p.addAdapterGroups(siteOut, f.dx1, ld.d, x.out, ld.o, t)
		p.addAdapterGroups(siteGateUp, x.dense.gateUp, x.dense.ld, x.x1n, ld.d, t)
		p.addAdapterGroups(siteDown, f.dx, ld.d, x.dense.h, x.dense.ldh, t)
		return
	}
	g := &p.g.layer[p.layer]
	p.addGroup(g.out, c.Hidden, f.dx1, ld.d, c.oWidth(), x.out, ld.o, t)
	if !c.isMoE(p.layer) {
		p.addMLPGroup(g.dense, &x.dense, f.dx, x.x1n, 0, t)
		return
	}
	p.addGroup(g.router, c.RoutedExperts, f.dscore, c.RoutedExperts, c.Hidden, x.x1n, ld.d, t)
	p.groups[len(p.groups)-1].Precision = kernel.F32
	p.addMLPGroup(g.shared, &x.shared, f.dx, x.x1n, 0, t)
	for e := range g.expert {
		from, to := x.route.bounds(e)
		p.addMLPGroup(g.expert[e], &x.expert, f.dys, x.xs, from, to-from)
	}
}

// addInputGroups plans the gradients of the projections into attention.
func (p *Pass) addInputGroups() {
	c, x, f, ld := &p.config, &p.act[p.layer], &p.flow, &p.ld
	t, latent := len(p.batch.Tokens), c.KVLoraRank
	if p.adapting != nil {
		p.addAdapterGroups(siteIn, f.din, ld.in, x.xn, ld.d, t)
		p.addAdapterGroups(siteQB, f.dq, f.lddq, x.qn, c.QLoraRank, t)
		p.addAdapterGroups(siteKVB, f.dkv, ld.kv, x.cn, latent, t)
		return
	}
	g := &p.g.layer[p.layer]
	p.addGroup(g.in, c.inWidth(), f.din, ld.in, c.Hidden, x.xn, ld.d, t)
	if c.QLoraRank > 0 {
		p.addGroup(g.qB, c.qWidth(), f.dq, f.lddq, c.QLoraRank, x.qn, c.QLoraRank, t)
	}
	if !c.grouped() {
		p.addGroup(g.kvB, c.kvWidth(), f.dkv, ld.kv, latent, x.cn, latent, t)
	}
}

// multiplyGroups computes what was planned, in place of the gradients that are
// there or in addition to them.
func (p *Pass) multiplyGroups(add bool) {
	if p.adapting != nil && len(p.planned) > 0 {
		p.pool.Run(blocks(len(p.batch.Tokens)), p.regions.drop)
		p.planned = p.planned[:0]
	}
	p.pool.GroupedGemm(kernel.TN, p.groups, add)
	p.groups = p.groups[:0]
}

// clearGrads sets the gradients to 0 that are always added to: those that are not of
// matrix products, and the head's if no position has a loss.
func (p *Pass) clearGrads() {
	if !p.config.TieEmbeddings {
		clear(p.g.embed)
	}
	if len(p.lossAt) == 0 {
		clear(p.g.head)
	}
	clear(p.g.norm)
	for i := range p.g.layer {
		for _, g := range p.g.layer[i].all() {
			clear(g)
		}
	}
}

// embedColumns is how many columns of the embedding one part of embedGrad adds
// to; tokens are taken in order, whichever part runs when.
const embedColumns = 64

func (p *Pass) embedGrad(part, _ int) {
	d := p.config.Hidden
	from, to := part*embedColumns, min((part+1)*embedColumns, d)
	for i, t := range p.batch.Tokens {
		row := p.g.embed[int(t)*d:]
		kernel.Add(row[from:to], row[from:to], p.flow.dx[i*p.ld.d:][from:to])
	}
}

// vectorGrad sums the blocks' parts of the gradients of one layer's vectors.
func (p *Pass) vectorGrad(layer, _ int) {
	for part := range blocks(len(p.batch.Tokens)) {
		if layer == p.config.Layers {
			kernel.Add(p.g.norm, p.g.norm, p.finalPart(part))
			continue
		}
		from := p.vectorPart(layer, part)
		for i, g := range p.g.layer[layer].all() {
			kernel.Add(g, g, from.all()[i])
		}
	}
}
