//go:build unix

package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestCtrlCStopsCleanlyAndTheSameLineGoesOn(t *testing.T) {
	path := write(t, tiny, "train: 60", "train: 400")
	undisturbed := summary(t, t.TempDir(), path)
	ws := t.TempDir()
	for _, stage := range []string{"collect", "train", "eval"} {
		cmd := start(t, ws, "run", path)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		struck := false
		for in := bufio.NewScanner(stderr); in.Scan(); {
			said.WriteString(in.Text() + "\n")
			if !struck && strings.HasPrefix(in.Text(), stage) {
				struck = true
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || !strings.Contains(said.String(), "the same command goes on from here") {
			t.Errorf("%s: %v, want exit code %d and what to do next:\n%s", stage, err, exitInterrupted, said.String())
		}
		checkBill(t, ws)
	}
	s := summary(t, ws, path)
	if s.Dataset.Hash != undisturbed.Dataset.Hash || s.Model.Hash != undisturbed.Model.Hash {
		t.Error("interrupted three times, it ended elsewhere")
	}
}
