package model

// activations of one layer, kept from the forward for the backward pass. T is
// the number of tokens that the pass was made for.
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
	width  int
	gateUp []float32 // [rows, 2·width]
	h      []float32 // [rows, width] silu(gate) ⊙ up
}

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

func (a *arena) mlp(rows, width int) mlpActivations {
	return mlpActivations{width: width, gateUp: a.take(rows * 2 * width), h: a.take(rows * width)}
}

// layout gives the pass its memory. Run with an empty arena it counts.
func (p *Pass) layout(a *arena) {
	c, t := p.config, p.maxTokens
	d, e := c.Hidden, c.RoutedExperts
	moe := c.DenseLayers < c.Layers
	for i := range p.act {
		x := &p.act[i]
		x.x, x.xn, x.rstd = a.take(t*d), a.take(t*d), a.take(t)
		x.in = a.take(t * c.inWidth())
		x.q, x.ldq = x.in, c.inWidth()
		if c.QLoraRank > 0 {
			x.qn, x.qRstd = a.take(t*c.QLoraRank), a.take(t)
			x.q, x.ldq = a.take(t*c.qWidth()), c.qWidth()
		}
		if c.grouped() {
			if keys := c.KVHeads * c.VDim; c.QKNorm {
				x.ldq = c.qWidth() + keys
				x.q, x.hRstd = a.take(t*x.ldq), a.take(t*(c.Heads+c.KVHeads))
			}
			x.ldk, x.ldv = x.ldq, c.inWidth()
			if x.in != nil {
				x.k, x.v = x.q[c.qWidth():], x.in[c.qWidth()+c.KVHeads*c.VDim:]
			}
		} else {
			x.cn, x.cRstd = a.take(t*c.KVLoraRank), a.take(t)
			x.kv, x.k = a.take(t*c.kvWidth()), a.take(t*c.qWidth())
			x.ldk, x.ldv = c.qWidth(), c.kvWidth()
			if x.kv != nil {
				x.v = x.kv[c.NopeDim:]
			}
		}
		x.out, x.lse = a.take(t*c.oWidth()), a.take(t*c.Heads)
		x.x1, x.x1n, x.rstd1 = a.take(t*d), a.take(t*d), a.take(t)
		if !c.isMoE(i) {
			x.dense = a.mlp(t, c.Intermediate)
			continue
		}
		x.score, x.weight = a.take(t*e), a.take(t*c.TopK)
		x.xs, x.share = a.take(t*c.TopK*d), a.take(t*e)
		x.expert = a.mlp(t*c.TopK, c.MoEIntermediate)
		x.shared = a.mlp(t, c.sharedWidth())
	}
	p.last, p.final, p.finalRstd = a.take(t*d), a.take(t*d), a.take(t)
	p.losses = a.take(t)
	p.head.rows = stretch(c.VocabSize, t)
	p.head.logits = a.take(p.head.rows * c.VocabSize)

	f := &p.flow
	f.dx, f.dx1 = a.take(t*d), a.take(t*d)
	f.dout, f.din = a.take(t*c.oWidth()), a.take(t*c.inWidth())
	f.dq, f.lddq = f.din, c.inWidth()
	if c.QLoraRank > 0 {
		f.dq, f.lddq = a.take(t*c.qWidth()), c.qWidth()
	}
	f.dk, f.dkv = a.take(t*c.qWidth()), a.take(t*c.kvWidth())
	width := 0
	if c.DenseLayers > 0 {
		width = c.Intermediate
	}
	if moe {
		f.ys, f.dys = a.take(t*c.TopK*d), a.take(t*c.TopK*d)
		f.dweight, f.dx1n, f.dscore = a.take(t*c.TopK), a.take(t*d), a.take(t*e)
		width = max(width, c.MoEIntermediate, c.sharedWidth())
	}
	for i := range p.work {
		w := &p.work[i]
		w.dxn, w.dh = a.take(blockRows*d), a.take(blockRows*width)
		w.dcn, w.dqn = a.take(blockRows*c.KVLoraRank), a.take(blockRows*c.QLoraRank)
		w.dqk = a.take(c.RopeDim)
	}
	if p.adapting != nil {
		p.adapting.layout(a, t)
	}
	p.vectorParts = a.take(blocks(t) * p.vectorWidth())
}
