package gateway

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"retort/exchange"
)

// checks has rapid generate n cases, unless its flag says otherwise.
func checks(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f == nil || f.Value.String() != f.DefValue {
		return
	}
	was := f.Value.String()
	if err := flag.Set("rapid.checks", fmt.Sprint(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", was) })
}

// TestGeneratedStreamsArriveUnchanged sends generated streams through the gateway,
// cut where a seed says, and holds what arrives and what is recorded against what
// was sent.
func TestGeneratedStreamsArriveUnchanged(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	checks(t, n)
	var sent atomic.Pointer[[]byte]
	var seed atomic.Uint64
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		send := sse(w)
		cut := rand.New(rand.NewPCG(seed.Load(), 1))
		for rest := *sent.Load(); len(rest) > 0; {
			n := min(1+cut.IntN(1+cut.IntN(2*len(rest))), len(rest))
			send(string(rest[:n]))
			rest = rest[n:]
		}
	})
	paths := map[*modelWire]string{wireChat: "/v1/chat/completions", wireResponses: "/v1/responses", wireMessages: "/v1/messages"}
	bodies := map[string][]byte{}
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom([]*modelWire{wireChat, wireResponses, wireMessages}).Draw(t, "wire")
		strip := w.inject && rapid.Bool().Draw(t, "strip")
		var in, want []byte
		for _, ev := range genStream(t, w) {
			in = append(in, ev.text...)
			if !ev.usage || !strip {
				want = append(want, ev.text...)
			}
		}
		sent.Store(&in)
		seed.Store(rapid.Uint64().Draw(t, "cuts"))
		_, header, text, err := r.ask(paths[w], streamed(!strip))
		if err != nil || text != string(want) {
			t.Fatalf("%s: %v\n%.300q\nwant\n%.300q", w.name, err, text, want)
		}
		bodies[header.Get(ExchangeHeader)] = in
	})
	all := r.exchanges()
	if len(all) != len(bodies) {
		t.Errorf("%d exchanges are recorded, %d were answered", len(all), len(bodies))
	}
	for _, e := range all {
		if want := bodies[e.ID.String()]; !bytes.Equal(e.ResponseBody, want) {
			t.Errorf("%s is recorded with\n%.300q\nwant\n%.300q", e.Stage, e.ResponseBody, want)
		}
	}
}

// TestNothingLeadsElsewhere asks in all ways that could name another host than the
// upstream's.
func TestNothingLeadsElsewhere(t *testing.T) {
	var elsewhere atomic.Int64
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			elsewhere.Add(1)
			conn.Close()
		}
	}()
	target := other.Addr().String()
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.String()+req.Host, target) && req.Host == target {
			t.Errorf("the upstream was asked for %s%s", req.Host, req.URL)
		}
		answer(w, req)
	})
	for name, head := range map[string]string{
		"an absolute address": "POST http://" + target + "/v1/chat/completions HTTP/1.1\r\nHost: " + target + "\r\n",
		"another host":        "POST /v1/chat/completions HTTP/1.1\r\nHost: " + target + "\r\n",
		"a double slash":      "POST //" + target + "/v1/chat/completions HTTP/1.1\r\nHost: x\r\n",
		"an address as user":  "POST /v1@" + target + "/chat/completions HTTP/1.1\r\nHost: x\r\n",
		"a connect":           "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n",
		"forwarded":           "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: " + target + "\r\nX-Original-Url: http://" + target + "\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Replace(chatBody, `"m"`, `"http://`+target+`"`, 1)
		fmt.Fprintf(conn, "%sAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", head, r.secret, len(body), body)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if text, _ := io.ReadAll(resp.Body); resp.StatusCode == 200 && string(text) != chatAnswer {
			t.Errorf("%s: %d %q", name, resp.StatusCode, text)
		}
		conn.Close()
	}
	r.settled()
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d connections went elsewhere", n)
	}
}

// TestClientsThatSendSlowly has some send their headers, and others their bodies, a
// byte at a time: they are cut, and others are served meanwhile.
func TestClientsThatSendSlowly(t *testing.T) {
	r := newRig(t, rigOptions{yaml: "limits: {receive: 300ms, concurrent: 8}\n"}, answer)
	addr, stop := r.listen()
	r.url = "http://" + addr
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			text := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + r.secret + "\r\nContent-Length: 1000\r\n"
			if i%3 == 0 { // the headers are quick, and the key is right or wrong
				fmt.Fprint(conn, strings.Replace(text, r.secret, []string{r.secret, "wrong"}[i/3], 1)+"\r\n")
				text = strings.Repeat(" ", 1000)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				answer, _ := io.ReadAll(conn)
				if strings.Contains(string(answer), " 200 ") {
					t.Errorf("a slow client got %q", answer)
				}
			}()
			for i := range text {
				select {
				case <-ended:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := conn.Write([]byte{text[i]}); err != nil {
					break
				}
			}
			<-ended
		})
	}
	for range 5 {
		if status, _, text, err := r.ask("/v1/chat/completions", chatBody); status != 200 || err != nil {
			t.Errorf("meanwhile: %d %q %v", status, text, err)
		}
	}
	wg.Wait()
	if took := time.Since(began); took > 15*time.Second { // they would have sent for 20
		t.Errorf("slow clients held their connections for %s", took)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := len(r.exchanges()); n != 5 {
		t.Errorf("%d exchanges are recorded", n)
	}
}

// TestAnAnswerThatTricklesHoldsNothingUp has one stream come a byte a moment while
// others are answered, and the client that hangs up on it.
func TestAnAnswerThatTricklesHoldsNothingUp(t *testing.T) {
	r := newRig(t, rigOptions{}, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Trickle") == "" {
			answer(w, req)
			return
		}
		io.Copy(io.Discard, req.Body)
		send := sse(w)
		for _, b := range []byte(chunkText) {
			send(string(b))
			time.Sleep(time.Millisecond)
		}
		<-req.Context().Done()
	})
	ctx, hangUp := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "POST", r.url+"/v1/chat/completions", strings.NewReader(streamed(true)))
	req.Header.Set("Authorization", "Bearer "+r.secret)
	req.Header.Set("X-Trickle", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if status, _, text, err := r.ask("/v1/chat/completions", chatBody); status != 200 || text != chatAnswer || err != nil {
		t.Errorf("meanwhile: %d %q %v", status, text, err)
	}
	got := make([]byte, len(chunkText))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != chunkText {
		t.Errorf("what trickled: %q %v", got, err)
	}
	hangUp()
	for _, e := range r.exchanges() {
		if e.ErrorClass == exchange.ClassCancelled && string(e.ResponseBody) == chunkText || e.OK() {
			continue
		}
		t.Errorf("the ledger has %+v", e)
	}
}
