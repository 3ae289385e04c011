package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	client "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// dial serves e over HTTP and returns the OpenAI project's own client for it.
func dial(t *testing.T, e *Engine, key string) (client.Client, *httptest.Server) {
	t.Helper()
	srv := httptest.NewServer(e.Handler())
	t.Cleanup(srv.Close)
	return client.NewClient(option.WithBaseURL(srv.URL+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0), option.WithHTTPClient(srv.Client())), srv
}

func chatParams(text string) client.ChatCompletionNewParams {
	return client.ChatCompletionNewParams{Model: "student", Messages: []client.ChatCompletionMessageParamUnion{client.UserMessage(text)}}
}

// sums says what the model of these tests says.
func sums(string) string { return "<think>3+4=7\n4+4=8</think>The answer is 7." }

func TestTheRealClientGetsAnAnswer(t *testing.T) {
	c, _ := dial(t, scripted(t, &script{say: sums}, Options{}), "")
	p := chatParams("What is 3+4?")
	p.N = client.Int(2)
	got, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != 2 {
		t.Fatalf("%d choices, want 2", len(got.Choices))
	}
	said := int64(len(vocabulary().Encode(sums(""))) + 1)
	for i, choice := range got.Choices {
		reasoning := choice.Message.JSON.ExtraFields["reasoning_content"].Raw()
		if choice.Index != int64(i) || choice.Message.Content != "The answer is 7." || reasoning != `"3+4=7\n4+4=8"` || choice.FinishReason != "stop" || choice.Message.Role != "assistant" {
			t.Errorf("choice %d is %+v, reasoning %s", i, choice, reasoning)
		}
	}
	if got.Usage.CompletionTokens != 2*said || got.Usage.TotalTokens != got.Usage.PromptTokens+2*said || got.Usage.CompletionTokensDetails.ReasoningTokens == 0 {
		t.Errorf("usage is %+v, want %d output tokens", got.Usage, 2*said)
	}
	if got.Model != "student" || got.ID == "" || got.Created == 0 {
		t.Errorf("response is %+v", got)
	}
}

func TestTheRealClientStreams(t *testing.T) {
	c, _ := dial(t, scripted(t, &script{say: sums}, Options{}), "")
	p := chatParams("What is 3+4?")
	p.N = client.Int(2)
	p.StreamOptions = client.ChatCompletionStreamOptionsParam{IncludeUsage: client.Bool(true)}
	stream := c.Chat.Completions.NewStreaming(t.Context(), p)
	var content, reasoning, finish [2]string
	var pieces int
	var usage client.CompletionUsage
	for stream.Next() {
		chunk := stream.Current()
		if chunk.Usage.TotalTokens > 0 {
			usage = chunk.Usage
			if len(chunk.Choices) != 0 {
				t.Error("the chunk with the usage has choices")
			}
		}
		for _, ch := range chunk.Choices {
			content[ch.Index] += ch.Delta.Content
			if raw := ch.Delta.JSON.ExtraFields["reasoning_content"].Raw(); raw != "" {
				var s string
				if err := json.Unmarshal([]byte(raw), &s); err != nil {
					t.Fatal(err)
				}
				reasoning[ch.Index] += s
				pieces++
			}
			finish[ch.Index] += ch.FinishReason
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if content[i] != "The answer is 7." || reasoning[i] != "3+4=7\n4+4=8" || finish[i] != "stop" {
			t.Errorf("choice %d: %q, reasoning %q, finish %q", i, content[i], reasoning[i], finish[i])
		}
	}
	if pieces < 8 {
		t.Errorf("the reasoning came in %d pieces: it is not streamed", pieces)
	}
	if said := int64(len(vocabulary().Encode(sums(""))) + 1); usage.CompletionTokens != 2*said {
		t.Errorf("usage is %+v, want %d output tokens", usage, 2*said)
	}
}

func TestStreamedAndWholeAnswersAreTheSame(t *testing.T) {
	c, _ := dial(t, engine(t, Options{Slots: 3}), "")
	for _, temperature := range []float64{0, 1} {
		p := chatParams("What is 3+4?")
		p.Temperature, p.Seed, p.MaxTokens = client.Float(temperature), client.Int(5), client.Int(30)
		whole, err := c.Chat.Completions.New(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if finish, n := whole.Choices[0].FinishReason, whole.Usage.CompletionTokens; n > 30 || (finish == "length") != (n == 30) {
			t.Errorf("finish %q after %d of at most 30 tokens", finish, n)
		}
		var content string
		stream := c.Chat.Completions.NewStreaming(t.Context(), p)
		for stream.Next() {
			for _, ch := range stream.Current().Choices {
				content += ch.Delta.Content
			}
		}
		if stream.Err() != nil || content != whole.Choices[0].Message.Content {
			t.Errorf("temperature %v: streamed %q (%v), whole %q", temperature, content, stream.Err(), whole.Choices[0].Message.Content)
		}
	}
}

func TestStopStringsAndInlineReasoning(t *testing.T) {
	c, _ := dial(t, scripted(t, &script{say: sums}, Options{}), "")
	p := chatParams("What is 3+4?")
	p.Stop = client.ChatCompletionNewParamsStopUnion{OfStringArray: []string{" is", "4"}}
	got, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil || got.Choices[0].Message.Content != "The answer" || got.Choices[0].FinishReason != "stop" {
		t.Errorf("stopped at %+v, %v", got, err)
	}
	c, _ = dial(t, scripted(t, &script{say: sums}, Options{InlineReasoning: true}), "")
	got, err = c.Chat.Completions.New(t.Context(), chatParams("What is 3+4?"))
	if err != nil || got.Choices[0].Message.Content != sums("") {
		t.Errorf("inline came %+v, %v", got, err)
	}
}

func TestLogprobsAreThoseOfTheTokens(t *testing.T) {
	c, _ := dial(t, engine(t, Options{}), "")
	p := chatParams("What is 3+4?")
	p.Temperature, p.MaxTokens, p.Logprobs, p.TopLogprobs = client.Float(0), client.Int(6), client.Bool(true), client.Int(3)
	got, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	entries := got.Choices[0].Logprobs.Content
	if len(entries) != 6 {
		t.Fatalf("%d entries, want 6", len(entries))
	}
	for i, e := range entries {
		if len(e.TopLogprobs) != 3 || e.TopLogprobs[0].Logprob != e.Logprob || e.Logprob >= 0 || e.TopLogprobs[1].Logprob > e.Logprob {
			t.Errorf("entry %d of a greedy answer is %+v", i, e)
		}
	}
	stream := c.Chat.Completions.NewStreaming(t.Context(), p)
	n := 0
	for stream.Next() {
		for _, ch := range stream.Current().Choices {
			n += len(ch.Logprobs.Content)
		}
	}
	if n != 6 || stream.Err() != nil {
		t.Errorf("%d entries streamed, want 6 (%v)", n, stream.Err())
	}
}

func TestTheRealClientUnderstandsErrors(t *testing.T) {
	e := scripted(t, &script{say: sums}, Options{APIKeys: []string{"right", "also right"}, MaxContext: 60, MaxBody: 2000})
	for name, c := range map[string]struct {
		key    string
		change func(*client.ChatCompletionNewParams)
		status int
		code   string
		says   string
	}{
		"no key":        {"", func(*client.ChatCompletionNewParams) {}, 401, "invalid_api_key", "Authorization"},
		"wrong key":     {"wrong", func(*client.ChatCompletionNewParams) {}, 401, "invalid_api_key", "wrong"},
		"unknown model": {"right", func(p *client.ChatCompletionNewParams) { p.Model = "gpt-5" }, 404, "model_not_found", "gpt-5"},
		"context": {"right", func(p *client.ChatCompletionNewParams) {
			p.Messages = []client.ChatCompletionMessageParamUnion{client.UserMessage(strings.Repeat("3", 100))}
		}, 400, "context_length_exceeded", "60 tokens"},
		"temperature": {"right", func(p *client.ChatCompletionNewParams) { p.Temperature = client.Float(-1) }, 400, "", "temperature"},
		"top_p":       {"right", func(p *client.ChatCompletionNewParams) { p.TopP = client.Float(1.5) }, 400, "", "top_p"},
		"tools": {"right", func(p *client.ChatCompletionNewParams) {
			p.Tools = []client.ChatCompletionToolUnionParam{client.ChatCompletionFunctionTool(client.FunctionDefinitionParam{Name: "f"})}
		}, 400, "", "tools"},
		"penalty": {"right", func(p *client.ChatCompletionNewParams) { p.PresencePenalty = client.Float(3) }, 400, "", "presence_penalty"},
		"body":    {"also right", func(p *client.ChatCompletionNewParams) { p.User = client.String(strings.Repeat("x", 3000)) }, 413, "", "2000 bytes"},
		"no tokens": {"right", func(p *client.ChatCompletionNewParams) {
			p.MaxTokens = client.Int(0)
		}, 400, "", "max_tokens"},
	} {
		for _, streamed := range []bool{false, true} {
			cl, _ := dial(t, e, c.key)
			p := chatParams("What is 3+4?")
			c.change(&p)
			var err error
			if streamed {
				s := cl.Chat.Completions.NewStreaming(t.Context(), p)
				for s.Next() {
				}
				err = s.Err()
			} else {
				_, err = cl.Chat.Completions.New(t.Context(), p)
			}
			var failed *client.Error
			if !errors.As(err, &failed) || failed.StatusCode != c.status || failed.Code != c.code || !strings.Contains(failed.Message, c.says) {
				t.Errorf("%s, streamed %v: %v, want %d %s and %q in it", name, streamed, err, c.status, c.code, c.says)
			}
		}
	}
}

func TestAFullQueueIsA429WithRetryAfter(t *testing.T) {
	pace := make(chan struct{})
	e := scripted(t, &script{pace: pace, say: sums}, Options{Slots: 1, Queue: 1})
	c, _ := dial(t, e, "")
	first := c.Chat.Completions.NewStreaming(t.Context(), chatParams("first"))
	if !first.Next() { // it has the slot
		t.Fatal(first.Err())
	}
	waiting := &job{ctx: t.Context(), prompts: [][]int32{{1}}, n: 1, maxTokens: 1, ready: make(chan struct{}, 1)}
	if err := e.submit(waiting, false); err != nil {
		t.Fatal(err)
	}
	ask := map[string]func() error{
		"chat": func() error {
			_, err := c.Chat.Completions.New(t.Context(), chatParams("third"))
			return err
		},
		"streamed": func() error {
			s := c.Chat.Completions.NewStreaming(t.Context(), chatParams("third"))
			for s.Next() {
			}
			return s.Err()
		},
		"completions": func() error {
			_, err := c.Completions.New(t.Context(), client.CompletionNewParams{Model: "student", Prompt: client.CompletionNewParamsPromptUnion{OfString: client.String("third")}})
			return err
		},
	}
	for name, third := range ask {
		err := third()
		var failed *client.Error
		if !errors.As(err, &failed) || failed.StatusCode != 429 || failed.Code != "queue_full" {
			t.Errorf("%s: error is %v, want 429", name, err)
			continue
		}
		if after, err := strconv.Atoi(failed.Response.Header.Get("Retry-After")); err != nil || after < 1 {
			t.Errorf("%s: Retry-After is %d (%v), want at least 1", name, after, err)
		}
	}
	close(pace)
	for first.Next() {
	}
	if first.Err() != nil {
		t.Error(first.Err())
	}
}

func TestAClientThatGoesAwayFreesItsSlot(t *testing.T) {
	pace := make(chan struct{}, 1)
	e := scripted(t, &script{pace: pace, say: func(prompt string) string {
		if strings.Contains(prompt, "forever") {
			return strings.Repeat("7", 400)
		}
		return "done"
	}}, Options{Slots: 1})
	c, _ := dial(t, e, "")
	ctx, cancel := context.WithCancel(t.Context())
	stream := c.Chat.Completions.NewStreaming(ctx, chatParams("forever"))
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	cancel()
	stream.Close()
	close(pace)
	if got, err := c.Chat.Completions.New(t.Context(), chatParams("next")); err != nil || got.Choices[0].Message.Content != "done" {
		t.Errorf("the next client: %+v, %v", got, err)
	}
}

func TestAFailureInMidStreamIsAnErrorEvent(t *testing.T) {
	c, _ := dial(t, scripted(t, &script{say: sums, fail: errors.New("the decoder broke"), failFrom: 3}, Options{}), "")
	stream := c.Chat.Completions.NewStreaming(t.Context(), chatParams("hello"))
	chunks := 0
	for stream.Next() {
		chunks++
	}
	if err := stream.Err(); chunks == 0 || err == nil || !strings.Contains(err.Error(), "the decoder broke") {
		t.Errorf("the stream ended after %d chunks with %v", chunks, err)
	}
}

func TestModelsAndHealth(t *testing.T) {
	e := scripted(t, &script{say: sums}, Options{Model: "sums-1", APIKeys: []string{"right"}})
	c, srv := dial(t, e, "right")
	list, err := c.Models.List(t.Context())
	if err != nil || len(list.Data) != 1 || list.Data[0].ID != "sums-1" {
		t.Errorf("models: %+v, %v", list, err)
	}
	one, err := c.Models.Get(t.Context(), "sums-1")
	if err != nil || one.ID != "sums-1" {
		t.Errorf("model: %+v, %v", one, err)
	}
	var failed *client.Error
	if _, err := c.Models.Get(t.Context(), "other"); !errors.As(err, &failed) || failed.StatusCode != 404 {
		t.Errorf("another model: %v", err)
	}
	for path, want := range map[string]int{"/health": 200, "/healthz": 200, "/v1/models": 401, "/metrics": 401, "/v1/completions": 405, "/nothing": 404, "/v1/chat/completions": 405} {
		resp, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Error  struct{ Message string }
			Status string
		}
		err = json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if resp.StatusCode != want || err != nil || want == 200 && body.Status != "ok" || want != 200 && body.Error.Message == "" {
			t.Errorf("%s: %d %+v, want %d", path, resp.StatusCode, body, want)
		}
	}
}

func TestServeEndsGracefully(t *testing.T) {
	pace := make(chan struct{})
	e := scripted(t, &script{pace: pace, say: sums}, Options{Slots: 1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, l) }()

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := client.NewClient(option.WithBaseURL("http://"+l.Addr().String()+"/v1"), option.WithAPIKey(""), option.WithMaxRetries(0), option.WithHTTPClient(&http.Client{Transport: transport}))
	stream := c.Chat.Completions.NewStreaming(t.Context(), chatParams("under way"))
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	stop()
	e.mu.Lock()
	for !e.draining {
		e.wake.Wait()
	}
	e.mu.Unlock()
	if _, err := e.Ask(t.Context(), question("late")); !errors.Is(err, errClosed) {
		t.Errorf("a late request: %v", err)
	}
	close(pace)
	content := ""
	for stream.Next() {
		for _, ch := range stream.Current().Choices {
			content += ch.Delta.Content
		}
	}
	if stream.Err() != nil || content != "The answer is 7." {
		t.Errorf("the answer under way came as %q, %v", content, stream.Err())
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
}

func TestBeyondLoopbackAKeyIsNeeded(t *testing.T) {
	outside := listener{addr: &net.TCPAddr{IP: net.IPv4zero, Port: 8080}}
	e := scripted(t, &script{say: sums}, Options{})
	if err := e.Serve(t.Context(), outside); !errors.Is(err, ErrNeedsKey) {
		t.Errorf("without a key: %v, want ErrNeedsKey", err)
	}
	e = scripted(t, &script{say: sums}, Options{APIKeys: []string{"k"}})
	if err := e.Serve(t.Context(), outside); errors.Is(err, ErrNeedsKey) || err == nil {
		t.Errorf("with a key: %v, want the listener's own error", err)
	}
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "0.0.0.0:1": false, "[::]:1": false, "192.0.2.1:1": false} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := loopback(a); got != want {
			t.Errorf("loopback(%s) = %v", addr, got)
		}
	}
}

// listener is at an address and accepts nobody.
type listener struct{ addr net.Addr }

func (l listener) Accept() (net.Conn, error) { return nil, errors.New("nobody comes") }
func (l listener) Close() error              { return nil }
func (l listener) Addr() net.Addr            { return l.addr }

func TestAStreamIsWellFormed(t *testing.T) {
	_, srv := dial(t, scripted(t, &script{say: func(string) string { return "7" }}, Options{}), "")
	resp, err := srv.Client().Post(srv.URL+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"student","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"3+4?"}]}],"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("content type is %q", got)
	}
	var events []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			events = append(events, data)
		} else if lines.Text() != "" {
			t.Errorf("line %q", lines.Text())
		}
	}
	if len(events) != 4 || events[3] != "[DONE]" || !strings.Contains(events[0], `"role":"assistant"`) || !strings.Contains(events[1], `"content":"7"`) ||
		!strings.Contains(events[2], `"finish_reason":"stop"`) || strings.Contains(strings.Join(events, ""), "usage") {
		t.Errorf("events are %q", events)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	c, srv := dial(t, engine(t, Options{Slots: 5, Queue: 100}), "")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			p := chatParams("What is 3+4?")
			p.MaxTokens = client.Int(int64(1 + i%7))
			switch i % 3 {
			case 0:
				if _, err := c.Chat.Completions.New(t.Context(), p); err != nil {
					t.Error(err)
				}
			case 1:
				s := c.Chat.Completions.NewStreaming(t.Context(), p)
				for s.Next() {
				}
				if s.Err() != nil {
					t.Error(s.Err())
				}
			default: // asks and hangs up
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 80\r\n\r\n"+
					`{"model":"student","messages":[{"role":"user","content":"hello"}],"stream":true}`)
				conn.Close()
			}
		})
	}
	wg.Wait()
}

// The prompt that a script is given holds everything that the client has the assistant
// begin with.
func TestAMessageIsContinued(t *testing.T) {
	var prompt string
	c, _ := dial(t, scripted(t, &script{say: func(p string) string {
		prompt = p
		return "+4=8</think>The answer is 8."
	}}, Options{}), "")
	ask := func(content string, more ...option.RequestOption) (*client.ChatCompletion, error) {
		p := client.ChatCompletionNewParams{Model: "student", Messages: []client.ChatCompletionMessageParamUnion{client.UserMessage("What is 4+4?"), client.AssistantMessage(content)}}
		return c.Chat.Completions.New(t.Context(), p, append([]option.RequestOption{option.WithJSONSet("continue_final_message", true), option.WithJSONSet("add_generation_prompt", false)}, more...)...)
	}
	got, err := ask("<think>4")
	if err != nil {
		t.Fatal(err)
	}
	if m := got.Choices[0].Message; m.Content != "The answer is 8." || m.JSON.ExtraFields["reasoning_content"].Raw() != `"+4=8"` || !strings.HasSuffix(prompt, "assistant\n<think>4") {
		t.Errorf("behind %q it said %+v", prompt, m)
	}
	if got, err = ask("So 4"); err != nil {
		t.Fatal(err)
	}
	if m := got.Choices[0].Message; !strings.HasPrefix(m.Content, "+4=8") || !strings.HasSuffix(prompt, "assistant\nSo 4") {
		t.Errorf("behind %q it said %+v", prompt, m)
	}
	var bad *client.Error
	if _, err := ask("x", option.WithJSONSet("add_generation_prompt", true)); !errors.As(err, &bad) || bad.StatusCode != 400 {
		t.Errorf("both at once: %v", err)
	}
	if _, err := ask("x", option.WithJSONSet("guided_regex", "a+")); !errors.As(err, &bad) || bad.StatusCode != 400 {
		t.Errorf("with a form: %v", err)
	}
}
