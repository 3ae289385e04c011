package export

import (
	"bytes"
	"encoding/json"
)

// decimal is a number that always has a point or an exponent: transformers
// refuses 1 where it wants 1.0.
type decimal float64

// MarshalJSON implements json.Marshaler.
func (d decimal) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(float64(d))
	if err == nil && !bytes.ContainsAny(b, ".e") {
		b = append(b, ".0"...)
	}
	return b, err
}

// latentJSON is config.json as transformers' DeepseekV3Config reads it. Values
// whose defaults there are those of the 671B model are all written out.
type latentJSON struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`
	DType         string   `json:"dtype"`
	TorchDType    string   `json:"torch_dtype"` // the older name

	VocabSize           int  `json:"vocab_size"`
	Hidden              int  `json:"hidden_size"`
	Intermediate        int  `json:"intermediate_size"`
	MoEIntermediate     int  `json:"moe_intermediate_size"`
	Layers              int  `json:"num_hidden_layers"`
	Heads               int  `json:"num_attention_heads"`
	KVHeads             int  `json:"num_key_value_heads"` // = heads: the latent is expanded for each
	NopeDim             int  `json:"qk_nope_head_dim"`
	RopeDim             int  `json:"qk_rope_head_dim"`
	VDim                int  `json:"v_head_dim"`
	KVLoraRank          int  `json:"kv_lora_rank"`
	QLoraRank           *int `json:"q_lora_rank"` // null: queries are projected directly
	MaxPositions        int  `json:"max_position_embeddings"`
	NextTokenPredictors int  `json:"num_nextn_predict_layers"`

	RoutedExperts int     `json:"n_routed_experts"`
	SharedExperts int     `json:"n_shared_experts"`
	TopK          int     `json:"num_experts_per_tok"`
	DenseLayers   int     `json:"first_k_dense_replace"`
	MoELayerFreq  int     `json:"moe_layer_freq"`
	Groups        int     `json:"n_group"`
	TopKGroups    int     `json:"topk_group"`
	NormTopK      bool    `json:"norm_topk_prob"`
	RoutedScale   decimal `json:"routed_scaling_factor"`
	ScoringFunc   string  `json:"scoring_func"`
	TopKMethod    string  `json:"topk_method"`

	HiddenAct        string         `json:"hidden_act"`
	NormEps          decimal        `json:"rms_norm_eps"`
	AttentionBias    bool           `json:"attention_bias"`
	AttentionDropout decimal        `json:"attention_dropout"`
	RopeTheta        decimal        `json:"rope_theta"`
	RopeParameters   ropeParameters `json:"rope_parameters"`
	RopeInterleave   bool           `json:"rope_interleave"`
	RopeScaling      *int           `json:"rope_scaling"` // null: there is none
	TieEmbeddings    bool           `json:"tie_word_embeddings"`
	InitializerRange decimal        `json:"initializer_range"`
	UseCache         bool           `json:"use_cache"`

	BOS *int32 `json:"bos_token_id"` // null: nothing is put in front of a conversation
	EOS int32  `json:"eos_token_id"`
	Pad int32  `json:"pad_token_id"`
}

// hfConfig is config.json.
func (s *student) hfConfig() any {
	if s.config.KVHeads > 0 {
		return s.groupedConfig()
	}
	return s.latentConfig()
}

func (s *student) latentConfig() latentJSON {
	c := s.config
	f := latentJSON{
		Architectures: []string{s.class}, ModelType: s.kind, DType: "float32", TorchDType: "float32",
		VocabSize: c.VocabSize, Hidden: c.Hidden, Intermediate: c.Intermediate, MoEIntermediate: c.MoEIntermediate,
		Layers: c.Layers, Heads: c.Heads, KVHeads: c.Heads,
		NopeDim: c.NopeDim, RopeDim: c.RopeDim, VDim: c.VDim, KVLoraRank: c.KVLoraRank, MaxPositions: c.MaxPositions,
		RoutedExperts: c.RoutedExperts, SharedExperts: c.SharedExperts, TopK: c.TopK, DenseLayers: c.DenseLayers,
		MoELayerFreq: 1, Groups: 1, TopKGroups: 1, NormTopK: true, RoutedScale: decimal(c.RoutedScale),
		ScoringFunc: "sigmoid", TopKMethod: "noaux_tc",
		HiddenAct: "silu", NormEps: decimal(c.NormEps), RopeTheta: decimal(c.RopeTheta), RopeParameters: s.ropeParameters(),
		RopeInterleave: true, TieEmbeddings: c.TieEmbeddings, InitializerRange: 0.02, UseCache: true,
		BOS: s.words.bosID(), EOS: s.words.eos, Pad: s.words.pad,
	}
	if c.QLoraRank > 0 {
		f.QLoraRank = &c.QLoraRank
	}
	// Of a model without dense layers, or without experts, readers still check
	// the numbers of what it lacks.
	if c.DenseLayers == 0 {
		f.Intermediate = c.MoEIntermediate
	}
	if c.DenseLayers == c.Layers {
		f.MoEIntermediate, f.RoutedExperts, f.SharedExperts, f.TopK = c.Intermediate, 2, 1, 1
		f.RoutedScale = 1
	}
	return f
}
