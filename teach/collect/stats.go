package collect

import (
	"maps"
	"time"

	"retort/exchange"
)

// EventKind says what happened.
type EventKind string

// The kinds of event.
const (
	EventSent   EventKind = "sent"   // an attempt's intent is durable and it goes out; Exchange holds its names only
	EventEnd    EventKind = "end"    // an attempt is over and durable, whatever came of it
	EventRetry  EventKind = "retry"  // another attempt will be made after Wait
	EventReused EventKind = "reused" // the answer was known
	EventFailed EventKind = "failed" // an Ask is given up
)

// Event is one thing that happened.
type Event struct {
	Kind     EventKind
	Key      exchange.Key
	Exchange *exchange.Exchange // must not be modified; nil if an Ask failed before an attempt
	Wait     time.Duration
	Err      error
}

func (c *Collector) event(ev Event) {
	if c.cfg.OnEvent == nil {
		return
	}
	c.eventMu.Lock()
	defer c.eventMu.Unlock()
	c.cfg.OnEvent(ev)
}

// Stats says how far a Collector has come. Sums cover what it has done itself,
// not what was known before.
type Stats struct {
	Reused   int64 // questions whose answer was known
	Answered int64 // questions that were answered
	Failed   int64 // questions that were given up
	Sent     int64 // attempts that are over
	Errors   map[exchange.ErrorClass]int64

	InFlight int     // attempts under way
	Waiting  int     // attempts that wait to be sent
	Allowed  float64 // requests a second that the limiter allows; 0: as many as are asked
	Rate     float64 // attempts that ended per second, over the last ten

	Reported   exchange.PicoSum // cost of attempts whose usage the teacher reported
	UpperBound exchange.PicoSum // what the others are charged, at most what they cost
	Input      int64            // tokens, as reported
	Cached     int64
	Output     int64
	Reasoning  int64
}

const rateSeconds = 10

// tally is what a Collector counts; guarded by its mu.
type tally struct {
	reused, answered, failed, sent int64
	errors                         map[exchange.ErrorClass]int64
	reported, upper                exchange.PicoSum
	input, cached, output, reason  int64
	perSecond                      [rateSeconds + 1]int64 // attempts that ended, by second modulo
	seconds                        [rateSeconds + 1]int64 // which second a slot counts
	first                          int64                  // second of the first
}

// record counts an attempt that is durable and settled.
func (c *Collector) record(res *result) {
	e := res.e
	c.mu.Lock()
	t := &c.stats
	t.sent++
	if e.ErrorClass != "" {
		if t.errors == nil {
			t.errors = make(map[exchange.ErrorClass]int64)
		}
		t.errors[e.ErrorClass]++
	}
	if e.Usage.Source == exchange.UsageReported {
		t.reported.Add(e.Cost)
		t.input += e.Usage.Input
		t.cached += e.Usage.CachedInput
		t.output += e.Usage.Output
		t.reason += e.Usage.Reasoning
	} else {
		t.upper.Add(e.Cost)
	}
	now := time.Now().Unix()
	if t.first == 0 {
		t.first = now
	}
	slot := now % int64(len(t.perSecond))
	if t.seconds[slot] != now {
		t.seconds[slot], t.perSecond[slot] = now, 0
	}
	t.perSecond[slot]++
	c.mu.Unlock()
	c.log.Debug("attempt", "id", e.ID, "family", e.Family, "status", e.Status, "class", e.ErrorClass, "error", e.ErrorText,
		"input", e.Usage.Input, "output", e.Usage.Output, "usage", e.Usage.Source, "cost", e.Cost,
		"took", time.Duration(e.Times.LastByte-e.Times.Sent))
	c.event(Event{Kind: EventEnd, Key: e.Key, Exchange: e})
}

// answers counts the questions that were answered so far.
func (c *Collector) answers() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats.answered
}

// Stats returns the present state.
func (c *Collector) Stats() Stats {
	limiter := c.limiter.State()
	now := time.Now().Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.stats
	s := Stats{
		Reused: t.reused, Answered: t.answered, Failed: t.failed, Sent: t.sent, Errors: maps.Clone(t.errors),
		InFlight: limiter.InFlight, Waiting: limiter.Waiting, Allowed: limiter.Rate,
		Reported: t.reported, UpperBound: t.upper,
		Input: t.input, Cached: t.cached, Output: t.output, Reasoning: t.reason,
	}
	ended := int64(0)
	for i, second := range t.seconds {
		if second < now && second >= now-rateSeconds { // whole seconds only
			ended += t.perSecond[i]
		}
	}
	if span := min(now-t.first, rateSeconds); span > 0 {
		s.Rate = float64(ended) / float64(span)
	}
	return s
}
