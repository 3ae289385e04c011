package model

import "retort/internal/kernel"

// adapting is a pass's work on an adapter: the frozen model's products stay as they
// are, and each adapted one has s·(x·Aᵀ)·Bᵀ added.
type adapting struct {
	*Adapter
	forward, backward adapterPacking
	grad              []float32 // laid out as the adapter
	g                 [][sites]adapterSite
	u                 [][sites][]float32 // [T, rank] s·x·Aᵀ, by layer
	du                [sites][]float32   // [T, rank] s·dy·B
	dropped           [sites][]float32   // [T, in] input without what was dropped, or its gradient; nil without dropout
	planned           []dropInput
}

// dropInput is an input of the adapter of which some is dropped before the groups that
// read it run.
type dropInput struct {
	layer int
	at    site
	x     []float32
	ldx   int
}

// adapterPacking holds the adapter's matrices as products want them: for the forward pass
// A and then B, for the backward pass B and then A.
type adapterPacking struct {
	packing
	layer [][sites]kernel.LowRank
}

func newAdapting(a *Adapter, precision kernel.Precision, workers int) *adapting {
	w := &adapting{Adapter: a, grad: make([]float32, len(a.arena)), u: make([][sites][]float32, len(a.layer))}
	w.g, _, _ = a.carve(w.grad)
	w.forward.pack(a, kernel.NT, precision, workers)
	w.backward.pack(a, kernel.NN, precision, workers)
	return w
}

func (p *adapterPacking) pack(a *Adapter, op kernel.Op, precision kernel.Precision, workers int) {
	p.packing.init(op, precision)
	p.layer = make([][sites]kernel.LowRank, len(a.layer))
	room := 0
	for i := range a.layer {
		for at := range sites {
			t, to := &a.layer[i][at], &p.layer[i][at]
			if len(t.parts) == 0 {
				continue
			}
			*to = kernel.LowRank{Rank: a.rank(t), Scale: a.scale(), Down: []kernel.Term{{B: p.add(t.a, a.rank(t), t.in)}}, Up: p.addParts(t, a.lora.Rank)}
			if op == kernel.NN {
				to.Down, to.Up = to.Up, to.Down
			}
		}
	}
	for _, j := range p.jobs {
		if j.blocks != nil {
			room = max(room, j.out*j.in)
		}
	}
	for range workers {
		p.room = append(p.room, make([]float32, room))
	}
}

// addParts takes in the matrices B of a site's parts, which make columns of their own of
// columns of their own: as one matrix where that is what products want, else part by part.
func (p *adapterPacking) addParts(t *adapterSite, r int) []kernel.Term {
	if p.precision != kernel.F32 && kernel.FastBF16() {
		b := kernel.NewPackedB(p.precision)
		j := packJob{out: t.out, in: len(t.parts) * r, to: b}
		for i, part := range t.parts {
			j.blocks = append(j.blocks, packBlock{from: part.b, row: part.at, col: i * r, rows: part.width, cols: r})
		}
		p.jobs = append(p.jobs, j)
		return []kernel.Term{{B: b}}
	}
	var all []kernel.Term
	for i, part := range t.parts {
		term := kernel.Term{B: p.add(part.b, part.width, r), From: i * r, To: part.at}
		if p.op == kernel.NN {
			term.From, term.To = term.To, term.From
		}
		all = append(all, term)
	}
	return all
}

// layout gives the work its memory for so many tokens.
func (w *adapting) layout(a *arena, tokens int) {
	for i := range w.layer {
		for at := range sites {
			n := tokens * w.rank(&w.layer[i][at])
			w.u[i][at] = a.take(n)
			if i == 0 { // the same in all layers
				w.du[at] = a.take(n)
				if w.lora.Dropout > 0 && n > 0 {
					w.dropped[at] = a.take(tokens * w.layer[i][at].in)
				}
			}
		}
	}
}

// multiply is the product of n rows of x with the matrix of a site, to which the adapter's
// part is added, and base unless it is nil. x and y begin at row from, base does as y.
func (p *Pass) multiply(layer int, at site, m *kernel.PackedB, n int, x []float32, ldx int, base, y []float32, ldy, from int, s *kernel.Scratch) {
	w := p.adapting
	adapted := w != nil && len(w.layer[layer][at].parts) > 0
	if adapted && !p.dropping() {
		rank := w.rank(&w.layer[layer][at])
		kernel.GemmLowRankSerial(n, x, ldx, m, &w.forward.layer[layer][at], w.u[layer][at][from*rank:], rank, base, y, ldy, s)
		return
	}
	if base != nil {
		kernel.GemmPackedSerialFrom(n, x, ldx, m, base, y, ldy, s)
	} else {
		kernel.GemmPackedSerial(n, x, ldx, m, y, ldy, false, s)
	}
	if adapted {
		rank, in := w.rank(&w.layer[layer][at]), w.layer[layer][at].in
		rest := w.dropped[at][from*in:]
		p.drop(layer, at, n, x, ldx, rest, from)
		kernel.AddLowRankSerial(n, rest, in, &w.forward.layer[layer][at], w.u[layer][at][from*rank:], rank, y, ldy, s)
	}
}

// dropping reports whether some of the adapter's inputs are left out of this batch.
func (p *Pass) dropping() bool { return p.lora.Dropout > 0 && p.batch.Draw != 0 }

// drop sets to [n, in] to n rows of x, an input of the adapter or its gradient, without
// what is dropped of it in this batch. Both begin at row from; to may be x.
func (p *Pass) drop(layer int, at site, n int, x []float32, ldx int, to []float32, from int) {
	in, share := p.adapting.layer[layer][at].in, p.dropShare()
	for i := range n {
		key := kernel.DropoutKey(p.batch.Draw, uint64(layer), uint64(at), uint64(from+i))
		kernel.Dropout(to[i*in:][:in], x[i*ldx:][:in], share, key)
	}
}

// dropPlanned drops of the inputs whose groups are planned, for a block of rows.
func (p *Pass) dropPlanned(part, _ int) {
	from, to := p.rows(part)
	for _, d := range p.planned {
		in := p.adapting.layer[d.layer][d.at].in
		p.drop(d.layer, d.at, to-from, d.x[from*d.ldx:], d.ldx, p.dropped[d.at][from*in:], from)
	}
}

// multiplyBack takes the gradient of n rows of multiply's product, in the current layer, to
// that of x. dy and dx begin at row from.
func (p *Pass) multiplyBack(at site, m *kernel.PackedB, n int, dy []float32, lddy int, dx []float32, lddx, from int, s *kernel.Scratch) {
	w := p.adapting
	if w == nil || len(w.layer[p.layer][at].parts) == 0 {
		kernel.GemmPackedSerial(n, dy, lddy, m, dx, lddx, false, s)
		return
	}
	rank, l := w.rank(&w.layer[p.layer][at]), &w.backward.layer[p.layer][at]
	if !p.dropping() {
		kernel.GemmLowRankSerial(n, dy, lddy, m, l, w.du[at][from*rank:], rank, nil, dx, lddx, s)
		return
	}
	in := w.layer[p.layer][at].in
	through := w.dropped[at][from*in:][:n*in]
	clear(through)
	kernel.AddLowRankSerial(n, dy, lddy, l, w.du[at][from*rank:], rank, through, in, s)
	p.drop(p.layer, at, n, through, in, through, from)
	kernel.GemmPackedSerial(n, dy, lddy, m, dx, lddx, false, s)
	for i := range n {
		kernel.Add(dx[i*lddx:][:in], dx[i*lddx:][:in], through[i*in:][:in])
	}
}

// addAdapterGroups plans the gradients of the adapter of the current layer at a
// product of rows x [rows, in].
func (p *Pass) addAdapterGroups(at site, dy []float32, lddy int, x []float32, ldx, rows int) {
	w := p.adapting
	t, g := &w.layer[p.layer][at], &w.g[p.layer][at]
	if len(t.parts) == 0 {
		return
	}
	if p.dropping() {
		w.planned = append(w.planned, dropInput{p.layer, at, x, ldx})
		x, ldx = w.dropped[at], t.in
	}
	rank, r := w.rank(t), w.lora.Rank
	p.addGroup(g.a, rank, w.du[at], rank, t.in, x, ldx, rows)
	for i, part := range t.parts {
		p.groups = append(p.groups, kernel.Group{M: part.width, N: r, K: rows, A: dy[part.at:], LDA: lddy, B: w.u[p.layer][at][i*r:], LDB: rank, C: g.parts[i].b, LDC: r, Precision: p.precision})
	}
}
