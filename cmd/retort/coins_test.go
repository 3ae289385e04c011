package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/prove/commit"
	"retort/watch/gateway"
	"retort/workspace"
)

// A gateway whose rules ask for coins serves, of each pair that counts, the answer that
// the opened coin names, and none that repeats, has a seed or is greedy.
func TestAGatewayFlipsCoins(t *testing.T) {
	var calls atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		if n%11 == 0 {
			http.Error(w, `{"error":{"message":"busy"}}`, http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"answer number %d to it"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`, n)
	}))
	defer upstream.Close()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte("gateway: 1\nupstreams: [{name: a, base_url: \""+upstream.URL+"/v1\"}]\nrules: [{name: exposure, action: coin, share: 1}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := gateway.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := workspace.Open(filepath.Join(t.TempDir(), "ws"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := segment.Open(ws.Path("ledger"), segment.Option{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	keys, err := gateway.OpenKeys(ws)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := keys.Create("acme", gateway.Key{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	coins, err := openCoins(ctx, cfg, ws, store)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(ctx, gateway.Options{Config: cfg, Workspace: ws, Ledger: store, History: store, Coins: coins, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	front := httptest.NewServer(g)
	defer front.Close()

	served := map[string]string{} // by exchange
	prompts := map[string]string{}
	ask := func(body, prompt string) {
		t.Helper()
		req, err := http.NewRequest("POST", front.URL+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := front.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal(raw, &got); err == nil && len(got.Choices) == 1 {
			id := resp.Header.Get(gateway.ExchangeHeader)
			served[id], prompts[id] = got.Choices[0].Message.Content, prompt
		}
	}
	const n = 30
	body := func(prompt string) string {
		return fmt.Sprintf(`{"model":"m","temperature":0.7,"messages":[{"role":"user","content":%q}]}`, prompt)
	}
	for i := range n {
		prompt := fmt.Sprintf("question %d of many", i)
		ask(body(prompt), prompt)
	}
	for _, body := range []string{
		`{"model":"m","temperature":0.7,"messages":[{"role":"user","content":"question 1 of many"}]}`,
		`{"model":"m","temperature":0.7,"seed":4,"messages":[{"role":"user","content":"with a seed"}]}`,
		`{"model":"m","temperature":0,"messages":[{"role":"user","content":"greedy"}]}`,
		`{"model":"m","temperature":0.7,"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`,
	} {
		ask(body, "")
	}
	if err := g.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	key, err := commit.OpenKey(ws)
	if err != nil {
		t.Fatal(err)
	}
	view, err := commit.ReadLog(ctx, store, key.Log())
	if err != nil {
		t.Fatal(err)
	}
	entries := view.Entries(uint64(len(view.Leaves)))
	if len(entries) != n {
		t.Errorf("%d coins for %d prompts that can carry one", len(entries), n)
	}
	sent := map[exchange.ID]int64{}
	if err := ledger.Costs(ctx, store, func(e *exchange.Exchange) error {
		sent[e.ID] = e.Times.Sent
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	count, lives := 0, 0
	for _, e := range entries {
		if e.Arms.Void != "" {
			continue
		}
		id := e.Exchange.String()
		seed, err := key.OpenSeed(&e, []exchange.Message{{Role: "user", Content: prompts[id]}})
		if err != nil {
			t.Fatal(err)
		}
		live := seed.Live()
		if e.Arms.Arms[live] != seed.ArmHash(live, commit.Answer{Content: served[id]}) || e.Exchanges[live] != e.Exchange || e.Exchanges[1-live] == e.Exchange {
			t.Errorf("coin %d: what was served, %q, is not the arm that it names", e.Counter, served[id])
		}
		if a, b := sent[e.Exchanges[0]], sent[e.Exchanges[1]]; a == 0 || a >= b {
			t.Errorf("coin %d: its arms were sent at %d and %d, want the first one first", e.Counter, a, b)
		}
		count++
		lives += live
	}
	if count < n/2 || lives == 0 || lives == count {
		t.Errorf("%d coins count, of which %d name the second arm", count, lives)
	}
}
