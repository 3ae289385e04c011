package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"slices"
)

// Source hands out the weights of a model one tensor at a time, so that who works
// through them need not hold them all. A *Model is one, and so is a file of weights.
type Source interface {
	Config() Config

	// Load fills dst, which has shape's elements, with the tensor of that name. Names
	// and shapes are those of Config.Tensors.
	Load(name string, shape []int, dst []float32) error
}

// Tensors are the names and shapes of the tensors of a model of c, which is valid, in
// the order of Model.Tensors. They have no Data.
func (c Config) Tensors() []Tensor {
	_, specs, _ := carve[float32](c, nil)
	all := make([]Tensor, len(specs))
	for i, s := range specs {
		all[i] = Tensor{Name: s.name, Shape: s.shape}
	}
	return all
}

// Load implements Source.
func (m *Model) Load(name string, shape []int, dst []float32) error {
	i, ok := m.byName[name]
	if !ok {
		return fmt.Errorf("the model has no tensor %s", name)
	}
	t := m.specs[i].tensor(m.arena)
	if !slices.Equal(t.Shape, shape) || len(dst) != len(t.Data) {
		return fmt.Errorf("tensor %s has shape %v, not %v", name, t.Shape, shape)
	}
	copy(dst, t.Data)
	return nil
}

// HashOf is Model.Hash of the model that src hands out, all of which it reads.
func HashOf(src Source) (string, error) {
	if m, ok := src.(*Model); ok {
		return m.Hash(), nil
	}
	h := newHash(modelHash, src.Config())
	var buf []float32
	for _, t := range src.Config().Tensors() {
		n := elements(t.Shape)
		buf = slices.Grow(buf[:0], n)[:n]
		t.Data = buf
		if err := load(src.Load, t); err != nil {
			return "", err
		}
		h.add(t)
	}
	return h.sum(), nil
}

// load fills one tensor and refuses what is not finite.
func load(from func(name string, shape []int, dst []float32) error, t Tensor) error {
	if err := from(t.Name, t.Shape, t.Data); err != nil {
		return fmt.Errorf("loading tensor %s: %w", t.Name, err)
	}
	for i, v := range t.Data {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("loading tensor %s: element %d is %v, want a finite number", t.Name, i, v)
		}
	}
	return nil
}

// modelHash is what hashes of models begin with.
const modelHash = "retort model 1"

// contentHash is SHA-256 of what a model or an adapter is, and of its tensors one after
// the other.
type contentHash struct{ hash.Hash }

func newHash(kind string, config any) contentHash {
	text, err := json.Marshal(config)
	if err != nil {
		panic(fmt.Sprintf("model: a valid configuration does not marshal: %v", err))
	}
	h := contentHash{sha256.New()}
	fmt.Fprintf(h, "%s\n%s\n", kind, text)
	return h
}

func (h contentHash) add(t Tensor) {
	fmt.Fprintf(h, "%s %d\n", t.Name, t.Shape)
	writeFloats(h, t.Data)
}

func (h contentHash) sum() string { return hex.EncodeToString(h.Sum(nil)) }
