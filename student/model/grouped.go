package model

import "retort/internal/kernel"

// Grouped-query attention (arXiv:2305.13245): heads of queries share keys and values.
// A row of projections is queries, keys, values, head by head.

// group makes one token's queries and keys of what was projected.
func (p *Pass) group(layer, i int) {
	c, x, w := &p.config, &p.act[layer], &p.w.layer[layer]
	in, n, heads := x.in[i*p.ld.in:][:c.inWidth()], c.RopeDim, c.Heads+c.KVHeads
	if c.QKVBias {
		kernel.Add(in, in, w.inBias)
	}
	cos, sin := p.rope.at(int(p.position[i]))
	for h := range heads {
		from, to := in[h*n:][:n], x.q[i*x.ldq+h*n:][:n]
		if c.QKNorm {
			x.hRstd[i*heads+h] = kernel.RMSNorm(to, from, w.headNorm(h < c.Heads), float32(c.NormEps))
		}
		kernel.RotaryInterleaved(to, cos, sin, false)
	}
}

// headNorm is the norm of heads' queries or keys.
func (v *layerVectors[F]) headNorm(queries bool) []F {
	if queries {
		return v.qHead
	}
	return v.kHead
}

// groupGrad takes the gradients of one token's queries, keys and values, which are
// summed over the heads that read them, back to the projections. dy is scratch for a
// head.
func (p *Pass) groupGrad(i int, vectors *layerVectors[float32], dy []float32) {
	c, f, x, w := &p.config, &p.flow, &p.act[p.layer], &p.w.layer[p.layer]
	cos, sin := p.rope.at(int(p.position[i]))
	n, keys, heads := c.VDim, c.KVHeads*c.VDim, c.Heads+c.KVHeads
	queries, each := c.qWidth(), c.queriesOf()
	row := f.din[i*p.ld.in:][:c.inWidth()]
	clear(row[queries:])
	for h := range c.Heads {
		g := h / each * n
		dk, dv := row[queries+g:][:n], row[queries+keys+g:][:n]
		kernel.Add(dk, dk, f.dk[i*p.ld.q+h*n:][:n])
		kernel.Add(dv, dv, f.dkv[i*p.ld.kv+h*n:][:n])
	}
	for h := range heads {
		d := row[h*n:][:n]
		kernel.RotaryInterleaved(d, cos, sin, true)
		if c.QKNorm {
			copy(dy, d)
			clear(d)
			p.normGradFrom(d, d, vectors.headNorm(h < c.Heads), dy, x.in[i*p.ld.in+h*n:][:n], w.headNorm(h < c.Heads), x.hRstd[i*heads+h])
		}
	}
	if c.QKVBias && p.adapting == nil {
		kernel.Add(vectors.inBias, vectors.inBias, row)
	}
}

// groupRow makes a token's queries of what was projected, and its keys and values,
// which stay there.
func (d *Decoder) groupRow(l *decodeLayer, q, row, cos, sin []float32) (cached []float32) {
	c := &d.config
	n := c.RopeDim
	if c.QKVBias {
		kernel.Add(row, row, l.inBias)
	}
	for h := range c.Heads + c.KVHeads {
		x := row[h*n:][:n]
		if c.QKNorm {
			kernel.RMSNorm(x, x, l.headNorm(h < c.Heads), float32(c.NormEps))
		}
		kernel.RotaryInterleaved(x, cos, sin, false)
	}
	copy(q, row)
	kernel.Scale(q, d.scale)
	return row[c.qWidth():]
}

// readGroups is attention of one row, for keys and values [from, to).
func (d *Decoder) readGroups(row, from, to, worker int) {
	c, r, w, s := &d.config, &d.rows, &d.work[worker], d.pool.Scratch(worker)
	n, v := c.queriesOf(), c.VDim
	pages := d.slots[r.slot[row]].pages
	for g := from; g < to; g++ {
		at := g * n * v
		d.cache.heads[d.layer].Read(g, n, r.pos[row]+1, pages, r.q[row*c.qWidth()+at:], v, w.score, r.out[row*c.oWidth()+at:], v, s)
	}
}
