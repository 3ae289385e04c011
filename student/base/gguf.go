package base

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
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

	latentFamily: {"DeepseekV3ForCausalLM", false},
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
		return unsupported("architecture %q; llama, qwen2, qwen3 and deepseek2 are read", family)
	}
	b.Architecture, b.halves = arch.name, arch.halves
	keys := &ggufKeys{g: g, family: family}
	if family == latentFamily {
		b.config, err = keys.latent()
		b.files = latentSource{g, b.config}
	} else {
		b.config, err = keys.grouped()
	}
	if err != nil {
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

// ggufKeys are the metadata of an architecture. The first that is wrong sticks.
type ggufKeys struct {
	g      *modelfile.GGUF
	family string
	bad    error
}

func (k *ggufKeys) value(key string) any { return k.g.Value(k.family + "." + key) }

func (k *ggufKeys) fail(err error) {
	if k.bad == nil {
		k.bad = err
	}
}

// number is a whole number; missing, unless negative, stands for one that is not there.
func (k *ggufKeys) number(key string, missing int) int {
	switch v := k.value(key).(type) {
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
		k.fail(fmt.Errorf("the metadata lack %s.%s", k.family, key))
	default:
		k.fail(fmt.Errorf("metadata %s.%s is a %T, want a whole number", k.family, key, v))
	}
	return 0
}

func (k *ggufKeys) real(key string, missing float64) float64 {
	switch v := k.value(key).(type) {
	case float32: // the number that was written: 1e-6, not the nearest float32 to it
		v64, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
		return v64
	case float64:
		return v
	case nil:
		return missing
	default:
		k.fail(fmt.Errorf("metadata %s.%s is a %T, want a number", k.family, key, v))
	}
	return 0
}

// refuse notes what is not computed.
func (k *ggufKeys) refuse(when bool, format string, args ...any) {
	if when {
		k.fail(unsupported(format, args...))
	}
}

// common is what all architectures say alike.
func (k *ggufKeys) common() (c model.Config, err error) {
	embedding, ok := k.g.Lookup("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		return c, errors.New("there is no matrix token_embd.weight")
	}
	_, head := k.g.Lookup("output.weight")
	c = model.Config{
		VocabSize: embedding.Shape[0], Hidden: k.number("embedding_length", -1), Layers: k.number("block_count", -1),
		Heads: k.number("attention.head_count", -1), Intermediate: k.number("feed_forward_length", -1),
		MaxPositions: k.number("context_length", -1), NormEps: k.real("attention.layer_norm_rms_epsilon", 0),
		RopeTheta: k.real("rope.freq_base", 10000), RoutedScale: 1, TieEmbeddings: !head,
	}
	c.DenseLayers = c.Layers
	kind := k.value("rope.scaling.type")
	k.refuse(kind != nil && kind != "none", "rotary positions scaled by %v", kind)
	return c, nil
}

// grouped is the configuration of grouped-query attention.
func (k *ggufKeys) grouped() (model.Config, error) {
	c, err := k.common()
	if err != nil {
		return c, err
	}
	_, c.QKVBias = k.g.Lookup("blk.0.attn_q.bias")
	_, c.QKNorm = k.g.Lookup("blk.0.attn_q_norm.weight")
	c.KVHeads = k.number("attention.head_count_kv", c.Heads)
	size := 0
	if c.Heads > 0 {
		size = c.Hidden / c.Heads
	}
	size = k.number("attention.key_length", size)
	c.RopeDim, c.VDim = size, k.number("attention.value_length", size)
	rotated := k.number("rope.dimension_count", size)
	k.refuse(rotated != size, "heads of %d of which %d are rotated", size, rotated)
	experts := k.number("expert_count", 0)
	k.refuse(experts > 0, "a mixture of %d experts", experts)
	_, c.RopeFactors = k.g.Lookup(model.RopeFactorsName)
	k.refuse(k.number("attention.sliding_window", 0) > 0, "attention over a sliding window")
	return c, k.bad
}
