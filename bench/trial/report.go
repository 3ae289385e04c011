package trial

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"retort/internal/machine"
)

// Interval is the mean of values of different seeds and its 95% interval by
// Student's t, which takes them for independent and about normal. Paired values
// are given as their differences or ratios.
func Interval(values []float64) (mean, lo, hi float64) {
	mean, sd := stat.MeanStdDev(values, nil)
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(len(values) - 1)}.Quantile(0.975)
	half := t * sd / math.Sqrt(float64(len(values)))
	return mean, mean - half, mean + half
}

// Report gathers what a bench has found: lines for people, and figures with their
// spread for the last line.
type Report struct {
	bench, what string // what was done: "3 seeds of 1.2 M tokens"
	record      string

	lines   strings.Builder
	figures map[string]float64
	spread  map[string][2]float64
}

// Line adds a line for people.
func (r *Report) Line(format string, args ...any) { fmt.Fprintf(&r.lines, "- "+format+"\n", args...) }

// Figure adds a figure that is the same for all seeds.
func (r *Report) Figure(name string, value float64) { r.add(name, value, value, value) }

// Mean adds a figure that is the mean over seeds, with its interval, and a line
// that begins with what it is and shows numbers in the given form.
func (r *Report) Mean(name, what, form string, values []float64) {
	mean, lo, hi := Interval(values)
	r.add(name, mean, lo, hi)
	r.Line("%s: "+form+" ["+form+" to "+form+"]", what, mean, lo, hi)
}

func (r *Report) add(name string, value, lo, hi float64) {
	if r.figures == nil {
		r.figures, r.spread = map[string]float64{}, map[string][2]float64{}
	}
	r.figures[name], r.spread[name] = value, [2]float64{lo, hi}
}

// Print writes the report, the last line as JSON, and appends it to the study's
// record if there is one.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprint(w, r.lines.String())
	if r.record != "" {
		f, err := os.OpenFile(r.record, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		cpu := machine.CPU()
		if _, err := fmt.Fprintf(f, "\n## %s\n\n%s, %s, %d cores, kernel %s; %s\n\n%s",
			r.bench, time.Now().UTC().Format(time.DateOnly), cpu.Name, cpu.Cores, cpu.Kernels, r.what, r.lines.String()); err != nil {
			return err
		}
	}
	return json.NewEncoder(w).Encode(map[string]any{"bench": r.bench, "figures": r.figures, "spread": r.spread})
}
