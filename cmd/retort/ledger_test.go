package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheLedgerShowsWhatWasPaidFor(t *testing.T) {
	ws := t.TempDir()
	s := summary(t, ws, write(t, tiny))

	list := retort(t, ws, "ledger", "show", "--family", "chain", "--status", "ok", "--limit", "2")
	lines := strings.Split(strings.TrimSpace(list.stdout), "\n")
	if list.code != exitDone || len(lines) != 4 || !strings.HasPrefix(lines[3], "70 exchanges, $") {
		t.Fatalf("code %d:\n%s%s", list.code, list.stdout, list.stderr)
	}
	id, _, _ := strings.Cut(lines[1], " ")
	one := retort(t, ws, "ledger", "show", id)
	for _, want := range []string{`"Family": "chain"`, `"messages":[{"role":"user"`, "data: [DONE]"} {
		if !strings.Contains(one.stdout, want) {
			t.Errorf("exchange %s has no %q:\n%s", id, want, one.stdout)
		}
	}

	out := filepath.Join(t.TempDir(), "all.jsonl")
	if r := retort(t, ws, "ledger", "export", out, "--run", s.Run); r.code != exitDone {
		t.Fatal(r.stderr)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(raw)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %.80s", line)
		}
		n++
	}
	if int64(n) != s.Ledger.Exchanges {
		t.Errorf("exported %d exchanges of %d", n, s.Ledger.Exchanges)
	}
	if r := retort(t, ws, "ledger", "export", filepath.Join(t.TempDir(), "all.parquet")); r.code != exitDone {
		t.Error(r.stderr)
	}
	for _, line := range [][]string{
		{"ledger", "show", "--status", "sideways"}, {"ledger", "show", "nonsense"}, {"ledger", "export", "all.txt"}, {"ledger", "show", "--since", "tomorrow"},
	} {
		if r := retort(t, ws, line...); r.code != exitUsage {
			t.Errorf("%v: code %d, want %d: %s", line, r.code, exitUsage, r.stderr)
		}
	}
	if r := retort(t, ws, "ledger", "show", "01K9ZV3T8Q4M2R6N0B5C7D1E9F"); r.code != exitFailed || !strings.Contains(r.stderr, "no exchange") {
		t.Errorf("an id that is not there: code %d: %s", r.code, r.stderr)
	}
	if r := retort(t, t.TempDir(), "ledger", "show"); r.code != exitFailed || !strings.Contains(r.stderr, "run a recipe first") {
		t.Errorf("no ledger: code %d: %s", r.code, r.stderr)
	}
}

func TestVerifyFindsAChangedByte(t *testing.T) {
	ws := t.TempDir()
	summary(t, ws, write(t, tiny))
	if r := retort(t, ws, "ledger", "verify"); r.code != exitDone || !strings.Contains(r.stdout, "0 places damaged") {
		t.Fatalf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	files, err := filepath.Glob(filepath.Join(ws, "ledger", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	flip(t, files[0])
	if r := retort(t, ws, "ledger", "verify"); r.code != exitDamaged || !strings.Contains(r.stdout, filepath.Base(files[0])) {
		t.Errorf("code %d, want %d and the file's name: %s%s", r.code, exitDamaged, r.stdout, r.stderr)
	}
}
