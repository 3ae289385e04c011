package collect

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"retort/exchange"
	"retort/ledger/segment"
	"retort/meter"
	"retort/teach/reference"
)

// BenchmarkAsk asks the reference teacher over loopback TCP, streamed, with 32
// requests in flight, into a ledger on disk.
func BenchmarkAsk(b *testing.B) {
	cfg := reference.Config{Seed: 1, BillPath: filepath.Join(b.TempDir(), "bill.jsonl")}
	teacher, err := reference.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	server, err := teacher.Start(b.Context(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	store, err := segment.Open(b.TempDir(), segment.Option{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	c, err := New(Config{
		BaseURL: server.URL + "/v1", Model: "reference", Price: cfg.Prices(), Budget: meter.NewBudget(1000 * exchange.Dollar),
		Ledger: store, Limits: Limits{Concurrent: 32}, Stream: true, TermsID: "reference", TermsBasis: "own",
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ResetTimer()
	var wg sync.WaitGroup
	work := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range work {
				q := exchange.Request{MaxTokens: 600, Messages: []exchange.Message{{Role: "user", Content: fmt.Sprintf("What is %d times %d?", i%90+10, i/90%90+10)}}, Sample: i}
				if _, err := c.Ask(b.Context(), q); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	wg.Wait()
	s := c.Stats()
	b.ReportMetric(float64(s.Output)/float64(b.N), "tokens/answer")
}
