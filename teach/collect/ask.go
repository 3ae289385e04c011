package collect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"retort/exchange"
	"retort/meter"
)

// The pause before the n-th retry is drawn uniformly between zero and
// firstBackoff·2ⁿ⁻¹, at most longestBackoff: full jitter.
const (
	firstBackoff   = 500 * time.Millisecond
	longestBackoff = 30 * time.Second
)

// rateRefusals is how many refusals for its rate count as one attempt: they
// cost nothing and say nothing about the request.
const rateRefusals = 4

// Ask implements exchange.Asker. What is already known is returned without
// asking; callers that ask the same at one time share one answer. The exchange
// returned must not be modified.
func (c *Collector) Ask(ctx context.Context, r exchange.Request) (*exchange.Exchange, error) {
	if r.Endpoint == "" {
		r.Endpoint = c.cfg.Endpoint
	}
	if r.Model == "" {
		r.Model = c.cfg.Model
	}
	if r.Endpoint != c.cfg.Endpoint || r.Model != c.cfg.Model {
		return nil, fmt.Errorf("ask: the request is for model %q of %s, this collector asks %q of %s", r.Model, r.Endpoint, c.cfg.Model, c.cfg.Endpoint)
	}
	key, err := r.Key()
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	body, err := c.codec.encode(&c.cfg, r, key)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	for {
		e, mine, other, err := c.enter(key)
		switch {
		case err != nil:
			return nil, err
		case e != nil:
			c.event(Event{Kind: EventReused, Key: key, Exchange: e})
			return e, nil
		case mine != nil:
			return c.lead(ctx, r, key, body, mine)
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !errors.Is(other.err, errLeaderLeft) {
			return other.e, other.err
		}
	}
}

// errLeaderLeft marks the end of a call whose caller gave up: it says nothing
// to those who waited with it.
var errLeaderLeft = errors.New("the caller gave up")

// enter finds out whether a key is known, is being asked by another, or is the
// caller's to ask.
func (c *Collector) enter(key exchange.Key) (known *exchange.Exchange, mine, other *call, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[key]; e != nil {
		c.stats.reused++
		return e, nil, nil, nil
	}
	if c.closed {
		return nil, nil, nil, ErrClosed
	}
	if c.going.Err() != nil {
		return nil, nil, nil, context.Cause(c.going)
	}
	if other := c.calls[key]; other != nil {
		return nil, nil, other, nil
	}
	mine = &call{done: make(chan struct{})}
	c.calls[key] = mine
	c.asks.Add(1)
	return nil, mine, nil, nil
}

// lead asks on behalf of everyone who waits for the key.
func (c *Collector) lead(ctx context.Context, r exchange.Request, key exchange.Key, body []byte, mine *call) (*exchange.Exchange, error) {
	defer c.asks.Done()
	e, err := c.insist(ctx, r, key, body)
	c.mu.Lock()
	delete(c.calls, key)
	if err == nil {
		// The bodies are in the ledger; a run's worth of them need not stay
		// in memory.
		light := *e
		light.RequestBody, light.ResponseBody = nil, nil
		c.known[key] = &light
		c.stats.answered++
	} else {
		c.stats.failed++
	}
	c.mu.Unlock()
	mine.e, mine.err = e, err
	if err != nil && ctx.Err() != nil {
		mine.e, mine.err = nil, errLeaderLeft
	}
	close(mine.done)
	if err != nil {
		c.event(Event{Kind: EventFailed, Key: key, Exchange: e, Err: err})
	}
	return e, err
}

// insist makes attempts until one is answered or no other may be made.
func (c *Collector) insist(ctx context.Context, r exchange.Request, key exchange.Key, body []byte) (*exchange.Exchange, error) {
	rng := rand.New(rand.NewPCG(c.cfg.Seed, binary.LittleEndian.Uint64(key[:])))
	queued := time.Now()
	began := c.answers()
	var last *result
	for n, budget := 1, rateRefusals*c.cfg.MaxAttempts; ; n++ {
		res, err := c.attempt(ctx, job{request: r, key: key, body: body, attempt: n, parent: last.id(), queued: queued})
		if err != nil {
			return last.exchange(), err
		}
		last = res
		e := res.e
		if e.ErrorClass == "" {
			return e, nil
		}
		err = res.err
		if !e.ErrorClass.Retryable() {
			return e, err
		}
		budget -= rateRefusals
		if e.ErrorClass == exchange.ClassRateLimited {
			budget += rateRefusals - 1
		}
		if budget <= 0 {
			err = fmt.Errorf("%w (given up after %d attempts)", err, n)
			if !res.sent && began == c.answers() {
				err = &UnreachableError{What: c.what(), Attempts: n, Err: res.cause}
				c.stop(err)
			}
			return e, err
		}
		wait := pause(rng, n, res.hints.RetryAfter)
		c.log.Info("retry", "attempt", e.ID, "class", e.ErrorClass, "wait", wait, "error", e.ErrorText)
		c.event(Event{Kind: EventRetry, Key: key, Exchange: e, Wait: wait, Err: err})
		queued = time.Now()
		if err := c.sleep(ctx, wait); err != nil {
			return e, err
		}
	}
}

// pause draws how long to wait before the next attempt. Who is told when to
// come back comes then, spread a little so that not all come at once.
func pause(rng *rand.Rand, n int, retryAfter time.Duration) time.Duration {
	most := longestBackoff
	if n < 16 {
		most = min(most, firstBackoff<<(n-1))
	}
	if retryAfter > 0 {
		return retryAfter + time.Duration(rng.Float64()*float64(firstBackoff))
	}
	return time.Duration(rng.Float64() * float64(most))
}

// waiting returns a context for waiting to send: it ends with ctx and when
// nothing more is to be sent.
func (c *Collector) waiting(ctx context.Context) (context.Context, func()) {
	wctx, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(c.going, func() { cancel(context.Cause(c.going)) })
	return wctx, func() { release(); cancel(nil) }
}

func (c *Collector) sleep(ctx context.Context, d time.Duration) error {
	wctx, done := c.waiting(ctx)
	defer done()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-wctx.Done():
		return context.Cause(wctx)
	}
}

// attempt waits for its turn and its money and makes one attempt. An error
// means that no attempt was made, or that it could not be recorded.
func (c *Collector) attempt(ctx context.Context, j job) (*result, error) {
	wctx, done := c.waiting(ctx)
	defer done()
	worst := c.cfg.Price.WorstOf(j.request, 1)
	permit, err := c.limiter.Acquire(wctx, expectedTokens(j.request))
	if err != nil {
		return nil, context.Cause(wctx)
	}
	outcome := meter.Outcome{}
	defer func() { permit.Done(outcome) }()
	reservation, err := c.cfg.Budget.ReserveWait(wctx, worst)
	if err != nil {
		if wctx.Err() != nil {
			return nil, context.Cause(wctx)
		}
		return nil, err
	}
	defer reservation.Release() // does nothing once settled
	if c.going.Err() != nil {   // wctx may not have heard of it yet
		return nil, context.Cause(c.going)
	}
	j.worst = worst
	res, err := c.send(ctx, j)
	if err != nil {
		if res != nil { // sent and not recorded: it may have been billed
			reservation.Settle(worst)
		}
		var lost *LedgerError
		if errors.As(err, &lost) {
			c.stop(err)
		}
		return nil, err
	}
	reservation.Settle(res.e.Cost)
	outcome = res.outcome()
	if res.e.ErrorClass != "" {
		res.err = c.failure(ctx, res)
	}
	if res.e.ErrorClass.Fatal() {
		c.stop(res.err) // before another request takes this one's place
	}
	c.record(res)
	return res, nil
}

// expectedTokens is what a request is likely to count against a limit of
// tokens a minute: providers estimate its input and take max_tokens for its
// answer.
func expectedTokens(r exchange.Request) int64 {
	n := int64(r.MaxTokens)
	for _, m := range r.Messages {
		n += int64(len(m.Content)+len(m.Reasoning))/4 + 4
	}
	return n
}
