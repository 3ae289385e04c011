// Command train is our side of the training bench: it writes a student's first
// weights and one batch for the other side to read, and then trains on that
// batch in blocks of steps as it is told, one number a line on standard input.
// See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/model"
	"retort/student/train"
)

// student is a model and the step that it is trained by.
type student struct {
	config            model.Config
	tokens            int // of a step
	shortest, longest int // sequences, in tokens
	responseFrom      int // fifths of a sequence before the response
}

// students are the models that are compared. The step of the quickstart has its
// tokenizer's vocabulary, and examples of 96 tokens on average, three fifths of
// them response; the other two are of a student of 5 million active parameters,
// dense and as a mixture, with a loss on everything.
var students = map[string]func() (student, error){
	"quickstart": func() (student, error) { return tiny("tiny-dense") },
	"tiny-moe":   func() (student, error) { return tiny("tiny-moe") },
	"mla":        func() (student, error) { return fiveMillion(false), nil },
	"moe":        func() (student, error) { return fiveMillion(true), nil },
}

func tiny(preset string) (student, error) {
	c, err := model.Preset(preset, 389)
	return student{config: c, tokens: 2048, shortest: 64, longest: 128, responseFrom: 2}, err
}

func fiveMillion(mixture bool) student {
	c := model.Config{
		VocabSize: 512, Hidden: 256, Layers: 6, Heads: 8,
		NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 64,
		Intermediate: 768, DenseLayers: 6,
		RopeTheta: 1000, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}
	if mixture { // 2 routed and 1 shared expert of 256 are as wide as 768
		c.DenseLayers, c.MoEIntermediate = 1, 256
		c.RoutedExperts, c.SharedExperts, c.TopK = 16, 1, 2
	}
	return student{config: c, tokens: 4096, shortest: 256, longest: 256}
}

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
	FLOPs   float64          `json:"flops"` // useful ones of a step, forward and backward; see model.Config.TrainFLOPs
	Params  int64            `json:"params"`
	Active  int64            `json:"active_params"`
}

func main() {
	name := flag.String("student", "quickstart", "quickstart, tiny-moe, mla or moe")
	optimizer := flag.String("optimizer", "muon", "muon or adamw")
	precision := flag.String("precision", "fp32", "fp32 or bf16")
	threads := flag.Int("threads", 2, "of the pool")
	experts := flag.Bool("experts", false, "report which experts the tokens of each step went to")
	dir := flag.String("dir", "", "an existing directory for weights.safetensors and setup.json")
	flag.Parse()
	if err := run(*name, *optimizer, *precision, *threads, *experts, *dir, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/train:", err)
		os.Exit(1)
	}
}

func run(name, optimizer, precision string, threads int, experts bool, dir string, in io.Reader, out io.Writer) error {
	if err := kernel.Err(); err != nil {
		return err
	}
	choose, ok := students[name]
	if !ok {
		return fmt.Errorf("there is no student %q", name)
	}
	of, err := choose()
	if err != nil {
		return err
	}
	m, err := model.New(of.config, 1)
	if err != nil {
		return err
	}
	s := setup{Config: of.config, Data: of.sequences(), Warmup: warmupSteps, Kernel: kernel.Active().String()}
	s.FLOPs = of.config.TrainFLOPs(batch(s.Data))
	s.Params, s.Active = of.config.Params()
	s.Options, err = train.Options{
		Epochs: maxSteps, BatchTokens: of.tokens, Optimizer: optimizer, Precision: precision,
		WarmupShare: float64(warmupSteps) / maxSteps, DecayShare: -1, CheckpointEvery: maxSteps,
	}.WithDefaults() // the other side must be told all rates
	if err != nil {
		return err
	}
	if err := write(dir, m, s); err != nil {
		return err
	}
	pool := kernel.NewPool(threads)
	defer pool.Close()
	var look func(train.Progress) [][]int32
	if experts {
		look = func(p train.Progress) [][]int32 { return inOrder(s.Data, s.Config.TopK, p.Look) }
	}
	return trial.Held(m, pool, s.Data, s.Options, look, in, out)
}

// sequences are one step's, so that every epoch is the same batch but for the
// order. Tokens follow a skewed distribution; a response repeats its prompt with
// some noise, so that there is something to learn, and the step after a hundred
// is not the step of a finished model.
func (of student) sequences() []train.Sequence {
	rng := rand.New(rand.NewPCG(1, 2))
	token := func() int32 {
		u := rng.Float64()
		return int32(u * u * float64(of.config.VocabSize))
	}
	var data []train.Sequence
	for left := of.tokens; left > 0; {
		n := of.shortest + rng.IntN(of.longest-of.shortest+1)
		if left-n < of.shortest { // no last sequence that is unlike the others
			n = left
			if n > of.longest {
				n = left / 2
			}
		}
		left -= n
		copied := (n + 1) * 2 / 5                                                                    // from here on the prompt is repeated
		s := train.Sequence{Tokens: make([]int32, n+1), ResponseFrom: (n + 1) * of.responseFrom / 5} // the last token is only predicted
		for i := range s.Tokens {
			s.Tokens[i] = token()
			if i >= copied && rng.IntN(4) > 0 {
				s.Tokens[i] = s.Tokens[i-copied]
			}
		}
		data = append(data, s)
	}
	return data
}

// batch is a step's sequences as the model takes them.
func batch(data []train.Sequence) (b model.Batch) {
	for _, s := range data {
		b = s.AppendTo(b)
	}
	return b
}

// write leaves weights and setup in dir.
func write(dir string, m *model.Model, s setup) error {
	if err := trial.WriteWeights(dir, m); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "setup.json"), text, 0o644)
}

// inOrder brings the experts of a step's tokens into the order of data: the step
// has its sequences in another. No two sequences are equal.
func inOrder(data []train.Sequence, k int, look func() (model.Batch, [][]int32)) [][]int32 {
	b, experts := look()
	starts := make(map[string]int)
	for i, from := range b.Starts {
		to := len(b.Tokens)
		if i+1 < len(b.Starts) {
			to = b.Starts[i+1]
		}
		starts[fmt.Sprint(b.Tokens[from:to])] = from
	}
	var out [][]int32
	for _, layer := range experts {
		if layer == nil {
			continue
		}
		var all []int32
		for _, s := range data {
			n := len(s.Tokens) - 1
			from := starts[fmt.Sprint(s.Tokens[:n])]
			all = append(all, layer[from*k:(from+n)*k]...)
		}
		out = append(out, all)
	}
	return out
}
