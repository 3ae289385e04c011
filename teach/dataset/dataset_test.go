package dataset

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"retort/exchange"
	"retort/terms"
)

func examples() []Example {
	id := exchange.ID{1, 0x8b, 0xcf, 0xe5, 0x68, 15: 7}
	return []Example{
		{
			Index: 0, Source: "multiply", Family: "multiply", Problem: "12*34", Row: "",
			Prompt:    []exchange.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "What is 12 × 34?"}},
			Reasoning: "12*30=360, 12*4=48", Answer: "408", Origin: exchange.OriginAPI, TermsID: "reference", Verdict: "correct",
			ExchangeID: id, Key: exchange.Key{1, 2, 3},
		},
		{
			Index: 1, Source: "tickets.jsonl", Family: "file", Problem: "7", Row: "7",
			Prompt: []exchange.Message{{Role: "user", Content: "Naïve <b>日本</b> 🙂\n"}},
			Answer: "", Origin: exchange.OriginImport, TermsID: "own", Verdict: "unverified",
		},
	}
}

func passport() Passport {
	return Passport{
		Tool: Tool{"retort", "test"}, Recipe: Recipe{"t", "abc"},
		Terms:   []Terms{{ID: "reference", Obligations: []terms.Obligation{{Kind: terms.Duty, Text: "none"}}}, {ID: "own"}, {ID: "unused"}},
		Offered: 5, Refused: map[string]int{"wrong": 2, "duplicate": 1},
	}
}

// A change of this value means that every dataset in the world loses its name.
// It was computed by a second implementation, from docs/formats/dataset.md.
func TestHashIsFinal(t *testing.T) {
	const want = "cd08d1f0874d60e16d724ed6e2770054f63b7b18fd59cc7e4055d9bf48c78d86"
	if got := Hash(examples()); got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "dataset.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), want) {
		t.Errorf("docs/formats/dataset.md gives another known answer than %s", want)
	}
}

// Members that the passport's page does not name would be unknown to whoever
// reads it by that page.
func TestThePassportsPageNamesEveryMember(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "passport.md"))
	if err != nil {
		t.Fatal(err)
	}
	p := passport()
	p.Created, p.Curation = "2026-01-01T00:00:00Z", json.RawMessage("{}")
	p.Overrides, p.People, p.Verifiers, p.Export = []Override{{}}, []People{{}}, map[string]Outcomes{"": {}}, &Exported{}
	rows := examples()
	rows[1].Origin = exchange.OriginHuman
	if err := p.fill("", rows); err != nil {
		t.Fatal(err)
	}
	raw, err := p.json()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatal(err)
	}
	for name := range members {
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("docs/formats/passport.md does not name %q", name)
		}
	}
}

func TestHashCoversLogicalRowsAndNothingElse(t *testing.T) {
	base := Hash(examples())
	for i, change := range []func(*Example){
		func(e *Example) { e.Index = 9 },
		func(e *Example) { e.ExchangeID = exchange.NewID(time.UnixMilli(5)) },
		func(e *Example) { e.Key = exchange.Key{} },
	} {
		rows := examples()
		change(&rows[0])
		if Hash(rows) != base {
			t.Errorf("lineage change %d moved the hash", i)
		}
	}
	seen := map[string]int{base: -1}
	for i, change := range []func(*Example){
		func(e *Example) { e.Source += "x" },
		func(e *Example) { e.Family += "x" },
		func(e *Example) { e.Problem += "x" },
		func(e *Example) { e.Row += "x" },
		func(e *Example) { e.Prompt = e.Prompt[1:] },
		func(e *Example) { e.Prompt[0].Role = "user" },
		func(e *Example) { e.Prompt[0].Content += "x" },
		func(e *Example) { e.Prompt[0].Reasoning = "x" },
		func(e *Example) { e.Reasoning += "x" },
		func(e *Example) { e.Answer += "x" },
		func(e *Example) { e.Origin = exchange.OriginHuman },
		func(e *Example) { e.TermsID += "x" },
		func(e *Example) { e.Verdict += "x" },
		func(e *Example) { e.Reasoning, e.Answer = e.Reasoning+e.Answer, "" },
	} {
		rows := examples()
		change(&rows[0])
		h := Hash(rows)
		if j, ok := seen[h]; ok {
			t.Errorf("changes %d and %d have the same hash", i, j)
		}
		seen[h] = i
	}
	rows := examples()
	rows[0], rows[1] = rows[1], rows[0]
	if Hash(rows) == base {
		t.Error("the order of rows is not covered")
	}
}

func TestWriteThenOpenGivesTheSameExamplesAndTheirCounts(t *testing.T) {
	root := t.TempDir()
	hash, err := Write(root, examples(), passport())
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(filepath.Join(root, hash))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(examples(), d.Examples); diff != "" {
		t.Errorf("examples changed on the way (-want +got):\n%s", diff)
	}
	p := d.Passport
	if p.Hash != hash || p.Examples != 2 || p.Reasoning != 1 || p.Families["multiply"] != 1 || p.Origins["import"] != 1 {
		t.Errorf("passport counts: %+v", p)
	}
	wantTerms := []Terms{{ID: "reference", Obligations: []terms.Obligation{{Kind: terms.Duty, Text: "none"}}, Examples: 1}, {ID: "own", Examples: 1}}
	if diff := cmp.Diff(wantTerms, p.Terms); diff != "" {
		t.Errorf("terms (-want +got):\n%s", diff)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("beside the dataset there is something else: %v", entries)
	}
}

func TestThePassportCountsCorrections(t *testing.T) {
	root := t.TempDir()
	rows := examples()
	rows[1].Origin = exchange.OriginHuman
	hash, err := Write(root, rows, passport())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := ReadPassport(filepath.Join(root, hash)); err != nil || p.Corrections != 1 || p.Origins["human"] != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestWriteAgainReusesAndConcurrentWritersAgree(t *testing.T) {
	root := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := Write(root, examples(), passport()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 1 {
		t.Fatalf("want one dataset, found %v, %v", entries, err)
	}
	path := filepath.Join(root, entries[0].Name(), PassportFile)
	before, _ := os.ReadFile(path)
	p := passport()
	p.Recipe.Name = "another"
	if _, err := Write(root, examples(), p); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("writing the same rows again changed an immutable dataset")
	}
}

func TestOpenNamesTheFieldThatDisagrees(t *testing.T) {
	for _, c := range []struct {
		name, field string
		change      func(p map[string]any)
	}{
		{"hash", "hash", func(p map[string]any) { p["hash"] = strings.Repeat("0", 64) }},
		{"examples", "examples", func(p map[string]any) { p["examples"] = 3 }},
		{"reasoning", "reasoning", func(p map[string]any) { p["reasoning"] = 0 }},
		{"corrections", "corrections", func(p map[string]any) { p["corrections"] = 1 }},
		{"offered", "offered", func(p map[string]any) { p["offered"] = 6 }},
		{"refused", "offered", func(p map[string]any) { p["refused"] = map[string]int{"wrong": 1} }},
		{"families", "families.multiply", func(p map[string]any) { p["families"] = map[string]int{"file": 1, "multiply": 2} }},
		{"origins", "origins.served", func(p map[string]any) { p["origins"] = map[string]int{"api": 1, "import": 1, "served": 1} }},
		{"terms", "terms.own", func(p map[string]any) { p["terms"] = p["terms"].([]any)[:1] }},
		{"verdicts", "verdicts.correct", func(p map[string]any) { p["verdicts"] = map[string]int{"unverified": 1} }},
		{"sources", "sources.tickets.jsonl", func(p map[string]any) { p["sources"] = map[string]int{"multiply": 1} }},
		{"files", "files.data.parquet.sha256", func(p map[string]any) { p["files"].([]any)[0].(map[string]any)["sha256"] = "00" }},
		{"no files", "files", func(p map[string]any) { p["files"] = []any{} }},
		{"format", "format", func(p map[string]any) { p["format"] = "something" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			hash, err := Write(root, examples(), passport())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, hash, PassportFile)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var p map[string]any
			if err := json.Unmarshal(raw, &p); err != nil {
				t.Fatal(err)
			}
			c.change(p)
			raw, _ = json.Marshal(p)
			if err := os.WriteFile(path, raw, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = Open(filepath.Join(root, hash))
			var m *MismatchError
			if !errors.As(err, &m) || m.Field != c.field {
				t.Fatalf("Open: %v, want a mismatch of %q", err, c.field)
			}
			if !strings.Contains(err.Error(), c.field) || !strings.Contains(err.Error(), "run the recipe again") {
				t.Errorf("the message names neither field nor remedy: %v", err)
			}
			if _, err := Write(root, examples(), passport()); !errors.As(err, &m) {
				t.Errorf("Write reused a dataset that does not verify: %v", err)
			}
		})
	}
}

func TestOpenRefusesChangedRows(t *testing.T) {
	rewrite := func(t *testing.T, change func([]Example)) string {
		root := t.TempDir()
		hash, err := Write(root, examples(), passport())
		if err != nil {
			t.Fatal(err)
		}
		rows := examples()
		change(rows)
		f, err := os.Create(filepath.Join(root, hash, DataFile))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := writeParquet(f, rows); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(root, hash)
	}
	var m *MismatchError
	dir := rewrite(t, func(rows []Example) { rows[0].Answer = "409" })
	if _, err := Open(dir); !errors.As(err, &m) || m.Field != "directory name" {
		t.Errorf("a changed answer: %v", err)
	}
	dir = rewrite(t, func(rows []Example) { rows[0].ExchangeID = exchange.NewID(time.UnixMilli(9)) })
	if _, err := Open(dir); !errors.As(err, &m) || !strings.HasPrefix(m.Field, "files.data.parquet") {
		t.Errorf("a changed exchange id: %v", err)
	}
}

func TestOpenSurvivesDamage(t *testing.T) {
	root := t.TempDir()
	hash, err := Write(root, examples(), passport())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, hash, DataFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m *MismatchError
	for i := 0; i < len(good); i += 31 {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x55
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(filepath.Join(root, hash)); !errors.As(err, &m) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	for _, n := range []int{0, 4, len(good) / 2, len(good) - 1} {
		if err := os.WriteFile(path, good[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(filepath.Join(root, hash)); !errors.As(err, &m) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, hash, PassportFile), []byte("{\n\"format\": 3}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(root, hash)); err == nil || !strings.Contains(err.Error(), PassportFile+":2") {
		t.Errorf("a broken passport is not located: %v", err)
	}
	os.Remove(filepath.Join(root, hash, PassportFile))
	if _, err := Open(filepath.Join(root, hash)); err == nil || !strings.Contains(err.Error(), "no passport.json") {
		t.Errorf("a missing passport: %v", err)
	}
}

func TestWriteRefusesWhatCannotBeReadBack(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(*Example)
	}{
		{"messages", func(e *Example) { e.Prompt = nil }},
		{"messages", func(e *Example) { e.Prompt[0].Content = "\xff" }},
		{"answer", func(e *Example) { e.Answer = "a\xc3" }},
		{"family", func(e *Example) { e.Family = "" }},
		{"terms_id", func(e *Example) { e.TermsID = "" }},
	} {
		root := filepath.Join(t.TempDir(), "datasets")
		rows := examples()
		c.change(&rows[1])
		var re *RowError
		if _, err := Write(root, rows, passport()); !errors.As(err, &re) || re.Index != 1 || re.Field != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
		if _, err := os.Stat(root); err == nil {
			t.Errorf("%s: something was written", c.field)
		}
	}
	if _, err := Write(t.TempDir(), nil, passport()); !errors.Is(err, ErrEmpty) {
		t.Errorf("no rows: %v", err)
	}
	p := passport()
	p.Terms = p.Terms[:1]
	if _, err := Write(t.TempDir(), examples(), p); err == nil || !strings.Contains(err.Error(), `"own"`) {
		t.Errorf("terms that the passport does not describe: %v", err)
	}
	p = passport()
	p.Offered = 6
	if _, err := Write(t.TempDir(), examples(), p); err == nil || !strings.Contains(err.Error(), "add up to 5") {
		t.Errorf("a candidate that is not accounted for: %v", err)
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	root := t.TempDir()
	p := passport()
	p.Curation = json.RawMessage("{") // found only as the passport is written, after the rows
	if _, err := Write(root, examples(), p); err == nil {
		t.Fatal("a passport that is no JSON was written")
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("a failed write left %v", entries)
	}
}

func TestAFileInADatasetsPlaceIsNamed(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, Hash(examples()))
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(root, examples(), passport()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file in the dataset's place: %v", err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("a failed write left %v", entries)
	}
}

func TestColumnsAreAsDocumented(t *testing.T) {
	root := t.TempDir()
	hash, err := Write(root, examples(), passport())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(root, hash, DataFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Stat()
	pf, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range pf.Schema().Fields() {
		if c.Optional() || c.Repeated() || !c.Leaf() {
			t.Errorf("column %s is not plain", c.Name())
		}
		got = append(got, c.Name())
	}
	want := []string{"index", "source", "family", "problem", "row", "messages", "prompt", "reasoning", "answer", "origin", "terms_id", "verdict", "exchange_id", "key"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
}
