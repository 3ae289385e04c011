package model

import "retort/internal/kernel"

// run takes the rows through the model. Products are divided by columns, so that
// each weight is read by one worker; what is done row by row is done by one worker
// where it is little.
func (d *Decoder) run() {
	c, r := &d.config, &d.rows
	for i, t := range r.token[:r.n] {
		d.w.embed(r.x[i*c.Hidden:(i+1)*c.Hidden], int(t))
	}
	for d.layer = range c.Layers {
		l := &d.w.layer[d.layer]
		d.byRows(r.n, d.regions.norm)
		d.prepare(addIn, addIn, r.xn)
		d.byColumns(r.n, c.inWidth(), d.regions.in)
		if c.QLoraRank > 0 {
			d.byColumns(r.n, c.qWidth(), d.regions.qB)
		}
		d.byRows(r.n, d.regions.queries)
		d.groups = 1
		if n := len(d.steps); n > 0 {
			d.groups = min(c.keyHeads(), max(1, d.pool.Threads()/(n+len(d.pieces))))
		}
		d.pool.Run(len(d.pieces)*c.keyHeads()+len(d.steps)*d.groups, d.regions.attention)
		d.prepare(addOut, addOut, r.out)
		d.byColumns(r.n, c.Hidden, d.regions.out)
		d.byRows(r.n, d.regions.second)
		d.experts = d.experts[:0]
		if c.isMoE(d.layer) {
			r.route.sort(r.choice[:r.n*c.TopK])
			for e := range l.expert {
				if from, to := r.route.bounds(e); from < to {
					d.experts = append(d.experts, expertTask{e, from, to})
				}
			}
			d.byRows(r.n, d.regions.gather)
		}
		d.prepare(addGate, addUp, r.xn)
		d.cutColumns(r.n, l.mlp.width)
		d.pool.Run(blocks(r.n)*d.cut.columns+len(d.experts)*d.cut.columns, d.regions.up)
		d.prepare(addDown, addDown, r.h)
		d.byColumns(r.n, c.Hidden, d.regions.down)
	}
	n := len(d.judged)
	if need := n * c.VocabSize; cap(d.logits) < need {
		d.logits = make([]float32, need)
	}
	d.byRows(n, d.regions.final)
	d.byColumns(n, c.VocabSize, d.regions.head)
}

// byRows runs a region over blocks of rows.
func (d *Decoder) byRows(rows int, region func(part, worker int)) {
	const few = 4
	if rows <= few {
		if rows > 0 {
			d.cut = cut{rows: rows}
			region(0, 0)
		}
		return
	}
	threads := d.pool.Threads()
	d.cut = cut{rows: max(few, min(blockRows, (rows+threads-1)/threads))}
	d.pool.Run((rows+d.cut.rows-1)/d.cut.rows, region)
}

// block is a region's part of so many rows.
func (d *Decoder) block(part, rows int) (from, to int) {
	return part * d.cut.rows, min((part+1)*d.cut.rows, rows)
}

// byColumns runs a region over blocks of rows and parts of so many columns.
func (d *Decoder) byColumns(rows, columns int, region func(part, worker int)) {
	if rows > 0 {
		d.cutColumns(rows, columns)
		d.pool.Run(blocks(rows)*d.cut.columns, region)
	}
}

func (d *Decoder) cutColumns(rows, columns int) {
	threads := d.pool.Threads()
	// One row is fastest through many columns at once; several divide as well
	// into narrow parts, of which whoever has time takes the next.
	parts := min(columns/128, threads)
	if rows > 1 {
		parts = min(columns/32, 2*threads/blocks(rows))
	}
	if threads == 1 {
		parts = 1
	}
	d.cut = cut{rows: blockRows, columns: max(1, parts)}
}

// tile is a part of a product with w: rows [r0, r1), columns [c0, c1).
func (d *Decoder) tile(part, rows int, w *kernel.Weights) (r0, r1, c0, c1 int) {
	r0, r1 = d.block(part/d.cut.columns, rows)
	c0, c1 = w.Columns(part%d.cut.columns, d.cut.columns)
	return r0, r1, c0, c1
}

// times sets a part of y, or adds to it, to x·Wᵀ. It returns which part.
func (d *Decoder) times(part, worker, rows int, x []float32, w *kernel.Weights, y []float32, accumulate bool) (r0, r1, c0, c1 int) {
	n, k := w.Shape()
	r0, r1, c0, c1 = d.tile(part, rows, w)
	w.Multiply(r1-r0, x[r0*k:], k, c0, c1, y[r0*n:], n, accumulate, d.pool.Scratch(worker))
	return r0, r1, c0, c1
}

func (d *Decoder) normRows(part int, w []float32) (from, to int) {
	n, r := d.config.Hidden, &d.rows
	from, to = d.block(part, r.n)
	for i := from; i < to; i++ {
		kernel.RMSNorm(r.xn[i*n:(i+1)*n], r.x[i*n:(i+1)*n], w, float32(d.config.NormEps))
	}
	return from, to
}

func (d *Decoder) normPart(part, _ int) { d.normRows(part, d.w.layer[d.layer].attnNorm) }

func (d *Decoder) inPart(part, worker int) {
	c, r := &d.config, &d.rows
	r0, r1 := d.block(part/d.cut.columns, r.n)
	at := r0 * c.inWidth()
	for _, w := range d.w.layer[d.layer].in {
		c0, c1 := w.Columns(part%d.cut.columns, d.cut.columns)
		w.Multiply(r1-r0, r.xn[r0*c.Hidden:], c.Hidden, c0, c1, r.in[at:], c.inWidth(), false, d.pool.Scratch(worker))
		n, _ := w.Shape()
		at += n
	}
}

func (d *Decoder) qBPart(part, worker int) {
	c, r, l := &d.config, &d.rows, &d.w.layer[d.layer]
	r0, r1, c0, c1 := d.tile(part, r.n, l.qB)
	// Each part norms for itself: it is little beside the product.
	k, n, qn := c.QLoraRank, c.qWidth(), d.work[worker].qn
	for i := r0; i < r1; i++ {
		kernel.RMSNorm(qn[(i-r0)*k:][:k], r.in[i*c.inWidth():][:k], l.qNorm, latentEps)
	}
	l.qB.Multiply(r1-r0, qn, k, c0, c1, r.q[r0*n:], n, false, d.pool.Scratch(worker))
}

// queriesPart rotates and scales queries, and puts into the cache latents and keys, or
// keys and values.
func (d *Decoder) queriesPart(part, worker int) {
	c, r, l := &d.config, &d.rows, &d.w.layer[d.layer]
	in, qIn, qw, latent := c.inWidth(), c.qIn(), c.qWidth(), c.KVLoraRank
	from, to := d.block(part, r.n)
	d.adapt(addIn, from, to, 0, in, r.in, worker)
	for i := from; i < to; i++ {
		row, q := r.in[i*in:(i+1)*in], r.q[i*qw:(i+1)*qw]
		pos := r.pos[i]
		cos, sin := d.rope.at(pos)
		page := d.slots[r.slot[i]].pages[pos/pageTokens]
		if c.grouped() {
			d.cache.heads[d.layer].Put(page, pos%pageTokens, d.groupRow(l, q, row, cos, sin))
			continue
		}
		cached := d.cache.at(d.layer, page)[pos%pageTokens*c.cacheWidth():]
		if c.QLoraRank == 0 {
			copy(q, row)
		}
		for h := range c.Heads {
			kernel.RotaryInterleaved(q[h*c.qkDim()+c.NopeDim:][:c.RopeDim], cos, sin, false)
		}
		kernel.Scale(q, d.scale)
		kernel.RMSNorm(cached[:latent], row[qIn:][:latent], l.kvNorm, latentEps)
		key := cached[latent:][:c.RopeDim]
		copy(key, row[qIn+latent:])
		kernel.RotaryInterleaved(key, cos, sin, false)
	}
}

func (d *Decoder) attentionPart(part, worker int) {
	heads := d.config.keyHeads()
	if pieces := len(d.pieces) * heads; part >= pieces {
		part -= pieces
		row, group := d.steps[part/d.groups], part%d.groups
		from, to := group*heads/d.groups, (group+1)*heads/d.groups
		if d.config.grouped() {
			d.readGroups(row, from, to, worker)
		} else {
			d.readLatents(row, from, to, worker)
		}
		return
	}
	d.readPiece(d.pieces[part/heads], part%heads, worker)
}

// readLatents is attention in absorbed form, of one row by heads [h0, h1).
func (d *Decoder) readLatents(row, h0, h1, worker int) {
	c, r, w, s := &d.config, &d.rows, &d.work[worker], d.pool.Scratch(worker)
	cw, latent, o := c.cacheWidth(), c.KVLoraRank, c.oWidth()
	heads := d.w.layer[d.layer].heads
	for h := h0; h < h1; h++ {
		q, to := r.q[row*c.qWidth()+h*c.qkDim():][:c.qkDim()], w.absorbed[(h-h0)*cw:][:cw]
		heads[h].uk.Multiply(1, q, c.NopeDim, 0, latent, to, cw, false, s)
		copy(to[latent:], q[c.NopeDim:])
	}
	layer := kernel.Paged{Rows: d.cache.rows[d.layer], PageRows: pageTokens, Width: cw, Key: kernel.Span{N: cw}, Value: kernel.Span{N: latent}}
	layer.Read(h1-h0, r.pos[row]+1, d.slots[r.slot[row]].pages, w.absorbed, cw, w.score, w.read, latent, s)
	for h := h0; h < h1; h++ {
		heads[h].values.Multiply(1, w.read[(h-h0)*latent:], latent, 0, c.VDim, r.out[row*o+h*c.VDim:], o, false, s)
	}
}

// readPiece is attention over one piece, of the heads that read one head's keys and
// values. Those are gathered first, or made of latents: expanded form.
func (d *Decoder) readPiece(p piece, head, worker int) {
	c, r, w, s := &d.config, &d.rows, &d.work[worker], d.pool.Scratch(worker)
	cw, qk, qw, o := c.cacheWidth(), c.qkDim(), c.qWidth(), c.oWidth()
	all := r.pos[p.to-1] + 1
	keys, values := w.kv[:all*qk], w.kv[all*qk:][:all*c.VDim]
	pages := d.slots[r.slot[p.from]].pages
	for at := 0; at < all; at += pageTokens {
		n, page, keys, values := min(pageTokens, all-at), pages[at/pageTokens], keys[at*qk:], values[at*c.VDim:]
		if c.grouped() {
			d.cache.heads[d.layer].Gather(page, head, n, keys, values)
			continue
		}
		m, rows := &d.w.layer[d.layer].heads[head], d.cache.at(d.layer, page)
		m.keys.Multiply(n, rows, cw, 0, c.NopeDim, keys, qk, false, s)
		for i := range n {
			copy(keys[i*qk+c.NopeDim:][:c.RopeDim], rows[i*cw+c.KVLoraRank:])
		}
		m.values.Multiply(n, rows, cw, 0, c.VDim, values, c.VDim, false, s)
	}
	for h := head * c.queriesOf(); h < (head+1)*c.queriesOf(); h++ {
		for from := p.from; from < p.to; from += blockRows {
			to := min(from+blockRows, p.to)
			n, seen, ld := to-from, r.pos[to-1]+1, d.maxContext
			kernel.GemmSerial(kernel.NT, n, seen, qk, r.q[from*qw+h*qk:], qw, keys, qk, w.score, ld, false, kernel.F32, s)
			for i := range n {
				row, see := w.score[i*ld:][:seen], r.pos[from+i]+1
				kernel.Softmax(row[:see])
				clear(row[see:])
			}
			kernel.GemmSerial(kernel.NN, n, c.VDim, seen, w.score, ld, values, c.VDim, r.out[from*o+h*c.VDim:], o, false, kernel.F32, s)
		}
	}
}

func (d *Decoder) outPart(part, worker int) {
	r0, r1, c0, c1 := d.times(part, worker, d.rows.n, d.rows.out, d.w.layer[d.layer].out, d.rows.x, true)
	d.adapt(addOut, r0, r1, c0, c1, d.rows.x, worker)
}

// secondPart norms what goes into the MLP and chooses experts.
func (d *Decoder) secondPart(part, worker int) {
	c, r, l := &d.config, &d.rows, &d.w.layer[d.layer]
	from, to := d.normRows(part, l.ffnNorm)
	if !c.isMoE(d.layer) {
		return
	}
	n, e, k := c.Hidden, c.RoutedExperts, c.TopK
	l.router.Multiply(to-from, r.xn[from*n:], n, 0, e, r.score[from*e:], e, false, d.pool.Scratch(worker))
	score := r.score[from*e : to*e]
	kernel.Sigmoid(score, score)
	for i := from; i < to; i++ {
		gate(r.choice[i*k:(i+1)*k], r.weight[i*k:(i+1)*k], r.score[i*e:(i+1)*e], l.bias, float32(c.RoutedScale))
	}
}

// gatherPart copies rows to where their experts read them.
func (d *Decoder) gatherPart(part, _ int) {
	r, n, k := &d.rows, d.config.Hidden, d.config.TopK
	from, to := d.block(part, r.n)
	for i := from * k; i < to*k; i++ {
		copy(r.xs[int(r.route.row[i])*n:][:n], r.xn[i/k*n:])
	}
}

// upPart is the first half of the SwiGLUs: of the dense or shared one, cut like
// any product, and then of the experts that have rows, each cut by columns.
func (d *Decoder) upPart(part, worker int) {
	c, r, l, s := &d.config, &d.rows, &d.w.layer[d.layer], d.pool.Scratch(worker)
	if shared := blocks(r.n) * d.cut.columns; part >= shared {
		part -= shared
		t := &d.experts[part/d.cut.columns]
		x := &l.expert[t.expert]
		c0, c1 := x.up.Columns(part%d.cut.columns, d.cut.columns)
		ups, hs := r.ups[t.from*x.width:], r.hs[t.from*x.width:]
		x.gateUp(t.to-t.from, c0, c1, r.xs[t.from*c.Hidden:], ups, hs, s)
		x.join(t.to-t.from, c0, c1, ups, hs)
		return
	}
	r0, r1, c0, c1 := d.tile(part, r.n, l.mlp.up)
	m := &l.mlp
	m.gateUp(r1-r0, c0, c1, r.xn[r0*c.Hidden:], r.up[r0*m.width:], r.h[r0*m.width:], s)
	d.adapt(addGate, r0, r1, c0, c1, r.h, worker)
	d.adapt(addUp, r0, r1, c0, c1, r.up, worker)
	m.join(r1-r0, c0, c1, r.up[r0*m.width:], r.h[r0*m.width:])
}

// gateUp sets columns of rows of h to gate·x, and of up to up·x.
func (m *decodeMLP) gateUp(rows, c0, c1 int, x, up, h []float32, s *kernel.Scratch) {
	_, n := m.gate.Shape()
	m.gate.Multiply(rows, x, n, c0, c1, h, m.width, false, s)
	m.up.Multiply(rows, x, n, c0, c1, up, m.width, false, s)
}

// join sets columns of rows of h to silu(h) ⊙ up.
func (m *decodeMLP) join(rows, c0, c1 int, up, h []float32) {
	for i := range rows {
		row := h[i*m.width+c0 : i*m.width+c1]
		kernel.SwiGLU(row, row, up[i*m.width+c0:i*m.width+c1])
	}
}

// downPart is the second half, added to the residual stream.
func (d *Decoder) downPart(part, worker int) {
	c, r, l, s := &d.config, &d.rows, &d.w.layer[d.layer], d.pool.Scratch(worker)
	n := c.Hidden
	r0, r1, c0, c1 := d.tile(part, r.n, l.mlp.down)
	l.mlp.down.Multiply(r1-r0, r.h[r0*l.mlp.width:], l.mlp.width, c0, c1, r.x[r0*n:], n, true, s)
	d.adapt(addDown, r0, r1, c0, c1, r.x, worker)
	if !c.isMoE(d.layer) {
		return
	}
	for i := range d.experts {
		from, to, x := d.experts[i].from, d.experts[i].to, &l.expert[d.experts[i].expert]
		// The expert's rows that belong to the block: they lie together, since
		// they keep their order.
		for from < to && int(r.route.choice[from])/c.TopK < r0 {
			from++
		}
		for from < to && int(r.route.choice[to-1])/c.TopK >= r1 {
			to--
		}
		if from == to {
			continue
		}
		x.down.Multiply(to-from, r.hs[from*x.width:], x.width, c0, c1, r.ys[from*n:], n, false, s)
		for i := from; i < to; i++ {
			choice := int(r.route.choice[i])
			row := choice / c.TopK
			kernel.Axpy(r.x[row*n+c0:row*n+c1], r.weight[choice], r.ys[i*n+c0:i*n+c1])
		}
	}
}

// finalPart norms the rows whose logits are wanted.
func (d *Decoder) finalPart(part, _ int) {
	n, r := d.config.Hidden, &d.rows
	from, to := d.block(part, len(d.judged))
	for i := from; i < to; i++ {
		row := d.judged[i]
		kernel.RMSNorm(r.xn[i*n:(i+1)*n], r.x[row*n:(row+1)*n], d.w.norm, float32(d.config.NormEps))
	}
}

func (d *Decoder) headPart(part, worker int) {
	d.times(part, worker, len(d.judged), d.rows.xn, d.w.head, d.logits[:cap(d.logits)], false)
}
