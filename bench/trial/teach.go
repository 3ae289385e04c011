package trial

import (
	"context"
	"fmt"

	"retort/internal/kernel"
	"retort/student/model"
	"retort/student/train"
)

// Point is what was measured of a student on the way.
type Point struct {
	Step    int
	Tokens  int64
	Seconds float64 // of training until then: see Taught
	Heldout float64 // loss, in nats a token
}

// Taught is what became of a student that this process taught.
//
// Seconds are the processor time of this process while it trained, divided by
// its threads: those of the clock on a machine with nothing else to do, and about
// the same on one that is shared, or where the process is stopped for a while.
// Measuring the held-out loss is left out.
type Taught struct {
	Config  model.Config
	Tokens  int64
	Seconds float64
	Heldout float64 // loss after the last step
	Curve   []Point

	// Busiest is by layer of experts the load of the busiest one over the mean,
	// in the last tenth of training as a whole; BusiestStep is the mean of the
	// same over its single steps.
	Busiest, BusiestStep []float64
}

// Teach makes a student by seed and teaches it lessons with the product's own
// loop, measuring the held-out loss so many times on the way, evenly, and at the
// end. on, which may be nil, sees every step.
func Teach(c model.Config, l Lessons, opt train.Options, points int, on func(train.Progress)) (Taught, error) {
	t := Taught{Config: c}
	m, err := model.New(c, opt.Seed)
	if err != nil {
		return t, err
	}
	pool := kernel.NewPool(0)
	defer pool.Close()
	held, err := newHeldout(m, pool, l.Heldout)
	if err != nil {
		return t, err
	}
	var clock stopwatch
	busy := newBusiest(c)
	clock.start()
	_, err = train.SFT(context.Background(), m, pool, l.Train, opt, func(p train.Progress) {
		clock.stop()
		defer clock.start()
		if on != nil {
			on(p)
		}
		busy.add(p)
		t.Tokens, t.Seconds = p.Tokens, clock.sum/float64(pool.Threads())
		if p.Step*points/p.Steps > (p.Step-1)*points/p.Steps {
			t.Heldout = held.loss()
			t.Curve = append(t.Curve, Point{p.Step, t.Tokens, t.Seconds, t.Heldout})
		}
	})
	t.Busiest, t.BusiestStep = busy.figures()
	return t, err
}

// stopwatch adds up the processor time between start and stop, in seconds.
type stopwatch struct{ began, sum float64 }

func (w *stopwatch) start() { w.began = processorSeconds() }
func (w *stopwatch) stop()  { w.sum += processorSeconds() - w.began }

// heldout measures the loss on sequences that a student has not seen.
type heldout struct {
	pass    *model.Pass
	batches []model.Batch
}

// heldTokens bounds a batch of held-out sequences, where one alone is not longer.
const heldTokens = 4096

func newHeldout(m *model.Model, pool *kernel.Pool, data []train.Sequence) (*heldout, error) {
	h := &heldout{}
	largest := 0
	var b model.Batch
	flush := func() {
		if len(b.Tokens) > 0 {
			h.batches = append(h.batches, b)
			largest = max(largest, len(b.Tokens))
		}
		b = model.Batch{}
	}
	for i, s := range data {
		if len(s.Tokens) < 2 || len(s.Tokens) > m.Config().MaxPositions {
			return nil, fmt.Errorf("held-out sequence %d has %d tokens, want 2 to %d", i, len(s.Tokens), m.Config().MaxPositions)
		}
		if len(b.Tokens)+len(s.Tokens) > heldTokens {
			flush()
		}
		b = s.AppendTo(b)
	}
	flush()
	h.pass = model.NewPass(m, pool, max(1, largest))
	return h, nil
}

// loss is the mean over all tokens that have a target.
func (h *heldout) loss() float64 {
	sum, n := 0.0, 0
	for _, b := range h.batches {
		if _, err := h.pass.Forward(b); err != nil {
			panic(err) // the batches were made for this pass
		}
		for _, l := range h.pass.TokenLosses() {
			sum += float64(l)
		}
		n += len(h.pass.TokenLosses())
	}
	return sum / float64(n)
}

// busiest watches the load of experts in the last tenth of a training.
type busiest struct {
	steps int
	sum   [][]float64 // by layer and expert, of shares
	ratio []float64   // by layer, sum over steps of the busiest's share over the mean
}

func newBusiest(c model.Config) *busiest {
	b := &busiest{}
	for range c.Layers - c.DenseLayers {
		b.sum = append(b.sum, make([]float64, c.RoutedExperts))
		b.ratio = append(b.ratio, 0)
	}
	return b
}

// add takes a step in, if it is one of the last tenth.
func (b *busiest) add(p train.Progress) {
	if p.Step <= p.Steps-p.Steps/10 {
		return
	}
	b.steps++
	for i, layer := range p.ExpertLoad {
		most := 0.0
		for e, share := range layer {
			b.sum[i][e] += share
			most = max(most, share)
		}
		b.ratio[i] += most * float64(len(layer))
	}
}

// figures are Taught's Busiest and BusiestStep.
func (b *busiest) figures() (whole, step []float64) {
	for i, layer := range b.sum {
		most := 0.0
		for _, share := range layer {
			most = max(most, share)
		}
		whole = append(whole, most/float64(b.steps)*float64(len(layer)))
		step = append(step, b.ratio[i]/float64(b.steps))
	}
	return whole, step
}
