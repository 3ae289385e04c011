package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/ledger/segment"
	"retort/watch/detect"
	"retort/watch/simulate"
)

// The whole way, as a user goes it: simulate, calibrate on innocent organisations,
// detect a campaign in another ledger, and go on from a stored state.
func TestACampaignIsFoundFromTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RETORT_TESTDATA", "")
	run := func(code int, ws string, words ...string) string {
		t.Helper()
		r := commandLine(t, append([]string{"--workspace", filepath.Join(dir, ws)}, words...)...)
		if r.code != code {
			t.Fatalf("%v: %+v", words, r)
		}
		return r.stdout + r.stderr
	}
	known, truth, page, state := filepath.Join(dir, "known.jsonl"), filepath.Join(dir, "truth.jsonl"), filepath.Join(dir, "page.html"), filepath.Join(dir, "state")
	kinds := "--kinds=chat,etl,ide,reseller"
	if out := run(exitDone, "past", "simulate", kinds, "--organisations", "20", "--size", "4", "--per-day", "30", "--days", "2", "--seed", "3", "--truth", known); !strings.Contains(out, "simulated") {
		t.Errorf("simulate says %q", out)
	}
	// Before there is a calibration.
	if out := run(exitDone, "past", "detect", "--limit", "3"); !strings.Contains(out, "ranking") || !strings.Contains(out, "0 of 2995") {
		t.Errorf("detect without a calibration says\n%s", out)
	}
	cal := filepath.Join(dir, "past", "detection", "calibration.json")
	if out := run(exitDone, "past", "detect", "calibrate", "--organisations", known, "--level", "0.05"); !strings.Contains(out, "can speak") || !strings.Contains(out, cal) {
		t.Errorf("calibrate says\n%s", out)
	}
	run(exitDone, "now", "simulate", kinds, "--organisations", "5", "--size", "4", "--per-day", "30", "--days", "2", "--seed", "4", "--campaign", "sweep:12:0:30", "--truth", truth)
	rows, err := os.ReadFile(truth)
	if err != nil || strings.Count(string(rows), `"campaign":"sweep-0"`) != 12 {
		t.Fatalf("the truth is\n%s (%v)", rows, err)
	}
	var rep detect.Report
	out := run(exitDone, "now", "detect", "--calibration", cal, "--level", "0.05", "--json", "--html", page, "--state", state)
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	alarms, wrong := 0, 0
	for _, a := range rep.Accounts {
		switch {
		case !a.Alarm:
		case strings.Contains(string(rows), a.Account+`","benign":false`):
			alarms++
			if len(a.Reasons) == 0 || len(a.Reasons[0].Prompts) == 0 {
				t.Errorf("an alarm has no example prompt: %+v", a)
			}
		default:
			wrong++
		}
	}
	if alarms < 9 || wrong > 12 || !rep.Simulated || !rep.Verdicts {
		t.Errorf("%d of 12 found, %d others; simulated %v, verdicts %v %s %+v", alarms, wrong, rep.Simulated, rep.Verdicts, rep.Why, rep.Segments)
	}
	html, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(html), "Simulated.") || strings.Contains(string(html), "src=\"http") {
		t.Errorf("the page is not one, or not alone: %v", err)
	}
	// Nothing is counted twice from a state, and what is new is counted.
	again := run(exitDone, "now", "detect", "--calibration", cal, "--level", "0.05", "--json", "--state", state)
	if again != out {
		t.Error("the same ledger from its state is judged otherwise")
	}
	more(t, filepath.Join(dir, "now", "ledger"))
	var later detect.Report
	if err := json.Unmarshal([]byte(run(exitDone, "now", "detect", "--calibration", cal, "--level", "0.05", "--json", "--state", state)), &later); err != nil {
		t.Fatal(err)
	}
	if later.Counts.Counted != rep.Counts.Counted+40 {
		t.Errorf("%d exchanges, then 40 more: %d", rep.Counts.Counted, later.Counts.Counted)
	}
}

// more appends 40 exchanges of another writer.
func more(t *testing.T, ledger string) {
	t.Helper()
	w, err := simulate.Load("")
	if err != nil {
		t.Fatal(err)
	}
	p, err := simulate.New(w, simulate.Config{Seed: 9, Size: 1, Organisations: map[simulate.Kind]int{simulate.Chat: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(ledger, segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(context.Background(), s, simulate.Until{Calls: 40}, []byte("key")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogsAreRankedFromTheCommandLine(t *testing.T) {
	ws, dir := filepath.Join(t.TempDir(), "ws"), t.TempDir()
	if err := os.Mkdir(ws, 0o755); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for i := range 30 {
		rows.WriteString(`{"prompt":"What is the number ` + strings.Repeat("I", i+1) + `?","completion":"It is a number.","account":"ann","time":` + json.Number(strings.Repeat("1", 1)).String() + `76760` + string(rune('0'+i/10)) + string(rune('0'+i%10)) + `00}` + "\n")
	}
	log := filepath.Join(dir, "log.jsonl")
	if err := os.WriteFile(log, []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	r := commandLine(t, "--workspace", ws, "detect", log)
	if r.code != exitDone || !strings.Contains(r.stdout, "30 of 30 rows read") || !strings.Contains(r.stdout, "ranked only") && !strings.Contains(r.stdout, "uncalibrated") || strings.Contains(r.stdout, "ann ") {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(log, []byte(`{"prompt":"a","completion":"b"}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := commandLine(t, "--workspace", ws, "detect", log); r.code != exitFailed || !strings.Contains(r.stderr, "1 name no account") {
		t.Errorf("%+v", r)
	}
	for want, words := range map[string][]string{
		"--follow goes with":    {"detect", log, "--follow"},
		"numbers between":       {"detect", log, "--level", "2"},
		"there is no kind":      {"simulate", "--kinds", "butler"},
		"there is no family":    {"simulate", "--campaign", "theft:3"},
		"it needs at least one": {"simulate", "--days", "0"},
	} {
		if r := commandLine(t, append([]string{"--workspace", ws}, words...)...); r.code != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: want %q, got %+v", words, want, r)
		}
	}
}
