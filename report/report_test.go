package report

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sample is a run with something in every part of the report.
func sample() *Data {
	row := func(f string, n int, s, t float64) EvalRow {
		return EvalRow{Family: f, N: n, Measure: Accuracy, Student: s, StudentCI: [2]float64{s - 0.02, min(1, s+0.01)}, Teacher: t, TeacherCI: [2]float64{t - 0.01, 1},
			Diff: s - t, DiffCI: [2]float64{s - t - 0.015, s - t + 0.008}, P: 0.04, StudentTokens: 71, TeacherTokens: 95, TeacherUSD: 0.00007}
	}
	d := &Data{
		Tool: "devel", Run: "quickstart-0123456789ab", Recipe: "quickstart", Hash: strings.Repeat("ab", 32),
		Command: "retort run recipes/quickstart.yaml", Finished: time.Date(2026, 11, 25, 2, 3, 4, 0, time.UTC),
		Machine: Machine{CPU: "A CPU", Cores: 2, Kernels: "avx512", PeakRSS: 700 << 20},
		Teacher: Teacher{Name: "the reference teacher", Endpoint: "reference:abc", Model: "reference", Price: "reference", TermsID: "reference",
			Terms: "Retort's own", TermsSays: "Everything is allowed.", Basis: "the row's default", Decision: "allow", Obligations: []string{"Name the teacher."}},
		Sources: []Source{
			{Name: "multiply", Want: 3000, Asked: 3000, Kept: 3000, Heldout: 500},
			{Name: "countdown", Want: 8000, Asked: 10200, Kept: 8000, Heldout: 500, Refused: map[string]int{"wrong": 2150, "finish_reason": 50}},
		},
		Refusals:    []Refusal{{"countdown", "wrong", "Use 3, 4 and 5 to make <b>60</b>.", "3*4+5"}},
		Verifiers:   []Verifier{{Name: "json_schema:ticket.json", Pass: 9000, Fail: 700, Samples: []Refusal{{"countdown", "json_schema:ticket.json", "Ask <i>this</i>", "no JSON"}}}, {Name: "fields", Pass: 1, Skip: 9699}},
		Heldout:     HeldoutVerifiers{Student: []Verifier{{Name: "fields", Pass: 411, Fail: 589}}, Teacher: []Verifier{{Name: "fields", Pass: 977, Error: 23}}},
		Corrections: 50, Overrides: []Override{{Row: "mistral", Actions: "collect, export", Basis: "Letter of 3 May", By: "A. Person"}},
		Leaks: []Leak{{"openai", 2, "I am ChatGPT"}},
		Spend: Spend{Exchanges: 14500, Reused: 12, Errors: map[string]int64{"rate_limited": 40}, USD: 1.2345, Reported: "$1.2345", UpperBound: "$0.00",
			Bill: "$1.2345", BillAgrees: "equal to ours", Budget: 5, Input: 1200000, Output: 2500000},
		Dataset:  Dataset{Hash: strings.Repeat("cd", 32), Path: ".retort/datasets/cd", Examples: 11000, Tokens: 1200000, TooLong: 1},
		Training: Training{Preset: "tiny-dense", Vocabulary: 512, Optimizer: "muon", Precision: "bf16", Steps: 3000, Tokens: 6000000, TokensPerSecond: 19000},
		Model: Model{Hash: strings.Repeat("ef", 32), Path: ".retort/models/ef", Params: 1030000, Active: 930000,
			Files: []File{{"model.safetensors", 4 << 20}, {"config.json", 900}}},
		Eval:   []EvalRow{row("multiply", 500, 0.972, 1), row("countdown", 500, 0.81, 0.84), row(Overall, 1000, 0.891, 0.92)},
		Beside: []Beside{{Name: "untrained", Rows: []EvalRow{row("multiply", 500, 0, 0), row("countdown", 500, 0, 0), row(Overall, 1000, 0, 0)}}},
		Samples: []Sample{{Family: "multiply", Prompt: "What is 12 × 34?", StudentReasoning: "12*30=360, 12*4=48, 360+48=408", StudentAnswer: "408", StudentRight: true,
			TeacherReasoning: "12*4=48", TeacherAnswer: "408", TeacherRight: true},
			{Family: "countdown", Prompt: "Use 1, 2 and 3 to make 6.", StudentReasoning: "1+2=3 not 6", StudentAnswer: "<script>alert(1)</script>", TeacherAnswer: "1*2*3", TeacherRight: true}},
		Seconds: map[string]float64{"collect": 61.5, "train": 312, "eval": 20},
		Stages:  []string{"collect", "train", "eval"},
		Notes:   []string{"A note that a reader must know."},
	}
	for i := range 60 {
		x := int64(i+1) * 100_000
		d.Training.Loss = append(d.Training.Loss, Point{x, 4 / (1 + float64(i)*float64(i)/12)})
		if i%10 == 9 {
			d.Training.Heldout = append(d.Training.Heldout, Point{x, 4.2 / (1 + float64(i)*float64(i)/12)})
		}
	}
	return d
}

func TestHTMLShowsEverythingAndStandsAlone(t *testing.T) {
	var b bytes.Buffer
	d := sample()
	if err := HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	for _, want := range []string{
		"89.1%", "92.0%", "multiply", "countdown", "overall", "untrained", "wrong 2,150", "finish_reason 50", "$1.2345 exactly", "equal to ours",
		"rate_limited 40", "I am ChatGPT", "Name the teacher.", d.Dataset.Hash, d.Model.Hash, "model.safetensors", "A note that a reader must know.",
		"retort run recipes/quickstart.yaml", "12*30=360", "9,699", "411 pass, 589 fail", "977 pass, 0 fail, 23 broke down", "50 examples hold an answer", "mistral (collect, export): Letter of 3 May, by A. Person",
		"&lt;script&gt;", "apply_chat_template", "llama-server", "<polyline", "<circle", "1 examples were longer",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if link := regexp.MustCompile(`(?i)(src|href)\s*=|@import|url\(|https?://`).FindString(s); link != "" {
		t.Errorf("the page reaches outside: %q", link)
	}
	if strings.Contains(s, "ZgotmplZ") || strings.Contains(s, "<no value>") || strings.Contains(s, "<script") {
		t.Error("the template refused or missed a value, or let markup through")
	}
	if name := os.Getenv("RETORT_REPORT_OUT"); name != "" { // to look at it in a browser
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTerminalFitsOnOneScreen(t *testing.T) {
	var b bytes.Buffer
	if err := Terminal(&b, sample(), TerminalOptions{}); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	if n := strings.Count(s, "\n"); n > 28 {
		t.Errorf("%d lines", n)
	}
	for _, want := range []string{"multiply", "97.2%", "−2.8", "refused: wrong 2,150, finish_reason 50", "$1.2345 by reported usage", "equal to ours", "retort chat", "json_schema:ticket.json 9,000 pass, 700 fail", "a person wrote", "mistral (collect, export)"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in:\n%s", want, s)
		}
	}
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "model") && !strings.HasPrefix(line, "next") && len([]rune(line)) > 110 {
			t.Errorf("a line of %d characters: %s", len([]rune(line)), line)
		}
	}
	if strings.Contains(s, "\x1b") {
		t.Error("colour where none was asked for")
	}
}

func TestAgreementIsCalledThat(t *testing.T) {
	d := sample()
	for i := range d.Eval {
		d.Eval[i].Measure = Agreement
	}
	var page, screen bytes.Buffer
	if err := HTML(&page, d); err != nil {
		t.Fatal(err)
	}
	if err := Terminal(&screen, d, TerminalOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{page.String(), screen.String()} {
		if !strings.Contains(s, "agree") || strings.Contains(s, "answers 89.1% of held-out problems right") {
			t.Error("agreement is sold as accuracy")
		}
	}
}

func TestDataSurvivesJSON(t *testing.T) {
	raw, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var back Data
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	if err := HTML(&a, sample()); err != nil {
		t.Fatal(err)
	}
	if err := HTML(&b, &back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("a page made again from report.json differs")
	}
}
