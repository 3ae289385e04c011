// Command latent-cache asks what the latent cache saves and costs: it trains a
// student whose attention caches a latent with the product's own loop, its twin
// with multi-head attention in PyTorch on the same batches, and compares cache and
// held-out loss over several seeds. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/stat"

	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/model"
	"retort/student/train"
)

// vocabulary bounds the tokenizer, and one text in heldoutEvery is held out.
const (
	vocabulary   = 1024
	heldoutEvery = 16
)

// The rates of both sides, found on the student, at 4 layers, and on seed 0, which
// is in no figure.
const (
	rate      = 4e-3 // norms
	embedRate = 0.08
	headRate  = 0.04
	muonRate  = 0.01
)

// config is the student: 8 heads of 32 at d 256, a latent of 48 and a rotary key
// of 32.
func config(vocab int) model.Config {
	return model.Config{
		VocabSize: vocab, Hidden: 256, Layers: 8, Heads: 8,
		NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 48,
		Intermediate: 384, DenseLayers: 8,
		RopeTheta: 200, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}
}

// cacheBytes is what a decoder of the student has allocated for each token and
// layer of its cache.
func cacheBytes() (float64, error) {
	m, err := model.New(config(vocabulary), 1)
	if err != nil {
		return 0, err
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	return float64(model.NewDecoder(m, pool, model.DecoderOptions{MaxContext: 128}).CacheBytes()), nil
}

// setup is a training as the other side has to repeat it; in setup.json beside
// weights.safetensors.
type setup struct {
	Config  model.Config     `json:"config"`
	Options train.Options    `json:"options"`
	Data    []train.Sequence `json:"data"`
	Heldout []train.Sequence `json:"heldout"`
	Steps   [][]int          `json:"steps"` // the sequences of each, as indices of Data
	Rates   []float64        `json:"rates"` // by step, what the schedule multiplies learning rates by
}

// found is what the other side tells of a training.
type found struct {
	Heldout    float64 `json:"heldout"`
	Params     int64   `json:"params"`
	CacheBytes float64 `json:"cache_bytes"`
}

func main() {
	b := bench{study: trial.Study{Bench: "latent-cache", Tokens: 1_500_000, Seeds: 3}}
	trial.DataFlag(&b.data)
	flag.StringVar(&b.work, "work", "", "an existing directory for trainings that the other side repeats")
	flag.StringVar(&b.python, "python", "", "the interpreter that has PyTorch")
	flag.StringVar(&b.twin, "twin", "", "the other side's program, twin.py")
	b.study.Main(b.run)
}

type bench struct {
	study                    trial.Study
	data, work, python, twin string
}

func (b *bench) run(stdout, stderr io.Writer) error {
	texts, err := trial.Questions(b.data)
	if err != nil {
		return err
	}
	var ours, theirs, ratio []float64
	var params int64    // of the student
	var last found      // of the twins
	var crossed float64 // the student's loss where PyTorch trains it, over ours
	for seed := 1; seed <= b.study.Seeds; seed++ {
		dir := filepath.Join(b.work, "twin-"+strconv.Itoa(seed))
		latent, err := b.teach(dir, texts, seed)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "seed %d: latent attention, held-out loss %.5f, %.0f s\n", seed, latent.Heldout, latent.Seconds)
		if seed == 1 {
			same, err := b.other(stderr, dir, "--latent")
			if err != nil {
				return err
			}
			crossed = same.Heldout / latent.Heldout
			fmt.Fprintf(stderr, "seed %d: the same student trained by PyTorch, held-out loss %.5f\n", seed, same.Heldout)
		}
		if last, err = b.other(stderr, dir); err != nil {
			return err
		}
		fmt.Fprintf(stderr, "seed %d: multi-head attention, held-out loss %.5f\n", seed, last.Heldout)
		params, _ = latent.Config.Params()
		ours, theirs = append(ours, latent.Heldout), append(theirs, last.Heldout)
		ratio = append(ratio, latent.Heldout/last.Heldout)
	}
	r := b.study.Report()
	bytes, err := cacheBytes()
	if err != nil {
		return err
	}
	r.Line("cache for a token and layer: latent %.0f bytes, multi-head %.0f, %.2f times smaller", bytes, last.CacheBytes, last.CacheBytes/bytes)
	r.Figure("smaller", last.CacheBytes/bytes)
	r.Line("held-out loss: latent %.5f, multi-head %.5f", stat.Mean(ours, nil), stat.Mean(theirs, nil))
	r.Mean("loss_ratio", "latent over multi-head", "%.4f", ratio)
	r.Line("parameters: latent %d, multi-head %d", params, last.Params)
	r.Line("the latent student of seed 1, trained by PyTorch from the same weights on the same batches: %.4f of our held-out loss", crossed)
	r.Figure("crossed", crossed)
	return r.Print(stdout)
}

// teach trains the student and leaves in dir what the other side needs.
func (b *bench) teach(dir string, texts []trial.Text, seed int) (trial.Taught, error) {
	lessons, err := trial.Split(texts, uint64(seed), vocabulary, heldoutEvery, true)
	if err != nil {
		return trial.Taught{}, err
	}
	s := setup{
		Config: config(lessons.Vocabulary), Data: lessons.Train, Heldout: lessons.Heldout,
		// All that the other side needs is spelled out.
		Options: train.Options{Tokens: b.study.Tokens, BatchTokens: 2048, LR: rate, EmbedLR: embedRate, HeadLR: headRate, MuonLR: muonRate, ClipNorm: 1, Seed: uint64(seed)},
	}
	place := make(map[string]int, len(s.Data))
	for i, d := range s.Data {
		place[fmt.Sprint(d.Tokens[:len(d.Tokens)-1])] = i
	}
	latent, err := trial.Teach(s.Config, lessons, s.Options, 1, func(p train.Progress) {
		batch, _ := p.Look()
		var step []int
		for i, from := range batch.Starts {
			to := len(batch.Tokens)
			if i+1 < len(batch.Starts) {
				to = batch.Starts[i+1]
			}
			step = append(step, place[fmt.Sprint(batch.Tokens[from:to])])
		}
		s.Steps, s.Rates = append(s.Steps, step), append(s.Rates, p.LR/s.Options.LR)
	})
	if err != nil {
		return latent, err
	}
	return latent, s.write(dir)
}

// write leaves the setup and the student's first weights in a new directory.
func (s *setup) write(dir string) error {
	m, err := model.New(s.Config, s.Options.Seed)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := trial.WriteWeights(dir, m); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "setup.json"), text, 0o644)
}

// other repeats the training in dir on the other side.
func (b *bench) other(stderr io.Writer, dir string, args ...string) (f found, err error) {
	cmd := exec.Command(b.python, slices.Concat([]string{b.twin, dir}, args)...)
	cmd.Env = append(os.Environ(), "OMP_WAIT_POLICY=passive") // threads that spin while they wait crawl where there is other work
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		return f, fmt.Errorf("%s: %w", cmd, err)
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return f, fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	if math.IsNaN(f.Heldout) || f.Heldout == 0 {
		return f, fmt.Errorf("%s: held-out loss is %v", cmd, f.Heldout)
	}
	return f, nil
}
