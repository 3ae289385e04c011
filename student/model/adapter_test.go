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

// testAdapter has a B that is not 0.
func testAdapter(t testing.TB, c Config, l LoRA) *Adapter {
	t.Helper()
	a, err := NewAdapter(c, l, 5)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, p := range a.Parameters() {
		for i := range p.Data {
			p.Data[i] += 0.2 * float32(rng.NormFloat64())
		}
	}
	return a
}

func adapterPass(t testing.TB, precision kernel.Precision, m *Model, a *Adapter, pool *kernel.Pool, tokens int) *Pass {
	t.Helper()
	f, err := NewFrozen(precision, m, pool)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewAdapterPass(f, a, pool, tokens)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// adapted is the reference of a model with an adapter, of which the i-th element of
// one matrix is changed by step.
func adapted(m *Model, a *Adapter, name string, element int, step float64) *reference {
	r := newReference(m, 0)
	byName := map[string][]float64{}
	for _, p := range a.Parameters() {
		x := make([]float64, len(p.Data))
		for i, v := range p.Data {
			x[i] = float64(v)
		}
		if p.Name == name {
			x[element] += step
		}
		byName[p.Name] = x
	}
	rank, scale := a.lora.Rank, a.lora.Alpha/float64(a.lora.Rank)
	for _, s := range m.specs {
		stem := "base_model.model." + strings.TrimSuffix(s.name, "weight")
		low, high := byName[stem+"lora_A.weight"], byName[stem+"lora_B.weight"]
		if low == nil {
			continue
		}
		rows, cols := s.shape[0], s.shape[1]
		for i := range rows {
			for j := range cols {
				for k := range rank {
					r.arena[s.at+i*cols+j] += scale * high[i*rank+k] * low[k*cols+j]
				}
			}
		}
	}
	return r
}

var adaptedModels = []struct {
	name   string
	config Config
	lora   LoRA
}{
	{"latent", odd(func(c *Config) { c.QLoraRank = 7 }), LoRA{Rank: 3, Alpha: 5}},
	{"latent in part", odd(func(*Config) {}), LoRA{Rank: 2, Alpha: 1, Targets: []string{"kv_a_proj_with_mqa", "up_proj"}}},
	{"grouped", odd(func(c *Config) { grouped(c); c.QKVBias, c.TieEmbeddings = true, true }), LoRA{Rank: 4, Alpha: 8}},
	{"grouped in part", odd(func(c *Config) { grouped(c); c.QKNorm = true }), LoRA{Rank: 1, Alpha: 2, Targets: []string{"q_proj", "v_proj", "down_proj"}}},
}

func TestAdapterGradientsAreTheSlopesOfTheFloat64Reference(t *testing.T) {
	for _, test := range adaptedModels {
		t.Run(test.name, func(t *testing.T) {
			m, a := testModel(t, test.config, 3), testAdapter(t, test.config, test.lora)
			b := testBatch(test.config, 4, 5, 1, 6)
			p := adapterPass(t, kernel.F32, m, a, testPool(t, 2), 40)
			loss, err := p.Gradients(b)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := adapted(m, a, "", 0, 0).loss(b)
			near(t, "loss", loss, want, 1e-5)
			grads, seen := p.Grads(), 0
			for i, param := range a.Parameters() {
				g := grads[i]
				if g.Name != param.Name || len(g.Data) != len(param.Data) {
					t.Fatalf("gradient %d is %s, want that of %s", i, g.Name, param.Name)
				}
				for j := 0; j < len(g.Data); j += 1 + len(g.Data)/7 {
					const step = 1e-5
					up, _ := adapted(m, a, param.Name, j, step).loss(b)
					down, _ := adapted(m, a, param.Name, j, -step).loss(b)
					if slope := (up - down) / (2 * step); math.Abs(slope-float64(g.Data[j])) > 1e-4*(1+math.Abs(slope)) {
						t.Fatalf("%s: gradient of element %d is %v, want %v", param.Name, j, g.Data[j], slope)
					}
					seen++
				}
			}
			if seen < 40 {
				t.Errorf("only %d elements were looked at", seen)
			}
		})
	}
}

func TestAMergedAdapterIsTheAdapter(t *testing.T) {
	for _, test := range adaptedModels {
		m, a := testModel(t, test.config, 3), testAdapter(t, test.config, test.lora)
		b := testBatch(test.config, 4, 100, 7)
		pool := testPool(t, 2)
		want, err := adapterPass(t, kernel.F32, m, a, pool, 200).Forward(b)
		if err != nil {
			t.Fatal(err)
		}
		before, err := NewPass(m, pool, 200).Forward(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Merge(m); err != nil {
			t.Fatal(err)
		}
		got, err := NewPass(m, pool, 200).Forward(b)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got-want) > 1e-5 || math.Abs(before-want) < 1e-3 {
			t.Errorf("%s: the loss is %v without the adapter, %v with it and %v where it is merged", test.name, before, want, got)
		}
	}
}

func TestANewAdapterChangesNothing(t *testing.T) {
	c := adaptedModels[2].config
	m := testModel(t, c, 3)
	a, err := NewAdapter(c, LoRA{Rank: 4, Alpha: 8}, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, pool := testBatch(c, 4, 30), testPool(t, 2)
	with, err := adapterPass(t, kernel.F32, m, a, pool, 40).Forward(b)
	if err != nil {
		t.Fatal(err)
	}
	if without, _ := NewPass(m, pool, 40).Forward(b); with != without {
		t.Errorf("the loss is %v with the adapter and %v without", with, without)
	}
	for _, p := range a.Parameters() {
		sum := 0.0
		for _, v := range p.Data {
			sum += math.Abs(float64(v))
		}
		if low := strings.Contains(p.Name, "lora_A"); low != (sum > 0) {
			t.Errorf("%s begins with a sum of %v", p.Name, sum)
		}
	}
}

func TestAnAdapterStepAllocatesNothing(t *testing.T) {
	c := adaptedModels[2].config
	m, a := testModel(t, c, 3), testAdapter(t, c, LoRA{Rank: 4, Alpha: 8})
	for _, precision := range []kernel.Precision{kernel.F32, kernel.BF16} {
		p, b := adapterPass(t, precision, m, a, testPool(t, 2), 40), testBatch(c, 4, 30)
		if n := testing.AllocsPerRun(5, func() { p.Gradients(b) }); n != 0 {
			t.Errorf("a step in %v allocates %v times", precision, n)
		}
	}
}

func TestAdapterThreadsDoNotChangeABit(t *testing.T) {
	c := adaptedModels[2].config
	m, a := testModel(t, c, 3), testAdapter(t, c, LoRA{Rank: 4, Alpha: 8})
	b := testBatch(c, 4, 150, 90, 33)
	var want string
	for _, threads := range []int{1, 2, 3} {
		p := adapterPass(t, kernel.F32, m, a, testPool(t, threads), 300)
		if _, err := p.Gradients(b); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(p.Grads())
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%d threads give other gradients than one", threads)
		}
	}
}

func TestImpossibleAdaptersAreRefused(t *testing.T) {
	for _, test := range []struct {
		want   string
		config Config
		lora   LoRA
	}{
		{"rank 0", odd(func(*Config) {}), LoRA{Alpha: 1}},
		{"alpha NaN", odd(func(*Config) {}), LoRA{Rank: 1, Alpha: math.NaN()}},
		{`no projection "k_proj"`, odd(func(*Config) {}), LoRA{Rank: 1, Alpha: 1, Targets: []string{"k_proj"}}},
		{"mixture of experts", odd(experts), LoRA{Rank: 1, Alpha: 1}},
		{"hidden_size 0", odd(func(c *Config) { c.Hidden = 0 }), LoRA{Rank: 1, Alpha: 1}},
	} {
		if _, err := NewAdapter(test.config, test.lora, 1); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	a := testAdapter(t, odd(func(*Config) {}), LoRA{Rank: 1, Alpha: 1})
	if err := a.Merge(testModel(t, odd(grouped), 1)); err == nil || !strings.Contains(err.Error(), "another configuration") {
		t.Errorf("merging into another model gives %v", err)
	}
	f, err := NewFrozen(kernel.F32, testModel(t, odd(grouped), 1), testPool(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewAdapterPass(f, a, testPool(t, 1), 10); err == nil {
		t.Error("a pass takes an adapter of another model")
	}
}

// With dropout the gradient is the slope of the loss in which the same is dropped, the
// same bits on any number of threads, and nothing is dropped where no draw is named.
func TestAdapterGradientsWithDropout(t *testing.T) {
	for _, test := range adaptedModels {
		t.Run(test.name, func(t *testing.T) {
			l := test.lora
			l.Dropout = 0.3
			m, a := testModel(t, test.config, 3), testAdapter(t, test.config, l)
			b := testBatch(test.config, 4, 60, 31, 90)
			p := adapterPass(t, kernel.F32, m, a, testPool(t, 2), 200)
			loss := func(p *Pass, draw uint64) float64 {
				b.Draw = draw
				v, err := p.Forward(b)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			whole, one, two := loss(p, 0), loss(p, 1), loss(p, 2)
			plain := loss(adapterPass(t, kernel.F32, m, testAdapter(t, test.config, test.lora), testPool(t, 2), 200), 1)
			if whole != plain {
				t.Errorf("without a draw the loss is %v, without dropout %v", whole, plain)
			}
			if one == two || one == whole {
				t.Errorf("losses %v, %v and %v of two draws and none", one, two, whole)
			}
			b.Draw = 1
			got, err := p.Gradients(b)
			if err != nil || got != one {
				t.Fatalf("the loss is %v and %v (%v)", one, got, err)
			}
			serial := adapterPass(t, kernel.F32, m, a, testPool(t, 1), 200)
			if _, err := serial.Gradients(b); err != nil {
				t.Fatal(err)
			}
			for i, param := range a.Parameters() {
				g := slices.Clone(p.Grads()[i].Data)
				if !slices.Equal(g, serial.Grads()[i].Data) {
					t.Errorf("%s: other bits on one thread", param.Name)
				}
				norm := math.Sqrt(kernel.SumSquares(g))
				before, step := slices.Clone(param.Data), 1e-3/norm
				at := func(h float64) float64 {
					for j := range g {
						param.Data[j] = before[j] + float32(h*float64(g[j]))
					}
					return loss(p, 1)
				}
				slope := (at(step) - at(-step)) / (2 * step)
				copy(param.Data, before)
				if math.Abs(slope-norm*norm) > 0.02*norm*norm+2e-4*norm {
					t.Errorf("%s: along its gradient the loss rises by %v, want %v", param.Name, slope, norm*norm)
				}
			}
		})
	}
}
