// Package gguf makes students of random weights, exported, for benches that
// compare with llama.cpp.
package gguf

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"retort/internal/kernel"
	"retort/student/chat"
	"retort/student/export"
	"retort/student/model"
	"retort/student/tokenizer"
)

// Names are the students'.
var Names = []string{"mla", "moe", "quickstart"}

// Config is that of a student of the training bench, for long contexts.
func Config(name string) (model.Config, error) {
	if name == "quickstart" {
		c, err := model.Preset("tiny-dense", 389)
		c.MaxPositions = 4096
		return c, err
	}
	c := model.Config{
		VocabSize: 512, Hidden: 256, Layers: 6, Heads: 8, NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 64,
		Intermediate: 768, DenseLayers: 6, RopeTheta: 1000, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}
	if name == "moe" {
		c.DenseLayers, c.MoEIntermediate, c.RoutedExperts, c.SharedExperts, c.TopK = 1, 256, 16, 1, 2
	}
	return c, nil
}

// Write makes a model of random weights and writes it to dir, for us and as
// model.gguf, whose path it returns.
func Write(dir string, c model.Config, layout export.Layout) (m *model.Model, file string, err error) {
	if err := kernel.Err(); err != nil {
		return nil, "", err
	}
	if m, err = model.New(c, 1); err != nil {
		return nil, "", err
	}
	// Any text does, if it has enough to merge.
	rng, text := rand.New(rand.NewPCG(1, 1)), make([]string, 2000)
	for i := range text {
		for range 8 {
			text[i] += string(rune('a' + rng.IntN(26)))
		}
		text[i] += " " + text[i]
	}
	tok, err := tokenizer.Train(slices.Values(text), tokenizer.Options{VocabSize: c.VocabSize})
	if err != nil {
		return nil, "", err
	}
	_, err = export.Write(context.Background(), dir, m, chat.Own(tok), export.Options{Formats: []export.Format{export.GGUF}, GGUFLayout: layout})
	return m, filepath.Join(dir, "model.gguf"), err
}

// LlamaBench is tokens per second of the fastest repetition of one test of llama-bench,
// of llama.cpp's programs in a directory.
func LlamaBench(llama, file string, threads, repetitions int, flags ...string) (float64, error) {
	args := append([]string{"-m", file, "-t", strconv.Itoa(threads), "-r", strconv.Itoa(repetitions), "-o", "json"}, flags...)
	cmd := exec.Command(filepath.Join(llama, "llama-bench"), args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", cmd, err, errs.String())
	}
	var runs []struct {
		Samples []float64 `json:"samples_ts"`
	}
	if err := json.Unmarshal(out, &runs); err != nil || len(runs) != 1 || len(runs[0].Samples) == 0 {
		return 0, fmt.Errorf("%s says %s (%v)", cmd, out, err)
	}
	return slices.Max(runs[0].Samples), nil
}

// LlamaVersion is what llama.cpp's programs in a directory say that they are.
func LlamaVersion(llama string) (string, error) {
	out, err := exec.Command(filepath.Join(llama, "llama-bench"), "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("llama-bench --version: %w", err)
	}
	build, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return build, nil
}
