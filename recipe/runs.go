package recipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"retort/report"
	"retort/workspace"
)

// RunInfo is one run of a workspace, as its directory tells.
type RunInfo struct {
	Name     string             `json:"name"`
	Recipe   string             `json:"recipe"`             // the name that the recipe gives
	Dir      string             `json:"dir"`                // absolute, or relative as the workspace is
	Changed  time.Time          `json:"changed"`            // when a stage was last begun or ended, UTC
	Done     []string           `json:"stages_done"`        // in the order of the run
	Next     string             `json:"stage_next"`         // the first stage that is not done; "" if all are
	Finished bool               `json:"finished"`           // whether every stage is done
	Seconds  map[string]float64 `json:"seconds"`            // by stage, interrupted goes included
	Examples int                `json:"examples,omitempty"` // of its dataset, once there is one
	Dataset  string             `json:"dataset,omitempty"`  // that dataset's hash
	Model    string             `json:"model,omitempty"`    // the model's hash, once trained
	USD      float64            `json:"usd,omitempty"`      // what it cost, once reported
	Page     string             `json:"report,omitempty"`   // path of report.html, once there is one
}

// UnknownRunError says that a workspace has no run of a name, or several.
type UnknownRunError struct {
	Name string
	Like []string // the runs that the name could mean, or all that there are
	Many bool     // whether it could mean several
}

// Error implements error.
func (e *UnknownRunError) Error() string {
	switch {
	case e.Many:
		return fmt.Sprintf("%q could be any of the runs %s; give more of the name", e.Name, strings.Join(e.Like, ", "))
	case len(e.Like) == 0:
		return fmt.Sprintf("there is no run %q, nor any other in this workspace; make one: retort run RECIPE", e.Name)
	}
	return fmt.Sprintf("there is no run %q; there are %s", e.Name, strings.Join(e.Like, ", "))
}

// stageNames are the stages in their order; not every run has all of them.
var stageNames = []string{stageCollect, stageDataset, stageTokenizer, stageTrain, stageReinforce, stageEval, stageExport, stageReport}

// Runs lists the runs of a workspace, the one that was changed last first. It
// takes no lock: a run that is under way is listed as far as it is.
func Runs(ws *workspace.Workspace) ([]RunInfo, error) {
	entries, err := os.ReadDir(ws.Path("runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var out []RunInfo
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		info, err := runInfo(ws.Path("runs", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not a run's directory, or one that has only just been made
		}
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	slices.SortStableFunc(out, func(a, b RunInfo) int {
		if c := b.Changed.Compare(a.Changed); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// FindRun returns the run that a name means: the run's whole name, its
// beginning where only one begins so, the recipe's name for the latest run of
// that recipe, or the beginning of its hash.
func FindRun(ws *workspace.Workspace, name string) (RunInfo, error) {
	all, err := Runs(ws)
	if err != nil {
		return RunInfo{}, err
	}
	var like []RunInfo
	for _, r := range all {
		switch {
		case r.Name == name:
			return r, nil
		case name != "" && (strings.HasPrefix(r.Name, name) || strings.HasPrefix(strings.TrimPrefix(r.Name, r.Recipe+"-"), name)):
			like = append(like, r)
		}
	}
	for _, r := range all { // the latest comes first
		if r.Recipe == name {
			return r, nil
		}
	}
	if len(like) == 1 {
		return like[0], nil
	}
	e := &UnknownRunError{Name: name, Many: len(like) > 1}
	if !e.Many {
		like = all
	}
	for _, r := range like {
		e.Like = append(e.Like, r.Name)
	}
	return RunInfo{}, e
}

// runInfo reads a run's directory. Without a recipe it is none:
// fs.ErrNotExist.
func runInfo(dir string) (RunInfo, error) {
	r := RunInfo{Name: filepath.Base(dir), Dir: dir, Seconds: map[string]float64{}, Done: []string{}}
	raw, err := os.ReadFile(filepath.Join(dir, "recipe.yaml"))
	if err != nil {
		return r, err
	}
	var kept struct {
		Name  string           `yaml:"name"`
		Train []map[string]any `yaml:"train"`
	}
	if err := yaml.Unmarshal(raw, &kept); err != nil {
		return r, fmt.Errorf("%s: %w", filepath.Join(dir, "recipe.yaml"), err)
	}
	r.Recipe = kept.Name
	touch := func(path string) {
		if i, err := os.Stat(path); err == nil && i.ModTime().After(r.Changed) {
			r.Changed = i.ModTime().UTC()
		}
	}
	touch(filepath.Join(dir, "recipe.yaml"))
	reinforced := slices.ContainsFunc(kept.Train, func(step map[string]any) bool { return step["grpo"] != nil })
	for _, s := range stageNames {
		if s == stageReinforce && !reinforced {
			continue
		}
		var state stageState
		path := filepath.Join(dir, "stages", s+".json")
		done, err := readJSON(path, &state)
		if err == nil && !done {
			path = filepath.Join(dir, "stages", s+".part.json")
			_, err = readJSON(path, &state)
		}
		if err != nil {
			return r, err
		}
		touch(path)
		switch {
		case done && r.Next == "":
			r.Done = append(r.Done, s)
		case r.Next == "":
			r.Next = s
		}
		if state.Seconds > 0 {
			r.Seconds[s] = state.Seconds
		}
	}
	r.Finished = r.Next == ""
	return r, r.results(dir)
}

// results adds what the run's stages have left.
func (r *RunInfo) results(dir string) error {
	var f funnel
	if _, err := readJSON(filepath.Join(dir, funnelFile), &f); err != nil {
		return err
	}
	r.Dataset = f.Hash
	for _, s := range f.Sources {
		r.Examples += s.Kept
	}
	var t trained
	if _, err := readJSON(filepath.Join(dir, trainingFile), &t); err != nil {
		return err
	}
	r.Model = t.Hash
	var x reinforced
	if found, err := readJSON(filepath.Join(dir, reinforcedFile), &x); err != nil {
		return err
	} else if found {
		r.Model = x.Hash
	}
	var d report.Data
	found, err := readJSON(filepath.Join(dir, reportFile), &d)
	if found {
		r.USD, r.Page = d.Spend.USD, filepath.Join(dir, pageFile)
	}
	return err
}

// readJSON reads a file into v and reports whether it is there.
func readJSON(path string, v any) (bool, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}

// Rewrite makes a run's report.html again from its report.json, which holds
// all that the page shows, and returns it. name is as for FindRun.
func Rewrite(_ context.Context, ws *workspace.Workspace, name string) (*report.Data, error) {
	r, err := FindRun(ws, name)
	if err != nil {
		return nil, err
	}
	var d report.Data
	found, err := readJSON(filepath.Join(r.Dir, reportFile), &d)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("run %s has no report yet: it comes to stage %q next; go on with: retort run RECIPE", r.Name, r.Next)
	}
	d.Page = filepath.Join(r.Dir, pageFile)
	return &d, writePage(&d)
}

// writePage writes the page that shows d.
func writePage(d *report.Data) error {
	var page bytes.Buffer
	if err := report.HTML(&page, d); err != nil {
		return err
	}
	return workspace.WriteFileAtomic(d.Page, page.Bytes(), 0o644)
}
