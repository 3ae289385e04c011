// Command train is our side of the training bench: it writes a student's first
// weights and one batch for the other side to read, and then trains on that
// batch in blocks of steps as it is told, one number a line on standard input.
// See README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"retort/internal/kernel"
	"retort/internal/modelfile"
	"retort/student/model"
	"retort/student/train"
)

// The step of the quickstart: this vocabulary is what its tokenizer ends with,
// and its examples are 96 tokens long on average, three fifths of them response.
const (
	vocabulary = 389
	stepTokens = 2048
	shortest   = 64
	longest    = 128
)

// maxSteps is longer than any bench: the schedule is in its plateau throughout.
const (
	maxSteps    = 100_000
	warmupSteps = 5
)

// setup is what the other side must know; in setup.json beside weights.safetensors.
type setup struct {
	Config  model.Config     `json:"config"`
	Data    []train.Sequence `json:"data"`
	Warmup  int              `json:"warmup_steps"`
	Options train.Options    `json:"options"`
	Kernel  string           `json:"kernel"`
}

// block is the answer to a line on standard input.
type block struct {
	Seconds float64   `json:"seconds"` // wall clock, from the line read to the last step done
	Tokens  int64     `json:"tokens"`  // read in these steps
	Losses  []float64 `json:"losses"`
	Norms   []float64 `json:"norms"` // of the gradient, before clipping
}

func main() {
	preset := flag.String("preset", "tiny-dense", "of the model")
	optimizer := flag.String("optimizer", "muon", "muon or adamw")
	threads := flag.Int("threads", 2, "of the pool")
	dir := flag.String("dir", "", "an existing directory for weights.safetensors and setup.json")
	flag.Parse()
	if err := run(*preset, *optimizer, *threads, *dir, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/train:", err)
		os.Exit(1)
	}
}

func run(preset, optimizer string, threads int, dir string, in io.Reader, out io.Writer) error {
	if err := kernel.Err(); err != nil {
		return err
	}
	config, err := model.Preset(preset, vocabulary)
	if err != nil {
		return err
	}
	m, err := model.New(config, 1)
	if err != nil {
		return err
	}
	s := setup{Config: config, Data: sequences(), Warmup: warmupSteps, Kernel: kernel.Active().String()}
	s.Options = train.Options{
		Epochs: maxSteps, BatchTokens: stepTokens, Optimizer: optimizer, MuonLR: 0.01, ClipNorm: 1,
		WarmupShare: float64(warmupSteps) / maxSteps, DecayShare: -1, CheckpointEvery: maxSteps,
	}
	// The defaults of training, spelled out for the other side.
	if s.Options.LR = 3e-3; optimizer == "adamw" {
		s.Options.LR = 1.5e-3
	}
	if err := write(dir, m, s); err != nil {
		return err
	}
	pool := kernel.NewPool(threads)
	defer pool.Close()
	return steps(m, pool, s, in, out)
}

// sequences are one step's, so that every epoch is the same batch but for the
// order. Tokens follow a skewed distribution; a response repeats its prompt with
// some noise, so that there is something to learn, and the step after a hundred
// is not the step of a finished model.
func sequences() []train.Sequence {
	rng := rand.New(rand.NewPCG(1, 2))
	token := func() int32 {
		u := rng.Float64()
		return int32(u * u * vocabulary)
	}
	var data []train.Sequence
	for left := stepTokens; left > 0; {
		n := shortest + rng.IntN(longest-shortest+1)
		if left-n < shortest { // no last sequence that is unlike the others
			n = left
			if n > longest {
				n = left / 2
			}
		}
		left -= n
		s := train.Sequence{Tokens: make([]int32, n+1), ResponseFrom: (n + 1) * 2 / 5} // the last token is only predicted
		for i := range s.Tokens {
			s.Tokens[i] = token()
			if i >= s.ResponseFrom && rng.IntN(4) > 0 {
				s.Tokens[i] = s.Tokens[i-s.ResponseFrom]
			}
		}
		data = append(data, s)
	}
	return data
}

// write leaves weights and setup in dir.
func write(dir string, m *model.Model, s setup) error {
	var tensors []modelfile.Tensor
	for _, t := range m.Tensors() {
		tensors = append(tensors, modelfile.Tensor{Name: t.Name, Shape: t.Shape, Type: modelfile.F32, Data: t.Data})
	}
	f, err := os.Create(filepath.Join(dir, "weights.safetensors"))
	if err != nil {
		return err
	}
	err = modelfile.WriteSafetensors(f, map[string]string{"format": "pt"}, tensors)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing weights: %w", err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "setup.json"), text, 0o644)
}

// errEnd ends training when there is nothing more on standard input.
var errEnd = errors.New("standard input ended")

// steps trains with the product's own loop, which it holds between blocks: the
// callback after the last step of a block returns when the next block begins.
func steps(m *model.Model, pool *kernel.Pool, s setup, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	lines, answers := bufio.NewScanner(in), json.NewEncoder(out)
	var (
		left  int
		began time.Time
		from  int64 // tokens read when the block began
		b     block
	)
	next := func() error {
		if !lines.Scan() {
			return errors.Join(errEnd, lines.Err())
		}
		n, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil || n < 1 {
			return fmt.Errorf("standard input: %q is not a number of steps", lines.Text())
		}
		left, b, began = n, block{}, time.Now()
		return nil
	}
	if err := next(); err != nil {
		return err
	}
	_, err := train.SFT(ctx, m, pool, s.Data, s.Options, func(p train.Progress) {
		b.Losses, b.Norms = append(b.Losses, p.Loss), append(b.Norms, p.GradNorm)
		if left--; left > 0 {
			return
		}
		b.Seconds, b.Tokens = time.Since(began).Seconds(), p.Tokens-from
		from = p.Tokens
		err := answers.Encode(b)
		if err == nil {
			err = next()
		}
		if err != nil {
			cancel(err)
		}
	})
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}
