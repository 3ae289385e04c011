package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
)

// TestBodiesGoWhenTheirTimeIsOver erases what was asked before a moment.
func TestBodiesGoWhenTheirTimeIsOver(t *testing.T) {
	ctx := context.Background()
	var n atomic.Int64
	coins := newFakeCoins(0)
	r := newRig(t, rigOptions{yaml: coinRule, coins: coins}, numbered(&n))
	ask := func() {
		t.Helper()
		if status, _, text, err := r.ask("/v1/chat/completions", chatBody); status != 200 || err != nil {
			t.Fatal(status, text, err)
		}
		r.settled()
	}
	ask() // with a coin: its two answers stay
	coins.refuses = true
	ask()
	taught := &exchange.Exchange{ID: exchange.NewID(time.Now()), Origin: exchange.OriginAPI, RequestBody: []byte("q"), ResponseBody: []byte("a"), Times: exchange.Times{Queued: 1, Sent: 1}}
	recs, err := ledger.Records(taught)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Append(ctx, recs...); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	ask()
	if _, err := r.store.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	r.g.erase = func(ctx context.Context, before time.Time) error {
		done, err := r.store.Erase(ctx, Expired(before))
		if done.Bodies != 2 {
			t.Errorf("%+v", done)
		}
		return err
	}
	r.g.expire(ctx, before, time.Hour)
	var kept, gone int
	for _, e := range r.exchanges() {
		if len(e.RequestBody) > 0 && len(e.ResponseBody) > 0 {
			kept++
			continue
		}
		gone++
		if len(e.RequestBody)+len(e.ResponseBody) > 0 || e.Answer.Content != "" || e.Usage.Output != 3 || e.ErrorText != "" || e.Origin != exchange.OriginServed {
			t.Errorf("of an erased exchange there is %+v", e)
		}
	}
	if kept != 4 || gone != 1 {
		t.Errorf("%d exchanges have their bodies, %d do not", kept, gone)
	}
	if err := r.store.Append(ctx, ledger.Record{Kind: "test"}); err != nil { // behind what was not waited for
		t.Fatal(err)
	}
	audits := 0
	if err := r.store.Scan(ctx, func(rec ledger.Record) error {
		if rec.Kind == ledger.KindAudit {
			audits++
		}
		return nil
	}); err != nil || audits != 1 {
		t.Errorf("%d audit records, %v", audits, err)
	}
	if rep, err := segment.Verify(ctx, "ledger", segment.Option{FS: r.disk}); err != nil || !rep.OK() || rep.Erased != 2 {
		t.Errorf("%+v %v", rep, err)
	}
}
