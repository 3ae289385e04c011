package model

// activations of one layer, kept from the forward for the backward pass. T is
// the number of tokens that the pass was made for; rows of matrices are strides
// apart.
type activations struct {
	x, xn []float32 // [T, d] residual stream before attention, and its norm
	rstd  []float32 // [T] of that norm

	in    []float32 // [T, inWidth] queries or their latent, latent, rotary key; grouped: queries, keys, values
	qn    []float32 // [T, q_lora_rank] norm of the query latent
	qRstd []float32 // [T]
	q     []float32 // [T, H·(n+r)] rotated; lies in in without q_lora_rank and norms of heads
	ldq   int
	cn    []float32 // [T, c] norm of the latent
	cRstd []float32 // [T]
	kv    []float32 // [T, H·(n+v)] keys without position, and values
	k     []float32 // [T, H·(n+r)] whole keys; grouped: [T, KVHeads·r], lies as q does
	ldk   int
	v     []float32 // the values, from the first head's on; lies in kv or in
	ldv   int
	out   []float32 // [T, H·v] what attention read
	lse   []float32 // [H, T]
	hRstd []float32 // [T, H+KVHeads] of the norms of heads

	x1, x1n []float32 // [T, d] residual stream after attention, and its norm
	rstd1   []float32 // [T]

	dense mlpActivations

	score  []float32 // [T, E] router's sigmoids
	choice []int32   // [T, K] experts chosen
	weight []float32 // [T, K] and their weights
	route  routing
	xs     []float32      // [T·K, d] inputs of experts, sorted by expert
	expert mlpActivations // rows sorted by expert
	shared mlpActivations
	share  []float32 // [sequences, E] f of the balance loss
}

// mlpActivations: the backward pass replaces gateUp by its gradient.
type mlpActivations struct {
	width   int
	ld, ldh int
	gateUp  []float32 // [rows, 2·width]
	h       []float32 // [rows, width] silu(gate) ⊙ up
}

// strides are how many elements the rows of matrices of these widths lie apart: the
// residual stream's, inWidth, qWidth, kvWidth, oWidth.
type strides struct{ d, in, q, kv, o int }

func stridesOf(c Config) strides {
	return strides{d: stride(c.Hidden), in: stride(c.inWidth()), q: stride(c.qWidth()), kv: stride(c.kvWidth()), o: stride(c.oWidth())}
}

// stride is how far apart rows of n elements lie: an odd number of cache lines. Rows that
// are a power of two apart, or a small multiple of one, share so few sets of the
// first-level cache that a product has no room for those that it writes.
func stride(n int) int { return ((n+15)/16 | 1) * 16 }

// gradients that pass between layers and between the phases of one, reused by
// all layers.
type flow struct {
	dx, dx1 []float32 // [T, d] of the residual stream after and before the MLP
	dout    []float32 // [T, H·v]
	din     []float32 // [T, inWidth]
	dq      []float32 // [T, H·(n+r)]; lies in din without q_lora_rank
	lddq    int
	dk      []float32 // [T, H·(n+r)]
	dkv     []float32 // [T, H·(n+v)]

	ys      []float32 // [T·K, d] outputs of experts; then gradients of their inputs
	dys     []float32 // [T·K, d] gradients of what experts gave
	dweight []float32 // [T·K] of their weights, sorted by expert
	dx1n    []float32 // [T, d]
	dscore  []float32 // [T, E] of the router's logits
}

// workspace is one worker's own, for a block of rows.
type workspace struct {
	dxn []float32 // [blockRows, d]
	dh  []float32 // [blockRows, width of the widest SwiGLU]
	dcn []float32 // [blockRows, c]
	dqn []float32 // [blockRows, q_lora_rank]
	dqk []float32 // [r] of one head's normed query or key
}

// blockRows is how many tokens a part works on: enough to use a packed matrix
// well, few enough that a block's activations stay in the second-level cache,
// and a multiple of every kernel's tile. Sums over blocks depend on it.
const blockRows = 96

func blocks(rows int) int { return (rows + blockRows - 1) / blockRows }

// arena hands out one allocation in pieces that start on cache lines; with no
// memory it counts.
type arena struct {
	mem []float32
	at  int
}

func (a *arena) take(n int) []float32 {
	from := a.at
	a.at += (n + 15) &^ 15
	if a.mem == nil {
		return nil
	}
	return a.mem[from : from+n : from+n]
}

// mlpOf is a SwiGLU so wide that has no memory yet.
func mlpOf(width int) mlpActivations {
	return mlpActivations{width: width, ld: stride(2 * width), ldh: stride(width)}
}

func (a *arena) mlp(rows, width int) mlpActivations {
	m := mlpOf(width)
	m.gateUp, m.h = a.take(rows*m.ld), a.take(rows*m.ldh)
	return m
}

// layout gives the pass its memory. Run with an empty arena it counts.
func (p *Pass) layout(a *arena) {
	c, t, ld := p.config, p.maxTokens, p.ld
	e := c.RoutedExperts
	// What a pass over a frozen model computes again when it needs it lies in the same
	// place for all layers.
	again := func(layer int, of []float32, n int) []float32 {
		if p.adapting != nil && layer > 0 {
			return of
		}
		return a.take(n)
	}
	first := &p.act[0]
	moe := c.DenseLayers < c.Layers
	for i := range p.act {
		x := &p.act[i]
		x.x, x.xn, x.rstd = a.take(t*ld.d), again(i, first.xn, t*ld.d), a.take(t)
		x.in = a.take(t * ld.in)
		x.q, x.ldq = x.in, ld.in
		if c.QLoraRank > 0 {
			x.qn, x.qRstd = a.take(t*c.QLoraRank), a.take(t)
			x.q, x.ldq = a.take(t*ld.q), ld.q
		}
		if c.grouped() {
			if keys := c.KVHeads * c.VDim; c.QKNorm {
				x.ldq = stride(c.qWidth() + keys)
				x.q, x.hRstd = a.take(t*x.ldq), a.take(t*(c.Heads+c.KVHeads))
			}
			x.ldk, x.ldv = x.ldq, ld.in
			if x.in != nil {
				x.k, x.v = x.q[c.qWidth():], x.in[c.qWidth()+c.KVHeads*c.VDim:]
			}
		} else {
			x.cn, x.cRstd = a.take(t*c.KVLoraRank), a.take(t)
			x.kv, x.k = a.take(t*ld.kv), a.take(t*ld.q)
			x.ldk, x.ldv = ld.q, ld.kv
			if x.kv != nil {
				x.v = x.kv[c.NopeDim:]
			}
		}
		x.out, x.lse = a.take(t*ld.o), a.take(t*c.Heads)
		x.x1, x.x1n, x.rstd1 = a.take(t*ld.d), again(i, first.x1n, t*ld.d), a.take(t)
		if !c.isMoE(i) {
			x.dense = mlpOf(c.Intermediate)
			x.dense.gateUp, x.dense.h = a.take(t*x.dense.ld), again(i, first.dense.h, t*x.dense.ldh)
			continue
		}
		x.score, x.weight = a.take(t*e), a.take(t*c.TopK)
		x.xs, x.share = a.take(t*c.TopK*ld.d), a.take(t*e)
		x.expert = a.mlp(t*c.TopK, c.MoEIntermediate)
		x.shared = a.mlp(t, c.sharedWidth())
	}
	p.last, p.final, p.finalRstd = a.take(t*ld.d), a.take(t*ld.d), a.take(t)
	p.losses = a.take(t)
	p.head.rows, p.head.ld = stretch(c.VocabSize, t), stride(c.VocabSize)
	p.head.logits = a.take(p.head.rows * p.head.ld)

	f := &p.flow
	f.dx, f.dx1 = a.take(t*ld.d), a.take(t*ld.d)
	f.dout, f.din = a.take(t*ld.o), a.take(t*ld.in)
	f.dq, f.lddq = f.din, ld.in
	if c.QLoraRank > 0 {
		f.dq, f.lddq = a.take(t*ld.q), ld.q
	}
	f.dk, f.dkv = a.take(t*ld.q), a.take(t*ld.kv)
	width := 0
	if c.DenseLayers > 0 {
		width = c.Intermediate
	}
	if moe {
		f.ys, f.dys = a.take(t*c.TopK*ld.d), a.take(t*c.TopK*ld.d)
		f.dweight, f.dx1n, f.dscore = a.take(t*c.TopK), a.take(t*ld.d), a.take(t*e)
		width = max(width, c.MoEIntermediate, c.sharedWidth())
	}
	for i := range p.work {
		w := &p.work[i]
		w.dxn, w.dh = a.take(blockRows*ld.d), a.take(blockRows*stride(width))
		w.dcn, w.dqn = a.take(blockRows*c.KVLoraRank), a.take(blockRows*c.QLoraRank)
		w.dqk = a.take(c.RopeDim)
	}
	if p.adapting != nil {
		p.adapting.layout(a, t)
	}
	if p.adapting == nil {
		p.vectorParts = a.take(blocks(t) * p.vectorWidth())
	}
}
