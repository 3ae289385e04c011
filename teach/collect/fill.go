package collect

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"retort/exchange"
)

// Item is a prompt on its way to an asker.
type Item interface {
	Request() exchange.Request
}

// Filled says how far Fill came.
type Filled struct {
	Asked     int  // prompts that were put to the asker and decided on
	Accepted  int  // of which so many were accepted
	Exhausted bool // the source had no more prompts
}

// Fill puts prompts to an asker, at most concurrency at a time, until want of
// them have been accepted; all of them if want is negative.
//
// accept is called in the order of the prompts, one at a time, whatever the
// order of the answers. Another prompt is asked only while those accepted and
// those not yet decided are together fewer than want. So every prompt asked is
// one that was needed: the last of them is the one that fills the count, and
// which prompts are asked depends on the answers and not on their timing.
//
// accept receives what Ask returned, error included. An error of its own ends
// Fill; prompts that are then under way are read to their end, but no longer
// offered.
func Fill[T Item](ctx context.Context, a exchange.Asker, src iter.Seq[T], want, concurrency int, accept func(T, *exchange.Exchange, error) (bool, error)) (Filled, error) {
	if concurrency < 1 {
		return Filled{}, fmt.Errorf("fill: concurrency is %d, must be at least 1", concurrency)
	}
	next, stop := iter.Pull(src)
	defer stop()
	var (
		f        Filled
		queue    []*pending[T] // asked and not yet decided, in order
		inFlight int
		failed   error
		answered = make(chan *pending[T], concurrency)
	)
	for {
		for failed == nil && !f.Exhausted && inFlight < concurrency && (want < 0 || f.Accepted+len(queue) < want) {
			if err := ctx.Err(); err != nil {
				failed = context.Cause(ctx)
				break
			}
			item, ok := next()
			if !ok {
				f.Exhausted = true
				break
			}
			p := &pending[T]{item: item}
			queue = append(queue, p)
			inFlight++
			go func() {
				p.e, p.err = a.Ask(ctx, p.item.Request())
				answered <- p
			}()
		}
		if inFlight == 0 {
			break
		}
		p := <-answered
		inFlight--
		p.done = true
		for failed == nil && len(queue) > 0 && queue[0].done {
			p := queue[0]
			queue[0] = nil
			queue = queue[1:]
			ok, err := accept(p.item, p.e, p.err)
			f.Asked++
			if ok {
				f.Accepted++
			}
			failed = err
		}
	}
	if failed != nil && errors.Is(failed, context.Canceled) && ctx.Err() != nil {
		failed = context.Cause(ctx)
	}
	return f, failed
}

type pending[T Item] struct {
	item T
	e    *exchange.Exchange
	err  error
	done bool
}
