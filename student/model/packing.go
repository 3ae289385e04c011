package model

import "retort/internal/kernel"

// packing holds all matrices of a model in the layout that products want, for
// y = x·Wᵀ (NT: forward) or dx = dy·W (NN: backward). It copies: after the
// weights have changed it must be refreshed.
type packing struct {
	config    Config
	op        kernel.Op
	precision kernel.Precision
	pool      *kernel.Pool // that packs
	jobs      []packJob
	one       func(part, worker int)
	room      [][]float32 // by worker, for a matrix of blocks
	layer     []packedLayer
	head      *kernel.PackedB
}

type packedLayer struct {
	in, qB, kvB, out *kernel.PackedB // qB and kvB are nil without their latents
	dense            packedMLP       // nil in a layer with experts
	router           *kernel.PackedB // nil in a dense layer
	expert           []packedMLP
	shared           packedMLP
}

type packedMLP struct{ gateUp, down *kernel.PackedB }

// packJob packs a matrix [out, in], or one that is 0 but for blocks.
type packJob struct {
	out, in int
	from    []float32
	blocks  []packBlock
	to      *kernel.PackedB
}

// packBlock is a matrix [rows, cols] that lies somewhere in a larger one.
type packBlock struct {
	from       []float32
	row, col   int
	rows, cols int
}

// newPacking prepares a model's matrices for products in the given precision.
func newPacking(m *Model, op kernel.Op, precision kernel.Precision) *packing {
	p := emptyPacking(m.config, op, precision)
	for i := range p.layer {
		p.addLayer(i, &m.w.layer[i])
	}
	p.addHead(m.w.head)
	return p
}

// emptyPacking has no matrices yet.
func emptyPacking(c Config, op kernel.Op, precision kernel.Precision) *packing {
	p := &packing{config: c, layer: make([]packedLayer, c.Layers)}
	p.init(op, precision)
	return p
}

// addLayer takes in the matrices of layer i, routers in float32 always: a choice of
// experts is not to hang on rounding.
func (p *packing) addLayer(i int, w *layerWeights[float32]) {
	c, l := &p.config, &p.layer[i]
	l.in = p.add(w.in, c.inWidth(), c.Hidden)
	if c.QLoraRank > 0 {
		l.qB = p.add(w.qB, c.qWidth(), c.QLoraRank)
	}
	if !c.grouped() {
		l.kvB = p.add(w.kvB, c.kvWidth(), c.KVLoraRank)
	}
	l.out = p.add(w.out, c.Hidden, c.oWidth())
	if !c.isMoE(i) {
		l.dense = p.addMLP(w.dense, c.Hidden)
		return
	}
	l.router = p.addIn(kernel.F32, w.router, c.RoutedExperts, c.Hidden)
	l.expert = make([]packedMLP, c.RoutedExperts)
	for e := range l.expert {
		l.expert[e] = p.addMLP(w.expert[e], c.Hidden)
	}
	l.shared = p.addMLP(w.shared, c.Hidden)
}

func (p *packing) addHead(w []float32) { p.head = p.add(w, p.config.VocabSize, p.config.Hidden) }

func (p *packing) init(op kernel.Op, precision kernel.Precision) {
	p.op, p.precision = op, precision
	p.one = func(part, worker int) {
		j, s := &p.jobs[part], p.pool.Scratch(worker)
		from := j.from
		if j.blocks != nil {
			from = p.room[worker][:j.out*j.in]
			clear(from)
			for _, b := range j.blocks {
				for i := range b.rows {
					copy(from[(b.row+i)*j.in+b.col:], b.from[i*b.cols:(i+1)*b.cols])
				}
			}
		}
		if n, k := j.out, j.in; op == kernel.NT {
			j.to.Repack(op, n, k, from, k, s)
		} else {
			j.to.Repack(op, k, n, from, k, s)
		}
	}
}

func (p *packing) add(w []float32, out, in int) *kernel.PackedB {
	return p.addIn(p.precision, w, out, in)
}

func (p *packing) addIn(precision kernel.Precision, w []float32, out, in int) *kernel.PackedB {
	b := kernel.NewPackedB(precision)
	p.jobs = append(p.jobs, packJob{out: out, in: in, from: w, to: b})
	return b
}

func (p *packing) addMLP(w mlpWeights[float32], d int) packedMLP {
	return packedMLP{gateUp: p.add(w.gateUp, 2*w.width, d), down: p.add(w.down, d, w.width)}
}

// refresh packs the weights as they are now.
func (p *packing) refresh(pool *kernel.Pool) {
	p.pool = pool
	pool.Run(len(p.jobs), p.one)
}

// settle packs the weights for good and lets go of them.
func (p *packing) settle(pool *kernel.Pool) {
	p.refresh(pool)
	p.jobs = nil
}

// transpose is a dense layer for products the other way, in the same memory.
func (l *packedLayer) transpose() packedLayer {
	of := func(b *kernel.PackedB) *kernel.PackedB {
		if b == nil {
			return nil
		}
		return b.Transpose()
	}
	return packedLayer{in: of(l.in), qB: of(l.qB), kvB: of(l.kvB), out: of(l.out), dense: packedMLP{of(l.dense.gateUp), of(l.dense.down)}}
}
