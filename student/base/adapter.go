package base

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retort/internal/modelfile"
	"retort/student/model"
	"retort/workspace"
)

const (
	adapterConfigFile  = "adapter_config.json"
	adapterWeightsFile = "adapter_model.safetensors"
	baseKey            = "retort.base" // in the weights' metadata: the hash of the model that it is for
)

// ErrOtherBase says that an adapter was made for another model.
var ErrOtherBase = errors.New("the adapter is for another base model")

// adapterConfig is adapter_config.json as PEFT's LoraConfig has it. What stands
// below Inferred is there to be refused.
type adapterConfig struct {
	Type     string   `json:"peft_type"`
	Task     string   `json:"task_type"`
	Base     string   `json:"base_model_name_or_path"`
	Rank     int      `json:"r"`
	Alpha    float64  `json:"lora_alpha"`
	Dropout  float64  `json:"lora_dropout"`
	Targets  []string `json:"target_modules"`
	Bias     string   `json:"bias"`
	Inferred bool     `json:"inference_mode"`

	Transposed  bool            `json:"fan_in_fan_out"`
	RankScale   bool            `json:"use_rslora"`
	Magnitude   bool            `json:"use_dora"`
	Saved       []string        `json:"modules_to_save,omitempty"`
	Layers      json.RawMessage `json:"layers_to_transform,omitempty"`
	RankOf      map[string]int  `json:"rank_pattern,omitempty"`
	AlphaOf     map[string]any  `json:"alpha_pattern,omitempty"`
	LayersNames json.RawMessage `json:"layers_pattern,omitempty"`
}

// WriteAdapter leaves in dir, which must exist, the files by which PEFT loads an
// adapter for the model of that hash (model.Hash). name is what it is called.
func WriteAdapter(dir, name, hash string, a *model.Adapter) error {
	l, c := a.LoRA(), a.Config()
	text, err := json.MarshalIndent(adapterConfig{
		Type: "LORA", Task: "CAUSAL_LM", Base: name, Rank: l.Rank, Alpha: l.Alpha, Dropout: l.Dropout, Targets: l.Targets, Bias: "none", Inferred: true,
	}, "", "  ")
	if err != nil {
		return err
	}
	var all []modelfile.Tensor
	for _, t := range a.Tensors() {
		data := t.Data
		if turns(c, t.Name) {
			data = slices.Clone(data)
			halve(data, c.RopeDim, len(data)/t.Shape[0])
		}
		all = append(all, modelfile.Tensor{Name: t.Name, Shape: t.Shape, Type: modelfile.F32, Data: data})
	}
	var weights bytes.Buffer
	if err := modelfile.WriteSafetensors(&weights, map[string]string{"format": "pt", baseKey: hash}, all); err != nil {
		return err
	}
	if err := workspace.WriteFileAtomic(filepath.Join(dir, adapterWeightsFile), weights.Bytes(), 0o644); err != nil {
		return err
	}
	return workspace.WriteFileAtomic(filepath.Join(dir, adapterConfigFile), append(text, '\n'), 0o644)
}

// turns reports whether the rows of an adapter's matrix are elements of queries or
// keys that PEFT has in halves.
func turns(c model.Config, name string) bool {
	return c.KVHeads > 0 && rotated(name) && strings.Contains(name, ".lora_B.")
}

// ReadAdapter reads an adapter for base that PEFT, or WriteAdapter, wrote. One that says
// that it is for another model is refused with ErrOtherBase; those that PEFT wrote do not
// say.
func ReadAdapter(dir string, base model.Source) (*model.Adapter, error) {
	a, err := readAdapter(dir, base)
	if err != nil {
		return nil, fmt.Errorf("reading the adapter %s: %w", dir, err)
	}
	return a, nil
}

func readAdapter(dir string, base model.Source) (*model.Adapter, error) {
	var f adapterConfig
	if err := readJSON(filepath.Join(dir, adapterConfigFile), &f); err != nil {
		return nil, err
	}
	if err := f.supported(); err != nil {
		return nil, err
	}
	s, err := modelfile.OpenSafetensors(filepath.Join(dir, adapterWeightsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: PEFT writes it with safe_serialization", err)
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if made := s.Metadata[baseKey]; made != "" {
		hash, err := model.HashOf(base)
		if err != nil {
			return nil, err
		}
		if made != hash {
			return nil, fmt.Errorf("%w: %s, not %s", ErrOtherBase, made, hash)
		}
	}
	c := base.Config()
	a, err := model.LoadAdapter(c, model.LoRA{Rank: f.Rank, Alpha: f.Alpha, Dropout: f.Dropout, Targets: f.Targets}, func(name string, shape []int, dst []float32) error {
		info, ok := s.Lookup(name)
		if !ok {
			return errors.New("the file lacks it")
		}
		if !slices.Equal(info.Shape, shape) {
			return fmt.Errorf("its shape is %v, want %v: is the adapter for another model?", info.Shape, shape)
		}
		if err := s.Read(name, dst); err != nil {
			return err
		}
		if turns(c, name) {
			interleave(dst, c.RopeDim, len(dst)/shape[0])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n := len(a.Tensors()); n != len(s.Tensors) {
		return nil, fmt.Errorf("it holds %d matrices, and %d of them belong to the projections that it names", len(s.Tensors), n)
	}
	return a, nil
}

func (f *adapterConfig) supported() error {
	set := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	switch {
	case f.Type != "LORA":
		return unsupported("an adapter of type %q, want LORA", f.Type)
	case f.Bias != "" && f.Bias != "none":
		return unsupported("an adapter with biases (bias %q)", f.Bias)
	case f.Transposed, f.RankScale, f.Magnitude:
		return unsupported("an adapter with fan_in_fan_out, use_rslora or use_dora")
	case len(f.Saved) > 0:
		return unsupported("an adapter that brings whole modules (%s)", strings.Join(f.Saved, ", "))
	case len(f.RankOf) > 0, len(f.AlphaOf) > 0, set(f.Layers), set(f.LayersNames):
		return unsupported("an adapter that is not alike in all layers")
	case len(f.Targets) == 0:
		return errors.New("adapter_config.json names no target_modules")
	}
	return nil
}
