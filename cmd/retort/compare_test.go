package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/recipe"
	"retort/student/eval"
)

// evaluatedRun leaves in a workspace what a run's evaluation does: right says
// which of the problems its student got right.
func evaluatedRun(t *testing.T, ws, name string, n int, right func(int) bool) {
	t.Helper()
	dir := filepath.Join(ws, "runs", name)
	if err := os.MkdirAll(filepath.Join(dir, "stages"), 0o755); err != nil {
		t.Fatal(err)
	}
	keep := func(file string, v any) {
		raw, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), append(raw, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	keep("recipe.yaml", map[string]string{"name": strings.TrimRight(name, "-0123456789abcdef")})
	keep("eval.json", eval.Report{Student: "student", Comparisons: []eval.Comparison{{Other: "teacher", Teacher: true,
		Rows: []eval.Row{{Family: "chain", Measure: eval.Accuracy}, {Family: eval.Overall, Measure: eval.Accuracy}}}}})
	var lines strings.Builder
	for i := range n {
		raw, err := json.Marshal(eval.Result{Source: "chain", Problem: fmt.Sprint("p", i), Correct: right(i), Content: fmt.Sprint(right(i))})
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(raw, '\n'))
	}
	if err := os.WriteFile(filepath.Join(dir, "results-student.jsonl"), []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCompareTellsWorseFromChance(t *testing.T) {
	ws := t.TempDir()
	evaluatedRun(t, ws, "good-0123456789ab", 60, func(i int) bool { return i < 50 })
	evaluatedRun(t, ws, "alike-0123456789ab", 60, func(i int) bool { return i > 10 })
	evaluatedRun(t, ws, "bad-0123456789ab", 60, func(i int) bool { return i < 20 })
	for _, c := range []struct {
		line []string
		code int
		says string
	}{
		{[]string{"compare", "good", "bad"}, exitDone, "B's student is worse: chain, overall."},
		{[]string{"compare", "--check", "good", "bad"}, exitDamaged, "B's student is worse: chain, overall."},
		{[]string{"compare", "--check", "bad", "good"}, exitDone, "B's student is better: chain, overall."},
		{[]string{"compare", "--check", "good", "alike"}, exitDone, "No difference between the students beyond chance."},
	} {
		if r := retort(t, ws, c.line...); r.code != c.code || !strings.Contains(r.stdout, c.says) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", c.line, r.code, c.code, c.says, r.stdout, r.stderr)
		}
	}
	r := retort(t, ws, "compare", "--json", "good", "bad")
	var found recipe.Comparison
	if err := json.Unmarshal([]byte(r.stdout), &found); err != nil || found.Student[0].N != 60 || found.Student[0].Diff != -0.5 {
		t.Errorf("%v: %s", err, r.stdout)
	}
	if r := retort(t, ws, "compare", "good", "nobody"); r.code == exitDone || !strings.Contains(r.stderr, "there is no run \"nobody\"") {
		t.Errorf("a run that there is not: %d, %s", r.code, r.stderr)
	}
	if r := retort(t, ws, "compare", "good", "good-0123456789ab"); r.code == exitDone || !strings.Contains(r.stderr, "the same run") {
		t.Errorf("a run beside itself: %d, %s", r.code, r.stderr)
	}
}

func TestASampleIsShownAndAPlanSpendsNothing(t *testing.T) {
	ws, path := t.TempDir(), write(t, tiny)
	for _, line := range [][]string{{"run", "--sample", "0", path}, {"run", "--sample", "-3", path}, {"run", "--sample", "3", "--plan", path}, {"recipe", "preview", "--rows", "0", path}} {
		if r := retort(t, ws, line...); r.code != exitUsage {
			t.Errorf("%v: exit code %d, %s", line, r.code, r.stderr)
		}
	}
	if r := retort(t, ws, "recipe", "preview", "--rows", "2", path); r.code != exitDone || strings.Count(r.stdout, "== chain") != 3 || !strings.Contains(r.stdout, "expected") {
		t.Errorf("preview: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	r := retort(t, ws, "run", "--quiet", "--sample", "4", path)
	for _, want := range []string{"1 of 4 · chain", "answer", "verdict", "task pass", "paid for 4 answers", "expected $"} {
		if r.code != exitDone || !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in (exit code %d):\n%s%s", want, r.code, r.stdout, r.stderr)
		}
	}
	if r := retort(t, ws, "run", "--plan", path); !strings.Contains(r.stdout, "4 are answered in the ledger") {
		t.Errorf("plan:\n%s", r.stdout)
	}
}
