package curate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/exchange"
	"retort/teach/task"
)

// Real prompts: hardly any training problem of GSM8K repeats another or a test
// problem, and a test problem among them must be found.
func TestGSM8KPassesAndItsTestProblemsDoNot(t *testing.T) {
	root := os.Getenv("RETORT_TESTDATA")
	if root == "" {
		t.Skip("RETORT_TESTDATA is not set: no real prompts to curate")
	}
	train, err := task.GSM8K(filepath.Join(root, "gsm8k", "train.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	test, err := task.GSM8K(filepath.Join(root, "gsm8k", "test.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var heldout []Text
	for _, p := range test.Problems() {
		heldout = append(heldout, TextOf("gsm8k", test, p))
	}
	c := curator(t, Options{NearDuplicates: 0.8, Decontaminate: true}, heldout...)
	offer := func(corpus *task.Corpus, p task.Problem) Decision {
		x := answered("gsm8k", p.ID, p.Prompt)
		x.Text = TextOf("gsm8k", corpus, p)
		return c.Offer(x)
	}
	for _, p := range train.Problems() {
		offer(train, p)
	}
	t.Logf("%d of %d kept, refused: %v", c.Kept(), c.Offered(), c.Refused())
	if c.Kept() < len(train.Problems())*98/100 {
		t.Errorf("only %d of %d real problems are kept: %v", c.Kept(), len(train.Problems()), c.Samples())
	}
	for i, p := range test.Problems() {
		if d := offer(test, p); d.Reason != ReasonContaminated && d.Reason != ReasonDuplicate {
			t.Fatalf("test problem %d: %+v", i, d)
		}
		p.ID, p.Prompt = p.ID+" reworded", "Question: "+p.Prompt+" Explain."
		if d := offer(test, p); d.Reason != ReasonContaminated && len(strings.Fields(p.Prompt)) > 15 {
			t.Fatalf("test problem %d with words around it: %+v", i, d)
		}
	}
}

// BenchmarkOffer curates prompts of about 40 words with answers of about 100.
func BenchmarkOffer(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	words := make([]string, 5000)
	for i := range words {
		words[i] = fmt.Sprint("word", i)
	}
	say := func(n int) string {
		out := make([]string, n)
		for i := range out {
			out[i] = words[rng.IntN(len(words))]
		}
		return strings.Join(out, " ")
	}
	var heldout []Text
	for i := range 1000 {
		p := say(40)
		heldout = append(heldout, Text{Source: "f", Family: "f", ID: fmt.Sprint("h", i), Prompt: p, Masked: p})
	}
	c, err := New(Options{NearDuplicates: 0.8, Decontaminate: true}, heldout)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		x := answered("f", fmt.Sprint(i), say(40))
		x.Exchange.Answer = exchange.Answer{Content: say(50), Reasoning: say(50), FinishReason: "stop"}
		if d := c.Offer(x); !d.Kept {
			b.Fatalf("%+v", d)
		}
	}
}
