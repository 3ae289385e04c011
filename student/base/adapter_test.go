package base

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/internal/modelfile"
	"retort/student/model"
)

func newAdapter(t *testing.T, c model.Config) *model.Adapter {
	t.Helper()
	a, err := model.NewAdapter(c, model.LoRA{Rank: 3, Alpha: 5, Targets: []string{"q_proj", "v_proj", "down_proj"}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range a.Tensors() {
		for i := range x.Data {
			x.Data[i] += float32(i%11) / 16
		}
	}
	return a
}

func TestAdaptersComeBackAsTheyWereWritten(t *testing.T) {
	for _, k := range kinds {
		if k.config.DenseLayers < k.config.Layers {
			continue
		}
		dir, m := t.TempDir(), newModel(t, k.config)
		a := newAdapter(t, k.config)
		if err := WriteAdapter(dir, "a/base", m.Hash(), a); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAdapter(dir, m)
		if err != nil {
			t.Fatal(err)
		}
		if got.Hash() != a.Hash() {
			t.Errorf("%s: another adapter comes back", k.arch)
		}
		other := newModel(t, k.config)
		other.Tensors()[0].Data[0]++
		if _, err := ReadAdapter(dir, other); !errors.Is(err, ErrOtherBase) {
			t.Errorf("%s: for another base the error is %v", k.arch, err)
		}

		// PEFT has queries in halves, and what is not rotated as it is.
		s, err := modelfile.OpenSafetensors(filepath.Join(dir, adapterWeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, x := range a.Tensors() {
			have, want := make([]float32, len(x.Data)), slices.Clone(x.Data)
			if err := s.Read(x.Name, have); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(x.Name, "q_proj.lora_B") {
				if slices.Equal(have, want) {
					t.Errorf("%s: %s is not reordered", k.arch, x.Name)
				}
				halve(want, k.config.RopeDim, len(want)/x.Shape[0])
			}
			if !slices.Equal(have, want) {
				t.Errorf("%s: %s is written otherwise", k.arch, x.Name)
			}
		}
	}
}

func TestHalvesAndNeighboursAreInverse(t *testing.T) {
	x := make([]float32, 3*6*2)
	for i := range x {
		x[i] = float32(i)
	}
	want := slices.Clone(x)
	interleave(x, 6, 2)
	if x[2] != 6 || x[4] != 2 { // row 1 was row 3, row 2 was row 1
		t.Errorf("interleaved to %v", x[:12])
	}
	halve(x, 6, 2)
	if !slices.Equal(x, want) {
		t.Errorf("halved again to %v", x)
	}
}

func TestAdaptersThatAreNotAppliedAreRefused(t *testing.T) {
	c := kinds[0].config
	m, a := newModel(t, c), newAdapter(t, c)
	for _, test := range []struct {
		want string
		also map[string]any
	}{
		{`type "IA3"`, map[string]any{"peft_type": "IA3"}},
		{`bias "all"`, map[string]any{"bias": "all"}},
		{"use_rslora", map[string]any{"use_rslora": true}},
		{"use_rslora", map[string]any{"use_dora": true}},
		{"whole modules (lm_head)", map[string]any{"modules_to_save": []string{"lm_head"}}},
		{"not alike in all layers", map[string]any{"rank_pattern": map[string]int{"q_proj": 8}}},
		{"not alike in all layers", map[string]any{"layers_to_transform": []int{1}}},
		{"names no target_modules", map[string]any{"target_modules": []string{}}},
		{`no projection "c_attn"`, map[string]any{"target_modules": []string{"c_attn"}}},
		{"lacks it", map[string]any{"target_modules": []string{"q_proj", "k_proj"}}},
		{"12 matrices, and 4 of them", map[string]any{"target_modules": []string{"q_proj"}}},
		{"its shape is", map[string]any{"r": 4}},
	} {
		dir := t.TempDir()
		if err := WriteAdapter(dir, "base", m.Hash(), a); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, adapterConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		var f map[string]any
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		maps.Copy(f, test.also)
		writeJSON(t, filepath.Join(dir, adapterConfigFile), f)
		if _, err := ReadAdapter(dir, m); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v, want one that says %q", err, test.want)
		}
	}
	if _, err := ReadAdapter(t.TempDir(), m); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of an empty directory the error is %v", err)
	}
}
