package model

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// groupedOdd is a small model with grouped queries, biases and norms.
func groupedOdd() Config {
	return odd(func(c *Config) { grouped(c); c.QKVBias, c.QKNorm = true, true })
}

// A sequence with an adapter is continued as the model that it is merged into.
func TestDecodingWithAnAdapterIsDecodingTheMergedModel(t *testing.T) {
	for _, l := range []LoRA{
		{Rank: 3, Alpha: 6},
		{Rank: 1, Alpha: 1, Targets: []string{"q_proj", "v_proj"}},
		{Rank: 4, Alpha: 2, Targets: []string{"k_proj", "up_proj"}},
		{Rank: 2, Alpha: 2, Targets: []string{"gate_proj", "down_proj", "o_proj"}},
	} {
		m := testModel(t, groupedOdd(), 3)
		a := testAdapter(t, m.config, l)
		merged := m.Clone()
		if err := a.Merge(merged); err != nil {
			t.Fatal(err)
		}
		tokens := testBatch(m.config, 4, 90).Tokens
		want := NewDecoder(merged, testPool(t, 1), DecoderOptions{})
		got := NewDecoder(m, testPool(t, 2), DecoderOptions{Adapters: []*Adapter{testAdapter(t, m.config, LoRA{Rank: 5, Alpha: 1}), a}})
		if _, ok := got.Begin(0, 2, nil, 90); !ok {
			t.Fatal("there is no room")
		}
		close := func(at int, x, y []float32) {
			t.Helper()
			for i := range y {
				if d := math.Abs(float64(x[i] - y[i])); !(d < 2e-4) {
					t.Fatalf("%v, token %d: logit %d is %v, want %v", l, at, i, x[i], y[i])
				}
			}
		}
		close(60, must(t)(got.Prefill(0, tokens[:60])), must(t)(want.Prefill(0, tokens[:60])))
		for i, x := range tokens[60:] {
			close(60+i, must(t)(step(got, 0, x)), must(t)(step(want, 0, x)))
		}
	}
}

// What a sequence is told does not depend, to the bit, on sequences beside it that
// have other adapters or none, and it shares no beginning with them.
func TestSequencesWithDifferentAdaptersSideBySide(t *testing.T) {
	m := testModel(t, groupedOdd(), 3)
	adapters := []*Adapter{testAdapter(t, m.config, LoRA{Rank: 2, Alpha: 3}), testAdapter(t, m.config, LoRA{Rank: 5, Alpha: 2, Targets: []string{"q_proj", "down_proj"}})}
	tokens := testBatch(m.config, 4, 90).Tokens
	const prompt = 70
	var alone [3][]float32
	for a := range alone {
		d := NewDecoder(m, testPool(t, 1), DecoderOptions{Adapters: adapters})
		d.Begin(0, a, nil, 90)
		alone[a] = slices.Clone(must(t)(d.Prefill(0, tokens[:prompt])))
		for _, x := range tokens[prompt:] {
			alone[a] = append(alone[a], must(t)(step(d, 0, x))...)
		}
	}
	v := m.config.VocabSize
	d := NewDecoder(m, testPool(t, 3), DecoderOptions{Slots: 7, Adapters: adapters})
	order := []int{1, 0, 0, 2, 2, 1, 0}
	for slot, a := range order {
		shared, ok := d.Begin(slot, a, tokens[:prompt], 90)
		want := 0
		if slices.Index(order, a) < slot { // another has read it
			want = 64
		}
		if !ok || shared != want {
			t.Fatalf("slot %d with adapter %d shares %d tokens, want %d", slot, a, shared, want)
		}
		equalBits(t, fmt.Sprint("prompt of slot ", slot), must(t)(d.Prefill(slot, tokens[shared:prompt])), alone[a][:v])
	}
	for i, x := range tokens[prompt:] {
		var chunks []Chunk
		for slot := range order {
			chunks = append(chunks, Chunk{Slot: slot, Tokens: []int32{x}})
		}
		logits := must(t)(d.Read(chunks))
		for slot, a := range order {
			equalBits(t, fmt.Sprintf("token %d of slot %d", prompt+i, slot), logits[slot*v:(slot+1)*v], alone[a][(i+1)*v:(i+2)*v])
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		d.Reset(0)
		d.Begin(0, 1, nil, 90)
		must(t)(d.Read([]Chunk{{Slot: 0, Tokens: tokens[:1]}}))
	}); n > 1 { // the chunks themselves
		t.Errorf("a step allocates %v times", n)
	}
}
