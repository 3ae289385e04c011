package model

import (
	"fmt"
	"slices"
)

// Kind says what a parameter is, for an optimiser that treats kinds apart.
type Kind int

// The kinds of parameters.
const (
	KindMatrix    Kind = iota // a projection inside of a layer; each expert's by itself
	KindRouter                // a layer's gate over its routed experts, [experts, hidden]
	KindEmbedding             // token embeddings (and the output head, if tied)
	KindHead                  // the output head
	KindNorm                  // a norm's gains
	KindBias                  // a projection's bias
	KindAdapter               // a low-rank matrix of an adapter
	kindLoad                  // the router's selection bias: moved by load, not by gradient
	kindFixed                 // factors of rotary frequencies
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{"matrix", "router", "embedding", "head", "norm", "bias", "adapter", "load", "fixed"}[k]
}

// number is float32 in the product; tests run the same layout in float64.
type number interface{ float32 | float64 }

// weights are views into one arena. What is multiplied with the same input lies
// together, so that it is one product: queries and latents (in), gate and up.
type weights[F number] struct {
	embed []F // [vocab, d]
	norm  []F // [d]
	head  []F // [vocab, d]; embed itself if tied
	rope  []F // [r/2] what rotary frequencies are divided by, or empty
	layer []layerWeights[F]
}

type layerWeights[F number] struct {
	layerVectors[F]
	in  []F // [inWidth, d]: W_Q or W_QA, then W_DKV, then W_KR; grouped: W_Q, W_K, W_V
	qB  []F // [H·(n+r), q_lora_rank], or empty
	kvB []F // [H·(n+v), kv_lora_rank], or empty
	out []F // [d, H·v]

	dense mlpWeights[F] // of a dense layer

	router []F // [experts, d]
	bias   []F // [experts]
	expert []mlpWeights[F]
	shared mlpWeights[F]
}

// layerVectors are a layer's parameters that are no matrices. What the architecture
// does not have is empty.
type layerVectors[F number] struct {
	attnNorm, ffnNorm []F // [d]
	qNorm, kvNorm     []F // [q_lora_rank], [kv_lora_rank]
	inBias            []F // [inWidth] of queries, keys and values
	qHead, kHead      []F // [r] norms of each head's query and key
}

// all are the vectors in order.
func (v *layerVectors[F]) all() [7][]F {
	return [...][]F{v.attnNorm, v.ffnNorm, v.qNorm, v.kvNorm, v.inBias, v.qHead, v.kHead}
}

// clone copies the vectors.
func (v *layerVectors[F]) clone(c *Config) layerVectors[F] {
	_, n := carveVectors[F](c, nil)
	to, _ := carveVectors(c, make([]F, n))
	for i, x := range to.all() {
		copy(x, v.all()[i])
	}
	return to
}

// carveVectors lays a layer's vectors out in x, which may be nil to learn its length.
func carveVectors[F number](c *Config, x []F) (v layerVectors[F], n int) {
	take := func(to *[]F, width int) {
		if x != nil {
			*to = x[n : n+width : n+width]
		}
		n += width
	}
	take(&v.attnNorm, c.Hidden)
	take(&v.ffnNorm, c.Hidden)
	take(&v.qNorm, c.QLoraRank)
	take(&v.kvNorm, c.KVLoraRank)
	if c.QKVBias {
		take(&v.inBias, c.inWidth())
	}
	if c.QKNorm {
		take(&v.qHead, c.RopeDim)
		take(&v.kHead, c.RopeDim)
	}
	return v, n
}

// mlpWeights are a SwiGLU: down·(silu(gate·x) ⊙ up·x).
type mlpWeights[F number] struct {
	width  int
	gateUp []F // [2·width, d]
	down   []F // [d, width]
}

// spec is where a tensor lies in the arena.
type spec struct {
	name  string
	shape []int
	kind  Kind
	at    int

	writes bool  // a projection into the residual stream
	blocks []int // see Parameter
}

func (s spec) len() int { return elements(s.shape) }

// elements is how many a tensor of a shape has.
func elements(shape []int) int {
	n := 1
	for _, v := range shape {
		n *= v
	}
	return n
}

// carver hands out the arena piece by piece, each tensor named.
type carver[F number] struct {
	arena []F // nil: only count
	at    int
	specs []spec
}

// align starts the next tensor on a cache line.
func (a *carver[F]) align() { a.at = (a.at + 15) &^ 15 }

func (a *carver[F]) take(kind Kind, name string, shape ...int) []F {
	s := spec{name: name, shape: shape, kind: kind, at: a.at}
	a.specs = append(a.specs, s)
	a.at += s.len()
	return a.view(s.at)
}

// writes marks the last tensor as a projection into the residual stream.
func (a *carver[F]) writes() { a.specs[len(a.specs)-1].writes = true }

// blocks marks the last tensor as several matrices, one below the other, of these
// heights.
func (a *carver[F]) blocks(heights ...int) { a.specs[len(a.specs)-1].blocks = heights }

// heads marks it as one matrix for each head.
func (a *carver[F]) heads(n, height int) { a.blocks(slices.Repeat([]int{height}, n)...) }

// view is the arena from at to what has been taken.
func (a *carver[F]) view(at int) []F {
	if a.arena == nil {
		return nil
	}
	return a.arena[at:a.at:a.at]
}

func (a *carver[F]) mlp(name string, width, d int) mlpWeights[F] {
	a.align()
	at := a.at
	a.take(KindMatrix, name+".gate_proj.weight", width, d)
	a.take(KindMatrix, name+".up_proj.weight", width, d)
	w := mlpWeights[F]{width: width, gateUp: a.view(at)}
	a.align()
	w.down = a.take(KindMatrix, name+".down_proj.weight", d, width)
	a.writes()
	return w
}

// RopeFactorsName names the factors of rotary frequencies, as GGUF does; Hugging
// Face's files have none, and say in their configuration how to compute them.
const RopeFactorsName = "rope_freqs.weight"

// carve lays the weights of c out in an arena, which may be nil to learn its
// length and the tensors' places.
func carve[F number](c Config, arena []F) (w weights[F], specs []spec, length int) {
	a := &carver[F]{arena: arena}
	w.carveInput(a, c)
	w.layer = make([]layerWeights[F], c.Layers)
	for i := range w.layer {
		w.layer[i] = carveLayer(a, c, i)
	}
	w.carveOutput(a, c)
	a.align()
	return w, a.specs, a.at
}

// carveInput lays out what comes before the layers.
func (w *weights[F]) carveInput(a *carver[F], c Config) {
	w.embed = a.take(KindEmbedding, "model.embed_tokens.weight", c.VocabSize, c.Hidden)
	if c.RopeFactors {
		a.align()
		w.rope = a.take(kindFixed, RopeFactorsName, c.RopeDim/2)
	}
}

// carveOutput lays out what comes after them. A head that is tied is the embedding.
func (w *weights[F]) carveOutput(a *carver[F], c Config) {
	a.align()
	w.norm = a.take(KindNorm, "model.norm.weight", c.Hidden)
	w.head = w.embed
	if !c.TieEmbeddings {
		a.align()
		w.head = a.take(KindHead, "lm_head.weight", c.VocabSize, c.Hidden)
	}
}

func carveLayer[F number](a *carver[F], c Config, i int) (l layerWeights[F]) {
	name := fmt.Sprintf("model.layers.%d", i)
	d := c.Hidden
	a.align()
	l.attnNorm = a.take(KindNorm, name+".input_layernorm.weight", d)
	a.align()
	at := a.at
	if c.QLoraRank > 0 {
		a.take(KindMatrix, name+".self_attn.q_a_proj.weight", c.QLoraRank, d)
	} else {
		a.take(KindMatrix, name+".self_attn.q_proj.weight", c.qWidth(), d)
		a.heads(c.Heads, c.qkDim())
	}
	if c.grouped() {
		for _, proj := range []string{"k", "v"} {
			a.take(KindMatrix, name+".self_attn."+proj+"_proj.weight", c.KVHeads*c.VDim, d)
			a.heads(c.KVHeads, c.VDim)
		}
	} else {
		a.take(KindMatrix, name+".self_attn.kv_a_proj_with_mqa.weight", c.cacheWidth(), d)
		a.blocks(c.KVLoraRank, c.RopeDim)
	}
	l.in = a.view(at)
	if c.QKVBias {
		a.align()
		at := a.at
		a.take(KindBias, name+".self_attn.q_proj.bias", c.qWidth())
		a.take(KindBias, name+".self_attn.k_proj.bias", c.KVHeads*c.VDim)
		a.take(KindBias, name+".self_attn.v_proj.bias", c.KVHeads*c.VDim)
		l.inBias = a.view(at)
	}
	if c.QKNorm {
		a.align()
		l.qHead = a.take(KindNorm, name+".self_attn.q_norm.weight", c.RopeDim)
		a.align()
		l.kHead = a.take(KindNorm, name+".self_attn.k_norm.weight", c.RopeDim)
	}
	if c.QLoraRank > 0 {
		a.align()
		l.qNorm = a.take(KindNorm, name+".self_attn.q_a_layernorm.weight", c.QLoraRank)
		a.align()
		l.qB = a.take(KindMatrix, name+".self_attn.q_b_proj.weight", c.qWidth(), c.QLoraRank)
		a.heads(c.Heads, c.qkDim())
	}
	if !c.grouped() {
		a.align()
		l.kvNorm = a.take(KindNorm, name+".self_attn.kv_a_layernorm.weight", c.KVLoraRank)
		a.align()
		l.kvB = a.take(KindMatrix, name+".self_attn.kv_b_proj.weight", c.kvWidth(), c.KVLoraRank)
		a.heads(c.Heads, c.NopeDim+c.VDim)
	}
	a.align()
	l.out = a.take(KindMatrix, name+".self_attn.o_proj.weight", d, c.oWidth())
	a.writes()
	a.align()
	l.ffnNorm = a.take(KindNorm, name+".post_attention_layernorm.weight", d)
	if !c.isMoE(i) {
		l.dense = a.mlp(name+".mlp", c.Intermediate, d)
		return l
	}
	a.align()
	l.router = a.take(KindRouter, name+".mlp.gate.weight", c.RoutedExperts, d)
	a.align()
	l.bias = a.take(kindLoad, name+".mlp.gate.e_score_correction_bias", c.RoutedExperts)
	l.expert = make([]mlpWeights[F], c.RoutedExperts)
	for e := range l.expert {
		l.expert[e] = a.mlp(fmt.Sprintf("%s.mlp.experts.%d", name, e), c.MoEIntermediate, d)
	}
	l.shared = a.mlp(name+".mlp.shared_experts", c.sharedWidth(), d)
	return l
}
