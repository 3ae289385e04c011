package serve

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"retort/student/tokenizer"
)

// now is the clock of everything that is stamped with a time.
var now = time.Now

// job is one request: n sequences that continue its prompts, as many of each and
// those of one prompt side by side.
type job struct {
	ctx       context.Context
	model     int // place among Engine.served
	prompts   [][]int32
	bos       []bool // of each prompt: its first token was put there, and is not echoed
	n         int
	maxTokens int // of each sequence, and no more than the context has room for; 0: the prompt alone
	sampling  sampling
	seed      uint64
	stops     []string
	inline    bool
	begins    textState // what the answer begins as, where its beginning was given
	logprobs  bool
	top       int  // alternatives to report at each token
	echo      bool // the prompt is part of the answer, and of its logprobs

	queued  time.Time
	begun   bool         // a token has been sampled; of the loop alone
	started int          // sequences taken out of the queue; under the engine's lock
	reading bool         // the first sequence of the prompt last begun is reading it; likewise
	cached  atomic.Int64 // tokens of the prompts that the cache knew

	mu     sync.Mutex
	events []event
	ready  chan struct{} // holds a value when there are events
}

// perPrompt is how many sequences continue each prompt.
func (j *job) perPrompt() int { return j.n / len(j.prompts) }

// prompt is what a sequence continues.
func (j *job) prompt(choice int) []int32 { return j.prompts[choice/j.perPrompt()] }

// put reports whether what a sequence continues begins with a token that the client did
// not send.
func (j *job) put(choice int) bool { return j.bos != nil && j.bos[choice/j.perPrompt()] }

// promptTokens counts each prompt once, however many sequences continue it.
func (j *job) promptTokens() int {
	n := 0
	for _, p := range j.prompts {
		n += len(p)
	}
	return n
}

// scores reports whether the tokens of the prompts are to be judged too.
func (j *job) scores() bool { return j.echo && j.logprobs }

// event is what a step adds to one of a job's sequences.
type event struct {
	choice   int
	echo     string      // the prompt's text, with the first event of a job that echoes
	prompt   []tokenInfo // with it, of a job that scores: the prompt's tokens after its first
	piece    piece
	logprobs []tokenInfo

	finish    string // why the sequence ended; "" while it goes on
	tokens    int    // with finish: tokens sampled, and of those in the reasoning
	reasoning int
	err       error // the sequence ended like this
}

// tokenInfo is a token with its probability and its likeliest rivals.
type tokenInfo struct {
	tokenLogprob
	top []tokenLogprob
}

// push hands an event over. It never blocks: a sequence has a bounded number
// of events, so a slow reader holds up nobody but itself.
func (j *job) push(ev event) {
	j.mu.Lock()
	j.events = append(j.events, ev)
	j.mu.Unlock()
	select {
	case j.ready <- struct{}{}:
	default:
	}
}

// wait returns the events since the last call, at least one.
func (j *job) wait() ([]event, error) {
	for {
		j.mu.Lock()
		got := j.events
		j.events = nil
		j.mu.Unlock()
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-j.ready:
		case <-j.ctx.Done():
			return nil, context.Cause(j.ctx)
		}
	}
}

// sequence is one answer in the making.
type sequence struct {
	job       *job
	choice    int
	slot      int
	prompt    []int32
	read      int         // prompt tokens that the decoder has
	scored    []tokenInfo // of the prompt, as far as it is read
	last      [1]int32    // sampled, not yet given to the decoder
	over      bool        // nothing more is to come
	maxTokens int
	tokens    int
	reasoning int
	begun     time.Time // out of the queue
	first     time.Time // token sampled
	sampler   *sampler
	bytes     *tokenizer.Stream
	text      *text
}

func (e *Engine) newSequence(j *job, choice int) *sequence {
	prompt := j.prompt(choice)
	// A prompt draws the same samples whatever prompts stand before it.
	return &sequence{job: j, choice: choice, prompt: prompt, begun: now(), maxTokens: min(j.maxTokens, e.opt.MaxContext-len(prompt)),
		sampler: newSampler(j.sampling, j.seed, uint64(choice%j.perPrompt())), bytes: e.tok.NewStream(), text: newText(j.inline, j.begins, j.stops)}
}

// answering reports whether the prompt has been read and a token drawn.
func (s *sequence) answering() bool { return s.tokens > 0 }

// leads reports whether s reads its prompt for others too.
func (s *sequence) leads() bool { return s.choice%s.job.perPrompt() == 0 }

// info is what the logits say of a token, as far as the job asks.
func (s *sequence) info(logits []float32, token int32) (info tokenInfo) {
	info.tokenLogprob, info.top = logprobsOf(logits, token, s.job.top)
	return info
}

// draw draws a token from the logits after the last one read, hands over what
// this adds and reports whether the sequence has ended.
func (e *Engine) draw(s *sequence, logits []float32) bool {
	ev := event{choice: s.choice}
	if s.tokens == 0 && s.job.echo {
		var echo strings.Builder
		said := s.prompt
		if s.job.put(s.choice) {
			said = said[1:]
		}
		for _, id := range said {
			echo.WriteString(s.bytes.Next(id))
		}
		ev.echo = echo.String()
		ev.prompt, s.scored = s.scored, nil
	}
	if s.maxTokens == 0 {
		ev.finish, ev.echo = "length", ev.echo+s.bytes.Flush()
		e.metrics.ended(s)
		s.job.push(ev)
		return true
	}
	drawn, err := s.sampler.next(logits)
	if err != nil {
		s.job.push(event{choice: s.choice, err: invalid("", "the answer cannot go on in the form that was asked for: %v", err)})
		return true
	}
	s.last[0] = drawn
	s.tokens++
	e.metrics.sampled(s)
	if s.job.logprobs {
		ev.logprobs = append(ev.logprobs, s.info(logits, s.last[0]))
	}
	if e.format.Ends(s.last[0]) {
		ev.finish = "stop"
	} else {
		thinking := s.text.reasoning()
		if !e.tok.IsSpecial(s.last[0]) {
			ev.piece = s.text.add(s.bytes.Next(s.last[0]))
		}
		if thinking || s.text.reasoning() {
			s.reasoning++
		}
		switch {
		case s.text.stopped(), s.sampler.complete():
			ev.finish = "stop"
		case s.tokens == s.maxTokens:
			ev.finish = "length"
		}
	}
	if ev.finish != "" {
		rest := s.text.end(s.bytes.Flush())
		ev.piece.reasoning += rest.reasoning
		ev.piece.content += rest.content
		ev.tokens, ev.reasoning = s.tokens, s.reasoning
		e.metrics.ended(s)
	}
	// The first token is told of even if nothing can be shown yet: by it a
	// waiting client knows that its request has begun.
	if s.tokens == 1 || ev.finish != "" || ev.piece != (piece{}) || ev.logprobs != nil {
		s.job.push(ev)
	}
	return ev.finish != ""
}
