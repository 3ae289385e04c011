package expose_test

import (
	"strings"
	"testing"

	"retort/exchange"
	"retort/ledger"
	"retort/prove/evidence/evidencetest"
	"retort/prove/expose"
)

// What a pair is read from must be what was committed, and be there.
func TestPairsAreThoseThatWereCommitted(t *testing.T) {
	w, err := evidencetest.Make(t.Context(), evidencetest.Options{Seed: 1, Coins: 5})
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := w.Case.Frame.Select(w.Case.View.Entries(w.Case.Frame.Size))
	read := func(edit func(*exchange.Exchange)) error {
		t.Helper()
		changed := &evidencetest.Memory{}
		err := w.Ledger.Scan(t.Context(), func(rec ledger.Record) error {
			if rec.Exchange == entries[2].Exchanges[1] || rec.Exchange == entries[2].Exchange {
				return nil
			}
			return changed.Append(t.Context(), rec)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = ledger.Exchanges(t.Context(), w.Ledger, func(x *exchange.Exchange) error {
			if x.ID != entries[2].Exchanges[1] && x.ID != entries[2].Exchange {
				return nil
			}
			edit(x)
			if x.ID.IsZero() {
				return nil
			}
			recs, err := ledger.Records(x)
			if err != nil {
				return err
			}
			return changed.Append(t.Context(), recs...)
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = expose.Pairs(t.Context(), changed, w.Key, entries)
		return err
	}
	second := func(fn func(*exchange.Exchange)) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) {
			if x.ID == entries[2].Exchanges[1] {
				fn(x)
			}
		}
	}
	if err := read(func(*exchange.Exchange) {}); err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string]func(*exchange.Exchange){
		"answer 2 is not the one":    second(func(x *exchange.Exchange) { x.Answer.Content += "!" }),
		"does not hold its answer 2": second(func(x *exchange.Exchange) { x.Answer = exchange.Answer{} }),
		"is not in the ledger":       second(func(x *exchange.Exchange) { x.ID = exchange.ID{} }),
		"does not hold its prompt":   func(x *exchange.Exchange) { x.RequestBody = nil },
		"do not give what was committed": func(x *exchange.Exchange) {
			x.RequestBody = []byte(`{"messages":[{"role":"user","content":"something else"}]}`)
		},
		"no coin": func(x *exchange.Exchange) { x.RequestBody = []byte(`{"seed":1}`) },
	} {
		if err := read(edit); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "coin 3") {
			t.Errorf("%v, want one about coin 3 that says %q", err, what)
		}
	}
}
