package task

import (
	"encoding/json"
	"fmt"
	"strings"

	"retort/exchange"
)

// wireMessage is a message as files hold it: the chat wire's form, and the
// vocabulary's own.
type wireMessage struct {
	Role             string          `json:"role"`
	Content          json.RawMessage `json:"content"`
	Reasoning        string          `json:"reasoning"`
	ReasoningContent string          `json:"reasoning_content"`
	Name             string          `json:"name"`
	ToolCallID       string          `json:"tool_call_id"`
	ToolCalls        []struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
		Function  *struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// conversation reads a conversation that ends where an answer is due, and
// parts it from its own system prompt.
func (r row) conversation(at place, name string) (system, turns []exchange.Message, err error) {
	all, err := r.messages(at, name)
	if err != nil {
		return nil, nil, err
	}
	turns = all
	if all[0].Role == "system" {
		system, turns = all[:1], all[1:]
	}
	switch {
	case lastUser(turns) == "":
		err = at.errorf(r.column(name), "%q holds no message of the role user with something in it", name)
	case turns[len(turns)-1].Role == "assistant":
		err = at.errorf(r.column(name), "%q ends with the assistant's turn; end it with what is to be answered, and keep a known answer in a gold field", name)
	}
	return system, turns, err
}

// messages reads an array of messages. Only the first may be a system prompt.
func (r row) messages(at place, name string) ([]exchange.Message, error) {
	raw, err := r.field(at, name)
	if err != nil {
		return nil, err
	}
	bad := func(i int, format string, args ...any) error {
		return at.errorf(r.column(name), "%s[%d]: %s", name, i, fmt.Sprintf(format, args...))
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || items == nil {
		return nil, at.errorf(r.column(name), `%q is not an array of messages such as [{"role": "user", "content": "…"}]`, name)
	}
	if len(items) == 0 {
		return nil, at.errorf(r.column(name), "%q holds no messages", name)
	}
	out := make([]exchange.Message, len(items))
	for i, item := range items {
		m, err := readMessage(item)
		if err != nil {
			return nil, bad(i, "%v", err)
		}
		if m.Role == "system" && i > 0 {
			return nil, bad(i, "only the first message may be a system prompt")
		}
		out[i] = m
	}
	return out, nil
}

func readMessage(raw json.RawMessage) (exchange.Message, error) {
	var w wireMessage
	if err := json.Unmarshal(raw, &w); err != nil {
		return exchange.Message{}, fmt.Errorf("is not a message: %w", err)
	}
	m := exchange.Message{Role: w.Role, Reasoning: w.Reasoning, Name: w.Name, ToolCallID: w.ToolCallID}
	if m.Reasoning == "" {
		m.Reasoning = w.ReasoningContent
	}
	switch w.Role {
	case "developer":
		m.Role = "system"
	case "system", "user", "assistant", "tool":
	case "":
		return m, fmt.Errorf("has no role; it must be system, user, assistant or tool")
	default:
		return m, fmt.Errorf("the role %q is none of system, user, assistant and tool", w.Role)
	}
	for _, c := range w.ToolCalls {
		call := exchange.ToolCall{ID: c.ID, Name: c.Name, Arguments: c.Arguments}
		if c.Function != nil {
			call.Name, call.Arguments = c.Function.Name, c.Function.Arguments
		}
		if call.Name == "" {
			return m, fmt.Errorf("a tool call names no function")
		}
		m.ToolCalls = append(m.ToolCalls, call)
	}
	var err error
	if m.Content, err = readContent(w.Content); err != nil {
		return m, err
	}
	if strings.TrimSpace(m.Content) == "" && len(m.ToolCalls) == 0 && m.Role != "tool" {
		return m, fmt.Errorf("the %s says nothing", m.Role)
	}
	return m, nil
}

// readContent reads a text, or an array of parts that are all text.
func readContent(raw json.RawMessage) (string, error) {
	if raw == nil || raw[0] == 'n' {
		return "", nil
	}
	if raw[0] == '"' {
		return decodeString(raw)
	}
	var parts []struct {
		Type string          `json:"type"`
		Text json.RawMessage `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", fmt.Errorf("content is neither a text nor an array of parts")
	}
	var b strings.Builder
	for i, p := range parts {
		if p.Type != "text" && p.Type != "input_text" && p.Type != "output_text" || len(p.Text) == 0 || p.Text[0] != '"' {
			return "", fmt.Errorf("content[%d] is of type %q; only text can be asked", i, p.Type)
		}
		s, err := decodeString(p.Text)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}
