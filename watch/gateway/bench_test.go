package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"retort/ledger/segment"
	"retort/workspace"
)

// BenchmarkGateway passes answers of bench/gateway's size on and records them on
// the disk; BenchmarkReverseProxy does the same without a record, as the measure.
func BenchmarkGateway(b *testing.B) {
	ws, err := workspace.Open(filepath.Join(b.TempDir(), "ws"))
	if err != nil {
		b.Fatal(err)
	}
	keys, err := OpenKeys(ws)
	if err != nil {
		b.Fatal(err)
	}
	_, secret, err := keys.Create("acme", Key{}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	store, err := segment.Open(ws.Path("ledger"), segment.Option{Raw: true})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	up := httptest.NewServer(http.HandlerFunc(benchUpstream))
	defer up.Close()
	cfg, err := Parse("gateway.yaml", fmt.Appendf(nil, "gateway: 1\nupstreams: [{name: stub, base_url: %s/v1}]\nprices: [{model: m, input: 1, output: 2}]\n", up.URL))
	if err != nil {
		b.Fatal(err)
	}
	g, err := New(b.Context(), Options{Config: cfg, Workspace: ws, Ledger: store, Getenv: func(string) string { return "" }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	benchProxy(b, g, secret)
	if err := g.Drain(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReverseProxy(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(benchUpstream))
	defer up.Close()
	to, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	benchProxy(b, &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, DisableCompression: true},
	}, "none")
}

const benchEvents = 50

var (
	benchChunk = []byte(strings.Replace(chunkText, "hi ", " some words of it", 1))
	benchWhole = []byte(strings.Replace(chatAnswer, `"hi"`, `"`+strings.Repeat("some words of it ", 600)+`"`, 1))
)

func benchUpstream(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(benchWhole)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	for range benchEvents {
		w.Write(benchChunk)
		flush()
	}
	io.WriteString(w, chunkStop+chunkUsage+chunkDone)
}

func benchProxy(b *testing.B, h http.Handler, secret string) {
	s := httptest.NewServer(h)
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, DisableCompression: true}}
	defer client.CloseIdleConnections()
	ask := strings.Repeat("a question of words ", 45)
	for name, body := range map[string]string{
		"stream": strings.Replace(streamed(true), "hello", ask, 1),
		"whole":  strings.Replace(chatBody, "hello", ask, 1),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequest("POST", s.URL+"/v1/chat/completions", strings.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Authorization", "Bearer "+secret)
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err != nil || resp.StatusCode != 200 {
						b.Error(resp.StatusCode, err)
						return
					}
				}
			})
		})
	}
}
