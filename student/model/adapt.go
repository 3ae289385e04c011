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
}

// adapterPacking holds the adapter's matrices as products want them.
type adapterPacking struct {
	packing
	layer [][sites]packedSite
}

type packedSite struct {
	a *kernel.PackedB
	b []*kernel.PackedB
}

func newAdapting(a *Adapter, precision kernel.Precision) *adapting {
	w := &adapting{Adapter: a, grad: make([]float32, len(a.arena)), u: make([][sites][]float32, len(a.layer))}
	w.g, _, _ = a.carve(w.grad)
	w.forward.pack(a, kernel.NT, precision)
	w.backward.pack(a, kernel.NN, precision)
	return w
}

func (p *adapterPacking) pack(a *Adapter, op kernel.Op, precision kernel.Precision) {
	p.packing.init(op, precision)
	p.layer = make([][sites]packedSite, len(a.layer))
	for i := range a.layer {
		for at := range sites {
			t, to := &a.layer[i][at], &p.layer[i][at]
			if len(t.parts) == 0 {
				continue
			}
			to.a = p.add(t.a, a.rank(t), t.in)
			for _, part := range t.parts {
				to.b = append(to.b, p.add(part.b, part.width, a.lora.Rank))
			}
		}
	}
}

// layout gives the work its memory for so many tokens.
func (w *adapting) layout(a *arena, tokens int) {
	for i := range w.layer {
		for at := range sites {
			n := tokens * w.rank(&w.layer[i][at])
			w.u[i][at] = a.take(n)
			if i == 0 { // the same in all layers
				w.du[at] = a.take(n)
			}
		}
	}
}

// adapt adds what the adapter makes of n rows of x to those of y. Both begin at row
// from.
func (p *Pass) adapt(layer int, at site, n int, x []float32, ldx int, y []float32, ldy, from int, s *kernel.Scratch) {
	w := p.adapting
	if w == nil || len(w.layer[layer][at].parts) == 0 {
		return
	}
	t, m := &w.layer[layer][at], &w.forward.layer[layer][at]
	rank, r := w.rank(t), w.lora.Rank
	u := w.u[layer][at][from*rank:][:n*rank]
	kernel.GemmPackedSerial(n, x, ldx, m.a, u, rank, false, s)
	kernel.Scale(u, w.scale())
	for i, part := range t.parts {
		kernel.GemmPackedSerial(n, u[i*r:], rank, m.b[i], y[part.at:], ldy, true, s)
	}
}

// adaptGrad adds to the gradients of n rows of x what comes to them through the
// adapter of the current layer. dy and dx begin at row from.
func (p *Pass) adaptGrad(at site, n int, dy []float32, lddy int, dx []float32, lddx, from int, s *kernel.Scratch) {
	w := p.adapting
	if w == nil || len(w.layer[p.layer][at].parts) == 0 {
		return
	}
	t, m := &w.layer[p.layer][at], &w.backward.layer[p.layer][at]
	rank, r := w.rank(t), w.lora.Rank
	du := w.du[at][from*rank:][:n*rank]
	for i, part := range t.parts {
		kernel.GemmPackedSerial(n, dy[part.at:], lddy, m.b[i], du[i*r:], rank, false, s)
	}
	kernel.Scale(du, w.scale())
	kernel.GemmPackedSerial(n, du, rank, m.a, dx, lddx, true, s)
}

// addAdapterGroups plans the gradients of the adapter of the current layer at a
// product of rows x [rows, in].
func (p *Pass) addAdapterGroups(at site, dy []float32, lddy int, x []float32, ldx, rows int) {
	w := p.adapting
	t, g := &w.layer[p.layer][at], &w.g[p.layer][at]
	if len(t.parts) == 0 {
		return
	}
	rank, r := w.rank(t), w.lora.Rank
	p.addGroup(g.a, rank, w.du[at], rank, t.in, x, ldx, rows)
	for i, part := range t.parts {
		p.groups = append(p.groups, kernel.Group{M: part.width, N: r, K: rows, A: dy[part.at:], LDA: lddy, B: w.u[p.layer][at][i*r:], LDB: rank, C: g.parts[i].b, LDC: r, Precision: p.precision})
	}
}
