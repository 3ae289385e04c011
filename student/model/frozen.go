package model

import (
	"slices"

	"retort/internal/kernel"
)

// Frozen is a model whose weights stay as they are, in the form in which passes of
// adapters use them: matrices packed for products, norms, biases and embeddings in
// float32. In float32 a matrix is held once, and transposed as it is multiplied with
// gradients; where products of bfloat16 have instructions it is held twice, a half as
// large.
type Frozen struct {
	config            Config
	precision         kernel.Precision
	hash              string
	w                 weights[float32] // without matrices
	forward, backward *packing
	twice             bool // matrices are held once for each
}

// NewFrozen reads the weights of src tensor by tensor, for products in the given
// precision. Of what is read at once nothing is larger than a layer, the embeddings or
// the output head.
func NewFrozen(precision kernel.Precision, src Source, pool *kernel.Pool) (*Frozen, error) {
	c := src.Config()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.DenseLayers < c.Layers {
		return nil, errMixture
	}
	f := &Frozen{
		config: c, precision: precision, twice: precision != kernel.F32 && kernel.FastBF16(),
		forward: emptyPacking(c, kernel.NT, precision), backward: emptyPacking(c, kernel.NN, precision),
	}
	r := reader{src: src, hash: newHash(modelHash, c)}
	r.read(func(a *carver[float32]) { f.w.carveInput(a, c) })
	r.memory = nil // it is kept
	if c.TieEmbeddings {
		f.packHead(pool, f.w.embed)
	}
	f.w.layer = make([]layerWeights[float32], c.Layers)
	for i := range f.w.layer {
		var l layerWeights[float32]
		r.read(func(a *carver[float32]) { l = carveLayer(a, c, i) })
		if r.err != nil {
			return nil, r.err
		}
		f.packLayer(pool, i, &l)
		f.w.layer[i].layerVectors = l.clone(&c)
	}
	var last weights[float32]
	r.read(func(a *carver[float32]) { last.carveOutput(a, c) })
	if r.err != nil {
		return nil, r.err
	}
	f.w.norm = slices.Clone(last.norm)
	if !c.TieEmbeddings {
		f.packHead(pool, last.head)
	}
	f.hash = r.hash.sum()
	return f, nil
}

func (f *Frozen) packLayer(pool *kernel.Pool, i int, w *layerWeights[float32]) {
	f.forward.addLayer(i, w)
	f.forward.settle(pool)
	if !f.twice {
		f.backward.layer[i] = f.forward.layer[i].transpose()
		return
	}
	f.backward.addLayer(i, w)
	f.backward.settle(pool)
}

func (f *Frozen) packHead(pool *kernel.Pool, w []float32) {
	f.forward.addHead(w)
	f.forward.settle(pool)
	if !f.twice {
		f.backward.head = f.forward.head.Transpose()
		return
	}
	f.backward.addHead(w)
	f.backward.settle(pool)
}

// Hash names the model that was read, as Model.Hash does.
func (f *Frozen) Hash() string { return f.hash }

// reader reads the tensors of a source in order, a piece of the layout at a time, and
// hashes them. After an error it does nothing.
type reader struct {
	src    Source
	hash   contentHash
	memory []float32 // of a piece
	err    error
}

func (r *reader) read(take func(*carver[float32])) {
	var count carver[float32]
	take(&count)
	r.memory = slices.Grow(r.memory[:0], count.at)[:count.at]
	a := carver[float32]{arena: r.memory}
	take(&a)
	for _, s := range a.specs {
		if r.err != nil {
			return
		}
		t := s.tensor(r.memory)
		if r.err = load(r.src.Load, t); r.err == nil {
			r.hash.add(t)
		}
	}
}
