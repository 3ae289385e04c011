package terms

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheRowThatGovernsASourceIsFound(t *testing.T) {
	for _, c := range []struct {
		s    Source
		want string // "" means an error
	}{
		{Source{Provider: "reference"}, Reference},
		{Source{Provider: "reference", BaseURL: "http://127.0.0.1:4711/v1", Model: "reference"}, Reference},
		{Source{BaseURL: "https://api.openai.com/v1", Model: "anything"}, OpenAI},
		{Source{BaseURL: "https://eu.api.openai.com./v1", Model: "anything"}, OpenAI},
		{Source{BaseURL: "https://notopenai.com/v1", Model: "anything"}, "unknown"},
		{Source{BaseURL: "https://router.example/v1", Model: "openai/gpt-4o-mini"}, OpenAI},
		{Source{BaseURL: "http://localhost:8080/v1", Model: "gpt-5"}, OpenAI},
		{Source{BaseURL: "http://localhost:8080/v1", Model: "gpt-oss-20b"}, SelfHosted},
		{Source{BaseURL: "http://localhost:8080/v1", Model: "o11y"}, SelfHosted},
		{Source{BaseURL: "http://127.0.0.1:8080/v1", Model: "HuggingFaceTB/SmolLM2-135M-Instruct"}, SmolLM2},
		{Source{BaseURL: "http://[::1]:8080/v1", Model: "mine"}, SelfHosted},
		{Source{BaseURL: "https://host.example/v1", Model: "SmolLM2-135M"}, "unknown"},
		{Source{BaseURL: "http://10.0.0.7/v1", Model: "mine"}, "unknown"},
		{Source{BaseURL: "http://10.0.0.7/v1", Model: "mine", Row: SelfHosted}, SelfHosted},
		{Source{BaseURL: "http://127.0.0.1/v1", Model: "model.gguf", Row: SmolLM2}, SmolLM2},
		{Source{BaseURL: "https://api.openai.com/v1", Model: "m", Row: SelfHosted}, ""},
		{Source{BaseURL: "http://localhost/v1", Model: "gpt-4o", Row: SelfHosted}, ""},
		{Source{BaseURL: "https://api.openai.com/v1", Model: "m", Row: OpenAI}, OpenAI},
		{Source{BaseURL: "http://localhost/v1", Row: "smolm2"}, ""},
	} {
		row, err := Lookup(c.s)
		if row.ID != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: row %q, %v, want %q", c.s, row.ID, err, c.want)
		}
	}
	if _, err := Lookup(Source{Row: "nope"}); !errors.Is(err, ErrUnknownRow) || !strings.Contains(err.Error(), SmolLM2) {
		t.Errorf("unknown row: %v", err)
	}
}

func TestTheGate(t *testing.T) {
	for _, c := range []struct {
		source Source
		use    Use
		want   Decision
	}{
		{Source{Provider: "reference"}, Use{Distributed: true}, Allow},
		{Source{BaseURL: "http://localhost/v1", Model: "smollm2"}, Use{Distributed: true}, Allow},
		{Source{BaseURL: "http://localhost/v1", Model: "mine"}, Use{}, Allow},
		{Source{BaseURL: "https://api.openai.com/v1"}, Use{Purpose: "extract"}, Block},
		{Source{BaseURL: "https://api.openai.com/v1"}, Use{Purpose: "Classify"}, Review},
		{Source{BaseURL: "https://api.openai.com/v1"}, Use{Purpose: "classify", Distributed: true}, Block},
		{Source{BaseURL: "https://api.unheard.example/v1", Model: "m"}, Use{}, Review},
	} {
		row, err := Lookup(c.source)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range []Action{Collect, Curate, Export} {
			v, err := Require(row, c.use, action)
			if v.Decision != c.want || v.Reason == "" || v.Basis == "" || v.RowID != row.ID {
				t.Errorf("%+v for %+v, %s: %+v, want %s", c.source, c.use, action, v, c.want)
			}
			var refused *RefusedError
			if errors.As(err, &refused) != (c.want != Allow) {
				t.Errorf("%+v, %s: error is %v", c.source, action, err)
			}
			if err != nil && !strings.Contains(err.Error(), "not legal advice") {
				t.Errorf("refusal does not say what it is: %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "terms: ROW") && !strings.Contains(err.Error(), "overrides: [{row: "+row.ID) {
				t.Errorf("refusal does not say how to state a basis: %v", err)
			}
		}
	}
}

func TestARuleDecidesForItsActionsOnly(t *testing.T) {
	row := Row{ID: "x", Basis: "b", Default: Block, Reason: "r", Rules: []Rule{{Actions: []Action{Collect}, Decision: Allow, Reason: "research"}}}
	if Gate(row, Use{}, Collect).Decision != Allow || Gate(row, Use{}, Export).Decision != Block {
		t.Error("the rule was not applied as written")
	}
}

func TestAnAgreementOfOnesOwnFits(t *testing.T) {
	file := `{"id":"acme-2026","provider":"acme","document":"Agreement 17","read":"2026-01-02","basis":"own agreement","says":"we may",
		"default":"allow","reason":"section 4 allows it","obligations":["delete after a year"],"expires":"2027-01-01","hosts":["acme.example"]}`
	var row Row
	if err := json.Unmarshal([]byte(file), &row); err != nil {
		t.Fatal(err)
	}
	g, err := Default().With(row)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Lookup(Source{BaseURL: "https://api.acme.example/v1", Model: "large"})
	v := Gate(got, Use{Distributed: true}, Export)
	if err != nil || v.Decision != Allow || !strings.Contains(v.Basis, "own agreement: Agreement 17") || cmp.Diff([]Obligation{{Kind: Duty, Text: "delete after a year"}}, v.Obligations) != "" {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := g.With(row); err == nil {
		t.Error("two rows of one id were accepted")
	}
	if _, err := Default().With(Row{ID: "y", Basis: "b", Reason: "r", Default: "perhaps"}); err == nil {
		t.Error("a decision that is none was accepted")
	}
}

func TestAnExpiredBasisNeedsReview(t *testing.T) {
	row := Row{ID: "x", Basis: "b", Default: Allow, Reason: "r", Expires: "2026-01-31"}
	for day, want := range map[string]Decision{"2026-01-31": Allow, "2026-02-01": Review} {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if v := GateAt(row, Use{}, Collect, at.Add(12*time.Hour)); v.Decision != want {
			t.Errorf("%s: %+v, want %s", day, v, want)
		}
	}
}

func TestEveryRowNamesItsDocument(t *testing.T) {
	for _, r := range Default().Rows() {
		if r.Document == "" || r.Says == "" || r.Read == "" && r.ID != SelfHosted && r.ID != OwnData && r.ID != OwnModel {
			t.Errorf("row %q: %+v", r.ID, r)
		}
		if r.Read != "" {
			if _, err := time.Parse(time.DateOnly, r.Read); err != nil {
				t.Errorf("row %q: %v", r.ID, err)
			}
		}
	}
}

func TestAFileThatIsNoAgreementIsRefusedWhateverItHolds(t *testing.T) {
	for name, text := range map[string]string{
		"deep brackets": "id: " + strings.Repeat("[", 60_000),
		"deep braces":   "id: " + strings.Repeat("{a: ", 12_000),
		"deep dashes":   strings.Repeat("- ", 30_000) + "x",
		"deep keys":     strings.Repeat("a: ", 20_000) + "x",
		"aliases":       "id: &a [x,x]\nhosts: &b [*a,*a]\nmodels: [*b,*b]\n",
		"a NUL":         "id: a\x00b\n",
		"no UTF-8":      "id: \xff\n",
		"too large":     "id: " + strings.Repeat("a", maxAgreement),
		"a list":        "- id: a\n",
		"two":           "id: a\n---\nid: b\n",
		"a directory":   "",
	} {
		path := filepath.Join(t.TempDir(), "a.yaml")
		if name == "a directory" {
			path = t.TempDir()
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		row, _, err := LoadAgreement(path)
		if err == nil || !strings.Contains(err.Error(), path) || len(err.Error()) > 1000 {
			t.Errorf("%s: row %q, error %.300v", name, row.ID, err)
		}
	}
}
