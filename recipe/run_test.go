package recipe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/report"
	"retort/student/export"
	"retort/teach/dataset"
	"retort/teach/reference"
	"retort/teach/task"
	"retort/terms"
	"retort/workspace"
)

// desk is a folder with recipes and the workspace that they run in.
type desk struct {
	t   *testing.T
	dir string
	ws  *workspace.Workspace
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	ws, err := workspace.Open(filepath.Join(t.TempDir(), "ws"))
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t, t.TempDir(), ws}
}

func (d *desk) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) load(text string) *Recipe {
	d.t.Helper()
	sum := sha256.Sum256([]byte(text))
	name := fmt.Sprintf("r-%x.yaml", sum[:4]) // each recipe stays where it was run from
	d.write(name, text)
	r, err := Load(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *desk) options() Options {
	return Options{Workspace: d.ws, Progress: report.NewProgress(io.Discard, report.ProgressQuiet), Threads: 1, Version: "test",
		Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)}
}

func (d *desk) run(text string) *Result {
	d.t.Helper()
	res, err := Run(context.Background(), d.load(text), d.options())
	if err != nil {
		d.t.Fatal(err)
	}
	return res
}

func (d *desk) plan(text string) *Plan {
	d.t.Helper()
	p, err := MakePlan(context.Background(), d.load(text), d.ws, d.options().Progress)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

func (d *desk) reader() *segment.Reader {
	d.t.Helper()
	r, err := segment.OpenReader(d.ws.Path("ledger"), segment.Option{})
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// records counts the ledger's records of a kind.
func (d *desk) records(kind ledger.Kind) (out []ledger.Record) {
	d.t.Helper()
	if err := d.reader().Scan(context.Background(), func(r ledger.Record) error {
		if r.Kind == kind {
			r.Head = slices.Clone(r.Head)
			out = append(out, r)
		}
		return nil
	}); err != nil {
		d.t.Fatal(err)
	}
	return out
}

// questions writes problems of a family as a file of one's own, with gold if
// asked for.
func (d *desk) questions(name string, seed uint64, n int, gold bool) {
	d.t.Helper()
	f, err := task.New("chain", task.Params{Modulus: 5, Steps: []int{2, 2}})
	if err != nil {
		d.t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var b bytes.Buffer
	seen := map[string]bool{}
	for i := 0; i < n; {
		p := f.Generate(rng)
		if seen[p.ID] || p.ID[len(p.ID)-1]%2 != byte(seed)%2 { // files of different parity share no problem
			continue
		}
		seen[p.ID] = true
		row := map[string]any{"id": fmt.Sprintf("%s-%d", name, i), "q": p.Prompt}
		if gold {
			row["right"] = p.Answer
		}
		line, err := json.Marshal(row)
		if err != nil {
			d.t.Fatal(err)
		}
		b.Write(append(line, '\n'))
		i++
	}
	d.write(name, b.String())
}

// small ends every recipe here: a student that is trained in a moment.
const small = `student: {preset: tiny-dense, vocabulary: 400, context: 512}
train: [{sft: {tokens: 600}}]
export: [huggingface]
`

const own = `retort: 1
name: own
teacher: {reference: {}}
budget: {usd: 1}
prompts:
  - {file: q.jsonl, template: "{{q}}", system: sys.md, shots: shots.jsonl, heldout: {file: gold.jsonl, expect: right}}
verify: [{regex: '^\s*-?\d+\s*$'}, {exact: {}}]
curate: {decontaminate: none}
student_prompt: {system: drop, shots: drop}
` + small

func ownDesk(t *testing.T) *desk {
	d := newDesk(t)
	d.questions("q.jsonl", 1, 60, false)
	d.questions("gold.jsonl", 2, 10, true)
	d.write("sys.md", "Answer with the number alone.")
	d.write("shots.jsonl", `{"messages": [{"role": "user", "content": "Say 1."}, {"role": "assistant", "content": "1"}]}`+"\n")
	return d
}

func TestThePreviewShowsWhatTheTeacherAndTheStudentRead(t *testing.T) {
	d := ownDesk(t)
	p, err := MakePreview(t.Context(), d.load(own), nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Requests) != 3 || !p.Requests[2].Heldout || p.Requests[2].Expected == "" {
		t.Fatalf("want two rows and one held-out problem with what is expected: %+v", p.Requests)
	}
	roles := func(list []exchange.Message) (out []string) {
		for _, m := range list {
			out = append(out, m.Role)
		}
		return out
	}
	if got := roles(p.Requests[0].Messages); !slices.Equal(got, []string{"system", "user", "assistant", "user"}) {
		t.Errorf("the teacher reads %v", got)
	}
	if got := roles(p.Requests[0].Student); !slices.Equal(got, []string{"user"}) {
		t.Errorf("the student reads %v", got)
	}
	if p.Requests[0].RowID != "q.jsonl-0" {
		t.Errorf("row id %q", p.Requests[0].RowID)
	}
	var b bytes.Buffer
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Answer with the number alone.", "the student reads", "expected", "q.jsonl:1 · id q.jsonl-0"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, &b)
		}
	}
	if entries, err := os.ReadDir(d.ws.Path("ledger")); err != nil || len(entries) != 0 {
		t.Errorf("a preview wrote into the ledger: %v, %v", entries, err)
	}
}

func TestASampleIsPaidForOnceAndReusedByTheRun(t *testing.T) {
	d := ownDesk(t)
	before := d.plan(own)
	if before.Expected != nil || before.New != 70 || before.Reused != 0 {
		t.Fatalf("nothing is known yet: %+v", before)
	}
	s, err := Sample(context.Background(), d.load(own), d.options(), 12)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Rows) != 12 || s.Paid <= 0 || s.Plan.Reused != 12 || s.Plan.New != 58 || s.Plan.Expected == nil {
		t.Fatalf("%d rows for $%v, plan %+v", len(s.Rows), s.Paid, s.Plan)
	}
	for _, row := range s.Rows {
		if row.Answer.Content == "" || row.Verdict == "" || len(row.Checks) != 2 || row.USD <= 0 || len(row.Messages) != 4 {
			t.Errorf("a row of the sample lacks something: %+v", row)
		}
	}
	again, err := Sample(context.Background(), d.load(own), d.options(), 12)
	if err != nil || again.Paid != 0 || !again.Rows[0].Reused {
		t.Errorf("the same sample again costs $%v, %v", again.Paid, err)
	}
	res := d.run(own)
	total := res.Report.Spend.USD
	predicted := s.Cost + *s.Plan.Expected
	if res.Report.Spend.Exchanges != 70 {
		t.Errorf("%d exchanges for 70 questions: the sample was not reused", res.Report.Spend.Exchanges)
	}
	if off := predicted/total - 1; off < -0.15 || off > 0.15 {
		t.Errorf("$%v predicted, $%v paid", predicted, total)
	}
	if total > s.Cost+s.Plan.Worst {
		t.Errorf("$%v paid, at most $%v said", total, s.Cost+s.Plan.Worst)
	}
}

func TestAnotherVerifierCostsNothingAndAnotherTemplateEverything(t *testing.T) {
	d := ownDesk(t)
	first := d.run(own)
	verdicts := len(d.records(ledger.KindVerdict))
	if verdicts != 70 {
		t.Errorf("%d verdicts on 60 training and 10 held-out answers", verdicts)
	}
	if h := first.Report.Heldout; len(h.Teacher) != 2 || h.Teacher[1].Name != "exact" || h.Teacher[1].Pass+h.Teacher[1].Fail != 10 || h.Teacher[1].Skip != 0 || len(h.Student) != 2 {
		t.Errorf("verifiers on held-out problems: %+v", h)
	}
	stricter := strings.Replace(own, "{exact: {}}]", `{exact: {}}, {starlark: odd.star}]`, 1)
	d.write("odd.star", "def check(answer, problem):\n    return True if int(answer[\"text\"]) % 2 == 1 else \"even\"\n")
	if p := d.plan(stricter); p.New != 0 || p.Reused != 70 || p.Worst != 0 || *p.Expected != 0 {
		t.Errorf("a changed verifier pays again: %+v", p)
	}
	second := d.run(stricter)
	if second.Report.Spend.Exchanges != 0 || second.Report.Spend.USD != 0 {
		t.Errorf("a changed verifier cost $%v", second.Report.Spend.USD)
	}
	if second.Report.Dataset.Examples >= first.Report.Dataset.Examples || second.Report.Sources[0].Refused["even"] == 0 {
		t.Errorf("the verifier refused nothing: %+v", second.Report.Sources)
	}
	found := second.Report.Verifiers
	if len(found) != 3 || found[2].Fail != second.Report.Sources[0].Refused["even"] || len(found[2].Samples) == 0 || found[1].Skip != 60 {
		t.Errorf("verifiers: %+v", found)
	}
	if n := len(d.records(ledger.KindVerdict)); n != 2*verdicts {
		t.Errorf("%d verdict records after a second set of rules, %d before", n, verdicts)
	}
	other := strings.Replace(own, `"{{q}}"`, `"{{q}} "`, 1)
	p := d.plan(other)
	if p.New != 70 || p.Reused != 0 {
		t.Errorf("a changed template reuses answers: %+v", p)
	}
	if paid := first.Report.Spend.USD; p.Estimate == nil || !p.Estimate.Borrowed || p.Interval != nil || *p.Expected < paid/2 || *p.Expected > 2*paid {
		t.Errorf("$%v were paid for the like; expected now: %+v", paid, p.Estimate)
	}
	c, err := Compare(d.ws, first.Report.Run, second.Report.Run)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Student) != 2 || c.Student[0].N != 10 || !strings.Contains(c.Rules, "own-") {
		t.Errorf("comparison: %+v", c)
	}
}

func TestWithoutGoldTheMeasureIsAgreement(t *testing.T) {
	d := ownDesk(t)
	res := d.run(strings.Replace(own, "heldout: {file: gold.jsonl, expect: right}", "heldout: 10", 1))
	for _, row := range res.Report.Eval {
		if row.Measure != report.Agreement {
			t.Errorf("%s is measured by %s although nobody knows what is right", row.Family, row.Measure)
		}
	}
	withGold := d.run(own)
	for _, row := range withGold.Report.Eval {
		if row.Measure != report.Accuracy || row.Teacher < 0.8 {
			t.Errorf("with gold: %+v", row)
		}
	}
}

func TestRowsKeepTheirIdsAndStudentsTheirPrompt(t *testing.T) {
	d := ownDesk(t)
	res := d.run(own)
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range set.Examples {
		if !strings.HasPrefix(e.RowID, "q.jsonl-") || len(e.Prompt) != 1 || e.Prompt[0].Role != "user" {
			t.Fatalf("example: %+v", e)
		}
	}
	if v := set.Passport.Verifiers; v["exact"].Skip != 60 {
		t.Errorf("passport's verifiers: %+v", v)
	}
}

func TestCorrectionsReplaceAnswersAndSurviveANewCuration(t *testing.T) {
	d := ownDesk(t)
	odd := strings.Replace(own, "{exact: {}}]", `{exact: {}}, {starlark: odd.star}]`, 1)
	d.write("odd.star", "def check(answer, problem):\n    return True if int(answer[\"text\"]) % 2 == 1 else \"even\"\n")
	first := d.run(odd)
	refused := first.Report.Sources[0].Refused["even"]
	if refused < 5 {
		t.Fatalf("%d refused", refused)
	}
	corrected := d.correct(5)
	second := d.run(odd)
	if got := second.Report.Dataset.Examples; got != first.Report.Dataset.Examples+5 || second.Report.Corrections != 5 {
		t.Errorf("%d examples after 5 corrections of %d, %d corrected", got, first.Report.Dataset.Examples, second.Report.Corrections)
	}
	if second.Report.Spend.Exchanges != first.Report.Spend.Exchanges {
		t.Error("a correction was paid for")
	}
	third := d.run(strings.Replace(odd, "decontaminate: none", "decontaminate: none, near_duplicates: 1", 1))
	for _, res := range []*Result{second, third} {
		set, err := dataset.Open(res.Report.Dataset.Path)
		if err != nil {
			t.Fatal(err)
		}
		human := map[exchange.Key]dataset.Example{}
		for _, e := range set.Examples {
			if e.Origin == exchange.OriginHuman {
				human[e.Key] = e
			}
		}
		for _, x := range corrected {
			if e, ok := human[x.Key]; !ok || e.Answer != "41" || e.TermsID != x.TermsID || e.ExchangeID == x.ID {
				t.Errorf("the correction of %s is %+v", x.ID, e)
			}
		}
		if set.Passport.Corrections != 5 {
			t.Errorf("passport: %d corrections", set.Passport.Corrections)
		}
	}
	if second.Report.Model.Hash == first.Report.Model.Hash {
		t.Error("the student was not trained again")
	}
}

// correct writes a person's answer over the first n answers that are even.
func (d *desk) correct(n int) []*exchange.Exchange {
	d.t.Helper()
	return d.correctWhere(n, func(e *exchange.Exchange) bool {
		return e.Stage == stageCollect && strings.ContainsAny(e.Answer.Content[len(e.Answer.Content)-1:], "02468")
	})
}

// correctWhere writes a person's answer over the first n answers that match.
func (d *desk) correctWhere(n int, match func(*exchange.Exchange) bool) (out []*exchange.Exchange) {
	d.t.Helper()
	var all []*exchange.Exchange
	if err := ledger.Exchanges(context.Background(), d.reader(), func(e *exchange.Exchange) error {
		all = append(all, e)
		return nil
	}); err != nil {
		d.t.Fatal(err)
	}
	store, err := segment.Open(d.ws.Path("ledger"), segment.Option{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer store.Close()
	for _, e := range all {
		if len(out) == n || !match(e) {
			continue
		}
		_, recs, err := ledger.Correct(e, ledger.Correction{Answer: "41", By: "a person"})
		if err != nil {
			d.t.Fatal(err)
		}
		if err := store.Append(context.Background(), recs...); err != nil {
			d.t.Fatal(err)
		}
		out = append(out, e)
	}
	if len(out) != n {
		d.t.Fatalf("%d answers to correct", len(out))
	}
	return out
}

// startTeacher starts the reference teacher as a server of its own.
func startTeacher(t *testing.T, cfg reference.Config) string {
	t.Helper()
	s, err := reference.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server, err := s.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL + "/v1"
}

const underTerms = `retort: 1
name: terms
use: {purpose: extract, distributed: DISTRIBUTED}
teacher: {base_url: 'URL', model: reference, terms: ROW, price: {input: 1, output: 1}}
budget: {usd: 1}
prompts: [{family: chain, modulus: 5, steps: [2, 2], train: 20, heldout: 5}]
` + small

func TestAnOverrideIsRecordedWhereverItCounts(t *testing.T) {
	d := newDesk(t)
	text := strings.NewReplacer("URL", startTeacher(t, reference.Config{}), "ROW", "mistral", "DISTRIBUTED", "false").Replace(underTerms)
	_, err := Run(context.Background(), d.load(text), d.options())
	var refused *terms.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("a row that asks for review let the run pass: %v", err)
	}
	if n := len(d.records(ledger.KindIntent)); n != 0 {
		t.Errorf("%d requests were sent under terms that do not allow it", n)
	}
	collectOnly := text + "terms: {overrides: [{row: mistral, actions: [collect, curate], basis: 'Letter of 3 May 2026, section 2', by: A. Person}]}\n"
	if _, err := Run(context.Background(), d.load(collectOnly), d.options()); !errors.As(err, &refused) || refused.Action != terms.Export {
		t.Fatalf("an override of collection let an export pass: %v", err)
	}
	paid := len(d.records(ledger.KindIntent))
	all := text + "terms: {overrides: [{row: mistral, actions: [collect, curate], basis: 'Letter of 3 May 2026, section 2', by: A. Person}, {row: mistral, actions: [export], basis: 'Agreement 2026-17', by: B. Person}]}\n"
	res := d.run(all)
	if n := len(d.records(ledger.KindIntent)); n != paid {
		t.Errorf("an override for export alone made %d requests be paid for again", n-paid)
	}
	if recs := d.records(ledger.KindOverride); len(recs) != 2 || !bytes.Contains(recs[0].Head, []byte("Letter of 3 May 2026")) || !bytes.Contains(recs[1].Head, []byte("Agreement 2026-17")) {
		t.Errorf("overrides in the ledger: %+v", recs)
	}
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil || len(set.Passport.Overrides) != 1 || set.Passport.Overrides[0].Said != terms.Review {
		t.Errorf("overrides in the dataset's passport: %+v, %v", set.Passport.Overrides, err)
	}
	p, err := export.ReadPassport(res.Report.Model.Path)
	if err != nil || len(p.Overrides) != 2 {
		t.Errorf("overrides in the model's passport: %+v, %v", p.Overrides, err)
	}
	card, err := os.ReadFile(filepath.Join(res.Report.Model.Path, "README.md"))
	if err != nil || !bytes.Contains(card, []byte("Letter of 3 May 2026")) || !bytes.Contains(card, []byte("Agreement 2026-17")) {
		t.Errorf("the card does not say it: %v\n%s", err, card)
	}
	if len(res.Report.Overrides) != 2 {
		t.Errorf("the report does not say it: %+v", res.Report.Overrides)
	}
}

func TestObligationsAreAskedForBeforeAnythingIsPaid(t *testing.T) {
	d := newDesk(t)
	text := strings.NewReplacer("URL", startTeacher(t, reference.Config{}), "ROW", "llama-3.1", "DISTRIBUTED", "true").Replace(underTerms)
	_, err := Run(context.Background(), d.load(text), d.options())
	var missing *terms.ObligationError
	if !errors.As(err, &missing) || len(d.records(ledger.KindIntent)) != 0 {
		t.Fatalf("obligations that are not met: %v", err)
	}
	with := text + "model: {name: Llama-own, license: llama3.1, notices: ['Built with Llama', 'Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.', {file: LICENSE}]}\n"
	d.write("LICENSE", "Llama 3.1 Community License Agreement\n"+strings.Repeat("and so on, to the end. ", 60))
	res := d.run(with)
	card, err := os.ReadFile(filepath.Join(res.Report.Model.Path, "README.md"))
	if err != nil || !bytes.Contains(card, []byte("Built with Llama")) || !bytes.Contains(card, []byte("Llama-own")) {
		t.Errorf("card: %v\n%s", err, card)
	}
	renamed := d.run(strings.Replace(with, "Llama-own", "Llama-other", 1))
	if renamed.Report.Run != res.Report.Run || renamed.Report.Model.Hash != res.Report.Model.Hash {
		t.Error("another name for the model is another run")
	}
	if card, err = os.ReadFile(filepath.Join(res.Report.Model.Path, "README.md")); err != nil || !bytes.Contains(card, []byte("Llama-other")) {
		t.Errorf("the model was not exported again under its new name: %v", err)
	}
}

const imports = `retort: 1
name: imports
prompts:
  - {imported: chats.jsonl, terms: own-data, consent: {consent: recorded, basis: 'form 7'}, heldout: 4}
` + small

func chats(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id": "c%d", "conversations": [{"from": "human", "value": "Question %d: how many wheels have %d cars, roughly said?"}, {"from": "gpt", "value": "They have %d wheels."}], "mood": %d}`+"\n", i, i, i+2, 4*(i+2), i)
	}
	return b.String()
}

func TestImportedConversationsNeedNoTeacher(t *testing.T) {
	d := newDesk(t)
	d.write("chats.jsonl", chats(30)+`{"id": "broken", "conversations": []}`+"\n"+`{"id": "again", "conversations": [{"from": "human", "value": "Question 0: how many wheels have 2 cars, roughly said?"}, {"from": "gpt", "value": "Eight."}]}`+"\n")
	if p := d.plan(imports); p.New != 0 || p.Worst != 0 || !p.Sources[0].Imported {
		t.Errorf("plan: %+v", p)
	}
	res := d.run(imports)
	src := res.Report.Sources[0]
	kept := src.Kept
	if src.Asked+src.Heldout != 32 || src.Refused["duplicate"] != 1 || kept != 26 {
		t.Errorf("every row is counted once: %+v", src)
	}
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil {
		t.Fatal(err)
	}
	e := set.Examples[0]
	if e.Origin != exchange.OriginImport || e.TermsID != "own-data" || e.RowID == "" || e.ExchangeID.IsZero() {
		t.Errorf("example: %+v", e)
	}
	if p := set.Passport.People; len(p) != 1 || p[0].Consent != "recorded" || p[0].Rows != kept {
		t.Errorf("people: %+v", p)
	}
	if len(d.records(ledger.KindConsent)) != 1 {
		t.Error("the consent is not in the ledger")
	}
	intents := len(d.records(ledger.KindIntent))
	if intents != 31 {
		t.Errorf("%d imported exchanges", intents)
	}
	d.run(strings.Replace(imports, "heldout: 4", "heldout: 5", 1))
	if n := len(d.records(ledger.KindIntent)); n != intents {
		t.Errorf("importing again wrote %d more exchanges", n-intents)
	}
	for _, row := range res.Report.Eval {
		if row.Measure != report.Agreement || row.N != 4 {
			t.Errorf("evaluation: %+v", row)
		}
	}
}

func TestCallsOfToolsAreTaughtAsText(t *testing.T) {
	d := newDesk(t)
	var b strings.Builder
	for i := range 12 {
		fmt.Fprintf(&b, `{"tools": [{"type": "function", "function": {"name": "wheels"}}], "messages": [{"role": "user", "content": "Wheels of %d cars, if you please?"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "x", "type": "function", "function": {"name": "wheels", "arguments": "{\"cars\": %d}"}}]}]}`+"\n", i, i)
	}
	d.write("chats.jsonl", b.String())
	res := d.run(strings.Replace(imports, "prompts:", "accept: {finish_reason: [stop, tool_calls]}\nprompts:", 1))
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil {
		t.Fatal(err)
	}
	e := set.Examples[0]
	if len(e.ToolCalls) != 1 || e.Tools == "" || e.Answer != "" {
		t.Fatalf("the dataset lost the call: %+v", e)
	}
	prompt, _, answer := lesson(e)
	if prompt[0].Role != "system" || !strings.Contains(prompt[0].Content, `"wheels"`) || !strings.HasPrefix(answer, `<tool_call>`) || !strings.Contains(answer, `"cars"`) {
		t.Errorf("the student reads %+v and is taught %q", prompt, answer)
	}
}

func TestAConversationIsHeldOutAsAWhole(t *testing.T) {
	d := newDesk(t)
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, `{"conversations": [{"from": "human", "value": "Start %d"}, {"from": "gpt", "value": "A%d"}, {"from": "human", "value": "Go on %d"}, {"from": "gpt", "value": "B%d"}]}`+"\n", i, i, i, i)
	}
	d.write("chats.jsonl", b.String())
	sources, err := d.load(strings.Replace(strings.Replace(imports, "heldout: 4", "heldout: 5", 1), "terms: own-data", "turns: all, terms: own-data", 1)).sources(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := sources[0]
	held := map[string]bool{}
	for _, p := range s.split.Heldout {
		held[p.Row] = true
	}
	n := 0
	for p := range s.split.Train {
		n++
		if held[p.Row] {
			t.Errorf("%s is both held out and learned from", p.Row)
		}
	}
	if len(s.split.Heldout) != 5 || n != 34 || len(s.split.Skipped) != 1 {
		t.Errorf("%d held out, %d to learn from, %d skipped of 40 answers", len(s.split.Heldout), n, len(s.split.Skipped))
	}
}

func TestSeveralSamplesOfAPromptAreSeveralExamples(t *testing.T) {
	d := newDesk(t)
	d.questions("q.jsonl", 1, 12, false)
	text := strings.Replace(own, `template: "{{q}}", system: sys.md, shots: shots.jsonl, heldout: {file: gold.jsonl, expect: right}`, `template: "{{q}}", samples: 3`, 1)
	text = strings.Replace(text, "student_prompt: {system: drop, shots: drop}\n", "", 1)
	res := d.run(text)
	src := res.Report.Sources[0]
	if src.Asked != 36 || res.Report.Spend.Exchanges != 36 {
		t.Errorf("12 prompts with 3 samples: %+v", src)
	}
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil {
		t.Fatal(err)
	}
	per := map[string]map[string]bool{}
	for _, e := range set.Examples {
		if per[e.Problem] == nil {
			per[e.Problem] = map[string]bool{}
		}
		said := e.Reasoning + "\x00" + e.Answer
		if per[e.Problem][said] {
			t.Errorf("the same answer to %s twice", e.Problem)
		}
		per[e.Problem][said] = true
	}
	most := 0
	for _, answers := range per {
		most = max(most, len(answers))
	}
	if most < 2 {
		t.Errorf("no prompt has two different answers among %d examples", len(set.Examples))
	}
}

func TestTheOtherWiresReachTheTeacherToo(t *testing.T) {
	d := newDesk(t)
	keys := map[exchange.Key]string{}
	for _, wire := range []string{"chat", "messages", "responses"} {
		text := strings.Replace(minimal, "{reference: {}}", "{reference: {}, wire: "+wire+"}", 1)
		s, err := Sample(context.Background(), d.load(text), d.options(), 3)
		if err != nil {
			t.Fatal(wire, err)
		}
		for _, row := range s.Rows {
			if row.Verdict != "correct" || row.USD <= 0 || row.Reused {
				t.Errorf("%s: %+v", wire, row)
			}
		}
		key, ok := s.Plan.Example["prompt_key"].(exchange.Key)
		if other, twice := keys[key]; !ok || twice {
			t.Errorf("%s and %s share a prompt key", wire, other)
		}
		keys[key] = wire
	}
}

func TestACorrectionOfAnotherRecipesAnswerLeavesARunAlone(t *testing.T) {
	d := ownDesk(t)
	first := d.run(own)
	other := strings.Replace(own, `"{{q}}"`, `"{{q}} "`, 1)
	d.run(other)
	changed := first.Report.Finished
	d.correctRun(d.load(other))
	again := d.run(own)
	if !again.Report.Finished.Equal(changed) || again.Report.Corrections != 0 {
		t.Errorf("a run was made again for a correction that is not its own: %v, then %v", changed, again.Report.Finished)
	}
	if after := d.run(other); after.Report.Corrections != 1 {
		t.Errorf("the corrected run holds %d corrections", after.Report.Corrections)
	}
}

// correctRun writes a person's answer over the first training answer of a
// recipe's run.
func (d *desk) correctRun(rec *Recipe) {
	d.t.Helper()
	name, err := rec.RunName()
	if err != nil {
		d.t.Fatal(err)
	}
	d.correctWhere(1, func(e *exchange.Exchange) bool { return e.Run == name && e.Stage == stageCollect })
}

func TestRunsAreFoundByName(t *testing.T) {
	d := ownDesk(t)
	res := d.run(own)
	for _, name := range []string{res.Report.Run, "own", res.Report.Run[:7], strings.TrimPrefix(res.Report.Run, "own-")[:4]} {
		r, err := FindRun(d.ws, name)
		if err != nil || r.Name != res.Report.Run || !r.Finished || r.Examples != res.Report.Dataset.Examples || r.Model != res.Report.Model.Hash {
			t.Errorf("%q finds %+v, %v", name, r, err)
		}
	}
	var unknown *UnknownRunError
	if _, err := FindRun(d.ws, "nobody"); !errors.As(err, &unknown) || !slices.Contains(unknown.Like, res.Report.Run) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(res.Report.Page); err != nil {
		t.Fatal(err)
	}
	again, err := Rewrite(context.Background(), d.ws, "own")
	if err != nil || again.Run != res.Report.Run {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(res.Report.Page); err != nil {
		t.Error("the page was not written again")
	}
}

func TestMixedSourcesCarryTheirOwnTerms(t *testing.T) {
	d := ownDesk(t)
	d.write("chats.jsonl", chats(20))
	text := strings.Replace(own, "verify: [{regex: '^\\s*-?\\d+\\s*$'}, {exact: {}}]", "  - {imported: chats.jsonl, terms: deepseek}\nverify: [{task: {}}]", 1)
	set, err := dataset.Open(d.run(text).Report.Dataset.Path)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	var mixed []terms.Counted
	for _, x := range set.Passport.Terms {
		count[x.ID] = x.Examples
		mixed = append(mixed, terms.Counted{ID: x.ID, Rows: x.Examples})
	}
	if count["reference"] == 0 || count["deepseek"] != 20 {
		t.Errorf("terms: %v", count)
	}
	if e := terms.Explain(terms.Default(), mixed, terms.Use{}); len(e.Parts) != 2 {
		t.Errorf("explanation: %+v", e)
	}
	refused := strings.Replace(text, "terms: deepseek", "terms: openai", 1)
	var no *terms.RefusedError
	if _, err := Run(context.Background(), d.load(refused), d.options()); !errors.As(err, &no) {
		t.Errorf("imported answers that their terms hold back were taken: %v", err)
	}
}
