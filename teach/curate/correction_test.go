package curate

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/ledger"
	"retort/teach/dataset"
	"retort/teach/task"
)

// corrected makes a candidate whose wrong answer a person has corrected.
func corrected(t *testing.T, id, prompt, answer string) Candidate {
	t.Helper()
	x := answered("f", id, prompt)
	x.Exchange.ID, x.Exchange.Key = exchange.NewID(time.UnixMilli(5)), exchange.Key{1, 2}
	x.Exchange.Answer.Content, x.Exchange.Answer.FinishReason = "41", "length"
	x.Verdict = task.Verdict{Reason: task.ReasonWrong, Answer: answer}
	human, _, err := ledger.Correct(x.Exchange, ledger.Correction{Answer: answer, Reasoning: "by hand"})
	if err != nil {
		t.Fatal(err)
	}
	x.Correction = human
	return x
}

func TestACorrectionStandsInPlaceOfTheTeachersAnswer(t *testing.T) {
	c := curator(t, Options{})
	x := corrected(t, "p", "prompt", "43")
	d := c.Offer(x)
	if !d.Kept {
		t.Fatalf("refused: %+v", d)
	}
	want := &dataset.Example{
		Source: "f", Family: "f", Problem: "p", Prompt: x.Messages, Reasoning: "by hand", Answer: "43",
		Origin: exchange.OriginHuman, TermsID: "own", Verdict: VerdictCorrected, Rejected: "41",
		ExchangeID: x.Correction.ID, Key: x.Exchange.Key,
	}
	if diff := cmp.Diff(want, d.Example); diff != "" {
		t.Errorf("example (-want +got):\n%s", diff)
	}
	if x.Correction.Parent != x.Exchange.ID {
		t.Errorf("the correction's parent is %s, want %s", x.Correction.Parent, x.Exchange.ID)
	}
	right := corrected(t, "q", "another prompt", "42")
	right.Verdict = task.Verdict{Correct: true}
	if d := c.Offer(right); !d.Kept || d.Example.Verdict != task.ReasonCorrect {
		t.Errorf("a correction that verifiers agree with: %+v", d)
	}
	if c.Corrections() != 2 {
		t.Errorf("%d corrections counted, want 2", c.Corrections())
	}
}

// What a person wrote in place of a failed attempt needs no answer of the
// teacher.
func TestACorrectionNeedsNoAnswerOfTheTeachers(t *testing.T) {
	x := corrected(t, "p", "prompt", "43")
	x.Exchange.ErrorClass, x.Exchange.Answer = exchange.ClassTimeout, exchange.Answer{}
	x.Err = errors.New("no answer")
	if d := curator(t, Options{}).Offer(x); !d.Kept || d.Example.Rejected != "" {
		t.Errorf("got %+v", d)
	}
}

func TestEveryOtherRuleHoldsForCorrections(t *testing.T) {
	held := Text{Source: "f", Family: "f", ID: "held", Prompt: long, Masked: long}
	for _, c := range []struct {
		reason string
		spoil  func(*Candidate)
	}{
		{"terms", func(x *Candidate) { x.Correction.TermsID = "blocked" }},
		{"empty_answer", func(x *Candidate) { x.Correction.Answer.Content = " " }},
		{"empty_reasoning", func(x *Candidate) { x.Correction.Answer.Reasoning = "" }},
		{"contaminated", func(x *Candidate) { x.Correction.Answer.Content = "see " + long }},
		{"contaminated", func(x *Candidate) { x.ID = "held" }},
	} {
		cur := curator(t, Options{Decontaminate: true, Reasoning: ReasoningRequire, Gate: func(id string) error {
			if id == "blocked" {
				return errors.New("no")
			}
			return nil
		}}, held)
		x := corrected(t, "p", "prompt", "43")
		c.spoil(&x)
		if d := cur.Offer(x); d.Reason != c.reason {
			t.Errorf("want %s, got %+v", c.reason, d)
		}
		if got := cur.Samples()[c.reason]; len(got) != 1 || got[0].Exchange != x.Correction.ID {
			t.Errorf("%s: the sample is not about the person's answer: %+v", c.reason, got)
		}
	}
}

func TestEveryVerifierHasItsOwnCountAndSamples(t *testing.T) {
	c := curator(t, Options{})
	for i, outcome := range []string{ledger.OutcomePass, ledger.OutcomeFail, ledger.OutcomeFail, ledger.OutcomeSkip, ledger.OutcomeError} {
		x := answered("f", string(rune('a'+i)), "prompt number "+string(rune('a'+i)))
		x.Verdict = task.Verdict{Correct: i == 0, Reason: "field_team"}
		x.Checks = []ledger.Check{{Verifier: "json_schema", Outcome: ledger.OutcomePass}, {Verifier: "fields", Outcome: outcome, Reason: "field_team", Detail: "billing"}}
		c.Offer(x)
	}
	want := map[string]dataset.Outcomes{"json_schema": {Pass: 5}, "fields": {Pass: 1, Fail: 2, Skip: 1, Error: 1}}
	if diff := cmp.Diff(want, c.Verifiers()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	s := c.VerifierSamples()
	if len(s) != 1 || len(s["fields"]) != 3 || s["fields"][0].Detail != "field_team: billing" || s["fields"][0].Problem != "b" {
		t.Errorf("samples: %+v", s)
	}
}

func TestAnAnswerOfToolCallsAloneIsNotEmpty(t *testing.T) {
	x := answered("f", "p", "prompt")
	x.RowID, x.Tools, x.Rejected = "r-1", `[{"name":"find"}]`, "no"
	x.Exchange.Answer = exchange.Answer{ToolCalls: []exchange.ToolCall{{ID: "c1", Name: "find", Arguments: "{}"}}, FinishReason: "tool_calls"}
	d := curator(t, Options{FinishReasons: []string{"stop", "tool_calls"}}).Offer(x)
	if !d.Kept {
		t.Fatalf("refused: %+v", d)
	}
	if e := d.Example; e.RowID != "r-1" || e.Tools != x.Tools || e.Rejected != "no" || len(e.ToolCalls) != 1 {
		t.Errorf("the example lost what the row holds: %+v", e)
	}
}
