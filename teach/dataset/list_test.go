package dataset

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
)

func TestDatasetsAreListedTheLatestFirst(t *testing.T) {
	root := filepath.Join(t.TempDir(), "datasets")
	if all, err := List(root); err != nil || len(all) != 0 {
		t.Errorf("where there is nothing: %v, %v", all, err)
	}
	var hashes []string
	for i, created := range []string{"2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", ""} {
		rows := examples()
		rows[0].Answer = strings.Repeat("x", i+1)
		p := passport()
		p.Created = created
		hash, err := Write(root, rows, p)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	broken := strings.Repeat("0", 64)
	for _, dir := range []string{broken, ".tmp-left", "other"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		if (l.Err != nil) != (filepath.Base(l.Dir) == broken) {
			t.Errorf("%s: %v", l.Dir, l.Err)
		}
		got = append(got, filepath.Base(l.Dir))
	}
	if len(got) != 4 || got[0] != hashes[1] || got[1] != hashes[0] {
		t.Errorf("order %v of %v", got, hashes)
	}

	for _, name := range []string{hashes[0], hashes[0][:8], filepath.Join(root, hashes[0])} {
		if dir, err := Find(root, name); err != nil || dir != filepath.Join(root, hashes[0]) {
			t.Errorf("%s: %s, %v", name, dir, err)
		}
	}
	var unknown *UnknownError
	for _, name := range []string{"", "quickstart", "ffffffffffffffff", ".tmp-left"} {
		if _, err := Find(root, name); !errors.As(err, &unknown) || len(unknown.Like) != 0 {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := os.Rename(filepath.Join(root, broken), filepath.Join(root, hashes[0][:63]+next(hashes[0][63]))); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(root, hashes[0][:10]); !errors.As(err, &unknown) || len(unknown.Like) != 2 || !strings.Contains(err.Error(), hashes[0]) {
		t.Errorf("an ambiguous beginning: %v", err)
	}
	if dir, err := Find(root, hashes[0]); err != nil || filepath.Base(dir) != hashes[0] {
		t.Errorf("a whole hash: %s, %v", dir, err)
	}
}

func next(digit byte) string {
	if digit == '0' {
		return "1"
	}
	return "0"
}

func TestStatsCountRowsAndSpreadLengths(t *testing.T) {
	var rows []Example
	for i := range 100 {
		e := Example{Source: "s", Family: "f", Origin: exchange.OriginAPI, TermsID: "own", Verdict: "correct",
			Prompt: []exchange.Message{{Role: "user", Content: strings.Repeat("é", i+1)}}, Answer: strings.Repeat("x", min(i, 50))}
		if i%4 == 0 {
			e.Reasoning = "ab"
		}
		rows = append(rows, e)
	}
	rows[0].Tools, rows[1].ToolCalls, rows[2].Rejected = "[]", []exchange.ToolCall{{Name: "f"}}, "no"
	rows[3].Prompt = append(rows[3].Prompt, exchange.Message{Role: "assistant"})
	got := (&Dataset{Hash: "h", Examples: rows}).Stats()
	want := Stats{
		Hash: "h", Examples: 100, Sources: map[string]int{"s": 100}, Families: map[string]int{"f": 100}, Origins: map[string]int{"api": 100},
		Verdicts: map[string]int{"correct": 100}, Terms: map[string]int{"own": 100}, Reasoning: 25, Tools: 1, ToolCalls: 1, Rejected: 1,
		Turns: Spread{1, 1, 1, 2, 101}, PromptChars: Spread{1, 50, 95, 100, 5050}, ReasoningChars: Spread{2, 2, 2, 2, 50},
		AnswerChars: Spread{0, 49, 50, 50, 49*50/2 + 50*50}, CommonAnswers: 1, CommonRows: 50,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (&Dataset{}).Stats(); got.Turns != (Spread{}) {
		t.Errorf("no rows: %+v", got)
	}
}
