package base

import (
	"fmt"
	"slices"
	"strings"

	"retort/internal/modelfile"
	"retort/student/model"
	"retort/student/tokenizer"
)

// ggufArchitectures: how GGUF names the architectures that are read, and whether
// heads lie in halves.
var ggufArchitectures = map[string]struct {
	name   string
	halves bool
}{
	"llama": {"LlamaForCausalLM", false},
	"qwen2": {"Qwen2ForCausalLM", true},
	"qwen3": {"Qwen3ForCausalLM", true},
}

// ggufTensors: Hugging Face's names of a layer's parts and GGUF's.
var ggufTensors = map[string]string{
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}

// ggufName is GGUF's name of a tensor, "" if it has none.
func ggufName(name string) string {
	switch name {
	case model.RopeFactorsName:
		return name
	case "model.embed_tokens.weight":
		return "token_embd.weight"
	case "model.norm.weight":
		return "output_norm.weight"
	case "lm_head.weight":
		return "output.weight"
	}
	rest, ok := strings.CutPrefix(name, "model.layers.")
	layer, part, cut := strings.Cut(rest, ".")
	dot := strings.LastIndexByte(part, '.')
	if !ok || !cut || dot < 0 || ggufTensors[part[:dot]] == "" {
		return ""
	}
	return "blk." + layer + "." + ggufTensors[part[:dot]] + part[dot:]
}

type ggufSource struct{ *modelfile.GGUF }

func (s ggufSource) Values() int64 { return modelfile.Values(s.Tensors) }

func (s ggufSource) Shape(name string) ([]int, bool) {
	info, ok := s.Lookup(ggufName(name))
	return info.Shape, ok
}

func (s ggufSource) Read(name string, dst []float32) error { return s.GGUF.Read(ggufName(name), dst) }

func (b *Base) openGGUF(path string) error {
	g, err := modelfile.OpenGGUF(path)
	if err != nil {
		return err
	}
	b.files = ggufSource{g}
	family, _ := g.Value("general.architecture").(string)
	arch, ok := ggufArchitectures[family]
	if !ok {
		return unsupported("architecture %q; llama, qwen2 and qwen3 are read", family)
	}
	b.Architecture, b.halves = arch.name, arch.halves
	if b.config, err = ggufConfig(g, family); err != nil {
		return err
	}
	return b.readMetadata(g)
}

// readMetadata reads what is about text.
func (b *Base) readMetadata(g *modelfile.GGUF) error {
	if kind := g.Value("tokenizer.ggml.model"); kind != "gpt2" {
		return unsupported("a tokenizer of type %v, which is not byte-level BPE (gpt2)", kind)
	}
	var v tokenizer.Vocabulary
	v.Pre, _ = g.Value("tokenizer.ggml.pre").(string)
	v.Tokens, _ = g.Value("tokenizer.ggml.tokens").([]string)
	v.Types, _ = g.Value("tokenizer.ggml.token_type").([]int32)
	v.Merges, _ = g.Value("tokenizer.ggml.merges").([]string)
	v.BOS = begins(g)
	t, err := v.Tokenizer()
	if err != nil {
		return fmt.Errorf("tokenizer.ggml: %w", err)
	}
	b.Tokenizer = t
	for _, key := range []string{"eos", "eot", "eom"} { // end of sequence, of a turn, of a message
		if id, ok := g.Value("tokenizer.ggml." + key + "_token_id").(uint32); ok && !slices.Contains(b.EOS, int32(id)) {
			b.EOS = append(b.EOS, int32(id))
		}
	}
	b.specialsOf(g)
	b.ChatTemplate, _ = g.Value("tokenizer.chat_template").(string)
	b.License, _ = g.Value("general.license").(string)
	return nil
}

func ggufConfig(g *modelfile.GGUF, family string) (c model.Config, err error) {
	value := func(key string) any { return g.Value(family + "." + key) }
	number := func(key string, missing int) int {
		switch v := value(key).(type) {
		case uint32:
			return int(v)
		case int32:
			return int(v)
		case uint64:
			return int(min(v, 1<<40))
		case nil:
			if missing >= 0 {
				return missing
			}
			err = fmt.Errorf("the metadata lack %s.%s", family, key)
		default:
			err = fmt.Errorf("metadata %s.%s is a %T, want a whole number", family, key, v)
		}
		return 0
	}
	real := func(key string, missing float64) float64 {
		switch v := value(key).(type) {
		case float32:
			return float64(v)
		case float64:
			return v
		case nil:
			return missing
		default:
			err = fmt.Errorf("metadata %s.%s is a %T, want a number", family, key, v)
		}
		return 0
	}
	embedding, ok := g.Lookup("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		return c, fmt.Errorf("there is no matrix token_embd.weight")
	}
	_, head := g.Lookup("output.weight")
	_, bias := g.Lookup("blk.0.attn_q.bias")
	_, norm := g.Lookup("blk.0.attn_q_norm.weight")
	c = model.Config{
		VocabSize: embedding.Shape[0], Hidden: number("embedding_length", -1), Layers: number("block_count", -1),
		Heads: number("attention.head_count", -1), Intermediate: number("feed_forward_length", -1),
		MaxPositions: number("context_length", -1), NormEps: real("attention.layer_norm_rms_epsilon", 0),
		RopeTheta: real("rope.freq_base", 10000), RoutedScale: 1, TieEmbeddings: !head,
		QKVBias: bias, QKNorm: norm,
	}
	c.DenseLayers = c.Layers
	c.KVHeads = number("attention.head_count_kv", c.Heads)
	size := 0
	if c.Heads > 0 {
		size = c.Hidden / c.Heads
	}
	size = number("attention.key_length", size)
	c.RopeDim, c.VDim = size, number("attention.value_length", size)
	if n := number("rope.dimension_count", size); err == nil && n != size {
		err = unsupported("heads of %d of which %d are rotated", size, n)
	}
	if n := number("expert_count", 0); err == nil && n > 0 {
		err = unsupported("a mixture of %d experts", n)
	}
	if kind := value("rope.scaling.type"); err == nil && kind != nil && kind != "none" {
		err = unsupported("rotary positions scaled by %v", kind)
	}
	_, c.RopeFactors = g.Lookup(model.RopeFactorsName)
	if n := number("attention.sliding_window", 0); err == nil && n > 0 {
		err = unsupported("attention over a sliding window")
	}
	return c, err
}
