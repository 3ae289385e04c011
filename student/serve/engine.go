// Package serve answers with a student: an engine that decodes many sequences
// together, and the OpenAI wire in front of it.
//
// Requests join and leave between two steps of the decoder (continuous
// batching). They wait in a bounded queue and are taken in turn, one sequence
// of each, so that a request for many samples does not hold up the others; nor
// does one whose prompt's own tokens are to be judged, which is read a token a
// step.
// What a sequence says does not depend on what is decoded beside it.
//
// The engine serves in three ways: Ask, an exchange.Asker for callers in this
// process; Handler, the OpenAI wire for any HTTP server; Serve, a server with a
// graceful end. It neither loads models (student/export does) nor meters nor
// logs what is asked (watch/gateway does).
//
// A model that reasons writes <think>…</think> before its answer: the part
// inside goes out as reasoning_content, the rest as content, unless
// Options.InlineReasoning leaves all of it in the content. Stop strings apply
// to the content. Lengths are in tokens; a sequence that reaches the context's
// end stops there with finish reason "length".
//
// Completions continue text as it stands: no template, no reasoning set apart.
// In a prompt that is text, the text of a special token is that token
// (tokenizer.Encode), so that a client can write the template's marks itself;
// the messages of a chat have no such power.
//
// Errors: on the wire the OpenAI envelope; from Ask an *exchange.Error, whose
// class says what can be done about it.
package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"retort/internal/kernel"
	"retort/student/model"
	"retort/student/tokenizer"
)

// Options say how to serve. A zero field takes its default.
type Options struct {
	Model      string // the name that clients ask for ("student")
	Slots      int    // sequences decoded together (16)
	MaxContext int    // tokens of prompt and answer (what the model was made for)
	Queue      int    // sequences that may wait (256); beyond it requests are refused with 429

	// InlineReasoning leaves <think>…</think> in the content.
	InlineReasoning bool

	// APIKeys, if any, are the keys of which a request must carry one. Serve
	// insists on them when it listens beyond loopback.
	APIKeys []string
	MaxBody int64 // bytes of a request (1 MiB)
}

// decoder is what the engine needs of a model; slots are independent.
type decoder interface {
	// PrefillBatch gives each of the slots its prompt and Step gives each one
	// more token; they return the logits that follow, one row a slot, valid
	// until the next call.
	PrefillBatch(slots []int, prompts [][]int32) ([]float32, error)
	Step(slots []int, tokens []int32) ([]float32, error)
	// Reset empties a slot.
	Reset(slot int)
}

// Engine decodes for everybody who asks. It is safe for concurrent use.
type Engine struct {
	opt         Options
	tok         *tokenizer.Tokenizer
	dec         decoder
	vocab       int
	eos         []int32
	fingerprint string
	created     int64
	metrics     *metrics

	mu       sync.Mutex
	wake     *sync.Cond // something to do for the loop, or room in the queue
	queue    []*job     // in turn; each has sequences yet to start
	waiting  int        // sequences in queue
	running  int        // sequences in slots
	draining bool       // no new jobs
	closed   bool
	done     chan struct{} // the loop has ended

	// Of the loop alone:
	active  []*sequence
	free    []int       // slots without a sequence
	slots   []int       // reused, like the following
	tokens  []int32     // of a step
	prompts [][]int32   // of a prefill
	fresh   []*sequence // of a prefill
}

// The reasons for which no job is taken, and with which one ends early.
var (
	errBusy   = errors.New("the queue is full")
	errClosed = errors.New("the server is shutting down")
)

// NewEngine starts an engine on a model and its tokenizer. The pool's workers
// do the arithmetic; the engine does not close it. Close ends the engine.
func NewEngine(m *model.Model, tok *tokenizer.Tokenizer, pool *kernel.Pool, opt Options) (*Engine, error) {
	c := m.Config()
	if tok.VocabSize() > c.VocabSize {
		return nil, fmt.Errorf("serve: the tokenizer has %d tokens and the model only %d: they do not belong together", tok.VocabSize(), c.VocabSize)
	}
	if opt.MaxContext <= 0 || opt.MaxContext > c.MaxPositions {
		opt.MaxContext = c.MaxPositions
	}
	opt = opt.withDefaults()
	e := newEngine(model.NewDecoder(m, pool, opt.Slots, opt.MaxContext), tok, c.VocabSize, opt)
	e.fingerprint = "fp_" + m.Hash()[:12]
	return e, nil
}

func (o Options) withDefaults() Options {
	if o.Model == "" {
		o.Model = "student"
	}
	if o.Slots <= 0 {
		o.Slots = 16
	}
	if o.Queue <= 0 {
		o.Queue = 256
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	return o
}

// newEngine starts an engine on any decoder.
func newEngine(dec decoder, tok *tokenizer.Tokenizer, vocab int, opt Options) *Engine {
	e := &Engine{opt: opt, tok: tok, dec: dec, vocab: vocab, created: now().Unix(), metrics: newMetrics(), done: make(chan struct{})}
	e.wake = sync.NewCond(&e.mu)
	for _, name := range []string{"<|im_end|>", "<|endoftext|>"} {
		if id, ok := tok.ID(name); ok {
			e.eos = append(e.eos, id)
		}
	}
	for slot := opt.Slots - 1; slot >= 0; slot-- {
		e.free = append(e.free, slot)
	}
	go e.loop()
	return e
}

// Close refuses new requests, ends those under way with an error and waits
// until the engine has stopped.
func (e *Engine) Close() {
	e.mu.Lock()
	e.draining, e.closed = true, true
	e.wake.Broadcast()
	e.mu.Unlock()
	<-e.done
}

// Drain refuses new requests and waits until those under way have been
// answered, or until ctx ends.
func (e *Engine) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, e.broadcast)
	defer stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.draining = true
	e.wake.Broadcast()
	for e.waiting+e.running > 0 && !e.closed {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.wake.Wait()
	}
	return nil
}

func (e *Engine) broadcast() {
	e.mu.Lock()
	e.wake.Broadcast()
	e.mu.Unlock()
}

// submit queues a job. Where there is no room it waits if told to and
// otherwise returns errBusy. A job that is larger than the queue is taken when
// the queue is empty.
func (e *Engine) submit(j *job, wait bool) error {
	j.queued = now()
	stop := context.AfterFunc(j.ctx, e.broadcast)
	defer stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.draining:
			return errClosed
		case j.ctx.Err() != nil:
			return context.Cause(j.ctx)
		case e.waiting == 0 || e.waiting+j.n <= e.opt.Queue:
			e.queue = append(e.queue, j)
			e.waiting += j.n
			e.metrics.promptTokens.Add(uint64(j.promptTokens()))
			e.wake.Broadcast()
			return nil
		case !wait:
			e.metrics.refused.Add(1)
			return errBusy
		}
		e.wake.Wait()
	}
}

// forget takes a job that nobody waits for any more out of the queue; its
// sequences in slots are ended by the loop.
func (e *Engine) forget(j *job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, q := range e.queue {
		if q == j {
			e.queue = append(e.queue[:i], e.queue[i+1:]...)
			e.waiting -= j.n - j.started
			e.wake.Broadcast()
			return
		}
	}
}

// take returns the next sequence to start and moves its job to the end of the
// queue; nil if there is none.
func (e *Engine) take() *sequence {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		return nil
	}
	j := e.queue[0]
	e.queue = append(e.queue[:0], e.queue[1:]...)
	s := e.newSequence(j, j.started)
	if j.started++; j.started < j.n {
		e.queue = append(e.queue, j)
	}
	e.waiting--
	e.running++
	e.wake.Broadcast()
	return s
}

// prefillBudget bounds the prompt tokens that are read between two steps, so
// that a burst of requests does not stop the answers under way.
const prefillBudget = 2048

func (e *Engine) loop() {
	defer close(e.done)
	for {
		e.mu.Lock()
		for !e.closed && len(e.active) == 0 && len(e.queue) == 0 {
			e.wake.Wait()
		}
		closed := e.closed
		e.mu.Unlock()
		if closed {
			e.abandon()
			return
		}
		e.admit()
		e.step()
	}
}

// admit starts sequences while there are slots. Prompts are read at once, except
// where each of their tokens is to be judged: prefilling tells the logits of the
// last one alone, so that these are read by steps, in turn with everything else.
func (e *Engine) admit() {
	e.slots, e.prompts, e.fresh = e.slots[:0], e.prompts[:0], e.fresh[:0]
	for read := 0; len(e.free) > 0 && read < prefillBudget; {
		s := e.take()
		if s == nil {
			break
		}
		s.slot = e.free[len(e.free)-1]
		e.free = e.free[:len(e.free)-1]
		if s.job.ctx.Err() != nil {
			e.release(s)
			continue
		}
		if s.job.scores() {
			e.active = append(e.active, s)
			continue
		}
		s.read = len(s.prompt)
		read += s.read
		e.slots, e.prompts, e.fresh = append(e.slots, s.slot), append(e.prompts, s.prompt), append(e.fresh, s)
	}
	if len(e.fresh) == 0 {
		return
	}
	logits, err := e.dec.PrefillBatch(e.slots, e.prompts)
	e.active = e.advance(e.fresh, logits, err, e.active)
	clear(e.fresh)
	clear(e.prompts)
}

// step adds one token to every sequence under way.
func (e *Engine) step() {
	e.slots, e.tokens = e.slots[:0], e.tokens[:0]
	going := e.active[:0]
	for _, s := range e.active {
		if s.job.ctx.Err() != nil {
			e.release(s)
			continue
		}
		going = append(going, s)
		e.slots = append(e.slots, s.slot)
		e.tokens = append(e.tokens, s.next())
	}
	clear(e.active[len(going):])
	e.active = going
	if len(going) == 0 {
		return
	}
	logits, err := e.dec.Step(e.slots, e.tokens)
	e.active = e.advance(going, logits, err, going[:0])
	clear(going[len(e.active):])
}

// advance gives sequences their rows of logits, or the error in their place,
// and appends those that go on to kept, which may be the start of sequences.
func (e *Engine) advance(sequences []*sequence, logits []float32, err error, kept []*sequence) []*sequence {
	for i, s := range sequences {
		done := true
		if err != nil {
			s.job.push(event{choice: s.choice, err: fmt.Errorf("decoding: %w", err)})
		} else {
			done = e.accept(s, logits[i*e.vocab:(i+1)*e.vocab])
		}
		if done {
			e.release(s)
		} else {
			kept = append(kept, s)
		}
	}
	return kept
}

// release gives a sequence's slot back.
func (e *Engine) release(s *sequence) {
	e.dec.Reset(s.slot)
	e.free = append(e.free, s.slot)
	e.mu.Lock()
	e.running--
	e.wake.Broadcast()
	e.mu.Unlock()
}

// abandon ends everything that is under way or waits.
func (e *Engine) abandon() {
	for _, s := range e.active {
		s.job.push(event{choice: s.choice, err: errClosed})
		e.release(s)
	}
	e.active = nil
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range e.queue {
		j.push(event{err: errClosed})
	}
	e.queue, e.waiting = nil, 0
	e.wake.Broadcast()
}
