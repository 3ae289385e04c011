package curate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/teach/dataset"
	"retort/teach/task"
)

// answered makes a candidate that every rule lets pass.
func answered(source, id, prompt string) Candidate {
	return Candidate{
		Text:     Text{Source: source, Family: source, ID: id, Prompt: prompt, Masked: prompt},
		Messages: []exchange.Message{{Role: "user", Content: prompt}},
		Exchange: &exchange.Exchange{
			Status: 200, Origin: exchange.OriginAPI, TermsID: "own",
			Answer: exchange.Answer{Reasoning: "because", Content: "42", FinishReason: "stop"},
		},
		Verdict: task.Verdict{Correct: true, Reason: task.ReasonCorrect, Answer: "42"},
	}
}

func curator(t *testing.T, opt Options, heldout ...Text) *Curator {
	t.Helper()
	c, err := New(opt, heldout)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const long = "a farmer has seventeen sheep and sells nine of them on the market before buying four goats"

func TestEachReasonIsGivenForItsOwnFault(t *testing.T) {
	all := Options{NearDuplicates: 0.7, Decontaminate: true, Reasoning: ReasoningRequire, Gate: func(id string) error {
		if id == "blocked" {
			return errors.New("these terms forbid it")
		}
		return nil
	}}
	heldout := Text{Source: "f", Family: "f", ID: "held", Prompt: long + " how many animals", Masked: long + " how many animals"}
	for _, c := range []struct {
		reason, detail string
		spoil          func(*Candidate)
	}{
		{"error_timeout", "stalled", func(x *Candidate) {
			x.Exchange.ErrorClass, x.Exchange.ErrorText = exchange.ClassTimeout, "stalled"
		}},
		{"error_network", "cut", func(x *Candidate) {
			x.Exchange, x.Err = nil, &exchange.Error{Op: "ask", Class: exchange.ClassNetwork, Err: errors.New("cut")}
		}},
		{"error_unknown", "HTTP status 302", func(x *Candidate) { x.Exchange.Status = 302 }},
		{"error_unknown", "", func(x *Candidate) { x.Exchange = nil }},
		{"terms", "forbid", func(x *Candidate) { x.Exchange.TermsID = "blocked" }},
		{"finish_length", "", func(x *Candidate) { x.Exchange.Answer.FinishReason = "length" }},
		{"finish_missing", "", func(x *Candidate) { x.Exchange.Answer.FinishReason = "" }},
		{"empty_answer", "", func(x *Candidate) { x.Exchange.Answer.Content = " \n" }},
		{"empty_reasoning", "", func(x *Candidate) { x.Exchange.Answer.Reasoning = " " }},
		{"unparsable", "", func(x *Candidate) { x.Verdict = task.Verdict{Reason: task.ReasonUnparsable} }},
		{"wrong", `"41"`, func(x *Candidate) { x.Verdict = task.Verdict{Reason: task.ReasonWrong, Answer: "41"} }},
		{"contaminated", "held", func(x *Candidate) { x.ID = "held" }},
		{"contaminated", "its prompt", func(x *Candidate) { x.Masked = "Bob said " + long }},
		{"contaminated", "its reasoning", func(x *Candidate) { x.Exchange.Answer.Reasoning = "so " + long }},
		{"contaminated", "its answer", func(x *Candidate) { x.Exchange.Answer.Content = "so " + long }},
		{"duplicate", "example 0", func(x *Candidate) { x.ID = "first" }},
		{"duplicate", "example 0", func(x *Candidate) { x.Prompt = " what is THE first  prompt about anything" }},
		{"near_duplicate", "example 0", func(x *Candidate) { x.Masked = "indeed what is the first prompt about anything" }},
	} {
		cur := curator(t, all, heldout)
		first := answered("f", "first", "What is the first prompt about anything")
		if d := cur.Offer(first); !d.Kept {
			t.Fatalf("the good candidate is refused: %+v", d)
		}
		x := answered("f", "second", "a second prompt that is quite unlike it in all respects")
		if d := curator(t, all, heldout).Offer(x); !d.Kept {
			t.Fatalf("the unspoiled candidate is refused: %+v", d)
		}
		c.spoil(&x)
		d := cur.Offer(x)
		if d.Kept || d.Reason != c.reason || !strings.Contains(d.Detail, c.detail) || d.Example != nil {
			t.Errorf("want %s (%s), got %+v", c.reason, c.detail, d)
		}
		if got := cur.Refused(); len(got) != 1 || got[c.reason] != 1 || cur.Offered() != 2 || cur.Kept() != 1 {
			t.Errorf("%s: counts %v, offered %d, kept %d", c.reason, got, cur.Offered(), cur.Kept())
		}
		if s := cur.Samples()[c.reason]; len(s) != 1 || s[0].Prompt != x.Prompt || s[0].Detail != d.Detail {
			t.Errorf("%s: samples %+v", c.reason, s)
		}
	}
}

func TestTheFirstReasonThatAppliesIsTheOnlyOne(t *testing.T) {
	c := curator(t, Options{})
	x := answered("f", "p", "prompt")
	x.Exchange.Answer = exchange.Answer{FinishReason: "length"}
	x.Verdict = task.Verdict{Reason: task.ReasonNoAnswer}
	if d := c.Offer(x); d.Reason != "finish_length" {
		t.Errorf("got %+v", d)
	}
	if got := c.Refused(); len(got) != 1 {
		t.Errorf("one candidate is in %v", got)
	}
}

func TestARefusedAnswerDoesNotMakeTheNextOneADuplicate(t *testing.T) {
	c := curator(t, Options{NearDuplicates: 0.8})
	bad := answered("f", "p", "some prompt of a few words to compare")
	bad.Verdict = task.Verdict{Reason: task.ReasonWrong}
	if d := c.Offer(bad); d.Kept {
		t.Fatal("kept a wrong answer")
	}
	if d := c.Offer(answered("f", "p", "some prompt of a few words to compare")); !d.Kept {
		t.Errorf("a right answer after a wrong one: %+v", d)
	}
}

func TestExactIdentityAloneDecidesForVerifiableFamilies(t *testing.T) {
	heldout := Text{Source: "multiply", Family: "multiply", ID: "multiply:12*34", Exact: true, Prompt: "What is 12 times 34? Think first, then say the number alone on the very last line of your answer please.", Masked: "12 34"}
	instruction := Text{Source: "f", Family: "f", ID: "h", Prompt: heldout.Prompt, Masked: heldout.Prompt}
	c := curator(t, Options{NearDuplicates: 0.1, Decontaminate: true}, heldout, instruction)
	exact := func(id, prompt string) Candidate {
		x := answered("multiply", id, prompt)
		x.Exact = true
		return x
	}
	for i, x := range []Candidate{
		exact("multiply:12*35", strings.Replace(heldout.Prompt, "34", "35", 1)),
		exact("multiply:12*36", strings.Replace(heldout.Prompt, "34", "36", 1)),
	} {
		if d := c.Offer(x); !d.Kept {
			t.Errorf("different problem %d in the same words: %+v", i, d)
		}
	}
	if d := c.Offer(exact("multiply:12*34", "entirely different words")); d.Reason != ReasonContaminated {
		t.Errorf("the held-out problem in other words: %+v", d)
	}
	if d := c.Offer(exact("multiply:12*35", "entirely different words")); d.Reason != ReasonDuplicate {
		t.Errorf("the same problem in other words: %+v", d)
	}
}

func TestAVerifiableProblemInsideAFileIsRecognised(t *testing.T) {
	family, err := task.New("multiply", task.Params{})
	if err != nil {
		t.Fatal(err)
	}
	held := family.Generate(rand.New(rand.NewPCG(1, 1)))
	c := curator(t, Options{Decontaminate: true}, TextOf("multiply", family, held))
	if d := c.Offer(answered("file", "row 1", held.Prompt)); d.Reason != ReasonContaminated {
		t.Errorf("a held-out problem from a user's file: %+v", d)
	}
	other := family.Generate(rand.New(rand.NewPCG(2, 2)))
	if d := c.Offer(answered("file", "row 2", other.Prompt)); !d.Kept {
		t.Errorf("another problem from a user's file: %+v", d)
	}
}

func TestTextThatHeldOutPromptsShareIsNoOverlap(t *testing.T) {
	instruction := "You are given a support ticket. Read it with care and answer with the name of the team that should take it: billing, hardware or sales. Ticket: "
	words := strings.Fields("printer invoice refund broken screen password order late package contract price keyboard noise heat cable account login speed delivery discount")
	rng := rand.New(rand.NewPCG(3, 3))
	ticket := func() string {
		var s []string
		for range 12 {
			s = append(s, words[rng.IntN(len(words))])
		}
		return strings.Join(s, " ")
	}
	var heldout []Text
	for i := range 20 {
		p := instruction + ticket()
		heldout = append(heldout, Text{Source: "f", Family: "file", ID: fmt.Sprint("h", i), Prompt: p, Masked: p})
	}
	c := curator(t, Options{NearDuplicates: 0.8, Decontaminate: true}, heldout...)
	for i := range 200 {
		if d := c.Offer(answered("f", fmt.Sprint(i), instruction+ticket())); !d.Kept {
			t.Fatalf("ticket %d: %+v", i, d)
		}
	}
	if d := c.Offer(answered("f", "leak", instruction+"Urgent! "+strings.TrimPrefix(heldout[3].Prompt, instruction)+" thanks")); d.Reason != ReasonContaminated {
		t.Errorf("a held-out ticket with words around it: %+v", d)
	}
}

func TestKeptExamplesCarryTheirLineage(t *testing.T) {
	x := answered("f", "p", "prompt")
	x.Row = "f.jsonl:3"
	x.Exchange.ID, x.Exchange.Key = exchange.ID{1}, exchange.Key{2}
	d := curator(t, Options{}).Offer(x)
	want := &dataset.Example{
		Source: "f", Family: "f", Problem: "p", Row: "f.jsonl:3", Prompt: x.Messages, Reasoning: "because", Answer: "42",
		Origin: exchange.OriginAPI, TermsID: "own", Verdict: "correct", ExchangeID: exchange.ID{1}, Key: exchange.Key{2},
	}
	if diff := cmp.Diff(want, d.Example); diff != "" {
		t.Errorf("example (-want +got):\n%s", diff)
	}
	x.Verdict = task.Verdict{Reason: task.ReasonNoGold}
	if d := curator(t, Options{Reasoning: ReasoningDrop}).Offer(x); !d.Kept || d.Example.Reasoning != "" || d.Example.Verdict != VerdictUnverified {
		t.Errorf("reasoning dropped, no gold: %+v", d)
	}
	x.Verdict = task.Verdict{Reason: task.ReasonWrong}
	if d := curator(t, Options{Keep: KeepAll}).Offer(x); !d.Kept || d.Example.Verdict != "wrong" {
		t.Errorf("all kept: %+v", d)
	}
}

func TestIdentityLeaksAreCountedAndKept(t *testing.T) {
	c := curator(t, Options{})
	for i := range 5 {
		x := answered("f", fmt.Sprint(i), fmt.Sprint("prompt ", i))
		x.Exchange.Answer.Content = "I am ChatGPT, made by OpenAI."
		x.Exchange.Answer.Reasoning = "As a language model developed by OpenAI, I think."
		if d := c.Offer(x); !d.Kept {
			t.Fatalf("%+v", d)
		}
	}
	x := answered("f", "about", "who made ChatGPT")
	x.Exchange.Answer.Content = "ChatGPT is a language model developed by OpenAI."
	c.Offer(x)
	x = answered("f", "wrong", "refused")
	x.Exchange.Answer.Content, x.Verdict = "I am Claude.", task.Verdict{Reason: task.ReasonWrong}
	c.Offer(x)
	leaks := c.IdentityLeaks()
	if len(leaks) != 1 || leaks[0].Pattern != "openai" || leaks[0].Count != 5 || len(leaks[0].Samples) != samplesPerReason {
		t.Errorf("leaks: %+v", leaks)
	}
}

func TestCuratingAgainGivesTheSameDecisions(t *testing.T) {
	run := func() (string, map[string]int) {
		rng := rand.New(rand.NewPCG(7, 7))
		c := curator(t, Options{NearDuplicates: 0.6}, Text{Source: "f", ID: "h", Prompt: long, Masked: long})
		var log strings.Builder
		for i := range 2000 {
			var p []string
			for range 8 {
				p = append(p, fmt.Sprint("w", rng.IntN(6)))
			}
			d := c.Offer(answered("f", fmt.Sprint(i), strings.Join(p, " ")))
			fmt.Fprintln(&log, d.Kept, d.Reason, d.Detail)
		}
		if c.Offered() != 2000 || c.Kept() == 0 || c.Refused()[ReasonNearDuplicate] == 0 {
			t.Fatalf("the test does not test: kept %d, refused %v", c.Kept(), c.Refused())
		}
		sum := c.Kept()
		for _, n := range c.Refused() {
			sum += n
		}
		if sum != c.Offered() {
			t.Errorf("%d offered, %d in buckets", c.Offered(), sum)
		}
		return log.String() + fmt.Sprint(c.Samples()), c.Refused()
	}
	a, ra := run()
	b, rb := run()
	if a != b || !cmp.Equal(ra, rb) {
		t.Error("two runs over the same candidates differ")
	}
}

func TestImpossibleRulesAreNamed(t *testing.T) {
	for _, c := range []struct {
		opt  Options
		want string
	}{
		{Options{Keep: "best"}, `keep "best"`},
		{Options{Reasoning: "hide"}, `reasoning "hide"`},
		{Options{NearDuplicates: 1.5}, "threshold 1.5"},
		{Options{NearDuplicates: -1}, "threshold -1"},
	} {
		if _, err := New(c.opt, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.opt, err)
		}
	}
}
