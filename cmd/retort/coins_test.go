package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// gatewayOfCoins is a gateway whose rules have a coin flipped for every prompt that can
// carry one, in front of an upstream, with a key for each of some accounts.
type gatewayOfCoins struct {
	*httptest.Server
	ws      *workspace.Workspace
	store   *segment.Store
	g       *gateway.Gateway
	secrets map[string]string
	hashes  map[string]string // of accounts, by name
}

func coinGateway(t *testing.T, upstream string, accounts ...string) *gatewayOfCoins {
	t.Helper()
	x := &gatewayOfCoins{secrets: map[string]string{}, hashes: map[string]string{}}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	put(t, file, "gateway: 1\nupstreams: [{name: a, base_url: \""+upstream+"/v1\"}]\nrules: [{name: exposure, action: coin, share: 1}]\n")
	cfg, err := gateway.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if x.ws, err = workspace.Open(filepath.Join(t.TempDir(), "ws")); err != nil {
		t.Fatal(err)
	}
	if x.store, err = segment.Open(x.ws.Path("ledger"), segment.Option{Raw: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.store.Close() })
	keys, err := gateway.OpenKeys(x.ws)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range accounts {
		key, secret, err := keys.Create(name, gateway.Key{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		x.secrets[name], x.hashes[name] = secret, key.Account
	}
	coins, err := openCoins(t.Context(), cfg, x.ws, x.store)
	if err != nil {
		t.Fatal(err)
	}
	if x.g, err = gateway.New(t.Context(), gateway.Options{Config: cfg, Workspace: x.ws, Ledger: x.store, History: x.store, Coins: coins, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.g.Close() })
	x.Server = httptest.NewServer(x.g)
	t.Cleanup(x.Server.Close)
	return x
}

// ask puts a chat request and returns the exchange and its answer; "" if there is none.
func (x *gatewayOfCoins) ask(t *testing.T, account, body string) (id, said string) {
	t.Helper()
	req, err := http.NewRequest("POST", x.URL+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+x.secrets[account])
	resp, err := x.Client().Do(req)
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
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Choices) != 1 {
		return "", ""
	}
	return resp.Header.Get(gateway.ExchangeHeader), got.Choices[0].Message.Content
}

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
	ctx := context.Background()
	front := coinGateway(t, upstream.URL, "acme")
	ws, store, g := front.ws, front.store, front.g

	served := map[string]string{} // by exchange
	prompts := map[string]string{}
	ask := func(body, prompt string) {
		t.Helper()
		if id, said := front.ask(t, "acme", body); id != "" {
			served[id], prompts[id] = said, prompt
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
