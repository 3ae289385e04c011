package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/export"
	"retort/student/model"
	"retort/student/serve"
	"retort/student/tokenizer"
)

// quantised writes a small Llama of random weights as a GGUF file in blocks, and an
// adapter for it.
func quantised(t *testing.T) (file, adapter string) {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"user\nWhat is 3 plus 4?", "assistant\n", "7"}), tokenizer.Options{VocabSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(model.Config{VocabSize: tok.VocabSize(), Hidden: 64, Layers: 2, Heads: 4, KVHeads: 2, RopeDim: 16, VDim: 16,
		Intermediate: 96, DenseLayers: 2, RopeTheta: 1000, NormEps: 1e-5, MaxPositions: 256, RoutedScale: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "small")
	opt := export.Options{Formats: []export.Format{export.HuggingFace, export.GGUF}, GGUFType: modelfile.Q4_1}
	if _, err := export.Write(t.Context(), dir, m, chat.Own(tok), opt); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "model.gguf")
	b, err := base.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	hash, err := model.HashOf(b)
	if err != nil {
		t.Fatal(err)
	}
	a, err := model.NewAdapter(m.Config(), model.LoRA{Rank: 2, Alpha: 4}, 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Parameters() {
		for i := range p.Data {
			p.Data[i] += 0.2 * float32(i*7%11-5)
		}
	}
	adapter = t.TempDir()
	if err := base.WriteAdapter(adapter, "small", hash, a); err != nil {
		t.Fatal(err)
	}
	return file, adapter
}

func TestAQuantisedModelIsServedAsItsFileHoldsIt(t *testing.T) {
	file, adapter := quantised(t)
	dir := smallBase(t, "")
	for _, name := range []string{"passport.json", "README.md"} { // it is now somebody else's
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		path, flag string
		want       kernel.Format
		refused    string
	}{
		{file, "", kernel.FormatBlocks, ""}, {file, "blocks", kernel.FormatBlocks, ""}, {file, "bf16", kernel.FormatBF16, ""}, {file, "fp32", kernel.FormatFP32, ""},
		{dir, "", kernel.FormatFP32, ""}, {dir, "int8", kernel.FormatInt8, ""}, {dir, "blocks", 0, "does not lie in blocks"}, {dir, "fp64", 0, "fp64"},
	} {
		m, _, done, err := loadModel(test.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&modelFlags{weights: test.flag}).format(m)
		done()
		if got != test.want || err != nil && (test.refused == "" || !strings.Contains(err.Error(), test.refused)) || err == nil && test.refused != "" {
			t.Errorf("%s with %q: %v, %v", filepath.Base(test.path), test.flag, got, err)
		}
	}
	if r := retort(t, t.TempDir(), "chat", dir, "--weights", "blocks"); r.code != exitUsage || !strings.Contains(r.stderr, "does not lie in blocks") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}

	said := map[string]string{}
	for _, weights := range []string{"", "fp32"} {
		f := modelFlags{threads: 2, slots: 2, weights: weights, adapters: []string{"tuned=" + adapter}}
		e, done, err := f.engine(new(app), file, serve.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"student", "tuned"} {
			x, err := e.Ask(context.Background(), exchange.Request{Model: name, Messages: []exchange.Message{{Role: "user", Content: "What is 3 plus 4?"}}, MaxTokens: 24, Params: []byte(`{"temperature":0}`)})
			if err != nil {
				t.Fatal(err)
			}
			said[name+weights] = x.Answer.Content
		}
		done()
	}
	if said["student"] == "" || said["student"] == said["tuned"] || said["studentfp32"] == said["tunedfp32"] {
		t.Errorf("in blocks and in numbers, alone and with an adapter, it says %q", said)
	}
}
