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

// odd are small models whose sizes fit no vector width.
func odd(change func(*Config)) Config {
	c := Config{
		VocabSize: 11, Hidden: 10, Layers: 2, Heads: 3,
		NopeDim: 5, RopeDim: 4, VDim: 3, KVLoraRank: 6,
		Intermediate: 9, DenseLayers: 2,
		RopeTheta: 50, NormEps: 1e-5, MaxPositions: 300, RoutedScale: 1,
	}
	change(&c)
	return c
}

func experts(c *Config) {
	c.Layers, c.DenseLayers = 3, 1
	c.MoEIntermediate, c.RoutedExperts, c.SharedExperts, c.TopK, c.RoutedScale = 5, 5, 2, 2, 1.7
}

func grouped(c *Config) {
	c.Heads, c.KVHeads = 6, 2
	c.NopeDim, c.RopeDim, c.VDim, c.KVLoraRank = 0, 6, 6, 0
}

var oddModels = []struct {
	name   string
	config Config
}{
	{"dense", odd(func(*Config) {})},
	{"dense q_lora tied", odd(func(c *Config) { c.QLoraRank, c.TieEmbeddings = 7, true })},
	{"multi-head", odd(func(c *Config) { grouped(c); c.KVHeads = c.Heads })},
	{"grouped biased", odd(func(c *Config) { grouped(c); c.QKVBias = true })},
	{"grouped normed", odd(func(c *Config) { grouped(c); c.QKNorm = true })},
	{"grouped tied", odd(func(c *Config) {
		grouped(c)
		c.TieEmbeddings, c.QKVBias, c.QKNorm, c.RopeFactors = true, true, true, true
	})},
	{"moe", odd(experts)},
	{"moe q_lora", odd(func(c *Config) { experts(c); c.QLoraRank = 7; c.DenseLayers, c.TopK = 0, 3 })},
}

// testModel has random router biases and norms as well.
func testModel(t testing.TB, c Config, seed uint64) *Model {
	t.Helper()
	m, err := New(c, seed)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 7))
	for _, s := range m.specs {
		x := s.tensor(m.arena).Data
		for i := range x {
			switch s.kind {
			case KindNorm, kindFixed:
				x[i] = 1 + 0.3*float32(rng.NormFloat64())
			case KindBias, kindLoad:
				x[i] = 0.1 * float32(rng.NormFloat64())
			}
		}
	}
	return m
}

// testBatch packs sequences of the given lengths; a third of the positions has
// no target, but each batch has at least one that has.
func testBatch(c Config, seed uint64, lengths ...int) Batch {
	rng := rand.New(rand.NewPCG(seed, 8))
	var b Batch
	for _, n := range lengths {
		b.Starts = append(b.Starts, len(b.Tokens))
		for range n {
			b.Tokens = append(b.Tokens, int32(rng.IntN(c.VocabSize)))
			y := int32(rng.IntN(c.VocabSize))
			if rng.IntN(3) == 0 {
				y = -1
			}
			b.Targets = append(b.Targets, y)
		}
	}
	b.Targets[len(b.Targets)-1] = 1
	return b
}

func testPool(t testing.TB, threads int) *kernel.Pool {
	t.Helper()
	p := kernel.NewPool(threads)
	t.Cleanup(p.Close)
	return p
}

func TestGradientsAreTheSlopesOfTheFloat64Reference(t *testing.T) {
	for _, test := range oddModels {
		t.Run(test.name, func(t *testing.T) {
			m := testModel(t, test.config, 3)
			b := testBatch(test.config, 4, 5, 1, 6)
			p := NewPass(m, testPool(t, 2), 40)
			p.balance = 0.3
			loss, err := p.Gradients(b)
			if err != nil {
				t.Fatal(err)
			}
			ref := newReference(m, p.balance)
			want, balance := ref.loss(b)
			near(t, "loss", loss, want, 1e-5)
			near(t, "balance loss", p.BalanceLoss(), balance, 1e-5)

			grads := p.Grads()
			for i, param := range m.Parameters() {
				if grads[i].Name != param.Name || len(grads[i].Data) != len(param.Data) {
					t.Fatalf("gradient %d is %s, want that of %s", i, grads[i].Name, param.Name)
				}
				at := slices.IndexFunc(m.specs, func(s spec) bool { return s.name == param.Name })
				checkSlopes(t, ref, b, m.specs[at], grads[i].Data)
			}
		})
	}
}

// checkSlopes compares the gradient of one tensor with central differences at
// up to 150 of its elements.
func checkSlopes(t *testing.T, ref *reference, b Batch, s spec, grad []float32) {
	t.Helper()
	const h = 1e-5
	total := func() float64 { a, b := ref.loss(b); return a + b }
	scale, worst, worstAt := 1e-3, 0.0, 0
	for i := 0; i < len(grad); i += max(1, len(grad)/150) {
		x := &ref.arena[s.at+i]
		was := *x
		*x = was + h
		up := total()
		*x = was - h
		slope := (up - total()) / (2 * h)
		*x = was
		scale = max(scale, math.Abs(slope))
		if d := math.Abs(slope - float64(grad[i])); d > worst {
			worst, worstAt = d, i
		}
	}
	if !(worst <= 3e-5*scale) {
		t.Errorf("gradient of %s: element %d is off by %.3g where gradients reach %.3g", s.name, worstAt, worst, scale)
	}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// Sequences longer than a block of rows and of every kernel's tile, experts with
// more than one task.
func TestLongBatchAgreesWithTheReference(t *testing.T) {
	for _, test := range oddModels {
		t.Run(test.name, func(t *testing.T) {
			m := testModel(t, test.config, 5)
			b := testBatch(test.config, 6, 130, 3, 280)
			p := NewPass(m, testPool(t, 2), 500)
			loss, err := p.Forward(b)
			if err != nil {
				t.Fatal(err)
			}
			want, balance := newReference(m, balanceWeight).loss(b)
			near(t, "loss", loss, want, 1e-5)
			near(t, "balance loss", p.BalanceLoss(), balance, 1e-6)
		})
	}
}

func TestPackingIsInvisible(t *testing.T) {
	for _, test := range oddModels {
		t.Run(test.name, func(t *testing.T) {
			m := testModel(t, test.config, 5)
			b := testBatch(test.config, 6, 100, 1, 37)
			p := NewPass(m, testPool(t, 2), 200)
			packed, err := p.Logits(b)
			if err != nil {
				t.Fatal(err)
			}
			packed = slices.Clone(packed)
			for s := range b.Starts {
				from, to := b.bounds(s)
				alone, err := p.Logits(Batch{Tokens: b.Tokens[from:to], Targets: b.Targets[from:to], Starts: []int{0}})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(alone, packed[:len(alone)]) {
					t.Errorf("sequence %d has other logits alone than packed", s)
				}
				packed = packed[len(alone):]
			}
		})
	}
}

// onEveryPath runs a test with each precision, and products in bfloat16 with
// each kind of instruction that the machine has for them.
func onEveryPath(t *testing.T, test func(t *testing.T, precision kernel.Precision)) {
	t.Run("fp32", func(t *testing.T) { test(t, kernel.F32) })
	was := kernel.Active()
	defer kernel.Use(was)
	for _, isa := range kernel.Available() {
		if err := kernel.Use(isa); err != nil {
			t.Fatal(err)
		}
		if kernel.FastBF16() || isa == was {
			t.Run("bf16 "+isa.String(), func(t *testing.T) { test(t, kernel.BF16) })
		}
	}
}

func TestThreadsDoNotChangeABit(t *testing.T) {
	onEveryPath(t, func(t *testing.T, precision kernel.Precision) {
		for _, test := range oddModels {
			m := testModel(t, test.config, 9)
			b := testBatch(test.config, 10, 101, 40, 150, 60)
			var loss float64
			var grads []float32
			for _, threads := range []int{1, 2, 3, 7} {
				p := NewPassIn(precision, m, testPool(t, threads), 400)
				got, err := p.Gradients(b)
				if err != nil {
					t.Fatal(err)
				}
				if threads == 1 {
					loss, grads = got, p.grad
				} else if got != loss || !slices.Equal(p.grad, grads) {
					t.Errorf("%s: loss or gradients with %d threads differ from those with 1", test.name, threads)
				}
			}
		}
	})
}

// TestRoundedProductsStayClose: bfloat16 has 8 bits of significand, so results
// are off by thousandths, and gradients point the same way.
func TestRoundedProductsStayClose(t *testing.T) {
	onEveryPath(t, func(t *testing.T, precision kernel.Precision) {
		for _, test := range oddModels {
			m := testModel(t, test.config, 9)
			b := testBatch(test.config, 10, 101, 40, 150, 60)
			exact, rounded := NewPass(m, testPool(t, 2), 400), NewPassIn(precision, m, testPool(t, 2), 400)
			want, err := exact.Gradients(b)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rounded.Gradients(b)
			if err != nil {
				t.Fatal(err)
			}
			near(t, test.name+": loss", got, want, 5e-3)
			along := float64(kernel.Dot(exact.grad, rounded.grad))
			cosine := along / math.Sqrt(kernel.SumSquares(exact.grad)*kernel.SumSquares(rounded.grad))
			// A router that chooses another expert for a token sends its gradient
			// there.
			least := 0.999
			if test.config.DenseLayers < test.config.Layers {
				least = 0.98
			}
			if !(cosine >= least) {
				t.Errorf("%s: the cosine of the gradients is %v", test.name, cosine)
			}
			if precision != kernel.F32 && slices.Equal(exact.grad, rounded.grad) {
				t.Errorf("%s: nothing was rounded", test.name)
			}
		}
	})
}

func TestGradientsReplaceOrAdd(t *testing.T) {
	for _, test := range oddModels {
		m := testModel(t, test.config, 9)
		b := testBatch(m.config, 10, 20, 30)
		p := NewPass(m, testPool(t, 2), 300)
		p.head.rows = blockRows
		step := func(b Batch, of func(Batch) (float64, error)) []float32 {
			if _, err := of(b); err != nil {
				t.Fatal(err)
			}
			var all []float32
			for _, g := range p.Grads() {
				all = append(all, g.Data...)
			}
			return all
		}
		for i := range p.grad {
			p.grad[i] = 1
		}
		once := step(b, p.Gradients)
		for i, g := range step(b, p.AddGradients) {
			if math.Abs(float64(g-2*once[i])) > 1e-5 {
				t.Fatalf("%s: added to itself gradient %d is %v, alone %v", test.name, i, g, once[i])
			}
		}
		step(testBatch(m.config, 11, 200), p.Gradients) // in several stretches of the head
		if !slices.Equal(step(b, p.Gradients), once) {
			t.Errorf("%s: other gradients than the first time", test.name)
		}
	}
}

func TestExpertChoicesAreTheLoad(t *testing.T) {
	m := testModel(t, odd(experts), 9)
	p := NewPass(m, testPool(t, 2), 200)
	if _, err := p.Forward(testBatch(m.config, 10, 120, 80)); err != nil {
		t.Fatal(err)
	}
	for layer, choices := range p.ExpertChoices() {
		got := make([]int, len(p.ExpertLoad()[layer]))
		for _, e := range choices {
			got[e]++
		}
		if !slices.Equal(got, p.ExpertLoad()[layer]) {
			t.Errorf("layer %d: choices come to %v, the load is %v", layer, got, p.ExpertLoad()[layer])
		}
	}
}

func TestExpertLoadCountsEveryChoice(t *testing.T) {
	m := testModel(t, odd(experts), 9)
	b := testBatch(m.config, 10, 120, 80)
	p := NewPass(m, testPool(t, 2), 200)
	if _, err := p.Forward(b); err != nil {
		t.Fatal(err)
	}
	for layer, load := range p.ExpertLoad() {
		total := 0
		for _, n := range load {
			total += n
		}
		want := 0
		if m.config.isMoE(layer) {
			want = 200 * m.config.TopK
		}
		if total != want {
			t.Errorf("layer %d: experts got %d tokens together, want %d", layer, total, want)
		}
	}
}

func TestAStepAllocatesNothing(t *testing.T) {
	onEveryPath(t, func(t *testing.T, precision kernel.Precision) {
		for _, test := range oddModels {
			m := testModel(t, test.config, 9)
			b := testBatch(m.config, 10, 120, 80)
			p := NewPassIn(precision, m, testPool(t, 1), 200)
			step := func() {
				if _, err := p.Gradients(b); err != nil {
					t.Fatal(err)
				}
			}
			step()
			if n := testing.AllocsPerRun(5, step); n != 0 {
				t.Errorf("%s: a step allocates %v times", test.name, n)
			}
		}
	})
}

func TestABadBatchIsRefused(t *testing.T) {
	m := testModel(t, odd(func(*Config) {}), 1)
	p := NewPass(m, testPool(t, 1), 400)
	good := func() Batch { return testBatch(m.config, 1, 4, 4) }
	for _, test := range []struct {
		want   string
		change func(*Batch)
	}{
		{"empty", func(b *Batch) { *b = Batch{} }},
		{"401 tokens", func(b *Batch) { *b = testBatch(m.config, 1, 200, 201) }},
		{"positions", func(b *Batch) { *b = testBatch(m.config, 1, 301) }},
		{"7 targets for 8 tokens", func(b *Batch) { b.Targets = b.Targets[1:] }},
		{"does not start at 0", func(b *Batch) { b.Starts[0] = 1 }},
		{"sequence 0 is empty", func(b *Batch) { b.Starts[1] = 0 }},
		{"sequence 1 is empty", func(b *Batch) { b.Starts[1] = 8 }},
		{"token 3 is 11", func(b *Batch) { b.Tokens[3] = 11 }},
		{"token 2 is -1", func(b *Batch) { b.Tokens[2] = -1 }},
		{"target 5 is -2", func(b *Batch) { b.Targets[5] = -2 }},
	} {
		b := good()
		test.change(&b)
		if _, err := p.Forward(b); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	if _, err := p.Forward(good()); err != nil {
		t.Error(err)
	}
}

func TestABatchWithoutTargetsHasNoLossAndNoGradient(t *testing.T) {
	m := testModel(t, odd(func(*Config) {}), 1)
	p := NewPass(m, testPool(t, 1), 8)
	loss, err := p.Gradients(Batch{Tokens: []int32{1, 2}, Targets: []int32{-1, -1}, Starts: []int{0}})
	if err != nil || loss != 0 {
		t.Fatalf("loss %v, error %v; want 0 and none", loss, err)
	}
	if i := slices.IndexFunc(p.grad, func(g float32) bool { return g != 0 }); i >= 0 {
		t.Errorf("gradient %d is %v, want 0", i, p.grad[i])
	}
}

func TestGatePrefersTheLowerOfEqualExperts(t *testing.T) {
	choice, weight := make([]int32, 2), make([]float32, 2)
	gate(choice, weight, []float32{0.2, 0.5, 0.5, 0.5}, []float32{0.4, 0, 0, 0}, 2)
	if fmt.Sprint(choice) != "[0 1]" || math.Abs(float64(weight[0])-2*0.2/0.7) > 1e-6 {
		t.Errorf("chosen %v with weights %v, want [0 1]: the bias chooses, the score weighs", choice, weight)
	}
	nan := float32(math.NaN())
	gate(choice, weight, []float32{nan, nan, nan}, []float32{0, 0, 0}, 1)
	if choice[0] == choice[1] {
		t.Errorf("a diverged router chooses %v, one expert twice", choice)
	}
}
