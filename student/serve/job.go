package serve

import (
	"context"
	"slices"
	"sync"
	"time"

	"retort/student/tokenizer"
)

// now is the clock of everything that is stamped with a time.
var now = time.Now

// job is one request: n sequences that continue one prompt.
type job struct {
	ctx       context.Context
	prompt    []int32
	n         int
	maxTokens int // of each sequence
	sampling  sampling
	seed      uint64
	stops     []string
	inline    bool
	logprobs  bool
	top       int // alternatives to report at each token

	started int // sequences taken out of the queue; under the engine's lock

	mu     sync.Mutex
	events []event
	ready  chan struct{} // holds a value when there are events
}

// event is what a step adds to one of a job's sequences.
type event struct {
	choice   int
	piece    piece
	logprobs []tokenInfo

	finish    string // why the sequence ended; "" while it goes on
	tokens    int    // with finish: tokens sampled, and of those in the reasoning
	reasoning int
	err       error // the sequence ended like this
}

// tokenInfo is a sampled token with its probability and its likeliest rivals.
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
	last      int32 // sampled, not yet given to the decoder
	tokens    int
	reasoning int
	sampler   *sampler
	bytes     *tokenizer.Stream
	text      *text
}

func (e *Engine) newSequence(j *job, choice int) *sequence {
	return &sequence{job: j, choice: choice, sampler: newSampler(j.sampling, j.seed, uint64(choice)),
		bytes: e.tok.NewStream(), text: newText(j.inline, j.stops)}
}

// accept draws a token from the logits, hands over what it adds and reports
// whether the sequence has ended.
func (e *Engine) accept(s *sequence, logits []float32) bool {
	ev := event{choice: s.choice}
	s.last = s.sampler.next(logits)
	s.tokens++
	if s.job.logprobs {
		var info tokenInfo
		info.tokenLogprob, info.top = logprobsOf(logits, s.last, s.job.top)
		ev.logprobs = append(ev.logprobs, info)
	}
	if slices.Contains(e.eos, s.last) {
		ev.finish = "stop"
	} else {
		thinking := s.text.reasoning()
		if !e.tok.IsSpecial(s.last) {
			ev.piece = s.text.add(s.bytes.Next(s.last))
		}
		if thinking || s.text.reasoning() {
			s.reasoning++
		}
		switch {
		case s.text.stopped():
			ev.finish = "stop"
		case s.tokens == s.job.maxTokens:
			ev.finish = "length"
		}
	}
	if ev.finish != "" {
		rest := s.text.end(s.bytes.Flush())
		ev.piece.reasoning += rest.reasoning
		ev.piece.content += rest.content
		ev.tokens, ev.reasoning = s.tokens, s.reasoning
	}
	// The first token is told of even if nothing can be shown yet: by it a
	// waiting client knows that its request has begun.
	if s.tokens == 1 || ev.finish != "" || ev.piece != (piece{}) || ev.logprobs != nil {
		s.job.push(ev)
	}
	return ev.finish != ""
}
