// Package train teaches a student from a dataset: supervised fine-tuning (SFT)
// of a student/model, or of an adapter to one, on rendered conversations.
//
// It holds the optimisers (Muon for the matrices, AdamW for the rest), the
// schedule, the packing of whole sequences into steps, checkpoints and metrics.
// It does not render or tokenise text, does not know recipes, and computes no
// gradient itself: the forward and backward pass are student/model's.
//
// Lengths and budgets are in tokens read, learning rates and shares are plain
// numbers, times are in seconds, losses in nats per token of response.
//
// The same model, data and options give the same weights on every machine with
// the same instruction set, whatever the number of threads and however often
// the run was interrupted. Errors: options that cannot be meant, data without
// anything to learn from, a loss that is not finite (ErrDiverged), a checkpoint
// that belongs to other inputs (ErrOtherRun), or none left whole (ErrDamaged).
package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"retort/internal/kernel"
	"retort/student/model"
)

// ErrDiverged means that the loss or the gradient is no longer a number.
var ErrDiverged = errors.New("training diverged")

// Progress is what is known after a step.
type Progress struct {
	Step, Steps         int   // steps done, of the whole run
	Epoch               int   // from 1
	Tokens, TotalTokens int64 // read so far, and in the whole run

	Loss        float64 // mean over the step's response tokens
	LR          float64 // AdamW's learning rate in the step; Muon's moves with it
	GradNorm    float64 // before clipping
	HeldoutLoss float64 // measured after the step; NaN if it was not

	Seconds         float64 // that the step took
	TokensPerSecond float64
	Joules          float64 // that the processor used meanwhile; 0 where it does not tell

	// ExpertLoad is by mixture-of-experts layer the share of each routed
	// expert. It is valid until the callback returns.
	ExpertLoad [][]float64

	// Look shows the step itself: what was read, and which experts its tokens
	// went to, as model.Pass.ExpertChoices gives them; of a step in several
	// parts the last of them. Both are valid until the callback returns. It is
	// nil where the held-out loss was measured since.
	Look func() (model.Batch, [][]int32)
}

// Result is what a finished run tells.
type Result struct {
	Steps       int
	Tokens      int64
	Loss        float64 // of the last step
	HeldoutLoss float64 // after the last step; NaN without held-out sequences
	Hash        string  // of the weights that were trained
	Precision   string  // of products with weights: fp32 or bf16

	Sequences  int // that were trained on; with the next two, all that were given
	TooLong    int // left out: longer than the context
	NoResponse int // left out: nothing in them to learn

	Resumed int      // the step of the checkpoint that the run went on from; 0 if from the start
	Damaged []string // checkpoint files that were found damaged and passed over
	Seconds float64  // of training steps, resumed parts included
	Joules  float64  // of the same; 0 where the processor does not tell
}

// SFT teaches a model to give the responses of data: base itself, in place, which
// then must be a *model.Model; or Options.Adapter, for which base is read once,
// tensor by tensor, and stays as it is. It calls on, which may be nil, after every
// step. With Options.Dir it goes on from the newest whole checkpoint there,
// provided that base, data and opt are those of the run that wrote it; interrupted
// through ctx it leaves a checkpoint and returns the context's error.
func SFT(ctx context.Context, base model.Source, pool *kernel.Pool, data []Sequence, opt Options, on func(Progress)) (Result, error) {
	r, err := newRun(base, pool, data, opt)
	if err != nil {
		return Result{}, fmt.Errorf("train: %w", err)
	}
	defer r.close()
	if err := r.restore(); err != nil {
		return r.result, fmt.Errorf("train: %w", err)
	}
	for r.state.step < r.span.steps {
		if ctx.Err() != nil {
			return r.result, errors.Join(context.Cause(ctx), r.save())
		}
		p, err := r.train()
		if err != nil {
			return r.result, fmt.Errorf("train: step %d: %w", r.state.step+1, err)
		}
		if on != nil {
			on(p)
		}
		if p.Step%r.opt.CheckpointEvery == 0 || p.Step == p.Steps {
			if err := r.save(); err != nil {
				return r.result, fmt.Errorf("train: step %d: %w", p.Step, err)
			}
		}
	}
	return r.finish(), nil
}

// trainer is what every training in progress has: what is taught and how far that is,
// in memory and on disk.
type trainer struct {
	dir      string // of checkpoints and metrics; "" for none
	config   model.Config
	model    *model.Model // that is taught; nil where an adapter is
	taught   taught
	pool     *kernel.Pool
	pass     *model.Pass
	optim    *optimizer
	schedule schedule
	identity string // of all that decides the result

	state   state
	more    any            // what a checkpoint keeps besides, a pointer to be written as JSON; nil for nothing
	extra   []model.Tensor // and tensors
	saved   int            // the step of the newest checkpoint
	result  Result
	metrics *metrics
	energy  *energy

	tokensOf [][]int     // by layer and expert, of a step; reused
	load     [][]float64 // the same as shares; reused
}

// run is supervised fine-tuning in progress.
type run struct {
	trainer
	opt     Options
	data    []Sequence // those that are trained on
	packer  *packer
	span    span
	heldout []model.Batch

	grads  []model.Tensor // of the pass
	factor float32        // that scale multiplies them by
	scale  func(part, worker int)

	batch model.Batch // reused from part to part
	look  func() (model.Batch, [][]int32)
}

// taught is what the gradient moves: a model's weights, or an adapter's.
type taught interface {
	Tensors() []model.Tensor
	Parameters() []model.Parameter
	Hash() string
}

// state is what a checkpoint keeps beside the tensors.
type state struct {
	step            int
	tokens          int64
	loss, heldout   float64
	seconds, joules float64
}

func newRun(base model.Source, pool *kernel.Pool, data []Sequence, opt Options) (*run, error) {
	opt, err := opt.WithDefaults()
	if err != nil {
		return nil, err
	}
	positions := base.Config().MaxPositions
	if opt.Context > positions {
		return nil, fmt.Errorf("a context of %d tokens is more than the model's %d positions", opt.Context, positions)
	}
	if opt.Context == 0 {
		opt.Context = positions
	}
	r := &run{opt: opt, trainer: trainer{dir: opt.Dir, config: base.Config(), pool: pool, state: state{heldout: math.NaN()}}}
	if r.data, err = r.usable("sequence", data, &r.result); err != nil {
		return nil, err
	}
	if r.result.Sequences = len(r.data); len(r.data) == 0 {
		return nil, fmt.Errorf("nothing to train on: of %d sequences %d are longer than the context of %d tokens and %d have no response",
			len(data), r.result.TooLong, opt.Context, r.result.NoResponse)
	}
	lengths := make([]int, len(r.data))
	for i, s := range r.data {
		lengths[i] = len(s.Tokens) - 1 // the last token is only ever predicted
	}
	r.packer = newPacker(lengths, opt.BatchTokens, opt.Seed)
	r.span = r.packer.measure(opt.Epochs, opt.Tokens, opt.Accumulate)
	r.schedule = newSchedule(r.span.steps, opt.WarmupShare, opt.DecayShare)
	if r.opt.HeldoutEvery == 0 {
		r.opt.HeldoutEvery = max(1, r.span.steps/20)
	}
	largest, err := r.packHeldout()
	if err != nil {
		return nil, err
	}
	largest = max(largest, r.span.largest)
	r.batch = model.Batch{Tokens: make([]int32, 0, largest), Targets: make([]int32, 0, largest), Starts: make([]int, 0, len(r.data)+1)}
	hash, err := r.teach(base, largest)
	if err != nil {
		return nil, err
	}
	r.grads = r.pass.Grads()
	r.scale = func(part, _ int) { kernel.Scale(r.grads[part].Data, r.factor) }
	if r.optim, err = newOptimizer(r.taught.Parameters(), r.grads, opt, precisions[opt.Precision], pool); err != nil {
		return nil, err
	}
	r.countExperts()
	r.identity = identity(hash, r.data, r.opt)
	r.energy = openEnergy(raplRoot)
	r.look = func() (model.Batch, [][]int32) { return r.batch, r.pass.ExpertChoices() }
	return r, nil
}

// teach decides what is taught, makes the pass that does it and returns base's hash.
func (r *run) teach(base model.Source, largest int) (hash string, err error) {
	precision := precisions[r.opt.Precision]
	if r.opt.Adapter == nil {
		m, ok := base.(*model.Model)
		if !ok {
			return "", fmt.Errorf("without an adapter all weights are trained in place, and a %T only hands them out", base)
		}
		r.model, r.taught, r.pass = m, m, model.NewPassIn(precision, m, r.pool, largest)
		return m.Hash(), nil
	}
	frozen, err := model.NewFrozen(precision, base, r.pool)
	if err != nil {
		return "", err
	}
	r.taught = r.opt.Adapter
	r.pass, err = model.NewAdapterPass(frozen, r.opt.Adapter, r.pool, largest)
	return frozen.Hash(), err
}

// usable returns the sequences that can be trained on and counts the others.
func (r *run) usable(what string, all []Sequence, count *Result) ([]Sequence, error) {
	var out []Sequence
	for i, s := range all {
		if s.ResponseFrom < 0 {
			return nil, fmt.Errorf("%s %d: its response starts at %d", what, i, s.ResponseFrom)
		}
		for j, t := range s.Tokens {
			if t < 0 || int(t) >= r.config.VocabSize {
				return nil, fmt.Errorf("%s %d: token %d is %d, outside of the model's vocabulary of %d: was it made with another tokenizer?",
					what, i, j, t, r.config.VocabSize)
			}
		}
		switch {
		case len(s.Tokens) < 2 || s.ResponseFrom >= len(s.Tokens):
			count.NoResponse++
		case len(s.Tokens) > r.opt.Context:
			count.TooLong++
		default:
			out = append(out, s)
		}
	}
	return out, nil
}

// packHeldout lays the held-out sequences out once, in their order, and returns
// the tokens of the largest batch.
func (r *run) packHeldout() (largest int, err error) {
	var ignored Result
	held, err := r.usable("held-out sequence", r.opt.Heldout, &ignored)
	if err != nil {
		return 0, err
	}
	for len(held) > 0 {
		var b model.Batch
		for len(held) > 0 && (len(b.Tokens) == 0 || len(b.Tokens)+len(held[0].Tokens) <= r.opt.BatchTokens/r.opt.Accumulate) {
			b = held[0].AppendTo(b)
			held = held[1:]
		}
		r.heldout = append(r.heldout, b)
		largest = max(largest, len(b.Tokens))
	}
	return largest, nil
}

// train does the next step.
func (r *run) train() (Progress, error) {
	began := time.Now()
	r.energy.joules()
	step := r.state.step + 1

	tokens, loss, share, err := r.gradients(r.sequences(r.state.step))
	if err != nil {
		return Progress{}, err
	}
	norm := share * r.optim.gradNorm()
	if bad := loss + norm; math.IsNaN(bad) || math.IsInf(bad, 0) {
		return Progress{}, fmt.Errorf("%w: loss %v, gradient norm %v; try a lower learning rate or a longer warm-up", ErrDiverged, loss, norm)
	}
	scale := 1.0
	if r.opt.ClipNorm > 0 && norm > r.opt.ClipNorm {
		scale = r.opt.ClipNorm / norm
	}
	f := r.schedule.at(r.state.step)
	r.optim.step(step, f, r.opt.WeightDecay, share*scale)
	if err := r.balance(); err != nil {
		return Progress{}, err
	}

	r.state.step = step
	r.state.tokens += int64(tokens)
	r.state.loss = loss
	seconds, joules := time.Since(began).Seconds(), r.energy.joules()
	r.state.seconds += seconds
	r.state.joules += joules

	p := Progress{
		Step: step, Steps: r.span.steps, Epoch: r.packer.epoch + 1,
		Tokens: r.state.tokens, TotalTokens: r.span.tokens,
		Loss: loss, LR: r.opt.LR * f, GradNorm: norm, HeldoutLoss: math.NaN(),
		Seconds: seconds, TokensPerSecond: float64(tokens) / seconds, Joules: joules,
		ExpertLoad: r.load, Look: r.look,
	}
	if len(r.heldout) > 0 && (step%r.opt.HeldoutEvery == 0 || step == r.span.steps) {
		if p.HeldoutLoss, err = r.heldoutLoss(); err != nil {
			return Progress{}, fmt.Errorf("held-out loss: %w", err)
		}
		r.state.heldout, p.Look = p.HeldoutLoss, nil
	}
	return p, r.metrics.write(p)
}

// gradients leaves in the pass the gradient of the step's loss divided by share.
//
// The pass adds the gradient g of one part's mean over its n loss tokens, and the
// step's is Σ n·g / Σ n. Before a part is added the sum is divided by its n and
// multiplied by that of the part before, so that it always stands in units of the
// last part, and needs no memory of its own; the last n / Σ n is share, 1 for a
// single part.
func (r *run) gradients(seqs []int32) (tokens int, loss, share float64, err error) {
	for _, layer := range r.tokensOf {
		clear(layer)
	}
	before, sum := 0, 0
	for left := r.opt.Accumulate; len(seqs) > 0; left-- {
		n, size := r.packer.cut(seqs, r.packer.tokens(seqs), left)
		r.fill(seqs[:n])
		r.batch.Draw = kernel.DropoutKey(r.opt.Seed, uint64(r.state.step), uint64(left)) | 1
		seqs, tokens = seqs[n:], tokens+size
		losses := targets(r.batch)
		if before != 0 && before != losses {
			r.factor = float32(float64(before) / float64(losses))
			r.pool.Run(len(r.grads), r.scale)
		}
		var l float64
		if sum == 0 {
			l, err = r.pass.Gradients(r.batch)
		} else {
			l, err = r.pass.AddGradients(r.batch)
		}
		if err != nil {
			return 0, 0, 0, err
		}
		r.addLoad()
		before, sum = losses, sum+losses
		loss += l * float64(losses)
	}
	return tokens, loss / float64(sum), float64(before) / float64(sum), nil
}

// sequences are those of a step counted from 0.
func (r *run) sequences(step int) []int32 {
	epoch, first := 0, 0
	for r.span.epochEnd[epoch] <= step {
		first = r.span.epochEnd[epoch]
		epoch++
	}
	r.packer.load(epoch)
	return r.packer.step(step - first)
}

// fill lays sequences out as a batch.
func (r *run) fill(seqs []int32) {
	b := model.Batch{Tokens: r.batch.Tokens[:0], Targets: r.batch.Targets[:0], Starts: r.batch.Starts[:0]}
	for _, i := range seqs {
		b = r.data[i].AppendTo(b)
	}
	r.batch = b
}

// heldoutLoss is the mean over all response tokens held out.
func (r *run) heldoutLoss() (float64, error) {
	sum, n := 0.0, 0
	for _, b := range r.heldout {
		loss, err := r.pass.Forward(b)
		if err != nil {
			return 0, err
		}
		tokens := targets(b)
		sum += loss * float64(tokens)
		n += tokens
	}
	return sum / float64(n), nil
}

// countExperts makes room for the load of a step.
func (r *trainer) countExperts() {
	c := r.config
	for range c.Layers - c.DenseLayers {
		r.load = append(r.load, make([]float64, c.RoutedExperts))
	}
	r.tokensOf = make([][]int, c.Layers)
	for i := c.DenseLayers; i < c.Layers; i++ {
		r.tokensOf[i] = make([]int, c.RoutedExperts)
	}
}

// addLoad adds the load of the pass's last batch to that of the step.
func (r *trainer) addLoad() {
	for i, layer := range r.pass.ExpertLoad() {
		for e, n := range layer {
			r.tokensOf[i][e] += n
		}
	}
}

// balance moves the routers' biases by the load of the step and notes the load.
func (r *trainer) balance() error {
	if len(r.load) == 0 {
		return nil
	}
	if err := r.model.UpdateRouterBias(r.tokensOf); err != nil {
		return err
	}
	moe := 0
	for _, layer := range r.tokensOf {
		if len(layer) == 0 {
			continue
		}
		total := 0
		for _, n := range layer {
			total += n
		}
		for e, n := range layer {
			r.load[moe][e] = float64(n) / float64(max(1, total))
		}
		moe++
	}
	return nil
}

// finish tells the result of a run that reached its last step.
func (r *run) finish() Result {
	res := r.result
	res.Steps, res.Tokens, res.Loss, res.HeldoutLoss = r.state.step, r.state.tokens, r.state.loss, r.state.heldout
	res.Seconds, res.Joules = r.state.seconds, r.state.joules
	res.Hash, res.Precision = r.taught.Hash(), r.opt.Precision
	return res
}

func (r *trainer) close() {
	r.energy.close()
	r.metrics.close()
}

// targets counts the positions of b that have one.
func targets(b model.Batch) (n int) {
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}
