package export

import (
	"fmt"
	"io"
	"math"
	"strings"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/model"
)

// fileTypes are the types of GGUF's matrices and llama.cpp's numbers for files that are
// mostly of one (general.file_type).
var fileTypes = map[modelfile.Type]uint32{modelfile.F32: 0, modelfile.F16: 1, modelfile.Q4_0: 2, modelfile.Q4_1: 3, modelfile.Q8_0: 7}

// quantisationVersion is ggml's, of the layout of blocks.
const quantisationVersion = 2

// gatingSigmoid is llama.cpp's number for it.
const gatingSigmoid = 2

func (s *student) writeGGUF(out io.Writer) error {
	meta, err := s.metadata()
	if err != nil {
		return err
	}
	tensors := s.latentTensors
	if s.config.KVHeads > 0 {
		tensors = s.groupedTensors
	}
	return modelfile.WriteGGUF(out, meta, tensors())
}

// ggufType is the type of a tensor by Hugging Face's name, of rows of so many values.
// Norms, biases and routers are never narrowed. A matrix whose rows are no whole blocks
// is F16, as llama.cpp makes it; the one that makes the logits is Q8_0 in files of
// four bits, where rounding it would cost most.
func ggufType(c model.Config, typ modelfile.Type, name string, shape []int) modelfile.Type {
	switch row := shape[len(shape)-1]; {
	case len(shape) == 1, strings.HasSuffix(name, ".mlp.gate.weight"):
		return modelfile.F32
	case row%typ.Block() != 0:
		return modelfile.F16
	case typ.Block() == 1:
		return typ
	case name == headName, name == embeddingName && c.TieEmbeddings:
		return modelfile.Q8_0
	}
	return typ
}

const (
	embeddingName = "model.embed_tokens.weight"
	headName      = "lm_head.weight"
)

// metadata are llama.cpp's keys. Which of them are needed, and what goes wrong without,
// is in docs/formats/gguf.md.
func (s *student) metadata() ([]modelfile.KV, error) {
	m := &metadata{family: s.family}
	l := s.opt.Lineage
	m.set("general.architecture", s.family)
	m.set("general.name", l.name())
	if l.License != "" {
		m.set("general.license", l.License)
	}
	if l.Base != nil {
		m.set("general.base_model.count", uint32(1))
		m.set("general.base_model.0.name", l.Base.Name)
	}
	m.set("general.file_type", fileTypes[s.opt.GGUFType])
	if s.opt.GGUFType.Block() > 1 {
		m.set("general.quantization_version", uint32(quantisationVersion))
	}
	if s.config.KVHeads > 0 {
		m.grouped(s.config)
	} else {
		m.latent(s.config, s.opt.GGUFLayout)
	}
	return append(m.kv, s.words.vocabulary(s.config.VocabSize)...), m.bad
}

// metadata are keys, most of them of a family. Its first number that does not fit
// sticks.
type metadata struct {
	family string
	kv     []modelfile.KV
	bad    error
}

func (m *metadata) set(key string, v any) { m.kv = append(m.kv, modelfile.KV{Key: key, Value: v}) }

func (m *metadata) num(key string, v int) {
	if (v < 0 || v > math.MaxInt32) && m.bad == nil {
		m.bad = fmt.Errorf("%s %d does not fit into GGUF", key, v)
	}
	m.set(m.family+"."+key, uint32(v))
}

func (m *metadata) real(key string, v float64) { m.set(m.family+"."+key, float32(v)) }

// grouped are the keys of llama, qwen2 and qwen3.
func (m *metadata) grouped(c model.Config) {
	m.num("vocab_size", c.VocabSize)
	m.num("context_length", c.MaxPositions)
	m.num("embedding_length", c.Hidden)
	m.num("block_count", c.Layers)
	m.num("feed_forward_length", c.Intermediate)
	m.num("attention.head_count", c.Heads)
	m.num("attention.head_count_kv", c.KVHeads)
	m.num("attention.key_length", c.RopeDim)
	m.num("attention.value_length", c.VDim)
	m.num("rope.dimension_count", c.RopeDim)
	m.real("rope.freq_base", c.RopeTheta)
	m.real("attention.layer_norm_rms_epsilon", c.NormEps)
}

// latent are the keys of deepseek2, which DeepSeek-V3 is too.
func (m *metadata) latent(c model.Config, layout Layout) {
	m.num("vocab_size", c.VocabSize)
	m.num("context_length", c.MaxPositions)
	m.num("embedding_length", c.Hidden)
	m.num("block_count", c.Layers)
	m.num("leading_dense_block_count", c.DenseLayers)
	m.num("feed_forward_length", max(c.Intermediate, 1))
	m.num("attention.head_count", c.Heads)
	m.num("attention.q_lora_rank", c.QLoraRank)
	m.num("attention.kv_lora_rank", c.KVLoraRank)
	m.num("rope.dimension_count", c.RopeDim)
	if layout == Legacy {
		m.num("attention.head_count_kv", c.Heads)
		m.num("attention.key_length", c.NopeDim+c.RopeDim)
		m.num("attention.value_length", c.VDim)
	} else { // one key-value head, the latent itself
		m.num("attention.head_count_kv", 1)
		m.num("attention.key_length", c.KVLoraRank+c.RopeDim)
		m.num("attention.value_length", c.KVLoraRank)
		m.num("attention.key_length_mla", c.NopeDim+c.RopeDim)
		m.num("attention.value_length_mla", c.VDim)
	}
	experts := c
	if c.DenseLayers == c.Layers {
		experts.RoutedExperts, experts.TopK, experts.SharedExperts, experts.MoEIntermediate, experts.RoutedScale = 0, 0, 0, 0, 1
	}
	m.num("expert_count", experts.RoutedExperts)
	m.num("expert_used_count", experts.TopK)
	m.num("expert_shared_count", experts.SharedExperts)
	m.num("expert_feed_forward_length", experts.MoEIntermediate)
	m.real("expert_weights_scale", experts.RoutedScale)
	m.set(m.family+".expert_weights_norm", true)
	m.set(m.family+".expert_gating_func", uint32(gatingSigmoid))
	m.real("rope.freq_base", c.RopeTheta)
	m.real("attention.layer_norm_rms_epsilon", c.NormEps)
}

// groupedTensors renames a checkpoint's tensors to llama.cpp's.
func (s *student) groupedTensors() []modelfile.Tensor {
	var out []modelfile.Tensor
	for _, t := range s.Tensors() {
		data := t.Data
		if s.halves {
			data = base.Halves(s.config, t)
		}
		out = append(out, modelfile.Tensor{
			Name: base.GGUFName(t.Name), Shape: t.Shape, Type: ggufType(s.config, s.opt.GGUFType, t.Name, t.Shape), Data: data,
		})
	}
	return out
}

// latentTensors renames a checkpoint's tensors to llama.cpp's, stacks experts and
// divides the latent's up-projection.
func (s *student) latentTensors() []modelfile.Tensor {
	c := s.config
	byName := map[string]model.Tensor{}
	for _, t := range s.Tensors() {
		byName[t.Name] = t
	}
	var out []modelfile.Tensor
	put := func(from, to string, shape []int, data []float32) {
		out = append(out, modelfile.Tensor{Name: to, Shape: shape, Type: ggufType(c, s.opt.GGUFType, from, shape), Data: data})
	}
	move := func(from, to string) {
		t := byName[from]
		put(from, to, t.Shape, t.Data)
	}
	move(embeddingName, "token_embd.weight")
	for i := range c.Layers {
		hf, blk := fmt.Sprintf("model.layers.%d.", i), fmt.Sprintf("blk.%d.", i)
		move(hf+"input_layernorm.weight", blk+"attn_norm.weight")
		if c.QLoraRank > 0 {
			move(hf+"self_attn.q_a_proj.weight", blk+"attn_q_a.weight")
			move(hf+"self_attn.q_a_layernorm.weight", blk+"attn_q_a_norm.weight")
			move(hf+"self_attn.q_b_proj.weight", blk+"attn_q_b.weight")
		} else {
			move(hf+"self_attn.q_proj.weight", blk+"attn_q.weight")
		}
		move(hf+"self_attn.kv_a_proj_with_mqa.weight", blk+"attn_kv_a_mqa.weight")
		move(hf+"self_attn.kv_a_layernorm.weight", blk+"attn_kv_a_norm.weight")
		kvb := hf + kvbName
		if s.opt.GGUFLayout == Legacy {
			move(kvb, blk+"attn_kv_b.weight")
		} else {
			k, v := base.DivideKVB(c, byName[kvb].Data)
			keys, values := base.KVBShapes(c)
			put(kvb, blk+"attn_k_b.weight", keys, k)
			put(kvb, blk+"attn_v_b.weight", values, v)
		}
		move(hf+"self_attn.o_proj.weight", blk+"attn_output.weight")
		move(hf+"post_attention_layernorm.weight", blk+"ffn_norm.weight")
		if i < c.DenseLayers {
			for _, part := range []string{"gate", "up", "down"} {
				move(hf+"mlp."+part+"_proj.weight", blk+"ffn_"+part+".weight")
			}
			continue
		}
		move(hf+"mlp.gate.weight", blk+"ffn_gate_inp.weight")
		move(hf+"mlp.gate.e_score_correction_bias", blk+"exp_probs_b.bias")
		for _, part := range []string{"gate", "up", "down"} {
			shape, data := stackExperts(c, byName, hf, part)
			put(hf+"mlp.experts", blk+"ffn_"+part+"_exps.weight", shape, data)
			move(hf+"mlp.shared_experts."+part+"_proj.weight", blk+"ffn_"+part+"_shexp.weight")
		}
	}
	move("model.norm.weight", "output_norm.weight")
	if c.TieEmbeddings {
		move(embeddingName, "output.weight") // deepseek2 does not fall back to the embeddings
	} else {
		move(headName, "output.weight")
	}
	return out
}

const kvbName = "self_attn.kv_b_proj.weight"

// stackExperts puts one matrix of all experts of a layer side by side,
// [experts, out, in].
func stackExperts(c model.Config, byName map[string]model.Tensor, layer, part string) (shape []int, data []float32) {
	for e := range c.RoutedExperts {
		t := byName[fmt.Sprintf("%smlp.experts.%d.%s_proj.weight", layer, e, part)]
		if shape == nil {
			shape = append([]int{c.RoutedExperts}, t.Shape...)
			data = make([]float32, 0, c.RoutedExperts*len(t.Data))
		}
		data = append(data, t.Data...)
	}
	return shape, data
}
