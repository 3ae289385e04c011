package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDataGoesToStdoutAlone runs every command that has --json, quietly: what it
// prints is JSON, and nothing else is said.
func TestDataGoesToStdoutAlone(t *testing.T) {
	ws, dir := t.TempDir(), t.TempDir()
	one := write(t, tiny)
	first := summary(t, ws, one)
	second := summary(t, ws, write(t, tiny, "epochs: 1", "epochs: 2"))
	agreement := filepath.Join(dir, "agreement.json")
	chats := filepath.Join(dir, "chats.jsonl")
	put(t, agreement, `{"id":"ours","provider":"acme","document":"Contract 7","read":"2026-01-02","basis":"agreement","says":"Training is allowed.","default":"allow","reason":"the contract allows it","obligations":[],"hosts":["acme.example"]}`)
	put(t, chats, `{"conversations":[{"from":"human","value":"hello"},{"from":"gpt","value":"good day"}]}`+"\n")
	proof := packIn(t, ws, dir)
	var key struct{ ID string }
	if err := json.Unmarshal([]byte(retort(t, ws, "keys", "create", "acme", "--json", "--quiet").stdout), &key); err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(dir, "known.jsonl")
	lines := [][]string{
		{"version"}, {"doctor"}, {"run", one}, {"run", "--plan", one}, {"compare", first.Run, second.Run},
		{"runs", "list"}, {"runs", "show", first.Run}, {"report", first.Run}, {"recipe", "preview", one},
		{"ledger", "show"}, {"ledger", "verify"},
		{"dataset", "list"}, {"dataset", "show", first.Dataset.Hash}, {"dataset", "stats", first.Dataset.Hash},
		{"dataset", "export", first.Dataset.Hash, "--format", "openai", "-o", filepath.Join(dir, "train.jsonl")},
		{"dataset", "review", "--refused", "-o", filepath.Join(dir, "refused.jsonl")},
		{"terms", "list"}, {"terms", "show", "openai"}, {"terms", "check", agreement}, {"terms", "explain", first.Dataset.Hash},
		{"import", chats, "--terms", "self-hosted"},
		{"expose", "plan"}, {"expose", "log"}, {"expose", "open", proof.id}, {"evidence", "verify", proof.pack, "--key", proof.key},
		{"identity", "weigh", proof.said, proof.known},
		{"simulate", "--kinds=chat,etl", "--organisations", "40", "--size", "4", "--per-day", "30", "--truth", known}, {"detect", "calibrate", "--organisations", known, "--level", "0.1"}, {"detect"},
		{"keys", "create", "beta"}, {"keys", "list"}, {"keys", "rotate", key.ID}, {"keys", "revoke", key.ID},
	}
	tried := map[string]bool{}
	for _, l := range lines {
		path, _, err := (&app{}).root().Find(l)
		if err != nil {
			t.Fatal(err)
		}
		tried[path.CommandPath()] = true
		r := retort(t, ws, append(l, "--json", "--quiet")...)
		if r.code != exitDone || r.stderr != "" {
			t.Errorf("%v: code %d, want %d, and nothing on stderr: %s", l, r.code, exitDone, r.stderr)
		}
		dec, n := json.NewDecoder(strings.NewReader(r.stdout)), 0
		for ; ; n++ {
			var v any
			if err := dec.Decode(&v); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v: stdout is not JSON: %v\n%s", l, err, r.stdout)
			}
		}
		if n == 0 {
			t.Errorf("%v printed nothing", l)
		}
	}
	for _, c := range commands(t) {
		if c.Flags().Lookup("json") != nil && !tried[c.CommandPath()] {
			t.Errorf("%s has --json, and no line above tries it", c.CommandPath())
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
