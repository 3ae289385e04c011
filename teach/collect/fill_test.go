package collect

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"retort/exchange"
)

type item int

func (i item) Request() exchange.Request { return exchange.Request{Sample: int(i)} }

// slow answers after a random time.
type slow struct {
	mu               sync.Mutex
	rng              *rand.Rand
	asked            []int
	inFlight, atOnce int
	fail             map[int]error
}

func (s *slow) Ask(ctx context.Context, r exchange.Request) (*exchange.Exchange, error) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Sample)
	s.inFlight++
	s.atOnce = max(s.atOnce, s.inFlight)
	d := time.Duration(s.rng.IntN(1000)) * time.Millisecond
	s.mu.Unlock()
	sleepFor(ctx, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if err := s.fail[r.Sample]; err != nil {
		return nil, err
	}
	return &exchange.Exchange{Attempt: r.Sample}, ctx.Err()
}

func items(n int) iter.Seq[item] {
	return func(yield func(item) bool) {
		for i := range n {
			if !yield(item(i)) {
				return
			}
		}
	}
}

func TestFillAsksExactlyThePromptsThatItNeedsInWhateverTime(t *testing.T) {
	// Every third prompt is refused: 20 are accepted among the first 30.
	accept := func(i item) bool { return i%3 != 2 }
	for seed := range uint64(40) {
		for _, concurrency := range []int{1, 3, 16, 100} {
			synctest.Test(t, func(t *testing.T) {
				s := &slow{rng: rand.New(rand.NewPCG(seed, 1))}
				var order []int
				f, err := Fill(t.Context(), s, items(1000), 20, concurrency, func(i item, e *exchange.Exchange, err error) (bool, error) {
					if err != nil || e.Attempt != int(i) {
						t.Errorf("item %d got %+v, %v", i, e, err)
					}
					order = append(order, int(i))
					return accept(i), nil
				})
				if err != nil || f != (Filled{Asked: 29, Accepted: 20}) || !slices.IsSorted(order) || len(order) != 29 {
					t.Fatalf("seed %d, %d at once: %+v, %v, order %v", seed, concurrency, f, err, order)
				}
				slices.Sort(s.asked)
				if len(s.asked) != 29 || s.asked[28] != 28 || s.atOnce > concurrency {
					t.Fatalf("seed %d, %d at once (%d were): asked %v", seed, concurrency, s.atOnce, s.asked)
				}
			})
		}
	}
}

func TestFillEnds(t *testing.T) {
	all := func(item, *exchange.Exchange, error) (bool, error) { return true, nil }
	synctest.Test(t, func(t *testing.T) {
		s := &slow{rng: rand.New(rand.NewPCG(1, 1))}
		if f, err := Fill(t.Context(), s, items(7), -1, 3, all); err != nil || f != (Filled{7, 7, true}) {
			t.Errorf("all: %+v, %v", f, err)
		}
		if f, err := Fill(t.Context(), s, items(7), 9, 3, all); err != nil || f != (Filled{7, 7, true}) {
			t.Errorf("too few: %+v, %v", f, err)
		}
		if f, err := Fill(t.Context(), s, items(7), 0, 3, all); err != nil || f != (Filled{}) {
			t.Errorf("none: %+v, %v", f, err)
		}
		if _, err := Fill(t.Context(), s, items(7), 1, 0, all); err == nil {
			t.Error("nobody asks")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &slow{rng: rand.New(rand.NewPCG(1, 1)), fail: map[int]error{4: errors.New("no")}}
		stop := errors.New("stop")
		f, err := Fill(t.Context(), s, items(50), 40, 8, func(i item, _ *exchange.Exchange, err error) (bool, error) {
			if err != nil {
				return false, fmt.Errorf("%w: %w", stop, err)
			}
			return true, nil
		})
		if !errors.Is(err, stop) || f.Accepted != 4 || f.Asked != 5 || s.inFlight != 0 {
			t.Errorf("%+v, %v, %d still under way", f, err, s.inFlight)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &slow{rng: rand.New(rand.NewPCG(1, 1))}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := Fill(ctx, s, items(500), 400, 8, func(_ item, e *exchange.Exchange, err error) (bool, error) { return err == nil, nil })
		if !errors.Is(err, context.DeadlineExceeded) || s.inFlight != 0 {
			t.Errorf("%v, %d still under way", err, s.inFlight)
		}
	})
}
