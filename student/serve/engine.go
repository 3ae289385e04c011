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
	"slices"
	"sync"

	"retort/internal/kernel"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
)

// Options say how to serve. A zero field takes its default.
type Options struct {
	Model      string // the name that clients ask for ("student")
	Slots      int    // sequences decoded together (16)
	MaxContext int    // tokens of prompt and answer (what the model was made for)
	Queue      int    // sequences that may wait (256); beyond it requests are refused with 429

	// CacheTokens is how many tokens all sequences, and the beginnings of prompts
	// that are kept for those to come, may take together (Slots·MaxContext).
	// Sequences wait for room.
	CacheTokens int
	// Weights is what weights are held in (fp32). Blocks are those of a model that is
	// handed out in them (model.BlockSource).
	Weights kernel.Format

	// Adapters are served beside the model, each by a name of its own.
	Adapters []Adapter

	// InlineReasoning leaves <think>…</think> in the content.
	InlineReasoning bool

	// APIKeys, if any, are the keys of which a request must carry one. Serve
	// insists on them when it listens beyond loopback.
	APIKeys []string
	MaxBody int64 // bytes of a request (1 MiB)
}

// Adapter is an adapter of the model, and the name that clients ask for it by.
type Adapter struct {
	Name    string
	Weights *model.Adapter
}

// decoder is what the engine needs of a model; see model.Decoder.
type decoder interface {
	Begin(slot, adapter int, prompt []int32, room int) (shared int, ok bool)
	Read(chunks []model.Chunk) ([]float32, error)
	Reset(slot int)
	MaxRows() int
	CacheUse() model.CacheUse
}

// Engine decodes for everybody who asks. It is safe for concurrent use.
type Engine struct {
	opt         Options
	format      *chat.Format
	tok         *tokenizer.Tokenizer // the format's
	dec         decoder
	vocab       int
	served      []served // the model, then its adapters
	created     int64
	metrics     *metrics
	constraints constraints

	mu       sync.Mutex
	wake     *sync.Cond // something to do for the loop, or room in the queue
	queue    []*job     // in turn; each has sequences yet to start
	waiting  int        // sequences in queue
	running  int        // sequences in slots
	draining bool       // no new jobs
	closed   bool
	done     chan struct{} // the loop has ended

	// Of the loop alone:
	active []*sequence
	free   []int         // slots without a sequence
	chunks []model.Chunk // of a round, reused
	turn   []*sequence   // those of active that have a chunk, likewise
}

// The reasons for which no job is taken, and with which one ends early.
var (
	errBusy   = errors.New("the queue is full")
	errClosed = errors.New("the server is shutting down")
)

// NewEngine starts an engine on a model that is talked with in a format. It needs
// the source no more after. The pool's workers do the arithmetic; the engine does
// not close it. Close ends the engine.
func NewEngine(src model.Source, format *chat.Format, pool *kernel.Pool, opt Options) (*Engine, error) {
	c := src.Config()
	if known := format.Tokenizer().VocabSize(); known > c.VocabSize {
		return nil, fmt.Errorf("serve: the tokenizer has %d tokens and the model only %d: they do not belong together", known, c.VocabSize)
	}
	if opt.MaxContext <= 0 || opt.MaxContext > c.MaxPositions {
		opt.MaxContext = c.MaxPositions
	}
	opt = opt.withDefaults()
	if opt.CacheTokens > 0 && opt.CacheTokens < opt.MaxContext {
		return nil, fmt.Errorf("serve: a cache of %d tokens does not hold one context of %d", opt.CacheTokens, opt.MaxContext)
	}
	adapters, err := opt.adapters(c)
	if err != nil {
		return nil, err
	}
	dec, err := model.LoadDecoder(src, pool, model.DecoderOptions{Slots: opt.Slots, MaxContext: opt.MaxContext, CacheTokens: opt.CacheTokens, Format: opt.Weights, Adapters: adapters})
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	hash, err := model.HashOf(src)
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	hash = hash[:12]
	all := []served{{opt.Model, "fp_" + hash}}
	for _, a := range opt.Adapters {
		all = append(all, served{a.Name, "fp_" + hash + "_" + a.Weights.Hash()[:12]})
	}
	return newEngine(dec, format, c.VocabSize, opt, all), nil
}

// Models are the names that clients may ask for, the model's own first.
func (e *Engine) Models() []string {
	var names []string
	for _, s := range e.served {
		names = append(names, s.name)
	}
	return names
}

// served is a model as clients know it.
type served struct{ name, fingerprint string }

// adapters are the adapters' weights, once they and their names are found right.
func (o Options) adapters(c model.Config) ([]*model.Adapter, error) {
	var all []*model.Adapter
	names := []string{"", o.Model}
	for _, a := range o.Adapters {
		switch {
		case slices.Contains(names, a.Name):
			return nil, fmt.Errorf("serve: the adapter's name %q is empty or taken", a.Name)
		case c.KVHeads == 0:
			return nil, fmt.Errorf("serve: adapter %s: a model of latent attention is served with its adapter merged", a.Name)
		case a.Weights.Config() != c:
			return nil, fmt.Errorf("serve: adapter %s is for a model of another configuration", a.Name)
		}
		all, names = append(all, a.Weights), append(names, a.Name)
	}
	return all, nil
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
func newEngine(dec decoder, format *chat.Format, vocab int, opt Options, all []served) *Engine {
	e := &Engine{opt: opt, format: format, tok: format.Tokenizer(), served: all, dec: dec, vocab: vocab, created: now().Unix(), metrics: newMetrics(), done: make(chan struct{})}
	e.wake = sync.NewCond(&e.mu)
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

// take starts the next sequence in a slot and moves its job to the end of the
// queue. It returns nil if there is none, or no room for it in the cache. Of a
// prompt that several sequences continue one is to read it for all.
func (e *Engine) take(slot int) *sequence {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := slices.IndexFunc(e.queue, func(j *job) bool { return !j.reading || j.started%j.perPrompt() == 0 })
	if at < 0 {
		return nil
	}
	j := e.queue[at]
	s := e.newSequence(j, j.started)
	known := s.prompt
	if j.scores() {
		known = nil // each of its tokens is to be judged, so that all are read
	}
	shared, ok := e.dec.Begin(slot, j.model, known, len(s.prompt)+s.maxTokens)
	if !ok {
		return nil
	}
	s.slot, s.read = slot, shared
	if j.started%j.perPrompt() == 0 {
		j.reading = true
		j.cached.Add(int64(shared))
		e.metrics.cachedTokens.Add(uint64(shared))
	}
	e.queue = append(e.queue[:at], e.queue[at+1:]...)
	if j.started++; j.started < j.n {
		e.queue = append(e.queue, j)
	}
	e.waiting--
	e.running++
	e.wake.Broadcast()
	return s
}

// promptShare bounds the prompt tokens of a round in which others wait for their
// next token: reading so many takes about as long as a few steps.
const promptShare = 256

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
		e.round()
	}
}

// admit starts sequences while there are slots and room.
func (e *Engine) admit() {
	for len(e.free) > 0 {
		s := e.take(e.free[len(e.free)-1])
		if s == nil {
			return
		}
		e.free = e.free[:len(e.free)-1]
		e.active = append(e.active, s)
	}
}

// round reads one token of every sequence that is being answered, and beside
// them a share of the prompts that have not been read, first come, first served.
func (e *Engine) round() {
	budget := e.dec.MaxRows() - e.opt.Slots
	going := e.active[:0]
	for _, s := range e.active {
		if s.job.ctx.Err() != nil {
			e.release(s)
			continue
		}
		if s.answering() {
			budget = min(budget, promptShare)
		}
		going = append(going, s)
	}
	clear(e.active[len(going):])
	e.active = going
	e.chunks, e.turn = e.chunks[:0], e.turn[:0]
	for _, s := range e.active {
		c := model.Chunk{Slot: s.slot}
		if s.answering() {
			c.Tokens = s.last[:]
		} else {
			n := min(budget, len(s.prompt)-s.read)
			if n == 0 {
				continue
			}
			budget -= n
			c.Tokens, c.Prompt = s.prompt[s.read:s.read+n], true
			switch {
			case s.job.scores():
				c.Wanted = model.EveryLogits
			case s.read+n < len(s.prompt):
				c.Wanted = model.NoLogits
			}
		}
		e.chunks, e.turn = append(e.chunks, c), append(e.turn, s)
	}
	if len(e.chunks) == 0 {
		return
	}
	logits, err := e.dec.Read(e.chunks)
	e.metrics.cache(e.dec.CacheUse())
	over := false
	for i, s := range e.turn {
		c := &e.chunks[i]
		if err != nil {
			s.job.push(event{choice: s.choice, err: fmt.Errorf("decoding: %w", err)})
			s.over = true
		} else {
			rows := 1
			switch c.Wanted {
			case model.EveryLogits:
				rows = len(c.Tokens)
			case model.NoLogits:
				rows = 0
			}
			e.accept(s, c, logits[:rows*e.vocab])
			logits = logits[rows*e.vocab:]
		}
		over = over || s.over
	}
	clear(e.chunks)
	clear(e.turn)
	if !over {
		return
	}
	e.active = slices.DeleteFunc(e.active, func(s *sequence) bool {
		if s.over {
			e.release(s)
		}
		return s.over
	})
}

// accept takes the logits that a chunk gave. Inside of a prompt they judge its
// next tokens; after it a token is drawn from the last of them.
func (e *Engine) accept(s *sequence, c *model.Chunk, logits []float32) {
	if c.Prompt {
		s.read += len(c.Tokens)
		if s.job.scores() {
			first := s.read - len(c.Tokens) + 1 // that the logits judge
			for _, t := range s.prompt[first:min(s.read+1, len(s.prompt))] {
				s.scored = append(s.scored, s.info(logits[:e.vocab], t))
				logits = logits[e.vocab:]
			}
		}
		if s.read < len(s.prompt) {
			return
		}
		if s.leads() {
			e.mu.Lock()
			s.job.reading = false
			e.mu.Unlock()
		}
	}
	s.over = e.draw(s, logits)
}

// release gives a sequence's slot back.
func (e *Engine) release(s *sequence) {
	e.dec.Reset(s.slot)
	e.metrics.cache(e.dec.CacheUse())
	e.free = append(e.free, s.slot)
	e.mu.Lock()
	e.running--
	if s.leads() && s.read < len(s.prompt) {
		s.job.reading = false
	}
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
