package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// everyLogit are the training pass's logits at every position of tokens.
func everyLogit(t *testing.T, m *Model, tokens []int32) []float32 {
	t.Helper()
	p := NewPass(m, testPool(t, 2), len(tokens))
	got, err := p.Logits(Batch{Tokens: tokens, Targets: make([]int32, len(tokens)), Starts: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sameLogits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d logits, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i] - want[i])); !(d < 1e-4) {
			t.Fatalf("%s: logit %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// must returns a function that passes logits on and fails the test on an error.
func must(t *testing.T) func([]float32, error) []float32 {
	return func(x []float32, err error) []float32 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

func TestDecoderAgreesWithTheTrainingPassAtEveryPosition(t *testing.T) {
	for _, test := range oddModels {
		t.Run(test.name, func(t *testing.T) {
			m := testModel(t, test.config, 21)
			v := m.config.VocabSize
			tokens := testBatch(m.config, 22, 120).Tokens
			want := everyLogit(t, m, tokens)
			d := NewDecoder(m, testPool(t, 2), 3, 120)
			logits := must(t)(d.Prefill(1, tokens[:1]))
			for i := range tokens {
				if i > 0 {
					logits = must(t)(d.Step([]int{1}, tokens[i:i+1]))
				}
				sameLogits(t, fmt.Sprintf("step %d", i), logits, want[i*v:(i+1)*v])
			}
			for _, n := range []int{1, 2, 97, 120} {
				d.Reset(2)
				sameLogits(t, fmt.Sprintf("prompt of %d", n), must(t)(d.Prefill(2, tokens[:n])), want[(n-1)*v:n*v])
			}
			d.Reset(0)
			must(t)(d.Prefill(0, tokens[:50]))
			sameLogits(t, "prompt in two calls", must(t)(d.Prefill(0, tokens[50:])), want[119*v:])
			if d.Len(0) != 120 {
				t.Errorf("the slot holds %d tokens, want 120", d.Len(0))
			}
		})
	}
}

// One prompt is read and continued alone, and again among prompts so long that
// reading takes several rounds and cuts it somewhere else.
func TestOtherSlotsDoNotChangeABit(t *testing.T) {
	for _, test := range oddModels {
		t.Run(test.name, func(t *testing.T) {
			m := testModel(t, test.config, 23)
			v := m.config.VocabSize
			tokens := testBatch(m.config, 24, 250).Tokens
			const prompt = 230
			alone := NewDecoder(m, testPool(t, 1), 1, 300)
			var want [][]float32
			want = append(want, slices.Clone(must(t)(alone.Prefill(0, tokens[:prompt]))))
			for i := prompt; i < len(tokens); i++ {
				want = append(want, slices.Clone(must(t)(alone.Step([]int{0}, tokens[i:i+1]))))
			}

			d := NewDecoder(m, testPool(t, 3), 9, 300)
			slots, prompts := []int{4, 0, 7, 1, 8, 3}, [][]int32{
				testBatch(m.config, 1, 299-30).Tokens, testBatch(m.config, 2, 270).Tokens, testBatch(m.config, 3, 160).Tokens,
				tokens[:prompt], testBatch(m.config, 4, 1).Tokens, testBatch(m.config, 5, 260).Tokens,
			}
			logits := must(t)(d.PrefillBatch(slots, prompts))
			equalBits(t, "prompt", logits[3*v:4*v], want[0])
			for i := prompt; i < len(tokens); i++ {
				batch, next := []int{1}, []int32{tokens[i]}
				for _, s := range []int{4, 7, 8, 0, 3}[:i%6] {
					batch, next = append(batch, s), append(next, int32(i%v))
				}
				logits := must(t)(d.Step(batch, next))
				equalBits(t, fmt.Sprintf("token %d", i), logits[:v], want[i-prompt+1])
			}
		})
	}
}

func equalBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: logits %v beside other slots, %v alone", what, got, want)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	for _, test := range oddModels {
		m := testModel(t, test.config, 25)
		d := NewDecoder(m, testPool(t, 1), 4, 300)
		prompt := testBatch(m.config, 26, 40).Tokens
		slots, next := []int{2, 0, 3}, []int32{1, 2, 3}
		round := func() {
			for _, s := range slots {
				d.Reset(s)
				if _, err := d.Prefill(s, prompt); err != nil {
					t.Fatal(err)
				}
			}
			for range 5 {
				if _, err := d.Step(slots, next); err != nil {
					t.Fatal(err)
				}
			}
		}
		round()
		if n := testing.AllocsPerRun(3, round); n != 0 {
			t.Errorf("%s: decoding allocates %v times", test.name, n)
		}
	}
}

func TestABadCallLeavesTheDecoderAsItWas(t *testing.T) {
	m := testModel(t, odd(func(*Config) {}), 1)
	d := NewDecoder(m, testPool(t, 1), 3, 20)
	must(t)(d.Prefill(0, []int32{1, 2, 3}))
	for _, test := range []struct {
		want string
		call func() ([]float32, error)
	}{
		{"2 prompts for 1 slots", func() ([]float32, error) { return d.PrefillBatch([]int{1}, make([][]int32, 2)) }},
		{"slot 3 is not in 0..2", func() ([]float32, error) { return d.Prefill(3, []int32{1}) }},
		{"slot -1", func() ([]float32, error) { return d.Step([]int{-1}, []int32{1}) }},
		{"given no tokens", func() ([]float32, error) { return d.Prefill(1, nil) }},
		{"21 tokens, more than the context of 20", func() ([]float32, error) { return d.Prefill(0, make([]int32, 18)) }},
		{"token 1 for slot 0 is 11", func() ([]float32, error) { return d.Prefill(0, []int32{1, 11}) }},
		{"slot 1 is named twice", func() ([]float32, error) { return d.Step([]int{0, 1, 1}, []int32{1, 1, 1}) }},
		{"1 tokens for 2 slots", func() ([]float32, error) { return d.Step([]int{0, 1}, []int32{1}) }},
	} {
		if _, err := test.call(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	if d.Len(0) != 3 || d.Len(1) != 0 {
		t.Errorf("slots hold %d and %d tokens, want 3 and 0", d.Len(0), d.Len(1))
	}
}
