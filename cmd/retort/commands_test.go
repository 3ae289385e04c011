package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all commands that users see.
func commands(t *testing.T) []*cobra.Command {
	t.Helper()
	var out []*cobra.Command
	root := (&app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }}).root()
	if err := documented(root, func(c *cobra.Command) error { out = append(out, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// commandLine runs a command line outside of any workspace.
func commandLine(t *testing.T, words ...string) result {
	t.Helper()
	return withEnv(t, nil, words...)
}

// withEnv runs a command line with environment variables.
func withEnv(t *testing.T, env map[string]string, words ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(context.Background(), words, strings.NewReader(""), &stdout, &stderr, func(name string) string { return env[name] })
	return result{code, stdout.String(), stderr.String()}
}

func TestEveryRegisteredCommandHasItsPlaceInTheHelp(t *testing.T) {
	var placed []string
	for _, g := range groups {
		placed = append(placed, g.commands...)
	}
	a := &app{}
	seen := map[string]bool{}
	for _, make := range makers {
		name := make(a).Name()
		if seen[name] {
			t.Errorf("%s is registered twice", name)
		}
		seen[name] = true
		if !slices.Contains(placed, name) {
			t.Errorf("%s is registered, but groups does not name it, so that it is not reachable", name)
		}
	}
}

func TestEveryCommandExplainsItselfOnOneScreen(t *testing.T) {
	for _, c := range commands(t) {
		path := strings.Fields(c.CommandPath())[1:]
		r := commandLine(t, append(path, "--help")...)
		if r.code != exitDone || r.stderr != "" {
			t.Errorf("%s --help: code %d: %s", c.CommandPath(), r.code, r.stderr)
		}
		lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		if len(lines) > 40 {
			t.Errorf("%s --help has %d lines, more than a screen", c.CommandPath(), len(lines))
		}
		for _, l := range lines {
			if len([]rune(l)) > screenWidth {
				t.Errorf("%s --help: wider than %d columns: %s", c.CommandPath(), screenWidth, l)
			}
		}
		if !strings.Contains(r.stdout, "retort help environment") {
			t.Errorf("%s --help does not say where exit codes are documented", c.CommandPath())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || !strings.Contains(r.stdout, c.Example) {
			t.Errorf("%s: wants a short description without a full stop, and its example in the help", c.CommandPath())
		}
	}
}

// TestExamplesAreCommandLines parses every example as the command line that it
// is, flags included.
func TestExamplesAreCommandLines(t *testing.T) {
	words := regexp.MustCompile(`"[^"]*"|'[^']*'|[^\s]+`)
	for _, c := range commands(t) {
		called := false
		for _, example := range strings.Split(c.Example, "\n") {
			_, example, ok := strings.Cut(example, "retort ")
			if !ok {
				continue
			}
			example, _, _ = strings.Cut(example, " #")
			example = strings.NewReplacer(" >", " \x00", " |", " \x00", ")", " \x00").Replace(example) // what the shell does with it
			example, _, _ = strings.Cut(example, "\x00")
			list := words.FindAllString(example, -1)
			root := (&app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }}).root()
			root.InitDefaultHelpCmd()
			found, rest, err := root.Find(list)
			if err != nil {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), example, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), example, err)
			} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), example, err)
			}
			called = called || strings.HasPrefix(found.CommandPath()+" ", c.CommandPath()+" ")
		}
		if !called {
			t.Errorf("%s has no example that calls it", c.CommandPath())
		}
	}
}

func TestEveryCommandRefusesWhatItDoesNotUnderstandAndSaysWhatToDo(t *testing.T) {
	many := make([]string, 20)
	for i := range many {
		many[i] = "nonsense"
	}
	for _, c := range commands(t) {
		path := strings.Fields(c.CommandPath())[1:]
		wrong := [][]string{{"--nonsense"}}
		if c.HasSubCommands() {
			wrong = append(wrong, []string{"nonsense"})
			if c.HasParent() && !strings.Contains(c.Use, " [") { // else it does something by itself
				wrong = append(wrong, nil)
			}
		} else {
			for _, list := range [][]string{nil, many} {
				if c.ValidateArgs(list) != nil {
					wrong = append(wrong, list)
				}
			}
		}
		for _, list := range wrong {
			r := commandLine(t, append(slices.Clone(path), list...)...)
			if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "See `"+c.CommandPath()+" --help`") {
				t.Errorf("%s %v: code %d, want %d and what to do next, on stderr alone:\n%s%s", c.CommandPath(), list, r.code, exitUsage, r.stdout, r.stderr)
			}
		}
	}
}

func TestACommandNearTheOneTypedIsNamed(t *testing.T) {
	for _, c := range []struct {
		line []string
		want string
	}{
		{[]string{"rnu"}, "`retort run`"},
		{[]string{"ledger", "shwo"}, "`retort ledger show`"},
		{[]string{"help", "nonsense"}, "there is no help on"},
	} {
		if r := commandLine(t, c.line...); r.code != exitUsage || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%v: code %d, want %d and %q: %s", c.line, r.code, exitUsage, c.want, r.stderr)
		}
	}
}

func TestExitCodesAndVariablesAreAllDocumented(t *testing.T) {
	r := commandLine(t, "help", "environment")
	for _, code := range []int{exitDone, exitFailed, exitUsage, exitBudget, exitTerms, exitIncomplete, exitInUse, exitDamaged, exitInterrupted} {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^  %d +\w`, code)).MatchString(r.stdout) {
			t.Errorf("exit code %d is not documented", code)
		}
	}
	reads := regexp.MustCompile(`(?i)(?:getenv|lookupenv)\("([A-Z][A-Z0-9_]+)"\)`)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || path == filepath.Join(root, "bench")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range reads.FindAllStringSubmatch(string(code), -1) {
			if !strings.Contains(r.stdout, m[1]) {
				t.Errorf("%s reads %s, which `retort help environment` does not name", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
