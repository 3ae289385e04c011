package model

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"retort/internal/kernel"
)

// LoRA says what an adapter changes and how (arXiv:2106.09685): a projection W is
// computed as W + (Alpha/Rank)·B·A with A [Rank, in] and B [out, Rank], of which only
// A and B are trained.
type LoRA struct {
	Rank    int      `json:"r"`
	Alpha   float64  `json:"lora_alpha"`
	Targets []string `json:"target_modules"` // projections by their names, "q_proj"; nil: all

	// Dropout is the share of an adapter's inputs that is left out of each step of
	// training, others in each; the projections of one product have them in common.
	Dropout float64 `json:"lora_dropout,omitempty"`
}

// site is a product of a layer that adapters add to.
type site int

const (
	siteIn site = iota
	siteQB
	siteKVB
	siteOut
	siteGateUp
	siteDown
	sites
)

// projection is a matrix that a site's product is made of.
type projection struct {
	name  string
	width int // rows, elements of the product
}

// projections of a site, one below the other, and the width of what they read.
func (c Config) projections(s site) (all []projection, in int) {
	switch {
	case s == siteIn && c.grouped():
		keys := c.KVHeads * c.VDim
		return []projection{{"self_attn.q_proj", c.qWidth()}, {"self_attn.k_proj", keys}, {"self_attn.v_proj", keys}}, c.Hidden
	case s == siteIn:
		q := "self_attn.q_proj"
		if c.QLoraRank > 0 {
			q = "self_attn.q_a_proj"
		}
		return []projection{{q, c.qIn()}, {"self_attn.kv_a_proj_with_mqa", c.cacheWidth()}}, c.Hidden
	case s == siteQB && c.QLoraRank > 0:
		return []projection{{"self_attn.q_b_proj", c.qWidth()}}, c.QLoraRank
	case s == siteKVB && !c.grouped():
		return []projection{{"self_attn.kv_b_proj", c.kvWidth()}}, c.KVLoraRank
	case s == siteOut:
		return []projection{{"self_attn.o_proj", c.Hidden}}, c.oWidth()
	case s == siteGateUp:
		return []projection{{"mlp.gate_proj", c.Intermediate}, {"mlp.up_proj", c.Intermediate}}, c.Hidden
	case s == siteDown:
		return []projection{{"mlp.down_proj", c.Hidden}}, c.Intermediate
	}
	return nil, 0
}

// Adapter is a low-rank addition to a model of some configuration.
type Adapter struct {
	lora   LoRA
	config Config
	arena  []float32
	specs  []spec
	layer  [][sites]adapterSite
}

// adapterSite is what an adapter adds to one product.
type adapterSite struct {
	in    int
	out   int       // of the product, whether or not all of it is adapted
	a     []float32 // [parts·rank, in]: the parts' A one below the other
	parts []adapterPart
}

type adapterPart struct {
	name      string
	at, width int // where in the product
	b         []float32
}

// NewAdapter makes an adapter that changes nothing yet: A is drawn as PEFT does
// (uniform within ±1/√in), a function of seed and name alone, and B is 0.
func NewAdapter(c Config, l LoRA, seed uint64) (*Adapter, error) {
	a, err := emptyAdapter(c, l)
	if err != nil {
		return nil, err
	}
	for _, s := range a.specs {
		if strings.Contains(s.name, ".lora_B.") {
			continue
		}
		name := fnv.New64a()
		name.Write([]byte(s.name))
		rng := rand.New(rand.NewPCG(seed, name.Sum64()))
		bound := 1 / math.Sqrt(float64(s.shape[1]))
		for i := range s.tensor(a.arena).Data {
			a.arena[s.at+i] = float32(bound * (2*rng.Float64() - 1))
		}
	}
	return a, nil
}

// LoadAdapter makes an adapter of given matrices. load is called once for each and
// fills dst, which has shape's elements.
func LoadAdapter(c Config, l LoRA, load func(name string, shape []int, dst []float32) error) (*Adapter, error) {
	a, err := emptyAdapter(c, l)
	if err != nil {
		return nil, err
	}
	if err := fill(a.Tensors(), load); err != nil {
		return nil, err
	}
	return a, nil
}

func emptyAdapter(c Config, l LoRA) (*Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.DenseLayers < c.Layers {
		return nil, errMixture
	}
	if l.Rank < 1 || l.Rank > maxDim || !(l.Alpha > 0) || math.IsInf(l.Alpha, 0) {
		return nil, fmt.Errorf("adapter: rank %d and alpha %v must be positive", l.Rank, l.Alpha)
	}
	if !(l.Dropout >= 0 && l.Dropout < 1) {
		return nil, fmt.Errorf("adapter: a dropout of %v is not a share from 0 to below 1", l.Dropout)
	}
	var names []string
	for s := range sites {
		all, _ := c.projections(s)
		for _, p := range all {
			names = append(names, p.short())
		}
	}
	if l.Targets == nil {
		l.Targets = names
	}
	for _, t := range l.Targets {
		if !slices.Contains(names, t) {
			return nil, fmt.Errorf("adapter: there is no projection %q, want some of %s", t, strings.Join(names, ", "))
		}
	}
	a := &Adapter{lora: l, config: c}
	_, _, n := a.carve(nil)
	a.arena = make([]float32, n)
	a.layer, a.specs, _ = a.carve(a.arena)
	return a, nil
}

// short is the projection's own name.
func (p projection) short() string { return p.name[strings.LastIndexByte(p.name, '.')+1:] }

// carve lays the adapter out in an arena, which may be nil to learn its length.
func (a *Adapter) carve(arena []float32) (layers [][sites]adapterSite, specs []spec, length int) {
	c := &carver[float32]{arena: arena}
	layers = make([][sites]adapterSite, a.config.Layers)
	for i := range layers {
		for s := range sites {
			layers[i][s] = a.carveSite(c, fmt.Sprintf("base_model.model.model.layers.%d.", i), s)
		}
	}
	c.align()
	return layers, c.specs, c.at
}

func (a *Adapter) carveSite(c *carver[float32], layer string, s site) (t adapterSite) {
	var all []projection
	all, t.in = a.config.projections(s)
	r, at := a.lora.Rank, 0
	for _, p := range all {
		if slices.Contains(a.lora.Targets, p.short()) {
			t.parts = append(t.parts, adapterPart{name: p.name, at: at, width: p.width})
		}
		at += p.width
	}
	t.out = at
	c.align()
	from := c.at
	for _, p := range t.parts {
		c.take(KindAdapter, layer+p.name+".lora_A.weight", r, t.in)
	}
	t.a = c.view(from)
	for i, p := range t.parts {
		c.align()
		t.parts[i].b = c.take(KindAdapter, layer+p.name+".lora_B.weight", p.width, r)
	}
	return t
}

// rank of the site's parts together.
func (a *Adapter) rank(t *adapterSite) int { return len(t.parts) * a.lora.Rank }

func (a *Adapter) scale() float32 { return float32(a.lora.Alpha / float64(a.lora.Rank)) }

// dropShare is the dropout in 65,536ths.
func (a *Adapter) dropShare() uint16 { return uint16(min(math.Round(a.lora.Dropout*(1<<16)), 1<<16-1)) }

// Config is that of the models that the adapter is for.
func (a *Adapter) Config() Config { return a.config }

// LoRA is what the adapter changes and how.
func (a *Adapter) LoRA() LoRA { return a.lora }

// Tensors are the adapter's matrices by PEFT's names.
func (a *Adapter) Tensors() []Tensor { return tensors(a.specs, a.arena) }

// Hash names the adapter by its content, as Model.Hash does a model: what it changes
// and how, the configuration that it is for, and its matrices.
func (a *Adapter) Hash() string {
	return hashOf("retort adapter 1", struct {
		LoRA   LoRA   `json:"lora"`
		Config Config `json:"config"`
	}{a.lora, a.config}, a.Tensors())
}

// Parameters are the same, all of them trained.
func (a *Adapter) Parameters() []Parameter { return parameters(a.specs, a.arena) }

func parameters(specs []spec, arena []float32) []Parameter {
	var ps []Parameter
	for _, s := range specs {
		if s.kind != kindLoad && s.kind != kindFixed {
			ps = append(ps, Parameter{Tensor: s.tensor(arena), Kind: s.kind, Blocks: s.blocks})
		}
	}
	return ps
}

var errMixture = errors.New("adapter: a mixture of experts is taught whole, not by an adapter")

var errOtherModel = errors.New("adapter: it is for a model of another configuration")

// Merge adds the adapter to the weights of m, of its configuration.
func (a *Adapter) Merge(m *Model) error {
	if m.config != a.config {
		return errOtherModel
	}
	r, s := a.lora.Rank, new(kernel.Scratch)
	for i := range a.layer {
		for at := range sites {
			t := &a.layer[i][at]
			for j, p := range t.parts {
				w := m.specs[m.byName[fmt.Sprintf("model.layers.%d.%s.weight", i, p.name)]].tensor(m.arena).Data
				b := slices.Clone(p.b)
				kernel.Scale(b, a.scale())
				kernel.GemmSerial(kernel.NN, p.width, t.in, r, b, r, t.a[j*r*t.in:], t.in, w, t.in, true, kernel.F32, s)
			}
		}
	}
	return nil
}
