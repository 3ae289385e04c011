package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/teach/curate"
	"retort/teach/dataset"
)

// The whole way: a run refuses answers, a person corrects fifty of them, and the
// same command curates with them at no cost, as often as it is given.
func TestFiftyCorrectionsGoTheWholeWay(t *testing.T) {
	ws := t.TempDir()
	// Far more prompts than the fifty refused ones stand among, since answers are
	// recorded as they come and the dataset takes prompts in their order.
	recipe := write(t, `retort: 1
name: fix
teacher: {reference: {}}
budget: {usd: 1}
prompts: [{family: countdown, numbers: 4, max: 9, train: 240, heldout: 5}]
student: {preset: tiny-dense, vocabulary: 300, context: 256}
train: [{sft: {tokens: 500}}]
eval: {against: [teacher]}
export: [gguf]
`)
	first := summary(t, ws, recipe)
	file := filepath.Join(t.TempDir(), "refused.jsonl")
	done(t, ws, "dataset", "review", "--refused", "--run", "fix", "--limit", "50", "-o", file)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var fixed strings.Builder
	written := map[string]exchange.ID{} // answer → what it corrects
	for line := range strings.Lines(string(raw)) {
		var row curate.Review
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		row.Corrected = curate.Corrected{Answer: fmt.Sprintf("by hand %d", len(written)), Reasoning: "looked up"}
		written[row.Corrected.Answer] = row.Exchange
		if err := json.NewEncoder(&fixed).Encode(row); err != nil {
			t.Fatal(err)
		}
	}
	if len(written) != 50 {
		t.Fatalf("%d answers were refused, want at least 50 to correct", len(written))
	}
	if err := os.WriteFile(file, []byte(fixed.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	done(t, ws, "import", "--corrections", file, "--by", "Ann")

	second := summary(t, ws, recipe)
	if second.Dataset.Hash == first.Dataset.Hash || second.Ledger.CostUSD != first.Ledger.CostUSD || second.Ledger.Exchanges != first.Ledger.Exchanges {
		t.Errorf("want another dataset at no cost: %+v, before %+v", second.Ledger, first.Ledger)
	}
	d, err := dataset.Open(filepath.Join(ws, "datasets", second.Dataset.Hash))
	if err != nil {
		t.Fatal(err)
	}
	r, err := segment.OpenReader(filepath.Join(ws, "ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[exchange.ID]*exchange.Exchange{}
	if err := ledger.Exchanges(t.Context(), r, func(e *exchange.Exchange) error { all[e.ID] = e; return nil }); err != nil {
		t.Fatal(err)
	}
	human := 0
	for _, e := range d.Examples {
		of, corrected := written[e.Answer]
		if !corrected {
			if e.Origin != exchange.OriginAPI {
				t.Errorf("an example that nobody corrected: %+v", e)
			}
			continue
		}
		human++
		if x := all[e.ExchangeID]; e.Origin != exchange.OriginHuman || x == nil || x.Parent != of || x.Key != e.Key || e.Key != all[of].Key || e.TermsID != all[of].TermsID || e.Rejected != all[of].Answer.Content {
			t.Errorf("a corrected example: %+v of %+v", e, x)
		}
	}
	if human != 50 || d.Passport.Corrections != 50 || d.Passport.Origins["human"] != 50 {
		t.Errorf("%d corrected examples, the passport counts %d", human, d.Passport.Corrections)
	}
	if third := summary(t, ws, recipe); third.Dataset.Hash != second.Dataset.Hash || third.Ledger.CostUSD != first.Ledger.CostUSD {
		t.Errorf("the same command again gives dataset %s for %v dollars", third.Dataset.Hash, third.Ledger.CostUSD)
	}
}
