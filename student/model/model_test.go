package model

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestPresetsHaveTheSameActiveSize(t *testing.T) {
	dense, err := Preset("tiny-dense", 300)
	if err != nil {
		t.Fatal(err)
	}
	moe, err := Preset("tiny-moe", 300)
	if err != nil {
		t.Fatal(err)
	}
	_, a := dense.Params()
	total, b := moe.Params()
	routers := int64(3 * 16 * (128 + 1))
	if b-routers != a || total < 2*b {
		t.Errorf("dense %d active, experts %d active (routers %d) of %d", a, b, routers, total)
	}
	if _, err := Preset("huge", 300); err == nil || !strings.Contains(err.Error(), "tiny-moe") {
		t.Errorf("an unknown preset gives %v, want an error that lists those that exist", err)
	}
	if _, err := Preset("tiny", 0); err == nil || !strings.Contains(err.Error(), "vocab_size 0") {
		t.Errorf("an empty vocabulary gives %v", err)
	}
}

func TestParamsCountTheTensors(t *testing.T) {
	for _, test := range oddModels {
		m := testModel(t, test.config, 1)
		n := int64(0)
		for _, tensor := range m.Tensors() {
			n += int64(len(tensor.Data))
		}
		total, active := test.config.Params()
		moe := int64(test.config.Layers - test.config.DenseLayers)
		idle := moe * int64(test.config.RoutedExperts-test.config.TopK) * 3 * int64(test.config.MoEIntermediate*test.config.Hidden)
		if total != n || active != n-idle {
			t.Errorf("%s: Params says %d and %d, the tensors hold %d, of which %d are idle for a token", test.name, total, active, n, idle)
		}
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		want   string
		change func(*Config)
	}{
		{"hidden_size 0", func(c *Config) { c.Hidden = 0 }},
		{"vocab_size -1", func(c *Config) { c.VocabSize = -1 }},
		{"num_hidden_layers 0", func(c *Config) { c.Layers = 0 }},
		{"qk_rope_head_dim 5 is odd", func(c *Config) { c.RopeDim = 5 }},
		{"q_lora_rank -1", func(c *Config) { c.QLoraRank = -1 }},
		{"first_k_dense_replace 4 is not in 0..3", func(c *Config) { c.DenseLayers = 4 }},
		{"n_routed_experts 1", func(c *Config) { c.RoutedExperts = 1 }},
		{"n_shared_experts 0", func(c *Config) { c.SharedExperts = 0 }},
		{"num_experts_per_tok 6 is not in 1..5", func(c *Config) { c.TopK = 6 }},
		{"rope_theta NaN", func(c *Config) { c.RopeTheta = math.NaN() }},
		{"rms_norm_eps 0", func(c *Config) { c.NormEps = 0 }},
		{"routed_scaling_factor +Inf", func(c *Config) { c.RoutedScale = math.Inf(1) }},
		{"max_position_embeddings 0", func(c *Config) { c.MaxPositions = 0 }},
		{"num_key_value_heads 4 does not divide", func(c *Config) { grouped(c); c.KVHeads = 4 }},
		{"all rotated, not 2 + 6 and 6", func(c *Config) { grouped(c); c.NopeDim = 2 }},
		{"has no latents, not 3 and 0", func(c *Config) { grouped(c); c.KVLoraRank = 3 }},
		{"need num_key_value_heads", func(c *Config) { c.QKNorm = true }},
		{"parameters are more", func(c *Config) { c.Hidden, c.VocabSize = 1<<20, 1<<20 }},
	} {
		c := odd(experts)
		test.change(&c)
		if _, err := New(c, 1); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	c := odd(experts)
	c.DenseLayers, c.RoutedExperts, c.TopK = c.Layers, 0, 0
	if err := c.Validate(); err != nil {
		t.Errorf("a dense model needs no experts: %v", err)
	}
}

func TestTensorsAreThoseOfTheCheckpoint(t *testing.T) {
	m := testModel(t, odd(func(c *Config) { experts(c); c.Layers, c.DenseLayers, c.QLoraRank = 2, 1, 7 }), 1)
	shapes := map[string][]int{}
	for _, tensor := range m.Tensors() {
		shapes[tensor.Name] = tensor.Shape
	}
	for name, shape := range map[string][]int{
		"model.embed_tokens.weight":                          {11, 10},
		"model.layers.0.input_layernorm.weight":              {10},
		"model.layers.0.self_attn.q_a_proj.weight":           {7, 10},
		"model.layers.0.self_attn.q_a_layernorm.weight":      {7},
		"model.layers.0.self_attn.q_b_proj.weight":           {27, 7},
		"model.layers.0.self_attn.kv_a_proj_with_mqa.weight": {10, 10},
		"model.layers.0.self_attn.kv_a_layernorm.weight":     {6},
		"model.layers.0.self_attn.kv_b_proj.weight":          {24, 6},
		"model.layers.0.self_attn.o_proj.weight":             {10, 9},
		"model.layers.0.post_attention_layernorm.weight":     {10},
		"model.layers.0.mlp.gate_proj.weight":                {9, 10},
		"model.layers.0.mlp.up_proj.weight":                  {9, 10},
		"model.layers.0.mlp.down_proj.weight":                {10, 9},
		"model.layers.1.mlp.gate.weight":                     {5, 10},
		"model.layers.1.mlp.gate.e_score_correction_bias":    {5},
		"model.layers.1.mlp.experts.4.gate_proj.weight":      {5, 10},
		"model.layers.1.mlp.experts.4.up_proj.weight":        {5, 10},
		"model.layers.1.mlp.experts.4.down_proj.weight":      {10, 5},
		"model.layers.1.mlp.shared_experts.gate_proj.weight": {10, 10},
		"model.layers.1.mlp.shared_experts.down_proj.weight": {10, 10},
		"model.norm.weight":                                  {10},
		"lm_head.weight":                                     {11, 10},
	} {
		if !slices.Equal(shapes[name], shape) {
			t.Errorf("%s has shape %v, want %v", name, shapes[name], shape)
		}
	}
	if len(shapes) != 3+2*9+3+2+5*3+3 {
		t.Errorf("the model has %d tensors", len(shapes))
	}
}

func TestFromTensorsRestoresAModel(t *testing.T) {
	m := testModel(t, odd(experts), 1)
	stored := map[string][]float32{}
	for _, tensor := range m.Tensors() {
		stored[tensor.Name] = slices.Clone(tensor.Data)
	}
	load := func(name string, _ []int, dst []float32) error { copy(dst, stored[name]); return nil }
	got, err := FromTensors(m.config, load)
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash() != m.Hash() {
		t.Error("the restored model has another hash")
	}
	gone := errors.New("not in the file")
	if _, err := FromTensors(m.config, func(string, []int, []float32) error { return gone }); !errors.Is(err, gone) || !strings.Contains(err.Error(), "model.embed_tokens.weight") {
		t.Errorf("error is %v, want one that names the tensor and wraps the cause", err)
	}
	stored["model.norm.weight"][3] = float32(math.NaN())
	if _, err := FromTensors(m.config, load); err == nil || !strings.Contains(err.Error(), "model.norm.weight: element 3 is NaN") {
		t.Errorf("a damaged tensor gives %v", err)
	}
}

func TestHashCoversEveryWeightAndTheConfiguration(t *testing.T) {
	m := testModel(t, odd(experts), 1)
	was := m.Hash()
	if again := testModel(t, odd(experts), 1).Hash(); again != was {
		t.Error("the same seed gives another model")
	}
	if other := testModel(t, odd(experts), 2).Hash(); other == was {
		t.Error("another seed gives the same model")
	}
	c := m.Clone()
	for _, tensor := range c.Tensors() {
		x := &tensor.Data[len(tensor.Data)-1]
		old := *x
		*x += 0.5
		if c.Hash() == was {
			t.Errorf("%s is not covered", tensor.Name)
		}
		*x = old
	}
	if c.Hash() != was || m.Hash() != was {
		t.Error("a clone differs from its model or shares its weights")
	}
	c.config.RopeTheta++
	if c.Hash() == was {
		t.Error("the configuration is not covered")
	}
}

func TestInitialWeightsKeepTheStreamsSize(t *testing.T) {
	c, err := Preset("tiny-moe", 500)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Parameters() {
		if p.Kind == KindNorm {
			continue
		}
		square := 0.0
		for _, v := range p.Data {
			square += float64(v) * float64(v)
		}
		gain, want := square/float64(len(p.Data))*float64(p.Shape[1]), 1.0
		if strings.HasSuffix(p.Name, ".o_proj.weight") || strings.HasSuffix(p.Name, ".down_proj.weight") {
			want = 1.0 / 8 // what 4 layers write in 2 places
		}
		if math.Abs(gain/want-1) > 0.1 {
			t.Errorf("%s (%v) has gain %v, want %v", p.Name, p.Kind, gain, want)
		}
	}
}

func TestRouterBiasMovesTowardsEqualLoad(t *testing.T) {
	m := testModel(t, odd(experts), 1)
	was := slices.Clone(m.w.layer[1].bias)
	if err := m.UpdateRouterBias([][]int{nil, {10, 0, 5, 4, 6}, {5, 5, 5, 5, 5}}); err != nil {
		t.Fatal(err)
	}
	for e, step := range []float32{-biasStep, biasStep, 0, biasStep, -biasStep} {
		if got := m.w.layer[1].bias[e]; got != was[e]+step {
			t.Errorf("bias of expert %d moved from %v to %v, want a step of %v", e, was[e], got, step)
		}
	}
	if err := m.UpdateRouterBias([][]int{nil, {1}, nil}); err == nil || !strings.Contains(err.Error(), "layer 1: loads of 1 experts, want 5") {
		t.Errorf("loads that do not fit give %v", err)
	}
	for _, p := range m.Parameters() {
		if strings.Contains(p.Name, "bias") {
			t.Errorf("%s is offered for training by gradient", p.Name)
		}
	}
}

func TestEachTensorIsDrawnFromItsOwnStream(t *testing.T) {
	m, err := New(odd(func(*Config) {}), 1)
	if err != nil {
		t.Fatal(err)
	}
	first := map[float32]string{}
	for _, p := range m.Parameters() {
		if p.Kind == KindNorm {
			continue
		}
		// Tensors of one width would begin with the same number.
		unit := p.Data[0] * float32(math.Sqrt(float64(p.Shape[1])))
		if other, seen := first[unit]; seen {
			t.Errorf("%s begins like %s", p.Name, other)
		}
		first[unit] = p.Name
	}
}

func TestTheFirstPositionIsNotRotated(t *testing.T) {
	table := newRopeTable(odd(func(*Config) {}), nil, 2)
	cos, sin := table.at(0)
	if !slices.Equal(cos, []float32{1, 1}) || !slices.Equal(sin, []float32{0, 0}) {
		t.Errorf("position 0 has cosines %v and sines %v", cos, sin)
	}
	// Frequencies are 1 and 50^-½.
	cos, _ = table.at(1)
	if math.Abs(float64(cos[0])-math.Cos(1)) > 1e-6 || math.Abs(float64(cos[1])-math.Cos(1/math.Sqrt(50))) > 1e-6 {
		t.Errorf("position 1 has cosines %v", cos)
	}
}
