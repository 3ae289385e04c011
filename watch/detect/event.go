package detect

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"retort/exchange"
)

// Event is one served exchange, as far as detection looks at it. It has no field
// for a name, an address, a country or a language: what is not here is no input.
type Event struct {
	ID       exchange.ID
	Account  string // keyed hash
	Sent     int64  // UTC nanoseconds
	Last     int64  // when its answer was over
	Messages []exchange.Message
	Params   Params
	Answer   exchange.Answer
	Usage    exchange.Usage
	// Bytes is how much all messages say, where only some have their Content: of what
	// a conversation repeats from before nothing is looked at but that it is there.
	Bytes int
}

// Params are the fields of a request that say what kind of answer is wanted.
type Params struct {
	HasTemperature bool
	Temperature    float32
	N              int // answers asked for; 0 where the request does not say
	MaxTokens      int // 0 where the request does not say
	Seed           bool
	Logprobs       bool
	Reasoning      bool   // written-out reasoning or effort is asked for
	Tools          bool   // tools are offered
	Schema         uint64 // hash of the form that the answer must have; 0 if none
}

// ErrNoText says that an exchange cannot be judged because its record holds no
// request.
var ErrNoText = errors.New("the record holds no request body")

// wireRequest is what is read of a request's body, on whichever wire it came.
type wireRequest struct {
	Messages     []wireMessage  `json:"messages"`
	Input        jsontext.Value `json:"input"`
	Prompt       jsontext.Value `json:"prompt"`
	System       jsontext.Value `json:"system"`
	Instructions jsontext.Value `json:"instructions"`

	Temperature *float64       `json:"temperature"`
	N           int            `json:"n"`
	MaxTokens   int            `json:"max_tokens"`
	MaxNew      int            `json:"max_completion_tokens"`
	MaxOutput   int            `json:"max_output_tokens"`
	Seed        jsontext.Value `json:"seed"`
	Logprobs    jsontext.Value `json:"logprobs"`
	Effort      jsontext.Value `json:"reasoning_effort"`
	Reasoning   jsontext.Value `json:"reasoning"`
	Thinking    jsontext.Value `json:"thinking"`
	Format      jsontext.Value `json:"response_format"`
	Text        jsontext.Value `json:"text"`
	Tools       jsontext.Value `json:"tools"`
}

type wireMessage struct {
	Role    string         `json:"role"`
	Type    string         `json:"type"`
	Content jsontext.Value `json:"content"`
	Output  jsontext.Value `json:"output"`
	Call    string         `json:"tool_call_id"`
}

var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// FromExchange reads the event of an exchange: one that a gateway served, or one
// that was imported from a log.
func FromExchange(e *exchange.Exchange) (Event, error) {
	ev := Event{ID: e.ID, Account: e.Account, Sent: e.Times.Sent, Last: e.Times.LastByte, Answer: e.Answer, Usage: e.Usage}
	if ev.Sent == 0 {
		ev.Sent = e.Times.Queued
	}
	if len(e.RequestBody) == 0 {
		return ev, ErrNoText
	}
	err := ev.request(e.RequestBody)
	return ev, err
}

// request reads a request's body.
func (ev *Event) request(body []byte) error {
	var r wireRequest
	if err := json.Unmarshal(body, &r, lenient); err != nil {
		return fmt.Errorf("the request of exchange %s cannot be read: %w", ev.ID, err)
	}
	list := r.Messages
	switch {
	case list != nil:
	case r.Input.Kind() == '[':
		if err := json.Unmarshal(r.Input, &list, lenient); err != nil {
			return fmt.Errorf("the input of exchange %s cannot be read: %w", ev.ID, err)
		}
	case r.Input != nil:
		list = []wireMessage{{Role: "user", Content: r.Input}}
	case r.Prompt != nil:
		list = []wireMessage{{Role: "user", Content: r.Prompt}}
	}
	if len(list) == 0 {
		return ErrNoText
	}
	ev.Messages = make([]exchange.Message, 0, len(list)+1)
	for _, system := range []jsontext.Value{r.System, r.Instructions} {
		if s := textOf(system); s != "" {
			ev.Messages = append(ev.Messages, exchange.Message{Role: "system", Content: s})
		}
	}
	asked := len(list) - 1
	for asked > 0 && list[asked].Role != "user" {
		asked--
	}
	for i, m := range list {
		role, content := m.Role, m.Content
		switch m.Type {
		case "function_call_output":
			role, content = "tool", m.Output
		case "function_call", "reasoning":
			role = "assistant"
		}
		if role == "developer" {
			role = "system"
		}
		out := exchange.Message{Role: role, ToolCallID: m.Call}
		ev.Bytes += len(content)
		if i == asked || role == "system" {
			out.Content = textOf(content)
		}
		ev.Messages = append(ev.Messages, out)
	}
	p := &ev.Params
	if r.Temperature != nil {
		p.HasTemperature, p.Temperature = true, float32(*r.Temperature)
	}
	p.N, p.MaxTokens = r.N, max(r.MaxTokens, r.MaxNew, r.MaxOutput)
	p.Seed, p.Tools = said(r.Seed), said(r.Tools)
	p.Logprobs = said(r.Logprobs)
	p.Reasoning = said(r.Effort) || said(r.Reasoning) || said(r.Thinking) && !bytes.Contains(r.Thinking, []byte(`"disabled"`))
	switch {
	case said(r.Format) && !bytes.Contains(r.Format, []byte(`"type":"text"`)):
		p.Schema = hashBytes(r.Format)
	case said(r.Text) && bytes.Contains(r.Text, []byte(`"json_`)):
		p.Schema = hashBytes(r.Text)
	}
	return nil
}

// said reports whether a field is there and does not say no.
func said(v jsontext.Value) bool {
	switch v.Kind() {
	case 0, 'n', 'f':
		return false
	case '[':
		return len(bytes.TrimSpace(v)) > 2
	}
	return true
}

// textOf is the text of a content: a string, or the texts of its parts.
func textOf(v jsontext.Value) string {
	switch v.Kind() {
	case '"':
		if len(v) >= 2 && bytes.IndexByte(v, '\\') < 0 {
			return string(v[1 : len(v)-1])
		}
		b, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return ""
		}
		return string(b)
	case '[':
		var parts []struct {
			Text    jsontext.Value `json:"text"`
			Content jsontext.Value `json:"content"`
		}
		if json.Unmarshal(v, &parts, lenient) != nil {
			var list []jsontext.Value // a list of prompts
			if json.Unmarshal(v, &list, lenient) != nil {
				return ""
			}
			var b []byte
			for _, one := range list {
				b = append(append(b, textOf(one)...), '\n')
			}
			return string(bytes.TrimSuffix(b, []byte("\n")))
		}
		var b []byte
		for _, p := range parts {
			b = append(append(b, textOf(p.Text)...), textOf(p.Content)...)
		}
		return string(b)
	}
	return ""
}
