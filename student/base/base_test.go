package base

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"retort/internal/modelfile"
	"retort/student/model"
	"retort/student/tokenizer"
)

// kinds are small models of each architecture, and the config.json and GGUF family
// that say so.
var kinds = []struct {
	arch, family string
	halves       bool // in GGUF
	config       model.Config
	also         map[string]any
}{
	{"LlamaForCausalLM", "llama", false, config(func(*model.Config) {}), map[string]any{"head_dim": 6}},
	{"Qwen2ForCausalLM", "qwen2", true, config(func(c *model.Config) {
		c.QKVBias, c.Hidden, c.Heads, c.KVHeads, c.RopeDim, c.VDim = true, 20, 5, 5, 4, 4
	}), map[string]any{"use_sliding_window": false, "sliding_window": 32}},
	{"Qwen3ForCausalLM", "qwen3", true, config(func(c *model.Config) { c.QKNorm, c.TieEmbeddings = true, true }), map[string]any{"head_dim": 6, "attention_bias": false}},
	{"LlamaForCausalLM", "llama", false, config(func(c *model.Config) { c.RopeFactors = true }), map[string]any{"head_dim": 6, "rope_scaling": map[string]any{"rope_type": "linear", "factor": 1.125}}},
	{"DeepseekV3ForCausalLM", "", false, config(deepSeek), deepSeekKeys},
}

func deepSeek(c *model.Config) {
	c.KVHeads, c.NopeDim, c.RopeDim, c.VDim, c.KVLoraRank, c.QLoraRank = 0, 5, 4, 3, 7, 6
	c.DenseLayers, c.MoEIntermediate, c.RoutedExperts, c.SharedExperts, c.TopK, c.RoutedScale = 1, 8, 3, 1, 2, 1.5
}

var deepSeekKeys = map[string]any{
	"qk_nope_head_dim": 5, "qk_rope_head_dim": 4, "v_head_dim": 3, "kv_lora_rank": 7, "q_lora_rank": 6, "n_group": 1,
	"first_k_dense_replace": 1, "moe_intermediate_size": 8, "n_routed_experts": 3, "n_shared_experts": 1, "num_experts_per_tok": 2, "routed_scaling_factor": 1.5,
}

func config(change func(*model.Config)) model.Config {
	c := model.Config{
		VocabSize: words().VocabSize() + 3, Hidden: 14, Layers: 2, Heads: 4, KVHeads: 2, RopeDim: 6, VDim: 6, Intermediate: 9, DenseLayers: 2,
		RopeTheta: 321, NormEps: 1e-5, MaxPositions: 77, RoutedScale: 1,
	}
	change(&c)
	return c
}

// words is a tokenizer for all of them.
var words = sync.OnceValue(func() *tokenizer.Tokenizer {
	t, err := tokenizer.Train(slices.Values([]string{"the thing that they thought"}), tokenizer.Options{VocabSize: 268})
	if err != nil {
		panic(err)
	}
	return t
})

const template = "{{ messages[0].content }}"

// writeWords leaves what a Hugging Face directory says about text.
func writeWords(t *testing.T, dir string) {
	t.Helper()
	create(t, filepath.Join(dir, tokenizerFile), func(w io.Writer) error {
		_, err := w.Write(words().JSON())
		return err
	})
	writeJSON(t, filepath.Join(dir, generationFile), map[string]any{"eos_token_id": []int{7, 9}})
	writeJSON(t, filepath.Join(dir, wordsFile), map[string]any{"chat_template": template})
}

func tensors(m *model.Model, halves bool, name func(string) string) []modelfile.Tensor {
	var all []modelfile.Tensor
	for _, t := range m.Tensors() {
		data := t.Data
		if halves && m.Config().KVHeads > 0 && rotated(t.Name) {
			data = slices.Clone(data)
			halve(data, m.Config().RopeDim, len(data)/t.Shape[0])
		}
		all = append(all, modelfile.Tensor{Name: name(t.Name), Shape: t.Shape, Type: modelfile.F32, Data: data})
	}
	return all
}

func create(t *testing.T, path string, write func(io.Writer) error) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	create(t, path, func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
}

// huggingFace is a configuration as transformers writes it.
func huggingFace(arch string, c model.Config, also map[string]any) map[string]any {
	f := map[string]any{
		"architectures": []string{arch}, "vocab_size": c.VocabSize, "hidden_size": c.Hidden, "intermediate_size": c.Intermediate,
		"num_hidden_layers": c.Layers, "num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads,
		"max_position_embeddings": c.MaxPositions, "rms_norm_eps": c.NormEps, "tie_word_embeddings": c.TieEmbeddings,
		"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": c.RopeTheta}, "hidden_act": "silu",
	}
	maps.Copy(f, also)
	return f
}

func writeSafetensors(t *testing.T, path string, all []modelfile.Tensor) {
	t.Helper()
	create(t, path, func(w io.Writer) error { return modelfile.WriteSafetensors(w, nil, all) })
}

func newModel(t testing.TB, c model.Config) *model.Model {
	t.Helper()
	m, err := model.New(c, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Parameters() { // norms and biases too
		for i := range p.Data {
			p.Data[i] += float32(i%7) / 8
		}
	}
	for _, x := range m.Tensors() {
		if x.Name == model.RopeFactorsName {
			for i := range x.Data {
				x.Data[i] = 1.125
			}
		}
	}
	return m
}

func TestHuggingFaceDirectoriesAreRead(t *testing.T) {
	for _, k := range kinds {
		for _, files := range []int{1, 3} {
			dir, m := t.TempDir(), newModel(t, k.config)
			writeJSON(t, filepath.Join(dir, configFile), huggingFace(k.arch, k.config, k.also))
			writeWords(t, dir)
			all := tensors(m, true, func(s string) string { return s })
			all = slices.DeleteFunc(all, func(x modelfile.Tensor) bool { return x.Name == model.RopeFactorsName })
			if files == 1 {
				writeSafetensors(t, filepath.Join(dir, weightsFile), all)
			} else {
				index := map[string]string{}
				n := (len(all) + files - 1) / files
				for i, part := range slices.Collect(slices.Chunk(all, n)) {
					name := fmt.Sprintf("model-%d.safetensors", i)
					writeSafetensors(t, filepath.Join(dir, name), part)
					for _, x := range part {
						index[x.Name] = name
					}
				}
				writeJSON(t, filepath.Join(dir, indexFile), map[string]any{"weight_map": index})
			}
			b, err := Read(dir)
			if err != nil {
				t.Fatalf("%s in %d files: %v", k.arch, files, err)
			}
			if b.Architecture != k.arch || b.Model.Hash() != m.Hash() {
				t.Errorf("%s in %d files is read as another %s, of %+v", k.arch, files, b.Architecture, b.Model.Config())
			}
			if !bytes.Equal(b.Tokenizer.JSON(), words().JSON()) || !slices.Equal(b.EOS, []int32{7, 9}) || b.ChatTemplate != template {
				t.Errorf("%s: tokens end with %v, the template is %q, or the tokenizer is another", k.arch, b.EOS, b.ChatTemplate)
			}
		}
	}
}

func metadata(family string, c model.Config) []modelfile.KV {
	key := func(name string, v any) modelfile.KV { return modelfile.KV{Key: family + "." + name, Value: v} }
	return []modelfile.KV{
		{Key: "general.architecture", Value: family},
		key("embedding_length", uint32(c.Hidden)), key("block_count", uint32(c.Layers)), key("feed_forward_length", uint32(c.Intermediate)),
		key("attention.head_count", uint32(c.Heads)), key("attention.head_count_kv", uint32(c.KVHeads)),
		key("attention.key_length", uint32(c.RopeDim)), key("attention.value_length", uint32(c.VDim)),
		{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: "qwen2"},
		{Key: "tokenizer.ggml.tokens", Value: words().VisibleTokens()}, {Key: "tokenizer.ggml.merges", Value: words().VisibleMerges()},
		{Key: "tokenizer.ggml.token_type", Value: tokenTypes()},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(7)}, {Key: "tokenizer.ggml.eot_token_id", Value: uint32(9)},
		{Key: "tokenizer.chat_template", Value: template}, {Key: "general.license", Value: "mit"},
		key("attention.layer_norm_rms_epsilon", float32(c.NormEps)), key("rope.freq_base", float32(c.RopeTheta)), key("context_length", uint32(c.MaxPositions)),
	}
}

func TestGGUFFilesAreRead(t *testing.T) {
	for _, k := range kinds {
		if k.family == "" {
			continue
		}
		path, c := filepath.Join(t.TempDir(), "m.gguf"), k.config
		m := newModel(t, c)
		create(t, path, func(w io.Writer) error {
			return modelfile.WriteGGUF(w, metadata(k.family, c), tensors(m, k.halves, ggufName))
		})
		b, err := Read(path)
		if err != nil {
			t.Fatalf("%s: %v", k.family, err)
		}
		if b.Architecture != k.arch || b.Model.Hash() != m.Hash() {
			t.Errorf("%s is read as another %s, of %+v", k.family, b.Architecture, b.Model.Config())
		}
		if !bytes.Equal(b.Tokenizer.JSON(), words().JSON()) || !slices.Equal(b.EOS, []int32{7, 9}) || b.ChatTemplate != template || b.License != "mit" {
			t.Errorf("%s: tokens end with %v, the template is %q, the licence %q, or the tokenizer is another", k.family, b.EOS, b.ChatTemplate, b.License)
		}
	}
}

// latentMetadata are a mixture's of deepseek2, with one more key or another value of one.
func latentMetadata(key string, v any) []modelfile.KV {
	all := metadata(latentFamily, config(deepSeek))
	for name, v := range map[string]any{
		"attention.kv_lora_rank": uint32(7), "attention.q_lora_rank": uint32(6), "rope.dimension_count": uint32(4),
		"attention.key_length_mla": uint32(9), "attention.value_length_mla": uint32(3), "leading_dense_block_count": uint32(1),
		"expert_count": uint32(3), "expert_used_count": uint32(2), "expert_shared_count": uint32(1), "expert_feed_forward_length": uint32(8),
		"expert_weights_scale": float32(1.5), "expert_gating_func": uint32(2), "expert_weights_norm": true, key: v,
	} {
		all = append(all, modelfile.KV{Key: latentFamily + "." + name, Value: v})
	}
	return all
}

func TestWhatIsNotComputedIsRefusedByName(t *testing.T) {
	c := kinds[0].config
	m := newModel(t, c)
	for _, test := range []struct {
		want string
		also map[string]any
	}{
		{"architecture GemmaForCausalLM", map[string]any{"architectures": []string{"GemmaForCausalLM"}}},
		{"names 0 architectures", map[string]any{"architectures": []string{}}},
		{`activation "gelu"`, map[string]any{"hidden_act": "gelu"}},
		{"mlp_bias", map[string]any{"mlp_bias": true}},
		{"attention_bias", map[string]any{"attention_bias": true}},
		{"sliding window", map[string]any{"sliding_window": 4096}},
		{"sliding window", map[string]any{"sliding_window": 4096, "use_sliding_window": true}},
		{`type "sliding_attention"`, map[string]any{"layer_types": []string{"full_attention", "sliding_attention"}}},
		{`type "yarn"`, map[string]any{"rope_scaling": map[string]any{"type": "yarn", "factor": 4}}},
		{"quantised", map[string]any{"quantization_config": map[string]any{"bits": 4}}},
	} {
		dir := t.TempDir()
		also := map[string]any{"head_dim": 6}
		maps.Copy(also, test.also)
		writeJSON(t, filepath.Join(dir, configFile), huggingFace("LlamaForCausalLM", c, also))
		writeWords(t, dir)
		writeSafetensors(t, filepath.Join(dir, weightsFile), tensors(m, true, func(s string) string { return s }))
		if _, err := Read(dir); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want an unsupported %s", err, test.want)
		}
	}
	for _, test := range []struct {
		want string
		also map[string]any
	}{
		{"n_group", map[string]any{"n_group": 8}},
		{"norm_topk_prob", map[string]any{"norm_topk_prob": false}},
		{`"softmax"`, map[string]any{"scoring_func": "softmax"}},
		{"rope_interleave", map[string]any{"rope_interleave": false}},
		{"attention_bias", map[string]any{"attention_bias": true}},
	} {
		dir, also := t.TempDir(), maps.Clone(deepSeekKeys)
		maps.Copy(also, test.also)
		writeJSON(t, filepath.Join(dir, configFile), huggingFace("DeepseekV3ForCausalLM", config(deepSeek), also))
		if _, err := Read(dir); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want an unsupported %s", err, test.want)
		}
	}
	for _, test := range []struct {
		want  string
		pairs []modelfile.KV
	}{
		{`architecture "gemma"`, metadata("gemma", c)},
		{"mixture of 8 experts", append(metadata("llama", c), modelfile.KV{Key: "llama.expert_count", Value: uint32(8)})},
		{"scaled by yarn", append(metadata("llama", c), modelfile.KV{Key: "llama.rope.scaling.type", Value: "yarn"})},
		{"of which 4 are rotated", append(metadata("llama", c), modelfile.KV{Key: "llama.rope.dimension_count", Value: uint32(4)})},
		{"sliding window", append(metadata("llama", c), modelfile.KV{Key: "llama.attention.sliding_window", Value: uint32(4)})},
		{"function 1", latentMetadata("expert_gating_func", uint32(1))},
		{"not normed", latentMetadata("expert_weights_norm", false)},
		{"in 8 groups", latentMetadata("expert_group_count", uint32(8))},
		{"scaled by yarn", latentMetadata("rope.scaling.type", "yarn")},
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		create(t, path, func(w io.Writer) error { return modelfile.WriteGGUF(w, test.pairs, tensors(m, false, ggufName)) })
		if _, err := Read(path); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want an unsupported %s", err, test.want)
		}
	}
}

// latentFile are the tensors of a small deepseek2 file, all 0, of the shapes that change
// makes of theirs.
func latentFile(t testing.TB, change func(name string, shape []int) []int) []modelfile.Tensor {
	c := config(deepSeek)
	var all []modelfile.Tensor
	put := func(name string, shape ...int) {
		shape = change(name, shape)
		n := 1
		for _, d := range shape {
			n *= d
		}
		all = append(all, modelfile.Tensor{Name: name, Shape: shape, Type: modelfile.F32, Data: make([]float32, n)})
	}
	for _, x := range newModel(t, c).Tensors() {
		blk := "blk.0."
		if strings.Contains(x.Name, "layers.1.") {
			blk = "blk.1."
		}
		switch {
		case strings.Contains(x.Name, "experts.0."):
			part := strings.Split(x.Name, ".")[6]
			put(blk+"ffn_"+strings.TrimSuffix(part, "_proj")+"_exps.weight", append([]int{c.RoutedExperts}, x.Shape...)...)
		case strings.Contains(x.Name, "mlp.experts."):
		case strings.Contains(x.Name, "kv_b_proj"):
			put(blk+"attn_k_b.weight", c.Heads, c.KVLoraRank, c.NopeDim)
			put(blk+"attn_v_b.weight", c.Heads, c.VDim, c.KVLoraRank)
		default:
			name, _ := latentSource{config: c}.place(x.Name)
			put(name, x.Shape...)
		}
	}
	return append(all, modelfile.Tensor{Name: "padding", Shape: []int{100}, Type: modelfile.F32, Data: make([]float32, 100)})
}

// A tensor of a shape that does not fit is refused, in parts or side by side as it may be.
func TestDamagedLatentFilesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		want string
		to   []int
	}{
		{"blk.0.attn_k_b.weight", "model.layers.0.self_attn.kv_b_proj.weight: its shape is [4 7 6 4 3 7]", []int{4, 7, 6}},
		{"blk.0.attn_v_b.weight", "model.layers.0.self_attn.kv_b_proj.weight: the files lack it", []int{12, 7}},
		{"blk.1.ffn_up_exps.weight", "model.layers.1.mlp.experts.0.up_proj.weight: its shape is [2 8 14]", []int{2, 8, 14}},
		{"blk.1.ffn_gate_exps.weight", "model.layers.1.mlp.experts.0.gate_proj.weight: its shape is [8 42]", []int{8, 42}},
		{"blk.1.exp_probs_b.bias", "e_score_correction_bias: its shape is [4]", []int{4}},
		{"", "none: nothing is damaged", nil},
	} {
		all := latentFile(t, func(name string, shape []int) []int {
			if name == test.name {
				return test.to
			}
			return shape
		})
		path := filepath.Join(t.TempDir(), "m.gguf")
		create(t, path, func(w io.Writer) error { return modelfile.WriteGGUF(w, latentMetadata("vocab_size", uint32(1)), all) })
		_, err := Read(path)
		if test.name == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s of %v: the error is %v, want %q", test.name, test.to, err, test.want)
		}
	}
}

func TestDamagedBasesAreRefused(t *testing.T) {
	c := kinds[0].config
	whole := tensors(newModel(t, c), true, func(s string) string { return s })
	for _, test := range []struct {
		want   string
		damage func(t *testing.T, dir string)
	}{
		{"lack it", func(t *testing.T, dir string) {
			all := slices.Clone(whole)
			all[1].Name = "another"
			writeSafetensors(t, filepath.Join(dir, weightsFile), all)
		}},
		{"shape is [7 2]", func(t *testing.T, dir string) {
			all := slices.Clone(whole)
			i := slices.IndexFunc(all, func(x modelfile.Tensor) bool { return x.Name == "model.norm.weight" })
			all[i].Shape = []int{7, 2}
			writeSafetensors(t, filepath.Join(dir, weightsFile), all)
		}},
		{"want the name of a .safetensors file", func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, indexFile), map[string]any{"weight_map": map[string]string{"x": "../secret.safetensors"}})
		}},
		{"lies in two files", func(t *testing.T, dir string) {
			writeSafetensors(t, filepath.Join(dir, "a.safetensors"), whole)
			writeSafetensors(t, filepath.Join(dir, "b.safetensors"), whole[:1])
			writeJSON(t, filepath.Join(dir, indexFile), map[string]any{"weight_map": map[string]string{"x": "a.safetensors", "y": "b.safetensors"}})
		}},
		{"no such file", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, weightsFile)) }},
		{"config.json: ", func(t *testing.T, dir string) { writeJSON(t, filepath.Join(dir, configFile), []int{1}) }},
		{"no multiple of", func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, configFile), huggingFace("LlamaForCausalLM", c, nil))
		}},
		{`type "llama3" lack numbers`, func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, configFile), huggingFace("LlamaForCausalLM", c, map[string]any{"head_dim": 6, "rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8}}))
		}},
		{"end token 999", func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, generationFile), map[string]any{"eos_token_id": 999})
		}},
		{"no token ends an answer", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, generationFile)) }},
		{"tokenizer.json: ", func(t *testing.T, dir string) { writeJSON(t, filepath.Join(dir, tokenizerFile), map[string]any{}) }},
		{"chat_template: ", func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, wordsFile), map[string]any{"chat_template": 5})
		}},
		{"fewer values than", func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, configFile), huggingFace("LlamaForCausalLM", c, map[string]any{"head_dim": 6, "vocab_size": 1 << 18, "hidden_size": 1 << 13}))
		}},
		{"num_key_value_heads 3 does not divide", func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, configFile), huggingFace("LlamaForCausalLM", c, map[string]any{"head_dim": 6, "num_key_value_heads": 3}))
		}},
	} {
		dir := t.TempDir()
		writeJSON(t, filepath.Join(dir, configFile), huggingFace("LlamaForCausalLM", c, map[string]any{"head_dim": 6}))
		writeSafetensors(t, filepath.Join(dir, weightsFile), whole)
		writeWords(t, dir)
		test.damage(t, dir)
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of an absent path the error is %v", err)
	}
	text := filepath.Join(t.TempDir(), "model.bin")
	create(t, text, func(w io.Writer) error { return nil })
	if _, err := Read(text); err == nil || !strings.Contains(err.Error(), "neither a directory") {
		t.Errorf("of another file the error is %v", err)
	}
}

func tokenTypes() []int32 {
	types := slices.Repeat([]int32{1}, words().VocabSize())
	for _, a := range words().Added() {
		types[a.ID] = 4
		if a.Special {
			types[a.ID] = 3
		}
	}
	return types
}

func TestTemplatesOfADirectory(t *testing.T) {
	for _, test := range []struct {
		words, jinja, want string
	}{
		{`{"chat_template": "a"}`, "", "a"},
		{`{"chat_template": [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]}`, "", "a"},
		{`{"chat_template": [{"name": "tool_use", "template": "b"}]}`, "", ""},
		{`{"chat_template": "b"}`, "a", "a"},
		{`{}`, "a", "a"},
		{`{}`, "", ""},
	} {
		dir := t.TempDir()
		writeWords(t, dir)
		os.WriteFile(filepath.Join(dir, wordsFile), []byte(test.words), 0o644)
		if test.jinja != "" {
			os.WriteFile(filepath.Join(dir, jinjaFile), []byte(test.jinja), 0o644)
		}
		var b Base
		if err := b.readWords(dir); err != nil || b.ChatTemplate != test.want {
			t.Errorf("%s and %q give %q, %v, want %q", test.words, test.jinja, b.ChatTemplate, err, test.want)
		}
	}
}

func TestAnOpenBaseHandsOutItsWeights(t *testing.T) {
	c := kinds[0].config
	dir, m := t.TempDir(), newModel(t, c)
	writeJSON(t, filepath.Join(dir, configFile), huggingFace(kinds[0].arch, c, kinds[0].also))
	writeWords(t, dir)
	writeSafetensors(t, filepath.Join(dir, weightsFile), tensors(m, true, func(s string) string { return s }))
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Model != nil || b.Config() != c {
		t.Errorf("it is open with a model %v of %+v", b.Model, b.Config())
	}
	if hash, err := model.HashOf(b); err != nil || hash != m.Hash() {
		t.Errorf("what it hands out is %s (%v), want %s", hash, err, m.Hash())
	}
	if err := b.Load("model.norm.weight", []int{c.Hidden + 1}, make([]float32, c.Hidden+1)); err == nil {
		t.Error("it hands out a tensor of another shape")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := model.HashOf(b); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after it was closed the error is %v", err)
	}
	whole, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := model.HashOf(whole); err != nil || hash != m.Hash() {
		t.Errorf("read whole it hands out %s (%v), want %s", hash, err, m.Hash())
	}
}
