package model

import (
	"fmt"
	"math"
	"strings"
)

// Config is the shape of a model, in DeepSeek-V3's terms. Its attention is latent,
// or grouped-query attention as Llama's if KVHeads is set: then all of a head is
// rotated (NopeDim 0, RopeDim = VDim) and there are no latents (KVLoraRank and
// QLoraRank 0).
type Config struct {
	VocabSize int `json:"vocab_size"`
	Hidden    int `json:"hidden_size"`
	Layers    int `json:"num_hidden_layers"`
	Heads     int `json:"num_attention_heads"`

	NopeDim    int `json:"qk_nope_head_dim"` // of a head's query and key, without position
	RopeDim    int `json:"qk_rope_head_dim"` // of a head's query and of the shared key, rotated
	VDim       int `json:"v_head_dim"`
	KVLoraRank int `json:"kv_lora_rank"` // size of the cached latent
	QLoraRank  int `json:"q_lora_rank"`  // 0: queries are projected directly

	// KVHeads is how many keys and values a token has, each for as many heads of
	// queries; as many as Heads is multi-head attention.
	KVHeads int `json:"num_key_value_heads,omitempty"`

	// QKVBias adds a bias to grouped queries, keys and values, as Qwen2 does; QKNorm
	// norms each head's query and key before rotating them, as Qwen3 does.
	QKVBias bool `json:"qkv_bias,omitempty"`
	QKNorm  bool `json:"qk_norm,omitempty"`

	Intermediate    int `json:"intermediate_size"`     // width of a dense layer's SwiGLU
	MoEIntermediate int `json:"moe_intermediate_size"` // width of one expert
	RoutedExperts   int `json:"n_routed_experts"`
	SharedExperts   int `json:"n_shared_experts"`
	TopK            int `json:"num_experts_per_tok"`
	DenseLayers     int `json:"first_k_dense_replace"` // the first layers are dense; = Layers: all are

	RopeTheta     float64 `json:"rope_theta"`
	RopeFactors   bool    `json:"rope_factors,omitempty"` // each rotary frequency is divided by a factor of its own (Llama 3.1)
	NormEps       float64 `json:"rms_norm_eps"`           // of the layers' norms; latent norms always use 1e-6
	MaxPositions  int     `json:"max_position_embeddings"`
	RoutedScale   float64 `json:"routed_scaling_factor"`
	TieEmbeddings bool    `json:"tie_word_embeddings"`
}

// latentEps is the epsilon of the norms of the query and key-value latents,
// which DeepSeek-V3 does not take from its configuration.
const latentEps = 1e-6

// Preset returns a configuration by name: "tiny-dense", "tiny-moe" with as many
// active parameters a token, or "tiny", the one of the two that learns faster.
func Preset(name string, vocab int) (Config, error) {
	c := Config{
		VocabSize: vocab, Hidden: 128, Layers: 4, Heads: 4,
		NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 64,
		Intermediate: 384, DenseLayers: 4,
		RopeTheta: 200, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}
	switch name {
	case "tiny", "tiny-dense":
	case "tiny-moe":
		// 2 routed and 1 shared expert of 128 are as wide as 384.
		c.DenseLayers, c.MoEIntermediate = 1, 128
		c.RoutedExperts, c.SharedExperts, c.TopK = 16, 1, 2
	default:
		return Config{}, fmt.Errorf("model preset %q is unknown, want tiny, tiny-dense or tiny-moe", name)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("preset %s: %w", name, err)
	}
	return c, nil
}

// Bounds keep products of sizes far from overflow and refuse what no machine
// that runs this could hold.
const (
	maxDim    = 1 << 20
	maxLayers = 1 << 10
	maxParams = 1 << 33
)

// Validate says everything that is wrong with c, or nil.
func (c Config) Validate() error {
	var bad []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	dim := func(name string, v int) { check(v >= 1 && v <= maxDim, "%s %d is not in 1..%d", name, v, maxDim) }

	dim("vocab_size", c.VocabSize)
	dim("hidden_size", c.Hidden)
	dim("num_attention_heads", c.Heads)
	dim("qk_rope_head_dim", c.RopeDim)
	dim("v_head_dim", c.VDim)
	if c.grouped() {
		check(c.KVHeads >= 1 && c.Heads%c.KVHeads == 0, "num_key_value_heads %d does not divide num_attention_heads %d", c.KVHeads, c.Heads)
		check(c.NopeDim == 0 && c.RopeDim == c.VDim, "grouped-query attention has heads of one size, all rotated, not %d + %d and %d", c.NopeDim, c.RopeDim, c.VDim)
		check(c.KVLoraRank == 0 && c.QLoraRank == 0, "grouped-query attention has no latents, not %d and %d", c.KVLoraRank, c.QLoraRank)
	} else {
		check(!c.QKVBias && !c.QKNorm, "biases and norms of queries and keys need num_key_value_heads")
		dim("qk_nope_head_dim", c.NopeDim)
		dim("kv_lora_rank", c.KVLoraRank)
	}
	dim("max_position_embeddings", c.MaxPositions)
	check(c.Layers >= 1 && c.Layers <= maxLayers, "num_hidden_layers %d is not in 1..%d", c.Layers, maxLayers)
	check(c.RopeDim%2 == 0, "qk_rope_head_dim %d is odd: rotation works on pairs", c.RopeDim)
	check(c.QLoraRank >= 0 && c.QLoraRank <= maxDim, "q_lora_rank %d is not in 0..%d (0: none)", c.QLoraRank, maxDim)
	check(c.DenseLayers >= 0 && c.DenseLayers <= c.Layers, "first_k_dense_replace %d is not in 0..%d, the number of layers", c.DenseLayers, c.Layers)
	if c.DenseLayers > 0 {
		dim("intermediate_size", c.Intermediate)
	}
	if c.DenseLayers < c.Layers {
		dim("moe_intermediate_size", c.MoEIntermediate)
		check(c.RoutedExperts >= 2 && c.RoutedExperts <= maxDim, "n_routed_experts %d is not in 2..%d", c.RoutedExperts, maxDim)
		check(c.SharedExperts >= 1 && c.SharedExperts <= maxDim, "n_shared_experts %d is not in 1..%d", c.SharedExperts, maxDim)
		check(c.TopK >= 1 && c.TopK <= c.RoutedExperts, "num_experts_per_tok %d is not in 1..%d, the number of routed experts", c.TopK, c.RoutedExperts)
	}
	positive := func(name string, v float64) {
		check(v > 0 && !math.IsInf(v, 1), "%s %v is not a positive number", name, v)
	}
	positive("rope_theta", c.RopeTheta)
	positive("rms_norm_eps", c.NormEps)
	if c.DenseLayers < c.Layers {
		positive("routed_scaling_factor", c.RoutedScale)
	}
	if len(bad) == 0 && !(c.size(true) <= maxParams) {
		bad = append(bad, fmt.Sprintf("%.3g parameters are more than %d", c.size(true), maxParams))
	}
	if len(bad) > 0 {
		return fmt.Errorf("model configuration: %s", strings.Join(bad, "; "))
	}
	return nil
}

// Params counts the parameters of a valid c, router biases included. active
// leaves out the routed experts that a token does not go through.
func (c Config) Params() (total, active int64) { return int64(c.size(true)), int64(c.size(false)) }

// size counts parameters in floating point, which cannot overflow.
func (c Config) size(all bool) float64 {
	d := float64(c.Hidden)
	embeddings := float64(c.VocabSize) * d
	n := embeddings + d
	if c.RopeFactors {
		n += float64(c.RopeDim / 2)
	}
	if !c.TieEmbeddings {
		n += embeddings
	}
	_, vectors := carveVectors[float32](&c, nil)
	n += float64(c.Layers) * (float64(vectors) + c.attentionWeights())
	n += float64(c.DenseLayers) * 3 * d * float64(c.Intermediate)
	experts := c.TopK
	if all {
		experts = c.RoutedExperts
	}
	n += float64(c.Layers-c.DenseLayers) * (float64(c.RoutedExperts)*(d+1) +
		3*d*float64(c.MoEIntermediate)*(float64(c.SharedExperts)+float64(experts)))
	return n
}

// attentionWeights counts the matrix elements of one layer's attention.
func (c Config) attentionWeights() float64 {
	d, heads := float64(c.Hidden), float64(c.Heads)
	q := heads * float64(c.qkDim())
	if c.grouped() {
		return d * (2*q + 2*float64(c.KVHeads*c.VDim))
	}
	n := d*float64(c.KVLoraRank+c.RopeDim) + float64(c.KVLoraRank)*heads*float64(c.NopeDim+c.VDim) + heads*float64(c.VDim)*d
	if c.QLoraRank > 0 {
		return n + float64(c.QLoraRank)*(d+q)
	}
	return n + d*q
}

// TrainFLOPs is the number of useful floating point operations of a forward and
// backward pass over b: 6 for each weight that a token is multiplied with (the
// output head for loss tokens only) and, for each pair of positions of which one
// attends to the other, 6 for each element of query, key and value.
func (c Config) TrainFLOPs(b Batch) float64 {
	losses := 0
	for _, t := range b.Targets {
		if t >= 0 {
			losses++
		}
	}
	d := float64(c.Hidden)
	moe := c.Layers - c.DenseLayers
	weights := float64(c.Layers)*c.attentionWeights() + float64(c.DenseLayers)*3*d*float64(c.Intermediate) +
		float64(moe)*d*(float64(c.RoutedExperts)+3*float64(c.MoEIntermediate)*float64(c.TopK+c.SharedExperts))
	pairs := 0.0
	for s := range b.Starts {
		from, to := b.bounds(s)
		n := float64(to - from)
		pairs += n * (n + 1) / 2
	}
	return 6*(weights*float64(len(b.Tokens))+float64(c.VocabSize)*d*float64(losses)) +
		6*pairs*float64(c.Layers)*float64(c.Heads)*float64(c.qkDim()+c.VDim)
}

func (c Config) grouped() bool { return c.KVHeads != 0 }

// keyHeads is how many keys and values a token has for attention, cached or made of
// its latent.
func (c Config) keyHeads() int {
	if c.grouped() {
		return c.KVHeads
	}
	return c.Heads
}

// queriesOf is how many heads of queries share a key and a value.
func (c Config) queriesOf() int { return c.Heads / c.keyHeads() }

func (c Config) qkDim() int   { return c.NopeDim + c.RopeDim }
func (c Config) qWidth() int  { return c.Heads * c.qkDim() }
func (c Config) kvWidth() int { return c.Heads * (c.NopeDim + c.VDim) }
func (c Config) oWidth() int  { return c.Heads * c.VDim }

// qIn is the width of what the hidden state is first projected to for queries.
func (c Config) qIn() int {
	if c.QLoraRank > 0 {
		return c.QLoraRank
	}
	return c.qWidth()
}

// inWidth is the width of everything that attention projects from the hidden
// state in one product: queries (or their latent), latent, rotary key; or queries,
// keys, values.
func (c Config) inWidth() int { return c.qIn() + c.cacheWidth() }

// cacheWidth is the number of values cached for a token and layer.
func (c Config) cacheWidth() int {
	if c.grouped() {
		return 2 * c.KVHeads * c.VDim
	}
	return c.KVLoraRank + c.RopeDim
}

// CacheValues is the number of values that a decoder caches of a token, in all layers.
func (c Config) CacheValues() int { return c.Layers * c.cacheWidth() }

func (c Config) isMoE(layer int) bool { return layer >= c.DenseLayers }
func (c Config) sharedWidth() int     { return c.SharedExperts * c.MoEIntermediate }
