package collect

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
)

// stub behaves as a provider does: it refuses what the provider refuses, and
// answers in the provider's manner. It returns what it has against a request.
type stub struct {
	wire   Wire
	refuse func(h http.Header, q map[string]any) string
	whole  string // the body of an answer
	stream string // the same, streamed
	want   exchange.Usage
	cost   exchange.Pico // of the usage, with input at 100, cached input at 10 and output at 1000
}

// field returns a value inside of objects and lists.
func field(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

// only names a field that is none of those that a strict provider knows.
func only(q map[string]any, known string) string {
	for name := range q {
		if !strings.Contains(" "+known+" ", " "+name+" ") {
			return fmt.Sprintf("Unknown name %q: Cannot find field.", name)
		}
	}
	return ""
}

// theEarlierTurn is the reasoning of an earlier turn as a request carries it.
func theEarlierTurn(q map[string]any, name string) any { return field(q, "messages", 2, name) }

func bearerIs(h http.Header) bool { return h.Get("Authorization") == "Bearer "+secret }

const (
	chatWhole  = `{"id":"i","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant",%s"content":"four"},"finish_reason":"stop"}],"usage":%s}`
	chatStream = "data: {\"id\":\"i\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",%s\"content\":\"\"}}]}\n\n" +
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"four\"},\"finish_reason\":null}]}\n\n" +
		"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]%s}\n\n%sdata: [DONE]\n\n"
)

// chat makes the bodies of an answer on the chat wire. A stream's usage comes
// with its last piece or in an event of its own.
func chat(reasoning, usage string, last bool) (whole, stream string) {
	whole = fmt.Sprintf(chatWhole, reasoning, usage)
	if last {
		return whole, fmt.Sprintf(chatStream, reasoning, `,"usage":`+usage, "")
	}
	return whole, fmt.Sprintf(chatStream, reasoning, "", "data: {\"choices\":[],\"usage\":"+usage+"}\n\n")
}

func stubs() map[string]stub {
	reported := func(in, cached, written, out, reasoning int64) exchange.Usage {
		return exchange.Usage{Source: exchange.UsageReported, Input: in, CachedInput: cached, CacheWrite: written, Output: out, Reasoning: reasoning}
	}
	all := map[string]stub{}
	add := func(name string, s stub, reasoning, usage string, last bool) {
		s.whole, s.stream = chat(reasoning, usage, last)
		all[name] = s
	}
	add("openai", stub{wire: WireChat, want: reported(2000, 1024, 900, 9, 7), cost: 1024*10 + 900*125 + 76*100 + 9*1000, refuse: func(h http.Header, q map[string]any) string {
		switch {
		case q["max_tokens"] != nil:
			return "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
		case q["max_completion_tokens"] == nil, !bearerIs(h), theEarlierTurn(q, "reasoning_content") != nil:
			return "max_completion_tokens, a bearer token and no reasoning"
		}
		return ""
	}}, "", `{"prompt_tokens":2000,"completion_tokens":9,"total_tokens":2009,"prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":900},"completion_tokens_details":{"reasoning_tokens":7}}`, false)
	all["anthropic"] = stub{
		wire: WireMessages, want: exchange.Usage{Source: exchange.UsageReported, Input: 1009, CachedInput: 500, CacheWrite: 400, CacheWriteLong: 100, Output: 5},
		cost: 500*10 + 400*125 + 100*200 + 9*100 + 5*1000,
		refuse: func(h http.Header, q map[string]any) string {
			if h.Get("x-api-key") != secret || h.Get("anthropic-version") != "2023-06-01" || h.Get("Authorization") != "" {
				return "x-api-key header is required"
			}
			if field(q, "messages", 0, "role") != "user" || q["system"] != "Be brief." {
				return "messages: first message must use the \"user\" role"
			}
			return only(q, "model messages max_tokens system stream temperature")
		},
		whole: `{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[{"type":"thinking","thinking":"two and two","signature":"c2ln"},{"type":"text","text":"four"}],"stop_reason":"end_turn","stop_sequence":null,` +
			`"usage":{"input_tokens":9,"cache_read_input_tokens":500,"cache_creation_input_tokens":500,"cache_creation":{"ephemeral_5m_input_tokens":400,"ephemeral_1h_input_tokens":100},"output_tokens":5}}`,
		stream: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m-1\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"cache_read_input_tokens\":500,\"cache_creation_input_tokens\":500,\"cache_creation\":{\"ephemeral_5m_input_tokens\":400,\"ephemeral_1h_input_tokens\":100},\"output_tokens\":1}}}\n\n" +
			"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n" +
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"two and two\"}}\n\n" +
			"event: ping\ndata: {\"type\": \"ping\"}\n\n" +
			"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"four\"}}\n\n" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":5}}\n\n" +
			"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
	}
	add("deepseek", stub{wire: WireChat, want: reported(40, 30, 0, 9, 6), cost: 30*10 + 10*100 + 9*1000, refuse: func(h http.Header, q map[string]any) string {
		if field(q, "messages", 4, "tool_calls") != nil && field(q, "messages", 4, "reasoning_content") == nil {
			return "The reasoning_content in the thinking mode must be passed back to the API."
		}
		if q["max_tokens"] == nil {
			return "max_tokens"
		}
		return ""
	}}, `"reasoning_content":"two and two",`, `{"prompt_tokens":40,"completion_tokens":9,"total_tokens":49,"prompt_cache_hit_tokens":30,"prompt_cache_miss_tokens":10,"completion_tokens_details":{"reasoning_tokens":6}}`, true)
	waiting := all["deepseek"] // empty lines, and comments in a stream, while a request waits
	waiting.whole, waiting.stream = "\n\n\n"+waiting.whole, ": keep-alive\n\n: keep-alive\n\n"+waiting.stream
	all["deepseek"] = waiting
	add("gemini", stub{wire: WireChat, want: reported(21, 0, 0, 62, 60), cost: 21*100 + 62*1000, refuse: func(h http.Header, q map[string]any) string {
		if theEarlierTurn(q, "reasoning_content") != nil {
			return "Unknown name \"reasoning_content\": Cannot find field."
		}
		return only(q, "model messages max_tokens stream stream_options temperature")
	}}, "", `{"prompt_tokens":21,"completion_tokens":2,"total_tokens":83}`, true)
	add("xai", stub{wire: WireChat, want: reported(32, 6, 0, 103, 94), cost: 6*10 + 26*100 + 103*1000, refuse: func(h http.Header, q map[string]any) string {
		if !bearerIs(h) {
			return "no key"
		}
		return ""
	}}, `"reasoning_content":"two and two",`, `{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"prompt_tokens_details":{"cached_tokens":6},"completion_tokens_details":{"reasoning_tokens":94}}`, false)
	add("mistral", stub{wire: WireChat, want: reported(11, 0, 0, 3, 0), cost: 11*100 + 3*1000, refuse: func(h http.Header, q map[string]any) string {
		if q["random_seed"] == nil || theEarlierTurn(q, "reasoning_content") != nil {
			return "Extra inputs are not permitted"
		}
		return only(q, "model messages max_tokens stream random_seed temperature")
	}}, "", `{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}`, true)
	add("vllm", stub{wire: WireChat, want: reported(11, 0, 0, 3, 0), cost: 11*100 + 3*1000, refuse: func(h http.Header, q map[string]any) string {
		if theEarlierTurn(q, "reasoning") != "hm" || q["seed"] == nil || q["stream"] == true && field(q, "stream_options", "include_usage") != true {
			return "reasoning, seed and stream_options"
		}
		return ""
	}}, `"reasoning":"two and two",`, `{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14,"prompt_tokens_details":null}`, false)
	add("llamacpp", stub{wire: WireChat, want: reported(11, 4, 0, 3, 0), cost: 4*10 + 7*100 + 3*1000, refuse: func(h http.Header, q map[string]any) string {
		if theEarlierTurn(q, "reasoning_content") != "hm" || q["seed"] == nil {
			return "reasoning and seed"
		}
		return ""
	}}, `"reasoning_content":"two and two",`, `{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4}},"timings":{"cache_n":4}`, false)
	add("ollama", stub{wire: WireChat, want: reported(11, 0, 0, 3, 0), cost: 11*100 + 3*1000, refuse: func(h http.Header, q map[string]any) string {
		if q["max_tokens"] == nil || q["max_completion_tokens"] != nil || theEarlierTurn(q, "reasoning") != "hm" {
			return "max_tokens and reasoning"
		}
		return ""
	}}, `"reasoning":"two and two",`, `{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}`, false)
	return all
}

// quirkRig asks a stub as its row of the table says.
func quirkRig(t *testing.T, q Quirks, wire Wire, stream bool, answer http.HandlerFunc) (*rig, func()) {
	t.Helper()
	return serve(t, answer, func() error { return nil }, func(c *Config) {
		c.Quirks, c.Wire, c.Stream, c.MaxAttempts = q, wire, stream, 1
		c.Price.Input, c.Price.CachedInput, c.Price.Output = 100, 10, 1000
	})
}

func TestEveryProviderIsAskedAsItWantsAndReadAsItAnswers(t *testing.T) {
	all := stubs()
	for _, q := range Providers() {
		s, ok := all[q.Name]
		if !ok {
			t.Errorf("no stub behaves as the row of %s says", q.Name)
			continue
		}
		if q.Title == "" || q.BaseURL == "" || q.Source == "" || q.Reasoning == "" {
			t.Errorf("the row of %s lacks what people need to know: %+v", q.Name, q)
		}
		for _, stream := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				against := ""
				r, stop := quirkRig(t, q, s.wire, stream, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					var asked map[string]any
					if err := json.Unmarshal(body, &asked); err != nil {
						against = err.Error()
					} else {
						against = s.refuse(r.Header, asked)
					}
					switch {
					case against != "":
						w.WriteHeader(400)
						fmt.Fprintf(w, `[{"error":{"code":400,"message":%q,"status":"INVALID_ARGUMENT"}}]`, against)
					case stream:
						w.Header().Set("Content-Type", "text/event-stream")
						fmt.Fprint(w, s.stream)
					default:
						w.Header().Set("Content-Type", "application/json")
						fmt.Fprint(w, s.whole)
					}
				})
				defer stop()
				ask := exchange.Request{MaxTokens: 500, Params: []byte(`{"temperature":1}`), Messages: []exchange.Message{
					{Role: "system", Content: "Be brief."}, {Role: "user", Content: "1+1?"}, {Role: "assistant", Content: "two", Reasoning: "hm"}, {Role: "user", Content: "2+2?"},
				}}
				if q.Name == "deepseek" {
					ask.Messages = append(ask.Messages, exchange.Message{Role: "assistant", Reasoning: "hm", ToolCalls: []exchange.ToolCall{{ID: "c", Name: "f", Arguments: "{}"}}}, exchange.Message{Role: "tool", ToolCallID: "c", Content: "4"})
				}
				e, err := r.Ask(t.Context(), ask)
				if against != "" || err != nil {
					t.Fatalf("%s, stream %v: %s (%v)", q.Name, stream, against, err)
				}
				if d := cmp.Diff(s.want, e.Usage); d != "" || e.Cost != s.cost || e.Worst < e.Cost {
					t.Errorf("%s, stream %v: cost %d of at most %d, want %d; usage (-want +got):\n%s", q.Name, stream, e.Cost, e.Worst, s.cost, d)
				}
				shown := strings.Contains(s.whole, "two and two")
				if e.Answer.Content != "four" || (e.Answer.Reasoning == "two and two") != shown || e.Answer.FinishReason != "stop" || e.ModelAnswered != "m-1" {
					t.Errorf("%s, stream %v: %+v", q.Name, stream, e)
				}
			})
		}
	}
}

func TestKeysOfVLLMAreBearerTokensOnTheMessagesWire(t *testing.T) {
	q, err := QuirksOf("vllm", "")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r, stop := quirkRig(t, q, WireMessages, false, func(w http.ResponseWriter, r *http.Request) {
			if !bearerIs(r.Header) || r.Header.Get("x-api-key") != "" {
				w.WriteHeader(401)
			}
			fmt.Fprint(w, stubs()["anthropic"].whole)
		})
		defer stop()
		if _, err := r.Ask(t.Context(), question("hi")); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorsInAListAreRead(t *testing.T) {
	q, err := QuirksOf("gemini", "")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r, stop := quirkRig(t, q, WireChat, true, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, `[{"error":{"code":404,"message":"models/m is not found","status":"NOT_FOUND"}}]`)
		})
		defer stop()
		_, err := r.Ask(t.Context(), question("hi"))
		wantClass(t, err, exchange.ClassNotFound, "models/m is not found")
	})
}

func TestNoRowOfTheTableChangesAPromptKey(t *testing.T) {
	ask := question("hi")
	ask.Endpoint, ask.Model = "http://teacher.test/v1", "m"
	want, err := ask.Key()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range Providers() {
		synctest.Test(t, func(t *testing.T) {
			whole, _ := chat("", `{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}`, false)
			r, stop := quirkRig(t, q, WireChat, false, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, whole) })
			defer stop()
			if e, err := r.Ask(t.Context(), question("hi")); err != nil || e.Key != want {
				t.Errorf("%s: key %v, %v, want %v", q.Name, e.Key, err, want)
			}
		})
	}
}

func TestPricesOfTheCacheAreFilledInWhereAPriceDoesNotSay(t *testing.T) {
	q, err := QuirksOf("anthropic", "")
	if err != nil {
		t.Fatal(err)
	}
	p := tariff
	p.Input = 101
	if got := q.Price(p); got.CacheWrite != 127 || got.CacheWriteLong != 202 || got.Input != 101 {
		t.Errorf("%+v", got)
	}
	p.CacheWrite, p.CacheWriteLong = 5, 6
	if got := q.Price(p); got != p {
		t.Errorf("a price that says so was changed to %+v", got)
	}
	if got := (Quirks{}).Price(tariff); got != tariff {
		t.Errorf("%+v", got)
	}
}
