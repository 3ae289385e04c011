// Command presets asks which student preset learns more in the same seconds: it
// teaches the quickstart's problems to each, over several seeds, for as many
// tokens as the preset gets through in the given time. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"retort/bench/trial"
)

// presets are what is compared, in the order in which the first seed runs them.
var presets = []string{"tiny-dense", "tiny-moe"}

// probeTokens is what a preset's speed is measured on, in one short training.
const probeTokens = 200_000

// score is one family of one trained student.
type score struct {
	Preset  string
	Seed    int
	Family  string
	Student float64
	Seconds float64 // of training
	Tokens  int64
}

func main() {
	var b bench
	flag.StringVar(&b.binary, "binary", "", "the retort binary")
	flag.StringVar(&b.recipe, "recipe", "", "the recipe whose problems are taught")
	flag.StringVar(&b.work, "work", "", "an existing directory for workspaces")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.Float64Var(&b.seconds, "seconds", 110, "of training for each student")
	flag.IntVar(&b.seeds, "seeds", 3, "how many of them")
	flag.Parse()
	if err := b.run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/presets:", err)
		os.Exit(1)
	}
}

type bench struct {
	binary, recipe, work, record string
	seconds                      float64
	seeds                        int
}

func (b *bench) run(stdout, stderr io.Writer) error {
	rates := map[string]float64{}
	for _, preset := range presets {
		r, err := b.train(stderr, preset, 1, probeTokens, "probe")
		if err != nil {
			return err
		}
		rates[preset] = float64(r.Tokens) / r.Seconds
		fmt.Fprintf(stderr, "%s: %.0f tokens/s\n", preset, rates[preset])
	}
	var scores []score
	for seed := 1; seed <= b.seeds; seed++ {
		for i := range presets {
			preset := presets[(i+seed+1)%len(presets)]
			r, err := b.train(stderr, preset, seed, int64(rates[preset]*b.seconds), "full")
			if err != nil {
				return err
			}
			for _, family := range r.Order {
				s := score{preset, seed, family, r.Scores[family], r.Seconds, r.Tokens}
				scores = append(scores, s)
				fmt.Fprintf(stderr, "%s, seed %d, %s: %.1f%% after %.1f M tokens, %.0f s\n",
					preset, seed, family, 100*s.Student, float64(s.Tokens)/1e6, s.Seconds)
			}
		}
	}
	return b.print(stdout, scores)
}

// train teaches a preset for so many tokens.
func (b *bench) train(stderr io.Writer, preset string, seed int, tokens int64, kind string) (trial.Result, error) {
	t := trial.Trial{Binary: b.binary, Recipe: b.recipe, Work: b.work, Stderr: stderr}
	return t.Train(preset+"-"+kind, seed, map[string]any{"preset": preset}, map[string]any{"tokens": tokens})
}

func (b *bench) print(stdout io.Writer, scores []score) error {
	figures, spread, count := map[string]float64{}, map[string][2]float64{}, map[string]float64{}
	add := func(name string, v float64) {
		if s, ok := spread[name]; ok {
			spread[name] = [2]float64{min(s[0], v), max(s[1], v)}
		} else {
			spread[name] = [2]float64{v, v}
		}
		figures[name] += v
		count[name]++
	}
	for _, s := range scores {
		preset := strings.ReplaceAll(s.Preset, "-", "_")
		add(preset+"_"+s.Family, s.Student)
		add(preset+"_seconds", s.Seconds)
		add(preset+"_tokens", float64(s.Tokens))
	}
	var lines strings.Builder
	for _, preset := range presets {
		name := strings.ReplaceAll(preset, "-", "_")
		fmt.Fprintf(&lines, "- %s:", preset)
		for _, family := range []string{"multiply", "chain", "list", "overall"} {
			key := name + "_" + family
			if count[key] > 0 {
				fmt.Fprintf(&lines, " %s %.1f%% [%.1f to %.1f],", family, 100*figures[key]/count[key], 100*spread[key][0], 100*spread[key][1])
			}
		}
		fmt.Fprintf(&lines, " after %.1f M tokens in %.0f s; mean and extremes over %d seeds\n",
			figures[name+"_tokens"]/count[name+"_tokens"]/1e6, figures[name+"_seconds"]/count[name+"_seconds"], b.seeds)
	}
	for name := range figures {
		figures[name] /= count[name]
	}
	fmt.Fprint(stdout, lines.String())
	if b.record != "" {
		f, err := os.OpenFile(b.record, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "\n## presets\n\n%s, %s, %d cores\n\n%s", time.Now().UTC().Format(time.DateOnly), runtime.GOARCH, runtime.NumCPU(), lines.String()); err != nil {
			return err
		}
	}
	return json.NewEncoder(stdout).Encode(map[string]any{"bench": "presets", "figures": figures, "spread": spread})
}
