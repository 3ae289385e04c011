package openai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
)

func TestUnknownFieldsSurviveARoundTrip(t *testing.T) {
	for name, c := range map[string]struct {
		to any
		in string
	}{
		"request":  {new(ChatRequest), `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"hi"}],"x":1}],"stream_options":{"include_usage":true,"z":0},"tools":[{"type":"function"}],"Model":"other"}`},
		"response": {new(ChatResponse), `{"id":"i","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"annotations":[],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{","v":2},"w":3}]},"finish_reason":"stop","content_filter_results":{}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"cost":0.1},"service_tier":"default"}`},
		"chunk":    {new(ChatChunk), `{"id":"i","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"","obfuscation":"abc"},"finish_reason":null,"k":[1]}],"p":"q"}`},
		"error":    {new(ErrorEnvelope), `{"error":{"message":"no","type":"t","param":"","code":null,"hint":"h"},"request_id":"r"}`},
		"prompts":  {new(CompletionRequest), `{"model":"m","prompt":["a","b"],"max_tokens":0,"echo":true,"logprobs":0,"stop":["\n"],"suffix":"z"}`},
		"prompt":   {new(CompletionRequest), `{"model":"m","prompt":"a<b"}`},
		"ids":      {new(CompletionRequest), `{"model":"m","prompt":[1,2]}`},
		"lists":    {new(CompletionRequest), `{"model":"m","prompt":[[1,2],[3]]}`},
		"text":     {new(CompletionResponse), `{"id":"i","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"ab","logprobs":{"tokens":["a","b"],"token_logprobs":[null,-1.5],"top_logprobs":[null,{"b":-1.5}],"text_offset":[0,1],"x":1},"finish_reason":null,"stop_reason":7}],"y":[]}`},
		"models":   {new(ModelList), `{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"o","max_model_len":4096}],"more":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := json.Unmarshal([]byte(c.in), c.to); err != nil {
				t.Fatal(err)
			}
			out, err := Encode(c.to)
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			if err := json.Unmarshal([]byte(c.in), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("round trip changed it (-in +out):\n%s", d)
			}
		})
	}
}

func TestAFieldWithAnotherCaseIsAnotherField(t *testing.T) {
	var r ChatRequest
	if err := json.Unmarshal([]byte(`{"model":"m","MODEL":"evil","messages":[]}`), &r); err != nil || r.Model != "m" {
		t.Errorf("model is %q, %v", r.Model, err)
	}
}

// streamed is one answer in every variety of server-sent events that servers
// send, with the same meaning.
const streamed = ": keep-alive\n\nretry: 500\nevent: message\nid: 7\n" +
	"data: {\"id\":\"i\",\"model\":\"m-1\",\"system_fingerprint\":\"f\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"2+2 \"},\"finish_reason\":null}]}\n\n" +
	"data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"is 4\"},\"finish_reason\":null}]}\n\n" +
	"data: {\"choices\":[{\"index\":0,\n" +
	"data:\"delta\":{\"content\":\"vier \U0001F600\"},\"finish_reason\":null}],\"usage\":null}\n\n" +
	"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" +
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12,\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n" +
	"data: [DONE]\n\n"

func wantStreamed(t *testing.T, how string, a exchange.Answer, u exchange.Usage, m Meta) {
	t.Helper()
	if d := cmp.Diff(exchange.Answer{Reasoning: "2+2 is 4", Content: "vier \U0001F600", FinishReason: "stop"}, a); d != "" {
		t.Errorf("%s: answer (-want +got):\n%s", how, d)
	}
	if d := cmp.Diff(exchange.Usage{Source: exchange.UsageReported, Input: 5, Output: 7, Reasoning: 3}, u); d != "" {
		t.Errorf("%s: usage (-want +got):\n%s", how, d)
	}
	if m.Model != "m-1" || m.ID != "i" || m.Fingerprint != "f" || !m.Done || !m.Streamed || m.Choices != 1 {
		t.Errorf("%s: meta %+v", how, m)
	}
}

func TestStreamIsReadWhateverItsLineEndsAndWhereverItIsSplit(t *testing.T) {
	for name, text := range map[string]string{
		"LF":   streamed,
		"CRLF": strings.ReplaceAll(streamed, "\n", "\r\n"),
		"CR":   strings.ReplaceAll(streamed, "\n", "\r"),
		"BOM":  "\xef\xbb\xbf" + streamed,
	} {
		a, u, m, err := ParseStream([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantStreamed(t, name, a, u, m)
		for at := range len(text) {
			s := NewStream()
			for _, piece := range []string{text[:at], text[at:]} {
				if err := s.Feed([]byte(piece)); err != nil {
					t.Fatalf("%s split at %d: %v", name, at, err)
				}
			}
			if err := s.Flush(); err != nil {
				t.Fatalf("%s split at %d: %v", name, at, err)
			}
			a, u, m := s.Result()
			wantStreamed(t, name, a, u, m)
		}
	}
}

func TestHowStreamsEnd(t *testing.T) {
	piece := `data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}` + "\n\n"
	stop := `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	usage := `data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}` + "\n\n"
	var api *APIError
	for name, c := range map[string]struct {
		in     string
		err    any // nil, error to match with Is, or target for As
		source exchange.UsageSource
		after  int
	}{
		"whole":                     {piece + stop + usage + "data: [DONE]\n\n", nil, exchange.UsageReported, 0},
		"usage never sent":          {piece + stop + "data: [DONE]\n\n", nil, exchange.UsageMissing, 0},
		"no DONE":                   {piece + stop, nil, exchange.UsageMissing, 0},
		"no last blank line":        {piece + stop + usage + "data: [DONE]", nil, exchange.UsageReported, 0},
		"cut before the finish":     {piece, ErrCut, exchange.UsageMissing, 0},
		"cut inside an event":       {piece + stop[:20], ErrCut, exchange.UsageMissing, 0},
		"cut inside the usage":      {piece + stop + usage[:30], nil, exchange.UsageMissing, 0},
		"nothing":                   {"", ErrCut, exchange.UsageMissing, 0},
		"only comments":             {": hi\n\n: ho\n\n", ErrCut, exchange.UsageMissing, 0},
		"data after DONE":           {piece + stop + usage + "data: [DONE]\n\n" + piece + "data: {nonsense\n\n", nil, exchange.UsageReported, 2},
		"error event":               {piece + `data: {"error":{"message":"overloaded","type":"server_error","code":503}}` + "\n\n", &api, exchange.UsageMissing, 0},
		"error event by name":       {piece + "event: error\ndata: {\"message\":\"overloaded\"}\n\n", &api, exchange.UsageMissing, 0},
		"error event with a string": {piece + `data: {"error":"overloaded"}` + "\n\n", &api, exchange.UsageMissing, 0},
		"broken JSON":               {piece + "data: {\"choices\":[\n\n" + stop, ErrMalformed, exchange.UsageMissing, 0},
		"usage that lies":           {piece + stop + strings.Replace(usage, "7", "-7", 1), nil, exchange.UsageMissing, 0},
		"usage that is text":        {piece + stop + `data: {"choices":[],"usage":"some"}` + "\n\n", nil, exchange.UsageMissing, 0},
		"usage without output":      {piece + stop + `data: {"choices":[],"usage":{"prompt_tokens":5}}` + "\n\n", nil, exchange.UsageMissing, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a, u, m, err := ParseStream([]byte(c.in))
			switch want := c.err.(type) {
			case nil:
				if err != nil {
					t.Error(err)
				}
			case **APIError:
				if !errors.As(err, want) || !strings.Contains(err.Error(), "overloaded") {
					t.Errorf("error is %v, want an APIError", err)
				}
			case error:
				if !errors.Is(err, want) {
					t.Errorf("error is %v, want %v", err, want)
				}
			}
			if c.in != "" && !strings.HasPrefix(c.in, ":") && a.Content != "hi" {
				t.Errorf("content %q: what came before the end is lost", a.Content)
			}
			if u.Source != c.source || m.AfterDone != c.after || (u.Source == exchange.UsageMissing) != (m.NoUsage != "") {
				t.Errorf("usage %+v, meta %+v", u, m)
			}
		})
	}
}

func TestReasoningIsFoundWhereverItIs(t *testing.T) {
	for name, c := range map[string]struct{ message, reasoning, content string }{
		"reasoning_content":            {`"content":"4","reasoning_content":"2+2"`, "2+2", "4"},
		"reasoning":                    {`"content":"4","reasoning":"2+2"`, "2+2", "4"},
		"both names":                   {`"content":"4","reasoning":"2+2","reasoning_content":"2+2"`, "2+2", "4"},
		"empty name, other filled":     {`"content":"4","reasoning":"2+2","reasoning_content":""`, "2+2", "4"},
		"tags":                         {`"content":"<think>\n2+2\n</think>\n\n4"`, "2+2", "4"},
		"tags after white space":       {`"content":"\n<think>2+2</think>4"`, "2+2", "4"},
		"empty tags":                   {`"content":"<think>\n\n</think>\n\n4"`, "", "4"},
		"empty tags beside field":      {`"content":"<think></think>4","reasoning_content":"2+2"`, "2+2", "4"},
		"never closed":                 {`"content":"<think>2+2 is"`, "2+2 is", ""},
		"opened in the prompt":         {`"content":"2+2</think>4"`, "2+2", "4"},
		"tags spoken of in the answer": {`"content":"Put it in <think> and </think>."`, "", "Put it in <think> and </think>."},
		"none":                         {`"content":" 4 "`, "", " 4 "},
		"null content":                 {`"content":null,"reasoning_content":"2+2"`, "2+2", ""},
		"parts":                        {`"content":[{"type":"text","text":"4"},{"type":"text","text":"2"}]`, "", "42"},
		"refusal":                      {`"content":null,"refusal":"no"`, "", "no"},
	} {
		a, _, _, err := ParseResponse([]byte(`{"choices":[{"index":0,"message":{"role":"assistant",` + c.message + `},"finish_reason":"stop"}]}`))
		if err != nil || a.Reasoning != c.reasoning || a.Content != c.content {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestToolCallsAreAssembledFromDeltas(t *testing.T) {
	event := func(calls string) string {
		return `data: {"choices":[{"index":0,"delta":{"tool_calls":[` + calls + `]},"finish_reason":null}]}` + "\n\n"
	}
	stop := `data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n"
	want := []exchange.ToolCall{{ID: "a", Name: "f", Arguments: `{"x":1}`}, {ID: "b", Name: "g", Arguments: `{}`}}
	for name, in := range map[string]string{
		"by index": event(`{"index":1,"id":"b","function":{"name":"g","arguments":""}},{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}`) +
			event(`{"index":0,"function":{"arguments":":1}"}}`) + event(`{"index":1,"function":{"arguments":"{}"}}`),
		"by id": event(`{"id":"a","function":{"name":"f","arguments":"{\"x\""}}`) + event(`{"function":{"arguments":":1}"}}`) +
			event(`{"id":"b","function":{"name":"g","arguments":"{}"}}`),
	} {
		a, _, _, err := ParseStream([]byte(in + stop))
		if d := cmp.Diff(want, a.ToolCalls); d != "" || err != nil || a.FinishReason != "tool_calls" {
			t.Errorf("%s: %v, finish %q (-want +got):\n%s", name, err, a.FinishReason, d)
		}
	}
}

func TestTheLowestOfSeveralAnswersIsTaken(t *testing.T) {
	in := `data: {"choices":[{"index":1,"delta":{"content":"one"},"finish_reason":"stop"}]}` + "\n\n" +
		`data: {"choices":[{"index":0,"delta":{"content":"zero"},"finish_reason":"length"}]}` + "\n\n"
	a, _, m, err := ParseStream([]byte(in))
	if err != nil || a.Content != "zero" || a.FinishReason != "length" || m.Choices != 2 {
		t.Errorf("%+v, %+v, %v", a, m, err)
	}
}

func TestParseGoesByWhatTheBodyIs(t *testing.T) {
	whole := `{"choices":[{"index":0,"message":{"role":"assistant","content":"vier \ud83d\ude00","reasoning_content":"2+2 is 4"},"finish_reason":"stop"}]}`
	for name, c := range map[string]struct{ typ, body string }{
		"stream":               {"text/event-stream; charset=utf-8", streamed},
		"stream called JSON":   {"application/json", streamed},
		"JSON":                 {"application/json", whole},
		"JSON called a stream": {"text/event-stream", whole},
		"no type":              {"", whole},
	} {
		a, _, _, err := Parse(c.typ, []byte(c.body))
		if err != nil || a.Content != "vier \U0001F600" || a.Reasoning != "2+2 is 4" {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for _, body := range []string{"", "<html>busy</html>", `{"choices":[]}`, `{"choices":`, `[]`, `{"choices":{"a":1}}`} {
		if a, _, _, err := Parse("application/json", []byte(body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q parsed as %+v, %v", body, a, err)
		}
	}
	var api *APIError
	if _, _, _, err := Parse("application/json", []byte(`{"error":{"message":"busy","code":429}}`)); !errors.As(err, &api) || api.Code != "429" {
		t.Errorf("an error with status 200 parsed as %v", err)
	}
}

func TestErrorsOfManyServersAreRead(t *testing.T) {
	for body, want := range map[string]APIError{
		`{"error":{"message":"bad key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`: {Status: 401, Type: "invalid_request_error", Code: "invalid_api_key", Message: "bad key"},
		`{"error":"bad key"}`: {Status: 401, Message: "bad key"},
		`{"object":"error","message":"bad key","type":"T","code":1}`: {Status: 401, Type: "T", Code: "1", Message: "bad key"},
		`{"detail":"bad key"}`:               {Status: 401, Message: `"bad key"`},
		"<html>\n <b>bad</b>\x00 key</html>": {Status: 401, Message: "<html> <b>bad</b> key</html>"},
		"":                                   {Status: 401},
		strings.Repeat("é", 300):             {Status: 401, Message: strings.Repeat("é", 199) + "…"},
	} {
		if d := cmp.Diff(&want, ParseError(401, []byte(body))); d != "" {
			t.Errorf("%.40q (-want +got):\n%s", body, d)
		}
	}
}

func TestServedStreamsAndErrorsAreRead(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, bad := ReadChatRequest(w, r, 1000)
		if bad != nil {
			WriteAPIError(w, bad)
			return
		}
		s := NewStreamWriter(w)
		s.Comment("hello")
		text := "<think>a&b</think>" + req.Messages[0].Content.String()
		s.Send(ChatChunk{Model: req.Model, Choices: []ChunkChoice{{Delta: Delta{Role: "assistant", Content: &text}}}})
		stop := "stop"
		s.Send(ChatChunk{Choices: []ChunkChoice{{FinishReason: &stop}}})
		s.Send(ChatChunk{Choices: []ChunkChoice{}, Usage: &Usage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3}})
		s.Done()
	}))
	defer srv.Close()
	post := func(body string) (*http.Response, []byte) {
		resp, err := http.Post(srv.URL, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, b
	}
	resp, body := post(`{"model":"m","messages":[{"role":"user","content":"yes"}]}`)
	a, u, m, err := Parse(resp.Header.Get("Content-Type"), body)
	if err != nil || a.Reasoning != "a&b" || a.Content != "yes" || u.Output != 2 || !m.Done {
		t.Errorf("%+v %+v %+v %v from %s", a, u, m, err, body)
	}
	if strings.Contains(string(body), `\u0026`) {
		t.Errorf("text is escaped for HTML: %s", body)
	}
	for in, status := range map[string]int{
		`{`:                              400,
		`{"model":"m","model":"n"}`:      400,
		`{"messages":[{"role":"user"}]}`: 400,
		`{"model":"m","messages":[]}`:    400,
		`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}`: 400,
		`{"model":"m","messages":[{"role":"user","content":"x"}],"n":0}`:          400,
		`{"model":"m","messages":[{"role":"user","content":3}]}`:                  400,
		strings.Repeat(" ", 1001): 413,
	} {
		resp, body := post(in)
		e := ParseError(resp.StatusCode, body)
		if e.Status != status || e.Type != "invalid_request_error" || e.Message == "" {
			t.Errorf("%.60q gave %+v", in, e)
		}
	}
}

func TestCompletionRequestsAreChecked(t *testing.T) {
	for in, want := range map[string]struct{ param, says string }{
		`{"model":"m","prompt":"x"}`:                                 {},
		`{"model":"m","prompt":"x","max_tokens":0}`:                  {},
		`{"model":"m","prompt":[3,4],"n":2,"logprobs":5}`:            {},
		`{"prompt":"x"}`:                                             {"model", "model"},
		`{"model":"m"}`:                                              {"prompt", "list of token ids"},
		`{"model":"m","prompt":null}`:                                {"prompt", "list of token ids"},
		`{"model":"m","prompt":[]}`:                                  {"", "empty list"},
		`{"model":"m","prompt":{}}`:                                  {"", "neither a string nor a list"},
		`{"model":"m","prompt":["a",1]}`:                             {"", "list of strings"},
		`{"model":"m","prompt":["a",null]}`:                          {"", "list of strings"},
		`{"model":"m","prompt":[1,"a"]}`:                             {"", "token ids"},
		`{"model":"m","prompt":[null]}`:                              {"", "token ids"},
		`{"model":"m","prompt":[1.5]}`:                               {"", "token ids"},
		`{"model":"m","prompt":[[1],null]}`:                          {"", "list of lists"},
		`{"model":"m","prompt":[[1],[null]]}`:                        {"", "prompt[1]"},
		`{"model":"m","prompt":"x","max_tokens":-1}`:                 {"max_tokens", "at least 0"},
		`{"model":"m","prompt":"x","n":129}`:                         {"n", "128"},
		`{"model":"m","prompt":"x","logprobs":6}`:                    {"logprobs", "between 0 and 5"},
		`{"model":"m","prompt":"x","logprobs":true}`:                 {"", "logprobs"},
		`{"model":"m","prompt":"` + strings.Repeat("x", 1000) + `"}`: {"", "1000 bytes"},
	} {
		r := httptest.NewRequest("POST", "/v1/completions", strings.NewReader(in))
		req, bad := ReadCompletionRequest(httptest.NewRecorder(), r, 1000)
		switch {
		case want.says == "" && (bad != nil || req == nil):
			t.Errorf("%s was refused: %v", in, bad)
		case want.says != "" && (bad == nil || bad.Param != want.param || !strings.Contains(bad.Message, want.says)):
			t.Errorf("%.60s gave %+v, want %q in it", in, bad, want.says)
		}
	}
}

func TestRequestOnTheWire(t *testing.T) {
	r := exchange.Request{
		Model: "m", MaxTokens: 9, Params: json.RawMessage(`{"temperature":0.5,"top_k":4}`),
		Messages: []exchange.Message{{Role: "user", Content: "a<b"}, {Role: "assistant", Content: "c", Reasoning: "d"}},
	}
	key, err := r.Key()
	if err != nil {
		t.Fatal(err)
	}
	body, err := EncodeRequest(r, key, RequestOptions{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	var back ChatRequest
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	n, _ := back.OutputLimit()
	if back.Model != "m" || n != 9 || *back.Temperature != 0.5 || string(back.Extra["top_k"]) != "4" || !back.Stream ||
		!back.StreamOptions.IncludeUsage || *back.Seed != key.Seed() || back.Messages[0].Content.String() != "a<b" || *back.Messages[1].ReasoningContent != "d" {
		t.Errorf("%s", body)
	}
	r.Seed = exchange.SeedNone
	body, err = EncodeRequest(r, key, RequestOptions{TokensField: "max_completion_tokens"})
	if err != nil || strings.Contains(string(body), "seed") || strings.Contains(string(body), "stream") || !strings.Contains(string(body), `"max_completion_tokens":9`) {
		t.Errorf("%s, %v", body, err)
	}
	for name, bad := range map[string]func(*exchange.Request){
		"a parameter that is owned":  func(r *exchange.Request) { r.Params = json.RawMessage(`{"n":2}`) },
		"parameters that are a list": func(r *exchange.Request) { r.Params = json.RawMessage(`[1]`) },
		"no bound":                   func(r *exchange.Request) { r.MaxTokens = 0 },
		"no messages":                func(r *exchange.Request) { r.Messages = nil },
	} {
		r := r
		bad(&r)
		if body, err := EncodeRequest(r, key, RequestOptions{}); err == nil {
			t.Errorf("%s: %s", name, body)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("text/event-stream", []byte(streamed), 10)
	f.Add("application/json", []byte(`{"choices":[{"message":{"content":[{"type":"text"}],"tool_calls":[{}]}}],"usage":{"prompt_tokens":1e3}}`), 3)
	f.Add("", []byte("data: {\"choices\":[null],\"error\":{}}\r\n\rdata\n\n"), 1)
	f.Fuzz(func(t *testing.T, typ string, raw []byte, at int) {
		a, u, _, err := Parse(typ, raw)
		if u.Input < 0 || u.Output < 0 || u.CachedInput > u.Input {
			t.Fatalf("usage %+v", u)
		}
		ParseError(500, raw)
		// A stream means the same wherever it is split.
		at = min(max(at, 0), len(raw))
		whole, _, _, werr := ParseStream(raw)
		s := NewStream()
		serr := s.Feed(raw[:at])
		if serr == nil {
			serr = s.Feed(raw[at:])
		}
		if serr == nil {
			serr = s.Flush()
		}
		if got, _, _ := s.Result(); !cmp.Equal(got, whole) || (serr == nil) != (werr == nil) {
			t.Fatalf("split at %d: %+v, %v; whole: %+v, %v", at, got, serr, whole, werr)
		}
		_, _ = a, err
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"x","y":1}],"stop":"a","n":1}`))
	f.Add([]byte(`{"model":"m","prompt":[[1,2],[]],"logprobs":3}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if Check(raw) != nil {
			return
		}
		for _, make := range []func() any{func() any { return new(ChatRequest) }, func() any { return new(ChatResponse) }, func() any { return new(ChatChunk) },
			func() any { return new(CompletionRequest) }, func() any { return new(CompletionResponse) }} {
			v := make()
			if json.Unmarshal(raw, v) != nil {
				continue
			}
			out, err := Encode(v)
			if err != nil {
				t.Fatalf("%s does not encode: %v", raw, err)
			}
			w := make()
			if err := json.Unmarshal(out, w); err != nil {
				t.Fatalf("%s became %s: %v", raw, out, err)
			}
			again, err := Encode(w)
			if err != nil || !slices.Equal(out, again) {
				t.Fatalf("%s became %s, then %s, %v", raw, out, again, err)
			}
		}
	})
}
