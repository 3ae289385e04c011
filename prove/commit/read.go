package commit

import (
	"encoding/json"
	"errors"
	"fmt"

	"retort/exchange"
	"retort/internal/text"
	"retort/internal/wire"
)

// Wire names how a request's body is laid out.
type Wire string

// The wires whose requests can carry a coin.
const (
	WireChat        Wire = "chat"
	WireMessages    Wire = "messages"
	WireResponses   Wire = "responses"
	WireCompletions Wire = "completions"
)

// NotEligible says why a request cannot carry a coin.
type NotEligible struct{ Why string }

// Error implements error.
func (e *NotEligible) Error() string { return "no coin: " + e.Why }

func no(format string, a ...any) error { return &NotEligible{fmt.Sprintf(format, a...)} }

// Read returns the conversation that a request asks to be continued, or a
// *NotEligible if no request like it may carry a coin. That is decided by the
// request alone: its answer must be one fresh draw (one answer, some temperature, no
// seed, no cache), and its prompt must hold no earlier answer of the gateway, since
// that one may have been chosen by a coin: no turn of an assistant, no tools, no
// stored conversation.
func Read(w Wire, body []byte) ([]exchange.Message, error) {
	var f wire.Fields
	if err := json.Unmarshal(body, &f); err != nil || f == nil {
		return nil, no("the request is no JSON object")
	}
	if err := oneDraw(f); err != nil {
		return nil, err
	}
	for _, name := range []string{"tools", "functions", "previous_response_id", "conversation", "prompt_id", "audio", "container", "mcp_servers", "prediction", "web_search_options"} {
		if given(f, name) {
			return nil, no("it has %s", name)
		}
	}
	var stored *bool
	if raw, ok := f["store"]; ok && json.Unmarshal(raw, &stored) != nil {
		return nil, no("store is neither true nor false")
	}
	if stored != nil && *stored || stored == nil && w == WireResponses {
		return nil, no("it has its conversation stored")
	}
	switch w {
	case WireChat:
		return turns(nil, f["messages"])
	case WireMessages:
		return turns(f["system"], f["messages"])
	case WireResponses:
		if s, err := textOf(f["input"]); err == nil {
			return withSystem(f["instructions"], []exchange.Message{{Role: "user", Content: s}})
		}
		return turns(f["instructions"], f["input"])
	case WireCompletions:
		s, err := textOf(f["prompt"])
		if err != nil {
			return nil, no("its prompt is not one text")
		}
		return []exchange.Message{{Role: "user", Content: s}}, nil
	}
	return nil, no("the %s wire carries none", w)
}

// oneDraw refuses what does not ask for one fresh sample.
func oneDraw(f wire.Fields) error {
	number := func(name string, otherwise float64) (float64, error) {
		v := &otherwise
		if raw, ok := f[name]; ok && json.Unmarshal(raw, &v) != nil {
			return 0, no("%s is not a number", name)
		}
		if v == nil {
			v = &otherwise
		}
		return *v, nil
	}
	for _, c := range []struct {
		name      string
		otherwise float64
		ok        func(float64) bool
	}{
		{"n", 1, func(v float64) bool { return v == 1 }},
		{"best_of", 1, func(v float64) bool { return v == 1 }},
		{"temperature", 1, func(v float64) bool { return v > 0 }},
		{"top_p", 1, func(v float64) bool { return v > 0 }},
		{"top_k", 0, func(v float64) bool { return v != 1 }},
	} {
		v, err := number(c.name, c.otherwise)
		if err != nil {
			return err
		}
		if !c.ok(v) {
			return no("%s is %v: both answers would not be fresh draws", c.name, v)
		}
	}
	for _, name := range []string{"seed", "cache"} {
		if given(f, name) {
			return no("it has %s", name)
		}
	}
	return nil
}

// given reports whether a field holds something.
func given(f wire.Fields, name string) bool {
	switch string(f[name]) {
	case "", "null", "[]", "{}", `""`:
		return false
	}
	return true
}

// turns reads a list of messages of text.
func turns(system, list json.RawMessage) ([]exchange.Message, error) {
	var all []struct {
		Type       string          `json:"type"`
		Role       string          `json:"role"`
		Content    json.RawMessage `json:"content"`
		ToolCalls  json.RawMessage `json:"tool_calls"`
		ToolCallID string          `json:"tool_call_id"`
	}
	if err := json.Unmarshal(list, &all); err != nil || len(all) == 0 {
		return nil, no("its messages cannot be read")
	}
	var out []exchange.Message
	for i, m := range all {
		switch {
		case m.Role == "assistant", m.Role == "tool", m.Role == "function", m.Type != "" && m.Type != "message", m.ToolCallID != "":
			return nil, no("message %d may hold an earlier answer", i)
		}
		s, err := textOf(m.Content)
		if err != nil {
			return nil, no("message %d is not text alone", i)
		}
		out = append(out, exchange.Message{Role: m.Role, Content: s})
	}
	return withSystem(system, out)
}

func withSystem(system json.RawMessage, rest []exchange.Message) ([]exchange.Message, error) {
	if len(system) == 0 || string(system) == "null" {
		return rest, nil
	}
	s, err := textOf(system)
	if err != nil {
		return nil, no("its system prompt is not text alone")
	}
	return append([]exchange.Message{{Role: "system", Content: s}}, rest...), nil
}

// textOf reads a text, or a list of parts that are texts.
func textOf(raw json.RawMessage) (string, error) {
	var s *string
	if json.Unmarshal(raw, &s) == nil && s != nil {
		return *s, nil
	}
	var parts []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) == 0 {
		return "", errors.New("no text")
	}
	out := ""
	for _, p := range parts {
		if p.Text == nil || p.Type != "text" && p.Type != "input_text" {
			return "", errors.New("not text alone")
		}
		out += *p.Text
	}
	return out, nil
}

// normal is what two prompts share that are the same but for case and spacing.
func normal(messages []exchange.Message) []byte {
	var all []string
	for _, m := range messages {
		all = append(all, m.Role, text.Normalize(m.Content))
	}
	return JSON(all)
}
