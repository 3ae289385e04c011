package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/workspace"
)

// disk is a file system in memory whose syncs a test can hold up or have fail.
type disk struct {
	vfs.FS
	mu   sync.Mutex
	wait chan struct{} // nil: syncs go through
	err  error
}

func newDisk() *disk {
	d := &disk{}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileSyncData && op.Kind != errorfs.OpFileSync {
			return nil
		}
		d.mu.Lock()
		wait, err := d.wait, d.err
		d.mu.Unlock()
		if wait != nil {
			<-wait
			d.mu.Lock()
			err = d.err
			d.mu.Unlock()
		}
		return err
	}))
	return d
}

// hold has syncs wait until release.
func (d *disk) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wait = make(chan struct{})
}

// release lets syncs go on, to fail with err if it is not nil.
func (d *disk) release(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if d.wait != nil {
		close(d.wait)
		d.wait = nil
	}
}

// rig is a gateway before a test's upstream.
type rig struct {
	t      *testing.T
	g      *Gateway
	ws     *workspace.Workspace
	keys   *Keys
	store  *segment.Store
	disk   *disk
	url    string
	secret string
	key    Key
}

// rigOptions are what a test wants otherwise.
type rigOptions struct {
	yaml  string // further lines of the configuration
	key   Key
	coins Coins
}

// newRig serves an upstream through a gateway, for an account with one key.
func newRig(t *testing.T, opt rigOptions, upstreams ...http.HandlerFunc) *rig {
	t.Helper()
	ws, err := workspace.Open(filepath.Join(t.TempDir(), "ws"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ws: ws, disk: newDisk()}
	if r.keys, err = OpenKeys(ws); err != nil {
		t.Fatal(err)
	}
	if r.key, r.secret, err = r.keys.Create("acme", opt.key, time.Now()); err != nil {
		t.Fatal(err)
	}
	if r.store, err = segment.Open("ledger", segment.Option{FS: r.disk, Raw: true}); err != nil {
		t.Fatal(err)
	}
	text := "gateway: 1\nupstreams:\n"
	for i, h := range upstreams {
		s := httptest.NewServer(h)
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		text += fmt.Sprintf("  - {name: u%d, base_url: %s/v1, api_key_env: UPSTREAM_KEY}\n", i, s.URL)
	}
	cfg, err := Parse("gateway.yaml", []byte(text+opt.yaml))
	if err != nil {
		t.Fatal(err)
	}
	r.g, err = New(context.Background(), Options{
		Config: cfg, Workspace: ws, Ledger: r.store, History: r.store, Coins: opt.coins,
		Getenv: func(string) string { return "upstream-secret" }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(r.g)
	s.Config.ErrorLog = nil
	r.url = s.URL
	t.Cleanup(func() {
		r.disk.release(nil)
		s.CloseClientConnections()
		s.Close()
		if err := r.g.Close(); err != nil {
			t.Error(err)
		}
		r.store.Close() // may have been made to fail
	})
	return r
}

// post sends a request and returns the response, whose body the caller closes.
func (r *rig) post(path, body string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequest("POST", r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// ask is post, with the body read.
func (r *rig) ask(path, body string) (int, http.Header, string, error) {
	r.t.Helper()
	resp := r.post(path, body)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

// exchanges reads what the ledger has, once nothing is under way.
func (r *rig) exchanges() []*exchange.Exchange {
	r.t.Helper()
	r.settled()
	var out []*exchange.Exchange
	err := ledger.Exchanges(context.Background(), r.store, func(e *exchange.Exchange) error { out = append(out, e); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// actions reads what policy did, once nothing is under way.
func (r *rig) actions() []ledger.Action {
	r.t.Helper()
	r.settled()
	if err := r.store.Append(context.Background(), ledger.Record{Kind: "test"}); err != nil { // what was not waited for is before it
		r.t.Fatal(err)
	}
	var out []ledger.Action
	err := r.store.Scan(context.Background(), func(rec ledger.Record) error {
		if rec.Kind != ledger.KindAction {
			return nil
		}
		a, err := ledger.ParseAction(rec)
		out = append(out, a)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// only is the one exchange that the ledger has.
func (r *rig) only() *exchange.Exchange {
	r.t.Helper()
	all := r.exchanges()
	if len(all) != 1 {
		r.t.Fatalf("the ledger has %d exchanges, want 1", len(all))
	}
	return all[0]
}

// settled waits until no request is under way.
func (r *rig) settled() {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	for r.g.under > 0 {
		r.g.idle.Wait()
	}
}

const chatBody = `{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":50}`

// streamed is chatBody, to be streamed, with its usage or without.
func streamed(usage bool) string {
	more := `,"stream":true}`
	if usage {
		more = `,"stream":true,"stream_options":{"include_usage":true}}`
	}
	return strings.TrimSuffix(chatBody, "}") + more
}

const (
	chunkText  = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"hi "},"finish_reason":null}]}` + "\n\n"
	chunkStop  = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	chunkUsage = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}` + "\n\n"
	chunkDone  = "data: [DONE]\n\n"
	chatAnswer = `{"id":"c","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`
)

// answer is an upstream that answers at once, with usage as it is asked for.
func answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatAnswer)
		return
	}
	send := sse(w)
	send(chunkText)
	send(chunkStop)
	if bytes.Contains(body, []byte(`"include_usage":true`)) {
		send(chunkUsage)
	}
	send(chunkDone)
}

// reply is an upstream that answers everything with a body.
func reply(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

// sse begins a stream and returns what sends a piece of it.
func sse(w http.ResponseWriter) func(string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	return func(s string) {
		io.WriteString(w, s)
		w.(http.Flusher).Flush()
	}
}
