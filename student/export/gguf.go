package export

import (
	"fmt"
	"io"
	"math"
	"strings"

	"retort/internal/modelfile"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
)

// GGUF's token types, and llama.cpp's number for sigmoid gating.
const (
	tokenNormal      = 1
	tokenControl     = 3
	tokenUserDefined = 4
	gatingSigmoid    = 2
)

func writeGGUF(out io.Writer, m *model.Model, t *tokenizer.Tokenizer, opt Options) error {
	meta, err := ggufMetadata(m.Config(), t, opt)
	if err != nil {
		return err
	}
	return modelfile.WriteGGUF(out, meta, ggufTensors(m, opt))
}

// ggufMetadata are the keys of llama.cpp's deepseek2, which DeepSeek-V3 is too.
// Which of them are needed, and what goes wrong without, is in
// docs/formats/gguf.md.
func ggufMetadata(c model.Config, t *tokenizer.Tokenizer, opt Options) ([]modelfile.KV, error) {
	kv := []modelfile.KV{{Key: "general.architecture", Value: "deepseek2"}, {Key: "general.name", Value: opt.Lineage.name()}}
	if opt.Lineage.License != "" {
		kv = append(kv, modelfile.KV{Key: "general.license", Value: opt.Lineage.License})
	}
	var bad error
	num := func(key string, v int) {
		if v < 0 || v > math.MaxInt32 {
			bad = fmt.Errorf("%s %d does not fit into GGUF", key, v)
		}
		kv = append(kv, modelfile.KV{Key: "deepseek2." + key, Value: uint32(v)})
	}
	fileType := uint32(0) // all F32
	if opt.GGUFType == modelfile.F16 {
		fileType = 1 // mostly F16
	}
	kv = append(kv, modelfile.KV{Key: "general.file_type", Value: fileType})
	num("vocab_size", c.VocabSize)
	num("context_length", c.MaxPositions)
	num("embedding_length", c.Hidden)
	num("block_count", c.Layers)
	num("leading_dense_block_count", c.DenseLayers)
	num("feed_forward_length", max(c.Intermediate, 1))
	num("attention.head_count", c.Heads)
	num("attention.q_lora_rank", c.QLoraRank)
	num("attention.kv_lora_rank", c.KVLoraRank)
	num("rope.dimension_count", c.RopeDim)
	if opt.GGUFLayout == Legacy {
		num("attention.head_count_kv", c.Heads)
		num("attention.key_length", c.NopeDim+c.RopeDim)
		num("attention.value_length", c.VDim)
	} else { // one key-value head, the latent itself
		num("attention.head_count_kv", 1)
		num("attention.key_length", c.KVLoraRank+c.RopeDim)
		num("attention.value_length", c.KVLoraRank)
		num("attention.key_length_mla", c.NopeDim+c.RopeDim)
		num("attention.value_length_mla", c.VDim)
	}
	experts := c
	if c.DenseLayers == c.Layers {
		experts.RoutedExperts, experts.TopK, experts.SharedExperts, experts.MoEIntermediate, experts.RoutedScale = 0, 0, 0, 0, 1
	}
	num("expert_count", experts.RoutedExperts)
	num("expert_used_count", experts.TopK)
	num("expert_shared_count", experts.SharedExperts)
	num("expert_feed_forward_length", experts.MoEIntermediate)
	kv = append(kv,
		modelfile.KV{Key: "deepseek2.expert_weights_scale", Value: float32(experts.RoutedScale)},
		modelfile.KV{Key: "deepseek2.expert_weights_norm", Value: true},
		modelfile.KV{Key: "deepseek2.expert_gating_func", Value: uint32(gatingSigmoid)},
		modelfile.KV{Key: "deepseek2.rope.freq_base", Value: float32(c.RopeTheta)},
		modelfile.KV{Key: "deepseek2.attention.layer_norm_rms_epsilon", Value: float32(c.NormEps)},
	)
	return append(kv, ggufVocabulary(t)...), bad
}

func ggufVocabulary(t *tokenizer.Tokenizer) []modelfile.KV {
	types := make([]int32, t.VocabSize())
	for i := range types {
		types[i] = tokenNormal
	}
	for _, a := range t.Added() {
		types[a.ID] = tokenUserDefined
		if a.Special {
			types[a.ID] = tokenControl
		}
	}
	end, pad := uint32(mustID(t, tokenizer.ImEnd)), uint32(mustID(t, tokenizer.EndOfText))
	return []modelfile.KV{
		{Key: "tokenizer.ggml.model", Value: "gpt2"},
		{Key: "tokenizer.ggml.pre", Value: "qwen2"},
		{Key: "tokenizer.ggml.tokens", Value: t.VisibleTokens()},
		{Key: "tokenizer.ggml.token_type", Value: types},
		{Key: "tokenizer.ggml.merges", Value: t.VisibleMerges()},
		{Key: "tokenizer.ggml.bos_token_id", Value: pad}, // a reader that finds none assumes id 11
		{Key: "tokenizer.ggml.eos_token_id", Value: end},
		{Key: "tokenizer.ggml.padding_token_id", Value: pad},
		{Key: "tokenizer.ggml.add_bos_token", Value: false},
		{Key: "tokenizer.ggml.add_eos_token", Value: false},
		{Key: "tokenizer.chat_template", Value: chat.ChatML},
	}
}

// ggufTensors renames a checkpoint's tensors to llama.cpp's, stacks experts and
// divides the latent's up-projection.
func ggufTensors(m *model.Model, opt Options) []modelfile.Tensor {
	c := m.Config()
	byName := map[string]model.Tensor{}
	for _, t := range m.Tensors() {
		byName[t.Name] = t
	}
	var out []modelfile.Tensor
	put := func(name string, shape []int, data []float32) {
		typ := opt.GGUFType
		if len(shape) == 1 || strings.HasSuffix(name, "ffn_gate_inp.weight") {
			typ = modelfile.F32 // norms, biases and routers are never narrowed
		}
		out = append(out, modelfile.Tensor{Name: name, Shape: shape, Type: typ, Data: data})
	}
	move := func(from, to string) {
		t := byName[from]
		put(to, t.Shape, t.Data)
	}
	move("model.embed_tokens.weight", "token_embd.weight")
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
		if opt.GGUFLayout == Legacy {
			move(hf+"self_attn.kv_b_proj.weight", blk+"attn_kv_b.weight")
		} else {
			k, v := divideKVB(c, byName[hf+"self_attn.kv_b_proj.weight"].Data)
			put(blk+"attn_k_b.weight", []int{c.Heads, c.KVLoraRank, c.NopeDim}, k)
			put(blk+"attn_v_b.weight", []int{c.Heads, c.VDim, c.KVLoraRank}, v)
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
			put(blk+"ffn_"+part+"_exps.weight", shape, data)
			move(hf+"mlp.shared_experts."+part+"_proj.weight", blk+"ffn_"+part+"_shexp.weight")
		}
	}
	move("model.norm.weight", "output_norm.weight")
	if c.TieEmbeddings {
		move("model.embed_tokens.weight", "output.weight") // deepseek2 does not fall back to the embeddings
	} else {
		move("lm_head.weight", "output.weight")
	}
	return out
}

// divideKVB divides W_KVB [H·(n+v), c] into keys [H, c, n], transposed for the
// absorbed form, and values [H, v, c].
func divideKVB(c model.Config, kvb []float32) (k, v []float32) {
	n, r := c.NopeDim, c.KVLoraRank
	k = make([]float32, c.Heads*r*n)
	v = make([]float32, 0, c.Heads*c.VDim*r)
	for h := range c.Heads {
		head := kvb[h*(n+c.VDim)*r:]
		for i := range n {
			for j := range r {
				k[(h*r+j)*n+i] = head[i*r+j]
			}
		}
		v = append(v, head[n*r:(n+c.VDim)*r]...)
	}
	return k, v
}

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

// OllamaTemplate is the chat template in the language of Ollama's Modelfile.
const OllamaTemplate = `{{ range .Messages }}<|im_start|>{{ .Role }}
{{ if and (eq .Role "assistant") .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
`

// ollamaModelfile spells out template and stops, since Ollama recognises only
// the chat templates that it knows.
func ollamaModelfile(c model.Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM ./%s\n\nTEMPLATE \"\"\"%s\"\"\"\n\n", ggufFile, OllamaTemplate)
	for _, stop := range []string{tokenizer.ImEnd, tokenizer.ImStart, tokenizer.EndOfText} {
		fmt.Fprintf(&b, "PARAMETER stop \"%s\"\n", stop)
	}
	fmt.Fprintf(&b, "PARAMETER temperature 0\nPARAMETER num_ctx %d\n", c.MaxPositions)
	return b.String()
}
