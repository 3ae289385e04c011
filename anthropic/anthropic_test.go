package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
		"request": {new(Request), `{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h","x":1}}],
			"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"u"}},{"type":"text","text":"hi <b>"}],"z":1},
			{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"sig"},{"type":"redacted_thinking","data":"d"},{"type":"tool_use","id":"t","name":"f","input":{"a":[1.50]},"caller":{"type":"direct"}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"5"}],"is_error":false}]}],
			"tools":[{"name":"f","input_schema":{"type":"object"},"eager_input_streaming":true}],"tool_choice":{"type":"tool","name":"f","q":1},
			"thinking":{"type":"enabled","budget_tokens":1024,"display":"omitted"},"output_config":{"format":{"type":"json_schema","schema":{"type":"object"},"k":1},"effort":"low","w":2},
			"metadata":{"user_id":"u"},"cache_control":{"type":"ephemeral"},"Model":"other"}`},
		"response": {new(Response), `{"id":"i","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"","citations":null}],"stop_reason":"end_turn","stop_sequence":null,
			"stop_details":null,"usage":{"input_tokens":1,"cache_creation_input_tokens":2,"cache_read_input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":0,"more":1},"output_tokens":4,"service_tier":"standard"}}`},
		"null usage":   {new(Response), `{"id":"i","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":"many"}}`},
		"start":        {new(Event), `{"type":"message_start","message":{"id":"i","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":1}},"new":true}`},
		"delta":        {new(Event), `{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"a":1}}}`},
		"end":          {new(Event), `{"type":"message_delta","delta":{"stop_reason":"end_turn","container":null},"usage":{"output_tokens":7,"server_tool_use":{"web_search_requests":1}}}`},
		"error":        {new(ErrorEnvelope), `{"type":"error","error":{"type":"overloaded_error","message":"busy","details":{}},"request_id":"req_1"}`},
		"models":       {new(ModelList), `{"data":[{"id":"m","type":"model","display_name":"M","created_at":"2025-01-01T00:00:00Z","max_tokens":9}],"has_more":false,"first_id":"m","last_id":null,"k":0}`},
		"unknown type": {new(Event), `{"type":"weather","index":3,"rain":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := json.Unmarshal([]byte(c.in), c.to); err != nil {
				t.Fatal(err)
			}
			out, err := json.Marshal(c.to)
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
			dropNulls(want)
			dropNulls(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("round trip changed it (-in +out):\n%s", d)
			}
		})
	}
}

// dropNulls removes members that are null, which the wire takes for absent.
func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
			}
			dropNulls(e)
		}
	case []any:
		for _, e := range v {
			dropNulls(e)
		}
	}
}

// whole and streamed are one answer: thinking, text in two blocks and two
// calls, one of them without arguments.
const whole = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-x-1","content":[
	{"type":"thinking","thinking":"2+2 is 4","signature":"c2ln"},{"type":"redacted_thinking","data":"AAAA"},
	{"type":"text","text":"vier \ud83d\ude00"},{"type":"thinking","thinking":"now call","signature":"c2ln"},{"type":"text","text":" und "},
	{"type":"tool_use","id":"toolu_1","name":"add","input":{"a": 2,"b":2.50}},{"type":"tool_use","id":"toolu_2","name":"now","input":{}}],
	"stop_reason":"tool_use","stop_sequence":null,
	"usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3},"output_tokens":42,"output_tokens_details":{"thinking_tokens":8}}}`

const streamed = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x-1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3},"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"2+2 "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"is 4"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"AAAA"}}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"vier \ud83d\ude00"}}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"thinking_delta","thinking":"now call"}}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"text","text":" und "}}

event: content_block_start
data: {"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"toolu_1","name":"add","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"{\"a\": 2,"}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"\"b\":2.50}"}}

event: content_block_start
data: {"type":"content_block_start","index":6,"content_block":{"type":"tool_use","id":"toolu_2","name":"now","input":{}}}

event: weather
data: {"type":"weather","rain":true}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":42,"output_tokens_details":{"thinking_tokens":8}}}

event: message_stop
data: {"type":"message_stop"}

`

var wantAnswer = exchange.Answer{
	Reasoning: "2+2 is 4\n\nnow call", Content: "vier \U0001F600 und ", FinishReason: "tool_calls",
	ToolCalls: []exchange.ToolCall{{ID: "toolu_1", Name: "add", Arguments: `{"a": 2,"b":2.50}`}, {ID: "toolu_2", Name: "now", Arguments: "{}"}},
}

var wantUsage = exchange.Usage{Source: exchange.UsageReported, Input: 117, CachedInput: 100, CacheWrite: 4, CacheWriteLong: 3, Output: 42, Reasoning: 8}

func TestAnAnswerIsTheSameWholeAndStreamedWhereverItIsSplit(t *testing.T) {
	want := func(how string, a exchange.Answer, u exchange.Usage, m Meta, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if d := cmp.Diff(wantAnswer, a); d != "" {
			t.Errorf("%s: answer (-want +got):\n%s", how, d)
		}
		if d := cmp.Diff(wantUsage, u); d != "" {
			t.Errorf("%s: usage (-want +got):\n%s", how, d)
		}
		if m.ID != "msg_1" || m.Model != "claude-x-1" || m.StopReason != "tool_use" || m.NoUsage != "" {
			t.Errorf("%s: meta %+v", how, m)
		}
	}
	a, u, m, err := Parse("application/json", []byte(whole))
	want("whole", a, u, m, err)
	for name, text := range map[string]string{"LF": streamed, "CRLF": strings.ReplaceAll(streamed, "\n", "\r\n")} {
		a, u, m, err := Parse("text/event-stream; charset=utf-8", []byte(text))
		want(name, a, u, m, err)
		if !m.Streamed || !m.Done {
			t.Errorf("%s: meta %+v", name, m)
		}
	}
	for at := 0; at < len(streamed); at += 3 {
		s := NewStream()
		for _, piece := range []string{streamed[:at], streamed[at:]} {
			if err := s.Feed([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		err := s.Flush()
		a, u, m := s.Result()
		want(fmt.Sprintf("split at %d", at), a, u, m, err)
	}
}

func TestReasoningLeftInTheTextIsTakenOut(t *testing.T) {
	for text, want := range map[string]exchange.Answer{"<think>hm</think>a": {Reasoning: "hm", Content: "a"}, "a <think>": {Content: "a <think>"}} {
		a, _, _, err := Parse("", []byte(fmt.Sprintf(`{"type":"message","content":[{"type":"text","text":%q}]}`, text)))
		if d := cmp.Diff(want, a); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, d)
		}
	}
}

func TestHowStreamsEnd(t *testing.T) {
	start := `event: message_start` + "\n" + `data: {"type":"message_start","message":{"id":"i","model":"m","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}` + "\n\n"
	text := "event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}` + "\n\n"
	end := "event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}` + "\n\n"
	stop := "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	for name, c := range map[string]struct {
		in      string
		content string
		usage   bool
		want    error
	}{
		"in good order":          {start + text + end + stop, "hi", true, nil},
		"without its last event": {start + text + end, "hi", true, nil},
		"without a last newline": {start + text + strings.TrimSuffix(end, "\n"), "hi", true, nil},
		"cut in the answer":      {start + text, "hi", false, ErrCut},
		"cut in an event":        {start + text + end[:60], "hi", false, ErrCut},
		"before anything":        {"", "", false, ErrCut},
		"only a ping":            {"event: ping\ndata: {\"type\":\"ping\"}\n\n", "", false, ErrCut},
		"no usage at the end":    {start + text + "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n" + stop, "hi", false, nil},
		"not JSON":               {start + "data: {\"type\":\n\n" + end + stop, "", false, ErrMalformed},
		"more after the end":     {start + text + end + stop + text, "hi", true, nil},
		"without event names":    {strings.NewReplacer("event: message_start\n", "", "event: content_block_delta\n", "", "event: message_delta\n", "", "event: message_stop\n", "").Replace(start + text + end + stop), "hi", true, nil},
		"a hostile count":        {start + text + strings.Replace(end, ":5}", ":-5}", 1) + stop, "hi", false, nil},
	} {
		a, u, m, err := Parse("text/event-stream", []byte(c.in))
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if a.Content != c.content || (u.Source == exchange.UsageReported) != c.usage || c.usage != (m.NoUsage == "") && err == nil {
			t.Errorf("%s: %+v, %+v, %+v", name, a, u, m)
		}
		if c.usage && (u.Input != 3 || u.Output != 5) {
			t.Errorf("%s: usage %+v", name, u)
		}
	}
}

func TestErrorsAreReadWhereverTheyCome(t *testing.T) {
	envelope := `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_9"}`
	var e *APIError
	_, u, m, err := Parse("text/event-stream", []byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\nevent: error\ndata: "+envelope+"\n\n"))
	if !errors.As(err, &e) || e.Type != ErrOverloaded || e.RequestID != "req_9" || e.Status != 0 || u.Source != exchange.UsageMissing || m.ID != "i" {
		t.Errorf("in a stream: %v, %+v", err, u)
	}
	if _, _, _, err = Parse("application/json", []byte(envelope)); !errors.As(err, &e) || e.Message != "Overloaded" {
		t.Errorf("with status 200: %v", err)
	}
	for body, want := range map[string]string{
		envelope:                         "529 Overloaded (overloaded_error): Overloaded",
		`{"error":"no"}`:                 "529 Overloaded: no",
		`{"message":"no"}`:               "529 Overloaded: no",
		"<html>\x00Bad\n gateway</html>": "529 Overloaded: <html> Bad gateway</html>",
	} {
		if got := ParseError(529, []byte(body)).Error(); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func TestStopReasonsHaveTheChatWiresNames(t *testing.T) {
	for in, want := range map[string]string{"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter",
		"model_context_window_exceeded": "length", "pause_turn": "pause_turn", "": ""} {
		if got := FinishReason(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestRequestOnTheWire(t *testing.T) {
	r := exchange.Request{
		Model: "m", MaxTokens: 50,
		Messages: []exchange.Message{
			{Role: "system", Content: "be brief"}, {Role: "developer", Content: "be kind"},
			{Role: "user", Content: "2+2 < 5?"}, {Role: "assistant", Content: "let me see", Reasoning: "hidden", ToolCalls: []exchange.ToolCall{{ID: "a", Name: "add", Arguments: `{"x":2}`}, {ID: "b", Name: "now", Arguments: "{}"}}},
			{Role: "tool", Content: "4", ToolCallID: "a", Name: "add"}, {Role: "tool", Content: "noon", ToolCallID: "b"}, {Role: "user", Content: "so?"}, {Role: "system", Content: "answer"},
		},
		Params: []byte(`{"temperature":0,"stop":"END","top_k":3,"reasoning_effort":"low","parallel_tool_calls":false,"tool_choice":"required",
			"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}},
			"tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"now"}},{"name":"own","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}]}`),
	}
	got, err := EncodeRequest(r, RequestOptions{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"max_tokens":50,"messages":[{"role":"user","content":"2+2 < 5?"},` +
		`{"role":"assistant","content":[{"type":"text","text":"let me see"},{"type":"tool_use","id":"a","name":"add","input":{"x":2}},{"type":"tool_use","id":"b","name":"now","input":{}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"4"},{"type":"tool_result","tool_use_id":"b","content":"noon"}]},` +
		`{"role":"user","content":"so?"},{"role":"system","content":"answer"}],"model":"m",` +
		`"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}},"stop_sequences":["END"],"stream":true,"system":"be brief\n\nbe kind","temperature":0,` +
		`"tool_choice":{"type":"any","disable_parallel_tool_use":true},` +
		`"tools":[{"name":"add","description":"adds","input_schema":{"type":"object"},"strict":true},{"name":"now","input_schema":{"type":"object","properties":{}}},{"name":"own","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],"top_k":3}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestToolChoicesAreTranslated(t *testing.T) {
	for in, want := range map[string]string{
		`{}`: ``, `{"parallel_tool_calls":true}`: ``, `{"parallel_tool_calls":false}`: `{"type":"auto","disable_parallel_tool_use":true}`,
		`{"tool_choice":"none"}`: `{"type":"none"}`, `{"tool_choice":"auto"}`: `{"type":"auto"}`, `{"tool_choice":null}`: ``,
		`{"tool_choice":{"type":"function","function":{"name":"f"}}}`: `{"type":"tool","name":"f"}`,
		`{"tool_choice":{"type":"any","x":1}}`:                        `{"type":"any","x":1}`,
	} {
		raw, err := EncodeRequest(exchange.Request{Model: "m", MaxTokens: 1, Messages: []exchange.Message{{Role: "user"}}, Params: []byte(in)}, RequestOptions{})
		var got struct {
			ToolChoice json.RawMessage `json:"tool_choice"`
		}
		if err != nil || json.Unmarshal(raw, &got) != nil || string(got.ToolChoice) != want {
			t.Errorf("%s: %s, %v, want %s", in, got.ToolChoice, err, want)
		}
	}
}

func TestWhatTheWireCannotSayIsRefused(t *testing.T) {
	ask := func(change func(*exchange.Request)) error {
		r := exchange.Request{Model: "m", MaxTokens: 2000, Messages: []exchange.Message{{Role: "user", Content: "hi"}}}
		change(&r)
		_, err := EncodeRequest(r, RequestOptions{})
		return err
	}
	if err := ask(func(r *exchange.Request) { r.Params = []byte(`{"thinking":{"type":"enabled","budget_tokens":1999}}`) }); err != nil {
		t.Errorf("a budget below max_tokens: %v", err)
	}
	for word, change := range map[string]func(*exchange.Request){
		"max_tokens bounds": func(r *exchange.Request) { r.Params = []byte(`{"thinking":{"type":"enabled","budget_tokens":2000}}`) },
		"frequency_penalty": func(r *exchange.Request) { r.Params = []byte(`{"frequency_penalty":1}`) },
		"set elsewhere":     func(r *exchange.Request) { r.Params = []byte(`{"max_tokens":1}`) },
		"json_object":       func(r *exchange.Request) { r.Params = []byte(`{"response_format":{"type":"json_object"}}`) },
		"billed by the call": func(r *exchange.Request) {
			r.Params = []byte(`{"tools":[{"type":"web_search_20250305","name":"web_search"}]}`)
		},
		"second time": func(r *exchange.Request) {
			r.Params = []byte(`{"reasoning_effort":"low","output_config":{"effort":"high"}}`)
		},
		"not a JSON object":   func(r *exchange.Request) { r.Messages[0].ToolCalls = []exchange.ToolCall{{Name: "f", Arguments: "{"}} },
		"names of":            func(r *exchange.Request) { r.Messages[0].Name = "ann" },
		"nothing but":         func(r *exchange.Request) { r.Messages[0].Role = "system" },
		"at least 1":          func(r *exchange.Request) { r.MaxTokens = 0 },
		"appears twice":       func(r *exchange.Request) { r.Params = []byte(`{"top_k":1,"top_k":2}`) },
		"lacks its schema":    func(r *exchange.Request) { r.Params = []byte(`{"response_format":{"type":"json_schema"}}`) },
		"neither a text":      func(r *exchange.Request) { r.Params = []byte(`{"stop":5}`) },
		"both stop and":       func(r *exchange.Request) { r.Params = []byte(`{"stop":"a","stop_sequences":["b"]}`) },
		"lacks a model":       func(r *exchange.Request) { r.Model = "" },
		"parameters are not":  func(r *exchange.Request) { r.Params = []byte(`[]`) },
		"tools[0].function":   func(r *exchange.Request) { r.Params = []byte(`{"tools":[{"type":"function","function":{"name":5}}]}`) },
		"parallel_tool_calls": func(r *exchange.Request) { r.Params = []byte(`{"parallel_tool_calls":"no"}`) },
	} {
		if err := ask(change); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("want an error that says %q, got %v", word, err)
		}
	}
}

func TestAServersRequestsAreChecked(t *testing.T) {
	read := func(version, body string) (*Request, *APIError) {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(body))
		if version != "" {
			r.Header.Set(VersionHeader, version)
		}
		return ReadRequest(httptest.NewRecorder(), r, 300)
	}
	good := `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`
	if req, bad := read(Version, good); bad != nil || req.Messages[0].Content.String() != "hi" {
		t.Errorf("%+v, %v", req, bad)
	}
	for body, want := range map[string]string{
		`{"model":"m","messages":[{"role":"user","content":"hi"}]}`:                "max_tokens: field required",
		`{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"hi"}]}`: "less than 1",
		`{"model":"m","max_tokens":5,"messages":[]}`:                               "at least one message",
		`{"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`:             "model: field required",
		`{"model":"m","max_tokens":5,"messages":[{"role":"user","content":5}]}`:    "neither a string nor a list",
		`{"model":"m",`: "not valid",
		`{"model":"` + strings.Repeat("m", 300) + `"}`:                                                                 "too large",
		good[:len(good)-1] + `,"thinking":{"type":"enabled","budget_tokens":5}}`:                                       "at least 1024",
		strings.Replace(good, ":5", ":1024", 1)[:len(good)+2] + `,"thinking":{"type":"enabled","budget_tokens":1024}}`: "greater than",
	} {
		if _, bad := read(Version, body); bad == nil || !strings.Contains(bad.Message, want) || bad.Status < 400 || bad.Type != TypeOf(bad.Status) {
			t.Errorf("%s: %v, want %q", body, bad, want)
		}
	}
	for _, version := range []string{"", "2020-01-01"} {
		if _, bad := read(version, good); bad == nil || !strings.Contains(bad.Message, VersionHeader) {
			t.Errorf("version %q: %v", version, bad)
		}
	}
	for _, field := range []string{`"temperature":1`, `"top_p":1`, `"top_k":5`} {
		body := good[:len(good)-1] + "," + field + "}"
		if _, bad := read(Version, body); bad == nil || bad.Status != 400 || !strings.Contains(bad.Message, "not permitted") {
			t.Errorf("%s under the newer version: %v", field, bad)
		}
		if _, bad := read(VersionSampling, body); bad != nil || VersionOf([]byte(body)) != VersionSampling {
			t.Errorf("%s under the older version: %v", field, bad)
		}
	}
	if got := VersionOf([]byte(good)); got != Version {
		t.Errorf("version %s", got)
	}
}

func TestWhatAServerSendsIsReadBack(t *testing.T) {
	rec := httptest.NewRecorder()
	out := NewStreamWriter(rec)
	stop, text, zero := "max_tokens", "hi", 0
	u := exchange.Usage{Source: exchange.UsageReported, Input: 9, CachedInput: 2, CacheWrite: 3, CacheWriteLong: 1, Output: 4, Reasoning: 1}
	block := TextBlock("")
	for _, e := range []Event{
		{Type: EventMessageStart, Message: &Response{ID: "i", Type: "message", Role: "assistant", Model: "m", Content: []Block{}, Usage: UsageOf(u)}},
		{Type: EventPing}, {Type: EventBlockStart, Index: &zero, ContentBlock: &block},
		{Type: EventBlockDelta, Index: &zero, Delta: &Delta{Type: DeltaText, Text: &text}}, {Type: EventBlockStop, Index: &zero},
		{Type: EventMessageDelta, Delta: &Delta{StopReason: &stop}, Usage: UsageOf(u)}, {Type: EventMessageStop},
	} {
		if err := out.Send(e); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(rec.Body.String(), "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n") {
		t.Errorf("sent %s", rec.Body.String())
	}
	a, got, m, err := Parse(rec.Header().Get("Content-Type"), rec.Body.Bytes())
	if err != nil || a.Content != "hi" || a.FinishReason != "length" || !m.Done {
		t.Errorf("%+v, %+v, %v", a, m, err)
	}
	if d := cmp.Diff(u, got); d != "" {
		t.Errorf("usage (-want +got):\n%s", d)
	}
	rec = httptest.NewRecorder()
	rec.Header().Set(RequestIDHeader, "req_7")
	if err := WriteError(rec, &APIError{Status: 529, Type: ErrOverloaded, Message: "busy"}); err != nil {
		t.Fatal(err)
	}
	if e := ParseError(rec.Code, rec.Body.Bytes()); e.RequestID != "req_7" || e.Type != ErrOverloaded || e.Message != "busy" || rec.Code != 529 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	rec = httptest.NewRecorder()
	if err := NewStreamWriter(rec).Error(&APIError{Type: ErrAPI, Message: "oops"}); err != nil {
		t.Fatal(err)
	}
	var e *APIError
	if _, _, _, err := Parse("text/event-stream", rec.Body.Bytes()); !errors.As(err, &e) || e.Type != ErrAPI {
		t.Errorf("%v from %s", err, rec.Body)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("text/event-stream", []byte(streamed))
	f.Add("application/json", []byte(whole))
	f.Add("", []byte(`{"type":"error","error":{}}`))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		_, u, m, err := Parse(contentType, raw)
		if (u.Source == exchange.UsageReported) != (m.NoUsage == "") && err == nil {
			t.Errorf("usage %+v, %q", u, m.NoUsage)
		}
		if u.Input < 0 || u.Output < 0 || u.CachedInput+u.CacheWrite+u.CacheWriteLong > u.Input {
			t.Errorf("usage %+v", u)
		}
		ParseError(500, raw)
	})
}
