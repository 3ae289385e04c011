package model

import (
	"fmt"
	"math"

	"retort/internal/kernel"
)

// Pass computes losses and gradients of one model. All its memory is taken when
// it is made; a step allocates nothing. It is used by one goroutine at a time.
//
// Rows are independent but in attention, so a layer is two parallel regions:
// blocks of rows (output projection, residual, norm, MLP, and at once the next
// layer's norm and projections), then one part for each sequence and head.
// The backward pass is the same in reverse, with the gradients of all matrices
// that have become ready computed as one group of products over all tokens.
// A layer with experts adds a region for them, in blocks of tokens sorted by
// expert.
type Pass struct {
	pool      *kernel.Pool
	config    Config
	maxTokens int
	ld        strides
	scale     float32 // of attention scores
	rope      ropeTable
	balance   float64 // weight of the balance loss
	precision kernel.Precision

	w                 *weights[float32] // of what is frozen, no matrices
	forward, backward *packing

	specs []spec    // of the weights, where they are trained themselves
	grad  []float32 // arena of their gradients, laid out alike
	g     weights[float32]

	*adapting                                      // nil: the model itself is trained
	changing  struct{ forward, backward *packing } // packed anew for each pass: all weights, or the adapter's

	act       []activations
	last      []float32 // [T, d] residual stream after the last layer
	final     []float32 // [losses, d] its norm, for loss positions
	finalRstd []float32 // [losses]
	head      head
	losses    []float32 // [losses]
	flow      flow
	work      []workspace

	vectorParts []float32 // [blocks, vectorWidth] partial gradients of norms and biases

	batch      Batch
	lossAt     []int32 // token index of each loss position
	position   []int32 // of each token in its sequence
	sequence   []int32 // of each token
	auxiliary  float64 // balance loss of the last forward pass, weighted
	layer      int     // that parallel regions work on
	tasks      []expertTask
	groups     []kernel.Group
	loads      [][]int
	favourites []int32 // [K] scratch of the balance loss
	regions    regions
}

// regions are the bodies of parallel regions, made once since a method value
// allocates.
type regions struct {
	// Forward: blocks of tokens, or sequences × heads, tasks of experts.
	embed, attention, afterAttention, experts, combine func(part, worker int)
	// The output head, for blocks of loss positions: logits, also their loss, also
	// its gradient.
	logits, loss, lossGrad func(part, worker int)
	// Backward, in the order in which they run.
	mlpGrad, expertGrad, moeGrad, attentionGrad, inputGrad, embedGrad, vectorGrad func(part, worker int)
	// Before the gradients of an adapter's matrices.
	drop func(part, worker int)
}

// balanceWeight is DeepSeek-V3's weight of the sequence-level balance loss.
const balanceWeight = 1e-4

// NewPass makes a pass over m for batches of up to maxTokens tokens, in float32.
// The pool stays the caller's.
func NewPass(m *Model, pool *kernel.Pool, maxTokens int) *Pass {
	return NewPassIn(kernel.F32, m, pool, maxTokens)
}

// NewPassIn is NewPass with the operands of products with weights rounded to the
// given precision, weights and gradients themselves being float32. Routers,
// norms and attention's own products keep float32.
func NewPassIn(precision kernel.Precision, m *Model, pool *kernel.Pool, maxTokens int) *Pass {
	p := &Pass{
		w: &m.w, forward: newPacking(m, kernel.NT, precision), backward: newPacking(m, kernel.NN, precision),
		specs: m.specs, grad: make([]float32, len(m.arena)),
	}
	p.changing.forward, p.changing.backward = p.forward, p.backward
	kernel.HugePages(p.grad)
	kernel.HugePages(m.arena)
	p.g, _, _ = carve(m.config, p.grad)
	p.init(precision, m.config, pool, maxTokens)
	return p
}

// NewAdapterPass makes a pass over a frozen model with an adapter, whose gradients it
// computes.
func NewAdapterPass(f *Frozen, a *Adapter, pool *kernel.Pool, maxTokens int) (*Pass, error) {
	if a.config != f.config {
		return nil, errOtherModel
	}
	p := &Pass{w: &f.w, forward: f.forward, backward: f.backward, adapting: newAdapting(a, f.precision, pool.Threads())}
	p.changing.forward, p.changing.backward = &p.adapting.forward.packing, &p.adapting.backward.packing
	p.init(f.precision, f.config, pool, maxTokens)
	return p, nil
}

func (p *Pass) init(precision kernel.Precision, c Config, pool *kernel.Pool, maxTokens int) {
	if maxTokens < 1 {
		panic(fmt.Sprintf("model: a pass for %d tokens", maxTokens))
	}
	p.pool, p.config, p.maxTokens, p.ld, p.balance, p.precision = pool, c, maxTokens, stridesOf(c), balanceWeight, precision
	p.scale = float32(1 / math.Sqrt(float64(c.qkDim())))
	p.rope = newRopeTable(c, p.w.rope, min(maxTokens, c.MaxPositions))
	p.act = make([]activations, c.Layers)
	p.work = make([]workspace, pool.Threads())
	p.lossAt = make([]int32, 0, maxTokens)
	p.position, p.sequence = make([]int32, maxTokens), make([]int32, maxTokens)
	p.loads = make([][]int, c.Layers)
	p.favourites = make([]int32, c.TopK)
	var count arena
	p.layout(&count)
	mem := make([]float32, count.at)
	kernel.HugePages(mem)
	p.layout(&arena{mem: mem})
	for i := c.DenseLayers; i < c.Layers; i++ {
		p.act[i].choice = make([]int32, maxTokens*c.TopK)
		p.act[i].route = newRouting(c, maxTokens)
		p.loads[i] = make([]int, c.RoutedExperts)
	}
	p.regions = regions{
		embed: p.embed, attention: p.attend, afterAttention: p.afterAttention,
		experts: p.runExperts, combine: p.combine,
		logits: p.logitsOf, loss: p.lossOf, lossGrad: p.lossGradOf,
		mlpGrad: p.mlpGrad, expertGrad: p.expertGrad, moeGrad: p.moeGrad,
		attentionGrad: p.attentionGrad, inputGrad: p.inputGrad, embedGrad: p.embedGrad, vectorGrad: p.vectorGrad,
		drop: p.dropPlanned,
	}
}

// Forward computes the mean cross-entropy, in nats, over the positions of b that
// have a target. Of a batch without any it is 0.
func (p *Pass) Forward(b Batch) (loss float64, err error) {
	if err := p.hidden(b, true); err != nil {
		return 0, err
	}
	for p.head.begin(len(p.lossAt)); p.head.next(); {
		p.pool.Run(p.head.blocks(), p.regions.loss)
	}
	return p.meanLoss(), nil
}

// Logits computes the logits at the positions of b that have a target, whatever
// it is: [positions, vocab].
func (p *Pass) Logits(b Batch) ([]float32, error) {
	if err := p.hidden(b, true); err != nil {
		return nil, err
	}
	all := make([]float32, 0, len(p.lossAt)*p.config.VocabSize)
	for p.head.begin(len(p.lossAt)); p.head.next(); {
		p.pool.Run(p.head.blocks(), p.regions.logits)
		for i := range p.head.to - p.head.from {
			all = append(all, p.head.logits[i*p.head.ld:][:p.config.VocabSize]...)
		}
	}
	return all, nil
}

func (p *Pass) meanLoss() (loss float64) {
	if len(p.lossAt) == 0 {
		return 0
	}
	for _, l := range p.losses[:len(p.lossAt)] {
		loss += float64(l)
	}
	return loss / float64(len(p.lossAt))
}

// TokenLosses are the cross-entropies of the last pass, one for each position
// that has a target, in order; valid until the next call.
func (p *Pass) TokenLosses() []float32 { return p.losses[:len(p.lossAt)] }

// BalanceLoss is the weighted sequence-level balance loss of the last pass,
// summed over layers. Gradients differentiates it too; the loss excludes it.
func (p *Pass) BalanceLoss() float64 { return p.auxiliary }

// ExpertLoad says how many tokens of the last forward pass went to each expert,
// one row a layer, empty for dense layers; valid until the next call.
func (p *Pass) ExpertLoad() [][]int { return p.loads }

// ExpertChoices are the experts that the last forward pass chose, one row a
// layer, [tokens · experts a token], the best scored first; empty for dense
// layers; valid until the next call.
func (p *Pass) ExpertChoices() [][]int32 {
	all := make([][]int32, len(p.act))
	for i := p.config.DenseLayers; i < p.config.Layers; i++ {
		all[i] = p.act[i].choice[:len(p.batch.Tokens)*p.config.TopK]
	}
	return all
}

// Grads are the gradients, one for each of the Parameters of the model, or of the
// adapter, in order.
func (p *Pass) Grads() []Tensor {
	specs, grad := p.specs, p.grad
	if p.adapting != nil {
		specs, grad = p.adapting.specs, p.adapting.grad
	}
	var ts []Tensor
	for _, t := range parameters(specs, grad) {
		ts = append(ts, t.Tensor)
	}
	return ts
}

// hidden runs everything below the output head, with weights that may be others than
// those of the last pass.
func (p *Pass) hidden(b Batch, others bool) error {
	if err := b.check(p.config, p.maxTokens); err != nil {
		return fmt.Errorf("model pass: %w", err)
	}
	p.batch = b
	p.lossAt = p.lossAt[:0]
	for i, y := range b.Targets {
		if y >= 0 {
			p.lossAt = append(p.lossAt, int32(i))
		}
	}
	for s := range b.Starts {
		from, to := b.bounds(s)
		for i := from; i < to; i++ {
			p.position[i], p.sequence[i] = int32(i-from), int32(s)
		}
	}
	p.auxiliary = 0
	if others {
		p.changing.forward.refresh(p.pool)
	}
	n := blocks(len(b.Tokens))
	p.pool.Run(n, p.regions.embed)
	for p.layer = range p.act {
		p.pool.Run(len(b.Starts)*p.config.Heads, p.regions.attention)
		p.pool.Run(n, p.regions.afterAttention)
		if p.config.isMoE(p.layer) {
			p.sortByExpert()
			p.pool.Run(len(p.tasks), p.regions.experts)
			p.pool.Run(n, p.regions.combine)
		}
	}
	return nil
}

// Gradients is Forward that also sets Grads to the gradients of the loss and the
// balance loss.
func (p *Pass) Gradients(b Batch) (loss float64, err error) { return p.gradients(b, false) }

// AddGradients is Gradients that adds to Grads, for the same weights as before.
func (p *Pass) AddGradients(b Batch) (loss float64, err error) { return p.gradients(b, true) }

func (p *Pass) gradients(b Batch, add bool) (loss float64, err error) {
	if err := p.hidden(b, !add); err != nil {
		return 0, err
	}
	if !add {
		p.changing.backward.refresh(p.pool)
	}
	n := blocks(len(p.batch.Tokens))
	clear(p.vectorParts)
	clear(p.flow.dx[:len(p.batch.Tokens)*p.ld.d])
	if !add {
		p.clearGrads()
	}
	for p.head.begin(len(p.lossAt)); p.head.next(); {
		p.pool.Run(p.head.blocks(), p.regions.lossGrad)
		if p.adapting == nil {
			p.addHeadGroup()
			p.multiplyGroups(add || p.head.from > 0)
		}
	}
	for p.layer = p.config.Layers - 1; p.layer >= 0; p.layer-- {
		p.pool.Run(n, p.regions.mlpGrad)
		if p.config.isMoE(p.layer) {
			p.planExperts()
			p.pool.Run(len(p.tasks), p.regions.expertGrad)
			p.pool.Run(n, p.regions.moeGrad)
		}
		p.addMLPGroups()
		p.multiplyGroups(add)
		p.pool.Run(len(p.batch.Starts)*p.config.Heads, p.regions.attentionGrad)
		p.pool.Run(n, p.regions.inputGrad)
		p.addInputGroups()
	}
	p.multiplyGroups(add)
	if p.adapting != nil {
		return p.meanLoss(), nil
	}
	p.pool.Run((p.config.Hidden+embedColumns-1)/embedColumns, p.regions.embedGrad)
	p.pool.Run(p.config.Layers+1, p.regions.vectorGrad)
	return p.meanLoss(), nil
}
