package reference

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	oai "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"go.uber.org/goleak"

	"retort/exchange"
	"retort/openai"
	"retort/teach/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a teacher on loopback.
func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	teacher, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, teacher)
}

func start(t *testing.T, teacher *Teacher) *Server {
	t.Helper()
	s, err := teacher.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func client(t *testing.T, s *Server, opts ...option.RequestOption) oai.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return oai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(s.URL + "/v1"), option.WithAPIKey("k"), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: transport}),
	}, opts...)...)
}

const product = "What is 47*36?"

func ask(prompt string) oai.ChatCompletionNewParams {
	return oai.ChatCompletionNewParams{
		Model:    "reference",
		Messages: []oai.ChatCompletionMessageParamUnion{oai.SystemMessage("Be brief."), oai.UserMessage(prompt)},
	}
}

// post sends a body and reads the whole reply; the error is that of reading.
func post(t *testing.T, s *Server, body string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequest("POST", s.URL+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp, raw, err
}

func body(prompt string, more string) string {
	q, _ := json.Marshal(prompt)
	return `{"model":"reference","messages":[{"role":"user","content":` + string(q) + `}]` + more + `}`
}

func TestRealClientGetsAnAnswer(t *testing.T) {
	s := serve(t, Config{})
	c := client(t, s)
	p := ask(product)
	p.Seed, p.Temperature, p.N = oai.Int(5), oai.Float(1), oai.Int(3)
	got, err := c.Chat.Completions.New(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != 3 || got.Model != "reference" {
		t.Fatalf("got %+v", got)
	}
	var output int64
	for i, ch := range got.Choices {
		thinking := ch.Message.JSON.ExtraFields["reasoning_content"].Raw()
		var reasoning string
		if err := json.Unmarshal([]byte(thinking), &reasoning); err != nil {
			t.Fatalf("reasoning_content %q: %v", thinking, err)
		}
		if ch.Index != int64(i) || ch.Message.Content != "1692" || ch.FinishReason != "stop" || !strings.Contains(reasoning, "7*6=42") {
			t.Errorf("choice %d is %+v with the reasoning %q", i, ch, reasoning)
		}
		output += int64(CountTokens(ch.Message.Content) + CountTokens(reasoning))
	}
	if u := got.Usage; u.CompletionTokens != output || u.PromptTokens != 1+3+1+9 || u.TotalTokens != u.PromptTokens+u.CompletionTokens ||
		u.CompletionTokensDetails.ReasoningTokens != output-12 {
		t.Errorf("usage is %s, of %d tokens", u.RawJSON(), output)
	}
	page, err := c.Models.List(context.Background())
	if err != nil || len(page.Data) != 1 || page.Data[0].ID != "reference" {
		t.Errorf("models are %+v, %v", page, err)
	}
	if m, err := c.Models.Get(context.Background(), "reference"); err != nil || m.ID != "reference" {
		t.Errorf("model is %+v, %v", m, err)
	}
	resp, err := http.Get(s.URL + "/healthz")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("healthz: %v, %v", resp, err)
	}
	resp.Body.Close()
}

func TestRealClientReadsAStream(t *testing.T) {
	for _, where := range []string{ReasoningContent, ReasoningThink} {
		s := serve(t, Config{Reasoning: where})
		c := client(t, s)
		p := ask(product)
		p.Seed, p.Temperature = oai.Int(5), oai.Float(0)
		whole, err := c.Chat.Completions.New(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		p.StreamOptions = oai.ChatCompletionStreamOptionsParam{IncludeUsage: oai.Bool(true)}
		stream := c.Chat.Completions.NewStreaming(context.Background(), p)
		acc := oai.ChatCompletionAccumulator{}
		events := 0
		for stream.Next() {
			if !acc.AddChunk(stream.Current()) {
				t.Fatalf("chunk %s does not fit", stream.Current().RawJSON())
			}
			events++
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if len(acc.Choices) != 1 || acc.Choices[0].Message.Content != whole.Choices[0].Message.Content || acc.Choices[0].FinishReason != "stop" {
			t.Errorf("%s: streamed %+v, whole %+v", where, acc.Choices, whole.Choices)
		}
		if acc.Usage.CompletionTokens != whole.Usage.CompletionTokens || whole.Usage.CompletionTokens == 0 || events < 5 {
			t.Errorf("%s: streamed usage %+v in %d events, whole %+v", where, acc.Usage, events, whole.Usage)
		}
		reasoning, answer := openai.SplitThink(whole.Choices[0].Message.Content)
		if answer != "1692" || (where == ReasoningThink) != strings.HasPrefix(reasoning, "47*6:") {
			t.Errorf("%s: content is %q", where, whole.Choices[0].Message.Content)
		}
		p.StreamOptions = oai.ChatCompletionStreamOptionsParam{}
		stream = c.Chat.Completions.NewStreaming(context.Background(), p)
		for stream.Next() {
			if chunk := stream.Current(); chunk.JSON.Usage.Valid() || len(chunk.Choices) == 0 {
				t.Errorf("%s: usage was not asked for: %s", where, chunk.RawJSON())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRealClientSeesErrors(t *testing.T) {
	s := serve(t, Config{Keys: []string{"other", "sk-secret-k"}})
	good := client(t, s, option.WithAPIKey("sk-secret-k"))
	if _, err := good.Chat.Completions.New(context.Background(), ask(product)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		key    string
		change func(*oai.ChatCompletionNewParams)
		status int
		param  string
		code   string
	}{
		{"wrong key", "sk-secret", func(*oai.ChatCompletionNewParams) {}, 401, "", "invalid_api_key"},
		{"wrong model", "sk-secret-k", func(p *oai.ChatCompletionNewParams) { p.Model = "gpt" }, 404, "model", "model_not_found"},
		{"too hot", "sk-secret-k", func(p *oai.ChatCompletionNewParams) { p.Temperature = oai.Float(2.5) }, 400, "temperature", ""},
		{"no tokens", "sk-secret-k", func(p *oai.ChatCompletionNewParams) { p.MaxTokens = oai.Int(0) }, 400, "max_tokens", ""},
		{"too many", "sk-secret-k", func(p *oai.ChatCompletionNewParams) { p.N = oai.Int(1000) }, 400, "n", ""},
		{"no user", "sk-secret-k", func(p *oai.ChatCompletionNewParams) { p.Messages = p.Messages[:1] }, 400, "messages", ""},
		{"no nucleus", "sk-secret-k", func(p *oai.ChatCompletionNewParams) { p.TopP = oai.Float(0) }, 400, "top_p", ""},
	} {
		p := ask(product)
		c.change(&p)
		cl := client(t, s, option.WithAPIKey(c.key))
		_, err := cl.Chat.Completions.New(context.Background(), p)
		var api *oai.Error
		if !errors.As(err, &api) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if api.StatusCode != c.status || api.Param != c.param || api.Code != c.code || api.Message == "" {
			t.Errorf("%s: %d param %q code %q %q", c.name, api.StatusCode, api.Param, api.Code, api.Message)
		}
		if strings.Contains(api.Message, "sk-secret") {
			t.Errorf("%s: the message shows a key: %s", c.name, api.Message)
		}
	}
	if _, err := (func() (*oai.Model, error) { return good.Models.Get(context.Background(), "gpt") })(); err == nil {
		t.Error("an unknown model has a card")
	}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/chat/completions", "", 405}, {"POST", "/v1/completions", "{}", 404}, {"POST", "/v1/chat/completions", "{", 400},
		{"POST", "/v1/chat/completions", `{"model":"reference","messages":[{"role":"robot","content":"x"}]}`, 400},
		{"POST", "/v1/chat/completions", `{"model":"reference","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`, 400},
		{"POST", "/v1/chat/completions", `{"model":"reference","messages":[{"role":"user","content":"x"}],"stop":["a","b","c","d","e"]}`, 400},
	} {
		req, _ := http.NewRequest(c.method, s.URL+c.path, strings.NewReader(c.body))
		req.Header.Set("Authorization", "Bearer other")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var env openai.ErrorEnvelope
		if err := json.Unmarshal(raw, &env); err != nil || resp.StatusCode != c.status || env.Error.Message == "" {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, resp.StatusCode, raw)
		}
	}
}

// content asks once and returns reasoning and content.
func content(t *testing.T, s *Server, b string) string {
	t.Helper()
	resp, raw, err := post(t, s, b)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s %v", resp.StatusCode, raw, err)
	}
	a, _, _, err := openai.ParseResponse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return a.Reasoning + "\n→ " + a.Content
}

func TestSeededAnswersAreAPureFunctionOfTheRequest(t *testing.T) {
	one, two, other := serve(t, Config{Seed: 3}), serve(t, Config{Seed: 3}), serve(t, Config{Seed: 4})
	f := mustFamily(t, "countdown", task.Params{})
	rng := rand.New(rand.NewPCG(1, 1))
	differ := map[string]int{}
	for range 40 {
		prompt := f.Generate(rng).Prompt
		want := content(t, one, body(prompt, `,"seed":7`))
		for range 2 {
			if got := content(t, two, body(prompt, `,"seed":7,"temperature":1,"user":"someone else"`)); got != want {
				t.Fatalf("%s: the same request got\n%s\nand\n%s", prompt, want, got)
			}
		}
		for name, got := range map[string]string{
			"teacher": content(t, other, body(prompt, `,"seed":7`)),
			"seed":    content(t, one, body(prompt, `,"seed":8`)),
			"limit":   content(t, one, body(prompt, `,"seed":7,"max_tokens":500`)),
			"no seed": content(t, one, body(prompt, ``)),
			"again":   content(t, one, body(prompt, ``)),
		} {
			if got != want {
				differ[name]++
			}
		}
		_, raw, _ := post(t, one, body(prompt, `,"seed":7,"n":2`))
		var both openai.ChatResponse
		if err := json.Unmarshal(raw, &both); err != nil || len(both.Choices) != 2 {
			t.Fatalf("%s, %v", raw, err)
		}
		if *both.Choices[0].Message.ReasoningContent != *both.Choices[1].Message.ReasoningContent {
			differ["choice"]++
		}
		cold := content(t, one, body(prompt, `,"temperature":0`))
		if got := content(t, other, body(prompt, `,"temperature":0,"seed":9`)); got != cold {
			t.Errorf("%s: at temperature 0 it is\n%s\nand\n%s", prompt, cold, got)
		}
	}
	for _, name := range []string{"teacher", "seed", "limit", "no seed", "again", "choice"} {
		if differ[name] < 15 {
			t.Errorf("another %s changed %d of 40 answers", name, differ[name])
		}
	}
}

func TestLengthLimitCutsTheAnswerAndTheBill(t *testing.T) {
	s := serve(t, Config{})
	for _, field := range []string{"max_tokens", "max_completion_tokens"} {
		_, raw, err := post(t, s, body(product, `,"temperature":0,"`+field+`":10`))
		if err != nil {
			t.Fatal(err)
		}
		a, u, _, err := openai.ParseResponse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if a.FinishReason != "length" || a.Reasoning != "47*6:\n7*6=" || a.Content != "" || u.Output != 10 || u.Reasoning != 10 {
			t.Errorf("%s: %+v, %+v", field, a, u)
		}
	}
	_, raw, _ := post(t, s, body(product, `,"temperature":0,"stop":["9","2"]`))
	if a, _, _, err := openai.ParseResponse(raw); err != nil || a.Content != "16" || a.FinishReason != "stop" {
		t.Errorf("stopped: %+v, %v", a, err)
	}
}

func TestOtherPromptsAreAnsweredBriefly(t *testing.T) {
	s := serve(t, Config{})
	if got := content(t, s, body("Who are you?", "")); got != "\n→ "+unknown {
		t.Errorf("got %q", got)
	}
	long := content(t, s, body(strings.Repeat("What is 2*3? ", 10000), ""))
	if !strings.HasSuffix(long, unknown) {
		t.Errorf("got %q", long)
	}
}

// heldFile is a bill whose syncs wait until they are let go.
type heldFile struct {
	mu      sync.Mutex
	data    bytes.Buffer
	syncs   int
	arrived chan struct{} // one element for each sync that waits
	release chan struct{} // closed to let all go
}

func (f *heldFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data.Write(p)
}

func (f *heldFile) Sync() error {
	f.mu.Lock()
	f.syncs++
	f.mu.Unlock()
	f.arrived <- struct{}{}
	<-f.release
	return nil
}

func (f *heldFile) Close() error { return nil }

// await returns when a sync has begun, and fails the test where none does.
func (f *heldFile) await(t *testing.T) {
	t.Helper()
	select {
	case <-f.arrived:
	case <-time.After(30 * time.Second):
		t.Fatal("the bill is not synced")
	}
}

func TestNoByteOfAReplyComesBeforeTheBillIsSynced(t *testing.T) {
	for _, more := range []string{"", `,"stream":true`} {
		file := &heldFile{arrived: make(chan struct{}, 16), release: make(chan struct{})}
		teacher, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		teacher.bill = newBill(file)
		s := start(t, teacher)
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b := body(product, more)
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s: a1\r\nContent-Length: %d\r\n\r\n%s", AttemptHeader, len(b), b)
		file.await(t) // the line is written, its sync hangs
		if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v, while the bill was not yet synced", n, err)
		}
		close(file.release)
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(raw, []byte("HTTP/1.1 200")) {
			t.Errorf("reply is %q, %v", raw, err)
		}
		file.mu.Lock()
		if got := file.data.String(); !strings.Contains(got, `"attempt":"a1"`) || strings.Count(got, "\n") != 1 {
			t.Errorf("bill is %q", got)
		}
		file.mu.Unlock()
	}
}

func TestRequestsThatWaitTogetherShareASync(t *testing.T) {
	const n = 8
	file := &heldFile{arrived: make(chan struct{}, n), release: make(chan struct{})}
	b := newBill(file)
	var wg sync.WaitGroup
	add := func(i int) {
		defer wg.Done()
		if err := b.add(BillLine{Attempt: fmt.Sprint(i)}); err != nil {
			t.Error(err)
		}
	}
	wg.Add(n)
	go add(0)
	file.await(t) // the first sync hangs; the others gather meanwhile
	for i := 1; i < n; i++ {
		go add(i)
	}
	for {
		b.mu.Lock()
		all := b.added == n
		b.mu.Unlock()
		if all {
			break
		}
	}
	close(file.release)
	wg.Wait()
	if file.syncs != 2 || strings.Count(file.data.String(), "\n") != n {
		t.Errorf("%d lines took %d syncs:\n%s", n, file.syncs, file.data.String())
	}
}

type brokenFile struct{ heldFile }

func (f *brokenFile) Sync() error { return errors.New("disk full") }

func TestWithoutABillThereIsNoAnswer(t *testing.T) {
	teacher, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	teacher.bill = newBill(&brokenFile{})
	s := start(t, teacher)
	for range 2 {
		resp, raw, _ := post(t, s, body(product, ""))
		if resp.StatusCode != 500 || !bytes.Contains(raw, []byte("disk full")) || bytes.Contains(raw, []byte("1692")) {
			t.Errorf("%d %s", resp.StatusCode, raw)
		}
	}
}

func TestBillSaysWhatClientsAreTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bill.jsonl")
	// A crash left half a line.
	if err := os.WriteFile(path, []byte(`{"attempt":"old","cost_pico":5,"status":200}`+"\n"+`{"attempt":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	if lines, err := ReadBill(path); err != nil || len(lines) != 1 {
		t.Fatalf("torn bill: %v, %v", lines, err)
	}
	cfg := Config{BillPath: path}
	s := serve(t, cfg)
	var wg sync.WaitGroup
	told := make([]exchange.Usage, 20)
	for i := range told {
		wg.Go(func() {
			_, raw, err := post(t, s, body(product, ""), AttemptHeader, fmt.Sprint(i))
			if err != nil {
				t.Error(err)
			}
			if _, told[i], _, err = openai.ParseResponse(raw); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if resp, _, _ := post(t, s, `{}`); resp.StatusCode != 400 {
		t.Errorf("an empty request got %d", resp.StatusCode)
	}
	lines, err := ReadBill(path)
	if err != nil || len(lines) != 21 || lines[0].Attempt != "old" {
		t.Fatalf("bill: %+v, %v", lines, err)
	}
	price := cfg.Prices()
	for _, l := range lines[1:] {
		var i int
		if _, err := fmt.Sscan(l.Attempt, &i); err != nil {
			t.Fatal(err)
		}
		u := told[i]
		if l.Usage.Input != u.Input || l.Usage.Output != u.Output || l.Usage.Reasoning != u.Reasoning || l.Cost != price.Cost(u) || l.Cost == 0 || l.Status != 200 || l.Model != "reference" || l.Time == 0 {
			t.Errorf("billed %+v, told %+v", l, u)
		}
	}
	if price.Free() || price.Input%1000 == 0 || price.Output%1000 == 0 {
		t.Errorf("price %+v is zero or round", price)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBill(path); err == nil || !strings.Contains(err.Error(), "bill.jsonl:2") {
		t.Errorf("damaged bill: %v", err)
	}
}

func TestLimitChangesWithTime(t *testing.T) {
	teacher, err := New(Config{RPS: 50, Slowdown: Slowdown{After: "20s", For: "10s"}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Unix(1000, 0)
	teacher.limiter = newLimiter(&teacher.cfg, teacher.delays, begin)
	accepted := func(from, to time.Duration) (n int) {
		for at := from; at < to; at += time.Millisecond {
			if teacher.limiter.take(begin.Add(at)).ok {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		from, to time.Duration
		want     int
	}{
		{0, time.Second, 99}, // a full bucket and a second's worth
		{time.Second, 11 * time.Second, 500},
		{11 * time.Second, 20 * time.Second, 450},
		{20 * time.Second, 30 * time.Second, 250},
		{30 * time.Second, 40 * time.Second, 500},
	} {
		if n := accepted(c.from, c.to); n < c.want-1 || n > c.want+1 {
			t.Errorf("from %v to %v %d requests are accepted, want %d", c.from, c.to, n, c.want)
		}
	}
	now := begin.Add(time.Hour)
	teacher.now = func() time.Time { return now }
	s := start(t, teacher)
	var resp *http.Response
	for range 51 {
		resp, _, _ = post(t, s, body("x", ""))
		if resp.Header.Get("X-Ratelimit-Limit-Requests") != "50" {
			t.Fatalf("headers are %v", resp.Header)
		}
	}
	h := resp.Header
	if resp.StatusCode != 429 || h.Get("Retry-After") != "1" || h.Get("Retry-After-Ms") != "20" || h.Get("X-Ratelimit-Remaining-Requests") != "0" || h.Get("X-Ratelimit-Reset-Requests") != "1s" {
		t.Errorf("request 51 gets %d, %v", resp.StatusCode, h)
	}
	now = now.Add(20 * time.Millisecond)
	if resp, _, _ = post(t, s, body("x", "")); resp.StatusCode != 200 {
		t.Errorf("after Retry-After-Ms it gets %d", resp.StatusCode)
	}
	if c := teacher.Counts(); c["answered"] != 51 || c["limited"] != 1 {
		t.Errorf("counts are %v", c)
	}
}

func TestServerEndsCleanly(t *testing.T) {
	teacher, err := New(Config{Faults: Faults{Stall: 1, StallFor: "1h"}, BillPath: filepath.Join(t.TempDir(), "bill")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := teacher.Start(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := serveAt(s.URL); err == nil {
		t.Error("a port in use was served a second time")
	}
	resp, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(body(product, `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	cancel() // while the answer stalls, which ends the stall
	raw, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.HasSuffix(raw, []byte("data: [DONE]\n\n")) {
		t.Errorf("the answer that was under way ends with %q, %v", raw[max(0, len(raw)-60):], err)
	}
	resp.Body.Close()
	<-s.Done()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func serveAt(url string) (*Server, error) {
	t, err := New(Config{})
	if err != nil {
		return nil, err
	}
	return t.Start(context.Background(), strings.TrimPrefix(url, "http://"))
}

func TestOnlyLoopbackIsServedWithoutAKey(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "nonsense"} {
		teacher, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := teacher.Start(context.Background(), addr); err == nil {
			t.Errorf("%s is served without a key", addr)
			_ = s.Close()
		}
	}
}

func TestConfigIsReadFromYAMLAndChecked(t *testing.T) {
	var c Config
	text := "seed: 3\nreasoning: think\nrps: 50\nslowdown: {after: 20s, for: 10s}\nfaults: {cut: 0.05, stall: 0.05, stall_for: 100ms}\n"
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil || c.Seed != 3 || c.Faults.Cut != 0.05 || c.Faults.StallFor != "100ms" || c.Slowdown.For != "10s" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []struct{ text, want string }{
		{"reasoning: tags", "reasoning"}, {"keys: [a, '']", "keys[1]"}, {"rps: -1", "rps"}, {"rps: .nan", "rps"},
		{"faults: {cut: 1.5}", "faults.cut"}, {"faults: {cut: 0.6, stall: 0.6}", "add up"}, {"faults: {burst: soon}", "faults.burst"},
		{"faults: {slow_for: -1s}", "faults.slow_for"}, {"slowdown: {for: 10s}", "rps"}, {"rps: 5\nslowdown: {after: 10s}", "slowdown.for"},
		{"rps: 5\nslowdown: {for: 1s, factor: -1}", "slowdown.factor"},
	} {
		var c Config
		if err := yaml.UnmarshalWithOptions([]byte(bad.text), &c, yaml.Strict()); err != nil {
			t.Errorf("%s: %v", bad.text, err)
			continue
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v does not name %s", bad.text, err, bad.want)
		}
		if _, err := New(c); err == nil {
			t.Errorf("%s makes a teacher", bad.text)
		}
	}
	var unknown Config
	if err := yaml.UnmarshalWithOptions([]byte("faults: {cuts: 1}"), &unknown, yaml.Strict()); err == nil {
		t.Error("an unknown fault was accepted")
	}
}

func TestEndpointNamesWhatDecidesTheAnswers(t *testing.T) {
	same := Config{}.Endpoint()
	for _, c := range []Config{
		{Reasoning: ReasoningContent}, {Model: "other"}, {RPS: 5}, {Keys: []string{"k"}}, {BillPath: "b"}, {Faults: Faults{Cut: 1}},
	} {
		if c.Endpoint() != same {
			t.Errorf("%+v is another teacher: %s", c, c.Endpoint())
		}
	}
	for _, c := range []Config{{Seed: 1}, {Reasoning: ReasoningThink}} {
		if c.Endpoint() == same {
			t.Errorf("%+v is the same teacher", c)
		}
	}
	if !strings.HasPrefix(same, "reference:") || len(same) != len("reference:")+16 {
		t.Errorf("endpoint is %q", same)
	}
}
