package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

// killStages are the stages in their order.
var killStages = []string{"collect", "dataset", "tokenizer", "train", "eval", "export", "report"}

// TestKilledAtAnyMoment kills a run some times in each of its stages, after a
// random share of the time that the stage takes, and types the same line again.
func TestKilledAtAnyMoment(t *testing.T) {
	n, path := kills(t)
	undisturbed := summary(t, t.TempDir(), path)
	ws := t.TempDir()
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	struck := map[string]int{}
	for i, at := 0, 0; i < n; i++ {
		// A stage that is over is not seen again: never earlier than the last.
		at = max(at, i*len(killStages)/n)
		after := time.Duration(0.5 * rng.Float64() * undisturbed.Seconds[killStages[at]] * float64(time.Second))
		stage := killIn(t, ws, path, killStages[at:], after)
		checkBill(t, ws)
		if stage == "" {
			break // the run has come to its end
		}
		struck[stage]++
		at = max(at, slices.Index(killStages, stage))
	}
	end := summary(t, ws, path)
	if end.Dataset.Hash != undisturbed.Dataset.Hash {
		t.Errorf("dataset %s after %d kills, %s undisturbed", end.Dataset.Hash, n, undisturbed.Dataset.Hash)
	}
	if end.Model.Hash != undisturbed.Model.Hash {
		t.Errorf("model %s after %d kills, %s undisturbed", end.Model.Hash, n, undisturbed.Model.Hash)
	}
	checkBill(t, ws)
	t.Logf("killed in: %v; exchanges %d, undisturbed %d", struck, end.Ledger.Exchanges, undisturbed.Ledger.Exchanges)
	if len(struck) < 3 {
		t.Errorf("the run was killed in few of its stages: %v", struck)
	}
}

// killIn starts the run, waits until one of the stages is under way, and kills
// the process some time later. It returns the stage in which the process died,
// "" if it came to its end before.
func killIn(t *testing.T, ws, path string, stages []string, after time.Duration) string {
	t.Helper()
	cmd := start(t, ws, "run", path)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	var timer *time.Timer
	for in := bufio.NewScanner(stderr); in.Scan(); {
		name, _, _ := strings.Cut(in.Text(), " ")
		if slices.Contains(killStages, name) {
			last = name
		}
		if timer == nil && slices.Contains(stages, name) {
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	if timer != nil {
		timer.Stop()
	}
	if err == nil {
		return ""
	}
	return last
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
