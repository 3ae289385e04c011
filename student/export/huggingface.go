package export

import (
	"bytes"
	"encoding/json"

	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
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

// configJSON is config.json as transformers' DeepseekV3Config reads it. Values
// whose defaults there are those of the 671B model are all written out.
type configJSON struct {
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
	RopeScaling      *int           `json:"rope_scaling"` // null
	TieEmbeddings    bool           `json:"tie_word_embeddings"`
	InitializerRange decimal        `json:"initializer_range"`
	UseCache         bool           `json:"use_cache"`

	BOS *int32 `json:"bos_token_id"` // null: nothing is put in front of a conversation
	EOS int32  `json:"eos_token_id"`
	Pad int32  `json:"pad_token_id"`
}

type ropeParameters struct {
	Type  string  `json:"rope_type"`
	Theta decimal `json:"rope_theta"`
}

func hfConfig(c model.Config, t *tokenizer.Tokenizer) configJSON {
	f := configJSON{
		Architectures: []string{"DeepseekV3ForCausalLM"}, ModelType: "deepseek_v3", DType: "float32", TorchDType: "float32",
		VocabSize: c.VocabSize, Hidden: c.Hidden, Intermediate: c.Intermediate, MoEIntermediate: c.MoEIntermediate,
		Layers: c.Layers, Heads: c.Heads, KVHeads: c.Heads,
		NopeDim: c.NopeDim, RopeDim: c.RopeDim, VDim: c.VDim, KVLoraRank: c.KVLoraRank, MaxPositions: c.MaxPositions,
		RoutedExperts: c.RoutedExperts, SharedExperts: c.SharedExperts, TopK: c.TopK, DenseLayers: c.DenseLayers,
		MoELayerFreq: 1, Groups: 1, TopKGroups: 1, NormTopK: true, RoutedScale: decimal(c.RoutedScale),
		ScoringFunc: "sigmoid", TopKMethod: "noaux_tc",
		HiddenAct: "silu", NormEps: decimal(c.NormEps), RopeTheta: decimal(c.RopeTheta), RopeParameters: ropeParameters{"default", decimal(c.RopeTheta)},
		RopeInterleave: true, TieEmbeddings: c.TieEmbeddings, InitializerRange: 0.02, UseCache: true,
		EOS: mustID(t, tokenizer.ImEnd), Pad: mustID(t, tokenizer.EndOfText),
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

// mustID is the id of a special token, which Options.check has made sure of.
func mustID(t *tokenizer.Tokenizer, token string) int32 {
	id, _ := t.ID(token)
	return id
}

type generationJSON struct {
	EOS    []int32 `json:"eos_token_id"`
	Pad    int32   `json:"pad_token_id"`
	Sample bool    `json:"do_sample"`
}

func generationConfig(t *tokenizer.Tokenizer) generationJSON {
	end := mustID(t, tokenizer.EndOfText)
	return generationJSON{EOS: []int32{mustID(t, tokenizer.ImEnd), end}, Pad: end}
}

type tokenizerJSON struct {
	Class        string        `json:"tokenizer_class"`
	MaxLength    int           `json:"model_max_length"`
	BOS          *string       `json:"bos_token"`
	EOS          string        `json:"eos_token"`
	Pad          string        `json:"pad_token"`
	Unk          *string       `json:"unk_token"`
	AddBOS       bool          `json:"add_bos_token"`
	CleanUp      bool          `json:"clean_up_tokenization_spaces"`
	AddedDecoder map[int32]any `json:"added_tokens_decoder"`
	ChatTemplate string        `json:"chat_template"`
}

type addedTokenJSON struct {
	Content    string `json:"content"`
	Lstrip     bool   `json:"lstrip"`
	Normalized bool   `json:"normalized"`
	Rstrip     bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
	Special    bool   `json:"special"`
}

func tokenizerConfig(c model.Config, t *tokenizer.Tokenizer) tokenizerJSON {
	f := tokenizerJSON{
		Class: "PreTrainedTokenizerFast", MaxLength: c.MaxPositions,
		EOS: tokenizer.ImEnd, Pad: tokenizer.EndOfText,
		AddedDecoder: map[int32]any{}, ChatTemplate: chat.ChatML,
	}
	for _, a := range t.Added() {
		f.AddedDecoder[a.ID] = addedTokenJSON{Content: a.Content, Special: a.Special}
	}
	return f
}

func specialTokensMap() map[string]any {
	return map[string]any{
		"eos_token": tokenizer.ImEnd, "pad_token": tokenizer.EndOfText,
		"additional_special_tokens": []string{tokenizer.ImStart},
	}
}
