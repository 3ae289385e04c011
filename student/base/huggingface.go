package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"retort/internal/modelfile"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/workspace"
)

// hfConfig is what of config.json decides what is computed.
type hfConfig struct {
	Architectures []string `json:"architectures"`

	VocabSize     int     `json:"vocab_size"`
	Hidden        int     `json:"hidden_size"`
	Intermediate  int     `json:"intermediate_size"`
	Layers        int     `json:"num_hidden_layers"`
	Heads         int     `json:"num_attention_heads"`
	KVHeads       int     `json:"num_key_value_heads"` // 0: as many as heads
	HeadDim       int     `json:"head_dim"`            // 0: hidden / heads
	MaxPositions  int     `json:"max_position_embeddings"`
	NormEps       float64 `json:"rms_norm_eps"`
	TieEmbeddings *bool   `json:"tie_word_embeddings"`

	RopeTheta      *float64 `json:"rope_theta"`
	RopeScaling    *hfRope  `json:"rope_scaling"`
	RopeParameters *hfRope  `json:"rope_parameters"`

	HiddenAct        string   `json:"hidden_act"`
	AttentionBias    *bool    `json:"attention_bias"`
	MLPBias          bool     `json:"mlp_bias"`
	SlidingWindow    *int     `json:"sliding_window"`
	UseSlidingWindow *bool    `json:"use_sliding_window"`
	LayerTypes       []string `json:"layer_types"`

	Quantization json.RawMessage `json:"quantization_config"`

	hfLatent

	EOS ids `json:"eos_token_id"`
}

// hfLatent is what DeepSeek-V3 has besides.
type hfLatent struct {
	NopeDim         int      `json:"qk_nope_head_dim"`
	RopeDim         int      `json:"qk_rope_head_dim"`
	VDim            int      `json:"v_head_dim"`
	KVLoraRank      int      `json:"kv_lora_rank"`
	QLoraRank       *int     `json:"q_lora_rank"`
	MoEIntermediate int      `json:"moe_intermediate_size"`
	RoutedExperts   int      `json:"n_routed_experts"`
	SharedExperts   int      `json:"n_shared_experts"`
	TopK            int      `json:"num_experts_per_tok"`
	DenseLayers     *int     `json:"first_k_dense_replace"`
	RoutedScale     *float64 `json:"routed_scaling_factor"`
	Groups          *int     `json:"n_group"`
	NormTopK        *bool    `json:"norm_topk_prob"`
	Scoring         *string  `json:"scoring_func"`
	Interleave      *bool    `json:"rope_interleave"`
}

// fill sets what c has of it. What a file leaves out is transformers' default.
func (f *hfLatent) fill(c *model.Config) error {
	switch {
	case f.Groups == nil || *f.Groups != 1:
		return unsupported("experts in groups (n_group)")
	case f.NormTopK != nil && !*f.NormTopK:
		return unsupported("weights of experts that are not normed (norm_topk_prob)")
	case f.Scoring != nil && *f.Scoring != "sigmoid":
		return unsupported("scores of experts by %q", *f.Scoring)
	case f.Interleave != nil && !*f.Interleave:
		return unsupported("heads that are rotated in halves (rope_interleave)")
	case f.DenseLayers == nil || f.RoutedScale == nil:
		return errors.New("config.json: first_k_dense_replace and routed_scaling_factor must be there")
	}
	c.NopeDim, c.RopeDim, c.VDim, c.KVLoraRank = f.NopeDim, f.RopeDim, f.VDim, f.KVLoraRank
	if f.QLoraRank != nil {
		c.QLoraRank = *f.QLoraRank
	}
	c.KVHeads, c.DenseLayers, c.RoutedScale = 0, min(*f.DenseLayers, c.Layers), *f.RoutedScale
	if c.DenseLayers < c.Layers {
		c.MoEIntermediate, c.RoutedExperts, c.SharedExperts, c.TopK = f.MoEIntermediate, f.RoutedExperts, f.SharedExperts, f.TopK
	}
	return nil
}

// ids are token ids that a file may write as one number.
type ids []int32

// UnmarshalJSON implements json.Unmarshaler.
func (x *ids) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]int32)(x))
	}
	var one *int32
	if err := json.Unmarshal(b, &one); err != nil || one == nil {
		return err
	}
	*x = ids{*one}
	return nil
}

// hfRope is rope_parameters, or the older rope_scaling.
type hfRope struct {
	Type  string   `json:"rope_type"`
	Older string   `json:"type"`
	Theta *float64 `json:"rope_theta"`

	Factor   float64 `json:"factor"`
	Low      float64 `json:"low_freq_factor"`
	High     float64 `json:"high_freq_factor"`
	Original float64 `json:"original_max_position_embeddings"`
}

// factors are what the frequencies of a head, so many elements wide, are divided by;
// nil if they stay. The rules are transformers' (modeling_rope_utils.py).
func (r *hfRope) factors(head int, theta float64) ([]float32, error) {
	kind := r.Type
	if kind == "" {
		kind = r.Older
	}
	switch kind {
	case "", "default":
		return nil, nil
	case "linear", "llama3":
	default:
		return nil, unsupported("rotary positions of type %q", kind)
	}
	if !(r.Factor > 0) || kind == "llama3" && !(r.Low > 0 && r.High > r.Low && r.Original > 0) {
		return nil, fmt.Errorf("config.json: rotary positions of type %q lack numbers, or have impossible ones", kind)
	}
	all := make([]float32, head/2)
	for i := range all {
		length := 2 * math.Pi * math.Pow(theta, float64(2*i)/float64(head)) // of the wave, in positions
		f := r.Factor
		if kind == "llama3" {
			switch {
			case length < r.Original/r.High:
				f = 1
			case length <= r.Original/r.Low:
				smooth := (r.Original/length - r.Low) / (r.High - r.Low)
				f = 1 / ((1-smooth)/r.Factor + smooth)
			}
		}
		all[i] = float32(f)
	}
	return all, nil
}

// config translates what is supported and refuses the rest.
func (f *hfConfig) config() (arch string, c model.Config, factors []float32, err error) {
	if len(f.Architectures) != 1 {
		return "", c, nil, unsupported("config.json names %d architectures, want one", len(f.Architectures))
	}
	arch = f.Architectures[0]
	c = model.Config{
		VocabSize: f.VocabSize, Hidden: f.Hidden, Layers: f.Layers, Heads: f.Heads, KVHeads: f.KVHeads,
		Intermediate: f.Intermediate, DenseLayers: f.Layers,
		RopeTheta: 10000, NormEps: f.NormEps, MaxPositions: f.MaxPositions, RoutedScale: 1,
	}
	tied := false // the defaults of transformers' configurations
	switch arch {
	case "LlamaForCausalLM", "DeepseekV3ForCausalLM":
	case "Qwen2ForCausalLM":
		c.QKVBias = true
	case "Qwen3ForCausalLM":
		c.QKNorm = true
	default:
		return "", c, nil, unsupported("architecture %s; LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM and DeepseekV3ForCausalLM are read", arch)
	}
	if f.TieEmbeddings != nil {
		tied = *f.TieEmbeddings
	}
	c.TieEmbeddings = tied
	if f.HiddenAct != "silu" {
		return "", c, nil, unsupported("the activation %q", f.HiddenAct)
	}
	if f.AttentionBias != nil && *f.AttentionBias && !c.QKVBias {
		return "", c, nil, unsupported("biases of all of attention (attention_bias)")
	}
	if f.MLPBias {
		return "", c, nil, unsupported("biases of the MLP (mlp_bias)")
	}
	if f.UseSlidingWindow != nil && *f.UseSlidingWindow || f.UseSlidingWindow == nil && f.SlidingWindow != nil {
		return "", c, nil, unsupported("attention over a sliding window")
	}
	for _, t := range f.LayerTypes {
		if t != "full_attention" {
			return "", c, nil, unsupported("a layer of type %q", t)
		}
	}
	if len(f.Quantization) > 0 && string(f.Quantization) != "null" {
		return "", c, nil, unsupported("weights quantised in safetensors (quantization_config); a GGUF file of the model is read")
	}
	if arch == "DeepseekV3ForCausalLM" {
		err = f.fill(&c)
	} else {
		err = f.heads(&c)
	}
	if err != nil {
		return "", c, nil, err
	}
	if f.RopeTheta != nil {
		c.RopeTheta = *f.RopeTheta
	}
	for _, r := range []*hfRope{f.RopeScaling, f.RopeParameters} {
		if r == nil {
			continue
		}
		if r.Theta != nil {
			c.RopeTheta = *r.Theta
		}
		some, err := r.factors(c.RopeDim, c.RopeTheta)
		if err != nil {
			return "", c, nil, err
		}
		if some != nil {
			factors, c.RopeFactors = some, true
		}
	}
	return arch, c, factors, nil
}

// heads sets how many there are and how wide, of grouped-query attention.
func (f *hfConfig) heads(c *model.Config) error {
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	head := f.HeadDim
	if head == 0 && c.Heads > 0 {
		if c.Hidden%c.Heads != 0 {
			return fmt.Errorf("config.json: hidden_size %d is no multiple of num_attention_heads %d, and there is no head_dim", c.Hidden, c.Heads)
		}
		head = c.Hidden / c.Heads
	}
	c.RopeDim, c.VDim = head, head
	return nil
}

const (
	configFile     = "config.json"
	weightsFile    = "model.safetensors"
	indexFile      = "model.safetensors.index.json"
	generationFile = "generation_config.json"
	tokenizerFile  = "tokenizer.json"
	wordsFile      = "tokenizer_config.json"
	jinjaFile      = "chat_template.jinja"
	maxText        = 64 << 20 // of a tokenizer or an index; the others are small
)

func readFile(path string) ([]byte, error) { return workspace.ReadSmall(path, maxText) }

func readJSON(path string, v any) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

func (b *Base) openHuggingFace(dir string) error {
	var f hfConfig
	if err := readJSON(filepath.Join(dir, configFile), &f); err != nil {
		return err
	}
	arch, c, factors, err := f.config()
	if err != nil {
		return err
	}
	s, err := openShards(dir)
	if err != nil {
		return err
	}
	s.factors = factors
	b.Architecture, b.EOS, b.config, b.files, b.halves = arch, f.EOS, c, s, c.KVHeads > 0
	if err := b.readCard(dir); err != nil {
		return err
	}
	return b.readWords(dir)
}

// readWords reads what of a directory is about text.
func (b *Base) readWords(dir string) error {
	data, err := readFile(filepath.Join(dir, tokenizerFile))
	if err != nil {
		return err
	}
	if b.Tokenizer, err = tokenizer.Parse(data); err != nil {
		return err
	}
	var generation struct {
		EOS ids `json:"eos_token_id"`
	}
	if err := readOptional(filepath.Join(dir, generationFile), &generation); err != nil {
		return err
	}
	if len(generation.EOS) > 0 { // more of them than in config.json, often
		b.EOS = generation.EOS
	}
	if err := b.readSpecials(dir); err != nil {
		return err
	}
	var words struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := readOptional(filepath.Join(dir, wordsFile), &words); err != nil {
		return err
	}
	if b.ChatTemplate, err = defaultTemplate(words.Template); err != nil {
		return fmt.Errorf("%s: chat_template: %w", wordsFile, err)
	}
	jinja, err := readFile(filepath.Join(dir, jinjaFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	b.ChatTemplate = string(jinja)
	return err
}

// defaultTemplate takes one template, or the one named default of several.
func defaultTemplate(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var one string
	if raw[0] == '"' {
		err := json.Unmarshal(raw, &one)
		return one, err
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &named); err != nil {
		return "", err
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template, nil
		}
	}
	return "", nil
}

// readOptional is readJSON of a file that need not be there.
func readOptional(path string, v any) error {
	if err := readJSON(path, v); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// shards are the safetensors files of a directory, and the factors of rotary
// frequencies that its configuration asks for.
type shards struct {
	files   []*modelfile.Safetensors
	in      map[string]*modelfile.Safetensors // by tensor
	factors []float32
}

func openShards(dir string) (*shards, error) {
	names := []string{weightsFile}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := readJSON(filepath.Join(dir, indexFile), &index); err == nil {
		names = nil
		seen := map[string]bool{}
		for tensor, file := range index.Map {
			if file != filepath.Base(file) || !strings.HasSuffix(file, ".safetensors") {
				return nil, fmt.Errorf("%s: tensor %s lies in %q, want the name of a .safetensors file beside it", indexFile, tensor, file)
			}
			if !seen[file] {
				seen[file] = true
				names = append(names, file)
			}
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s := &shards{in: map[string]*modelfile.Safetensors{}}
	for _, name := range names {
		f, err := modelfile.OpenSafetensors(filepath.Join(dir, name))
		if err != nil {
			s.Close()
			return nil, err
		}
		s.files = append(s.files, f)
		for _, t := range f.Tensors {
			if s.in[t.Name] != nil {
				s.Close()
				return nil, fmt.Errorf("tensor %s lies in two files", t.Name)
			}
			s.in[t.Name] = f
		}
	}
	return s, nil
}

// Close closes the files.
func (s *shards) Close() error {
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

func (s *shards) Values() (n int64) {
	for _, f := range s.files {
		n += modelfile.Values(f.Tensors)
	}
	return n + int64(len(s.factors))
}

func (s *shards) Shape(name string) ([]int, bool) {
	if name == model.RopeFactorsName {
		return []int{len(s.factors)}, true
	}
	f := s.in[name]
	if f == nil {
		return nil, false
	}
	info, ok := f.Lookup(name)
	return info.Shape, ok
}

func (s *shards) Read(name string, dst []float32) error {
	if name == model.RopeFactorsName {
		copy(dst, s.factors)
		return nil
	}
	return s.in[name].Read(name, dst)
}
