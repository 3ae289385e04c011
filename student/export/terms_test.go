package export

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/student/chat"
	"retort/student/model"
	"retort/teach/dataset"
	"retort/terms"
)

// fromLlama is a model that was trained on what Llama 3.1 answered.
func fromLlama(t *testing.T) Lineage {
	t.Helper()
	row, err := terms.Default().Row("llama-3.1")
	if err != nil {
		t.Fatal(err)
	}
	l := lineage()
	l.Use = terms.Use{Purpose: "extract", Distributed: true}
	l.Terms = []dataset.Terms{{ID: row.ID, Document: row.Document, Obligations: row.Obligations, Examples: 12000}}
	return l
}

func TestAnExportThatLacksWhatItsTermsAskForIsRefused(t *testing.T) {
	tok := tinyTokenizer(t)
	m, err := model.New(configs(tok.VocabSize())["dense"], 1)
	if err != nil {
		t.Fatal(err)
	}
	licence := "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n" + strings.Repeat("terms and conditions\n", 60)
	for _, c := range []struct {
		name    string
		change  func(*Lineage)
		missing []string
	}{
		{"nothing of it", func(*Lineage) {}, []string{terms.NamePrefix, terms.Notice, terms.Licence}},
		{"but the name", func(l *Lineage) { l.Notices = []string{"Built with Llama", licence} }, []string{terms.NamePrefix}},
		{"but the notice", func(l *Lineage) { l.Name, l.Notices = "Llama-tickets", []string{licence} }, []string{terms.Notice}},
		{"but the licence", func(l *Lineage) { l.Name, l.Notices = "Llama-tickets", []string{"Built with Llama"} }, []string{terms.Licence}},
		{"all of it", func(l *Lineage) { l.Name, l.Notices = "Llama-tickets", []string{"Built with Llama", licence} }, nil},
		{"kept to oneself", func(l *Lineage) { l.Use.Distributed = false }, nil},
	} {
		l := fromLlama(t)
		c.change(&l)
		parent := t.TempDir()
		_, err := Write(context.Background(), filepath.Join(parent, "m"), m, chat.Own(tok), Options{Lineage: l})
		var unmet *terms.ObligationError
		var missing []string
		if errors.As(err, &unmet) {
			for _, o := range unmet.Missing {
				missing = append(missing, o.Kind)
			}
		}
		if !slices.Equal(missing, c.missing) || (err != nil) != (c.missing != nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		left, err := os.ReadDir(parent)
		if err != nil || (len(left) == 0) != (c.missing != nil) {
			t.Errorf("%s: %d files are there, %v", c.name, len(left), err)
		}
	}
}

func TestCardPassportAndNoticeSayWhatLetTheModelPass(t *testing.T) {
	l := fromLlama(t)
	long := "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n" + strings.Repeat("terms and conditions\n", 60)
	l.Name, l.License, l.Notices = "Llama-tickets", "Apache-2.0", []string{"Built with Llama", long}
	l.Overrides = []terms.Override{{
		Row: "openai", Actions: []terms.Action{terms.Collect, terms.Curate}, Basis: "Agreement 2026-17, section *4*", By: "A. Builder",
		Said: terms.Block, Reason: "competing models",
	}}
	l.Dataset.Origins = map[string]int{"api": 11679, "import": 321, "human": 50}
	l.People = []terms.People{
		{Source: "chats.jsonl", Rows: 300, Consent: terms.ConsentRecorded, Basis: "form 7"},
		{Source: "logs.jsonl", Rows: 20, Consent: terms.ConsentNone},
		{Source: "old.jsonl", Rows: 1, Consent: terms.ConsentUnknown},
	}
	dir, _, _ := write(t, "moe", Options{Formats: []Format{GGUF}, Lineage: l})
	p, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, p.Lineage); d != "" {
		t.Errorf("the passport's lineage differs:\n%s", d)
	}
	notice, err := os.ReadFile(filepath.Join(dir, "NOTICE"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(notice); !strings.HasPrefix(s, "Built with Llama\n\n---") || !strings.Contains(s, long) || strings.Count(s, "-----\n") != 1 {
		t.Errorf("NOTICE does not hold both notices as they are:\n%.200s", s)
	}
	if !slices.ContainsFunc(p.Files, func(f dataset.File) bool { return f.Name == "NOTICE" }) {
		t.Error("the passport does not list NOTICE")
	}
	card, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"given under Apache-2.0", "- Built with Llama\n", "- LLAMA 3.1 COMMUNITY LICENSE AGREEMENT (in full in `NOTICE`)",
		"Built to extract, distributed to others.",
		"12000 examples, of which 321 were imported from conversations that others collected; 50 were written or corrected by people.",
		"- **openai**, to collect, curate (the row says block: competing models). Basis: Agreement 2026-17, section \\*4\\*, by A. Builder.",
		"- 300 examples from chats.jsonl: their consent is recorded (form 7).", "- 20 examples from logs.jsonl: they did not consent.",
		"- 1 examples from old.jsonl: whether they consented is not known.",
		terms.Disclaimer,
	} {
		if !strings.Contains(string(card), want) {
			t.Errorf("the card lacks %q:\n%s", want, card)
		}
	}
	if strings.Contains(string(card), "terms and conditions") {
		t.Error("the card prints a whole licence")
	}
	if err := os.WriteFile(filepath.Join(dir, "NOTICE"), []byte("none"), 0o644); err != nil {
		t.Fatal(err)
	}
	var changed *MismatchError
	if _, err := Verify(dir); !errors.As(err, &changed) {
		t.Errorf("a changed NOTICE: %v", err)
	}
}

func TestTheCardOfAModelOfImportedConversationsNamesNoTeacher(t *testing.T) {
	l := lineage()
	l.Teachers = []dataset.Teacher{{Provider: "import", Endpoint: "import:chats.jsonl"}}
	l.Dataset.Origins = map[string]int{"import": 12000}
	dir, _, _ := write(t, "dense", Options{Lineage: l})
	card, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"trained by Retort: it was", "of which 12000 were imported", "| teacher | import, import:chats.jsonl |"} {
		if !strings.Contains(string(card), want) {
			t.Errorf("the card lacks %q:\n%s", want, card)
		}
	}
	if strings.Contains(string(card), "nothing but its API") {
		t.Error("the card speaks of an API that nobody asked")
	}
}
