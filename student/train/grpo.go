package train

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"retort/internal/kernel"
	"retort/student/model"
)

// GRPOOptions say how to reinforce. A zero field takes its default; of ClipNorm,
// ClipLow, ClipHigh, WarmupShare and DecayShare a negative value switches the thing off.
type GRPOOptions struct {
	Steps    int // rounds of drawing and learning
	Problems int // whose answers a step learns from (32)
	Group    int // answers to each problem (8)
	// MaxTokens of an answer, its end included (what the context leaves).
	MaxTokens int
	// Redraws bounds how many times as many problems are drawn as a step learns from:
	// those whose answers are all rewarded alike teach nothing and are replaced (3).
	Redraws int

	// Updates is how many steps of the optimiser a step's answers are divided among (1).
	// After the first of them the answers are no longer the policy's own, and clipping
	// bounds how far they move it.
	Updates int
	// ClipLow and ClipHigh bound the ratio of the policy to the one that drew an answer
	// to [1-ClipLow, 1+ClipHigh] (0.2 and 0.28: DAPO's clip-higher).
	ClipLow, ClipHigh float64
	// KL is the weight of the divergence from the model at the start, estimated without
	// bias and never below 0 (Schulman's k3); 0 for none.
	KL float64
	// DivideByDeviation divides advantages by the standard deviation of their group's
	// rewards, as GRPO was first written; it favours problems that are nearly always or
	// nearly never solved (Dr. GRPO, arXiv:2503.20783, section 3.1).
	DivideByDeviation bool
	// FormReward is what an answer of the right form earns, right (which earns 1) or not.
	FormReward float64
	// Curriculum, where it is set, draws problems by how unsure their outcome is, once
	// each has been seen: in proportion to p(1-p) of their pass rate p so far, and a floor.
	Curriculum bool

	Optimizer       string  // as of Options ("adamw")
	LR, MuonLR      float64 // (1e-4; 1e-3)
	WarmupShare     float64 // (0.05)
	DecayShare      float64 // (0: off)
	ClipNorm        float64 // (1)
	Precision       string  // of the learning pass, as of Options; answers are drawn in fp32
	PartTokens      int     // read at once by the learning pass (4,096): bounds its memory
	Slots           int     // answers drawn at once (256)
	Seed            uint64
	HeldoutEvery    int // steps between looks at the held-out problems (a tenth of all)
	Patience        int // looks without improvement after which training ends (0: never)
	Dir             string
	CheckpointEvery int // steps (20)
}

// Problems are what a policy is reinforced on. Both functions are called concurrently.
type Problems struct {
	Train, Heldout [][]int32 // prompts

	// Ends reports whether a token ends an answer.
	Ends func(int32) bool
	// Judge judges an answer to a training problem, or to a held-out one.
	Judge func(heldout bool, problem int, a Answer) Judgement
}

// Judgement is what a verifier and a reader of forms say of an answer.
type Judgement struct {
	Right    bool // by the verifier
	Formed   bool // it ended by itself and has the parts that were asked for
	Reasoned bool // it says how it came to what it answers
	Repeats  bool // much of it is said over and over
}

// GRPOProgress is what is known after a step. Shares are of the answers drawn.
type GRPOProgress struct {
	Step, Steps int
	Tokens      int64 // sampled so far

	Right, Formed, Ended float64
	Unreasoned           float64 // of right answers: those that say nothing of how
	Repeats              float64
	Length               float64 // mean, in tokens
	LengthRight          float64 // of right answers; NaN without
	Entropy              float64 // mean of the policy's distribution, in nats a token
	Drawn, Learned       int     // problems
	Clipped              float64 // share of tokens whose ratio was out of bounds
	KL                   float64 // mean of the estimate from the start, in nats a token; 0 if it is not weighed
	Mismatch             float64 // largest difference between a token's log-probability as drawn and as learned from
	GradNorm, LR         float64
	Heldout              float64 // pass@1, greedy; NaN if it was not looked at
	SampleSeconds        float64
	Seconds              float64 // of the whole step
	Alarms               []Alarm // raised in this step

	counts tally
}

// GRPOResult is what a finished run tells.
type GRPOResult struct {
	Steps    int
	Tokens   int64   // sampled
	Start    float64 // held-out pass@1 before the first step; NaN without held-out problems
	Best     float64 // the highest since, whose weights the model is left with
	BestStep int
	Stopped  bool // by Patience
	Hash     string
	Resumed  int
	Damaged  []string
	Seconds  float64
	Alarms   []Alarm
}

// WithDefaults fills what is zero and refuses what cannot be meant.
func (o GRPOOptions) WithDefaults() (GRPOOptions, error) {
	var bad []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	check(o.Steps > 0, "%d steps, want at least one", o.Steps)
	counts := map[string]int{"problems": o.Problems, "group": o.Group, "tokens of an answer": o.MaxTokens, "redraws": o.Redraws, "updates": o.Updates,
		"tokens of a part": o.PartTokens, "slots": o.Slots, "steps between looks": o.HeldoutEvery, "patience": o.Patience, "steps between checkpoints": o.CheckpointEvery}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		check(counts[name] >= 0, "%s %d must not be negative", name, counts[name])
	}
	check(o.Group != 1, "a group of one answer teaches nothing, want at least 2")
	check(o.KL >= 0 && !math.IsInf(o.KL, 0) && !math.IsNaN(o.KL), "a KL weight of %v must be a number from 0 on", o.KL)
	check(o.FormReward >= 0 && o.FormReward <= 1, "a form reward of %v is not between 0 and 1", o.FormReward)
	whole := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	real := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	whole(&o.Problems, 32)
	whole(&o.Group, 8)
	whole(&o.Redraws, 3)
	whole(&o.Updates, 1)
	whole(&o.PartTokens, 4096)
	whole(&o.Slots, 256)
	whole(&o.CheckpointEvery, 20)
	whole(&o.HeldoutEvery, max(1, o.Steps/10))
	real(&o.ClipLow, 0.2)
	real(&o.ClipHigh, 0.28)
	real(&o.LR, 1e-4)
	real(&o.MuonLR, 1e-3)
	real(&o.WarmupShare, 0.05)
	real(&o.DecayShare, -1)
	if o.Optimizer == "" {
		o.Optimizer = "adamw"
	}
	check(o.Updates <= o.Problems, "%d updates of %d problems leave some without any", o.Updates, o.Problems)
	check(o.ClipLow < 1, "ratios cannot be clipped below %v", 1-o.ClipLow)
	if len(bad) > 0 {
		return o, fmt.Errorf("GRPO options: %s", strings.Join(bad, "; "))
	}
	s, err := o.optimizer()
	o.LR, o.MuonLR, o.ClipNorm, o.Precision = s.LR, s.MuonLR, s.ClipNorm, s.Precision
	return o, err
}

// optimizer are the options of the steps.
func (o GRPOOptions) optimizer() (Options, error) {
	return Options{
		Epochs: 1, Optimizer: o.Optimizer, LR: o.LR, MuonLR: o.MuonLR, EmbedLR: o.LR, HeadLR: o.LR,
		WarmupShare: o.WarmupShare, DecayShare: o.DecayShare, ClipNorm: o.ClipNorm, Precision: o.Precision, Seed: o.Seed,
	}.WithDefaults()
}

// GRPO reinforces a model, in place, by group-relative policy optimisation
// (DeepSeekMath, arXiv:2402.03300, section 4): it draws a group of answers to each of
// some problems, has them judged, and makes those more likely that earned more than
// their group's mean and the others less. Of an answer i with advantage A each token t adds
//
//	-min(r·A, clip(r, 1-low, 1+high)·A) + β·k3,  r = π(t)/π_drawn(t)
//
// to the loss, which is summed over all tokens of a step and divided by their number
// (DAPO, arXiv:2503.14476, section 3.3), so that long answers are not favoured where they
// are wrong nor short ones where they are right. Groups whose rewards are all equal are
// dropped and others drawn in their place.
//
// The same model, problems and options give the same weights whatever the number of
// threads and however often the run was interrupted. It ends with the weights of the best
// look at the held-out problems, if there are any.
func GRPO(ctx context.Context, m *model.Model, pool *kernel.Pool, problems Problems, opt GRPOOptions, on func(GRPOProgress)) (GRPOResult, error) {
	r, err := newReinforcement(m, pool, problems, opt)
	if err != nil {
		return GRPOResult{}, fmt.Errorf("train: %w", err)
	}
	defer r.close()
	if err := r.begin(ctx); err != nil {
		return r.tell(), fmt.Errorf("train: %w", err)
	}
	for r.state.step < r.opt.Steps && !r.memory.Stopped {
		if ctx.Err() != nil {
			return r.tell(), errors.Join(context.Cause(ctx), r.save())
		}
		p, err := r.step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return r.tell(), errors.Join(context.Cause(ctx), err)
			}
			return r.tell(), fmt.Errorf("train: step %d: %w", r.state.step+1, err)
		}
		if on != nil {
			on(p)
		}
		if p.Step%r.opt.CheckpointEvery == 0 || p.Step == p.Steps || r.memory.Stopped {
			if err := r.save(); err != nil {
				return r.tell(), fmt.Errorf("train: step %d: %w", p.Step, err)
			}
		}
	}
	r.restoreBest()
	return r.tell(), nil
}

// reinforcement is GRPO in progress.
type reinforcement struct {
	trainer
	opt      GRPOOptions
	problems Problems
	start    *model.Pass // over the model at the start; nil if it is not weighed
	batch    model.Batch // reused
	memory   memory
}

// memory is what a checkpoint keeps beside weights and moments.
type memory struct {
	Rates   []rate  `json:"rates"` // by training problem
	Seen    int     `json:"seen"`  // problems drawn in order so far
	Start   float64 `json:"start"` // -1: not looked at
	Best    float64 `json:"best"`
	BestAt  int     `json:"best_step"`
	Since   int     `json:"since"` // looks without improvement
	Stopped bool    `json:"stopped"`
	Sampled int64   `json:"sampled"`
	Updates int     `json:"updates"` // steps of the optimiser
	Alarms  []Alarm `json:"alarms"`
	Watch   watch   `json:"watch"`
}

// rate is how often a problem was solved, older answers counting less.
type rate struct {
	Right float64 `json:"r"`
	All   float64 `json:"n"`
}

func newReinforcement(m *model.Model, pool *kernel.Pool, problems Problems, opt GRPOOptions) (*reinforcement, error) {
	opt, err := opt.WithDefaults()
	if err != nil {
		return nil, err
	}
	c := m.Config()
	if opt.MaxTokens == 0 {
		opt.MaxTokens = c.MaxPositions
	}
	if len(problems.Train) < opt.Problems {
		return nil, fmt.Errorf("there are %d problems to learn from, and a step takes %d", len(problems.Train), opt.Problems)
	}
	for name, all := range map[string][][]int32{"problem": problems.Train, "held-out problem": problems.Heldout} {
		for i, p := range all {
			if len(p) == 0 || len(p) >= c.MaxPositions {
				return nil, fmt.Errorf("%s %d has %d tokens, want 1 to %d, the context less an answer", name, i, len(p), c.MaxPositions-1)
			}
		}
	}
	r := &reinforcement{opt: opt, problems: problems, trainer: trainer{dir: opt.Dir, config: c, pool: pool, model: m, taught: m, state: state{heldout: math.NaN()}}}
	r.memory = memory{Rates: make([]rate, len(problems.Train)), Start: -1, Best: -1}
	r.more = &r.memory
	largest := max(opt.PartTokens, c.MaxPositions)
	precision := precisions[opt.Precision]
	r.pass = model.NewPassIn(precision, m, pool, largest)
	if opt.KL > 0 {
		r.start = model.NewPassIn(precision, m.Clone(), pool, largest)
	}
	for _, t := range m.Tensors() {
		r.extra = append(r.extra, model.Tensor{Name: "best/" + t.Name, Shape: t.Shape, Data: slices.Clone(t.Data)})
	}
	steps, err := opt.optimizer()
	if err != nil {
		return nil, err
	}
	if r.optim, err = newOptimizer(m.Parameters(), r.pass.Grads(), steps, precision, pool); err != nil {
		return nil, err
	}
	r.countExperts()
	r.schedule = newSchedule(opt.Steps, opt.WarmupShare, opt.DecayShare)
	r.identity = r.identify(m.Hash())
	r.energy = openEnergy(raplRoot)
	return r, nil
}

// identify hashes all that decides the weights, but for the judge, which is the caller's
// to name by another directory.
func (r *reinforcement) identify(start string) string {
	o := r.opt
	o.Dir, o.CheckpointEvery = "", 0
	h := sha256.New()
	fmt.Fprintf(h, "retort reinforcement 1\nmodel %s\n%+v\n", start, o)
	for _, all := range [][][]int32{r.problems.Train, r.problems.Heldout} {
		fmt.Fprintf(h, "%d prompts\n", len(all))
		for _, p := range all {
			fmt.Fprintln(h, p)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// begin restores what there is, and takes the first look.
func (r *reinforcement) begin(ctx context.Context) error {
	if err := r.restore(); err != nil {
		return err
	}
	if r.state.step > 0 || len(r.problems.Heldout) == 0 {
		return nil
	}
	share, err := r.look(ctx)
	r.memory.Start, r.memory.Best = share, share
	return err
}

// look is the share of held-out problems that the model solves, decoding greedily.
func (r *reinforcement) look(ctx context.Context) (float64, error) {
	s := NewSampler(r.model, r.pool, r.problems.Ends, SamplerOptions{Slots: r.opt.Slots})
	all, err := s.Sample(ctx, r.problems.Heldout, Draw{MaxTokens: r.opt.MaxTokens})
	if err != nil {
		return 0, err
	}
	right := 0
	for _, j := range r.judge(true, nil, all) {
		if j[0].Right {
			right++
		}
	}
	return float64(right) / float64(len(all)), nil
}

// judge judges all answers; ids are the problems, nil for all in their order.
func (r *reinforcement) judge(heldout bool, ids []int, all [][]Answer) [][]Judgement {
	out := make([][]Judgement, len(all))
	r.pool.Run(len(all), func(part, _ int) {
		id := part
		if ids != nil {
			id = ids[part]
		}
		for _, a := range all[part] {
			out[part] = append(out[part], r.problems.Judge(heldout, id, a))
		}
	})
	return out
}

// group is a problem's answers and what each is worth above the others.
type group struct {
	problem    int
	answers    []Answer
	advantages []float64
}

// step draws, judges and learns once.
func (r *reinforcement) step(ctx context.Context) (GRPOProgress, error) {
	began := time.Now()
	r.energy.joules()
	step := r.state.step + 1
	p := GRPOProgress{Step: step, Steps: r.opt.Steps, Heldout: math.NaN(), LengthRight: math.NaN()}
	groups, err := r.draw(ctx, step, &p)
	if err != nil {
		return p, err
	}
	p.SampleSeconds = time.Since(began).Seconds()
	if err := r.learn(groups, &p); err != nil {
		return p, err
	}
	if n := len(r.problems.Heldout); n > 0 && (step%r.opt.HeldoutEvery == 0 || step == r.opt.Steps) {
		if p.Heldout, err = r.look(ctx); err != nil {
			return p, err
		}
		r.note(step, p.Heldout)
	}
	r.state.step = step
	p.Tokens = r.memory.Sampled
	p.Alarms = r.memory.Watch.look(&p)
	r.memory.Alarms = append(r.memory.Alarms, p.Alarms...)
	p.Seconds = time.Since(began).Seconds()
	r.state.seconds += p.Seconds
	r.state.joules += r.energy.joules()
	return p, r.write(p)
}

// draw draws groups of answers until there are enough that teach something.
func (r *reinforcement) draw(ctx context.Context, step int, p *GRPOProgress) ([]group, error) {
	sampler := NewSampler(r.model, r.pool, r.problems.Ends, SamplerOptions{Slots: r.opt.Slots})
	var groups []group
	var seen tally
	for round := 0; len(groups) < r.opt.Problems && p.Drawn < r.opt.Redraws*r.opt.Problems; round++ {
		ids := r.choose(step, round, min(r.opt.Problems-len(groups), r.opt.Redraws*r.opt.Problems-p.Drawn))
		prompts := make([][]int32, len(ids))
		for i, id := range ids {
			prompts[i] = r.problems.Train[id]
		}
		all, err := sampler.Sample(ctx, prompts, Draw{
			Each: r.opt.Group, MaxTokens: r.opt.MaxTokens, Temperature: 1, Seed: kernel.DropoutKey(r.opt.Seed, uint64(step), uint64(round)),
		})
		if err != nil {
			return nil, err
		}
		p.Drawn += len(ids)
		for i, judged := range r.judge(false, ids, all) {
			if g, ok := r.group(ids[i], all[i], judged, &seen); ok {
				groups = append(groups, g)
			}
		}
	}
	p.Learned = len(groups)
	seen.tell(p)
	r.memory.Sampled += int64(seen.tokens)
	return groups, nil
}

// choose returns problems for a step's round, none twice: all in a random order first;
// then likewise again or, with a curriculum, by how unsure their outcome is.
func (r *reinforcement) choose(step, round, n int) []int {
	rates := r.memory.Rates
	if r.opt.Curriculum && r.memory.Seen >= len(rates) {
		rng := rand.New(rand.NewPCG(r.opt.Seed^0x63757272, uint64(step)<<16|uint64(round)))
		type drawn struct {
			id  int
			key float64
		}
		all := make([]drawn, len(rates))
		for i, x := range rates { // without replacement in proportion to a weight: Efraimidis and Spirakis, 2006
			share := x.Right / x.All
			all[i] = drawn{i, math.Log(1-rng.Float64()) / (share*(1-share) + curriculumFloor)}
		}
		slices.SortFunc(all, func(a, b drawn) int { return cmp.Compare(b.key, a.key) })
		ids := make([]int, n)
		for i := range ids {
			ids[i] = all[i].id
		}
		return ids
	}
	ids := make([]int, 0, n)
	for len(ids) < n {
		epoch, at := r.memory.Seen/len(rates), r.memory.Seen%len(rates)
		order := rand.New(rand.NewPCG(r.opt.Seed^0x6f72646572, uint64(epoch))).Perm(len(rates))
		for ; at < len(order) && len(ids) < n; at++ {
			r.memory.Seen++
			if !slices.Contains(ids, order[at]) {
				ids = append(ids, order[at])
			}
		}
		if r.opt.Curriculum && r.memory.Seen >= len(rates) {
			break
		}
	}
	return ids
}

// curriculumFloor is the weight of a problem that is always or never solved; one that is
// solved half of the time has 0.25 more.
const curriculumFloor = 0.01

// forget is how much of a problem's earlier answers count beside a new group's.
const forget = 0.7

// group rewards the answers to a problem and returns what they are worth above their
// mean; false if all earned the same.
func (r *reinforcement) group(problem int, answers []Answer, judged []Judgement, seen *tally) (group, bool) {
	g := group{problem: problem, answers: answers, advantages: make([]float64, len(answers))}
	mean, square, right := 0.0, 0.0, 0
	for i, j := range judged {
		reward := 0.0
		if j.Right {
			reward, right = 1, right+1
		}
		if j.Formed {
			reward += r.opt.FormReward
		}
		g.advantages[i] = reward
		mean += reward / float64(len(judged))
		seen.add(answers[i], j)
	}
	x := &r.memory.Rates[problem]
	x.Right, x.All = forget*x.Right+float64(right), forget*x.All+float64(len(judged))
	for i := range g.advantages {
		g.advantages[i] -= mean
		square += g.advantages[i] * g.advantages[i]
	}
	if square < 1e-12 {
		return g, false
	}
	if r.opt.DivideByDeviation {
		deviation := math.Sqrt(square / float64(len(judged)))
		for i := range g.advantages {
			g.advantages[i] /= deviation
		}
	}
	return g, true
}

// item is one answer as the learning pass reads it.
type item struct {
	seq       Sequence
	advantage float64
	drawn     []float32 // log-probabilities as the decoder had them
	old       []float32 // as the pass had them before the first update; nil if that is now
	start     []float32 // as the model at the start has them; nil if they are not weighed
}

// learn takes the steps of the optimiser.
func (r *reinforcement) learn(groups []group, p *GRPOProgress) error {
	if len(groups) == 0 {
		return nil
	}
	f := r.schedule.at(r.state.step)
	p.LR = r.opt.LR * f
	var updates [][]*item
	for u := range min(r.opt.Updates, len(groups)) {
		var items []*item
		n := min(r.opt.Updates, len(groups))
		for _, g := range groups[u*len(groups)/n : (u+1)*len(groups)/n] {
			prompt := r.problems.Train[g.problem]
			for i, a := range g.answers {
				items = append(items, &item{seq: Sequence{Tokens: slices.Concat(prompt, a.Tokens), ResponseFrom: len(prompt)}, advantage: g.advantages[i], drawn: a.Logprobs})
			}
		}
		updates = append(updates, items)
	}
	for u, items := range updates {
		if u > 0 { // the first update's are known from its own pass
			if err := r.read(r.pass, items, func(it *item, logprobs []float32) { it.old = logprobs }); err != nil {
				return err
			}
		}
		if r.start != nil {
			if err := r.read(r.start, items, func(it *item, logprobs []float32) { it.start = logprobs }); err != nil {
				return err
			}
		}
	}
	tokens := 0
	for _, items := range updates {
		n, err := r.update(items, f, p)
		if err != nil {
			return err
		}
		tokens += n
	}
	r.state.tokens += int64(tokens)
	p.Clipped /= float64(tokens)
	p.KL /= float64(tokens)
	return nil
}

// parts calls do for items, in order, as many at a time as a pass reads at once; at is
// the number of loss positions before them.
func (r *reinforcement) parts(items []*item, do func(part []*item, at int) error) error {
	at := 0
	for len(items) > 0 {
		n, size, answered := 0, 0, 0
		for n < len(items) && (n == 0 || size+len(items[n].seq.Tokens) <= r.opt.PartTokens) {
			size += len(items[n].seq.Tokens)
			answered += len(items[n].drawn)
			n++
		}
		b := model.Batch{Tokens: r.batch.Tokens[:0], Targets: r.batch.Targets[:0], Starts: r.batch.Starts[:0]}
		for _, it := range items[:n] {
			b = it.seq.AppendTo(b)
		}
		r.batch = b
		if err := do(items[:n], at); err != nil {
			return err
		}
		items, at = items[n:], at+answered
	}
	return nil
}

// read tells the log-probabilities of all items' answers under a pass's model.
func (r *reinforcement) read(pass *model.Pass, items []*item, tell func(*item, []float32)) error {
	return r.parts(items, func(part []*item, _ int) error {
		if _, err := pass.Forward(r.batch); err != nil {
			return err
		}
		losses := pass.TokenLosses()
		for _, it := range part {
			logprobs := make([]float32, len(it.drawn))
			for i, loss := range losses[:len(logprobs)] {
				logprobs[i] = -loss
			}
			losses = losses[len(logprobs):]
			tell(it, logprobs)
		}
		return nil
	})
}

// place is one token of an answer among the loss positions of a part.
type place struct {
	*item
	i int
}

// gain is by how much a token's log-probability is to rise, before division by the
// number of tokens: what the gradient of -min(r·A, clip(r)·A) + β·k3 multiplies that of
// the log-probability with, turned round.
func (o *GRPOOptions) gain(x place, logprob float64) (gain, k3 float64, clipped bool) {
	ratio := 1.0
	if x.old != nil {
		ratio = math.Exp(logprob - float64(x.old[x.i]))
	}
	switch {
	case x.advantage > 0 && o.ClipHigh >= 0 && ratio > 1+o.ClipHigh, x.advantage < 0 && o.ClipLow >= 0 && ratio < 1-o.ClipLow:
		clipped = true
	default:
		gain = ratio * x.advantage
	}
	if x.start != nil {
		d := float64(x.start[x.i]) - logprob
		k3 = math.Exp(d) - d - 1
		gain += o.KL * (math.Exp(d) - 1)
	}
	return gain, k3, clipped
}

// update takes one step of the optimiser and returns the tokens that it learned from.
func (r *reinforcement) update(items []*item, share float64, p *GRPOProgress) (tokens int, err error) {
	for _, it := range items {
		tokens += len(it.drawn)
	}
	for _, layer := range r.tokensOf {
		clear(layer)
	}
	places := make([]place, 0, tokens)
	err = r.parts(items, func(part []*item, at int) error {
		places = places[:0]
		for _, it := range part {
			for i := range it.drawn {
				places = append(places, place{it, i})
			}
		}
		b := r.batch
		b.Weigh = func(i int, loss float32) float32 {
			gain, _, _ := r.opt.gain(places[i], -float64(loss))
			return float32(gain / float64(tokens))
		}
		take := r.pass.Gradients
		if at > 0 {
			take = r.pass.AddGradients
		}
		if _, err := take(b); err != nil {
			return err
		}
		r.addLoad()
		for i, loss := range r.pass.TokenLosses() {
			_, k3, clipped := r.opt.gain(places[i], -float64(loss))
			p.KL += k3
			if clipped {
				p.Clipped++
			}
			if x := places[i]; x.old == nil {
				p.Mismatch = max(p.Mismatch, math.Abs(float64(x.drawn[x.i]+loss)))
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	norm := r.optim.gradNorm()
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return 0, fmt.Errorf("%w: the gradient's norm is %v; try a lower learning rate", ErrDiverged, norm)
	}
	p.GradNorm = max(p.GradNorm, norm)
	scale := 1.0
	if r.opt.ClipNorm > 0 && norm > r.opt.ClipNorm {
		scale = r.opt.ClipNorm / norm
	}
	r.memory.Updates++
	r.optim.step(r.memory.Updates, share, 0, scale)
	return tokens, r.balance()
}

// note keeps the weights of the best look, and ends a run that has not become better for
// long.
func (r *reinforcement) note(step int, share float64) {
	r.state.heldout = share
	if share > r.memory.Best {
		r.memory.Best, r.memory.BestAt, r.memory.Since = share, step, 0
		for i, t := range r.model.Tensors() {
			copy(r.extra[i].Data, t.Data)
		}
		return
	}
	r.memory.Since++
	r.memory.Stopped = r.opt.Patience > 0 && r.memory.Since >= r.opt.Patience
}

// restoreBest leaves the model with the weights of the best look.
func (r *reinforcement) restoreBest() {
	if len(r.problems.Heldout) == 0 {
		return
	}
	for i, t := range r.model.Tensors() {
		copy(t.Data, r.extra[i].Data)
	}
}

func (r *reinforcement) tell() GRPOResult {
	nan := func(v float64) float64 {
		if v < 0 {
			return math.NaN()
		}
		return v
	}
	return GRPOResult{
		Steps: r.state.step, Tokens: r.memory.Sampled, Start: nan(r.memory.Start), Best: nan(r.memory.Best), BestStep: r.memory.BestAt,
		Stopped: r.memory.Stopped, Hash: r.model.Hash(), Resumed: r.result.Resumed, Damaged: r.result.Damaged, Seconds: r.state.seconds, Alarms: r.memory.Alarms,
	}
}

// write appends a line to the metrics.
func (r *reinforcement) write(p GRPOProgress) error {
	if r.metrics == nil {
		return nil
	}
	b := r.metrics.begin(p.Step)
	for _, x := range []struct {
		name string
		v    float64
	}{
		{"right", p.Right}, {"formed", p.Formed}, {"ended", p.Ended}, {"unreasoned", p.Unreasoned}, {"repeats", p.Repeats},
		{"length", p.Length}, {"length_right", p.LengthRight}, {"entropy", p.Entropy}, {"drawn", float64(p.Drawn)}, {"learned", float64(p.Learned)},
		{"clipped", p.Clipped}, {"kl", p.KL}, {"mismatch", p.Mismatch}, {"grad_norm", p.GradNorm}, {"lr", p.LR}, {"heldout", p.Heldout},
		{"sample_seconds", p.SampleSeconds}, {"seconds", p.Seconds},
	} {
		if !math.IsNaN(x.v) {
			b = appendNumber(b, x.name, x.v, 6)
		}
	}
	for i, a := range p.Alarms {
		if i == 0 {
			b = append(b, `,"alarms":["`...)
		} else {
			b = append(b, `,"`...)
		}
		b = append(append(b, a.Kind...), '"')
		if i+1 == len(p.Alarms) {
			b = append(b, ']')
		}
	}
	return r.metrics.end(b)
}

// tally counts a step's answers.
type tally struct {
	all, right, formed, ended, unreasoned, repeats int
	tokens, rightTokens                            int
	entropy                                        float64 // summed over tokens
}

func (t *tally) add(a Answer, j Judgement) {
	t.all++
	t.tokens += len(a.Tokens)
	t.entropy += a.Entropy * float64(len(a.Tokens))
	count := func(n *int, when bool) {
		if when {
			*n++
		}
	}
	count(&t.right, j.Right)
	count(&t.formed, j.Formed)
	count(&t.ended, a.Ended)
	count(&t.repeats, j.Repeats)
	count(&t.unreasoned, j.Right && !j.Reasoned)
	if j.Right {
		t.rightTokens += len(a.Tokens)
	}
}

// tell sets what a step's progress says of them.
func (t *tally) tell(p *GRPOProgress) {
	n := float64(t.all)
	p.Right, p.Formed, p.Ended, p.Repeats = float64(t.right)/n, float64(t.formed)/n, float64(t.ended)/n, float64(t.repeats)/n
	p.Length, p.Entropy = float64(t.tokens)/n, t.entropy/float64(t.tokens)
	if t.right > 0 {
		p.Unreasoned, p.LengthRight = float64(t.unreasoned)/float64(t.right), float64(t.rightTokens)/float64(t.right)
	}
	p.counts = *t
}
