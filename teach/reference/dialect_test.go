package reference

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// send makes one request and reads its reply.
func send(t *testing.T, s *Server, method, path, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
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
	if err != nil {
		t.Fatal(err)
	}
	return resp, raw
}

// under is the header of a version of the messages wire.
func under(version string) []string { return []string{anthropic.VersionHeader, version} }

func messagesBody(more string) string {
	return `{"model":"reference","max_tokens":300,"messages":[{"role":"user","content":"` + product + `"}]` + more + `}`
}

// answered asks over the messages wire, at temperature 0, streamed and not, and
// checks that both are the same.
func answered(t *testing.T, s *Server, more string) (exchange.Answer, exchange.Usage, anthropic.Meta) {
	t.Helper()
	var answers [2]exchange.Answer
	var usage exchange.Usage
	var meta anthropic.Meta
	for i, stream := range []string{"", `,"stream":true`} {
		resp, raw := send(t, s, "POST", messagesPath, messagesBody(`,"temperature":0`+more+stream), under(anthropic.VersionSampling)...)
		var err error
		if answers[i], usage, meta, err = anthropic.Parse(resp.Header.Get("Content-Type"), raw); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s: %v", resp.StatusCode, raw, err)
		}
		if resp.Header.Get(anthropic.RequestIDHeader) == "" || meta.Streamed != (stream != "") {
			t.Errorf("headers %v, %+v", resp.Header, meta)
		}
		for j := range answers[i].ToolCalls {
			answers[i].ToolCalls[j].ID = ""
		}
	}
	if fmt.Sprint(answers[0]) != fmt.Sprint(answers[1]) {
		t.Errorf("streamed %+v, not streamed %+v", answers[1], answers[0])
	}
	return answers[0], usage, meta
}

func TestMessagesEndAsTheRequestHasIt(t *testing.T) {
	s := serve(t, Config{})
	whole, used, meta := answered(t, s, "")
	if whole.Content != "1692" || whole.Reasoning == "" || meta.StopReason != anthropic.StopEndTurn {
		t.Errorf("%+v, %+v", whole, meta)
	}
	silent, less, _ := answered(t, s, `,"thinking":{"type":"disabled"}`)
	if silent.Content != "1692" || silent.Reasoning != "" || less.Output >= used.Output || less.Reasoning != 0 {
		t.Errorf("without thinking: %+v, %+v of %+v", silent, less, used)
	}
	stopped, _, meta := answered(t, s, `,"stop_sequences":["9","x"]`)
	if stopped.Content != "16" || meta.StopReason != anthropic.StopSequence {
		t.Errorf("stopped: %+v, %+v", stopped, meta)
	}
	call, _, meta := answered(t, s, `,"tools":[{"name":"tell","input_schema":{"type":"object","properties":{"n":{"type":"number"}}}}],"tool_choice":{"type":"any"}`)
	if len(call.ToolCalls) != 1 || call.ToolCalls[0].Arguments != `{"n":1692}` || meta.StopReason != anthropic.StopToolUse {
		t.Errorf("called: %+v, %+v", call, meta)
	}
	_, raw := send(t, s, "POST", messagesPath, strings.Replace(messagesBody(""), "300", "3", 1), under(anthropic.Version)...)
	cut, used, meta, err := anthropic.Parse("", raw)
	if err != nil || used.Output != 3 || cut.FinishReason != "length" || meta.StopReason != anthropic.StopMaxTokens {
		t.Errorf("cut: %+v, %+v, %v", used, meta, err)
	}
	inTags := serve(t, Config{Reasoning: ReasoningThink})
	tagged, _, _ := answered(t, inTags, "")
	if tagged.Content != "1692" || tagged.Reasoning != whole.Reasoning {
		t.Errorf("in tags: %+v", tagged)
	}
}

func TestResponsesEndAsTheRequestHasIt(t *testing.T) {
	s := serve(t, Config{})
	for _, stream := range []string{"", `,"stream":true`} {
		for more, want := range map[string]exchange.Answer{
			`,"max_output_tokens":300`: {Content: "1692", FinishReason: "stop"},
			`,"max_output_tokens":2`:   {FinishReason: "length"},
			`,"tools":[{"type":"function","name":"tell","parameters":{}}],"tool_choice":"required"`:                      {FinishReason: "tool_calls", ToolCalls: []exchange.ToolCall{{Name: "tell", Arguments: `{"answer":"1692"}`}}},
			`,"tools":[{"type":"function","name":"tell","parameters":{}}],"tool_choice":"auto"`:                          {Content: "1692", FinishReason: "stop"},
			`,"text":{"format":{"type":"json_schema","name":"x","schema":{"properties":{"n":{"type":"string"}}}}}`:       {Content: `{"n":"1692"}`, FinishReason: "stop"},
			`,"text":{"format":{"type":"text"}},"instructions":"Be brief.","tools":[],"parallel_tool_calls":false`:       {Content: "1692", FinishReason: "stop"},
			`,"previous":"unknown fields are no harm","reasoning":{"effort":"low"},"store":false,"max_output_tokens":99`: {FinishReason: "length"},
		} {
			resp, raw := send(t, s, "POST", responsesPath, `{"model":"reference","temperature":0,"input":[{"role":"user","content":[{"type":"input_text","text":"`+product+`"}]}]`+more+stream+`}`)
			got, usage, meta, err := openai.ParseResponses(resp.Header.Get("Content-Type"), raw)
			if err != nil || resp.StatusCode != 200 || usage.Source != exchange.UsageReported || meta.Model != "reference" {
				t.Fatalf("%s: %d %s: %v", more, resp.StatusCode, raw, err)
			}
			if len(got.ToolCalls) > 0 {
				got.ToolCalls[0].ID = ""
			}
			if got.Reasoning, got.Content = "", strings.TrimSpace(got.Content); want.FinishReason != "length" && fmt.Sprint(got) != fmt.Sprint(want) || got.FinishReason != want.FinishReason {
				t.Errorf("%s, %s: %+v, want %+v", more, stream, got, want)
			}
		}
	}
}

func TestAToolThatHasToBeCalledIsCalledOnTheChatWire(t *testing.T) {
	s := serve(t, Config{})
	for _, stream := range []string{"", `,"stream":true`} {
		resp, raw := send(t, s, "POST", "/v1/chat/completions", body(product, `,"temperature":0,"tools":[{"type":"function","function":{"name":"tell","parameters":{"type":"object","properties":{"n":{"type":"integer"},"m":{}},"required":["n"]}}}],"tool_choice":"required"`+stream))
		got, _, _, err := openai.Parse(resp.Header.Get("Content-Type"), raw)
		if err != nil || len(got.ToolCalls) != 1 || got.ToolCalls[0].Name != "tell" || got.ToolCalls[0].Arguments != `{"n":1692}` || got.ToolCalls[0].ID == "" || got.FinishReason != "tool_calls" || got.Content != "" || got.Reasoning == "" {
			t.Errorf("%+v, %v from %s", got, err, raw)
		}
	}
}

func TestErrorsComeInTheEnvelopeOfTheWire(t *testing.T) {
	s := serve(t, Config{Keys: []string{"right"}})
	key := func(more ...string) []string { return append([]string{anthropic.KeyHeader, "right"}, more...) }
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		typ                string
	}{
		{"POST", messagesPath, messagesBody(""), under(anthropic.Version), 401, anthropic.ErrAuthentication},
		{"POST", messagesPath, messagesBody(""), append(under(anthropic.Version), anthropic.KeyHeader, "wrong"), 401, anthropic.ErrAuthentication},
		{"POST", messagesPath, messagesBody(""), key(), 400, anthropic.ErrInvalidRequest},
		{"POST", messagesPath, messagesBody(`,"temperature":0`), key(under(anthropic.Version)...), 400, anthropic.ErrInvalidRequest},
		{"POST", messagesPath, messagesBody(`,"temperature":1.5`), key(under(anthropic.VersionSampling)...), 400, anthropic.ErrInvalidRequest},
		{"POST", messagesPath, messagesBody(`,"tools":[{"type":"web_search_20250305","name":"web_search"}]`), key(under(anthropic.Version)...), 400, anthropic.ErrInvalidRequest},
		{"POST", messagesPath, strings.Replace(messagesBody(""), `"reference"`, `"nobody"`, 1), key(under(anthropic.Version)...), 404, anthropic.ErrNotFound},
		{"GET", messagesPath, "", key(under(anthropic.Version)...), 405, anthropic.ErrInvalidRequest},
		{"GET", "/v1/models/nobody", "", key(under(anthropic.Version)...), 404, anthropic.ErrNotFound},
		{"GET", "/v1/nothing", "", key(under(anthropic.Version)...), 404, anthropic.ErrNotFound},
	} {
		resp, raw := send(t, s, c.method, c.path, c.body, c.header...)
		var env anthropic.ErrorEnvelope
		if err := json.Unmarshal(raw, &env); err != nil || resp.StatusCode != c.status || env.Type != "error" || env.Error.Type != c.typ || env.Error.Message == "" {
			t.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, raw)
		}
		if id := resp.Header.Get(anthropic.RequestIDHeader); c.method == "POST" && (id == "" || env.RequestID != id) {
			t.Errorf("%s: request id %q, in the body %q", c.path, id, env.RequestID)
		}
	}
	if resp, raw := send(t, s, "POST", messagesPath, messagesBody(""), append(under(anthropic.Version), "Authorization", "Bearer right")...); resp.StatusCode != 200 {
		t.Errorf("a bearer token, as the client sends it: %d %s", resp.StatusCode, raw)
	}
	resp, raw := send(t, s, "GET", "/v1/models", "", key(under(anthropic.Version)...)...)
	var list anthropic.ModelList
	if err := json.Unmarshal(raw, &list); err != nil || resp.StatusCode != 200 || len(list.Data) != 1 || list.Data[0].Type != "model" || list.Data[0].ID != "reference" {
		t.Errorf("models: %s", raw)
	}
	resp, raw = send(t, s, "POST", responsesPath, `{"model":"reference","input":[{"type":"image_generation_call"}]}`, "Authorization", "Bearer right")
	if e := openai.ParseError(resp.StatusCode, raw); resp.StatusCode != 400 || e.Type != "invalid_request_error" || e.Param != "input[0]" {
		t.Errorf("responses: %d %s", resp.StatusCode, raw)
	}
}

func TestFailuresOfTheServerAreOfTwoKindsOnTheMessagesWire(t *testing.T) {
	s := serve(t, Config{Faults: Faults{ServerError: 1}})
	var seen []int
	for i := range 20 {
		resp, raw := send(t, s, "POST", messagesPath, messagesBody(""), append(under(anthropic.Version), AttemptHeader, fmt.Sprint("attempt ", i))...)
		e := anthropic.ParseError(resp.StatusCode, raw)
		if e.Type != anthropic.TypeOf(resp.StatusCode) || (resp.Header.Get("Retry-After") != "") != (resp.StatusCode == anthropic.StatusOverloaded) {
			t.Errorf("%d %v %s", resp.StatusCode, resp.Header, raw)
		}
		if !slices.Contains(seen, resp.StatusCode) {
			seen = append(seen, resp.StatusCode)
		}
	}
	if slices.Sort(seen); !slices.Equal(seen, []int{500, anthropic.StatusOverloaded}) {
		t.Errorf("seen %v", seen)
	}
}

func TestLimitsAreToldInTheHeadersOfTheWire(t *testing.T) {
	teacher, err := New(Config{RPS: 3})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	teacher.now = func() time.Time { return began } // the bucket is not filled again
	s := start(t, teacher)
	for i := range 5 {
		resp, raw := send(t, s, "POST", messagesPath, messagesBody(""), under(anthropic.Version)...)
		h := resp.Header
		if h.Get("Anthropic-Ratelimit-Requests-Limit") != "3" || h.Get("Anthropic-Ratelimit-Requests-Reset") == "" || h.Get("X-Ratelimit-Limit-Requests") != "" {
			t.Errorf("headers %v", h)
		}
		if i == 4 && (resp.StatusCode != 429 || anthropic.ParseError(429, raw).Type != anthropic.ErrRateLimit || h.Get("Retry-After") == "") {
			t.Errorf("%d %v %s", resp.StatusCode, h, raw)
		}
	}
}
