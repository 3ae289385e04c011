package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"retort/exchange"
	"retort/ledger"
)

// Expired returns what says of a ledger's records, in their order, whether the body
// is to go: those of exchanges that were served and began before a time. The two
// answers of a coin stay, since evidence rests on them.
func Expired(before time.Time) func(ledger.Record) bool {
	flipped := make(map[exchange.ID]bool) // coins whose exchange has not ended
	expired := make(map[exchange.ID]bool) // exchanges that have not
	return func(rec ledger.Record) bool {
		switch rec.Kind {
		case ledger.KindAction:
			if a, err := ledger.ParseAction(rec); err == nil && a.Action == ledger.ActionCoin {
				flipped[rec.Exchange] = true
			}
		case ledger.KindIntent:
			var head ledger.Intent
			if json.Unmarshal(rec.Head, &head) != nil || head.Origin != exchange.OriginServed ||
				head.Stage == StageWithheld || flipped[rec.Exchange] || rec.Time >= before.UnixNano() {
				return false
			}
			expired[rec.Exchange] = true
			return true
		case ledger.KindFragment:
			return expired[rec.Exchange]
		case ledger.KindEnd:
			delete(flipped, rec.Exchange)
			delete(expired, rec.Exchange)
		}
		return false
	}
}

// retain erases, while ctx lasts, what is older than the retention that is in force.
func (g *Gateway) retain(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	var last time.Time
	for {
		now := time.Now()
		if keep := g.policy.Load().cfg.retention; keep > 0 && now.Sub(last) >= min(keep/4, 24*time.Hour) {
			g.expire(ctx, now.Add(-keep), keep)
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// expire erases bodies and leaves a record that it did.
func (g *Gateway) expire(ctx context.Context, before time.Time, keep time.Duration) {
	err := g.erase(ctx, before)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		g.log.Error("bodies that are past their retention could not be erased", "error", err)
		return
	}
	rec, err := ledger.NewAudit(ledger.Audit{What: "erase", Subject: "bodies from before " + before.UTC().Format(time.RFC3339), Reason: fmt.Sprintf("retention of %s", keep)})
	if err != nil {
		g.fail(err)
		return
	}
	g.ledger.Submit(g.fail, rec)
}
