package meter

import (
	"fmt"
	"sync"
	"time"
)

// Rates are how much one client may use. Zero means no limit.
type Rates struct {
	RequestsPerMinute, TokensPerMinute int64
	RequestsPerDay, TokensPerDay       int64
}

// Quota holds one client to its rates and refuses at once what exceeds them;
// Limiter is for the other side, who waits.
//
// Each rate is kept over a window that slides in steps, of a second for a minute
// and of a quarter of an hour for a day: in no span of a minute, or a day, is more
// let through than the rate says. A request takes the tokens that it may use when
// it begins, and when it is over gives back what it did not.
type Quota struct {
	mu      sync.Mutex
	windows [4]span // in the order of Rates: requests are even, tokens odd
}

// span counts what was taken in the last len(taken) steps.
type span struct {
	limit int64 // 0: none
	step  time.Duration
	taken []int64 // by step, the newest at last modulo its length
	last  int64   // the newest step, counted since the Unix epoch
	sum   int64
}

// NewQuota returns a quota of which nothing is used.
func NewQuota(r Rates) *Quota {
	q := &Quota{}
	for i := range q.windows {
		q.windows[i] = span{step: time.Second, taken: make([]int64, 60)}
		if i >= 2 {
			q.windows[i] = span{step: 15 * time.Minute, taken: make([]int64, 96)}
		}
	}
	q.SetRates(r)
	return q
}

// SetRates changes the rates; what was used stays used.
func (q *Quota) SetRates(r Rates) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, limit := range []int64{r.RequestsPerMinute, r.TokensPerMinute, r.RequestsPerDay, r.TokensPerDay} {
		q.windows[i].limit = limit
	}
}

// ExceededError says that a request was refused for a rate.
type ExceededError struct {
	What       string        // such as "requests per minute"
	Limit      int64         // of what
	RetryAfter time.Duration // when as much will be free again
}

// Error implements error.
func (e *ExceededError) Error() string {
	return fmt.Sprintf("the limit of %d %s is reached; try again in %s", e.Limit, e.What, e.RetryAfter.Round(time.Second))
}

// rateNames name the rates in the order of Rates.
var rateNames = [4]string{"requests per minute", "tokens per minute", "requests per day", "tokens per day"}

// Grant is one request that a quota let through. Its first Settle counts.
type Grant struct {
	quota *Quota
	at    [4]int64 // the steps in which it was taken
	took  int64
	done  bool // guarded by quota.mu
}

// Take lets a request through that may use so many tokens, or returns an
// *ExceededError. Of tokens that no window holds it takes all that one does: such
// a request waits until nothing else counts.
func (q *Quota) Take(now time.Time, tokens int64) (*Grant, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var longest *ExceededError
	for i := range q.windows {
		w := &q.windows[i]
		w.advance(now)
		if wait := w.wait(now, amount(i, tokens)); wait > 0 && (longest == nil || wait > longest.RetryAfter) {
			longest = &ExceededError{What: rateNames[i], Limit: w.limit, RetryAfter: wait}
		}
	}
	if longest != nil {
		return nil, longest
	}
	g := &Grant{quota: q, took: tokens}
	for i := range q.windows {
		g.at[i] = q.windows[i].last
		q.windows[i].add(g.at[i], amount(i, tokens))
	}
	return g, nil
}

// amount is what a request takes of the i-th window.
func amount(i int, tokens int64) int64 {
	if i%2 == 0 {
		return 1
	}
	return tokens
}

// Settle puts the tokens that were used in place of those that were taken.
func (g *Grant) Settle(tokens int64) {
	q := g.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	if g.done {
		return
	}
	g.done = true
	for i := range q.windows {
		if i%2 == 1 {
			q.windows[i].add(g.at[i], tokens-g.took)
		}
	}
}

// Left is what one rate has left.
type Left struct {
	Limit, Remaining int64
	Reset            time.Duration // until all of the limit is there again
}

// PerMinute returns what is left of requests and of tokens a minute; a Limit of 0
// means that there is none.
func (q *Quota) PerMinute(now time.Time) (requests, tokens Left) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.windows[0].left(now), q.windows[1].left(now)
}

func (w *span) slot(step int64) *int64 { return &w.taken[step%int64(len(w.taken))] }

// advance forgets the steps that have left the window. A clock that was set back
// is taken to stand still.
func (w *span) advance(now time.Time) {
	step := now.UnixNano() / int64(w.step)
	if step-w.last > int64(len(w.taken)) {
		w.last = step - int64(len(w.taken))
		clear(w.taken)
		w.sum = 0
	}
	for w.last < step {
		w.last++
		w.sum -= *w.slot(w.last)
		*w.slot(w.last) = 0
	}
}

// add counts n in a step, unless it has left the window.
func (w *span) add(step, n int64) {
	if step > w.last-int64(len(w.taken)) {
		*w.slot(step) += n
		w.sum += n
	}
}

// wait is how long it takes until n more fit, 0 if they do.
func (w *span) wait(now time.Time, n int64) time.Duration {
	if w.limit == 0 {
		return 0
	}
	over := w.sum + min(n, w.limit) - w.limit
	for step := w.last - int64(len(w.taken)) + 1; over > 0 && step <= w.last; step++ {
		if over -= *w.slot(step); over <= 0 {
			leaves := time.Unix(0, (step+int64(len(w.taken)))*int64(w.step))
			return max(leaves.Sub(now), time.Millisecond)
		}
	}
	return 0
}

func (w *span) left(now time.Time) Left {
	w.advance(now)
	l := Left{Limit: w.limit, Remaining: max(w.limit-w.sum, 0)}
	for step := w.last; w.sum > 0 && step > w.last-int64(len(w.taken)); step-- {
		if *w.slot(step) != 0 {
			l.Reset = time.Unix(0, (step+int64(len(w.taken)))*int64(w.step)).Sub(now)
			break
		}
	}
	return l
}

// Note counts a request that was let through before the quota was made.
func (q *Quota) Note(at, now time.Time, tokens int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.windows {
		w := &q.windows[i]
		w.advance(now)
		w.add(min(at.UnixNano()/int64(w.step), w.last), amount(i, tokens))
	}
}
