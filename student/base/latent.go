package base

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"retort/internal/modelfile"
	"retort/student/model"
)

// latentFamily is GGUF's name of DeepSeek-V3's architecture.
const latentFamily = "deepseek2"

// sigmoidGate is llama.cpp's number of that way to choose experts.
const sigmoidGate = 2

// latent is the configuration of latent attention, with keys and values of the newer
// layout (attn_k_b, attn_v_b) or of the legacy one (attn_kv_b).
func (k *ggufKeys) latent() (model.Config, error) {
	c, err := k.common()
	if err != nil {
		return c, err
	}
	c.KVLoraRank, c.QLoraRank = k.number("attention.kv_lora_rank", -1), k.number("attention.q_lora_rank", 0)
	c.RopeDim = k.number("rope.dimension_count", -1)
	head := k.number("attention.key_length", -1)
	c.VDim = k.number("attention.value_length_mla", k.number("attention.value_length", -1))
	c.NopeDim = k.number("attention.key_length_mla", head) - c.RopeDim
	c.DenseLayers = min(k.number("leading_dense_block_count", 0), c.Layers)
	if c.DenseLayers < c.Layers {
		c.RoutedExperts, c.TopK = k.number("expert_count", -1), k.number("expert_used_count", -1)
		c.SharedExperts, c.MoEIntermediate = k.number("expert_shared_count", 0), k.number("expert_feed_forward_length", -1)
		c.RoutedScale = k.real("expert_weights_scale", 1)
		gate := k.number("expert_gating_func", 0)
		k.refuse(gate != sigmoidGate, "a choice of experts by function %d, not by sigmoid (2)", gate)
		normed, _ := k.value("expert_weights_norm").(bool)
		k.refuse(!normed, "weights of experts that are not normed (expert_weights_norm)")
		groups := k.number("expert_group_count", 1)
		k.refuse(groups > 1, "experts in %d groups", groups)
	}
	if k.bad == nil && !c.TieEmbeddings {
		c.TieEmbeddings, k.bad = sameBytes(k.g, "token_embd.weight", "output.weight")
	}
	return c, k.bad
}

// sameBytes reports whether two tensors are the same: deepseek2 files of models whose
// head is the embedding have it twice.
func sameBytes(g *modelfile.GGUF, a, b string) (bool, error) {
	x, _ := g.Lookup(a)
	y, _ := g.Lookup(b)
	if x.Type != y.Type || x.Size != y.Size || len(x.Shape) != len(y.Shape) || x.Shape[0] != y.Shape[0] {
		return false, nil
	}
	const chunk = 16 << 10
	var one, other [chunk]byte
	for at := int64(0); at < x.Size; at += chunk {
		n := min(chunk, x.Size-at)
		if err := g.ReadBytes(a, at, one[:n]); err != nil {
			return false, err
		}
		if err := g.ReadBytes(b, at, other[:n]); err != nil {
			return false, err
		}
		if !bytes.Equal(one[:n], other[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// latentTensors: Hugging Face's names of a layer's parts and deepseek2's, where a
// tensor is one in both.
var latentTensors = map[string]string{
	"input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
	"self_attn.q_proj.weight": "attn_q.weight", "self_attn.q_a_proj.weight": "attn_q_a.weight",
	"self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight", "self_attn.q_b_proj.weight": "attn_q_b.weight",
	"self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight", "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
	"self_attn.kv_b_proj.weight": "attn_kv_b.weight", "self_attn.o_proj.weight": "attn_output.weight",
	"mlp.gate_proj.weight": "ffn_gate.weight", "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
	"mlp.gate.weight": "ffn_gate_inp.weight", "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
	"mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight", "mlp.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
	"mlp.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
}

// latentSource hands out a deepseek2 file's tensors. Experts lie side by side there, and
// the latent's up-projection in two parts.
type latentSource struct {
	*modelfile.GGUF
	config model.Config
}

func (s latentSource) Values() int64 { return modelfile.Values(s.Tensors) }

// place is where a tensor of Hugging Face's name lies: in a tensor of the file, of which
// it is the expert-th slice unless that is -1.
func (s latentSource) place(name string) (file string, expert int) {
	rest, ok := strings.CutPrefix(name, "model.layers.")
	layer, part, cut := strings.Cut(rest, ".")
	if !ok || !cut {
		return ggufName(name), -1
	}
	number, matrix, ok := strings.Cut(strings.TrimPrefix(part, "mlp.experts."), ".")
	if e, err := strconv.Atoi(number); ok && err == nil && strings.HasPrefix(part, "mlp.experts.") {
		return "blk." + layer + ".ffn_" + strings.TrimSuffix(matrix, "_proj.weight") + "_exps.weight", e
	}
	if latentTensors[part] == "" {
		return "", -1
	}
	return "blk." + layer + "." + latentTensors[part], -1
}

// upProjection are the names of the latent's up-projection where it lies in two parts,
// keys [H, c, n] and values [H, v, c].
func (s latentSource) upProjection(name string) (keys, values string, parted bool) {
	layer, ok := strings.CutSuffix(name, ".self_attn.kv_b_proj.weight")
	if !ok {
		return "", "", false
	}
	blk := "blk." + strings.TrimPrefix(layer, "model.layers.")
	_, legacy := s.Lookup(blk + ".attn_kv_b.weight")
	return blk + ".attn_k_b.weight", blk + ".attn_v_b.weight", !legacy
}

// Shape implements source.
func (s latentSource) Shape(name string) ([]int, bool) {
	c := &s.config
	if keys, values, parted := s.upProjection(name); parted {
		k, ok := s.Lookup(keys)
		v, also := s.Lookup(values)
		if !ok || !also || len(k.Shape) != 3 || len(v.Shape) != 3 {
			return nil, false
		}
		if k.Shape[0] != v.Shape[0] || k.Shape[1] != v.Shape[2] || k.Shape[2] != c.NopeDim || v.Shape[1] != c.VDim {
			return slices.Concat(k.Shape, v.Shape), true // no shape that fits
		}
		return []int{k.Shape[0] * (c.NopeDim + c.VDim), k.Shape[1]}, true
	}
	file, expert := s.place(name)
	info, ok := s.Lookup(file)
	if expert < 0 || !ok {
		return info.Shape, ok
	}
	if len(info.Shape) != 3 || info.Shape[0] != c.RoutedExperts {
		return info.Shape, true
	}
	return info.Shape[1:], true
}

// Read implements source.
func (s latentSource) Read(name string, dst []float32) error {
	if keys, values, parted := s.upProjection(name); parted {
		return s.readUpProjection(keys, values, dst)
	}
	file, expert := s.place(name)
	if expert < 0 {
		return s.GGUF.Read(file, dst)
	}
	return s.ReadPart(file, expert*len(dst), dst)
}

func (s latentSource) readUpProjection(keys, values string, dst []float32) error {
	c := &s.config
	k, v := make([]float32, c.Heads*c.KVLoraRank*c.NopeDim), make([]float32, c.Heads*c.VDim*c.KVLoraRank)
	if err := s.GGUF.Read(keys, k); err != nil {
		return err
	}
	if err := s.GGUF.Read(values, v); err != nil {
		return err
	}
	if want := len(k) + len(v); want != len(dst) {
		return fmt.Errorf("tensors %s and %s have %d values together, want %d", keys, values, want, len(dst))
	}
	JoinKVB(s.config, dst, k, v)
	return nil
}

// KVBShapes are those of the keys' and the values' part of the latent's up-projection,
// as deepseek2's newer layout has them.
func KVBShapes(c model.Config) (keys, values []int) {
	return []int{c.Heads, c.KVLoraRank, c.NopeDim}, []int{c.Heads, c.VDim, c.KVLoraRank}
}

// DivideKVB divides W_KVB [H·(n+v), c] into keys [H, c, n], transposed for the
// absorbed form, and values [H, v, c].
func DivideKVB(c model.Config, kvb []float32) (k, v []float32) {
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

// JoinKVB puts them together again.
func JoinKVB(c model.Config, kvb, k, v []float32) {
	n, r := c.NopeDim, c.KVLoraRank
	for h := range c.Heads {
		head := kvb[h*(n+c.VDim)*r:]
		for i := range n {
			for j := range r {
				head[i*r+j] = k[(h*r+j)*n+i]
			}
		}
		copy(head[n*r:(n+c.VDim)*r], v[h*c.VDim*r:])
	}
}
