package export

// groupedJSON is config.json as transformers' LlamaConfig, Qwen2Config and Qwen3Config
// read it. What a class does not know is left out.
type groupedJSON struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`
	DType         string   `json:"dtype"`
	TorchDType    string   `json:"torch_dtype"` // the older name

	VocabSize    int `json:"vocab_size"`
	Hidden       int `json:"hidden_size"`
	Intermediate int `json:"intermediate_size"`
	Layers       int `json:"num_hidden_layers"`
	Heads        int `json:"num_attention_heads"`
	KVHeads      int `json:"num_key_value_heads"`
	HeadDim      int `json:"head_dim"`
	MaxPositions int `json:"max_position_embeddings"`

	HiddenAct        string  `json:"hidden_act"`
	NormEps          decimal `json:"rms_norm_eps"`
	AttentionBias    *bool   `json:"attention_bias,omitempty"` // of all four projections; Qwen2 has its own three without a word
	MLPBias          *bool   `json:"mlp_bias,omitempty"`
	AttentionDropout decimal `json:"attention_dropout"`

	UseSlidingWindow *bool `json:"use_sliding_window,omitempty"`

	RopeTheta      decimal         `json:"rope_theta"`
	RopeParameters ropeParameters  `json:"rope_parameters"`
	RopeScaling    *ropeParameters `json:"rope_scaling"` // the older name, without theta

	TieEmbeddings    bool    `json:"tie_word_embeddings"`
	InitializerRange decimal `json:"initializer_range"`
	UseCache         bool    `json:"use_cache"`

	BOS *int32 `json:"bos_token_id"` // null: nothing is put in front of a conversation
	EOS int32  `json:"eos_token_id"` // the usual one; generation_config.json has them all
	Pad int32  `json:"pad_token_id"`
}

func (s *student) groupedConfig() groupedJSON {
	c := s.config
	f := groupedJSON{
		Architectures: []string{s.class}, ModelType: s.kind, DType: "float32", TorchDType: "float32",
		VocabSize: c.VocabSize, Hidden: c.Hidden, Intermediate: c.Intermediate, Layers: c.Layers,
		Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.RopeDim, MaxPositions: c.MaxPositions,
		HiddenAct: "silu", NormEps: decimal(c.NormEps),
		RopeTheta: decimal(c.RopeTheta), RopeParameters: s.ropeParameters(),
		TieEmbeddings: c.TieEmbeddings, InitializerRange: 0.02, UseCache: true,
		BOS: s.words.bosID(), EOS: s.words.eos, Pad: s.words.pad,
	}
	no := false
	switch s.kind {
	case "llama":
		f.AttentionBias, f.MLPBias = &no, &no
	case "qwen2":
		f.UseSlidingWindow = &no
	case "qwen3":
		f.AttentionBias, f.UseSlidingWindow = &no, &no
	}
	if s.rope != nil {
		r := f.RopeParameters
		r.Theta = 0
		f.RopeScaling = &r
	}
	return f
}

// ropeParameters is rope_parameters of config.json.
type ropeParameters struct {
	Type     string  `json:"rope_type"`
	Theta    decimal `json:"rope_theta,omitempty"`
	Factor   decimal `json:"factor,omitempty"`
	Low      decimal `json:"low_freq_factor,omitempty"`
	High     decimal `json:"high_freq_factor,omitempty"`
	Original int     `json:"original_max_position_embeddings,omitempty"`
}

func (s *student) ropeParameters() ropeParameters {
	p := ropeParameters{Type: "default", Theta: decimal(s.config.RopeTheta)}
	if r := s.rope; r != nil {
		p.Type, p.Factor, p.Low, p.High, p.Original = r.Type, decimal(r.Factor), decimal(r.Low), decimal(r.High), r.Original
	}
	return p
}
