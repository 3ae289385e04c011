package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"retort/internal/kernel"
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

// step appends a sampled token to a slot.
func step(d *Decoder, slot int, token int32) ([]float32, error) {
	return d.Read([]Chunk{{Slot: slot, Tokens: []int32{token}}})
}

func TestDecoderAgreesWithTheTrainingPassAtEveryPosition(t *testing.T) {
	for _, test := range oddModels {
		t.Run(test.name, func(t *testing.T) {
			m := testModel(t, test.config, 21)
			v := m.config.VocabSize
			tokens := testBatch(m.config, 22, 120).Tokens
			want := everyLogit(t, m, tokens)
			d := NewDecoder(m, testPool(t, 2), DecoderOptions{Slots: 3, MaxContext: 120})
			logits := must(t)(d.Prefill(1, tokens[:1]))
			for i := range tokens {
				if i > 0 {
					logits = must(t)(step(d, 1, tokens[i]))
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

func onEveryKernel(t *testing.T, test func(t *testing.T)) {
	was := kernel.Active()
	defer kernel.Use(was)
	for _, isa := range kernel.Available() {
		if err := kernel.Use(isa); err != nil {
			t.Fatal(err)
		}
		t.Run(isa.String(), test)
	}
}

// One prompt is read and continued alone, and again in pieces, among other prompts
// that are read and continued at the same time.
func TestOtherSlotsDoNotChangeABit(t *testing.T) {
	onEveryKernel(t, func(t *testing.T) {
		for _, test := range decodable(t) {
			t.Run(test.name, func(t *testing.T) {
				v := test.config.VocabSize
				tokens := testBatch(test.config, 24, 250).Tokens
				const prompt = 230
				alone := test.decoder(t, testPool(t, 1), DecoderOptions{MaxContext: 300})
				want := slices.Clone(must(t)(alone.Read([]Chunk{{Tokens: tokens[:prompt], Prompt: true, Wanted: EveryLogits}})))
				for i := prompt; i < len(tokens); i++ {
					want = append(want, must(t)(step(alone, 0, tokens[i]))...)
				}

				rng := rand.New(rand.NewPCG(1, 2))
				d := test.decoder(t, testPool(t, 3), DecoderOptions{Slots: 9, MaxContext: 300})
				others := testBatch(test.config, 5, 300).Tokens
				for at := 0; at < len(tokens); {
					n := 1
					if at < prompt {
						n = min(1+rng.IntN(120), prompt-at)
					}
					chunks := []Chunk{{Slot: 1, Tokens: tokens[at : at+n], Prompt: at < prompt, Wanted: EveryLogits}}
					for _, i := range rng.Perm(9)[:rng.IntN(9)] {
						if i == 1 {
							continue
						}
						if d.Len(i) > 200 {
							d.Reset(i)
						}
						more := 1
						if rng.IntN(2) == 0 {
							more = 1 + rng.IntN(40)
						}
						chunks = append(chunks, Chunk{Slot: i, Tokens: others[d.Len(i) : d.Len(i)+more], Prompt: rng.IntN(2) == 0, Wanted: NoLogits})
					}
					logits := must(t)(d.Read(chunks))
					equalBits(t, fmt.Sprintf("tokens %d to %d", at, at+n), logits, want[at*v:(at+n)*v])
					at += n
				}
			})
		}
	})
}

// A prompt whose beginning another sequence has read is read from there on, to
// the same bits.
func TestBeginningsAreShared(t *testing.T) {
	for _, test := range oddModels {
		m := testModel(t, test.config, 27)
		tokens := testBatch(m.config, 28, 150).Tokens
		d := NewDecoder(m, testPool(t, 2), DecoderOptions{Slots: 3, MaxContext: 200})
		if shared, ok := d.Begin(0, 0, tokens, 160); shared != 0 || !ok {
			t.Fatalf("the first begins with %d shared tokens, %v", shared, ok)
		}
		want := slices.Clone(must(t)(d.Prefill(0, tokens)))
		for _, reset := range []bool{false, true} {
			if reset {
				d.Reset(0)
			}
			shared, ok := d.Begin(1, 0, tokens, 160)
			if shared != 4*pageTokens || !ok {
				t.Fatalf("%d tokens are shared, want 128", shared)
			}
			equalBits(t, "shared", must(t)(d.Prefill(1, tokens[shared:])), want)
			d.Reset(1)
		}
		// Whole pages alone, never all of a prompt.
		if shared, _ := d.Begin(1, 0, tokens[:64], 64); shared != 32 {
			t.Errorf("of 64 tokens %d are shared, want 32", shared)
		}
		d.Reset(1)
		// What was sampled is not shared: it was read in another form.
		must(t)(d.Prefill(2, tokens[:40]))
		for _, x := range tokens[40:70] {
			must(t)(step(d, 2, x))
		}
		other := slices.Clone(tokens)
		other[35]++
		other[35] %= int32(m.config.VocabSize)
		if shared, _ := d.Begin(1, 0, other, 160); shared != 32 {
			t.Errorf("beside another second page %d tokens are shared, want 32", shared)
		}
	}
}

func TestTheCacheIsGivenBack(t *testing.T) {
	m := testModel(t, odd(func(*Config) {}), 1)
	rng := rand.New(rand.NewPCG(3, 4))
	const pages = 12
	d := NewDecoder(m, testPool(t, 1), DecoderOptions{Slots: 6, MaxContext: 4 * pageTokens, CacheTokens: pages * pageTokens})
	alone := NewDecoder(m, testPool(t, 1), DecoderOptions{MaxContext: 4 * pageTokens})
	prompts := make([][]int32, 8)
	for i := range prompts {
		prompts[i] = testBatch(m.config, uint64(i%3), 100).Tokens[:40+rng.IntN(60)]
	}
	refused := 0
	for range 300 {
		slot := rng.IntN(6)
		if d.Len(slot) > 0 {
			d.Reset(slot)
			continue
		}
		prompt := prompts[rng.IntN(len(prompts))]
		shared, ok := d.Begin(slot, 0, prompt, len(prompt)+20)
		if !ok {
			refused++
			continue
		}
		got := slices.Clone(must(t)(d.Prefill(slot, prompt[shared:])))
		alone.Reset(0)
		equalBits(t, "prompt", got, must(t)(alone.Prefill(0, prompt)))
		for i := range 20 {
			must(t)(step(d, slot, int32(i%m.config.VocabSize)))
		}
		u := d.CacheUse()
		if u.Total != pages*pageTokens || u.Promised < 0 || u.Used+u.Kept+u.Promised > u.Total {
			t.Fatalf("the cache says %+v", u)
		}
	}
	if refused == 0 {
		t.Error("the cache was never full")
	}
	for i := range 6 {
		d.Reset(i)
	}
	if u := d.CacheUse(); u.Used != 0 || u.Promised != 0 {
		t.Errorf("after all slots were reset the cache says %+v", u)
	}
}

func TestWeightFormatsStayNearFloat32(t *testing.T) {
	for _, test := range oddModels {
		m := testModel(t, test.config, 31)
		tokens := testBatch(m.config, 32, 60).Tokens
		read := func(f kernel.Format) ([]float32, int) {
			d := NewDecoder(m, testPool(t, 2), DecoderOptions{MaxContext: 100, Format: f})
			logits := slices.Clone(must(t)(d.Read([]Chunk{{Tokens: tokens[:50], Prompt: true, Wanted: EveryLogits}})))
			for _, x := range tokens[50:] {
				logits = append(logits, must(t)(step(d, 0, x))...)
			}
			return logits, d.WeightBytes()
		}
		want, size := read(kernel.FormatFP32)
		for f, most := range map[kernel.Format]float64{kernel.FormatBF16: 0.03, kernel.FormatInt8: 0.06} {
			got, smaller := read(f)
			if smaller >= size {
				t.Errorf("%s: %v takes %d bytes, float32 %d", test.name, f, smaller, size)
			}
			sum, all := 0.0, 0.0
			for i := range got {
				sum += math.Pow(float64(got[i]-want[i]), 2)
				all += math.Pow(float64(want[i]), 2)
			}
			if test.config.DenseLayers < test.config.Layers {
				most = 0.2 // a router of random weights makes another choice of rounding
			}
			if off := math.Sqrt(sum / all); !(off < most) || off == 0 {
				t.Errorf("%s: logits in %v are off by %v of their size, want at most %v", test.name, f, off, most)
			}
		}
	}
}

func equalBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: logits %v beside other slots, %v alone", what, got, want)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	for _, test := range decodable(t) {
		d := test.decoder(t, testPool(t, 2), DecoderOptions{Slots: 4, MaxContext: 300})
		prompt := testBatch(test.config, 26, 40).Tokens
		next := []int32{1, 2, 3}
		chunks := make([]Chunk, 3)
		round := func() {
			for i, s := range []int{2, 0, 3} {
				d.Reset(s)
				shared, ok := d.Begin(s, 0, prompt, 100)
				if !ok {
					t.Fatal("no room")
				}
				chunks[i] = Chunk{Slot: s, Tokens: prompt[shared:], Prompt: true}
			}
			for range 6 {
				if _, err := d.Read(chunks); err != nil {
					t.Fatal(err)
				}
				for i := range chunks {
					chunks[i] = Chunk{Slot: chunks[i].Slot, Tokens: next[i : i+1]}
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
	d := NewDecoder(m, testPool(t, 1), DecoderOptions{Slots: 3, MaxContext: 40, CacheTokens: 64})
	must(t)(d.Prefill(0, []int32{1, 2, 3}))
	for _, test := range []struct {
		want   string
		chunks []Chunk
	}{
		{"slot 3 is not in 0..2", []Chunk{{Slot: 3, Tokens: []int32{1}}}},
		{"slot -1", []Chunk{{Slot: -1, Tokens: []int32{1}}}},
		{"given no tokens", []Chunk{{Slot: 1}}},
		{"41 tokens, more than the context of 40", []Chunk{{Tokens: make([]int32, 38)}}},
		{"token 1 for slot 0 is 11", []Chunk{{Tokens: []int32{1, 11}, Prompt: true}}},
		{"slot 1 is named twice", []Chunk{{Tokens: []int32{1}}, {Slot: 1, Tokens: []int32{1}}, {Slot: 1, Tokens: []int32{1}}}},
		{"slot 2: the cache is full", []Chunk{{Slot: 1, Tokens: []int32{1}}, {Slot: 2, Tokens: []int32{1}}}},
	} {
		if _, err := d.Read(test.chunks); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	if d.Len(0) != 3 || d.Len(1) != 0 {
		t.Errorf("slots hold %d and %d tokens, want 3 and 0", d.Len(0), d.Len(1))
	}
}
