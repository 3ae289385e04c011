package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/teach/curate"
	"retort/teach/dataset"
	"retort/workspace"
)

// collected makes a workspace whose ledger has n answers of a teacher, every
// second of them refused, and a dataset of the others.
func collected(t *testing.T, n int) (ws, hash string, refused []exchange.ID) {
	t.Helper()
	ws = t.TempDir()
	var recs []ledger.Record
	var rows []dataset.Example
	for i := range n {
		e := &exchange.Exchange{
			ID: exchange.NewID(time.UnixMilli(int64(1000 + i))), Key: exchange.Key{byte(i), byte(i >> 8), 1}, Run: "tickets-1", Stage: "collect",
			Origin: exchange.OriginAPI, Family: "file", Problem: fmt.Sprintf("p%d", i), ModelAsked: "m", TermsID: "self-hosted", Attempt: 1, Status: 200,
			RequestBody: fmt.Appendf(nil, `{"messages":[{"role":"user","content":"question %d"}]}`, i),
			Answer:      exchange.Answer{Content: fmt.Sprintf("answer %d", i), FinishReason: "stop"}, Times: exchange.Times{Queued: int64(i + 1)},
		}
		made, err := ledger.Records(e)
		if err != nil {
			t.Fatal(err)
		}
		v := ledger.Verdict{Exchange: e.ID, Run: e.Run, Rules: "0123456789abcdef", Correct: i%2 == 0, Checks: []ledger.Check{{Verifier: "fields", Outcome: ledger.OutcomePass}}}
		if !v.Correct {
			v.Reason, v.Checks = "field_team", []ledger.Check{{Verifier: "fields", Outcome: ledger.OutcomeFail, Reason: "field_team", Detail: "billing"}}
			refused = append(refused, e.ID)
		} else {
			rows = append(rows, dataset.Example{
				Source: "tickets.jsonl", Family: "file", Problem: e.Problem, Row: fmt.Sprintf("tickets.jsonl:%d", i+1), RowID: fmt.Sprintf("t-%d", i),
				Prompt: []exchange.Message{{Role: "user", Content: fmt.Sprintf("question %d", i)}}, Answer: e.Answer.Content, Rejected: "worse",
				Origin: e.Origin, TermsID: e.TermsID, Verdict: "correct", ExchangeID: e.ID, Key: e.Key,
			})
		}
		rec, err := ledger.NewVerdict(v)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(append(recs, made...), rec)
	}
	w, err := workspace.Open(ws)
	if err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(w.Path("ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	hash, err = dataset.Write(w.Path("datasets"), rows, dataset.Passport{
		Created: "2026-11-25T10:00:00Z", Recipe: dataset.Recipe{Name: "tickets"}, Ledger: dataset.Ledger{Run: "tickets-1"},
		Terms: []dataset.Terms{{ID: "self-hosted", Decision: "allow", Basis: "own server"}}, Offered: n, Refused: map[string]int{"field_team": n - len(rows)},
		Verifiers: map[string]dataset.Outcomes{"fields": {Pass: len(rows), Fail: n - len(rows)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ws, hash, refused
}

// done runs a command that must succeed.
func done(t *testing.T, ws string, line ...string) string {
	t.Helper()
	r := retort(t, ws, line...)
	if r.code != exitDone {
		t.Fatalf("%v: code %d\n%s%s", line, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("there is no %q in:\n%s", w, text)
		}
	}
}

func TestDatasetsAreShownByHashOrItsBeginning(t *testing.T) {
	ws, hash, _ := collected(t, 10)
	contains(t, done(t, ws, "dataset", "list"), hash[:12], "2026-11-25 10:00:00", "tickets", "self-hosted")
	var passports []dataset.Passport
	if err := json.Unmarshal([]byte(done(t, ws, "dataset", "list", "--json")), &passports); err != nil || len(passports) != 1 || passports[0].Hash != hash {
		t.Errorf("%v, %v", passports, err)
	}
	contains(t, done(t, ws, "dataset", "show", hash[:8], "--from", "1", "--limit", "2"), hash, "5 of 10 candidates", "field_team 5", "own server",
		"--- row 1: file, api, correct, tickets.jsonl:3, t-2 ---", "user: question 4", "answer: answer 4", "not as good: worse")
	contains(t, done(t, ws, "dataset", "show", hash, "--json", "--limit", "1"), `"rows":[{"index":0,"source":"tickets.jsonl","family":"file","problem":"p0","row":"tickets.jsonl:1","messages":[{"role":"user","content":"question 0"}],"answer":"answer 0"`)
	contains(t, done(t, ws, "dataset", "stats", hash), "tickets.jsonl 5", "correct 5", "verifier", "fields", "prompt, characters")
	var stats struct {
		Examples  int                         `json:"examples"`
		Rejected  int                         `json:"rejected"`
		Verifiers map[string]dataset.Outcomes `json:"verifiers"`
	}
	if err := json.Unmarshal([]byte(done(t, ws, "dataset", "stats", "--json", hash)), &stats); err != nil || stats.Examples != 5 || stats.Rejected != 5 || stats.Verifiers["fields"].Fail != 5 {
		t.Errorf("%+v, %v", stats, err)
	}
	if r := retort(t, ws, "dataset", "show", "nonsense"); r.code != exitFailed || !strings.Contains(r.stderr, "dataset list") {
		t.Errorf("a dataset that there is not: code %d: %s", r.code, r.stderr)
	}
	if r := retort(t, ws, "dataset", "show", hash, "--from", "5"); r.code != exitFailed || !strings.Contains(r.stderr, "0 to 4") {
		t.Errorf("rows behind the last: code %d: %s", r.code, r.stderr)
	}
	path := filepath.Join(ws, "datasets", hash, dataset.DataFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := retort(t, ws, "dataset", "export", hash, "--format", "openai", "-o", filepath.Join(ws, "x.jsonl")); r.code != exitDamaged {
		t.Errorf("a damaged dataset: code %d: %s", r.code, r.stderr)
	}
}

func TestAnExportedDatasetIsImportedAgainUnderItsTerms(t *testing.T) {
	ws, hash, _ := collected(t, 10)
	for _, format := range []string{"openai", "sharegpt", "alpaca", "dpo"} {
		file := filepath.Join(t.TempDir(), format+".jsonl")
		contains(t, done(t, ws, "dataset", "export", hash, "--format", format, "-o", file), "5 of 5 rows in "+file, file+".passport.json")
		other := t.TempDir()
		var rep struct {
			Kept, New, Already int
			Terms, Consent     string
		}
		if err := json.Unmarshal([]byte(done(t, other, "import", file, "--json")), &rep); err != nil {
			t.Fatal(err)
		}
		if rep.Kept != 5 || rep.New != 5 || rep.Already != 0 || rep.Terms != "self-hosted" || rep.Consent != "unknown" {
			t.Errorf("%s: %+v", format, rep)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, text[:strings.IndexByte(string(text), '\n')+1]...), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := retort(t, other, "import", file); r.code != exitFailed || !strings.Contains(r.stderr, "changed since") {
			t.Errorf("%s: a file that its passport does not fit: code %d: %s", format, r.code, r.stderr)
		}
	}
	if r := retort(t, ws, "dataset", "export", hash, "--format", "csv", "-o", "x"); r.code != exitUsage || !strings.Contains(r.stderr, "sharegpt") {
		t.Errorf("an unknown format: code %d: %s", r.code, r.stderr)
	}
	if r := retort(t, ws, "dataset", "export", hash); r.code != exitUsage {
		t.Errorf("neither format nor file: code %d: %s", r.code, r.stderr)
	}
}

func TestRefusedAnswersAreCorrectedByHand(t *testing.T) {
	ws, hash, refused := collected(t, 100)
	dir := t.TempDir()
	file := filepath.Join(dir, "refused.jsonl")
	contains(t, done(t, ws, "dataset", "review", "--refused", "-o", file), "50 rows in "+file, "retort import --corrections")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var fixed strings.Builder
	for line := range strings.Lines(string(raw)) {
		var row curate.Review
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if row.Reason != "field_team" || len(row.Prompt) != 1 || !strings.HasPrefix(row.Answer, "answer ") || row.Checks[0].Detail != "billing" {
			t.Errorf("row %+v", row)
		}
		row.Corrected = curate.Corrected{Answer: "right " + row.Problem, Reasoning: "looked up"}
		if err := json.NewEncoder(&fixed).Encode(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte(fixed.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	contains(t, done(t, ws, "import", "--corrections", file, "--by", "Ann"), "50 rows: 50 corrections recorded, 0 were in the ledger before, 0 left blank")
	contains(t, done(t, ws, "import", "--corrections", file), "0 corrections recorded, 50 were in the ledger before")

	id := refused[7].String()
	contains(t, done(t, ws, "ledger", "show", id), "verdict", "field_team (rules 0123456789ab, run tickets-1)", "billing", "by Ann", "reasoning: looked up", "answer: right p15")
	var shown struct {
		ID      exchange.ID     `json:"id"`
		Remarks []ledger.Remark `json:"remarks"`
	}
	if err := json.Unmarshal([]byte(done(t, ws, "ledger", "show", "--json", id)), &shown); err != nil || shown.ID != refused[7] || len(shown.Remarks) != 2 || shown.Remarks[1].Kind != ledger.KindCorrection {
		t.Errorf("%+v, %v", shown, err)
	}
	contains(t, done(t, ws, "ledger", "show", "--stage", ledger.StageCorrect), "50 exchanges, $0.00", " human ")
	contains(t, done(t, ws, "ledger", "verify"), "0 places damaged")

	again := filepath.Join(dir, "again.jsonl")
	contains(t, done(t, ws, "dataset", "review", "--refused", "-o", again), "nothing to correct", "50 that a person has corrected")
	if _, err := os.Stat(again); err == nil {
		t.Error("an empty review left a file")
	}
	contains(t, done(t, ws, "dataset", "review", hash[:10], "--limit", "3", "-o", again), "3 rows in")
	if text, _ := os.ReadFile(again); strings.Count(string(text), "\n") != 3 || !strings.Contains(string(text), `"reason":"correct"`) {
		t.Errorf("kept rows to review:\n%s", text)
	}

	for _, line := range [][]string{
		{"dataset", "review", "-o", again}, {"dataset", "review", hash, "--refused", "-o", again}, {"dataset", "review", hash, "--run", "x", "-o", again},
		{"import"}, {"import", file, "--corrections", file}, {"import", "--corrections", file, "--terms", "openai"}, {"import", file, "--by", "Ann"},
		{"import", file}, {"import", file, "--terms", "nonsense"}, {"import", file, "--terms", "openai", "--turns", "some"},
		{"import", file, "--terms", "openai", "--format", "xml"}, {"import", file, "--terms", "openai", "--consent", "recorded"},
		{"ledger", "show", id, "--run", "x"},
	} {
		if r := retort(t, ws, line...); r.code != exitUsage || !strings.Contains(r.stderr, "--help") {
			t.Errorf("%v: code %d, want %d: %s", line, r.code, exitUsage, r.stderr)
		}
	}
	bad := filepath.Join(dir, "bad.jsonl")
	if err := os.WriteFile(bad, []byte(fixed.String()+"{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := retort(t, ws, "import", "--corrections", bad); r.code != exitFailed || !strings.Contains(r.stderr, "bad.jsonl:51: ") {
		t.Errorf("a broken line: code %d: %s", r.code, r.stderr)
	}
}

func TestAnImportedFileIsCountedRowByRowAndOnlyOnce(t *testing.T) {
	ws := t.TempDir()
	file := filepath.Join(t.TempDir(), "chats.json")
	if err := os.WriteFile(file, []byte(`[
{"id":"a","conversations":[{"from":"human","value":"Who are you?"},{"from":"gpt","value":"I am ChatGPT, made by OpenAI."},{"from":"human","value":"Bye"},{"from":"gpt","value":"Bye!"}]},
{"id":"b","conversations":[{"from":"human","value":"No answer"}]},
{"id":"c","conversations":[{"from":"human","value":"Two and two?"},{"from":"gpt","value":"Four."}]}
]`), 0o644); err != nil {
		t.Fatal(err)
	}
	line := []string{"import", file, "--terms", "openai", "--consent", "recorded", "--basis", "form 3", "--people", "customers"}
	contains(t, done(t, ws, line...), "chats.json: sharegpt", "3 rows: 2 kept, 1 refused", "refused, no_answer: 1 rows, such as on line 3",
		"2 exchanges recorded, 0 were in the ledger before; terms openai, consent recorded")
	contains(t, done(t, ws, line...), "0 exchanges recorded, 2 were in the ledger before")
	contains(t, done(t, ws, append(line, "--turns", "all")...), "says who it is, openai", "line 2", "2 exchanges recorded, 1 were in the ledger before")
	list := done(t, ws, "ledger", "show")
	contains(t, list, "4 exchanges, $0.00", "people behind import:chats.json: consent recorded, form 3 (customers)")
	if strings.Count(list, "people behind") != 1 {
		t.Errorf("consent is recorded more than once:\n%s", list)
	}
	var one ledger.Line
	first, _, _ := strings.Cut(done(t, ws, "ledger", "show", "--json"), "\n")
	if err := json.Unmarshal([]byte(first), &one); err != nil {
		t.Fatal(err)
	}
	if one.Origin != exchange.OriginImport || one.Terms != "openai" || one.Endpoint != "import:chats.json" || one.CostPico != 0 || !strings.Contains(one.RequestBody, `"Who are you?"`) {
		t.Errorf("%+v", one)
	}
	empty := filepath.Join(filepath.Dir(file), "empty.jsonl")
	if err := os.WriteFile(empty, []byte(`{"conversations":[]}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := retort(t, ws, "import", empty, "--format", "sharegpt", "--terms", "openai"); r.code != exitFailed || !strings.Contains(r.stderr, "none of its 1 rows") {
		t.Errorf("a file of nothing: code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
