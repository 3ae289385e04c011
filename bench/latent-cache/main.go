// Command latent-cache asks what the latent cache saves and costs: it trains a
// student whose attention caches a latent, and its twin with multi-head attention,
// with the product's own loop on the same batches, and compares cache and held-out
// loss over several seeds. PyTorch repeats one twin's training. See README.md.
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
	"strconv"
	"strings"

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

// The learning rates, found on seed 0, which is in no figure. Looked for on each side
// by itself, the best of the grid were the same for both.
const (
	normRate  = 0.01
	embedRate = 0.08
	headRate  = 0.04
	muonRate  = 0.01
)

// latent is the student: 8 heads of 32 at d 256, a latent of 48 and a rotary key
// of 32.
func latent(vocab int) model.Config {
	return model.Config{
		VocabSize: vocab, Hidden: 256, Layers: 8, Heads: 8,
		NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 48,
		Intermediate: 384, DenseLayers: 8,
		RopeTheta: 200, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}
}

// multiHead is the twin: each head has a key and a value of its own.
func multiHead(vocab int) model.Config {
	c := latent(vocab)
	c.NopeDim, c.KVLoraRank, c.KVHeads = 0, 0, c.Heads
	return c
}

// cacheBytes is what a decoder has allocated for each token and layer of its cache.
func cacheBytes(c model.Config) (float64, error) {
	m, err := model.New(c, 1)
	if err != nil {
		return 0, err
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	return float64(model.NewDecoder(m, pool, model.DecoderOptions{MaxContext: 128}).CacheBytes()), nil
}

// setup is a training as PyTorch has to repeat it; in setup.json beside
// weights.safetensors.
type setup struct {
	Config  model.Config     `json:"config"`
	Options train.Options    `json:"options"`
	Data    []train.Sequence `json:"data"`
	Heldout []train.Sequence `json:"heldout"`
	Steps   [][]int          `json:"steps"` // the sequences of each, as indices of Data
	Rates   []float64        `json:"rates"` // by step, what the schedule multiplies learning rates by
}

func main() {
	b := bench{study: trial.Study{Bench: "latent-cache", Tokens: 1_500_000, Seeds: 3}}
	trial.DataFlag(&b.data)
	flag.StringVar(&b.work, "work", "", "an existing directory for the training that PyTorch repeats")
	flag.StringVar(&b.python, "python", "", "the interpreter that has PyTorch")
	flag.StringVar(&b.twin, "twin", "", "its program, twin.py")
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
	var params [2]int64
	var crossed float64 // the first twin's loss where PyTorch trains it, over ours
	for seed := 1; seed <= b.study.Seeds; seed++ {
		lessons, err := trial.Split(texts, uint64(seed), vocabulary, heldoutEvery, true)
		if err != nil {
			return err
		}
		teach := func(what string, c model.Config, dir string) (trial.Taught, error) {
			t, err := b.teach(c, lessons, seed, dir)
			if err == nil {
				fmt.Fprintf(stderr, "seed %d: %s, held-out loss %.5f, %.0f s\n", seed, what, t.Heldout, t.Seconds)
			}
			return t, err
		}
		compressed, err := teach("latent attention", latent(lessons.Vocabulary), "")
		if err != nil {
			return err
		}
		dir := ""
		if seed == 1 {
			dir = filepath.Join(b.work, "twin")
		}
		whole, err := teach("multi-head attention", multiHead(lessons.Vocabulary), dir)
		if err != nil {
			return err
		}
		if seed == 1 {
			loss, err := b.repeat(stderr, dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(stderr, "seed %d: multi-head attention trained by PyTorch, held-out loss %.5f\n", seed, loss)
			crossed = loss / whole.Heldout
		}
		params[0], _ = compressed.Config.Params()
		params[1], _ = whole.Config.Params()
		ours, theirs = append(ours, compressed.Heldout), append(theirs, whole.Heldout)
		ratio = append(ratio, compressed.Heldout/whole.Heldout)
	}
	r := b.study.Report()
	small, err := cacheBytes(latent(vocabulary))
	if err != nil {
		return err
	}
	large, err := cacheBytes(multiHead(vocabulary))
	if err != nil {
		return err
	}
	r.Line("cache for a token and layer: latent %.0f bytes, multi-head %.0f, %.2f times smaller", small, large, large/small)
	r.Figure("smaller", large/small)
	r.Line("held-out loss: latent %.5f, multi-head %.5f", stat.Mean(ours, nil), stat.Mean(theirs, nil))
	r.Mean("loss_ratio", "latent over multi-head", "%.4f", ratio)
	r.Line("parameters: latent %d, multi-head %d", params[0], params[1])
	r.Line("the multi-head student of seed 1, trained by PyTorch in fp32 from the same weights on the same batches: %.4f of our held-out loss", crossed)
	r.Figure("crossed", crossed)
	return r.Print(stdout)
}

// teach trains a student and, if dir is not empty, leaves there what is needed to
// repeat the training.
func (b *bench) teach(c model.Config, lessons trial.Lessons, seed int, dir string) (trial.Taught, error) {
	opt := train.Options{
		Tokens: b.study.Tokens, Precision: "auto", Seed: uint64(seed),
		LR: normRate, EmbedLR: embedRate, HeadLR: headRate, MuonLR: muonRate,
	}
	if dir == "" {
		return trial.Teach(c, lessons, opt, 1, nil)
	}
	opt, err := opt.WithDefaults() // PyTorch must be told all
	if err != nil {
		return trial.Taught{}, err
	}
	s := setup{Config: c, Data: lessons.Train, Heldout: lessons.Heldout, Options: opt}
	place := make(map[string]int, len(s.Data))
	for i, d := range s.Data {
		place[fmt.Sprint(d.Tokens[:len(d.Tokens)-1])] = i
	}
	taught, err := trial.Teach(c, lessons, opt, 1, func(p train.Progress) {
		batch, _ := p.Look()
		var step []int
		for i, from := range batch.Starts {
			to := len(batch.Tokens)
			if i+1 < len(batch.Starts) {
				to = batch.Starts[i+1]
			}
			step = append(step, place[fmt.Sprint(batch.Tokens[from:to])])
		}
		s.Steps, s.Rates = append(s.Steps, step), append(s.Rates, p.LR/opt.LR)
	})
	if err != nil {
		return taught, err
	}
	return taught, s.write(dir)
}

// write leaves the setup and the first weights in a new directory.
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

// repeat has PyTorch repeat the training in dir, and returns the held-out loss.
func (b *bench) repeat(stderr io.Writer, dir string) (float64, error) {
	cmd := exec.Command(b.python, b.twin, dir)
	cmd.Env = append(os.Environ(), "OMP_WAIT_POLICY=passive") // threads that spin while they wait crawl where there is other work
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd, err)
	}
	loss, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err == nil && (math.IsNaN(loss) || loss <= 0) {
		err = fmt.Errorf("held-out loss is %v", loss)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd, err)
	}
	return loss, nil
}
