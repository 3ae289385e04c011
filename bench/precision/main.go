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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"retort/internal/kernel"
	"retort/internal/machine"
)

var precisions = []string{"fp32", "bf16"}

// student is what became of one training.
type student struct {
	scores  map[string]float64 // by family and overall: share right of the held-out problems
	loss    float64            // held-out, at the end
	seconds float64            // of training
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
			fmt.Fprintf(stderr, "seed %d, %s: overall %.2f%%, held-out loss %.5f, %.0f s\n", seed, precision, 100*s.scores["overall"], s.loss, s.seconds)
		}
	}
	return b.print(stdout, found)
}

// train runs the recipe in another precision; runs of one seed share a workspace,
// so that its teacher is asked once and both learn from the same dataset.
func (b *bench) train(stderr io.Writer, precision string, seed int) (s student, err error) {
	data, err := os.ReadFile(b.recipe)
	if err != nil {
		return s, err
	}
	var recipe map[string]any
	if err := yaml.Unmarshal(data, &recipe); err != nil {
		return s, err
	}
	recipe["name"], recipe["seed"] = precision, seed
	recipe["train"] = []any{map[string]any{"sft": map[string]any{"tokens": b.tokens, "precision": precision}}}
	recipe["eval"] = map[string]any{"against": []string{"teacher"}}
	if data, err = yaml.Marshal(recipe); err != nil {
		return s, err
	}
	file := filepath.Join(b.work, fmt.Sprintf("%s-%d.yaml", precision, seed))
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return s, err
	}
	workspace := filepath.Join(b.work, "seed-"+strconv.Itoa(seed))
	cmd := exec.Command(b.binary, "run", file, "--workspace", workspace, "--json", "--quiet")
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("%s: %w", cmd, err)
	}
	var summary struct {
		Run  string
		Eval []struct {
			Family  string
			Student float64
		}
		Seconds map[string]float64
	}
	if err := json.Unmarshal(out, &summary); err != nil {
		return s, fmt.Errorf("%s: %w", cmd, err)
	}
	s.seconds, s.scores = summary.Seconds["train"], map[string]float64{}
	for _, e := range summary.Eval {
		s.scores[e.Family] = e.Student
	}
	s.loss, err = lastLoss(filepath.Join(workspace, "runs", summary.Run, "checkpoints", "metrics.jsonl"))
	return s, err
}

// lastLoss is the last held-out loss that a run's metrics tell.
func lastLoss(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	loss := math.NaN()
	in := bufio.NewScanner(f)
	for in.Scan() {
		var line struct {
			Heldout *float64 `json:"heldout_loss"`
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if line.Heldout != nil {
			loss = *line.Heldout
		}
	}
	if math.IsNaN(loss) {
		return 0, errors.Join(in.Err(), fmt.Errorf("%s tells no held-out loss", path))
	}
	return loss, in.Err()
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
		add(family, "%.2f%%", 100, func(s student) float64 { return s.scores[family] })
	}
	add("held-out loss", "%.5f", 1, func(s student) float64 { return s.loss })
	var faster []float64
	for i, s := range found["fp32"] {
		faster = append(faster, s.seconds/found["bf16"][i].seconds)
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
