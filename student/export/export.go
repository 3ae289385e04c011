// Package export writes a student so that other people's programs load it
// unchanged: a Hugging Face directory (DeepseekV3ForCausalLM), GGUF for
// llama.cpp with an Ollama Modelfile, a model card and a passport. Load reads
// such a directory back.
//
// It is not a converter of other models, and it does not ask the terms gate:
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
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"retort/internal/modelfile"
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
	GGUFType   modelfile.Type // of matrices: modelfile.F32, which "" means, or F16
	GGUFLayout Layout
	Lineage    Lineage
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
	configFile    = "config.json"
	weightsFile   = "model.safetensors"
	tokenizerFile = "tokenizer.json"
	ggufFile      = "model.gguf"
	noticeFile    = "NOTICE"
	cardFile      = "README.md"
	passportFile  = "passport.json"
)

// Write writes a model, and how one talks with it, to dir, whose parent is made if it is
// missing, and replaces what dir was. Cancelling ctx leaves nothing behind. A
// model that lacks a name, a notice or a licence that the terms of its training
// data ask for is refused with a *terms.ObligationError.
func Write(ctx context.Context, dir string, m *model.Model, f *chat.Format, opt Options) (Manifest, error) {
	t := f.Tokenizer()
	if err := opt.check(m, t); err != nil {
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
	w.all(m, t, opt)
	if w.err != nil {
		return Manifest{}, fmt.Errorf("export to %s: %w", dir, w.err)
	}
	if err := workspace.ReplaceDir(tmp, dir); err != nil {
		return Manifest{}, fmt.Errorf("export: %w", err)
	}
	total, active := m.Config().Params()
	return Manifest{Dir: dir, Hash: m.Hash(), Params: total, ActivePars: active, Files: w.files}, nil
}

func (opt *Options) check(m *model.Model, t *tokenizer.Tokenizer) error {
	if err := opt.Lineage.checkObligations(); err != nil {
		return err
	}
	for _, f := range opt.Formats {
		if f != HuggingFace && f != GGUF {
			return fmt.Errorf("format %q is unknown, want %s or %s", f, HuggingFace, GGUF)
		}
	}
	if opt.GGUFType == "" {
		opt.GGUFType = modelfile.F32
	}
	if opt.GGUFType != modelfile.F32 && opt.GGUFType != modelfile.F16 {
		return fmt.Errorf("GGUF type %q is unknown, want %s or %s", opt.GGUFType, modelfile.F32, modelfile.F16)
	}
	if opt.GGUFLayout != Absorbed && opt.GGUFLayout != Legacy {
		return fmt.Errorf("GGUF layout %q is unknown, want %q or none", opt.GGUFLayout, Legacy)
	}
	if m.Config().KVHeads != 0 {
		return errors.New("a model with grouped-query attention is not DeepSeek-V3's architecture, and no other is written yet")
	}
	if n := m.Config().VocabSize; n != t.VocabSize() {
		return fmt.Errorf("the model has %d tokens and the tokenizer %d", n, t.VocabSize())
	}
	for _, s := range []string{tokenizer.EndOfText, tokenizer.ImStart, tokenizer.ImEnd} {
		if id, ok := t.ID(s); !ok || !t.IsSpecial(id) {
			return fmt.Errorf("the tokenizer lacks the special token %s", s)
		}
	}
	for _, x := range m.Tensors() {
		for i, v := range x.Data {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("element %d of tensor %s is %v: the model has diverged and is not exported", i, x.Name, v)
			}
		}
	}
	return nil
}

// writer writes files into one directory and remembers their hashes. Its first
// error sticks.
type writer struct {
	ctx   context.Context
	dir   string
	files []dataset.File
	err   error
}

func (w *writer) all(m *model.Model, t *tokenizer.Tokenizer, opt Options) {
	c := m.Config()
	w.json(configFile, hfConfig(c, t))
	w.json("generation_config.json", generationConfig(t))
	w.file(weightsFile, func(out io.Writer) error { return writeWeights(out, m) })
	w.file(tokenizerFile, func(out io.Writer) error {
		_, err := out.Write(t.JSON())
		return err
	})
	w.json("tokenizer_config.json", tokenizerConfig(c, t))
	w.json("special_tokens_map.json", specialTokensMap())
	if slices.Contains(opt.Formats, GGUF) {
		w.file(ggufFile, func(out io.Writer) error { return writeGGUF(out, m, t, opt) })
		w.file("Modelfile", func(out io.Writer) error {
			_, err := io.WriteString(out, ollamaModelfile(c))
			return err
		})
	}
	if notices := opt.Lineage.Notices; len(notices) > 0 {
		w.file(noticeFile, func(out io.Writer) error { return writeNotices(out, notices) })
	}
	listed := slices.Clone(w.files)
	w.file(cardFile, func(out io.Writer) error { return writeCard(out, m, opt) })
	w.json(passportFile, newPassport(m, opt.Lineage, listed))
	w.files = listed
}

func (w *writer) json(name string, v any) {
	w.file(name, func(out io.Writer) error {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}

func (w *writer) file(name string, fill func(io.Writer) error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		return
	}
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		w.err = err
		return
	}
	sum := sha256.New()
	counted := &counter{ctx: w.ctx, w: io.MultiWriter(f, sum)}
	err = fill(counted)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		w.err = fmt.Errorf("%s: %w", name, err)
		return
	}
	w.files = append(w.files, dataset.File{Name: name, Bytes: counted.n, SHA256: hex.EncodeToString(sum.Sum(nil))})
}

// counter counts bytes and stops when its context is done.
type counter struct {
	ctx context.Context
	w   io.Writer
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func writeWeights(out io.Writer, m *model.Model) error {
	var tensors []modelfile.Tensor
	for _, t := range m.Tensors() {
		tensors = append(tensors, modelfile.Tensor{Name: t.Name, Shape: t.Shape, Type: modelfile.F32, Data: t.Data})
	}
	return modelfile.WriteSafetensors(out, map[string]string{"format": "pt"}, tensors)
}

// MismatchError says that a directory's files are not those that its passport
// names.
type MismatchError struct {
	Dir   string
	What  string // "model.safetensors", or "the model's hash"
	Says  string // what the passport says
	Found string
}

// Error implements error.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("model %s: its passport says %s is %s, found %s: it was changed or damaged after it was written; restore it from a copy, or export it again",
		e.Dir, e.What, e.Says, e.Found)
}

// maxPassport bounds what is read before anything is known.
const maxPassport = 16 << 20

// ReadPassport reads the passport of a model's directory, without comparing it
// with the files.
func ReadPassport(dir string) (Passport, error) {
	var p Passport
	data, err := workspace.ReadSmall(filepath.Join(dir, passportFile), maxPassport)
	if errors.Is(err, os.ErrNotExist) {
		return p, fmt.Errorf("%s is not a model of this program: it has no %s (%w)", dir, passportFile, os.ErrNotExist)
	}
	if err != nil {
		return p, fmt.Errorf("model %s: %w", dir, err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("model %s: %s: %w", dir, passportFile, err)
	}
	if p.Format != PassportFormat || p.Version != PassportVersion {
		return p, fmt.Errorf("model %s: %s is %q version %d, want %q version %d", dir, passportFile, p.Format, p.Version, PassportFormat, PassportVersion)
	}
	return p, nil
}

// checkFile compares one file with the passport.
func (p *Passport) checkFile(dir, name string) error {
	i := slices.IndexFunc(p.Files, func(f dataset.File) bool { return f.Name == name })
	if i < 0 {
		return fmt.Errorf("model %s: its passport does not list %s", dir, name)
	}
	want := p.Files[i]
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return &MismatchError{dir, name, fmt.Sprintf("a file of %d bytes", want.Bytes), "no file"}
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", dir, err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, want.Bytes+1))
	if err != nil {
		return fmt.Errorf("model %s: %w", dir, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != want.Bytes || got != want.SHA256 {
		found := fmt.Sprintf("%d bytes with SHA-256 %s", n, got)
		if n > want.Bytes {
			found = "a longer file"
		}
		return &MismatchError{dir, name, fmt.Sprintf("%d bytes with SHA-256 %s", want.Bytes, want.SHA256), found}
	}
	return nil
}

// Verify compares every file that the passport lists with it.
func Verify(dir string) (Passport, error) {
	p, err := ReadPassport(dir)
	if err != nil {
		return p, err
	}
	for _, f := range p.Files {
		if f.Name != filepath.Base(f.Name) {
			return p, fmt.Errorf("model %s: its passport lists %q, which is not a file of the directory", dir, f.Name)
		}
		if err := p.checkFile(dir, f.Name); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Load reads a model, and how one talks with it, from a directory that Write made. A file
// that is damaged, or a model that is not the one the passport names, is
// refused with a *MismatchError.
func Load(dir string) (*model.Model, *chat.Format, error) {
	p, err := ReadPassport(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{configFile, weightsFile, tokenizerFile} {
		if err := p.checkFile(dir, name); err != nil {
			return nil, nil, err
		}
	}
	data, err := workspace.ReadSmall(filepath.Join(dir, tokenizerFile), 1<<30)
	if err != nil {
		return nil, nil, fmt.Errorf("model %s: %w", dir, err)
	}
	t, err := tokenizer.Parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("model %s: %w", dir, err)
	}
	m, err := loadWeights(dir, p.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("model %s: %w", dir, err)
	}
	if got := m.Hash(); got != p.Hash {
		return nil, nil, &MismatchError{dir, "the model's hash", p.Hash, got}
	}
	if t.VocabSize() != p.Config.VocabSize {
		return nil, nil, fmt.Errorf("model %s: it has %d tokens and its tokenizer %d", dir, p.Config.VocabSize, t.VocabSize())
	}
	return m, chat.Own(t), nil
}

func loadWeights(dir string, c model.Config) (*model.Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s, err := modelfile.OpenSafetensors(filepath.Join(dir, weightsFile))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	// A configuration that asks for more than the file holds is refused before
	// memory is set aside for it.
	have := modelfile.Values(s.Tensors)
	if want, _ := c.Params(); want != have {
		return nil, fmt.Errorf("%s holds %d parameters, its configuration asks for %d", weightsFile, have, want)
	}
	return model.FromTensors(c, func(name string, shape []int, dst []float32) error {
		if info, ok := s.Lookup(name); ok && !slices.Equal(info.Shape, shape) {
			return fmt.Errorf("its shape is %v, want %v", info.Shape, shape)
		}
		return s.Read(name, dst)
	})
}
