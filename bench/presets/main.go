// Command presets asks which student preset learns more in the same seconds: it
// teaches the quickstart's problems to each, over several seeds, for as many
// tokens as the preset gets through in the given time. See README.md.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
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
		_, tokens, seconds, err := b.train(stderr, preset, 1, probeTokens, "probe")
		if err != nil {
			return err
		}
		rates[preset] = float64(tokens) / seconds
		fmt.Fprintf(stderr, "%s: %.0f tokens/s\n", preset, rates[preset])
	}
	var scores []score
	for seed := 1; seed <= b.seeds; seed++ {
		for i := range presets {
			preset := presets[(i+seed+1)%len(presets)]
			results, tokens, seconds, err := b.train(stderr, preset, seed, int64(rates[preset]*b.seconds), "full")
			if err != nil {
				return err
			}
			for _, r := range results {
				s := score{preset, seed, r.Family, r.Student, seconds, tokens}
				scores = append(scores, s)
				fmt.Fprintf(stderr, "%s, seed %d, %s: %.1f%% after %.1f M tokens, %.0f s\n",
					preset, seed, r.Family, 100*r.Student, float64(tokens)/1e6, seconds)
			}
		}
	}
	return b.print(stdout, scores)
}

// result is a line of `retort run --json`.
type result struct {
	Family  string  `json:"family"`
	Student float64 `json:"student"`
}

// train runs the recipe with another student, seed and length of training; runs
// of one seed share a workspace, so that its teacher is asked once.
func (b *bench) train(stderr io.Writer, preset string, seed int, tokens int64, kind string) ([]result, int64, float64, error) {
	data, err := os.ReadFile(b.recipe)
	if err != nil {
		return nil, 0, 0, err
	}
	var recipe map[string]any
	if err := yaml.Unmarshal(data, &recipe); err != nil {
		return nil, 0, 0, err
	}
	recipe["name"] = preset + "-" + kind
	recipe["seed"] = seed
	recipe["student"] = map[string]any{"preset": preset}
	recipe["train"] = []any{map[string]any{"sft": map[string]any{"tokens": tokens}}}
	recipe["eval"] = map[string]any{"against": []string{"teacher"}}
	if data, err = yaml.Marshal(recipe); err != nil {
		return nil, 0, 0, err
	}
	file := filepath.Join(b.work, fmt.Sprintf("%s-%s-%d.yaml", preset, kind, seed))
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return nil, 0, 0, err
	}
	workspace := filepath.Join(b.work, "seed-"+strconv.Itoa(seed))
	cmd := exec.Command(b.binary, "run", file, "--workspace", workspace, "--json", "--quiet")
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, 0, 0, fmt.Errorf("%s: %w", cmd, err)
	}
	var summary struct {
		Run  string   `json:"run"`
		Eval []result `json:"eval"`
	}
	if err := json.Unmarshal(out, &summary); err != nil {
		return nil, 0, 0, fmt.Errorf("%s: %w", cmd, err)
	}
	dirs, err := filepath.Glob(filepath.Join(workspace, "runs", preset+"-"+kind+"-*", "training.json"))
	if err != nil || len(dirs) != 1 {
		return nil, 0, 0, errors.Join(err, fmt.Errorf("%d training.json of %s", len(dirs), summary.Run))
	}
	if data, err = os.ReadFile(dirs[0]); err != nil {
		return nil, 0, 0, err
	}
	var training struct {
		Tokens  int64   `json:"tokens"`
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(data, &training); err != nil {
		return nil, 0, 0, err
	}
	return summary.Eval, training.Tokens, training.Seconds, nil
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
