package collect

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"retort/exchange"
	"retort/meter"
	"retort/teach/reference"
)

// TestBooksAndBillAgreeWhateverGoesWrong asks the reference teacher, with
// every fault that it has and a rate limit that halves, and compares our books
// with its bill line by line.
func TestBooksAndBillAgreeWhateverGoesWrong(t *testing.T) {
	const share = 0.05
	for _, c := range []struct {
		name   string
		wire   Wire
		stream bool
		budget float64 // of what it takes
	}{
		{"streamed", WireChat, true, 1000}, {"not streamed", WireChat, false, 1000}, {"half the budget", WireChat, true, 0.3},
		{"responses, streamed", WireResponses, true, 1000}, {"responses, not streamed", WireResponses, false, 1000},
		{"messages, streamed", WireMessages, true, 1000}, {"messages, not streamed", WireMessages, false, 1000}, {"messages, half the budget", WireMessages, true, 0.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := reference.Config{
					Seed: 1, Keys: []string{secret}, RPS: 50, BillPath: filepath.Join(t.TempDir(), "bill.jsonl"),
					Slowdown: reference.Slowdown{After: "2s", For: "10s"},
					Faults: reference.Faults{
						RateLimit: share, ServerError: share, Cut: share, SlowStart: share, Stall: share,
						Truncate: share, Malformed: share, MissingUsage: share, EmptyThink: share,
					},
				}
				teacher, err := reference.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				questions := 300
				if c.wire != WireChat && c.budget > 1 {
					questions = 120
				}
				q := func(i int) exchange.Request {
					return exchange.Request{MaxTokens: 600, Messages: []exchange.Message{{Role: "user", Content: "What is " + string(rune('1'+i%9)) + "4 times " + string(rune('1'+i/9%9)) + "7?"}}, Sample: i}
				}
				worst := exchange.Pico(0)
				for i := range questions {
					worst += cfg.Prices().WorstOf(q(i), 1)
				}
				r, stop := serve(t, teacher.Handler(), func() error { return nil }, func(cc *Config) {
					cc.Model, cc.Price, cc.Provider = "reference", cfg.Prices(), reference.Provider
					cc.Budget = meter.NewBudget(exchange.Pico(float64(worst) / 10 * c.budget))
					cc.Wire, cc.Stream, cc.Limits.Concurrent = c.wire, c.stream, 32
				})
				var wg sync.WaitGroup
				var mu sync.Mutex
				answered, over := 0, 0
				begin := time.Now()
				for i := range questions {
					wg.Go(func() {
						_, err := r.Ask(t.Context(), q(i))
						var budget *meter.OverBudgetError
						mu.Lock()
						defer mu.Unlock()
						switch {
						case err == nil:
							answered++
						case errors.As(err, &budget):
							over++
						default:
							t.Errorf("question %d: %v", i, err)
						}
					})
				}
				wg.Wait()
				took := time.Since(begin)
				stop()
				if err := teacher.Close(); err != nil {
					t.Fatal(err)
				}
				bill, err := reference.ReadBill(cfg.BillPath)
				if err != nil {
					t.Fatal(err)
				}
				billed := make(map[string]reference.BillLine)
				var total exchange.PicoSum
				for _, line := range bill {
					if _, twice := billed[line.Attempt]; twice || line.Attempt == "" {
						t.Errorf("attempt %q is billed twice or without a name", line.Attempt)
					}
					billed[line.Attempt] = line
					total.Add(line.Cost)
				}
				faults := make(map[string]int)
				for _, e := range r.ledger.exchanges(t) {
					line, ok := billed[e.ID.String()]
					delete(billed, e.ID.String())
					faults[line.Fault]++
					switch {
					case e.ErrorClass == exchange.ClassUnended:
						t.Errorf("attempt %s has no end", e.ID)
					case e.Usage.Source == exchange.UsageReported && e.Cost != line.Cost:
						t.Errorf("attempt %s (%s): %d in our books, %d on the bill", e.ID, line.Fault, e.Cost, line.Cost)
					case ok && e.Cost < line.Cost:
						t.Errorf("attempt %s (%s, %s): %d in our books, less than the bill's %d", e.ID, line.Fault, e.ErrorClass, e.Cost, line.Cost)
					case !ok && e.Cost != 0:
						t.Errorf("attempt %s (%s) was not billed and cost %d", e.ID, e.ErrorClass, e.Cost)
					}
				}
				if len(billed) != 0 {
					t.Errorf("%d lines of the bill are not in our books: %v", len(billed), billed)
				}
				if total.Cmp(r.budget.Limit()) > 0 || r.budget.Spent().Cmp(total) < 0 || r.budget.Spent().Cmp(r.budget.Limit()) > 0 {
					t.Errorf("billed %v, spent %v of %v", total, r.budget.Spent(), r.budget.Limit())
				}
				if c.budget > 1 && answered != questions || c.budget < 1 && (over == 0 || answered < 3) {
					t.Errorf("%d of %d answered, %d over budget", answered, questions, over)
				}
				st := r.Stats()
				t.Logf("%d answered in %v, %d attempts, errors %v, billed faults %v; reported %v, upper bound %v, bill %v, limit %v",
					answered, took, st.Sent, st.Errors, faults, st.Reported, st.UpperBound, total, r.budget.Limit())
			})
		})
	}
}
