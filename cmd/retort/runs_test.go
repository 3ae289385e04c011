package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/recipe"
)

func TestRunsAreListedShownAndReportedAgain(t *testing.T) {
	ws := t.TempDir()
	s := summary(t, ws, write(t, tiny))
	var all []recipe.RunInfo
	if r := retort(t, ws, "runs", "list", "--json"); r.code != exitDone || json.Unmarshal([]byte(r.stdout), &all) != nil || len(all) != 1 || all[0].Name != s.Run {
		t.Errorf("runs list --json: code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := retort(t, ws, "runs", "list"); !strings.Contains(r.stdout, s.Run) || !strings.Contains(r.stdout, "finished") {
		t.Errorf("runs list: %s%s", r.stdout, r.stderr)
	}
	for _, want := range []string{s.Dataset.Hash, s.Model.Hash, s.Report} {
		if r := retort(t, ws, "runs", "show", "mini"); r.code != exitDone || !strings.Contains(r.stdout, want) {
			t.Errorf("runs show: no %s: %s%s", want, r.stdout, r.stderr)
		}
	}
	if r := retort(t, ws, "runs", "show", "other"); r.code == exitDone || !strings.Contains(r.stderr, s.Run) {
		t.Errorf("runs show of an unknown run: code %d, want those that there are: %s", r.code, r.stderr)
	}

	// A run's name, or the beginning of a hash, names the model.
	for _, model := range []string{"mini", s.Run, s.Model.Hash[:8], s.Model.Path} {
		if r := retort(t, ws, "chat", model); r.code != exitDone {
			t.Errorf("chat %s: code %d: %s", model, r.code, r.stderr)
		}
	}
	if r := retort(t, ws, "chat", "other"); r.code != exitUsage || !strings.Contains(r.stderr, s.Run) {
		t.Errorf("chat with an unknown model: code %d, want the runs that there are: %s", r.code, r.stderr)
	}

	if err := os.Remove(s.Report); err != nil {
		t.Fatal(err)
	}
	var again recipe.Summary
	r := retort(t, ws, "report", s.Run, "--json")
	if r.code != exitDone || json.Unmarshal([]byte(r.stdout), &again) != nil || again.Model.Hash != s.Model.Hash {
		t.Errorf("report --json: code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if page, err := os.ReadFile(s.Report); err != nil || !strings.Contains(string(page), s.Model.Hash) {
		t.Errorf("the page is not there again: %v", err)
	}
}

func TestLookingMakesNoWorkspace(t *testing.T) {
	ws := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		line []string
		want string
	}{
		{[]string{"runs", "list"}, "retort run RECIPE"},
		{[]string{"runs", "show", "a"}, "retort run RECIPE"},
		{[]string{"report", "a"}, "retort run RECIPE"},
	} {
		if r := retort(t, ws, c.line...); !strings.Contains(r.stdout+r.stderr, c.want) {
			t.Errorf("%v says nothing of what to do: %s%s", c.line, r.stdout, r.stderr)
		}
	}
	if _, err := os.Stat(ws); err == nil {
		t.Error("a command that only looks made a workspace")
	}
}
