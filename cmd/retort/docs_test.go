package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPagesAreMadeForEveryCommand also sees that a page whose command is gone
// goes with it.
func TestPagesAreMadeForEveryCommand(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1795564800")
	for _, c := range []struct {
		kind, ending, want string
	}{
		{"markdown", ".md", "retort-environment.md"},
		{"man", ".1", "Nov 2026"},
	} {
		dir := t.TempDir()
		gone, others := filepath.Join(dir, "retort-gone"+c.ending), filepath.Join(dir, "another"+c.ending)
		for _, path := range []string{gone, others} {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if r := commandLine(t, "docs", c.kind, dir); r.code != exitDone {
			t.Fatalf("docs %s: code %d: %s", c.kind, r.code, r.stderr)
		}
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("the %s page of a command that there is not is still there", c.kind)
		}
		if _, err := os.Stat(others); err != nil {
			t.Errorf("a file that is not ours is gone: %v", err)
		}
		for _, cmd := range commands(t) {
			name := pageName(cmd.CommandPath()) + c.ending
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !strings.Contains(string(text), c.want) {
				t.Errorf("%s has no %q (%v)", name, c.want, err)
			}
		}
	}
}

func TestManPagesAreValidRoff(t *testing.T) {
	man, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed: man pages are not checked with it")
	}
	dir := t.TempDir()
	if r := commandLine(t, "docs", "man", dir); r.code != exitDone {
		t.Fatal(r.stderr)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	out, err := exec.Command(man, append([]string{"-Kutf8", "-man", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCompletionScriptsAreMadeForEveryShell(t *testing.T) {
	for _, shell := range shells {
		if r := commandLine(t, "completion", shell); r.code != exitDone || !strings.Contains(r.stdout, "retort") {
			t.Errorf("%s: code %d: %s", shell, r.code, r.stderr)
		}
	}
	if r := commandLine(t, "completion", "tcsh"); r.code != exitUsage || !strings.Contains(r.stderr, "bash, zsh, fish, powershell") {
		t.Errorf("tcsh: code %d, want %d and the shells that there are: %s", r.code, exitUsage, r.stderr)
	}
}

func TestNamesInTheWorkspaceAreCompleted(t *testing.T) {
	ws := t.TempDir()
	for _, dir := range []string{"runs/mini-0123456789ab", "runs/mini-ba9876543210", "datasets/c0ffee", "models/facade"} {
		if err := os.MkdirAll(filepath.Join(ws, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		line    []string
		want    []string
		without string
	}{
		{[]string{"run", ""}, []string{"yaml", ":8"}, ""},
		{[]string{"serve", ""}, []string{filepath.Join(ws, "models", "facade")}, "c0ffee"},
		{[]string{"runs", "show", ""}, []string{"mini-0123456789ab", "mini-ba9876543210"}, "facade"},
		{[]string{"compare", "mini-0123456789ab", ""}, []string{"mini-ba9876543210"}, "mini-0123456789ab"},
		{[]string{"dataset", "show", ""}, []string{"c0ffee"}, "facade"},
		{[]string{"terms", "show", ""}, []string{"smollm2"}, "c0ffee"},
		{[]string{"init", "--teacher", ""}, []string{"reference", "llamacpp", "other"}, "c0ffee"},
		{[]string{"completion", "z"}, []string{"zsh"}, "bash"},
		{[]string{"led"}, []string{"ledger"}, "serve"},
	} {
		r := commandLine(t, append([]string{"__complete", "--workspace", ws}, c.line...)...)
		for _, want := range c.want {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%v: no %q in %q (%s)", c.line, want, r.stdout, r.stderr)
			}
		}
		if c.without != "" && strings.Contains(r.stdout, c.without) {
			t.Errorf("%v: %q in %q", c.line, c.without, r.stdout)
		}
	}
}
