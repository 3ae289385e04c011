package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/teach/reference"
)

// kills is how many SIGKILLs one run suffers in TestKilledAtAnyMoment; the
// variable RETORT_KILLS asks for more, RETORT_KILL_RECIPE for another recipe.
func kills(t *testing.T) (n int, path string) {
	n, path = 8, write(t, tiny)
	if v := os.Getenv("RETORT_KILLS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("RETORT_KILL_RECIPE"); v != "" {
		path = v
	}
	return n, path
}

// TestKilledAtAnyMoment kills a run in each of its stages, after a random
// share of the time that the stage takes, and types the same line again.
func TestKilledAtAnyMoment(t *testing.T) {
	n, path := kills(t)
	undisturbed := summary(t, t.TempDir(), path)
	ws := t.TempDir()
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	stages := []string{"collect", "dataset", "tokenizer", "train", "eval", "export"}
	struck := map[string]int{}
	for i := range n {
		stage := stages[i*len(stages)/n] // in order, since a finished stage is not seen again
		share := rng.Float64()
		after := time.Duration(share * undisturbed.Seconds[stage] * float64(time.Second))
		if killIn(t, ws, path, stage, after) {
			struck[stage]++
		}
		checkBill(t, ws)
	}
	end := summary(t, ws, path)
	if end.Dataset.Hash != undisturbed.Dataset.Hash {
		t.Errorf("dataset %s after %d kills, %s undisturbed", end.Dataset.Hash, n, undisturbed.Dataset.Hash)
	}
	if end.Model.Hash != undisturbed.Model.Hash {
		t.Errorf("model %s after %d kills, %s undisturbed", end.Model.Hash, n, undisturbed.Model.Hash)
	}
	checkBill(t, ws)
	t.Logf("killed while under way: %v; exchanges %d, undisturbed %d", struck, end.Ledger.Exchanges, undisturbed.Ledger.Exchanges)
}

// killIn starts the run, waits until a stage is under way, and kills the
// process some time later. It reports whether the process was still running.
// A stage that an earlier go has finished is not seen; the run then ends.
func killIn(t *testing.T, ws, path, stage string, after time.Duration) bool {
	t.Helper()
	cmd := start(t, ws, "run", path)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{})
	go func() {
		defer close(reached)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			if strings.HasPrefix(in.Text(), stage) {
				return
			}
		}
	}()
	<-reached
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	return err != nil
}

// checkBill fails unless every line of the teacher's bill is in the ledger, at
// no less than what it says.
func checkBill(t *testing.T, ws string) {
	t.Helper()
	r, err := segment.OpenReader(filepath.Join(ws, "ledger"), segment.Option{OnDamage: func(d segment.Damage) {
		if !d.Unsynced {
			t.Errorf("a kill damaged the ledger: %v", d)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	costs := map[string]exchange.Pico{}
	if err := ledger.Exchanges(context.Background(), r, func(e *exchange.Exchange) error {
		costs[e.ID.String()] = e.Cost
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	runs, err := filepath.Glob(filepath.Join(ws, "runs", "*", "bill.jsonl"))
	if err != nil || len(runs) != 1 {
		t.Fatalf("bills: %v, %v", runs, err)
	}
	lines, err := reference.ReadBill(runs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if cost, ok := costs[l.Attempt]; !ok || cost < l.Cost {
			t.Errorf("attempt %s was billed %d; the ledger has it: %v, at %d", l.Attempt, l.Cost, ok, cost)
		}
	}
}
