package openai

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

const responsesWhole = `{"id":"resp_1","object":"response","created_at":1741476777.5,"status":"completed","error":null,"incomplete_details":null,"model":"gpt-x-1","output":[
	{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"adding"},{"type":"summary_text","text":"checking"}],"encrypted_content":"xyz"},
	{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"vier \ud83d\ude00","annotations":[],"logprobs":[]},{"type":"output_text","text":"!","annotations":[]}]},
	{"type":"function_call","id":"fc_1","call_id":"call_1","name":"add","arguments":"{\"a\": 2","status":"completed"},
	{"type":"weather","rain":true}],
	"usage":{"input_tokens":30,"input_tokens_details":{"cached_tokens":10,"cache_write_tokens":8},"output_tokens":12,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":42},"service_tier":"default"}`

func responsesStreamed() string {
	events := []string{
		`{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1,"status":"in_progress","model":"gpt-x-1","output":[],"usage":null}}`,
		`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[]}}`,
		`{"type":"response.reasoning_summary_part.added","sequence_number":2,"output_index":0,"summary_index":0,"item_id":"rs_1","part":{"type":"summary_text","text":""}}`,
		`{"type":"response.reasoning_summary_text.delta","sequence_number":3,"output_index":0,"summary_index":0,"item_id":"rs_1","delta":"adding"}`,
		`{"type":"response.reasoning_summary_part.added","sequence_number":4,"output_index":0,"summary_index":1,"item_id":"rs_1","part":{"type":"summary_text","text":""}}`,
		`{"type":"response.reasoning_summary_text.delta","sequence_number":5,"output_index":0,"summary_index":1,"item_id":"rs_1","delta":"checking"}`,
		`{"type":"response.output_item.added","sequence_number":6,"output_index":1,"item":{"type":"message","id":"msg_1","role":"assistant","status":"in_progress","content":[]}}`,
		`{"type":"response.content_part.added","sequence_number":7,"output_index":1,"content_index":0,"item_id":"msg_1","part":{"type":"output_text","text":"","annotations":[]}}`,
		`{"type":"response.output_text.delta","sequence_number":8,"output_index":1,"content_index":0,"item_id":"msg_1","delta":"vier \ud83d","logprobs":[]}`,
		`{"type":"response.output_text.delta","sequence_number":9,"output_index":1,"content_index":1,"item_id":"msg_1","delta":"!"}`,
		`{"type":"response.output_item.added","sequence_number":10,"output_index":2,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"add","arguments":""}}`,
		`{"type":"response.function_call_arguments.delta","sequence_number":11,"output_index":2,"item_id":"fc_1","delta":"{\"a\":"}`,
		`{"type":"response.function_call_arguments.delta","sequence_number":12,"output_index":2,"item_id":"fc_1","delta":" 2"}`,
		`{"type":"response.mood.changed","sequence_number":13,"mood":"good"}`,
	}
	events[8] = strings.Replace(events[8], `vier \ud83d`, `vier \ud83d\ude00`, 1)
	var b strings.Builder
	for _, e := range events {
		var typ struct{ Type string }
		_ = json.Unmarshal([]byte(e), &typ)
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", typ.Type, e)
	}
	return b.String()
}

func responsesEnd(output bool) string {
	whole := strings.ReplaceAll(strings.ReplaceAll(responsesWhole, "\n", ""), "\t", "")
	if !output {
		var r map[string]any
		_ = json.Unmarshal([]byte(whole), &r)
		r["output"] = []any{}
		raw, _ := json.Marshal(r)
		whole = string(raw)
	}
	return `event: response.completed` + "\n" + `data: {"type":"response.completed","sequence_number":14,"response":` + whole + "}\n\n"
}

func TestAResponseIsTheSameWholeAndStreamedWhereverItIsSplit(t *testing.T) {
	want := func(how string, a exchange.Answer, u exchange.Usage, m Meta, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if d := cmp.Diff(exchange.Answer{Reasoning: "adding\n\nchecking", Content: "vier \U0001F600!", FinishReason: "tool_calls", ToolCalls: []exchange.ToolCall{{ID: "call_1", Name: "add", Arguments: `{"a": 2`}}}, a); d != "" {
			t.Errorf("%s: answer (-want +got):\n%s", how, d)
		}
		if d := cmp.Diff(exchange.Usage{Source: exchange.UsageReported, Input: 30, CachedInput: 10, CacheWrite: 8, Output: 12, Reasoning: 5}, u); d != "" {
			t.Errorf("%s: usage (-want +got):\n%s", how, d)
		}
		if m.ID != "resp_1" || m.Model != "gpt-x-1" || m.TotalTokens != 42 || m.NoUsage != "" {
			t.Errorf("%s: meta %+v", how, m)
		}
	}
	a, u, m, err := ParseResponses("application/json", []byte(responsesWhole))
	want("whole", a, u, m, err)
	for _, output := range []bool{true, false} { // some servers end a stream with an empty output
		text := responsesStreamed() + responsesEnd(output)
		a, u, m, err = ParseResponses("text/event-stream", []byte(text))
		want("streamed", a, u, m, err)
		if !m.Streamed || !m.Done {
			t.Errorf("meta %+v", m)
		}
		for at := 0; at < len(text); at += 7 {
			s := NewResponsesStream()
			for _, piece := range []string{text[:at], text[at:]} {
				if err := s.Feed([]byte(piece)); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Flush()
			a, u, m := s.Result()
			want(fmt.Sprintf("split at %d", at), a, u, m, err)
		}
	}
}

func TestHowResponsesEnd(t *testing.T) {
	body := func(status, more string) string {
		return `{"id":"r","object":"response","status":"` + status + `","model":"m","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}]` + more + `}`
	}
	usage := `,"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}`
	event := func(typ, response string) string {
		return "event: " + typ + "\ndata: {\"type\":\"" + typ + "\",\"response\":" + response + "}\n\n"
	}
	text := "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"hi\"}\n\n"
	for name, c := range map[string]struct {
		in, content, finish string
		usage               bool
		want                error // ErrCut, ErrMalformed, errAPI or nil
	}{
		"complete":                {body("completed", usage), "hi", "stop", true, nil},
		"too long":                {body("incomplete", usage+`,"incomplete_details":{"reason":"max_output_tokens"}`), "hi", "length", true, nil},
		"filtered":                {body("incomplete", usage+`,"incomplete_details":{"reason":"content_filter"}`), "hi", "content_filter", true, nil},
		"incomplete, no reason":   {body("incomplete", usage), "hi", "incomplete", true, nil},
		"without a status":        {strings.Replace(body("completed", usage), `"status":"completed",`, "", 1), "hi", "stop", true, nil},
		"failed":                  {body("failed", `,"error":{"code":"server_error","message":"oops"}`), "hi", "stop", false, errAPI},
		"failed, no error":        {body("failed", ""), "hi", "stop", false, errAPI},
		"cancelled":               {body("cancelled", ""), "hi", "stop", false, errAPI},
		"in the background":       {body("queued", ""), "hi", "stop", false, ErrMalformed},
		"no usage":                {body("completed", ""), "hi", "stop", false, nil},
		"null usage":              {body("completed", `,"usage":null`), "hi", "stop", false, nil},
		"hostile usage":           {body("completed", `,"usage":{"input_tokens":-1,"output_tokens":2}`), "hi", "stop", false, nil},
		"an error with 200":       {`{"error":{"message":"no","type":"t","code":"c"}}`, "", "", false, errAPI},
		"an error that is text":   {`{"error":"no"}`, "", "", false, errAPI},
		"no response":             {`{"id":"r"}`, "", "stop", false, ErrMalformed},
		"not JSON":                {`{"id":`, "", "", false, ErrMalformed},
		"streamed":                {text + event("response.completed", body("completed", usage)), "hi", "stop", true, nil},
		"streamed, [DONE]":        {text + event("response.completed", body("completed", usage)) + "data: [DONE]\n\n", "hi", "stop", true, nil},
		"streamed, too long":      {text + event("response.incomplete", body("incomplete", usage+`,"incomplete_details":{"reason":"max_output_tokens"}`)), "hi", "length", true, nil},
		"streamed, failed":        {text + event("response.failed", body("failed", `,"error":{"code":"rate_limit_exceeded","message":"slow"}`)), "hi", "stop", false, errAPI},
		"streamed, cut":           {text, "hi", "", false, ErrCut},
		"streamed, cut in an end": {text + event("response.completed", body("completed", usage))[:80], "hi", "", false, ErrCut},
		"streamed, an error":      {text + "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"oops\",\"param\":null}\n\n", "hi", "", false, errAPI},
		"streamed, not JSON":      {text + "data: {\"type\":\n\n", "hi", "", false, ErrMalformed},
		"streamed, no response":   {text + "data: {\"type\":\"response.completed\"}\n\n", "hi", "", false, ErrMalformed},
	} {
		a, u, m, err := ParseResponses("", []byte(c.in))
		var api *APIError
		switch {
		case c.want == errAPI && !errors.As(err, &api), c.want == nil && err != nil, c.want != nil && c.want != errAPI && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if a.Content != c.content || a.FinishReason != c.finish || (u.Source == exchange.UsageReported) != c.usage {
			t.Errorf("%s: %+v, %+v, %+v", name, a, u, m)
		}
	}
}

var errAPI = errors.New("what the provider said")

func TestReasoningAndRefusalsOfResponsesAreFound(t *testing.T) {
	for body, want := range map[string]exchange.Answer{
		`[{"type":"reasoning","summary":[{"type":"summary_text","text":"short"}],"content":[{"type":"reasoning_text","text":"long"}]},{"type":"message","content":[{"type":"output_text","text":"a"}]}]`: {Reasoning: "long", Content: "a"},
		`[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]`:                  {Content: "no"},
		`[{"type":"message","content":[{"type":"output_text","text":"<think>hm</think>a"}]}]`: {Reasoning: "hm", Content: "a"},
		`[{"type":"message","content":"a"}]`:                                                  {Content: "a"},
		`[]`:                                                                                  {},
	} {
		want.FinishReason = "stop"
		a, _, _, err := ParseResponses("", []byte(`{"object":"response","status":"completed","output":`+body+`}`))
		if d := cmp.Diff(want, a); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", body, err, d)
		}
	}
}

func TestResponsesKeepUnknownFields(t *testing.T) {
	for name, c := range map[string]struct {
		to any
		in string
	}{
		"request": {new(ResponsesRequest), `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"hi","x":1}]},{"type":"function_call_output","call_id":"c","output":"5","y":2}],"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true,"z":3}},"reasoning":{"effort":"low"},"tools":[{"type":"function","name":"f","parameters":{},"w":4}],"tool_choice":{"type":"function","name":"f"}}`},
		"result":  {new(ResponsesResult), strings.Replace(responsesWhole, "1741476777.5", "1741476777", 1)},
		"event":   {new(ResponsesEvent), `{"type":"response.output_text.delta","sequence_number":3,"output_index":0,"content_index":1,"item_id":"i","delta":"","logprobs":[],"obfuscation":"abc"}`},
	} {
		if err := json.Unmarshal([]byte(c.in), c.to); err != nil {
			t.Fatal(err)
		}
		out, err := Encode(c.to)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if json.Unmarshal([]byte(c.in), &want) != nil || json.Unmarshal(out, &got) != nil {
			t.Fatal(string(out))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: round trip changed it (-in +out):\n%s", name, d)
		}
	}
}

func TestResponsesRequestOnTheWire(t *testing.T) {
	r := exchange.Request{
		Model: "m", MaxTokens: 50,
		Messages: []exchange.Message{
			{Role: "system", Content: "be brief"}, {Role: "user", Content: "2+2 < 5?"},
			{Role: "assistant", Reasoning: "hidden", ToolCalls: []exchange.ToolCall{{ID: "a", Name: "add", Arguments: `{"x":2`}}}, {Role: "tool", Content: "<4>", ToolCallID: "a", Name: "add"},
		},
		Params: []byte(`{"temperature":0,"reasoning_effort":"low","verbosity":"low","reasoning":{"summary":"auto"},"parallel_tool_calls":false,
			"tool_choice":{"type":"function","function":{"name":"add"}},"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}},
			"tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object"},"strict":true}},{"type":"function","name":"own","parameters":{"type":"object"}}]}`),
	}
	got, err := EncodeResponses(r, RequestOptions{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"input":[{"role":"system","content":"be brief"},{"role":"user","content":"2+2 < 5?"},{"type":"function_call","call_id":"a","name":"add","arguments":"{\"x\":2"},` +
		`{"type":"function_call_output","call_id":"a","output":"<4>"}],"max_output_tokens":50,"model":"m","parallel_tool_calls":false,"reasoning":{"effort":"low","summary":"auto"},"store":false,"stream":true,"temperature":0,` +
		`"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true},"verbosity":"low"},"tool_choice":{"name":"add","type":"function"},` +
		`"tools":[{"type":"function","name":"add","parameters":{"type":"object"},"strict":true},{"type":"function","name":"own","parameters":{"type":"object"}}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for word, change := range map[string]func(*exchange.Request){
		"stop":                 func(r *exchange.Request) { r.Params = []byte(`{"stop":"x"}`) },
		"previous_response_id": func(r *exchange.Request) { r.Params = []byte(`{"previous_response_id":"resp_0"}`) },
		"set elsewhere":        func(r *exchange.Request) { r.Params = []byte(`{"max_output_tokens":5}`) },
		"billed by the call":   func(r *exchange.Request) { r.Params = []byte(`{"tools":[{"type":"web_search"}]}`) },
		"second time":          func(r *exchange.Request) { r.Params = []byte(`{"verbosity":"low","text":{"verbosity":"high"}}`) },
		"lacks its schema": func(r *exchange.Request) {
			r.Params = []byte(`{"response_format":{"type":"json_schema","json_schema":{"name":"n"}}}`)
		},
		"names of":   func(r *exchange.Request) { r.Messages[1].Name = "ann" },
		"at least 1": func(r *exchange.Request) { r.MaxTokens = 0 },
	} {
		r := exchange.Request{Model: "m", MaxTokens: 5, Messages: []exchange.Message{{Role: "system"}, {Role: "user"}}}
		change(&r)
		if _, err := EncodeResponses(r, RequestOptions{}); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("want an error that says %q, got %v", word, err)
		}
	}
}

func TestAChatRequestKeepsToolsAndLeavesOutWhatAProviderRefuses(t *testing.T) {
	r := exchange.Request{Model: "m", MaxTokens: 5, Messages: []exchange.Message{
		{Role: "user", Content: "hi", Name: "ann"}, {Role: "assistant", Reasoning: "hm", ToolCalls: []exchange.ToolCall{{ID: "c", Name: "f", Arguments: "{"}}},
		{Role: "tool", Content: "5", ToolCallID: "c"}, {Role: "assistant", Content: "five", Reasoning: "so"},
	}}
	for _, c := range []struct {
		opt  RequestOptions
		want string
	}{
		{RequestOptions{Stream: true, NoSeed: true, NoStreamOptions: true, NoReasoning: true, TokensField: "max_completion_tokens"},
			`{"max_completion_tokens":5,"messages":[{"role":"user","content":"hi","name":"ann"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{"}}]},` +
				`{"role":"tool","content":"5","tool_call_id":"c"},{"role":"assistant","content":"five"}],"model":"m","stream":true}`},
		{RequestOptions{NoSeed: true},
			`{"max_tokens":5,"messages":[{"role":"user","content":"hi","name":"ann"},{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{"}}]},` +
				`{"role":"tool","content":"5","tool_call_id":"c"},{"role":"assistant","content":"five","reasoning_content":"so"}],"model":"m"}`},
	} {
		got, err := EncodeRequest(r, exchange.Key{}, c.opt)
		if err != nil || string(got) != c.want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, c.want)
		}
	}
}

func TestAServersResponsesAreReadBack(t *testing.T) {
	read := func(body string) (*ResponsesRequest, *APIError) {
		return ReadResponsesRequest(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/responses", strings.NewReader(body)), 200)
	}
	if req, bad := read(`{"model":"m","input":"hi"}`); bad != nil || len(req.Input) != 1 || req.Input[0].Role != "user" || req.Input[0].Content.String() != "hi" {
		t.Errorf("%+v, %v", req, bad)
	}
	for body, want := range map[string]string{
		`{"input":"hi"}`: "model", `{"model":"m","input":[]}`: "at least one item", `{"model":"m"}`: "at least one item", `{"model":"m","input":5}`: "neither a string",
		`{"model":"m","input":"hi","max_output_tokens":0}`: "at least 1", `{"model":"m","input":"hi","background":true}`: "background", `{`: "not valid",
		`{"model":"` + strings.Repeat("m", 200) + `"}`: "too large",
	} {
		if _, bad := read(body); bad == nil || bad.Status < 400 || !strings.Contains(bad.Message, want) {
			t.Errorf("%s: %v, want %q", body, bad, want)
		}
	}
	rec := httptest.NewRecorder()
	w := NewResponsesWriter(rec)
	text, zero := "hi", 0
	u := exchange.Usage{Source: exchange.UsageReported, Input: 9, CachedInput: 2, CacheWrite: 3, Output: 4, Reasoning: 1}
	for _, e := range []ResponsesEvent{
		{Type: EventTextDelta, OutputIndex: &zero, Delta: &text},
		{Type: EventCompleted, Response: &ResponsesResult{ID: "r", Object: "response", Status: StatusCompleted, Model: "m", Output: []Item{}, Usage: ResponsesUsageOf(u)}},
	} {
		if err := w.Send(e); err != nil {
			t.Fatal(err)
		}
	}
	a, got, m, err := ParseResponses(rec.Header().Get("Content-Type"), rec.Body.Bytes())
	if err != nil || a.Content != "hi" || !m.Done || !strings.Contains(rec.Body.String(), `event: response.completed`+"\n"+`data: {"type":"response.completed","sequence_number":1,`) {
		t.Errorf("%+v, %+v, %v from %s", a, m, err, rec.Body)
	}
	if d := cmp.Diff(u, got); d != "" {
		t.Errorf("usage (-want +got):\n%s", d)
	}
	rec = httptest.NewRecorder()
	if err := NewResponsesWriter(rec).Error(&APIError{Code: "server_error", Message: "oops"}); err != nil {
		t.Fatal(err)
	}
	var e *APIError
	if _, _, _, err := ParseResponses("text/event-stream", rec.Body.Bytes()); !errors.As(err, &e) || e.Code != "server_error" || e.Message != "oops" {
		t.Errorf("%v from %s", err, rec.Body)
	}
}

func FuzzParseResponses(f *testing.F) {
	f.Add("text/event-stream", []byte(responsesStreamed()+responsesEnd(true)))
	f.Add("application/json", []byte(responsesWhole))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		_, u, _, _ := ParseResponses(contentType, raw)
		if u.Input < 0 || u.Output < 0 || u.CachedInput+u.CacheWrite > u.Input {
			t.Errorf("usage %+v", u)
		}
	})
}
