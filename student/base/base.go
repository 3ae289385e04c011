// Package base reads models that others made, to be taught: Llama, Qwen2, Qwen3 and
// DeepSeek-V3 as a Hugging Face directory (safetensors, sharded too), the first three
// also as a GGUF file.
//
// It knows how those files name and lay out what student/model computes with. What
// student/model does not compute is refused by name, never read as something else.
// Students of our own are student/export's to read.
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

// Base is a model that was read.
type Base struct {
	Architecture string // as Hugging Face names it: "LlamaForCausalLM"
	Model        *model.Model
	Tokenizer    *tokenizer.Tokenizer // it may know fewer tokens than the model has rows for
	EOS          []int32              // tokens that end an answer, at least one
	ChatTemplate string               // Jinja; "" if the files have none
	License      string               // as the files name it; "" if they do not
}

// Read reads a Hugging Face directory or a GGUF file.
func Read(path string) (*Base, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading a base model: %w", err)
	}
	read := readGGUF
	if st.IsDir() {
		read = readHuggingFace
	} else if !strings.EqualFold(filepath.Ext(path), ".gguf") {
		return nil, fmt.Errorf("reading the base model %s: it is neither a directory with config.json and safetensors nor a .gguf file", path)
	}
	b, err := read(path)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the base model %s: %w", path, err)
	}
	return b, nil
}

// check holds the parts against each other.
func (b *Base) check() error {
	known, rows := b.Tokenizer.VocabSize(), b.Model.Config().VocabSize
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
}

// load makes a model of c from src. halves says that heads lie there in halves.
func load(c model.Config, src source, halves bool) (*model.Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	// Before memory is set aside for it.
	if need, _ := c.Params(); src.Values() < need {
		return nil, fmt.Errorf("the files hold %d, fewer values than the %d parameters that the configuration asks for", src.Values(), need)
	}
	return model.FromTensors(c, func(name string, shape []int, dst []float32) error {
		have, ok := src.Shape(name)
		if !ok {
			return errors.New("the files lack it")
		}
		if !slices.Equal(have, shape) {
			return fmt.Errorf("its shape is %v, want %v", have, shape)
		}
		if err := src.Read(name, dst); err != nil {
			return err
		}
		if halves && rotated(name) {
			interleave(dst, c.RopeDim, len(dst)/shape[0])
		}
		return nil
	})
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
func interleave(x []float32, head, width int) {
	reorder(x, head, width, func(i int) int { return i/2 + i%2*(head/2) })
}

// halve undoes it.
func halve(x []float32, head, width int) {
	reorder(x, head, width, func(i int) int { return i%(head/2)*2 + i/(head/2) })
}

// reorder makes row i of each head what was row from(i) of it.
func reorder(x []float32, head, width int, from func(i int) int) {
	old := make([]float32, head*width)
	for at := 0; at < len(x); at += len(old) {
		copy(old, x[at:])
		for i := range head {
			copy(x[at+i*width:][:width], old[from(i)*width:])
		}
	}
}
