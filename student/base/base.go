// Package base reads models that others made, to be taught: Llama, Qwen2, Qwen3 and
// DeepSeek-V3 as a Hugging Face directory (safetensors, sharded too) or a GGUF file.
//
// It knows how those files name and lay out what student/model computes with. What
// student/model does not compute is refused by name, never read as something else.
// Students of our own, with their passports, are student/export's to read.
//
// Heads are rotated in pairs of neighbours here and in GGUF's llama files, and in
// halves in Hugging Face's and in GGUF's qwen files; rows of queries and keys are
// reordered on the way in. A model's outputs do not depend on it.
package base

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retort/student/model"
	"retort/student/tokenizer"
)

// ErrUnsupported says that a model is of a kind that is not computed here.
var ErrUnsupported = errors.New("unsupported model")

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// Base is a model that was read, but for its weights, which it hands out tensor by
// tensor (model.Source) until it is closed.
type Base struct {
	Architecture string               // as Hugging Face names it: "LlamaForCausalLM"
	Model        *model.Model         // all weights, of what Read returns; Open leaves them in the files
	Tokenizer    *tokenizer.Tokenizer // it may know fewer tokens than the model has rows for
	EOS          []int32              // tokens that end an answer, at least one
	BOS          string               // the text of the token that a template calls bos_token; "" if the files name none
	EOSToken     string               // of its eos_token
	ChatTemplate string               // Jinja; "" if the files have none
	License      string               // as the files name it; "" if they do not

	config model.Config
	files  source
	halves bool // heads lie in halves in the files
}

// Open reads everything but the weights, and makes sure that the files have them all.
func Open(path string) (*Base, error) {
	b, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the base model %s: %w", path, err)
	}
	return b, nil
}

func open(path string) (*Base, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	read := (*Base).openGGUF
	if st.IsDir() {
		read = (*Base).openHuggingFace
	} else if !strings.EqualFold(filepath.Ext(path), ".gguf") {
		return nil, errors.New("it is neither a directory with config.json and safetensors nor a .gguf file")
	}
	b := new(Base)
	if err = read(b, path); err == nil {
		err = b.check()
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Read is Open with all weights read into Model, and the files closed.
func Read(path string) (*Base, error) {
	b, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Model, err = model.FromTensors(b.config, b.Load); err != nil {
		return nil, fmt.Errorf("reading the base model %s: %w", path, err)
	}
	return b, nil
}

// Close closes the files. What is not in them stays.
func (b *Base) Close() error {
	if b.files == nil {
		return nil
	}
	return b.files.Close()
}

// Config is the model's configuration.
func (b *Base) Config() model.Config { return b.config }

// Load implements model.Source. It may be called concurrently.
func (b *Base) Load(name string, shape []int, dst []float32) error {
	if b.Model != nil {
		return b.Model.Load(name, shape, dst)
	}
	if err := b.has(name, shape); err != nil {
		return err
	}
	if err := b.files.Read(name, dst); err != nil {
		return err
	}
	if b.halves && rotated(name) {
		interleave(dst, b.config.RopeDim, len(dst)/shape[0])
	}
	return nil
}

// has makes sure that the files hold a tensor.
func (b *Base) has(name string, shape []int) error {
	have, ok := b.files.Shape(name)
	if !ok {
		return errors.New("the files lack it")
	}
	if !slices.Equal(have, shape) {
		return fmt.Errorf("its shape is %v, want %v", have, shape)
	}
	return nil
}

// check holds the parts against each other.
func (b *Base) check() error {
	if err := b.config.Validate(); err != nil {
		return err
	}
	// Before anything is set aside for it.
	if need, _ := b.config.Params(); b.files.Values() < need {
		return fmt.Errorf("the files hold %d, fewer values than the %d parameters that the configuration asks for", b.files.Values(), need)
	}
	for _, t := range b.config.Tensors() {
		if err := b.has(t.Name, t.Shape); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
	}
	known, rows := b.Tokenizer.VocabSize(), b.config.VocabSize
	if known > rows {
		return fmt.Errorf("the tokenizer has %d tokens and the model only %d", known, rows)
	}
	if len(b.EOS) == 0 {
		return errors.New("no token ends an answer (eos_token_id)")
	}
	for _, id := range b.EOS {
		if id < 0 || int(id) >= known {
			return fmt.Errorf("the end token %d is not in the vocabulary of %d", id, known)
		}
	}
	return nil
}

// source is where tensors come from, by the names of Hugging Face.
type source interface {
	// Values is how many there are in all.
	Values() int64
	// Shape returns a tensor's shape, or false if there is none.
	Shape(name string) ([]int, bool)
	Read(name string, dst []float32) error
	Close() error
}

// rotated reports whether a tensor's rows are elements of queries or keys.
func rotated(name string) bool {
	for _, part := range []string{".q_proj.", ".k_proj.", ".q_norm.", ".k_norm."} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// interleave reorders the rows of each head, so many elements wide, from halves
// (0, n/2, 1, n/2+1, … are pairs) to neighbours.
func interleave[T any](x []T, head, width int) {
	reorder(x, head, width, func(i int) int { return i/2 + i%2*(head/2) })
}

// halve undoes it.
func halve(x []float32, head, width int) {
	reorder(x, head, width, func(i int) int { return i%(head/2)*2 + i/(head/2) })
}

// reorder makes row i of each head what was row from(i) of it.
func reorder[T any](x []T, head, width int, from func(i int) int) {
	old := make([]T, head*width)
	for at := 0; at < len(x); at += len(old) {
		copy(old, x[at:])
		for i := range head {
			copy(x[at+i*width:][:width], old[from(i)*width:])
		}
	}
}
