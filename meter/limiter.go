package meter

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits bound how fast a teacher is asked. Zero means no limit.
type Limits struct {
	RPM        int // requests a minute
	TPM        int // tokens a minute, input and output together
	Concurrent int // requests in flight
}

// The controller's constants.
const (
	window     = time.Second // how often the rate is adjusted
	growth     = 0.08        // added to the rate each window, as a share of the best rate of success
	tolerated  = 0.02        // share of refusals that is not put down to the rate
	suspicious = 0.1         // share of refusals in a window above which pacing begins
	congested  = 0.25        // share of refusals above which the best rate is no longer believed
	forget     = 0.2         // how much of it is then forgotten
	slowest    = 0.2         // requests a second that are always allowed, as far as the limits do
	burst      = 50 * time.Millisecond
	pauseAfter = 4 // refusals in a row after which everybody waits, not only who was refused

	headroom  = 1.5 // how far the rate may exceed the best rate of success while there are outages
	outageRun = 2   // refusals in a row, at least, that an outage consists of
	outageGap = 2.5 // how long it lasts at least, in mean times between answers
)

// Limiter decides when the next request may be sent.
//
// It bounds the requests in flight, paces requests and tokens to the limits
// given, and finds the rate that a teacher really allows, which may be lower
// and may change, by additive increase and multiplicative decrease. Pacing
// beyond the limits begins when a window of a second has seen more than a few
// refusals. Then, with f the share of a window's
// responses that were refused for their rate, less a little that is tolerated,
//
//	rate ← (rate + growth·best·(1−f)) · (1−f)
//
// where best is the highest rate of success seen, partly forgotten while f is
// high; the increase doubles, twice at most, with each window without refusals. Decreasing by the share that was refused, and not by a half, keeps a
// teacher that refuses one request in twenty for no reason from being asked
// ever more slowly, while one that refuses half is asked half as often at once.
// At a firm limit about 9% of requests are refused,
// which costs nothing, unless the server's headers say when to come. Pacing ends when it no
// longer holds anything back.
//
// A refusal whose headers say that requests are left is not put down to the
// rate. Nor, while requests are paced, are those of an outage: refusals in a row
// for so long that a limit on the rate would have let an answer through. A burst
// of refusals for everybody would otherwise slow everybody down, and the more so
// the more requests are under way. An outage counts as one refusal, unless a
// window passes without an answer, and meanwhile the rate stays near the best
// one: a limit on each whole second or minute looks the same, and there asking
// faster only means being refused more.
//
// What a response's headers ask for is honoured: where no request is left,
// nobody sends until the next one is allowed. Who was refused waits as long as
// told before asking again, which is the caller's part; after several refusals
// in a row everybody waits.
type Limiter struct {
	limits Limits
	slots  chan struct{} // a token for each request in flight; nil without a limit

	mu      sync.Mutex
	rate    float64   // requests a second; 0: not paced
	ceiling float64   // from RPM; 0: none
	best    float64   // highest rate of success in a window
	next    time.Time // when the next request may go, by rate
	pause   time.Time // nobody sends before
	tokens  float64   // that may be used now; negative while in debt
	filled  time.Time // when tokens was last brought up to date

	start       time.Time // of the window
	ok, refused int       // responses in the window
	outages     int       // in the window
	run         int       // refusals since the last answer that are not yet among refused
	answered    time.Time // when the last answer came
	success     float64   // answers a second, lately
	inARow      int       // refusals since the last success
	clean       int       // windows without a refusal, up to 2
	inFlight    int
	waiting     int
	wake        chan struct{} // closed when tokens were given back
}

// NewLimiter returns a limiter.
func NewLimiter(l Limits) (*Limiter, error) {
	if l.RPM < 0 || l.TPM < 0 || l.Concurrent < 0 {
		return nil, fmt.Errorf("limits %+v: none may be negative", l)
	}
	m := &Limiter{limits: l, ceiling: float64(l.RPM) / 60, wake: make(chan struct{})}
	m.rate = m.ceiling
	m.tokens = m.capacity()
	if l.Concurrent > 0 {
		m.slots = make(chan struct{}, l.Concurrent)
	}
	return m, nil
}

// capacity is how many tokens can be saved up: ten seconds' worth, so that no
// minute sees much more than its limit.
func (m *Limiter) capacity() float64 { return float64(m.limits.TPM) / 6 }

// Permit allows one request. Its Done must be called once.
type Permit struct {
	m      *Limiter
	tokens int64
}

// Acquire waits until a request that may use so many tokens may be sent.
func (m *Limiter) Acquire(ctx context.Context, tokens int64) (*Permit, error) {
	m.count(&m.waiting, 1)
	defer m.count(&m.waiting, -1)
	if m.slots != nil {
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := m.turn(ctx, tokens); err != nil {
		if m.slots != nil {
			<-m.slots
		}
		return nil, err
	}
	return &Permit{m: m, tokens: tokens}, nil
}

func (m *Limiter) count(n *int, by int) {
	m.mu.Lock()
	*n += by
	m.mu.Unlock()
}

// turn waits for the pause, the tokens and the rate.
func (m *Limiter) turn(ctx context.Context, tokens int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.mu.Lock()
		wait := m.take(time.Now(), tokens)
		wake := m.wake
		m.mu.Unlock()
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// take lets a request pass and returns 0, or returns how long to wait before
// trying again.
func (m *Limiter) take(now time.Time, tokens int64) time.Duration {
	m.adjust(now)
	wait := m.pause.Sub(now)
	if m.limits.TPM > 0 {
		perSecond := float64(m.limits.TPM) / 60
		if !m.filled.IsZero() {
			m.tokens = min(m.capacity(), m.tokens+now.Sub(m.filled).Seconds()*perSecond)
		}
		m.filled = now
		// A request larger than the capacity goes when the bucket is full
		// and leaves a debt.
		if missing := min(float64(tokens), m.capacity()) - m.tokens; missing > 0 {
			wait = max(wait, time.Duration(missing/perSecond*float64(time.Second))+1)
		}
	}
	if m.rate > 0 {
		wait = max(wait, m.next.Sub(now))
	}
	if wait > 0 {
		return wait
	}
	if m.rate > 0 {
		if earliest := now.Add(-burst); m.next.Before(earliest) {
			m.next = earliest
		}
		m.next = m.next.Add(time.Duration(float64(time.Second) / m.rate))
	}
	if m.limits.TPM > 0 {
		m.tokens -= float64(tokens)
	}
	m.inFlight++
	return 0
}

// Outcome is what became of a request, as far as its rate is concerned.
type Outcome struct {
	Refused bool  // for its rate or for overload: 429, 529, or 503 with Retry-After
	OK      bool  // it was answered
	Tokens  int64 // that it used; -1 if not known
	Hints   Hints
}

// Done ends the request and learns from it.
func (p *Permit) Done(o Outcome) {
	m := p.m
	m.mu.Lock()
	now := time.Now()
	m.inFlight--
	m.adjust(now)
	if m.limits.TPM > 0 && (o.Refused || o.Tokens >= 0) {
		used := o.Tokens
		if o.Refused {
			used = 0
		}
		m.tokens += float64(p.tokens - used)
		close(m.wake)
		m.wake = make(chan struct{})
	}
	if o.Hints.Pause > 0 {
		m.pauseUntil(now.Add(o.Hints.Pause))
	}
	switch {
	case o.Refused:
		if !o.Hints.Left {
			m.run++
		}
		m.inARow++
		if m.inARow >= pauseAfter {
			m.pauseUntil(now.Add(o.Hints.RetryAfter))
		}
	case o.OK:
		m.endRun(now)
		m.ok++
		m.inARow = 0
	}
	m.mu.Unlock()
	if m.slots != nil {
		<-m.slots
	}
}

func (m *Limiter) pauseUntil(t time.Time) {
	if t.After(m.pause) {
		m.pause = t
	}
}

// endRun puts the refusals since the last answer down to the rate, but an
// outage counts as one.
func (m *Limiter) endRun(now time.Time) {
	gap := now.Sub(m.answered).Seconds()
	if m.rate > 0 && m.run >= outageRun && gap*m.success >= outageGap {
		m.run = 1
		m.outages++
	}
	m.refused += m.run
	m.run, m.answered = 0, now
}

// adjust ends the window if its time has come.
func (m *Limiter) adjust(now time.Time) {
	if m.start.IsZero() {
		m.start = now
		return
	}
	elapsed := now.Sub(m.start)
	if elapsed < window {
		return
	}
	if m.ok == 0 { // nothing is answered at all: that is no outage but the state of things
		m.refused += m.run
		m.run = 0
	}
	total := m.ok + m.refused
	m.success += (float64(m.ok)/elapsed.Seconds() - m.success) / 2
	f := max(float64(m.refused)/float64(max(total, 1))-tolerated, 0)
	switch success := float64(m.ok) / elapsed.Seconds(); {
	case m.rate == 0:
		m.best = max(m.best, success)
		if f > suspicious && m.refused >= pauseAfter { // begin to pace at what has been going well
			m.rate = max(success, slowest)
			m.best = m.rate
			m.next = now
		}
	case total > 0:
		if f > congested {
			m.best *= 1 - forget
		}
		m.best = max(m.best, success)
		step := max(growth*m.best, slowest)
		if m.refused == 0 {
			step *= float64(int(1) << m.clean)
			m.clean = min(m.clean+1, 2)
		} else {
			m.clean = 0
		}
		m.rate = max((m.rate+step*(1-f))*(1-f), slowest)
		if m.outages > 0 {
			m.rate = min(m.rate, max(headroom*m.best, slowest))
		}
		if m.ceiling > 0 {
			m.rate = min(m.rate, m.ceiling)
		} else if m.refused == 0 && m.rate > 2*m.best && m.rate > 5 {
			m.rate = 0
		}
	}
	m.start, m.ok, m.refused, m.outages = now, 0, 0, 0
}

// State is what a progress view shows of a limiter.
type State struct {
	Rate     float64   // requests a second that are allowed now; 0: as many as are asked
	InFlight int       // requests under way
	Waiting  int       // requests that wait to be sent
	Paused   time.Time // nobody sends before; may have passed
}

// State returns the present state.
func (m *Limiter) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return State{Rate: m.rate, InFlight: m.inFlight, Waiting: m.waiting, Paused: m.pause}
}
