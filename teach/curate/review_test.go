package curate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/ledger"
	"retort/teach/dataset"
	"retort/teach/task"
)

// memory is a ledger in a slice.
type memory []ledger.Record

func (m *memory) Scan(_ context.Context, fn func(ledger.Record) error) error {
	for _, r := range *m {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) add(t *testing.T, recs []ledger.Record, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	*m = append(*m, recs...)
}

func (m *memory) verdict(t *testing.T, e *exchange.Exchange, rules, reason string, run string) {
	t.Helper()
	rec, err := ledger.NewVerdict(ledger.Verdict{
		Exchange: e.ID, Rules: rules, Run: run, Correct: reason == "", Reason: reason, Time: 1,
		Checks: []ledger.Check{{Verifier: "task", Outcome: ledger.OutcomePass}, {Verifier: "fields", Outcome: ledger.OutcomeFail, Reason: reason}},
	})
	m.add(t, []ledger.Record{rec}, err)
}

// collected is a ledger of n answers of a teacher, of which every answer whose
// number has a remainder of 1 by 3 was refused.
func collected(t *testing.T, n int) (*memory, []*exchange.Exchange) {
	t.Helper()
	m := &memory{}
	var all []*exchange.Exchange
	for i := range n {
		e := &exchange.Exchange{
			ID: exchange.NewID(time.UnixMilli(int64(1000 + i))), Key: exchange.Key{byte(i), 1}, Run: "run-1", Stage: "collect", Origin: exchange.OriginAPI,
			Family: "file", Problem: fmt.Sprintf("p%d", i), TermsID: "own", Attempt: 1, Status: 200, Cost: 5,
			RequestBody: fmt.Appendf(nil, `{"messages":[{"role":"system","content":"S"},{"role":"user","content":"question %d"}]}`, i),
			Answer:      exchange.Answer{Content: fmt.Sprintf("wrong %d", i), FinishReason: "stop"},
			Times:       exchange.Times{Queued: int64(i + 1)},
		}
		recs, err := ledger.Records(e)
		m.add(t, recs, err)
		reason := ""
		if i%3 == 1 {
			reason = "field_team"
		}
		m.verdict(t, e, "rules", reason, "run-1")
		all = append(all, e)
	}
	return m, all
}

func review(t *testing.T, m ledger.Reader, run string) ([]Review, ReviewCount) {
	t.Helper()
	var rows []Review
	n, err := ReviewRefused(t.Context(), m, run, func(r Review) error { rows = append(rows, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return rows, n
}

func TestReviewShowsWhatWasRefusedAndWhy(t *testing.T) {
	m, all := collected(t, 6)
	rows, n := review(t, m, "")
	want := Review{
		Exchange: all[1].ID, Run: "run-1", Family: "file", Problem: "p1", Reason: "field_team",
		Checks: []ledger.Check{{Verifier: "fields", Outcome: ledger.OutcomeFail, Reason: "field_team"}},
		Prompt: []exchange.Message{{Role: "system", Content: "S"}, {Role: "user", Content: "question 1"}}, Answer: "wrong 1",
	}
	if len(rows) != 2 || n != (ReviewCount{Rows: 2}) {
		t.Fatalf("%d rows, %+v", len(rows), n)
	}
	if diff := cmp.Diff(want, rows[0]); diff != "" {
		t.Errorf("first row (-want +got):\n%s", diff)
	}
	line, _ := json.Marshal(rows[0])
	if !strings.Contains(string(line), `"corrected":{"answer":"","reasoning":""}`) {
		t.Errorf("there is no empty place to write into: %s", line)
	}
}

func TestReviewLeavesOutWhatNeedsNone(t *testing.T) {
	m, all := collected(t, 9)                // 1, 4 and 7 were refused
	m.verdict(t, all[1], "new", "", "run-2") // later rules find it correct
	m.verdict(t, all[2], "new", "field_team", "run-2")
	m.verdict(t, all[3], "new", task.ReasonNoGold, "run-2")
	human, recs, err := ledger.Correct(all[4], ledger.Correction{Answer: "right"})
	m.add(t, recs, err)
	m.verdict(t, human, "rules", "field_team", "run-1") // the person's word stands
	held := *all[0]
	held.ID, held.Stage = exchange.NewID(time.UnixMilli(9000)), stageEval
	recs, err = ledger.Records(&held)
	m.add(t, recs, err)
	m.verdict(t, &held, "rules", "field_team", "run-1")

	rows, n := review(t, m, "")
	if len(rows) != 2 || rows[0].Exchange != all[2].ID || rows[1].Exchange != all[7].ID || n != (ReviewCount{Rows: 2, Corrected: 1, Heldout: 1}) {
		t.Errorf("%+v, %+v", rows, n)
	}
	if rows, _ := review(t, m, "run-2"); len(rows) != 1 || rows[0].Exchange != all[2].ID {
		t.Errorf("of run-2: %+v", rows)
	}
	if rows, _ := review(t, m, "run-3"); len(rows) != 0 {
		t.Errorf("of a run that there is not: %+v", rows)
	}
}

func TestPromptsAreReadFromEveryWire(t *testing.T) {
	for body, want := range map[string]string{
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`: "user:ab",
		`{"system":"S","messages":[{"role":"user","content":"a"}]}`:                                        "system:S user:a",
		`{"instructions":"S","input":"a"}`:                                                                 "system:S user:a",
		`{"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]}]}`:                         "user:a",
		`not JSON`: "user:not JSON",
	} {
		var got []string
		for _, m := range promptOf(t.Context(), &exchange.Exchange{RequestBody: []byte(body)}) {
			got = append(got, m.Role+":"+m.Content)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", body, got, want)
		}
	}
}

// Fifty rows corrected by hand appear as a person's, replace what they correct,
// keep their lineage, and survive a new curation.
func TestFiftyCorrectionsSurviveANewCuration(t *testing.T) {
	m, all := collected(t, 150)
	rows, _ := review(t, m, "run-1")
	var file strings.Builder
	for i, row := range rows {
		row.Corrected = Corrected{Answer: fmt.Sprintf("right %s", row.Problem), Reasoning: "checked"}
		line, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // by an editor that keeps only what it was asked for
			line = fmt.Appendf(nil, `{"exchange":%q,"corrected":"right %s"}`, row.Exchange, row.Problem)
		}
		file.Write(append(line, '\n'))
	}
	read, err := ReadCorrections("fixed.jsonl", strings.NewReader(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	recs, n, err := Correct(t.Context(), m, "fixed.jsonl", read, "Ann")
	m.add(t, recs, err)
	if n != (CorrectionCount{Rows: 50, New: 50}) {
		t.Errorf("%+v", n)
	}
	recs, n, err = Correct(t.Context(), m, "fixed.jsonl", read, "Ann")
	if err != nil || len(recs) != 0 || n != (CorrectionCount{Rows: 50, Unchanged: 50}) {
		t.Errorf("importing it again: %d records, %+v, %v", len(recs), n, err)
	}
	if left, n := review(t, m, ""); len(left) != 0 || n.Corrected != 50 {
		t.Errorf("still to be reviewed: %d, %+v", len(left), n)
	}

	curateAll := func() []dataset.Example {
		t.Helper()
		corrected, err := ledger.Corrections(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		c := curator(t, Options{})
		var out []dataset.Example
		for i, e := range all {
			x := answered("file", e.Problem, fmt.Sprintf("question %d is asked here", i))
			x.Exchange, x.Correction = e, corrected[e.ID]
			x.Verdict = task.Verdict{Correct: i%3 != 1, Reason: "field_team"}
			if d := c.Offer(x); d.Kept {
				out = append(out, *d.Example)
			}
		}
		if c.Corrections() != 50 || len(out) != 150 {
			t.Errorf("%d corrections among %d examples", c.Corrections(), len(out))
		}
		return out
	}
	examples := curateAll()
	parents := map[exchange.ID]*exchange.Exchange{}
	if err := ledger.Exchanges(t.Context(), m, func(e *exchange.Exchange) error { parents[e.ID] = e; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, x := range examples {
		if i%3 != 1 {
			if x.Origin != exchange.OriginAPI || x.ExchangeID != all[i].ID {
				t.Errorf("example %d was not corrected: %+v", i, x)
			}
			continue
		}
		if x.Origin != exchange.OriginHuman || x.Answer != "right "+x.Problem || x.Key != all[i].Key || x.TermsID != "own" || x.Rejected != all[i].Answer.Content {
			t.Errorf("example %d: %+v", i, x)
		}
		if e := parents[x.ExchangeID]; e == nil || e.Parent != all[i].ID || e.Cost != 0 {
			t.Errorf("example %d has lost its lineage: %+v", i, e)
		}
	}
	if diff := cmp.Diff(examples, curateAll()); diff != "" {
		t.Errorf("a new curation gives others:\n%s", diff)
	}
}

func TestABadFileOfCorrectionsIsRefusedWholeWithEveryLineNamed(t *testing.T) {
	m, all := collected(t, 3)
	good := fmt.Sprintf(`{"exchange":%q,"corrected":{"answer":"a"}}`, all[1].ID)
	text := strings.Join([]string{
		good, "", "{", `{"corrected":"x"}`, fmt.Sprintf(`{"exchange":%q}`, all[0].ID), fmt.Sprintf(`{"exchange":%q,"corrected":{"anwser":"a"}}`, all[0].ID),
		good, fmt.Sprintf(`{"exchange":%q,"corrected":{"reasoning":"a"}}`, all[0].ID), "{\"exchange\":\"\xff\"}", `{"exchange":"nonsense","corrected":"a"}`,
	}, "\n")
	_, err := ReadCorrections("fixed.jsonl", strings.NewReader(text))
	var bad *CorrectionsError
	if !errors.As(err, &bad) {
		t.Fatal(err)
	}
	var lines []int
	for _, p := range bad.Problems {
		lines = append(lines, p.Line)
	}
	if diff := cmp.Diff([]int{3, 4, 5, 6, 7, 8, 9, 10}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s\n%v", diff, err)
	}
	for _, want := range []string{"fixed.jsonl:3: ", `"exchange"`, `"anwser"`, "line 1 already", "nothing was recorded"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message has no %q:\n%v", want, err)
		}
	}
	// What the ledger does not hold cannot be corrected.
	other := exchange.NewID(time.UnixMilli(77))
	read, err := ReadCorrections("f", strings.NewReader(good+"\r\n"+fmt.Sprintf(`{"exchange":%q,"corrected":"b"}`, other)))
	if err != nil {
		t.Fatal(err)
	}
	recs, _, err := Correct(t.Context(), m, "f", read, "")
	if !errors.As(err, &bad) || len(recs) != 0 || !strings.Contains(err.Error(), "f:2: ") || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("got %v", err)
	}
}

func TestBlankRowsAreCountedAndLeftAlone(t *testing.T) {
	m, all := collected(t, 2)
	read, err := ReadCorrections("f", strings.NewReader(fmt.Sprintf("\xef\xbb\xbf"+`{"exchange":%q,"corrected":{"answer":"","reasoning":""}}`, all[1].ID)))
	if err != nil {
		t.Fatal(err)
	}
	recs, n, err := Correct(t.Context(), m, "f", read, "")
	if err != nil || len(recs) != 0 || n != (CorrectionCount{Rows: 1, Blank: 1}) {
		t.Errorf("%d records, %+v, %v", len(recs), n, err)
	}
}

func TestKeptExamplesCanBeReviewedToo(t *testing.T) {
	id := exchange.NewID(time.UnixMilli(3))
	d := &dataset.Dataset{Hash: "abc", Examples: []dataset.Example{{Problem: "p", Row: "f:1", Answer: "a", Verdict: "correct", ExchangeID: id, Prompt: []exchange.Message{{Role: "user", Content: "q"}}}}}
	d.Passport.Ledger.Run = "run-1"
	var rows []Review
	if err := ReviewExamples(d, func(r Review) error { rows = append(rows, r); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []Review{{Exchange: id, Run: "run-1", Problem: "p", Row: "f:1", Reason: "correct", Answer: "a", Prompt: d.Examples[0].Prompt}}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d.Examples[0].ExchangeID = exchange.ID{}
	if err := ReviewExamples(d, func(Review) error { return nil }); err == nil {
		t.Error("an example without an exchange was offered for correction")
	}
}
