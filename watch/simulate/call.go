package simulate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"retort/exchange"
	"retort/watch/detect"
)

// Call is one exchange of a simulated account. Its strings are shared with the
// world and with other calls.
type Call struct {
	Account  *Account
	Seq      int   // of the account's calls, from 0
	Sent     int64 // UTC nanoseconds
	Last     int64 // when its answer was over
	Messages []exchange.Message
	Params   detect.Params
	Answer   exchange.Answer
	Usage    exchange.Usage
}

// ID is the id of the call's exchange: it depends on nothing but the account and
// the call's place in it.
func (c *Call) ID() exchange.ID {
	id := exchange.ID{}
	ms := uint64(c.Sent) / uint64(time.Millisecond)
	binary.BigEndian.PutUint64(id[:8], ms<<16)
	h := (c.Account.seed + uint64(c.Seq)) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0x94d049bb133111eb
	binary.BigEndian.PutUint64(id[6+2:], h^h>>31)
	binary.BigEndian.PutUint16(id[6:], uint16(c.Seq))
	return id
}

// Event is the call as detection sees it, made without wire or disk. The exchange
// that Exchange makes is read into the same event.
func (c *Call) Event() detect.Event {
	return detect.Event{
		ID: c.ID(), Account: c.Account.Name, Sent: c.Sent, Last: c.Last,
		Messages: c.Messages, Params: c.Params, Answer: c.Answer, Usage: c.Usage,
	}
}

// Exchange is the call as a gateway records it. The account is known by the hash
// under key; with a nil key, by its name.
func (c *Call) Exchange(key []byte) (*exchange.Exchange, error) {
	account := c.Account.Name
	if key != nil {
		account = exchange.HashAccount(key, account)
	}
	body, err := c.Request()
	if err != nil {
		return nil, fmt.Errorf("simulate: call %d of %s: %w", c.Seq, c.Account.Name, err)
	}
	return &exchange.Exchange{
		ID: c.ID(), Origin: exchange.OriginServed, Provider: "openai", Endpoint: "simulated", Stage: Stage,
		ModelAsked: model, ModelAnswered: model, Account: account, Attempt: 1, Status: 200,
		RequestHeader: map[string]string{"content-type": "application/json"},
		RequestBody:   body, Answer: c.Answer, Usage: c.Usage,
		Times: exchange.Times{Queued: c.Sent, Sent: c.Sent, FirstByte: c.Sent + (c.Last-c.Sent)/4, LastByte: c.Last},
	}, nil
}

// Stage is the stage of all simulated exchanges, by which they are told apart.
const Stage = "simulated"

const model = "simulated-model"

type wireMessage struct {
	Role      string          `json:"role"`
	Content   string          `json:"content"`
	ToolCalls json.RawMessage `json:"tool_calls,omitempty"`
	ToolCall  string          `json:"tool_call_id,omitempty"`
}

// Request is the request's body on OpenAI's chat wire.
func (c *Call) Request() ([]byte, error) {
	r := struct {
		Model       string           `json:"model"`
		Messages    []wireMessage    `json:"messages"`
		Temperature *float64         `json:"temperature,omitempty"`
		N           int              `json:"n,omitempty"`
		MaxTokens   int              `json:"max_tokens,omitempty"`
		Seed        *int64           `json:"seed,omitempty"`
		Logprobs    bool             `json:"logprobs,omitempty"`
		Effort      string           `json:"reasoning_effort,omitempty"`
		Format      *json.RawMessage `json:"response_format,omitempty"`
		Tools       json.RawMessage  `json:"tools,omitempty"`
	}{Model: model, N: c.Params.N, MaxTokens: c.Params.MaxTokens, Logprobs: c.Params.Logprobs}
	for _, m := range c.Messages {
		w := wireMessage{Role: m.Role, Content: m.Content, ToolCall: m.ToolCallID}
		if len(m.ToolCalls) > 0 {
			w.ToolCalls = json.RawMessage(`[{"id":"call_1","type":"function","function":{"name":"run","arguments":"{}"}}]`)
		}
		r.Messages = append(r.Messages, w)
	}
	if c.Params.HasTemperature {
		t := float64(c.Params.Temperature)
		r.Temperature = &t
	}
	if c.Params.Seed {
		s := int64(c.Seq)
		r.Seed = &s
	}
	if c.Params.Reasoning {
		r.Effort = "high"
	}
	if c.Params.Schema != 0 {
		raw := json.RawMessage(`{"type":"json_object"}`)
		r.Format = &raw
	}
	if c.Params.Tools {
		r.Tools = json.RawMessage(`[{"type":"function","function":{"name":"run","parameters":{"type":"object"}}}]`)
	}
	return json.Marshal(r)
}

// Response is the body of the answer on OpenAI's chat wire.
func (c *Call) Response() ([]byte, error) {
	type message struct {
		Role      string `json:"role"`
		Content   string `json:"content"`
		ToolCalls any    `json:"tool_calls,omitempty"`
	}
	m := message{Role: "assistant", Content: c.Answer.Content}
	if len(c.Answer.ToolCalls) > 0 {
		m.ToolCalls = json.RawMessage(`[{"id":"call_1","type":"function","function":{"name":"run","arguments":"{}"}}]`)
	}
	return json.Marshal(map[string]any{
		"id": "chatcmpl-" + c.ID().String(), "object": "chat.completion", "created": c.Last / int64(time.Second), "model": model,
		"choices": []any{map[string]any{"index": 0, "message": m, "finish_reason": c.Answer.FinishReason}},
		"usage": map[string]any{
			"prompt_tokens": c.Usage.Input, "completion_tokens": c.Usage.Output, "total_tokens": c.Usage.Input + c.Usage.Output,
			"completion_tokens_details": map[string]int64{"reasoning_tokens": c.Usage.Reasoning},
		},
	})
}
