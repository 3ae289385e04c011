// Command precision asks whether a student that is trained with products rounded
// to bfloat16 is as good as one that is trained in float32: it teaches the
// quickstart's problems both ways over several seeds. See README.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/internal/machine"
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
	var b bench
	flag.StringVar(&b.binary, "binary", "", "the retort binary")
	flag.StringVar(&b.recipe, "recipe", "", "the recipe whose problems are taught")
	flag.StringVar(&b.work, "work", "", "an existing directory for workspaces")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.Int64Var(&b.tokens, "tokens", 2_900_000, "to train each student on")
	flag.IntVar(&b.seeds, "seeds", 5, "how many of them, at least 2")
	flag.Parse()
	if err := b.run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/precision:", err)
		os.Exit(1)
	}
}

type bench struct {
	binary, recipe, work, record string
	tokens                       int64
	seeds                        int
}

func (b *bench) run(stdout, stderr io.Writer) error {
	if b.seeds < 2 {
		return errors.New("an interval needs at least 2 seeds")
	}
	if err := kernel.Err(); err != nil {
		return err
	}
	if !kernel.FastBF16() {
		fmt.Fprintln(stderr, "this machine has no instructions for bfloat16: products are rounded, and slow")
	}
	found := map[string][]student{}
	for seed := 1; seed <= b.seeds; seed++ {
		for i := range precisions {
			precision := precisions[(i+seed+1)%len(precisions)]
			s, err := b.train(stderr, precision, seed)
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
func (b *bench) train(stderr io.Writer, precision string, seed int) (student, error) {
	t := trial.Trial{Binary: b.binary, Recipe: b.recipe, Work: b.work, Stderr: stderr}
	r, err := t.Train(precision, seed, nil, map[string]any{"tokens": b.tokens, "precision": precision})
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
	slices.Sort(rates)
	return loss, stat.Quantile(0.5, stat.Empirical, rates, nil), in.Err()
}

// interval is the mean of paired differences and its 95% interval by Student's t,
// which takes the differences of seeds for independent and about normal.
func interval(d []float64) (mean, lo, hi float64) {
	mean, sd := stat.MeanStdDev(d, nil)
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(len(d) - 1)}.Quantile(0.975)
	half := t * sd / math.Sqrt(float64(len(d)))
	return mean, mean - half, mean + half
}

func (b *bench) print(stdout io.Writer, found map[string][]student) error {
	figures, spread := map[string]float64{}, map[string][2]float64{}
	var lines strings.Builder
	add := func(name, form string, unit float64, of func(student) float64) {
		var d, single, low []float64
		for i, s := range found["fp32"] {
			single, low = append(single, unit*of(s)), append(low, unit*of(found["bf16"][i]))
			d = append(d, low[i]-single[i])
		}
		mean, lo, hi := interval(d)
		key := strings.ReplaceAll(name, " ", "_")
		figures[key], spread[key] = mean, [2]float64{lo, hi}
		fmt.Fprintf(&lines, "- %s: fp32 "+form+", bf16 "+form+", difference "+form+" ["+form+" to "+form+"]\n", name, stat.Mean(single, nil), stat.Mean(low, nil), mean, lo, hi)
	}
	for _, family := range []string{"multiply", "chain", "list", "overall"} {
		add(family, "%.2f%%", 100, func(s student) float64 { return s.Scores[family] })
	}
	add("held-out loss", "%.5f", 1, func(s student) float64 { return s.loss })
	var faster []float64
	for i, s := range found["fp32"] {
		faster = append(faster, found["bf16"][i].rate/s.rate)
	}
	figures["faster"] = stat.Mean(faster, nil)
	fmt.Fprintf(&lines, "- bf16 trains in 1/%.2f of the time of fp32\n", figures["faster"])
	fmt.Fprint(stdout, lines.String())
	if b.record != "" {
		f, err := os.OpenFile(b.record, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		cpu := machine.CPU()
		if _, err := fmt.Fprintf(f, "\n## precision\n\n%s, %s, %d cores, kernel %s; %d seeds, %.1f M tokens each\n\n%s",
			time.Now().UTC().Format(time.DateOnly), cpu.Name, cpu.Cores, cpu.Kernels, b.seeds, float64(b.tokens)/1e6, lines.String()); err != nil {
			return err
		}
	}
	return json.NewEncoder(stdout).Encode(map[string]any{"bench": "precision", "figures": figures, "spread": spread})
}
