package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/student/export"
	"retort/teach/dataset"
	"retort/terms"
)

const agreementFile = `id: acme
document: Agreement 2026-17
read: 2026-10-01
says: Section 4 lets us train models of our own.
default: allow
reason: section 4 allows it
obligations:
  - Delete the answers after a year.
`

// mixed writes a dataset of three sources and a model that was trained on it.
func mixed(t *testing.T, ws string) (dataHash, model string) {
	t.Helper()
	var rows []dataset.Example
	for i, source := range []struct{ name, terms string }{{"tickets", "reference"}, {"tickets", "reference"}, {"multiply", "reference"}, {"chats.jsonl", "mistral"}, {"old.jsonl", "acme"}} {
		rows = append(rows, dataset.Example{
			Index: i, Source: source.name, Family: "file", Problem: string(rune('a' + i)), Prompt: []exchange.Message{{Role: "user", Content: "Hello?"}},
			Answer: "Hello.", Origin: exchange.OriginImport, TermsID: source.terms, Verdict: "unverified",
		})
	}
	passport := dataset.Passport{
		Terms: []dataset.Terms{
			{ID: "reference", Decision: "allow"}, {ID: "mistral", Decision: "review"},
			{ID: "acme", Document: "Agreement 2026-17", Decision: "allow", Basis: "own agreement: Agreement 2026-17", Obligations: []terms.Obligation{{Kind: terms.Duty, Text: "Delete the answers after a year."}}},
		},
		Overrides: []terms.Override{{Row: "mistral", Actions: []terms.Action{terms.Collect, terms.Curate}, Basis: "Letter of 2026-11-02", By: "Legal"}},
		People:    []terms.People{{Source: "chats.jsonl", Rows: 1, Consent: terms.ConsentRecorded, Basis: "form 7"}},
	}
	dataHash, err := dataset.Write(filepath.Join(ws, "datasets"), rows, passport)
	if err != nil {
		t.Fatal(err)
	}
	p := export.Passport{Format: export.PassportFormat, Version: export.PassportVersion, Hash: strings.Repeat("7", 64), Lineage: export.Lineage{
		Name: "tickets", Use: terms.Use{Purpose: "extract", Distributed: true}, Dataset: export.DatasetRef{Hash: dataHash, Examples: 5},
		Terms: passport.Terms, Overrides: passport.Overrides,
	}}
	for i, n := range []int{3, 1, 1} {
		p.Terms[i].Examples = n
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	model = filepath.Join(ws, "models", p.Hash)
	if err := errors.Join(os.MkdirAll(model, 0o755), os.WriteFile(filepath.Join(model, "passport.json"), raw, 0o644)); err != nil {
		t.Fatal(err)
	}
	return dataHash, model
}

func TestTermsExplainSaysWhichDocumentDecides(t *testing.T) {
	ws := t.TempDir()
	hash, model := mixed(t, ws)
	agreement := filepath.Join(t.TempDir(), "acme.yaml")
	if err := os.WriteFile(agreement, []byte(agreementFile), 0o644); err != nil {
		t.Fatal(err)
	}
	mistral := "export: review, decided by mistral"
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{hash[:8]}, []string{
			"dataset " + hash, "5 rows; for general use, not distributed", "3 rows under reference sources 2 from tickets, 1 from multiply", "1 rows under mistral sources 1 from chats.jsonl",
			"collect allow (overridden), curate allow (overridden), export review", "Letter of 2026-11-02, by Legal", mistral,
			"the passport alone; give the agreement's file", "1 rows from chats.jsonl: consent recorded (form 7)", terms.Disclaimer,
		}},
		{[]string{filepath.Join(ws, "datasets", hash), "--agreement", agreement, "--purpose", "extract"}, []string{
			"5 rows; to extract, not distributed", "sha256", "Section 4 lets us train models of our own.", "- Delete the answers after a year.", mistral,
		}},
		{[]string{strings.Repeat("7", 10)}, []string{"model tickets", "to extract, distributed to others", "1 rows under acme sources 1 from old.jsonl", mistral}},
		{[]string{model}, []string{"model tickets", "3 rows under reference", "1 rows under mistral", mistral}},
		{[]string{model, "--purpose", "classify"}, []string{"to classify, not distributed"}},
	} {
		r := retort(t, ws, append([]string{"terms", "explain"}, c.args...)...)
		if r.code != exitDone {
			t.Fatalf("%v: code %d: %s", c.args, r.code, r.stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), want) {
				t.Errorf("%v lacks %q:\n%s", c.args, want, r.stdout)
			}
		}
	}
	r := retort(t, ws, "terms", "explain", hash, "--json")
	var e struct {
		What    string
		Rows    int
		Actions []terms.Decided
		People  []terms.People
		Note    string
	}
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil || e.Rows != 5 || len(e.Actions) != 3 || e.Actions[2].Decision != terms.Review ||
		e.Actions[2].By[0] != "mistral" || len(e.People) != 1 || e.Note != terms.Disclaimer {
		t.Errorf("as JSON: %v: %s", err, r.stdout)
	}
}

func TestObligationsThatAreNotMetEndWithTheTermsExitCode(t *testing.T) {
	err := fmt.Errorf("export: %w", &terms.ObligationError{Model: "m"})
	if code := exitCode(context.Background(), err); code != exitTerms {
		t.Errorf("exit code %d, want %d", code, exitTerms)
	}
}

func TestTermsExplainNamesWhatItCannotFind(t *testing.T) {
	ws := t.TempDir()
	hash, _ := mixed(t, ws)
	for _, c := range []struct{ name, want string }{
		{"nothing", "no dataset or model nothing"},
		{"", "could be any of"},
	} {
		r := retort(t, ws, "terms", "explain", c.name)
		if r.code != exitUsage || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%q: code %d: %s", c.name, r.code, r.stderr)
		}
	}
	data := filepath.Join(ws, "datasets", hash, dataset.DataFile)
	if err := os.WriteFile(data, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := retort(t, ws, "terms", "explain", hash); r.code == exitDone {
		t.Error("a damaged dataset was explained")
	}
}

func TestTermsListShowAndCheck(t *testing.T) {
	ws := t.TempDir()
	file := filepath.Join(t.TempDir(), "acme.yaml")
	if err := os.WriteFile(file, []byte(agreementFile), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("id: acme\ndefalt: allow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"list"}, exitDone, "built for general use, not distributed"},
		{[]string{"list", "--purpose", "classify", "--agreement", file}, exitDone, "acme"},
		{[]string{"show", "llama-3.1"}, exitDone, `The model's name begins with "Llama"`},
		{[]string{"show", "acme", "--agreement", file}, exitDone, "Agreement 2026-17"},
		{[]string{"show", "acme"}, exitUsage, "no such terms row"},
		{[]string{"check", file}, exitDone, "sha256"},
		{[]string{"check", broken}, exitUsage, "broken.yaml:2:1"},
		{[]string{"check", file + ".missing"}, exitUsage, "no such file"},
	} {
		r := retort(t, ws, append([]string{"terms"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.want) {
			t.Errorf("%v: code %d, want %d with %q: %s%s", c.args, r.code, c.code, c.want, r.stdout, r.stderr)
		}
		if r.code != exitDone {
			continue
		}
		if !strings.Contains(r.stdout, terms.Disclaimer) {
			t.Errorf("%v does not say what it is", c.args)
		}
		r = retort(t, ws, append(append([]string{"terms"}, c.args...), "--json")...)
		var note struct{ Note string }
		if err := json.Unmarshal([]byte(r.stdout), &note); err != nil || note.Note != terms.Disclaimer {
			t.Errorf("%v --json: %v: %.300s", c.args, err, r.stdout)
		}
	}
	r := retort(t, ws, "terms", "list", "--purpose", "classify", "--json")
	var list struct {
		Rows []struct {
			ID        string
			Decisions map[string]string
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list.Rows) != len(terms.IDs()) {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	for _, row := range list.Rows {
		if row.ID == "openai" && row.Decisions["export"] != "review" {
			t.Errorf("openai to classify: %v", row.Decisions)
		}
	}
}

// TestWhatLetsAModelPassIsOnTheRecordEverywhere goes from a teacher whose terms
// block and oblige to a model that is overridden and meets them.
func TestWhatLetsAModelPassIsOnTheRecordEverywhere(t *testing.T) {
	ws, dir := t.TempDir(), t.TempDir()
	licence := filepath.Join(dir, "LICENSE.txt")
	blocking := filepath.Join(dir, "acme.yaml")
	if err := errors.Join(
		os.WriteFile(licence, []byte("ACME COMMUNITY LICENSE\n"+strings.Repeat("terms and conditions\n", 60)), 0o644),
		os.WriteFile(blocking, []byte(strings.Replace(agreementFile, "default: allow", "default: block", 1)+`  - {kind: name_prefix, value: Acme, text: Its name begins with Acme., distributed: true}
  - {kind: notice, value: Built with Acme, text: It says with what it was built.}
  - {kind: licence, value: Acme Community License, text: A copy of the licence goes with it.}
`), 0o644)); err != nil {
		t.Fatal(err)
	}
	chats := filepath.Join(dir, "chats.jsonl")
	if err := os.WriteFile(chats, []byte(`{"messages":[{"role":"user","content":"Which drawer holds the red pens?"},{"role":"assistant","content":"The left one."}]}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	recipe := func(overrides, model string) string {
		return write(t, tiny, "prompts:\n", "prompts:\n  - {imported: "+chats+", terms: own-data, consent: {consent: recorded, basis: form 7}}\n", "teacher: {reference: {}}", "use: {purpose: reason, distributed: true}\nteacher: {reference: {}, terms: acme}\n"+
			"terms: {agreements: ["+blocking+"], overrides: ["+overrides+"]}\n"+model)
	}
	override := `{row: acme, actions: [collect, curate, export], basis: "Letter of 2026-11-02, page 3", by: A. Builder}`
	for _, c := range []struct {
		file string
		want []string
	}{
		{recipe("", ""), []string{"terms: {overrides: [{row: acme, actions: [collect, curate, export], basis", terms.Disclaimer}},
		{recipe(override, ""), []string{`model: {name: "Acme-mini"}`, `notices: ["Built with Acme"]`, "notices: [{file: LICENSE.txt}]", terms.Disclaimer}},
	} {
		r := retort(t, ws, "run", c.file)
		for _, want := range c.want {
			if r.code != exitTerms || !strings.Contains(r.stderr, want) {
				t.Errorf("code %d, want %d with %q: %s", r.code, exitTerms, want, r.stderr)
			}
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(ws, "ledger")); len(entries) != 0 {
		t.Errorf("refused runs have asked the teacher: %v", entries)
	}
	s := summary(t, ws, recipe(override, `model: {name: Acme-mini, license: Apache-2.0, notices: ["Built with Acme", {file: `+licence+`}]}`))
	model := filepath.Join(ws, "models", s.Model.Hash)
	for file, wants := range map[string][]string{
		filepath.Join(ws, "datasets", s.Dataset.Hash, "passport.json"): nil,
		filepath.Join(model, "passport.json"):                          {"Built with Acme", `"distributed": true`},
		filepath.Join(model, "README.md"):                              {"# Acme-mini", "Built with Acme", "in full in `NOTICE`", "Apache-2.0", "distributed to others", "under **own-data**", "their consent is recorded (form 7)"},
		filepath.Join(model, "NOTICE"):                                 {"Built with Acme", "terms and conditions"},
		s.Report:                                                       nil,
	} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) != "NOTICE" {
			wants = append(wants, "Letter of 2026-11-02, page 3", "A. Builder", "acme")
		}
		for _, want := range wants {
			if !strings.Contains(string(raw), want) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
	}
	var recorded []ledger.Override
	store, err := segment.OpenReader(filepath.Join(ws, "ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Scan(context.Background(), func(rec ledger.Record) error {
		if rec.Kind != ledger.KindOverride {
			return nil
		}
		o, err := ledger.ParseOverride(rec)
		recorded = append(recorded, o)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(recorded) == 0 || recorded[0].Row != "acme" || recorded[0].Basis != "Letter of 2026-11-02, page 3" {
		t.Errorf("the ledger holds the overrides %+v", recorded)
	}
	explained := retort(t, ws, "terms", "explain", s.Model.Hash[:12], "--agreement", blocking)
	for _, want := range []string{
		"101 rows; to reason, distributed to others", "100 rows under acme", "(overridden)", "Letter of 2026-11-02, page 3, by A. Builder",
		"1 rows under own-data", "every document lets it pass", "Its name begins with Acme.", "consent recorded (form 7)", terms.Disclaimer,
	} {
		if explained.code != exitDone || !strings.Contains(explained.stdout, want) {
			t.Errorf("explain: code %d, lacks %q: %s%s", explained.code, want, explained.stdout, explained.stderr)
		}
	}
}
