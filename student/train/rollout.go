package train

import (
	"context"
	"fmt"
	"math/rand/v2"

	"retort/internal/kernel"
	"retort/student/model"
)

// Sampler has a model answer many prompts at once, in process: slots of a decoder are
// given new work as they become free, and answers to one prompt share what the cache
// knows of it.
//
// What is drawn for a prompt depends on the weights, the seed and the place of prompt and
// answer alone: not on slots, threads or on what else is answered.
type Sampler struct {
	pool  *kernel.Pool
	dec   *model.Decoder
	vocab int
	slots int
	ends  func(int32) bool

	active []*drawing // by slot; nil: free
	rows   []*drawing // of the call, in the order of its logits
	logits []float32  // of the call
	draw   func(part, worker int)
	probs  [][]float32 // by worker
	chunks []model.Chunk
}

// SamplerOptions say what a sampler has room for. A zero field takes its default.
type SamplerOptions struct {
	Slots      int           // answers at once (256)
	MaxContext int           // tokens of a prompt and its answer (the model's positions)
	Weights    kernel.Format // that they are held in
}

// Draw says how answers are drawn.
type Draw struct {
	Each        int     // answers to each prompt (1)
	MaxTokens   int     // of an answer, its end included
	Temperature float64 // 0: the likeliest token each time
	Seed        uint64
}

// Answer is what a model said. Tokens end with the one that ended it, if one did.
type Answer struct {
	Tokens   []int32
	Ended    bool      // by a token, not for want of room
	Logprobs []float32 // of each token as the model has it, whatever the temperature
	Entropy  float64   // mean over the tokens of that of the model's distribution, in nats
}

// drawing is an answer that is being drawn.
type drawing struct {
	prompt []int32
	read   int // tokens of the prompt that the slot has
	slot   int
	leader *drawing // whose reading of the same prompt is waited for; nil: none's
	most   int
	draw   *Draw
	rng    *rand.Rand
	to     *Answer
	last   [1]int32
	done   bool
}

// NewSampler makes a sampler of m as it is now. ends reports whether a token ends an
// answer. The pool stays the caller's.
func NewSampler(m *model.Model, pool *kernel.Pool, ends func(int32) bool, opt SamplerOptions) *Sampler {
	if opt.Slots == 0 {
		opt.Slots = 256
	}
	c := m.Config()
	s := &Sampler{pool: pool, vocab: c.VocabSize, slots: opt.Slots, ends: ends, active: make([]*drawing, opt.Slots), probs: make([][]float32, pool.Threads())}
	s.dec = model.NewDecoder(m, pool, model.DecoderOptions{Slots: opt.Slots, MaxContext: opt.MaxContext, Format: opt.Weights})
	for i := range s.probs {
		s.probs[i] = make([]float32, c.VocabSize)
	}
	s.draw = s.drawRow
	return s
}

// Sample draws answers, [prompt][answer].
func (s *Sampler) Sample(ctx context.Context, prompts [][]int32, d Draw) ([][]Answer, error) {
	d.Each = max(1, d.Each)
	out, queue := make([][]Answer, len(prompts)), make([]*drawing, 0, len(prompts)*d.Each)
	var others []*drawing // beside the first of their prompts, as many prompts at a time as there are slots for
	wave := max(1, s.slots/d.Each)
	for i, p := range prompts {
		if len(p) == 0 {
			return nil, fmt.Errorf("sampling: prompt %d is empty", i)
		}
		most := min(d.MaxTokens, s.dec.MaxContext()-len(p))
		if most < 1 {
			return nil, fmt.Errorf("sampling: prompt %d has %d tokens, which leaves no room for an answer in a context of %d", i, len(p), s.dec.MaxContext())
		}
		out[i] = make([]Answer, d.Each)
		var leader *drawing
		for j := range out[i] {
			x := &drawing{prompt: p, leader: leader, most: most, draw: &d, to: &out[i][j], rng: rand.New(rand.NewPCG(d.Seed^uint64(i)<<20, uint64(j)))}
			if leader == nil {
				leader = x
				queue = append(queue, x)
			} else {
				others = append(others, x)
			}
		}
		if (i+1)%wave == 0 || i+1 == len(prompts) {
			queue, others = append(queue, others...), others[:0]
		}
	}
	defer s.reset()
	for busy := 0; len(queue) > 0 || busy > 0; {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		queue, busy = s.admit(queue), 0
		if err := s.step(); err != nil {
			return nil, fmt.Errorf("sampling: %w", err)
		}
		for i, x := range s.active {
			if x != nil && x.done {
				s.dec.Reset(i)
				s.active[i] = nil
			} else if x != nil {
				busy++
			}
		}
	}
	return out, nil
}

// admit gives free slots to what is queued, in its order.
func (s *Sampler) admit(queue []*drawing) []*drawing {
	for slot := range s.active {
		if len(queue) == 0 {
			break
		}
		if s.active[slot] != nil {
			continue
		}
		x := queue[0]
		if x.leader != nil && x.leader.read < len(x.prompt) {
			break // its pages are not there yet
		}
		shared, ok := s.dec.Begin(slot, 0, x.prompt, len(x.prompt)+x.most)
		if !ok {
			break
		}
		x.slot, x.read = slot, shared
		s.active[slot] = x
		queue = queue[1:]
	}
	return queue
}

// step reads what the slots are to read, prompts as far as there is room in a call, and
// draws the next token of each that has read its prompt.
func (s *Sampler) step() error {
	s.chunks, s.rows = s.chunks[:0], s.rows[:0]
	room := s.dec.MaxRows()
	for _, x := range s.active { // steps go first: nobody waits for another's prompt
		if x != nil && x.read == len(x.prompt) && len(x.to.Tokens) > 0 {
			x.last[0] = x.to.Tokens[len(x.to.Tokens)-1]
			s.chunks = append(s.chunks, model.Chunk{Slot: x.slot, Tokens: x.last[:]})
			s.rows = append(s.rows, x)
			room--
		}
	}
	for _, x := range s.active {
		if x == nil || x.read == len(x.prompt) || room == 0 {
			continue
		}
		n := min(room, len(x.prompt)-x.read)
		c := model.Chunk{Slot: x.slot, Tokens: x.prompt[x.read : x.read+n], Prompt: true, Wanted: model.NoLogits}
		x.read += n
		room -= n
		if x.read == len(x.prompt) {
			c.Wanted = model.LastLogits
			s.rows = append(s.rows, x)
		}
		s.chunks = append(s.chunks, c)
	}
	var err error
	if s.logits, err = s.dec.Read(s.chunks); err != nil {
		return err
	}
	s.pool.Run(len(s.rows), s.draw)
	return nil
}

// drawRow draws the next token of one of the call's rows.
func (s *Sampler) drawRow(row, worker int) {
	x, logits, p := s.rows[row], s.logits[row*s.vocab:][:s.vocab], s.probs[worker]
	copy(p, logits)
	lse := kernel.Softmax(p)
	entropy := float64(lse) - float64(kernel.Dot(p, logits))
	t, id := float32(x.draw.Temperature), 0
	if t == 0 {
		for i, v := range logits {
			if v > logits[id] {
				id = i
			}
		}
	} else {
		if t != 1 {
			copy(p, logits)
			kernel.Scale(p, 1/t)
			kernel.Softmax(p)
		}
		at, sum := x.rng.Float64(), 0.0
		for i, v := range p {
			if v == 0 {
				continue
			}
			id = i // the last possible one, should rounding leave the sum below at
			if sum += float64(v); sum > at {
				break
			}
		}
	}
	a := x.to
	n := float64(len(a.Tokens))
	a.Entropy = (a.Entropy*n + entropy) / (n + 1)
	a.Tokens = append(a.Tokens, int32(id))
	a.Logprobs = append(a.Logprobs, logits[id]-lse)
	a.Ended = s.ends(int32(id))
	x.done = a.Ended || len(a.Tokens) == x.most
}

// reset frees all slots.
func (s *Sampler) reset() {
	for i, x := range s.active {
		if x != nil {
			s.dec.Reset(i)
			s.active[i] = nil
		}
	}
}
