package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"retort/exchange"
	"retort/ledger"
)

// fakeCoins flips as a test says.
type fakeCoins struct {
	live    int
	refuses bool
	hold    chan struct{} // Flip waits for it; nil: not
	err     error

	mu      sync.Mutex
	asked   []CoinRequest
	settled chan [2]Arm
}

func newFakeCoins(live int) *fakeCoins { return &fakeCoins{live: live, settled: make(chan [2]Arm, 10)} }

func (f *fakeCoins) Consider(r CoinRequest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	return !f.refuses
}

func (f *fakeCoins) Flip(ctx context.Context, r CoinRequest) (Coin, error) {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return fakeCoin{f}, nil
}

type fakeCoin struct{ *fakeCoins }

func (c fakeCoin) Live() int { return c.live }
func (c fakeCoin) Settle(_ context.Context, arms [2]Arm) error {
	c.settled <- arms
	return nil
}

const coinRule = "rules: [{name: coins, action: coin, share: 0.5}]\nprices: [{model: m, input: 1, output: 1}]\n"

// numbered is an upstream whose answers differ.
func numbered(n *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := fmt.Sprintf("answer %d", n.Add(1))
		if !strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, strings.Replace(chatAnswer, `"hi"`, `"`+text+`"`, 1))
			return
		}
		send := sse(w)
		send(strings.Replace(chunkText, "hi ", text, 1))
		send(chunkStop)
		send(chunkDone)
	}
}

func TestACoinPicksOneOfTwoAnswers(t *testing.T) {
	for live := range 2 {
		for _, body := range []string{chatBody, streamed(true)} {
			var asked atomic.Int64
			coins := newFakeCoins(live)
			r := newRig(t, rigOptions{yaml: coinRule, coins: coins}, numbered(&asked))
			status, header, text, err := r.ask("/v1/chat/completions", body)
			if err != nil || status != 200 {
				t.Fatalf("%d %q %v", status, text, err)
			}
			arms := <-coins.settled
			got, other := arms[live], arms[1-live]
			if !got.OK || !other.OK || !strings.Contains(text, got.Answer.Content) || strings.Contains(text, other.Answer.Content) || got.Answer.Content == other.Answer.Content {
				t.Errorf("live %d: the client got %q, the arms are %+v", live, text, arms)
			}
			if got.Exchange.String() != header.Get(ExchangeHeader) || asked.Load() != 2 {
				t.Errorf("the client was named exchange %s, the arm is %s; %d calls", header.Get(ExchangeHeader), got.Exchange, asked.Load())
			}
			all := r.exchanges()
			if len(all) != 2 {
				t.Fatalf("%d exchanges", len(all))
			}
			for _, e := range all {
				served := e.ID == got.Exchange
				if !e.OK() || served != (e.Account == r.key.Account) || served != (e.KeyID != "") || served == (e.Stage == StageWithheld) || !served && e.Parent != got.Exchange {
					t.Errorf("served: %v: the ledger has %+v", served, e)
				}
			}
			if q := coins.asked[0]; q.Share != 0.5 || q.Wire != ledger.WireChat || q.Account != r.key.Account || string(q.Body) != body || q.Exchange != got.Exchange {
				t.Errorf("asked with %+v", q)
			}
			if actions := r.actions(); len(actions) != 1 || actions[0].Action != ledger.ActionCoin || actions[0].Exchange != got.Exchange {
				t.Errorf("recorded %+v", actions)
			}
		}
	}
}

func TestNothingIsServedBeforeTheCoinIsDurable(t *testing.T) {
	var asked atomic.Int64
	coins := newFakeCoins(0)
	coins.hold = make(chan struct{})
	r := newRig(t, rigOptions{yaml: coinRule, coins: coins}, numbered(&asked))
	answered := make(chan string)
	go func() {
		_, _, text, err := r.ask("/v1/chat/completions", streamed(true))
		answered <- fmt.Sprint(text, err)
	}()
	for len(coins.requests()) == 0 { // until it waits for the coin
	}
	if asked.Load() != 0 {
		t.Error("the upstream was asked before the coin was durable")
	}
	select {
	case text := <-answered:
		t.Fatalf("the client got %q", text)
	default:
	}
	close(coins.hold)
	if text := <-answered; !strings.Contains(text, "[DONE]") {
		t.Errorf("the client got %q", text)
	}
}

func (f *fakeCoins) requests() []CoinRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func TestBothArmsAreReadToTheirEndWhenTheClientHangsUp(t *testing.T) {
	hungUp := make(chan struct{})
	var asked atomic.Int64
	coins := newFakeCoins(0)
	r := newRig(t, rigOptions{yaml: coinRule, coins: coins}, func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		send := sse(w)
		send(strings.Replace(chunkText, "hi ", fmt.Sprintf("answer %d", asked.Add(1)), 1))
		<-hungUp
		for range 100 { // more than the connection's buffers have said that nobody reads
			send(strings.Replace(chunkText, "hi ", strings.Repeat("x", 1000), 1))
		}
		send(chunkStop + chunkUsage + chunkDone)
	})
	resp := r.post("/v1/chat/completions", streamed(true))
	if _, err := io.ReadFull(resp.Body, make([]byte, 50)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	close(hungUp)
	for _, arm := range <-coins.settled {
		if !arm.OK || len(arm.Answer.Content) != len("answer 1")+100*1000 {
			t.Errorf("an arm is %v with %d bytes", arm.OK, len(arm.Answer.Content))
		}
	}
	for _, e := range r.exchanges() {
		if !e.OK() || e.Usage.Source != exchange.UsageReported {
			t.Errorf("the ledger has %s %q %+v", e.Stage, e.ErrorText, e.Usage)
		}
	}
}

func TestArmsThatFailDoNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		fails int64 // which call
		how   func(http.ResponseWriter)
	}{
		"a refusal":    {1, func(w http.ResponseWriter) { http.Error(w, "{}", http.StatusServiceUnavailable) }},
		"the other":    {2, func(w http.ResponseWriter) { http.Error(w, "{}", http.StatusServiceUnavailable) }},
		"it breaks":    {1, func(w http.ResponseWriter) { sse(w)(chunkText); panic(http.ErrAbortHandler) }},
		"no answer":    {2, func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		"malformed":    {2, func(w http.ResponseWriter) { io.WriteString(w, "{") }},
		"error inside": {1, func(w http.ResponseWriter) { sse(w)(`data: {"error":{"message":"overloaded"}}` + "\n\n") }},
	} {
		t.Run(name, func(t *testing.T) {
			var asked, answered atomic.Int64
			coins := newFakeCoins(0)
			good := numbered(&answered)
			handler := func(w http.ResponseWriter, req *http.Request) {
				if asked.Add(1) == c.fails {
					io.Copy(io.Discard, req.Body)
					c.how(w)
					return
				}
				good(w, req)
			}
			r := newRig(t, rigOptions{yaml: coinRule, coins: coins}, handler, handler)
			_, _, _, _ = r.ask("/v1/chat/completions", streamed(true)) // as a client of one upstream: it may fail
			arms := <-coins.settled
			if arms[0].OK && arms[1].OK {
				t.Errorf("both arms count: %+v", arms)
			}
			for _, e := range r.exchanges() {
				if e.Stage == StageWithheld && e.Account != "" {
					t.Errorf("the ledger has %+v", e)
				}
			}
		})
	}
}

func TestRequestsWithoutACoin(t *testing.T) {
	var asked atomic.Int64
	coins := newFakeCoins(0)
	coins.refuses = true
	r := newRig(t, rigOptions{yaml: coinRule, coins: coins}, numbered(&asked))
	if _, _, text, err := r.ask("/v1/chat/completions", chatBody); err != nil || !strings.Contains(text, "answer 1") || asked.Load() != 1 || len(r.actions()) != 0 {
		t.Errorf("%q %v, %d calls, actions %v", text, err, asked.Load(), r.actions())
	}
	coins.refuses, coins.err = false, errors.New("disk full")
	if status, _, _, err := r.ask("/v1/chat/completions", chatBody); status != http.StatusServiceUnavailable || err != nil || asked.Load() != 1 {
		t.Errorf("a coin that is not recorded: %d %v, %d calls", status, err, asked.Load())
	}
	cfg, err := Parse("gateway.yaml", []byte("gateway: 1\nupstreams: [{name: a, base_url: http://x/v1}]\n"+coinRule))
	if err != nil {
		t.Fatal(err)
	}
	r.g.coins = nil
	if err := r.g.Reload(cfg); err == nil || !strings.Contains(err.Error(), "rules[0].action") {
		t.Errorf("a rule for coins that nobody keeps: %v", err)
	}
}
