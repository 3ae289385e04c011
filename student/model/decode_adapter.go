package model

import (
	"fmt"

	"retort/internal/kernel"
)

// addition is a product that an adapter adds to in decoding.
type addition int

const (
	addIn addition = iota
	addOut
	addGate
	addUp
	addDown
	additions
)

// decodeAdapter is an adapter as decoding wants it, by layer.
type decodeAdapter [][additions]lowRank

// lowRank adds x·aᵀ·bᵀ: a [rank, in], and b [out, rank] with the adapter's scale;
// nothing if they are nil. Where a product is made of several projections, their
// ranks stand side by side.
type lowRank struct{ a, b *kernel.Weights }

func newDecodeAdapter(a *Adapter) decodeAdapter {
	c := &a.config
	d := make(decodeAdapter, c.Layers)
	for i := range d {
		from, wide := &a.layer[i], c.Intermediate
		d[i] = [additions]lowRank{
			addIn: a.lowRank(&from[siteIn], 0, c.inWidth()), addOut: a.lowRank(&from[siteOut], 0, c.Hidden),
			addGate: a.lowRank(&from[siteGateUp], 0, wide), addUp: a.lowRank(&from[siteGateUp], wide, 2*wide),
			addDown: a.lowRank(&from[siteDown], 0, c.Hidden),
		}
	}
	return d
}

// lowRank packs what a site adds to elements [from, to) of its product.
func (a *Adapter) lowRank(s *adapterSite, from, to int) lowRank {
	first, last := len(s.parts), 0
	for j, p := range s.parts {
		if from <= p.at && p.at < to {
			first, last = min(first, j), j+1
		}
	}
	if first >= last {
		return lowRank{}
	}
	r := a.lora.Rank
	rank := (last - first) * r
	b := make([]float32, (to-from)*rank)
	for j, p := range s.parts[first:last] {
		for i := range p.width {
			row := b[(p.at-from+i)*rank+j*r:][:r]
			copy(row, p.b[i*r:])
			kernel.Scale(row, a.scale())
		}
	}
	return lowRank{
		a: kernel.NewWeights(kernel.FormatFP32, kernel.NT, rank, s.in, s.a[first*r*s.in:], s.in),
		b: kernel.NewWeights(kernel.FormatFP32, kernel.NT, to-from, rank, b, rank),
	}
}

// rank is the most that an addition has.
func (d decodeAdapter) rank() (most int) {
	for i := range d {
		for _, w := range d[i] {
			if w.a != nil {
				n, _ := w.a.Shape()
				most = max(most, n)
			}
		}
	}
	return most
}

// decodeAdapting is a decoder's work on adapters.
type decodeAdapting struct {
	all  []decodeAdapter
	used bool                 // by rows of the call
	rank int                  // the most of any addition
	u    [additions][]float32 // [rows, rank] x·aᵀ; gate's and up's are needed at once

	// Of the region low:
	x           []float32
	first, last addition
}

// setAdapters packs adapters for a decoder of so many rows.
func (d *Decoder) setAdapters(all []*Adapter, rows int) {
	w := &d.adapting
	for i, a := range all {
		if a.config != d.config || !d.config.grouped() {
			panic(fmt.Sprintf("model: adapter %d is for a model of another configuration, or of latent attention", i))
		}
		w.all = append(w.all, newDecodeAdapter(a))
		w.rank = max(w.rank, w.all[i].rank())
	}
	one, two := make([]float32, rows*w.rank), make([]float32, rows*w.rank)
	w.u = [additions][]float32{addIn: one, addOut: one, addGate: one, addUp: two, addDown: one}
}

// adapterOf is the adapter of a row's sequence, nil if it has none.
func (d *Decoder) adapterOf(row int) decodeAdapter {
	if a := d.slots[d.rows.slot[row]].adapter; a > 0 {
		return d.adapting.all[a-1]
	}
	return nil
}

// sameAdapter is the end of the rows from one on that have its adapter.
func (d *Decoder) sameAdapter(row, end int) int {
	a := d.slots[d.rows.slot[row]].adapter
	for row++; row < end && d.slots[d.rows.slot[row]].adapter == a; row++ {
	}
	return row
}

// prepare computes x·aᵀ of additions from first to last, which all read x.
func (d *Decoder) prepare(first, last addition, x []float32) {
	if w := &d.adapting; w.used {
		w.first, w.last, w.x = first, last, x
		d.byRows(d.rows.n, d.regions.low)
	}
}

func (d *Decoder) lowPart(part, worker int) {
	w := &d.adapting
	r0, r1 := d.block(part, d.rows.n)
	for i := r0; i < r1; {
		end := d.sameAdapter(i, r1)
		if a := d.adapterOf(i); a != nil {
			for at := w.first; at <= w.last; at++ {
				if m := a[d.layer][at].a; m != nil {
					n, k := m.Shape()
					m.Multiply(end-i, w.x[i*k:], k, 0, n, w.u[at][i*w.rank:], w.rank, false, d.pool.Scratch(worker))
				}
			}
		}
		i = end
	}
}

// adapt adds to columns [c0, c1) of rows [r0, r1) of y what their adapters make of
// what was prepared.
func (d *Decoder) adapt(at addition, r0, r1, c0, c1 int, y []float32, worker int) {
	w := &d.adapting
	if !w.used {
		return
	}
	for i := r0; i < r1; {
		end := d.sameAdapter(i, r1)
		if a := d.adapterOf(i); a != nil {
			if m := a[d.layer][at].b; m != nil {
				n, _ := m.Shape()
				m.Multiply(end-i, w.u[at][i*w.rank:], w.rank, c0, c1, y[i*n:], n, true, d.pool.Scratch(worker))
			}
		}
		i = end
	}
}
