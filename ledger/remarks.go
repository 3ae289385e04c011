package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"retort/exchange"
)

// Watch returns a reader that also shows every record to see, so that one scan
// can serve several purposes: exchanges and what was said about them.
func Watch(r Reader, see func(Record) error) Reader { return watched{r, see} }

type watched struct {
	r   Reader
	see func(Record) error
}

// Scan implements Reader.
func (w watched) Scan(ctx context.Context, fn func(Record) error) error {
	return w.r.Scan(ctx, func(rec Record) error {
		if err := w.see(rec); err != nil {
			return err
		}
		return fn(rec)
	})
}

// ParseVerdict reads a verdict record.
func ParseVerdict(rec Record) (Verdict, error) {
	var v Verdict
	err := parseHead(rec, KindVerdict, &v)
	v.Exchange, v.Time = rec.Exchange, rec.Time
	return v, err
}

// ParseCorrection reads a correction record. What the person wrote is in the
// exchange that it names.
func ParseCorrection(rec Record) (Correction, error) {
	var c Correction
	err := parseHead(rec, KindCorrection, &c)
	c.Exchange, c.Time = rec.Exchange, rec.Time
	return c, err
}

// ParseOverride reads an override record.
func ParseOverride(rec Record) (Override, error) {
	var o Override
	err := parseHead(rec, KindOverride, &o)
	o.Time = rec.Time
	return o, err
}

// ParseConsent reads a consent record.
func ParseConsent(rec Record) (Consent, error) {
	var c Consent
	err := parseHead(rec, KindConsent, &c)
	c.Time = rec.Time
	return c, err
}

func parseHead(rec Record, want Kind, into any) error {
	if rec.Kind != want {
		return fmt.Errorf("ledger: a %s record where a %s record was expected", rec.Kind, want)
	}
	if err := json.Unmarshal(rec.Head, into); err != nil {
		if rec.Exchange.IsZero() {
			return fmt.Errorf("ledger: %s record: %w", rec.Kind, err)
		}
		return fmt.Errorf("ledger: %s record of exchange %s: %w", rec.Kind, rec.Exchange, err)
	}
	return nil
}

// Corrections reads which exchanges people have corrected: by the corrected
// exchange's id, the exchange of origin human whose answer stands in its place.
// Of several corrections of one exchange the last counts, and a correction of a
// correction counts for what the first one corrected. Response bodies are left
// out, as by Answers.
func Corrections(ctx context.Context, r Reader) (map[exchange.ID]*exchange.Exchange, error) {
	by := map[exchange.ID]exchange.ID{}
	human := map[exchange.ID]*exchange.Exchange{}
	see := func(rec Record) error {
		if rec.Kind != KindCorrection {
			return nil
		}
		c, err := ParseCorrection(rec)
		by[c.Exchange] = c.Human
		return err
	}
	err := Answers(ctx, Watch(r, see), func(e *exchange.Exchange) error {
		if e.Origin == exchange.OriginHuman && e.OK() {
			human[e.ID] = e
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read corrections: %w", err)
	}
	out := make(map[exchange.ID]*exchange.Exchange, len(by))
	for id := range by {
		if e := lastCorrection(id, by, human); e != nil {
			out[id] = e
		}
	}
	return out, nil
}

// lastCorrection follows corrections of corrections. Records that name each
// other in a circle, or an exchange that damage took, end it.
func lastCorrection(id exchange.ID, by map[exchange.ID]exchange.ID, human map[exchange.ID]*exchange.Exchange) *exchange.Exchange {
	var last *exchange.Exchange
	for range len(by) {
		next, ok := by[id]
		if !ok || human[next] == nil {
			break
		}
		id, last = next, human[next]
	}
	return last
}
