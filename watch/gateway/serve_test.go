package gateway

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listen serves a rig's gateway as a process does; stop ends it and waits.
func (r *rig) listen() (addr string, stop func() error) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.g.Serve(ctx, l) }()
	return l.Addr().String(), func() error { cancel(); return <-ended }
}

func TestAReloadDropsNothing(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		send := sse(w)
		send(chunkText)
		<-release
		send(chunkStop + chunkDone)
	})
	resp := r.post("/v1/chat/completions", streamed(true))
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len(chunkText))); err != nil {
		t.Fatal(err)
	}
	old := r.g.policy.Load().cfg
	text := fmt.Sprintf("gateway: 1\nupstreams: [{name: other, base_url: %q, models: [other]}]\n", old.Upstreams[0].BaseURL)
	cfg, err := Parse("gateway.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.g.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if status, _, _, _ := r.ask("/v1/chat/completions", chatBody); status != http.StatusNotFound {
		t.Errorf("a model that the new configuration does not serve: %d", status)
	}
	close(release)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != chunkStop+chunkDone {
		t.Errorf("the stream that was open ended with %q, %v", rest, err)
	}
	bad, err := Parse("gateway.yaml", []byte(text+"limits: {memory: 1GiB}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.g.Reload(bad); err == nil || r.g.policy.Load().cfg != cfg {
		t.Errorf("a configuration that needs a restart: %v", err)
	}
}

func TestStoppingLetsAnswersComeToTheirEnd(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		send := sse(w)
		send(chunkText)
		<-release
		send(chunkStop + chunkDone)
	})
	addr, stop := r.listen()
	r.url = "http://" + addr
	resp := r.post("/v1/chat/completions", streamed(true))
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len(chunkText))); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for draining := false; !draining; { // until it has heard
		r.g.mu.Lock()
		draining = r.g.draining
		r.g.mu.Unlock()
	}
	if status, _, text, _ := r.ask("/v1/chat/completions", chatBody); status != http.StatusServiceUnavailable || !strings.Contains(text, "shutting_down") {
		t.Errorf("a new request: %d %s", status, text)
	}
	close(release)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != chunkStop+chunkDone {
		t.Errorf("the stream that was open ended with %q, %v", rest, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestABodyThatNeverArrives(t *testing.T) {
	r := newRig(t, rigOptions{yaml: "limits: {receive: 100ms}\n"}, answer)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{", r.secret)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("%v %v", resp, err)
	}
	if n := len(r.exchanges()); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}

func TestRequestsThatServersCouldReadInDifferentWays(t *testing.T) {
	asked := false
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) { asked = true; answer(w, req) })
	for name, head := range map[string]string{
		"two lengths":             "Content-Length: 5\r\nContent-Length: 6\r\n",
		"an obfuscated encoding":  "Transfer-Encoding: xchunked\r\n",
		"a folded header":         "X-A: b\r\n c\r\nTransfer-Encoding : chunked\r\n",
		"a line feed in a header": "X-A: b\rX-B: c\r\n",
		"an upgrade":              "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n", r.secret, head)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode < 400 {
			t.Errorf("%s: %v %v", name, resp, err)
		}
		conn.Close()
	}
	if asked {
		t.Error("the upstream was asked")
	}
}

func TestOverTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		text := pem.EncodeToMemory(block)
		pool.AppendCertsFromPEM(text)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, rigOptions{yaml: fmt.Sprintf("tls: {cert: %q, key: %q}\n", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))}, answer)
	addr, stop := r.listen()
	for _, h2 := range []bool{false, true} {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2}}
		req, err := http.NewRequest("POST", "https://"+addr+"/v1/chat/completions", strings.NewReader(streamed(true)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.secret)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(text) != chunkText+chunkStop+chunkUsage+chunkDone || (resp.ProtoMajor == 2) != h2 {
			t.Errorf("%s: %q %v", resp.Proto, text, err)
		}
		client.CloseIdleConnections()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestMetricsWantAKey(t *testing.T) {
	r := newRig(t, rigOptions{}, answer)
	if _, _, _, err := r.ask("/v1/chat/completions", chatBody); err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]int{"": 401, r.secret: 200} {
		req, _ := http.NewRequest("GET", r.url+"/metrics", nil)
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == 200 && !strings.Contains(string(text), `retort_gateway_requests_total{error="",route="chat",status="200"} 1`) {
			t.Errorf("key %q: %d %.300s", secret, resp.StatusCode, text)
		}
	}
}

func TestMistakesInAConfigurationArePointedAt(t *testing.T) {
	const good = "gateway: 1\nupstreams:\n  - {name: a, base_url: http://x/v1}\n"
	for text, want := range map[string]string{
		"gateway: 1\n":                                                           "upstreams",
		good + "upstream: []\n":                                                  `gateway.yaml:4:1: a gateway has no key "upstream"; did you mean "upstreams"?`,
		good + "store: some\n":                                                   "gateway.yaml:4:1: store:",
		good + "limits: {body: 1GiB}\n":                                          "gateway.yaml:4:1: limits.memory:",
		good + "limits: {body: 1 MB}\n":                                          "limits.body",
		good + "limits: {stall: soon}\n":                                         "limits.stall",
		good + "unmetered: [\"POST /v1/embeddings\"]\n":                          "unmetered[0]",
		good + "unmetered: [\"POST /v1/../x\"]\n":                                "unmetered[0]",
		good + "rules: [{name: a, action: ban}]\n":                               "rules[0].action",
		good + "rules: [{name: a, action: slow}]\n":                              "rules[0].delay",
		good + "prices: [{model: \"[\", input: 1}]\n":                            "prices[0].model",
		"gateway: 1\nupstreams: [{name: a, base_url: \"file:///etc/passwd\"}]\n": "base_url",
		"gateway: 2\nupstreams: [{name: a, base_url: \"http://x/v1\"}]\n":        "format 2",
	} {
		if _, err := Parse("gateway.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := Parse("gateway.yaml", []byte(good)); err != nil {
		t.Error(err)
	}
}
