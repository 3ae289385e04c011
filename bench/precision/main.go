// Command precision asks whether a student that is trained with products rounded
// to bfloat16 is as good as one that is trained in float32: it teaches the
// quickstart's problems both ways over several seeds. See README.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/gonum/stat"

	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/train"
)

var precisions = []string{"fp32", "bf16"}

// student is what became of one training.
type student struct {
	trial.Result
	loss float64 // held-out, at the end
	rate float64 // tokens/s of the median step
}

func main() {
	b := bench{study: trial.Study{Bench: "precision", Tokens: 2_900_000, Seeds: 5}}
	b.trial.Flags()
	b.study.Main(b.run)
}

type bench struct {
	study trial.Study
	trial trial.Trial
}

func (b *bench) run(stdout, stderr io.Writer) error {
	if !kernel.FastBF16() {
		fmt.Fprintln(stderr, "this machine has no instructions for bfloat16: products are rounded, and slow")
	}
	found := map[string][]student{}
	for seed := 1; seed <= b.study.Seeds; seed++ {
		for i := range precisions {
			precision := precisions[(i+seed+1)%len(precisions)]
			s, err := b.train(precision, seed)
			if err != nil {
				return err
			}
			found[precision] = append(found[precision], s)
			fmt.Fprintf(stderr, "seed %d, %s: overall %.2f%%, held-out loss %.5f, %.0f s\n", seed, precision, 100*s.Scores["overall"], s.loss, s.Seconds)
		}
	}
	return b.print(stdout, found)
}

// train teaches the recipe's problems in a precision.
func (b *bench) train(precision string, seed int) (student, error) {
	r, err := b.trial.Train(precision, seed, nil, map[string]any{"tokens": b.study.Tokens, "precision": precision})
	if err != nil {
		return student{}, err
	}
	loss, rate, err := readMetrics(filepath.Join(r.Dir, "checkpoints", train.MetricsFile))
	return student{r, loss, rate}, err
}

// readMetrics returns the last held-out loss that a run's metrics tell, and the
// tokens per second of its median step, which a machine that does other things
// for a while leaves alone.
func readMetrics(path string) (loss, rate float64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	loss = math.NaN()
	var rates []float64
	in := bufio.NewScanner(f)
	for in.Scan() {
		var line struct {
			Heldout *float64 `json:"heldout_loss"`
			Rate    float64  `json:"tokens_per_s"`
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", path, err)
		}
		if line.Heldout != nil {
			loss = *line.Heldout
		}
		rates = append(rates, line.Rate)
	}
	if math.IsNaN(loss) {
		return 0, 0, errors.Join(in.Err(), fmt.Errorf("%s tells no held-out loss", path))
	}
	return loss, trial.Middle(rates), in.Err()
}

// print reports means over seeds, differences paired.
func (b *bench) print(stdout io.Writer, found map[string][]student) error {
	r := b.study.Report()
	add := func(name, form string, unit float64, of func(student) float64) {
		var d, single, low []float64
		for i, s := range found["fp32"] {
			single, low = append(single, unit*of(s)), append(low, unit*of(found["bf16"][i]))
			d = append(d, low[i]-single[i])
		}
		r.Mean(strings.ReplaceAll(name, " ", "_"), fmt.Sprintf("%s: fp32 "+form+", bf16 "+form+", difference", name, stat.Mean(single, nil), stat.Mean(low, nil)), form, d)
	}
	for _, family := range []string{"multiply", "chain", "list", "overall"} {
		add(family, "%.2f%%", 100, func(s student) float64 { return s.Scores[family] })
	}
	add("held-out loss", "%.5f", 1, func(s student) float64 { return s.loss })
	var faster []float64
	for i, s := range found["fp32"] {
		faster = append(faster, found["bf16"][i].rate/s.rate)
	}
	mean := stat.Mean(faster, nil)
	r.Figure("faster", mean)
	r.Line("bf16 trains in 1/%.2f of the time of fp32", mean)
	return r.Print(stdout)
}
