// Command lora is our side of bench/lora: a step of an adapter on a base model, for
// PyTorch and PEFT to be held against. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"retort/internal/kernel"
	"retort/student/base"
	"retort/student/model"
	"retort/student/train"
)

const (
	rank   = 16
	alpha  = 32
	seqs   = 8
	length = 256
)

// step is what the other side has to do too; in step.json beside adapter and
// gradients.
type step struct {
	Base      string           `json:"base"`
	Sequences []train.Sequence `json:"sequences"`
	Loss      float64          `json:"loss"`
}

func main() {
	path := flag.String("base", "", "the base model")
	work := flag.String("work", "", "a directory for what the other side reads")
	threads := flag.Int("threads", 2, "")
	flag.Parse()
	err := kernel.Err()
	if err == nil {
		err = run(*path, *work, *threads)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/lora:", err)
		os.Exit(1)
	}
}

// run leaves in work an adapter that changes something, a batch, and their loss and
// gradients in fp32.
func run(path, work string, threads int) error {
	b, err := base.Read(path)
	if err != nil {
		return err
	}
	c := b.Model.Config()
	a, err := model.NewAdapter(c, model.LoRA{Rank: rank, Alpha: alpha}, 1)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, t := range a.Tensors() {
		for i := range t.Data {
			t.Data[i] += 0.01 * float32(rng.NormFloat64())
		}
	}
	s := step{Base: path, Sequences: sequences(c.VocabSize)}
	pool := kernel.NewPool(threads)
	defer pool.Close()
	var batch model.Batch
	for _, q := range s.Sequences {
		batch = q.AppendTo(batch)
	}
	frozen, err := model.NewFrozen(kernel.F32, b.Model, pool)
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
	if err := base.WriteAdapter(work, path, b.Model.Hash(), a); err != nil {
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
	if err := base.WriteAdapter(grads, path, b.Model.Hash(), a); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(work, "step.json"), text, 0o644)
}

// sequences are random tokens, of which the second half is the response.
func sequences(vocab int) []train.Sequence {
	rng := rand.New(rand.NewPCG(3, 4))
	all := make([]train.Sequence, seqs)
	for i := range all {
		all[i].ResponseFrom = length / 2
		for range length + 1 {
			all[i].Tokens = append(all[i].Tokens, int32(rng.IntN(vocab)))
		}
	}
	return all
}
