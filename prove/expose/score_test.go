package expose_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/prove/commit"
	"retort/prove/expose"
	"retort/student/model"
	"retort/student/train"
)

// What the decoder says of answers is what the training pass says, also of one that is
// read in pieces and of one that does not fit.
func TestOpenWeightsAreScoredAsTheyWereTaught(t *testing.T) {
	m, err := model.New(model.Config{
		VocabSize: len(letters), Hidden: 32, Layers: 2, Heads: 2, NopeDim: 8, RopeDim: 8, VDim: 8, KVLoraRank: 16,
		Intermediate: 48, DenseLayers: 2, RopeTheta: 200, NormEps: 1e-6, MaxPositions: 700, RoutedScale: 1,
	}, 3)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	var pairs []expose.Pair
	for i := range 21 {
		pairs = append(pairs, expose.Pair{
			Counter: uint64(i + 1), Messages: []exchange.Message{{Role: "user", Content: fmt.Sprintf("flask %d?", i)}},
			Arms: [2]commit.Answer{{Content: strings.Repeat("oil ", 1+i*3%11)}, {Reasoning: "so ", Content: strings.Repeat("salt", 1+i%5)}},
		})
	}
	pairs[4].Arms[0].Content = strings.Repeat("a long one. ", 50) // more than one call reads
	pairs[9].Arms[1].Content = strings.Repeat("too long. ", 90)   // more than the model has positions
	done := 0
	got, err := (&expose.Weights{Model: m, Format: format{}, Pool: pool, On: func(n, of int) {
		if done = n; of != len(pairs) {
			t.Errorf("%d of %d", n, of)
		}
	}}).Score(t.Context(), pairs)
	if err != nil || done != len(pairs) {
		t.Fatalf("%d pairs, %v", done, err)
	}
	pass := model.NewPass(m, pool, 700)
	for i, p := range pairs {
		for arm, a := range p.Arms {
			ids, from, err := format{}.Example(p.Messages, a.Reasoning, a.Content)
			if err != nil {
				t.Fatal(err)
			}
			if got[i].Tokens[arm] != len(ids)-from {
				t.Errorf("pair %d, arm %d: %d tokens", i, arm, got[i].Tokens[arm])
			}
			if _, err := pass.Forward((train.Sequence{Tokens: ids[:min(len(ids), 700)], ResponseFrom: from}).AppendTo(model.Batch{})); err != nil {
				t.Fatal(err)
			}
			want := 0.0
			for _, l := range pass.TokenLosses() {
				want -= float64(l)
			}
			if math.Abs(got[i].LogProb[arm]-want) > 1e-3*math.Max(1, -want/100) {
				t.Errorf("pair %d, arm %d: %v, the pass says %v", i, arm, got[i].LogProb[arm], want)
			}
		}
	}
	pairs[0].Messages[0].Content = strings.Repeat("no end of a prompt ", 40)
	again, err := (&expose.Weights{Model: m, Format: format{}, Pool: pool}).Score(t.Context(), pairs)
	if err != nil || again[0].LogProb != [2]float64{} || again[0].Tokens != got[0].Tokens || again[1] != got[1] {
		t.Errorf("a prompt without end: %v, %v", again, err)
	}
}

type asker func(exchange.Request) (*exchange.Exchange, error)

func (a asker) Ask(_ context.Context, r exchange.Request) (*exchange.Exchange, error) { return a(r) }

func TestAnEndpointScoresWhatItIsSent(t *testing.T) {
	pairs := []expose.Pair{{Counter: 1, Messages: []exchange.Message{{Role: "user", Content: "q"}}, Arms: [2]commit.Answer{{Content: "yes"}, {Content: "no"}}}}
	var calls atomic.Int64
	e := &expose.Endpoint{Request: exchange.Request{Model: "s"}, Asker: asker(func(r exchange.Request) (*exchange.Exchange, error) {
		calls.Add(1)
		last := r.Messages[len(r.Messages)-1]
		if len(r.Messages) != 2 || last.Role != "assistant" || r.Model != "s" || !strings.Contains(string(r.Params), `"prompt_logprobs":0`) {
			t.Errorf("asked %+v", r)
		}
		return &exchange.Exchange{ResponseBody: fmt.Appendf(nil, `{"prompt_logprobs":[null,{"1":{"logprob":-%d}}]}`, len(last.Content))}, nil
	})}
	got, err := e.Score(t.Context(), pairs)
	if err != nil || calls.Load() != 2 || got[0].LogProb != [2]float64{-3, -2} || got[0].Tokens != [2]int{2, 2} {
		t.Errorf("%+v after %d calls, %v", got, calls.Load(), err)
	}
	e.Asker = asker(func(exchange.Request) (*exchange.Exchange, error) {
		return &exchange.Exchange{ResponseBody: []byte(`{"choices":[{}]}`)}, nil
	})
	if _, err := e.Score(t.Context(), pairs); err == nil || !strings.Contains(err.Error(), "text alone") {
		t.Errorf("without log-probabilities: %v", err)
	}
	if !strings.Contains(string(pairs[0].Messages[0].Content), "q") || len(pairs[0].Messages) != 1 {
		t.Error("the pair was changed")
	}
}

func TestTextIsAskedOfBothArmsAlike(t *testing.T) {
	f := &expose.Frame{Version: expose.FrameVersion, Log: "l", Size: 1, Held: 1, Level: 0.01, Score: expose.DefaultScore(), Suspect: expose.Model{Name: "s", Kind: expose.KindText}}
	pairs := []expose.Pair{
		{Counter: 1, Messages: []exchange.Message{{Role: "user", Content: "q"}}, Arms: [2]commit.Answer{{Content: "It is a red ball of fine wool"}, {Content: "It is one blue cube of dark wood"}}},
		{Counter: 2, Messages: []exchange.Message{{Role: "user", Content: "q"}}, Arms: [2]commit.Answer{{Content: "yes"}, {Content: "no"}}}, // nothing to go on with
	}
	for _, prefill := range []bool{true, false} {
		var calls atomic.Int64
		x := &expose.Text{Prefill: prefill, Asker: asker(func(r exchange.Request) (*exchange.Exchange, error) {
			calls.Add(1)
			last := r.Messages[len(r.Messages)-1]
			if prefill != (last.Role == "assistant") || prefill != strings.Contains(string(r.Params), "continue_final_message") {
				t.Errorf("asked %+v", r)
			}
			if !strings.HasSuffix(last.Content, "It is a red") && !strings.HasSuffix(last.Content, "It is one blue") {
				t.Errorf("asked to continue %q", last.Content)
			}
			said := "ball of fine oak" // goes on with the first arm, whatever it is asked
			if !prefill {
				said = "It is a red " + said // and says the prefix too
			}
			return &exchange.Exchange{Answer: exchange.Answer{Content: said}}, nil
		})}
		lines := expose.Lines(pairs)
		if err := x.Ask(t.Context(), f, f.Suspect, lines, pairs, 1, nil); err != nil {
			t.Fatal(err)
		}
		if got := lines[0].Match["s"]; got != [2]float64{3, 0} || lines[1].Match["s"] != [2]float64{} || calls.Load() != 2 {
			t.Errorf("prefill %v: %v and %v after %d calls", prefill, got, lines[1].Match["s"], calls.Load())
		}
	}
	// What cannot be asked about one arm says nothing about either.
	long := &expose.Text{Prefill: true, Think: true, Asker: asker(func(r exchange.Request) (*exchange.Exchange, error) {
		last := r.Messages[len(r.Messages)-1].Content
		switch {
		case strings.HasSuffix(last, "cube of"):
			return nil, &exchange.Error{Class: exchange.ClassInvalid}
		case !strings.HasPrefix(last, "<think>") && !strings.HasPrefix(last, "It is"):
			t.Errorf("reasoning is put as %q", last)
		}
		return &exchange.Exchange{Answer: exchange.Answer{Reasoning: "down by one", Content: "x"}}, nil
	})}
	thought := []expose.Pair{pairs[0], {Counter: 2, Messages: pairs[0].Messages, Arms: [2]commit.Answer{{Reasoning: "first\nI count down by two", Content: "2"}, {Reasoning: "then\nI count down by one", Content: "1"}}}}
	thought[0].Arms[1].Content = "It is one cube of dark wood and glass"
	lines := expose.Lines(thought)
	f.Score.Cut = 3
	if err := long.Ask(t.Context(), f, f.Suspect, lines, thought, 2, nil); err != nil || long.Refused.Load() != 1 || lines[0].Match["s"] != [2]float64{} || lines[1].Match["s"] != [2]float64{2, 3} {
		t.Errorf("%d refused, %v and %v, %v", long.Refused.Load(), lines[0].Match["s"], lines[1].Match["s"], err)
	}
	long.Asker, long.Refused = asker(func(exchange.Request) (*exchange.Exchange, error) {
		return nil, &exchange.Error{Class: exchange.ClassInvalid}
	}), atomic.Int64{}
	if err := long.Ask(t.Context(), f, f.Suspect, lines, thought, 2, nil); err == nil || !strings.Contains(err.Error(), "refuses all") {
		t.Errorf("an API that refuses everything: %v", err)
	}
	asked := 0
	x := &expose.Text{Asker: asker(func(exchange.Request) (*exchange.Exchange, error) { return &exchange.Exchange{}, nil })}
	lines = expose.Lines(pairs)
	if err := x.Ask(t.Context(), f, f.Suspect, lines, pairs, 1, func(n int) bool { asked = n; return false }); err != nil || asked != 1 {
		t.Errorf("it stopped after %d, %v", asked, err)
	}
	broken := errors.New("broken")
	x.Asker = asker(func(exchange.Request) (*exchange.Exchange, error) { return nil, broken })
	if err := x.Ask(t.Context(), f, f.Suspect, lines, pairs, 1, nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
