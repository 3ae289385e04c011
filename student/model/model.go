package model

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
)

// Model is a configuration and its weights. Its methods do not lock: whoever
// changes weights makes sure that nobody reads them meanwhile.
type Model struct {
	config Config
	arena  []float32
	w      weights[float32]
	specs  []spec
	byName map[string]int // of specs
}

// Tensor is a named view of weights or gradients: writing to Data changes them.
type Tensor struct {
	Name  string // as in a Hugging Face checkpoint
	Shape []int  // [out, in] for matrices
	Data  []float32
}

// Parameter is a tensor that is trained by gradient.
type Parameter struct {
	Tensor
	Kind Kind

	// Blocks are the heights of matrices that stand below each other in this one,
	// as heads' projections do; nil if it is a single one.
	Blocks []int
}

// New makes a model with random weights, a function of configuration and seed
// alone: matrices normal with standard deviation 1/√fan_in, norms 1, biases 0.
// The projections that write to the residual stream are smaller by √(2·layers),
// the number of times it is written to, so that its size at the end does not
// grow with depth; a tiny-dense student then learns faster, too.
func New(c Config, seed uint64) (*Model, error) {
	m, err := empty(c)
	if err != nil {
		return nil, err
	}
	for _, s := range m.specs {
		m.initialise(s, seed)
	}
	return m, nil
}

// FromTensors makes a model of given weights. load is called once for each
// tensor and fills dst, which has shape's elements.
func FromTensors(c Config, load func(name string, shape []int, dst []float32) error) (*Model, error) {
	m, err := empty(c)
	if err != nil {
		return nil, err
	}
	if err := fill(m.Tensors(), load); err != nil {
		return nil, err
	}
	return m, nil
}

// fill loads all tensors.
func fill(all []Tensor, from func(name string, shape []int, dst []float32) error) error {
	for _, t := range all {
		if err := load(from, t); err != nil {
			return err
		}
	}
	return nil
}

func empty(c Config) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	_, _, n := carve[float32](c, nil)
	m := &Model{config: c, arena: make([]float32, n)}
	m.carve()
	return m, nil
}

// carve gives the weights their places in the arena, and the tensors their names.
func (m *Model) carve() {
	m.w, m.specs, _ = carve(m.config, m.arena)
	m.byName = make(map[string]int, len(m.specs))
	for i, s := range m.specs {
		m.byName[s.name] = i
	}
}

// Config is the model's configuration.
func (m *Model) Config() Config { return m.config }

// Tensors are all weights, in an order that depends on the configuration alone.
func (m *Model) Tensors() []Tensor { return tensors(m.specs, m.arena) }

func tensors(specs []spec, arena []float32) []Tensor {
	ts := make([]Tensor, len(specs))
	for i, s := range specs {
		ts[i] = s.tensor(arena)
	}
	return ts
}

// Parameters are the weights that are trained by gradient, in the order of
// Tensors: all of them but the routers' biases.
func (m *Model) Parameters() []Parameter { return parameters(m.specs, m.arena) }

func (s spec) tensor(arena []float32) Tensor {
	end := s.at + s.len()
	return Tensor{Name: s.name, Shape: s.shape, Data: arena[s.at:end:end]}
}

// Clone is a copy that shares nothing with m.
func (m *Model) Clone() *Model {
	c := &Model{config: m.config, arena: append([]float32(nil), m.arena...)}
	c.carve()
	return c
}

// Hash names the model by its content: SHA-256, in hexadecimal, of the
// configuration as JSON and of every tensor's name, shape and float32 values in
// little-endian order.
func (m *Model) Hash() string { return hashOf(modelHash, m.config, m.Tensors()) }

func hashOf(kind string, config any, all []Tensor) string {
	h := newHash(kind, config)
	for _, t := range all {
		h.add(t)
	}
	return h.sum()
}

func writeFloats(w io.Writer, x []float32) {
	var buf [16 << 10]byte
	for len(x) > 0 {
		n := min(len(x), len(buf)/4)
		for i, v := range x[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
		w.Write(buf[:4*n]) // a hash's Write does not fail
		x = x[n:]
	}
}

// biasStep is how far a router's bias moves for an expert that had too much or
// too little to do.
const biasStep = 0.001

// UpdateRouterBias moves each expert's selection bias by 0.001 towards equal
// load. loads has one row a layer, empty for dense layers: how many tokens each
// expert got, as Pass.ExpertLoad says.
func (m *Model) UpdateRouterBias(loads [][]int) error {
	if len(loads) != m.config.Layers {
		return fmt.Errorf("updating router biases: loads of %d layers for a model of %d", len(loads), m.config.Layers)
	}
	for i, load := range loads {
		bias := m.w.layer[i].bias
		if len(load) != len(bias) {
			return fmt.Errorf("updating router biases of layer %d: loads of %d experts, want %d", i, len(load), len(bias))
		}
		total := 0
		for _, n := range load {
			total += n
		}
		for e, n := range load {
			switch mean := n * len(load); { // n against total / experts, in integers
			case mean < total:
				bias[e] += biasStep
			case mean > total:
				bias[e] -= biasStep
			}
		}
	}
	return nil
}

// initialise draws one tensor from a stream of its own, so that its values do
// not depend on what else the model has.
func (m *Model) initialise(s spec, seed uint64) {
	x := s.tensor(m.arena).Data
	switch s.kind {
	case KindNorm, kindFixed:
		for i := range x {
			x[i] = 1
		}
		return
	case KindBias, kindLoad:
		return
	}
	name := fnv.New64a()
	name.Write([]byte(s.name))
	rng := rand.New(rand.NewPCG(seed, name.Sum64()))
	std := 1 / math.Sqrt(float64(s.shape[1])) // [out, in]
	if s.writes {
		std /= math.Sqrt(2 * float64(m.config.Layers))
	}
	for i := range x {
		x[i] = float32(std * rng.NormFloat64())
	}
}
