package meter

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"retort/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sum(ps ...exchange.Pico) (s exchange.PicoSum) {
	for _, p := range ps {
		s.Add(p)
	}
	return s
}

func TestTheWallHoldsWhileManyRaceForTheLastDollar(t *testing.T) {
	const limit = 10_000
	b := NewBudget(limit)
	b.Charge(1000) // history
	var spent, inFlight, most atomic.Int64
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for range 200 {
				worst := exchange.Pico(rng.IntN(97) + 1)
				r, err := b.Reserve(worst)
				if err != nil {
					var over *OverBudgetError
					if !errors.As(err, &over) {
						t.Errorf("error is %v", err)
					}
					continue
				}
				now := inFlight.Add(int64(worst)) + spent.Load()
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				cost := exchange.Pico(rng.IntN(int(worst) + 1))
				spent.Add(int64(cost))
				inFlight.Add(-int64(worst))
				if rng.IntN(2) == 0 {
					r.Settle(cost)
				} else {
					r.Settle(cost)
					r.Release() // changes nothing
				}
			}
		})
	}
	wg.Wait()
	if b.Spent().Cmp(sum(exchange.Pico(spent.Load()), 1000)) != 0 || b.Reserved().Cmp(sum()) != 0 {
		t.Errorf("spent %v, reserved %v, want %d and 0", b.Spent(), b.Reserved(), spent.Load()+1000)
	}
	if b.Spent().Cmp(b.Limit()) > 0 || spent.Load() < 8000 {
		t.Errorf("spent %d of %d: exceeded, or the test did not come near", spent.Load(), limit)
	}
}

func TestOverBudgetSaysWhatStandsAgainstIt(t *testing.T) {
	b := NewBudget(100)
	b.Charge(30)
	r, err := b.Reserve(50)
	if err != nil || r.Worst() != 50 {
		t.Fatal(err)
	}
	if _, err := b.Reserve(20); err != nil {
		t.Errorf("what fits exactly was refused: %v", err)
	}
	_, err = b.Reserve(1)
	var over *OverBudgetError
	if !errors.As(err, &over) || over.Limit.Cmp(sum(100)) != 0 || over.Spent.Cmp(sum(30)) != 0 || over.Reserved.Cmp(sum(70)) != 0 || over.Wanted != 1 {
		t.Errorf("error %+v", err)
	}
	r.Settle(60) // more than the worst case: charged as it is
	if b.Spent().Cmp(sum(90)) != 0 {
		t.Errorf("spent %v", b.Spent())
	}
	if _, err := b.Reserve(-1); err == nil {
		t.Error("a negative reservation was accepted")
	}
	big := NewBudget(math.MaxInt64)
	big.Charge(math.MaxInt64)
	big.Charge(math.MaxInt64)
	if _, err := big.Reserve(1); !errors.As(err, &over) {
		t.Errorf("sums wrapped around: %v", err)
	}
}

func TestAReservationWaitsForWhatOthersGiveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		first, err := b.Reserve(80)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := b.ReserveWait(t.Context(), 60)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		first.Settle(10)
		if err := <-done; err != nil {
			t.Error(err)
		}
		var over *OverBudgetError
		if _, err := b.ReserveWait(t.Context(), 91); !errors.As(err, &over) {
			t.Errorf("what can never fit: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.ReserveWait(ctx, 40); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestHeadersAreUnderstood(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for in, want := range map[string]Hints{
		"":                 {},
		"retry-after: 3":   {RetryAfter: 3 * time.Second},
		"retry-after: 0.5": {RetryAfter: time.Second / 2},
		"retry-after: Thu, 01 Jan 2026 00:00:09 GMT":                        {RetryAfter: 9 * time.Second},
		"retry-after: Thu, 01 Jan 2025 00:00:09 GMT":                        {},
		"retry-after: 999999999":                                            {RetryAfter: longestHint},
		"retry-after: soon":                                                 {},
		"retry-after: -1":                                                   {},
		"retry-after: NaN":                                                  {},
		"retry-after-ms: 20|retry-after: 1":                                 {RetryAfter: 20 * time.Millisecond},
		"x-ratelimit-remaining-requests: 3|x-ratelimit-reset-requests: 1s":  {Left: true},
		"x-ratelimit-remaining-requests: 3|x-ratelimit-remaining-tokens: 0": {},
		"x-ratelimit-remaining-requests: 0|x-ratelimit-reset-requests: 1m0s|x-ratelimit-limit-requests: 60":                                         {RetryAfter: time.Minute, Pause: time.Second},
		"x-ratelimit-remaining-requests: 0|x-ratelimit-reset-requests: 20ms|retry-after: 2":                                                         {RetryAfter: 2 * time.Second, Pause: 20 * time.Millisecond},
		"x-ratelimit-remaining-tokens: 0|x-ratelimit-reset-tokens: 1.5":                                                                             {RetryAfter: 1500 * time.Millisecond, Pause: 1500 * time.Millisecond},
		"anthropic-ratelimit-requests-remaining: 3|anthropic-ratelimit-input-tokens-remaining: 9":                                                   {Left: true},
		"anthropic-ratelimit-requests-remaining: 3|anthropic-ratelimit-output-tokens-remaining: 0":                                                  {},
		"anthropic-ratelimit-requests-remaining: 0|anthropic-ratelimit-requests-limit: 50|anthropic-ratelimit-requests-reset: 2026-01-01T00:01:40Z": {RetryAfter: 100 * time.Second, Pause: 2 * time.Second},
		"anthropic-ratelimit-tokens-remaining: 0|anthropic-ratelimit-tokens-reset: 2026-01-01T00:00:05Z|retry-after: 1":                             {RetryAfter: time.Second, Pause: 5 * time.Second},
		"anthropic-ratelimit-tokens-remaining: 0|anthropic-ratelimit-tokens-reset: yesterday":                                                       {},
		"x-ratelimit-remaining-tokens: 0|x-ratelimit-reset-tokens: 1767225607":                                                                      {RetryAfter: 7 * time.Second, Pause: 7 * time.Second},
	} {
		h := http.Header{}
		for _, line := range strings.Split(in, "|") {
			if k, v, ok := strings.Cut(line, ": "); ok {
				h.Set(k, v)
			}
		}
		if got := ParseHints(h, now); got != want {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
	}
}

// server refuses what exceeds limit(t) requests a second (a bucket of a tenth
// of a second, or as many in each whole second), and besides one request in
// noise without reason. One request in bursts begins a quarter of a second in
// which everybody is refused. Who is refused is told to wait a second or, where
// exact is set, as long as it takes.
type server struct {
	mu     sync.Mutex
	limit  func(time.Duration) float64
	whole  bool // seconds
	noise  float64
	bursts float64
	exact  bool
	rng    *rand.Rand
	start  time.Time
	last   time.Time
	until  time.Time // of the burst
	level  float64
	ok, no int
}

// ask returns how long to wait if the request is refused, otherwise 0.
func (s *server) ask() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	limit := s.limit(now.Sub(s.start))
	wait := time.Duration(0)
	if s.whole {
		if second := now.Truncate(time.Second); second != s.last {
			s.last, s.level = second, limit
		}
		wait = s.last.Add(time.Second).Sub(now)
	} else {
		s.level = min(s.level+now.Sub(s.last).Seconds()*limit, max(limit/10, 1))
		s.last = now
		wait = time.Duration((1-s.level)/limit*float64(time.Second)) + 1
	}
	if s.bursts > 0 && s.rng.Float64() < s.bursts && !now.Before(s.until) {
		s.until = now.Add(250 * time.Millisecond)
	}
	if s.level < 1 || s.rng.Float64() < s.noise || now.Before(s.until) {
		s.no++
		if !s.exact {
			return time.Second
		}
		return max(wait, s.until.Sub(now), time.Millisecond)
	}
	s.level--
	s.ok++
	return 0
}

// load asks the server with 32 workers for the given time, each request taking
// 50 ms.
func load(t *testing.T, s *server, l Limits, d time.Duration) {
	m, err := NewLimiter(l)
	if err != nil {
		t.Fatal(err)
	}
	s.start = time.Now()
	s.last = s.start
	if s.whole {
		s.level = s.limit(0)
	}
	s.rng = rand.New(rand.NewPCG(1, 2))
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 32 {
		rng := rand.New(rand.NewPCG(3, uint64(i)))
		wg.Go(func() {
			for {
				p, err := m.Acquire(ctx, 100)
				if err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
				wait := s.ask()
				p.Done(Outcome{OK: wait == 0, Refused: wait > 0, Tokens: 100, Hints: Hints{RetryAfter: wait}})
				if wait > 0 && s.exact {
					wait += time.Duration(rng.Float64() * float64(500*time.Millisecond))
				}
				time.Sleep(wait)
			}
		})
	}
	wg.Wait()
	if st := m.State(); st.InFlight != 0 || st.Waiting != 0 {
		t.Errorf("state at the end: %+v", st)
	}
}

func TestTheRateThatATeacherAllowsIsFound(t *testing.T) {
	always := func(x float64) func(time.Duration) float64 { return func(time.Duration) float64 { return x } }
	for name, c := range map[string]struct {
		server  *server
		limits  Limits
		seconds float64
		least   float64 // answers, as a share of what was possible
		refused float64 // most, as a share of what was asked
	}{
		"50 a second": {&server{limit: always(50)}, Limits{Concurrent: 32}, 60, 0.8, 0.15},
		"50, halved for 10 s": {&server{limit: func(d time.Duration) float64 {
			return map[bool]float64{true: 25, false: 50}[d > 20*time.Second && d < 30*time.Second]
		}}, Limits{Concurrent: 32}, 60, 0.75, 0.2},
		"50, and 5% refused at random": {&server{limit: always(50), noise: 0.05}, Limits{Concurrent: 32}, 60, 0.5, 0.2},
		"50, and 5% begin a burst":     {&server{limit: always(50), bursts: 0.05, exact: true}, Limits{Concurrent: 32}, 60, 0.4, 0.3},
		"50, and 2% begin a burst":     {&server{limit: always(50), bursts: 0.02, exact: true}, Limits{Concurrent: 32}, 60, 0.7, 0.25},
		"50 in each second":            {&server{limit: always(50), whole: true, exact: true}, Limits{Concurrent: 32}, 60, 0.9, 0.2},
		"fast, 5% refused at random":   {&server{limit: always(600), noise: 0.05}, Limits{Concurrent: 32}, 60, 0.4, 0.08},
		"from fast to 20": {&server{limit: func(d time.Duration) float64 {
			return map[bool]float64{true: 600, false: 20}[d < 10*time.Second]
		}}, Limits{Concurrent: 32}, 120, 0.8, 0.2},
		"as fast as the limit":       {&server{limit: always(600)}, Limits{Concurrent: 32, RPM: 600}, 60, 0.016, 0},
		"as fast as the token limit": {&server{limit: always(600)}, Limits{Concurrent: 32, TPM: 60_000}, 60, 0.016, 0.005},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// Which worker comes first is not determined, so that one run is a
				// draw, and where bursts begin by chance a wide one: the mean counts.
				const rounds = 4
				s := c.server
				for range rounds {
					s.level, s.until = 0, time.Time{}
					load(t, s, c.limits, time.Duration(c.seconds*float64(time.Second)))
				}
				possible := 0.0
				for i := range int(c.seconds * 10) {
					possible += s.limit(time.Duration(i)*100*time.Millisecond) / 10
				}
				possible *= rounds
				got, no := float64(s.ok)/possible, float64(s.no)/float64(s.ok+s.no)
				t.Logf("%d answers, %.3f of what was possible; %.3f refused", s.ok, got, no)
				if got < c.least || no > c.refused {
					t.Errorf("answers %.3f, want ≥ %v; refused %.3f, want ≤ %v", got, c.least, no, c.refused)
				}
				if c.limits.RPM > 0 || c.limits.TPM > 0 {
					if most := rounds * (10*c.seconds + 110); float64(s.ok) > most {
						t.Errorf("%d requests exceed the limit given", s.ok)
					}
				}
			})
		})
	}
}

func TestNobodySendsWhileTheServerSaysThatNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := NewLimiter(Limits{Concurrent: 4})
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Acquire(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		p.Done(Outcome{OK: true, Tokens: 1, Hints: Hints{Pause: 7 * time.Second}})
		if p, err = m.Acquire(t.Context(), 1); err != nil || time.Since(begin) < 7*time.Second {
			t.Errorf("sent after %v, %v", time.Since(begin), err)
		}
		p.Done(Outcome{})
		for range pauseAfter { // refusals in a row stop everybody
			p, err := m.Acquire(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			p.Done(Outcome{Refused: true, Hints: Hints{RetryAfter: time.Minute}})
		}
		begin = time.Now()
		if p, err = m.Acquire(t.Context(), 1); err != nil || time.Since(begin) < time.Minute {
			t.Errorf("sent after %v, %v", time.Since(begin), err)
		}
		p.Done(Outcome{OK: true})
	})
}

func TestConcurrencyIsBoundedAndAcquireCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := NewLimiter(Limits{Concurrent: 1})
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Acquire(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Acquire(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second request was allowed: %v", err)
		}
		p.Done(Outcome{OK: true})
		if p, err = m.Acquire(t.Context(), 1); err != nil {
			t.Error(err)
		} else {
			p.Done(Outcome{OK: true})
		}
	})
	if _, err := NewLimiter(Limits{RPM: -1}); err == nil {
		t.Error("a negative limit was accepted")
	}
}

func TestARefusalWhileRequestsAreLeftIsNotPutDownToTheRate(t *testing.T) {
	for left, paced := range map[bool]bool{true: false, false: true} {
		synctest.Test(t, func(t *testing.T) {
			m, err := NewLimiter(Limits{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				p, err := m.Acquire(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
				p.Done(Outcome{OK: i%3 != 0, Refused: i%3 == 0, Hints: Hints{Left: left}})
			}
			if rate := m.State().Rate; (rate > 0) != paced {
				t.Errorf("requests left: %v, rate %v", left, rate)
			}
		})
	}
}
