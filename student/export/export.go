// Package export writes a student so that other people's programs load it
// unchanged: a Hugging Face directory, GGUF for llama.cpp with an Ollama
// Modelfile, the adapter that a base was taught by, a model card and a passport.
// Load reads such a directory back.
//
// A student of our own is written as DeepSeek-V3, and one that was a base of
// somebody else's as what that was: Llama, Qwen2 or Qwen3. What none of them
// computes is refused by name. It does not ask the terms gate:
// that is asked before Write is called, and what it said is handed over in
// Lineage and printed on the card. But Write holds the model against the
// obligations that come with those terms, and refuses with a
// *terms.ObligationError what does not meet them.
//
// A directory appears whole or not at all. Its passport names the SHA-256 of
// every file but the card, which people may edit, and the hash of the model
// itself. docs/formats/model.md and docs/formats/gguf.md describe the files.
package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/teach/dataset"
	"retort/workspace"
)

// Format is a kind of file that a recipe can ask for.
type Format string

// The formats. The Hugging Face directory is always written, since it is what
// Load and every other command of this program read.
const (
	HuggingFace Format = "huggingface"
	GGUF        Format = "gguf" // model.gguf and an Ollama Modelfile
)

// Layout is how a GGUF holds the up-projection of the latent.
type Layout string

// The layouts. Current llama.cpp reads both.
const (
	Absorbed Layout = ""       // attn_k_b and attn_v_b: attention over the latent cache itself
	Legacy   Layout = "legacy" // attn_kv_b: keys and values expanded for each head, as before April 2025
)

// Options says what is written.
type Options struct {
	Formats    []Format
	GGUFType   modelfile.Type // of matrices: modelfile.F32, which "" means, F16, Q8_0, Q4_0 or Q4_1; see Narrowed
	GGUFLayout Layout         // of latent attention
	// Adapter is what the weights hold besides their base: written as PEFT has it,
	// for the base that Lineage.Base names. nil: there is none.
	Adapter *model.Adapter
	Lineage Lineage
}

// Manifest is what was written.
type Manifest struct {
	Dir                string
	Hash               string // of the model: configuration and weights
	Params, ActivePars int64
	Files              []dataset.File // all but the card and the passport
}

// The names of the files in a model's directory.
const (
	configFile     = "config.json"
	generationFile = "generation_config.json"
	weightsFile    = "model.safetensors"
	tokenizerFile  = "tokenizer.json"
	wordsFile      = "tokenizer_config.json"
	specialsFile   = "special_tokens_map.json"
	ggufFile       = "model.gguf"
	adapterDir     = "adapter"
	noticeFile     = "NOTICE"
	cardFile       = "README.md"
	passportFile   = "passport.json"
)

// Write writes a model, and how one talks with it, to dir, whose parent is made if it is
// missing, and replaces what dir was. Cancelling ctx leaves nothing behind. A
// model that lacks a name, a notice or a licence that the terms of its training
// data ask for is refused with a *terms.ObligationError.
func Write(ctx context.Context, dir string, m *model.Model, f *chat.Format, opt Options) (Manifest, error) {
	s, err := newStudent(m, f, opt)
	if err != nil {
		return Manifest{}, fmt.Errorf("export to %s: %w", dir, err)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Manifest{}, fmt.Errorf("export: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".*")
	if err != nil {
		return Manifest{}, fmt.Errorf("export: %w", err)
	}
	defer os.RemoveAll(tmp) // nothing is there any more once it is published
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Manifest{}, fmt.Errorf("export: %w", err)
	}
	w := &writer{ctx: ctx, dir: tmp}
	w.all(s)
	if w.err != nil {
		return Manifest{}, fmt.Errorf("export to %s: %w", dir, w.err)
	}
	if err := workspace.ReplaceDir(tmp, dir); err != nil {
		return Manifest{}, fmt.Errorf("export: %w", err)
	}
	total, active := m.Config().Params()
	return Manifest{Dir: dir, Hash: s.hash, Params: total, ActivePars: active, Files: w.files}, nil
}

// student is a model that can be written, and all that decides how.
type student struct {
	*model.Model
	config model.Config
	architecture
	rope    *base.RopeScaling // how rotary frequencies are scaled, if they are
	factors []float32         // by which, exactly
	format  *chat.Format
	words   words
	hash    string // of the model
	own     bool   // a student of our own: trained from random weights, with our tokenizer and format
	opt     Options
}

// newStudent refuses what cannot be written, or not faithfully.
func newStudent(m *model.Model, f *chat.Format, opt Options) (*student, error) {
	if err := opt.Lineage.checkObligations(); err != nil {
		return nil, err
	}
	if err := opt.check(); err != nil {
		return nil, err
	}
	s := &student{Model: m, config: m.Config(), format: f, opt: opt}
	s.own = s.config.KVHeads == 0 && f.Spec().Template == chat.ChatML
	err := s.checkVocabulary()
	if err == nil {
		err = checkFinite("tensor", m.Tensors())
	}
	if err == nil {
		s.architecture, err = architectureOf(s.config)
	}
	if err == nil {
		err = s.scaleRope()
	}
	if err == nil {
		s.words, err = newWords(f)
	}
	if err == nil && opt.gguf() {
		err = s.checkGGUF()
	}
	if err == nil && opt.Adapter != nil {
		err = s.checkAdapter()
	}
	if err == nil {
		s.hash = m.Hash()
	}
	return s, err
}

func (opt *Options) gguf() bool { return slices.Contains(opt.Formats, GGUF) }

func (opt *Options) check() error {
	for _, f := range opt.Formats {
		if f != HuggingFace && f != GGUF {
			return fmt.Errorf("format %q is unknown, want %s or %s", f, HuggingFace, GGUF)
		}
	}
	if opt.GGUFType == "" {
		opt.GGUFType = modelfile.F32
	}
	if _, ok := fileTypes[opt.GGUFType]; !ok {
		return fmt.Errorf("GGUF type %q is unknown, want one of %v", opt.GGUFType, slices.Sorted(maps.Keys(fileTypes)))
	}
	if opt.GGUFLayout != Absorbed && opt.GGUFLayout != Legacy {
		return fmt.Errorf("GGUF layout %q is unknown, want %q or none", opt.GGUFLayout, Legacy)
	}
	return nil
}

// checkVocabulary holds tokenizer and model against each other. A base may have more
// rows than tokens.
func (s *student) checkVocabulary() error {
	t := s.format.Tokenizer()
	rows, known := s.config.VocabSize, t.VocabSize()
	if known > rows || s.own && known != rows {
		return fmt.Errorf("the model has %d tokens and the tokenizer %d", rows, known)
	}
	if !s.own {
		return nil
	}
	for _, mark := range []string{tokenizer.EndOfText, tokenizer.ImStart, tokenizer.ImEnd} {
		if id, ok := t.ID(mark); !ok || !t.IsSpecial(id) {
			return fmt.Errorf("the tokenizer lacks the special token %s", mark)
		}
	}
	return nil
}

func checkFinite(what string, all []model.Tensor) error {
	for _, x := range all {
		for i, v := range x.Data {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("element %d of %s %s is %v: the model has diverged and is not exported", i, what, x.Name, v)
			}
		}
	}
	return nil
}

// scaleRope finds out by which rule rotary frequencies are scaled.
func (s *student) scaleRope() error {
	if !s.config.RopeFactors {
		return nil
	}
	for _, t := range s.Tensors() {
		if t.Name == model.RopeFactorsName {
			s.factors = t.Data
		}
	}
	r, ok := base.RopeScalingOf(s.config, s.factors)
	if !ok {
		return errors.New("the factors of its rotary frequencies follow none of the rules that transformers has for them (linear, llama3)")
	}
	s.rope = &r
	return nil
}

func (s *student) checkAdapter() error {
	switch b := s.opt.Lineage.Base; {
	case b == nil || b.Name == "" || b.Hash == "":
		return errors.New("an adapter is written for a base, and the lineage does not name one with its hash")
	case s.opt.Adapter.Config() != s.config:
		return errors.New("the adapter is for a model of another configuration")
	}
	return checkFinite("the adapter's matrix", s.opt.Adapter.Tensors())
}
