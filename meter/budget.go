// Package meter limits what is spent and how fast: a Budget reserves the worst
// case of a request before it is sent and settles what it cost, and a Limiter
// decides when the next request may go out.
//
// It knows no prices (price does) and sends nothing. Amounts are in
// pico-dollars, sums in 128 bits. Everything is safe for concurrent use.
//
// Errors: *OverBudgetError where a reservation would exceed the limit.
package meter

import (
	"context"
	"fmt"
	"sync"

	"retort/exchange"
)

// Budget is a wall: what is spent and what is reserved never exceed the limit
// together, so that a teacher that stays within the reserved worst case cannot
// be paid more than the limit.
//
// Every request reserves its worst case first. When it is over, the
// reservation is settled with what it did cost and the rest is free again. A
// request that fails before anything was billed is settled with nothing.
type Budget struct {
	mu       sync.Mutex
	limit    exchange.PicoSum
	spent    exchange.PicoSum
	reserved exchange.PicoSum
	changed  chan struct{} // closed when something was settled or released
}

// NewBudget returns a budget of which nothing is spent.
func NewBudget(limit exchange.Pico) *Budget {
	b := &Budget{changed: make(chan struct{})}
	b.limit.Add(limit)
	return b
}

// OverBudgetError says that a request was not sent because its worst case does
// not fit into what is left.
type OverBudgetError struct {
	Limit    exchange.PicoSum // of the budget
	Spent    exchange.PicoSum // settled so far, history included
	Reserved exchange.PicoSum // for requests in flight
	Wanted   exchange.Pico    // the worst case that did not fit
}

// Error implements error.
func (e *OverBudgetError) Error() string {
	return fmt.Sprintf("budget of %s is reached: %s is spent, %s is reserved for requests in flight, and the next request could cost %s; "+
		"raise the budget in the recipe and run again to go on", e.Limit, e.Spent, e.Reserved, e.Wanted)
}

// Charge adds what was spent before, on resuming. It may exceed the limit;
// then nothing can be reserved.
func (b *Budget) Charge(p exchange.Pico) {
	var sum exchange.PicoSum
	sum.Add(p)
	b.ChargeSum(sum)
}

// ChargeSum is Charge of a sum.
func (b *Budget) ChargeSum(s exchange.PicoSum) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent.AddSum(s)
}

// Reserve takes the worst case of a request out of what is left, or returns an
// *OverBudgetError.
func (b *Budget) Reserve(worst exchange.Pico) (*Reservation, error) {
	if worst < 0 {
		return nil, fmt.Errorf("meter: a request cannot be reserved %s", worst)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserve(worst)
}

func (b *Budget) reserve(worst exchange.Pico) (*Reservation, error) {
	sum := b.spent
	sum.AddSum(b.reserved)
	sum.Add(worst)
	if sum.Cmp(b.limit) > 0 {
		return nil, &OverBudgetError{Limit: b.limit, Spent: b.spent, Reserved: b.reserved, Wanted: worst}
	}
	b.reserved.Add(worst)
	return &Reservation{budget: b, worst: worst}, nil
}

// ReserveWait is Reserve, but where the worst case does not fit only because
// of what is reserved for others, it waits until some of that is settled: most
// requests cost much less than their worst case.
func (b *Budget) ReserveWait(ctx context.Context, worst exchange.Pico) (*Reservation, error) {
	if worst < 0 {
		return b.Reserve(worst)
	}
	for {
		b.mu.Lock()
		r, err := b.reserve(worst)
		alone := b.spent
		alone.Add(worst)
		changed := b.changed
		hopeless := alone.Cmp(b.limit) > 0
		b.mu.Unlock()
		if err == nil || hopeless {
			return r, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Limit returns the limit.
func (b *Budget) Limit() exchange.PicoSum { return b.limit }

// Spent returns what is settled so far, history included.
func (b *Budget) Spent() exchange.PicoSum {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent
}

// Reserved returns what is reserved for requests in flight.
func (b *Budget) Reserved() exchange.PicoSum {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserved
}

// Reservation is the worst case of one request, taken out of a budget. Its
// first Settle or Release counts; later ones do nothing, so that a deferred
// Release is safe.
type Reservation struct {
	budget *Budget
	worst  exchange.Pico
	done   bool // guarded by budget.mu
}

// Worst is the amount that was reserved.
func (r *Reservation) Worst() exchange.Pico { return r.worst }

// Settle puts what the request did cost in place of its worst case. A cost
// above the worst case, from a teacher that did not honour max_tokens, is
// charged as it is.
func (r *Reservation) Settle(cost exchange.Pico) { r.end(cost) }

// Release gives the whole reservation back: the request was not sent.
func (r *Reservation) Release() { r.end(0) }

func (r *Reservation) end(cost exchange.Pico) {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.done {
		return
	}
	r.done = true
	b.reserved.Add(-r.worst)
	b.spent.Add(cost)
	close(b.changed)
	b.changed = make(chan struct{})
}
