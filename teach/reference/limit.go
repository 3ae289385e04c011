package reference

import (
	"math"
	"sync"
	"time"
)

// limiter is a token bucket that holds at most one second's worth of requests
// and whose rate changes for a stretch of time.
type limiter struct {
	rate     float64 // requests a second
	factor   float64 // during the slowdown
	from, to time.Time

	mu     sync.Mutex
	tokens float64
	at     time.Time
}

// state is what a client is told about its limit.
type state struct {
	ok        bool
	limit     int           // requests that a full bucket holds
	remaining int           // requests that it holds now
	full      time.Duration // until it is full again
	wait      time.Duration // if not ok: until the next request fits
}

func newLimiter(c *Config, d delays, start time.Time) *limiter {
	l := &limiter{rate: c.RPS, factor: c.Slowdown.Factor, at: start, from: start.Add(d.slowAfter)}
	if l.factor == 0 {
		l.factor = 0.5
	}
	l.to = l.from.Add(d.slowdown)
	l.tokens = l.capacity()
	return l
}

func (l *limiter) capacity() float64 { return math.Max(1, l.rate) }

// earned returns how many requests become possible between two times.
func (l *limiter) earned(a, b time.Time) float64 {
	whole := b.Sub(a).Seconds()
	lo, hi := a, b
	if lo.Before(l.from) {
		lo = l.from
	}
	if hi.After(l.to) {
		hi = l.to
	}
	slow := math.Max(0, hi.Sub(lo).Seconds())
	return l.rate * (whole - slow + slow*l.factor)
}

// take takes one request out of the bucket, if there is one.
func (l *limiter) take(now time.Time) state {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.After(l.at) {
		l.tokens = math.Min(l.capacity(), l.tokens+l.earned(l.at, now))
		l.at = now
	}
	current := l.rate
	if !now.Before(l.from) && now.Before(l.to) {
		current *= l.factor
	}
	s := state{ok: l.tokens >= 1, limit: int(l.capacity())}
	if s.ok {
		l.tokens--
	} else {
		s.wait = seconds((1 - l.tokens) / current)
	}
	s.remaining = int(l.tokens)
	s.full = seconds((l.capacity() - l.tokens) / current)
	return s
}

// seconds makes a duration, an hour at most.
func seconds(s float64) time.Duration {
	return time.Duration(math.Min(s, 3600) * float64(time.Second))
}
