package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/workspace"
)

func TestAnAnswerArrivesUnchangedAndIsRecorded(t *testing.T) {
	var got *http.Request
	var sent []byte
	r := newRig(t, rigOptions{yaml: "prices: [{model: m, input: 1, output: 2}]\nend_user_header: X-User\n"}, func(w http.ResponseWriter, req *http.Request) {
		got = req
		sent, _ = io.ReadAll(req.Body)
		w.Header().Set("X-Ratelimit-Remaining-Requests", "9999")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatAnswer)
	})
	status, header, text, err := r.ask("/v1/chat/completions", chatBody)
	if err != nil || status != 200 || text != chatAnswer {
		t.Fatalf("%d %q %v", status, text, err)
	}
	if string(sent) != chatBody || got.Header.Get("Authorization") != "Bearer upstream-secret" || got.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("the upstream got %q with %v", sent, got.Header)
	}
	if header.Get("X-Ratelimit-Remaining-Requests") != "" {
		t.Error("the upstream's rates reach the client")
	}
	e := r.only()
	if e.ID.String() != header.Get(ExchangeHeader) {
		t.Errorf("exchange %s, header %q", e.ID, header.Get(ExchangeHeader))
	}
	if e.Origin != exchange.OriginServed || e.Account != r.key.Account || e.KeyID != r.key.ID || e.ModelAsked != "m" || e.ModelAnswered != "m-1" ||
		string(e.RequestBody) != chatBody || string(e.ResponseBody) != chatAnswer || e.Answer.Content != "hi" ||
		e.Usage.Source != exchange.UsageReported || e.Usage.Input != 7 || e.Cost != 7*1e6+3*2e6 || !e.OK() {
		t.Errorf("the ledger has %+v", e)
	}
}

func TestUsageIsAskedForAndTakenOutAgain(t *testing.T) {
	r := newRig(t, rigOptions{}, answer)
	for _, asked := range []bool{false, true} {
		_, _, text, err := r.ask("/v1/chat/completions", streamed(asked))
		want := chunkText + chunkStop + chunkDone
		if asked {
			want = chunkText + chunkStop + chunkUsage + chunkDone
		}
		if err != nil || text != want {
			t.Errorf("usage asked for: %v: %q %v", asked, text, err)
		}
	}
	for _, e := range r.exchanges() {
		if e.Usage.Source != exchange.UsageReported || e.Usage.Output != 3 || e.Answer.Content != "hi " || !strings.Contains(string(e.ResponseBody), `"prompt_tokens":7`) {
			t.Errorf("the ledger has %+v", e)
		}
	}
	for body, want := range map[string]string{
		`{"model":"m","stream":true}`: `{"stream_options":{"include_usage":true},"model":"m","stream":true}`,
		`{"model":"m","stream":true,"stream_options":{"include_usage":false,"x":1}}`: `{"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1}}`,
		`{"model":"m","stream":true,"stream_options":null}`:                          `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`,
	} {
		q, err := ask(wireChat, []byte(body))
		if err != nil || string(q.upstream) != want || !q.strip {
			t.Errorf("%s goes as %s, %v", body, q.upstream, err)
		}
	}
}

// TestNoClientSeesAnEndBeforeItIsDurable holds every sync up: what arrives meanwhile
// is what may arrive, and the rest comes once the syncs go on.
func TestNoClientSeesAnEndBeforeItIsDurable(t *testing.T) {
	for name, c := range map[string]struct {
		path, body, early, whole string
		upstream                 http.HandlerFunc
	}{
		"stream":  {"/v1/chat/completions", streamed(true), chunkText + chunkStop + chunkUsage, chunkText + chunkStop + chunkUsage + chunkDone, answer},
		"body":    {"/v1/chat/completions", chatBody, "", chatAnswer, answer},
		"no body": {"/v1/chat/completions", chatBody, "", "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		"messages": {"/v1/messages", strings.TrimSuffix(chatBody, "}") + `,"stream":true}`, "event: ping\ndata: {\"type\":\"ping\"}\n\n",
			"event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
			func(w http.ResponseWriter, _ *http.Request) {
				send := sse(w)
				send("event: ping\ndata: {\"type\":\"ping\"}\n\n")
				send("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
			}},
		"stream without an end": {"/v1/chat/completions", streamed(true), chunkText, chunkText,
			func(w http.ResponseWriter, _ *http.Request) { sse(w)(chunkText) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{}, c.upstream)
			r.disk.hold()
			type piece struct {
				text  string
				ended bool
			}
			seen := make(chan piece, 1)
			var mu sync.Mutex
			var early strings.Builder
			arrived := make(chan struct{}, 1)
			go func() {
				resp := r.post(c.path, c.body)
				defer resp.Body.Close()
				buf := make([]byte, 1<<10)
				for {
					n, err := resp.Body.Read(buf)
					mu.Lock()
					early.Write(buf[:n])
					text := early.String()
					mu.Unlock()
					if text == c.early && text != "" {
						arrived <- struct{}{}
					}
					if err != nil {
						seen <- piece{text, err == io.EOF}
						return
					}
				}
			}()
			if c.early != "" {
				<-arrived
			}
			select {
			case p := <-seen:
				t.Fatalf("the end was seen while nothing was durable: %q", p.text)
			case <-time.After(400 * time.Millisecond): // longer than a stream is waited for behind its last event
			}
			mu.Lock()
			if got := early.String(); got != c.early {
				t.Errorf("while nothing was durable %q arrived, want %q", got, c.early)
			}
			mu.Unlock()
			r.disk.release(nil)
			if p := <-seen; p.text != c.whole || !p.ended {
				t.Errorf("in the end %q, regularly: %v; want %q", p.text, p.ended, c.whole)
			}
		})
	}
}

func TestAFailedSyncEndsNothingCleanly(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if bytes.Contains(body, []byte(`"stream":true`)) {
			send := sse(w)
			send(chunkText)
			<-release
			send(chunkStop + chunkDone)
			return
		}
		io.WriteString(w, chatAnswer)
	})
	resp := r.post("/v1/chat/completions", streamed(true))
	defer resp.Body.Close()
	first := make([]byte, len(chunkText))
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	r.disk.release(syscall.ENOSPC) // from now on
	status, _, text, err := r.ask("/v1/chat/completions", chatBody)
	if err != nil || status != http.StatusServiceUnavailable || strings.Contains(text, "hi") {
		t.Errorf("an answer whose record failed: %d %q %v", status, text, err)
	}
	close(release)
	rest, err := io.ReadAll(resp.Body)
	if err == nil || bytes.Contains(rest, []byte("[DONE]")) {
		t.Errorf("the open stream ended with %q, %v", rest, err)
	}
	if !bytes.Contains(rest, []byte(`"error"`)) {
		t.Errorf("the open stream was not told: %q", rest)
	}
	if status, _, text, _ := r.ask("/v1/chat/completions", chatBody); status != http.StatusServiceUnavailable || !strings.Contains(text, "ledger_failed") {
		t.Errorf("a new request got %d %s", status, text)
	}
	health, err := http.Get(r.url + "/health")
	if err != nil || health.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("health: %v %v", health, err)
	}
}

func TestUpstreamsThatMisbehave(t *testing.T) {
	hang := func(r *http.Request) {
		io.Copy(io.Discard, r.Body) // or the server does not see that the client has gone
		<-r.Context().Done()
	}
	cut := func(w http.ResponseWriter) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
	for name, c := range map[string]struct {
		upstream http.HandlerFunc
		body     string
		status   int
		text     string // what arrives, as far as it does
		clean    bool
		class    exchange.ErrorClass
	}{
		"hangs before its first byte": {func(_ http.ResponseWriter, r *http.Request) { hang(r) }, chatBody, 504, "", true, exchange.ClassTimeout},
		"hangs in a stream":           {func(w http.ResponseWriter, r *http.Request) { sse(w)(chunkText); hang(r) }, streamed(true), 200, chunkText, false, exchange.ClassTimeout},
		"resets at once":              {func(w http.ResponseWriter, _ *http.Request) { cut(w) }, chatBody, 502, "", true, exchange.ClassNetwork},
		"resets in a stream": {func(w http.ResponseWriter, _ *http.Request) {
			sse(w)(chunkText)
			time.Sleep(20 * time.Millisecond) // for what was sent to arrive before the reset
			cut(w)
		}, streamed(true), 200, chunkText, false, exchange.ClassNetwork},
		"breaks off in a body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, chatAnswer)
		}, chatBody, 502, "", true, exchange.ClassNetwork},
		"one byte at a time": {func(w http.ResponseWriter, _ *http.Request) {
			send := sse(w)
			for _, b := range []byte(chunkText + chunkStop + chunkDone) {
				send(string(b))
			}
		}, streamed(true), 200, chunkText + chunkStop + chunkDone, true, ""},
		"an error event": {func(w http.ResponseWriter, _ *http.Request) {
			sse(w)(chunkText + "data: {\"error\":{\"message\":\"overloaded\"}}\n\n")
		}, streamed(true), 200, chunkText + "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", true, exchange.ClassServer},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"error":{"message":"no"}}`, 400) }, chatBody, 400, "{\"error\":{\"message\":\"no\"}}\n", true, exchange.ClassInvalid},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
		}, chatBody, http.StatusTemporaryRedirect, "", true, exchange.ClassInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{yaml: "limits: {first_byte: 200ms, stall: 200ms}\n"}, c.upstream)
			client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			req, _ := http.NewRequest("POST", r.url+"/v1/chat/completions", strings.NewReader(c.body))
			req.Header.Set("Authorization", "Bearer "+r.secret)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || (err == nil) != c.clean || resp.StatusCode < 400 && c.text != "" && string(text) != c.text {
				t.Errorf("the client got %d %q %v", resp.StatusCode, text, err)
			}
			if e := r.only(); e.ErrorClass != c.class {
				t.Errorf("recorded as %q (%s), want %q", e.ErrorClass, e.ErrorText, c.class)
			}
		})
	}
}

func TestAnotherUpstreamTakesOverBeforeTheFirstByte(t *testing.T) {
	var asked atomic.Int32
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%2 == 1 {
			http.Error(w, `{"error":{"message":"overloaded"}}`, http.StatusServiceUnavailable)
			return
		}
		answer(w, r)
	}, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%2 == 1 {
			http.Error(w, `{"error":{"message":"overloaded"}}`, http.StatusServiceUnavailable)
			return
		}
		answer(w, r)
	})
	if status, _, text, err := r.ask("/v1/chat/completions", chatBody); status != 200 || text != chatAnswer || err != nil {
		t.Fatalf("%d %q %v", status, text, err)
	}
	all := r.exchanges()
	if len(all) != 2 || all[1].Parent != all[0].ID || all[0].Status != 503 || all[1].Attempt != 2 || all[0].Provider == all[1].Provider {
		t.Fatalf("the ledger has %+v", all)
	}
}

func TestAHangUpCancelsUpstreamAndIsBilledWhatWasProduced(t *testing.T) {
	gone := make(chan struct{})
	r := newRig(t, rigOptions{yaml: "prices: [{model: m, input: 1, output: 1}]\n"}, func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body) // or the server does not see that the client has gone
		sse(w)(chunkText)
		<-req.Context().Done()
		close(gone)
	})
	resp := r.post("/v1/chat/completions", streamed(true))
	if _, err := io.ReadFull(resp.Body, make([]byte, len(chunkText))); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-gone
	e := r.only()
	if e.ErrorClass != exchange.ClassCancelled || string(e.ResponseBody) != chunkText || e.Usage.Source != exchange.UsageEstimated || e.Usage.Output != 1 || e.Cost == 0 || e.Cost > e.Worst {
		t.Errorf("the ledger has %+v", e)
	}
}

func TestKeysThatDoNotHold(t *testing.T) {
	r := newRig(t, rigOptions{yaml: "unmetered: [\"POST /v1/audio/speech\"]\n"}, answer)
	now := time.Now()
	make := func(k Key) string {
		_, secret, err := r.keys.Create("other", k, now)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	revoked := make(Key{})
	list, _, err := r.keys.List()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.keys.Revoke(list[len(list)-1].ID, now); err != nil {
		t.Fatal(err)
	}
	rotated, old, err := r.keys.Rotate(list[0].ID, now, 0)
	if err != nil || rotated.OldSum != "" {
		t.Fatal(rotated, err)
	}
	old, r.secret = r.secret, old
	cases := []struct {
		name, secret, path, body string
		status                   int
	}{
		{"none", "", "/v1/chat/completions", chatBody, 401},
		{"a guess", "rk_AAAAAAAAAAAAAAAAAAAAAAAAAA", "/v1/chat/completions", chatBody, 401},
		{"the upstream's", "upstream-secret", "/v1/chat/completions", chatBody, 401},
		{"its hash", r.key.Sum, "/v1/chat/completions", chatBody, 401},
		{"expired", make(Key{Expires: now.Add(-time.Second).UnixNano()}), "/v1/chat/completions", chatBody, 401},
		{"revoked", revoked, "/v1/chat/completions", chatBody, 401},
		{"rotated", old, "/v1/chat/completions", chatBody, 401},
		{"another model", make(Key{Models: []string{"n*"}}), "/v1/chat/completions", chatBody, 403},
		{"another route", make(Key{Routes: []string{"embeddings"}}), "/v1/chat/completions", chatBody, 403},
		{"a cap and no price", make(Key{Spend: &Spend{exchange.Dollar, "day"}}), "/v1/chat/completions", chatBody, 403},
		{"a cap, unmetered", make(Key{Spend: &Spend{exchange.Dollar, "day"}}), "/v1/audio/speech", "{}", 403},
		{"unmetered", r.secret, "/v1/audio/speech", "{}", 200},
		{"a route that is not known", r.secret, "/v1/images/generations", "{}", 404},
		{"a path that climbs", r.secret, "/v1/files/..%2f..%2fadmin/content", "", 404},
		{"two models", r.secret, "/v1/chat/completions", `{"model":"m","model":"expensive","messages":[]}`, 400},
		{"no JSON", r.secret, "/v1/chat/completions", `{`, 400},
		{"good", r.secret, "/v1/chat/completions", chatBody, 200},
	}
	if err := r.g.ring.refresh(now); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		r.secret = c.secret
		if status, _, text, _ := r.ask(c.path, c.body); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, text, c.status)
		}
	}
}

func TestHeadersThatDoNotPass(t *testing.T) {
	var got http.Header
	var host string
	r := newRig(t, rigOptions{yaml: "end_user_header: X-User\n"}, func(w http.ResponseWriter, req *http.Request) {
		got, host = req.Header, req.Host
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Openai-Organization", "ours")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-Request-Id", "r1")
		answer(w, req)
	})
	req, _ := http.NewRequest("POST", r.url+"/v1/chat/completions", strings.NewReader(chatBody))
	for name, value := range map[string]string{
		"X-Api-Key": r.secret, "Cookie": "c", "X-Forwarded-For": "1.2.3.4", "Openai-Organization": "theirs", "X-User": "Ann", "X-Secret": "s",
		"Connection": "X-Secret", "Forwarded": "for=1", "Anthropic-Beta": "b", "X-Stainless-Lang": "go", "Proxy-Authorization": "p",
	} {
		req.Header.Set(name, value)
	}
	req.Host = "169.254.169.254"
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	for _, name := range []string{"X-Api-Key", "Cookie", "X-Forwarded-For", "Openai-Organization", "X-User", "X-Secret", "Forwarded", "Proxy-Authorization", "Connection"} {
		if v := got.Get(name); v != "" {
			t.Errorf("the upstream got %s: %s", name, v)
		}
	}
	if got.Get("Anthropic-Beta") != "b" || got.Get("X-Stainless-Lang") != "go" || strings.Contains(host, "169") {
		t.Errorf("the upstream %s got %v", host, got)
	}
	for _, name := range []string{"Set-Cookie", "Openai-Organization", "X-Hop"} {
		if v := resp.Header.Get(name); v != "" {
			t.Errorf("the client got %s: %s", name, v)
		}
	}
	if resp.Header.Get("X-Request-Id") != "r1" {
		t.Errorf("the client got %v", resp.Header)
	}
	e := r.only()
	for _, v := range e.RequestHeader {
		if strings.Contains(v, r.secret) {
			t.Error("the key is recorded")
		}
	}
	if e.EndUser == "" || strings.Contains(e.EndUser, "Ann") {
		t.Errorf("end user %q", e.EndUser)
	}
}

func TestRatesAreHeldAndTold(t *testing.T) {
	r := newRig(t, rigOptions{key: Key{Rates: meter.Rates{RequestsPerMinute: 2, TokensPerMinute: 100_000}}}, answer)
	for i := range 3 {
		status, h, text, _ := r.ask("/v1/chat/completions", chatBody)
		if want := []int{200, 200, 429}[i]; status != want {
			t.Errorf("request %d: %d %s", i, status, text)
		}
		if h.Get("X-Ratelimit-Limit-Requests") != "2" || h.Get("X-Ratelimit-Remaining-Requests") != []string{"1", "0", "0"}[i] {
			t.Errorf("request %d: %v", i, h)
		}
		if i == 2 && (h.Get("Retry-After") == "" || !strings.Contains(text, "2 requests per minute")) {
			t.Errorf("the refusal says %q, retry after %q", text, h.Get("Retry-After"))
		}
	}
	if n := len(r.exchanges()); n != 2 {
		t.Errorf("%d exchanges", n)
	}
}

// TestTheSpendCapIsAWall has 64 clients race for what is left, again and again.
func TestTheSpendCapIsAWall(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 10
	}
	prices := "prices: [{model: m, input: 0, output: 1000000}]\n" // a dollar a token, three an answer, 50 at worst
	r := newRig(t, rigOptions{yaml: prices}, answer)
	r.g.client = inProcess{}
	secrets := make([]string, rounds)
	keys := make([]Key, rounds)
	for i := range keys {
		secrets[i] = fmt.Sprintf("racer %d", i)
		keys[i] = Key{ID: secrets[i], Account: "racer", Sum: sumOf(secrets[i]), Spend: &Spend{120 * exchange.Dollar, "total"}}
	}
	if err := r.keys.change(func(t *table) error { t.Keys = append(t.Keys, keys...); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.g.ring.refresh(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for round, key := range keys {
		secret := secrets[round]
		var wg sync.WaitGroup
		var served, refused atomic.Int64
		for range 64 {
			wg.Go(func() {
				{
					req, _ := http.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody))
					req.Header.Set("Authorization", "Bearer "+secret)
					w := &memory{header: http.Header{}}
					r.g.ServeHTTP(w, req)
					switch w.status {
					case 200:
						served.Add(1)
					case 429:
						refused.Add(1)
					default:
						t.Errorf("%d %s", w.status, w.body.String())
					}
				}
			})
		}
		wg.Wait()
		var sum exchange.PicoSum
		sum.Add(exchange.Pico(3*served.Load()) * exchange.Dollar)
		var limit exchange.PicoSum
		limit.Add(key.Spend.Limit)
		if sum.Cmp(limit) > 0 || served.Load() < 2 || served.Load()+refused.Load() != 64 {
			t.Fatalf("%d answers for %s of %s, %d refused", served.Load(), sum, limit, refused.Load())
		}
		if spent := r.g.ring.byID[key.ID].budget.Spent(); spent.Cmp(sum) != 0 {
			t.Fatalf("%s is booked, %s was served", spent, sum)
		}
	}
}

// inProcess is an upstream without a network.
type inProcess struct{}

func (inProcess) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(chatAnswer)), ContentLength: int64(len(chatAnswer))}, nil
}

func (inProcess) CloseIdleConnections() {}

// memory is a response that is kept.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memory) Header() http.Header { return m.header }
func (m *memory) WriteHeader(s int) {
	if m.status == 0 {
		m.status = s
	}
}
func (m *memory) Write(p []byte) (int, error) { m.WriteHeader(200); return m.body.Write(p) }

func TestWhatWasSpentIsKnownAfterARestart(t *testing.T) {
	r := newRig(t, rigOptions{yaml: "prices: [{model: m, input: 0, output: 1000000}]\n", key: Key{Spend: &Spend{53 * exchange.Dollar, "month"}, Rates: meter.Rates{RequestsPerDay: 5}}}, answer)
	if status, _, text, _ := r.ask("/v1/chat/completions", chatBody); status != 200 {
		t.Fatal(text)
	}
	r.settled()
	if _, err := New(context.Background(), Options{Config: r.g.policy.Load().cfg, Workspace: r.ws, Ledger: r.store, Getenv: func(string) string { return "x" }, Log: r.g.log}); !errors.Is(err, workspace.ErrInUse) {
		t.Fatalf("a second gateway on the same key table: %v", err)
	}
	if err := r.g.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := New(context.Background(), Options{Config: r.g.policy.Load().cfg, Workspace: r.ws, Ledger: r.store, History: r.store, Getenv: func(string) string { return "x" }, Log: r.g.log})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	state, key, _, why := again.ring.find(r.secret, time.Now())
	if why != "" {
		t.Fatal(why)
	}
	if spent := again.ring.spend(state, &key, time.Now()).Spent(); spent.String() != "$3.00" {
		t.Errorf("%s is booked", spent)
	}
}

func TestALongBodyWithinAndBeyondItsBound(t *testing.T) {
	var got atomic.Int64
	r := newRig(t, rigOptions{yaml: "limits: {body: 50MiB, memory: 200MiB}\n"}, func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		got.Store(n)
		io.WriteString(w, chatAnswer)
	})
	long := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 50<<20-100) + `"}]}`
	if status, _, text, err := r.ask("/v1/chat/completions", long); status != 200 || text != chatAnswer || err != nil || got.Load() != int64(len(long)) {
		t.Errorf("%d %.100q %v; the upstream got %d of %d bytes", status, text, err, got.Load(), len(long))
	}
	if e := r.only(); len(e.RequestBody) != len(long) {
		t.Errorf("%d of %d bytes are recorded", len(e.RequestBody), len(long))
	}
	status, _, _, _ := r.ask("/v1/chat/completions", long+strings.Repeat(" ", 200))
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("beyond the bound: %d", status)
	}
	r.settled()
	if !r.g.room.TryAcquire(150<<20) || !r.g.pending.TryAcquire(50<<20) {
		t.Error("memory is not given back")
	}
}

func TestRulesActAndAreRecorded(t *testing.T) {
	r := newRig(t, rigOptions{yaml: `rules:
  - {name: held, marks: [hold], action: block}
  - {name: dear, models: [dear], action: cap, rpm: 1}
  - {name: attested, models: [attested], action: attest}
  - {name: slow, models: [slow], action: slow, delay: 1ms}
  - {name: rest, action: allow}
`}, answer)
	ask := func(model string) int {
		status, _, _, _ := r.ask("/v1/chat/completions", strings.Replace(chatBody, `"m"`, `"`+model+`"`, 1))
		return status
	}
	got := []int{ask("m"), ask("slow"), ask("dear"), ask("dear"), ask("attested")}
	for _, until := range []time.Duration{time.Hour, -time.Second} {
		if err := r.keys.SetAttested(r.key.Account, time.Now().Add(until)); err != nil {
			t.Fatal(err)
		}
		if err := r.g.ring.refresh(time.Now()); err != nil {
			t.Fatal(err)
		}
		got = append(got, ask("attested"))
	}
	if err := r.keys.SetMark(r.key.Account, ledger.MarkHold); err != nil {
		t.Fatal(err)
	}
	if err := r.g.ring.refresh(time.Now()); err != nil {
		t.Fatal(err)
	}
	got = append(got, ask("m"))
	for i, want := range []int{200, 200, 200, 429, 403, 200, 403, 403} {
		if got[i] != want {
			t.Errorf("request %d: %d, want %d", i, got[i], want)
		}
	}
	var actions []string
	for _, a := range r.actions() {
		actions = append(actions, strings.TrimSpace(a.Action+" "+a.Rule+" "+a.Detail))
	}
	if want := "allow rest,slow slow 1ms,cap dear,cap dear,attest attested missing,attest attested given,attest attested missing,block held"; strings.Join(actions, ",") != want {
		t.Errorf("recorded %v; want %s", actions, want)
	}
}

// TestBodiesThatAreNotStored looks for what was asked and answered in every record,
// and holds the salted hashes, where there are any, against it.
func TestBodiesThatAreNotStored(t *testing.T) {
	for _, store := range []Store{StoreFull, StoreHashed, StoreSignals} {
		for _, body := range []string{chatBody, streamed(true)} {
			r := newRig(t, rigOptions{yaml: "store: " + string(store) + "\n"}, answer)
			_, _, answered, err := r.ask("/v1/chat/completions", body)
			if err != nil || !strings.Contains(answered, "hi") {
				t.Fatal(answered, err)
			}
			full := store == StoreFull
			e := r.only()
			if full != (string(e.RequestBody) == body) || full != (string(e.ResponseBody) == answered) || full != (e.Answer.Content != "") ||
				e.Answer.FinishReason != "stop" || e.Usage.Output != 3 || !e.OK() || e.ErrorText != "" {
				t.Errorf("%s: the ledger has %+v", store, e)
			}
			err = r.store.Scan(context.Background(), func(rec ledger.Record) error {
				if !full && (bytes.Contains(rec.Head, []byte("hello")) || bytes.Contains(rec.Head, []byte(`"hi`)) || len(rec.Body) > 0) {
					t.Errorf("%s: a %s record holds %s %s", store, rec.Kind, rec.Head, rec.Body)
				}
				if rec.Kind != ledger.KindEnd {
					return nil
				}
				var head struct {
					Salt, Request, Response string
					Sent                    int `json:"request_received"`
					Got                     int `json:"response_received"`
				}
				for name, into := range map[string]any{"salt": &head.Salt, "request_sha256": &head.Request, "response_sha256": &head.Response, "request_received": &head.Sent, "response_received": &head.Got} {
					var all map[string]json.RawMessage
					if err := json.Unmarshal(rec.Head, &all); err != nil {
						return err
					}
					if raw, ok := all[name]; ok {
						if err := json.Unmarshal(raw, into); err != nil {
							return err
						}
					}
				}
				if !full && (head.Sent != len(body) || head.Got != len(answered)) {
					t.Errorf("%s: %s; %d bytes were asked and %d answered", store, rec.Head, len(body), len(answered))
				}
				if (store == StoreHashed) != (head.Salt != "") {
					t.Errorf("%s: salt %q", store, head.Salt)
				}
				if store != StoreHashed {
					return nil
				}
				salt, err := hex.DecodeString(head.Salt)
				if err != nil || len(salt) != 16 {
					t.Errorf("salt %q", head.Salt)
				}
				for got, what := range map[string]string{head.Request: body, head.Response: answered} {
					if want := fmt.Sprintf("%x", sha256.Sum256(append(bytes.Clone(salt), what...))); got != want {
						t.Errorf("hash %q, want %q", got, want)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOpenAIsOwnClient(t *testing.T) {
	r := newRig(t, rigOptions{}, answer)
	client := openai.NewClient(option.WithBaseURL(r.url+"/v1"), option.WithAPIKey(r.secret), option.WithMaxRetries(0))
	params := openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")}}
	got, err := client.Chat.Completions.New(context.Background(), params)
	if err != nil || got.Choices[0].Message.Content != "hi" || got.Usage.CompletionTokens != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	stream := client.Chat.Completions.NewStreaming(context.Background(), params)
	var acc openai.ChatCompletionAccumulator
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if stream.Err() != nil || acc.Choices[0].Message.Content != "hi " || acc.Usage.CompletionTokens != 0 {
		t.Errorf("%+v %v", acc, stream.Err())
	}
	r.secret = "wrong"
	bad := openai.NewClient(option.WithBaseURL(r.url+"/v1"), option.WithAPIKey("wrong"), option.WithMaxRetries(0))
	var api *openai.Error
	if _, err := bad.Chat.Completions.New(context.Background(), params); !errors.As(err, &api) || api.StatusCode != 401 || api.Code != "invalid_api_key" {
		t.Errorf("with a wrong key: %v", err)
	}
}
