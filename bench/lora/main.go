// Command lora is our side of bench/lora: an adapter on a base model, of which it either
// takes one step, for PyTorch and PEFT to be held against, or trains in blocks of steps
// as it is told. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/base"
	"retort/student/model"
	"retort/student/train"
)

const (
	rank     = 16
	alpha    = 32
	maxSteps = 100_000 // more than any bench takes
)

// setup is what the other side must know; in step.json beside adapter and gradients.
type setup struct {
	Base      string           `json:"base"`
	Sequences []train.Sequence `json:"sequences"`
	Options   train.Options    `json:"options"`
	Kernel    string           `json:"kernel"`
	Loss      float64          `json:"loss"` // before the first step
	EOS       []int32          `json:"eos"`  // of the tokenizer beside it
}

func main() {
	path := flag.String("base", "", "the base model")
	work := flag.String("work", "", "a directory for what the other side reads: take one step; without it train")
	sequences := flag.Int("sequences", 8, "of a step")
	length := flag.Int("length", 256, "tokens of each, of which the second half is the response")
	parts := flag.Int("parts", 1, "in which a step is computed")
	precision := flag.String("precision", "fp32", "fp32 or bf16")
	threads := flag.Int("threads", 2, "of the pool")
	flag.Parse()
	err := kernel.Err()
	if err == nil {
		err = run(*path, *work, *sequences, *length, *parts, *precision, *threads)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/lora:", err)
		os.Exit(1)
	}
}

func run(path, work string, sequences, length, parts int, precision string, threads int) error {
	b, err := base.Open(path)
	if err != nil {
		return err
	}
	defer b.Close()
	a, err := adapter(b.Config())
	if err != nil {
		return err
	}
	s := setup{Base: path, Sequences: draw(b.Config().VocabSize, sequences, length), Kernel: kernel.Active().String(), EOS: b.EOS}
	s.Options, err = train.Options{
		Adapter: a, Epochs: maxSteps, BatchTokens: sequences * length, Accumulate: parts, Precision: precision, Optimizer: "adamw",
		WarmupShare: -1, DecayShare: -1, CheckpointEvery: maxSteps,
	}.WithDefaults()
	if err != nil {
		return err
	}
	pool := kernel.NewPool(threads)
	defer pool.Close()
	if work != "" {
		return step(b, a, s, pool, work)
	}
	return trial.Held(b, pool, s.Sequences, s.Options, nil, os.Stdin, os.Stdout)
}

// adapter is one that changes something.
func adapter(c model.Config) (*model.Adapter, error) {
	a, err := model.NewAdapter(c, model.LoRA{Rank: rank, Alpha: alpha}, 1)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, t := range a.Tensors() {
		for i := range t.Data {
			t.Data[i] += 0.01 * float32(rng.NormFloat64())
		}
	}
	return a, nil
}

// step leaves in work the adapter, the step, its loss and gradients in fp32, and the
// base's tokenizer.
func step(b *base.Base, a *model.Adapter, s setup, pool *kernel.Pool, work string) error {
	var batch model.Batch
	for _, q := range s.Sequences {
		batch = q.AppendTo(batch)
	}
	frozen, err := model.NewFrozen(kernel.F32, b, pool)
	if err != nil {
		return err
	}
	pass, err := model.NewAdapterPass(frozen, a, pool, len(batch.Tokens))
	if err != nil {
		return err
	}
	if s.Loss, err = pass.Gradients(batch); err != nil {
		return err
	}
	hash, err := model.HashOf(b)
	if err != nil {
		return err
	}
	if err := base.WriteAdapter(work, s.Base, hash, a); err != nil {
		return err
	}
	// The gradients, laid out as the adapter itself.
	for i, g := range pass.Grads() {
		copy(a.Tensors()[i].Data, g.Data)
	}
	grads := filepath.Join(work, "gradients")
	if err := os.Mkdir(grads, 0o755); err != nil {
		return err
	}
	if err := base.WriteAdapter(grads, s.Base, hash, a); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "tokenizer.json"), b.Tokenizer.JSON(), 0o644); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(work, "step.json"), text, 0o644)
}

// draw draws sequences of random tokens, of which the second half is the response.
func draw(vocab, sequences, length int) []train.Sequence {
	rng := rand.New(rand.NewPCG(3, 4))
	all := make([]train.Sequence, sequences)
	for i := range all {
		all[i].ResponseFrom = length / 2
		for range length + 1 {
			all[i].Tokens = append(all[i].Tokens, int32(rng.IntN(vocab)))
		}
	}
	return all
}
