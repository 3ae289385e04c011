package model

import "retort/internal/kernel"

func (d *Decoder) embed(from, to int) {
	n := d.config.Hidden
	for i := from; i < to; i++ {
		copy(d.rows.x[i*n:(i+1)*n], d.model.w.embed[int(d.rows.token[i])*n:])
	}
}

// norm sets dst to the final norm of a row.
func (d *Decoder) norm(dst []float32, row int) {
	n := d.config.Hidden
	kernel.RMSNorm(dst[:n], d.rows.x[row*n:(row+1)*n], d.model.w.norm, float32(d.config.NormEps))
}

// cached are the cache's rows of a slot, [maxContext, cacheWidth].
func (d *Decoder) cached(layer, slot int) []float32 {
	n := d.maxContext * d.config.cacheWidth()
	return d.cache[layer][slot*n : (slot+1)*n]
}

// project computes queries, and latents and keys into the cache.
func (d *Decoder) project(layer int, w *decodeWork, from, to int) {
	c, r, lw, m := &d.config, &d.rows, &d.model.w.layer[layer], &d.packed.layer[layer]
	n, in, qIn, qw, latent := c.Hidden, c.inWidth(), c.qIn(), c.qWidth(), c.KVLoraRank
	for i := from; i < to; i++ {
		kernel.RMSNorm(w.xn[(i-from)*n:][:n], r.x[i*n:(i+1)*n], lw.attnNorm, float32(c.NormEps))
	}
	kernel.GemmPackedSerial(to-from, w.xn, n, m.in, w.in, in, false, nil)
	if c.QLoraRank > 0 {
		for i := range to - from {
			kernel.RMSNorm(w.qn[i*qIn:(i+1)*qIn], w.in[i*in:][:qIn], lw.qNorm, latentEps)
		}
		kernel.GemmPackedSerial(to-from, w.qn, qIn, m.qB, r.q[from*qw:], qw, false, nil)
	}
	for i := from; i < to; i++ {
		row, q := w.in[(i-from)*in:][:in], r.q[i*qw:(i+1)*qw]
		if c.QLoraRank == 0 {
			copy(q, row)
		}
		cos, sin := d.rope.at(r.pos[i])
		for h := range c.Heads {
			kernel.RotaryInterleaved(q[h*c.qkDim()+c.NopeDim:][:c.RopeDim], cos, sin, false)
		}
		kernel.Scale(q, d.scale)
		to := d.cached(layer, r.slot[i])[r.pos[i]*c.cacheWidth():]
		kernel.RMSNorm(to[:latent], row[qIn:][:latent], lw.kvNorm, latentEps)
		key := to[latent:][:c.RopeDim]
		copy(key, row[qIn+latent:])
		kernel.RotaryInterleaved(key, cos, sin, false)
	}
}

// readLatents is attention in absorbed form, one query a slot.
func (d *Decoder) readLatents(layer int, w *decodeWork, from, to int) {
	c, r := &d.config, &d.rows
	qw, cw, latent, n := c.qWidth(), c.cacheWidth(), c.KVLoraRank, to-from
	for h := range c.Heads {
		kernel.GemmPackedSerial(n, r.q[from*qw+h*c.qkDim():], qw, d.heads[layer][h].uk, w.qAbsorbed[h*cw:], c.Heads*cw, false, nil)
		for i := range n {
			copy(w.qAbsorbed[(i*c.Heads+h)*cw+latent:][:c.RopeDim], r.q[(from+i)*qw+h*c.qkDim()+c.NopeDim:])
		}
	}
	for i := range n {
		rows, keys := d.cached(layer, r.slot[from+i]), r.pos[from+i]+1
		for h := range c.Heads {
			q, read, p := w.qAbsorbed[(i*c.Heads+h)*cw:][:cw], w.read[(i*c.Heads+h)*latent:][:latent], w.score[:keys]
			for j := range p {
				p[j] = kernel.Dot(q, rows[j*cw:(j+1)*cw])
			}
			kernel.Softmax(p)
			clear(read)
			for j, v := range p {
				kernel.Axpy(read, v, rows[j*cw:][:latent])
			}
		}
	}
	for h := range c.Heads {
		kernel.GemmPackedSerial(n, w.read[h*latent:], c.Heads*latent, d.heads[layer][h].uv, r.out[from*c.oWidth()+h*c.VDim:], c.oWidth(), false, nil)
	}
}

// readPiece is attention in expanded form, of one head over one piece.
func (d *Decoder) readPiece(part, worker int) {
	c, r, w, s := &d.config, &d.rows, &d.work[worker], d.pool.Scratch(worker)
	p, h := d.pieces[part/c.Heads], part%c.Heads
	cw, qw, nv, o := c.cacheWidth(), c.qWidth(), c.NopeDim+c.VDim, c.oWidth()
	rows := d.cached(d.layer, p.slot)
	kernel.GemmPackedSerial(r.pos[p.to-1]+1, rows, cw, d.heads[d.layer][h].expand, w.kv, nv, false, nil)
	for from := p.from; from < p.to; from += blockRows {
		to := min(from+blockRows, p.to)
		n, keys, ld := to-from, r.pos[to-1]+1, d.maxContext
		q := r.q[from*qw+h*c.qkDim():]
		kernel.GemmSerial(kernel.NT, n, keys, c.NopeDim, q, qw, w.kv, nv, w.score, ld, false, kernel.F32, s)
		kernel.GemmSerial(kernel.NT, n, keys, c.RopeDim, q[c.NopeDim:], qw, rows[c.KVLoraRank:], cw, w.score, ld, true, kernel.F32, s)
		for i := range n {
			row, see := w.score[i*ld:][:keys], r.pos[from+i]+1
			kernel.Softmax(row[:see])
			clear(row[see:])
		}
		kernel.GemmSerial(kernel.NN, n, c.VDim, keys, w.score, ld, w.kv[c.NopeDim:], nv, r.out[from*o+h*c.VDim:], o, false, kernel.F32, s)
	}
}

// finish adds attention and MLP of rows [from, to) to the residual stream.
func (d *Decoder) finish(layer int, w *decodeWork, from, to int) {
	c, r, lw, m := &d.config, &d.rows, &d.model.w.layer[layer], &d.packed.layer[layer]
	n, o := c.Hidden, c.oWidth()
	x := r.x[from*n : to*n]
	kernel.GemmPackedSerial(to-from, r.out[from*o:], o, m.out, x, n, true, nil)
	for i := range to - from {
		kernel.RMSNorm(w.xn[i*n:(i+1)*n], x[i*n:(i+1)*n], lw.ffnNorm, float32(c.NormEps))
	}
	if !c.isMoE(layer) {
		w.mlp.width = c.Intermediate
		mlpForward(&w.mlp, m.dense, w.xn, x, n, 0, to-from, nil)
		return
	}
	w.mlp.width = c.sharedWidth()
	mlpForward(&w.mlp, m.shared, w.xn, x, n, 0, to-from, nil)
	d.route(layer, w, x, to-from)
}

// route adds the routed experts' outputs to x, expert by expert.
func (d *Decoder) route(layer int, w *decodeWork, x []float32, rows int) {
	c, m := &d.config, &d.packed.layer[layer]
	n, e, k := c.Hidden, c.RoutedExperts, c.TopK
	kernel.GemmPackedSerial(rows, w.xn, n, m.router, w.router, e, false, nil)
	score := w.router[:rows*e]
	kernel.Sigmoid(score, score)
	for i := range rows {
		gate(w.choice[i*k:(i+1)*k], w.weight[i*k:(i+1)*k], score[i*e:(i+1)*e], d.model.w.layer[layer].bias, float32(c.RoutedScale))
	}
	w.mlp.width = c.MoEIntermediate
	for expert := range e {
		w.picked = w.picked[:0]
		for i, chosen := range w.choice[:rows*k] {
			if int(chosen) == expert {
				copy(w.xs[len(w.picked)*n:][:n], w.xn[i/k*n:])
				w.picked = append(w.picked, int32(i))
			}
		}
		if len(w.picked) == 0 {
			continue
		}
		y := w.ys[:len(w.picked)*n]
		clear(y)
		mlpForward(&w.mlp, m.expert[expert], w.xs, y, n, 0, len(w.picked), nil)
		for j, i := range w.picked {
			row := int(i) / k
			kernel.Axpy(x[row*n:(row+1)*n], w.weight[i], y[j*n:(j+1)*n])
		}
	}
}
