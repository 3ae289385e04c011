package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/recipe/loop"
)

// A loop that is far too small to prove anything goes through all of its stages, and
// says so; run again it does nothing anew.
func TestASmallLoopGoesRound(t *testing.T) {
	if testing.Short() {
		t.Skip("it trains three students")
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "student.yaml"), `retort: 1
name: student
teacher: {reference: {}, request: {temperature: 1, seed: none}}
budget: {usd: 1}
prompts: [{family: chain, modulus: 7, steps: [3, 4], train: 120, heldout: 4}]
student: {preset: tiny}
train: [{sft: {epochs: 1}}]
`)
	file := filepath.Join(dir, "loop.yaml")
	put(t, file, `loop: 1
name: small
coins: 0.3
ordinary: {before: {organisations: 3, size: 2, calls: 26}, beside: {organisations: 2, size: 2, calls: 26}, unknown: 0.5}
campaign: {accounts: 2, recipe: student.yaml}
detect: {teach: 0.5}
`)
	ws := filepath.Join(dir, "ws")
	r := retort(t, ws, "run", file, "--json", "--threads", "2")
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	var got loop.Result
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	o := got.Weights.Of("suspect")
	if got.CampaignExchanges < 124 || got.OrdinaryAccounts < 40 || o == nil || o.Coins < 15 || got.Weights.Of("control 1") == nil || got.API.Of("suspect") == nil {
		t.Errorf("%+v", got)
	}
	if got.Detection.Verdicts || !strings.Contains(got.Detection.Why, "uncalibrated") {
		t.Errorf("so few accounts cannot calibrate: %+v", got.Detection)
	}
	if page, err := os.ReadFile(got.Page); err != nil || !strings.Contains(string(page), "demonstration") || !strings.Contains(string(page), "retort --workspace operator evidence pack") {
		t.Errorf("the page: %v\n%s", err, page)
	}
	if again := retort(t, ws, "run", file); again.code != exitDone || strings.Contains(again.stderr, "$ retort") || !strings.Contains(again.stdout, "demonstration") {
		t.Errorf("again: %+v", again)
	}
	if r := retort(t, ws, "run", file, "--plan"); r.code != exitUsage {
		t.Errorf("--plan of a loop: %+v", r)
	}
}
