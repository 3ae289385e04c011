// Package trial is what benches that compare students share: running a recipe with
// other students and seeds; teaching students in this process, on a recipe's dataset
// or any texts; and reporting means over seeds with their intervals. Runs of one
// seed share a workspace, so that its teacher is asked once and all learn from the
// same dataset.
package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/goccy/go-yaml"
)

// Trial says what is run, and where.
type Trial struct {
	Binary string // the retort binary
	Recipe string // the recipe whose problems are taught
	Work   string // an existing directory for workspaces
	Stderr io.Writer
}

// Result is what became of one training.
type Result struct {
	Dir    string             // the run's own
	Scores map[string]float64 // by family and overall: share right of the held-out problems
	Order  []string           // of the families
	Tokens int64              // trained on

	Seconds float64 // of training
}

// Train runs the recipe under another name and seed, with the given student and
// settings of supervised fine-tuning, against the teacher alone.
func (t *Trial) Train(name string, seed int, student, sft map[string]any) (r Result, err error) {
	return t.train(name, seed, func(recipe map[string]any) {
		if student != nil {
			recipe["student"] = student
		}
		recipe["train"] = []any{map[string]any{"sft": sft}}
	})
}

// train runs the recipe as it is after change.
func (t *Trial) train(name string, seed int, change func(recipe map[string]any)) (r Result, err error) {
	data, err := os.ReadFile(t.Recipe)
	if err != nil {
		return r, err
	}
	var recipe map[string]any
	if err := yaml.Unmarshal(data, &recipe); err != nil {
		return r, err
	}
	recipe["name"], recipe["seed"] = name, seed
	recipe["eval"] = map[string]any{"against": []string{"teacher"}}
	change(recipe)
	if data, err = yaml.Marshal(recipe); err != nil {
		return r, err
	}
	file := filepath.Join(t.Work, fmt.Sprintf("%s-%d.yaml", name, seed))
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return r, err
	}
	workspace := filepath.Join(t.Work, "seed-"+strconv.Itoa(seed))
	cmd := exec.Command(t.Binary, "run", file, "--workspace", workspace, "--json", "--quiet")
	cmd.Stderr = t.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s: %w", cmd, err)
	}
	var summary struct {
		Eval []struct {
			Family  string
			Student float64
		}
	}
	if err := json.Unmarshal(out, &summary); err != nil {
		return r, fmt.Errorf("%s: %w", cmd, err)
	}
	r.Scores = map[string]float64{}
	for _, e := range summary.Eval {
		r.Scores[e.Family] = e.Student
		r.Order = append(r.Order, e.Family)
	}
	dirs, err := filepath.Glob(filepath.Join(workspace, "runs", name+"-*", "training.json"))
	if err != nil || len(dirs) != 1 {
		return r, errors.Join(err, fmt.Errorf("%d training.json of %s in %s", len(dirs), name, workspace))
	}
	r.Dir = filepath.Dir(dirs[0])
	if data, err = os.ReadFile(dirs[0]); err != nil {
		return r, err
	}
	var training struct {
		Tokens  int64
		Seconds float64
	}
	if err := json.Unmarshal(data, &training); err != nil {
		return r, fmt.Errorf("%s: %w", dirs[0], err)
	}
	r.Tokens, r.Seconds = training.Tokens, training.Seconds
	return r, nil
}
