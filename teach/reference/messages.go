package reference

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"retort/anthropic"
	"retort/openai"
)

// readMessages reads a request of the messages wire.
func readMessages(w http.ResponseWriter, r *http.Request) (*asked, *openai.APIError) {
	req, bad := anthropic.ReadRequest(w, r, maxBody)
	if bad != nil {
		return nil, &openai.APIError{Status: bad.Status, Type: bad.Type, Message: bad.Message}
	}
	out := &asked{ChatRequest: &openai.ChatRequest{
		Model: req.Model, MaxTokens: req.MaxTokens, Temperature: req.Temperature, TopP: req.TopP, Stop: req.StopSequences, Stream: req.Stream,
		Extra: openai.Extra{},
	}}
	if v := req.Temperature; v != nil && *v > 1 {
		return nil, &openai.APIError{Status: http.StatusBadRequest, Message: fmt.Sprintf("temperature: %v is above 1", *v)}
	}
	if t := req.Thinking; t != nil && t.Type == "disabled" {
		out.silent = true
	}
	if err := out.conversation(req); err != nil {
		return nil, &openai.APIError{Status: http.StatusBadRequest, Message: err.Error()}
	}
	if err := out.chatTools(req); err != nil {
		return nil, &openai.APIError{Status: http.StatusBadRequest, Message: err.Error()}
	}
	return out, nil
}

// conversation takes over the turns as messages of text, and notes where the
// prompt is to be cached.
func (q *asked) conversation(req *anthropic.Request) error {
	var so []string // texts so far
	take := func(role string, c anthropic.Content) error {
		var text, results strings.Builder
		id := ""
		for i, b := range c.Blocks() {
			switch {
			case b.Type == anthropic.TypeText && b.Text != nil:
				text.WriteString(*b.Text)
				so = append(so, *b.Text)
			case b.Type == anthropic.TypeToolResult:
				id = b.ToolUseID
				results.WriteString(b.Content.String())
				so = append(so, b.Content.String())
			case b.Type == anthropic.TypeThinking, b.Type == anthropic.TypeRedactedThinking, b.Type == anthropic.TypeToolUse:
			default:
				return fmt.Errorf("content.%d: this model reads text only, not a block of type %q", i, b.Type)
			}
			if b.CacheControl != nil {
				q.cache = append(q.cache, point(so, b.CacheControl.TTL))
			}
		}
		if id != "" {
			q.Messages = append(q.Messages, openai.Message{Role: "tool", ToolCallID: id, Content: openai.Text(results.String())})
		}
		if text.Len() > 0 || id == "" {
			q.Messages = append(q.Messages, openai.Message{Role: role, Content: openai.Text(text.String())})
		}
		return nil
	}
	if !req.System.IsZero() {
		if err := take("system", req.System); err != nil {
			return fmt.Errorf("system.%w", err)
		}
	}
	for i, m := range req.Messages {
		switch m.Role {
		case "user", "assistant", "system":
		default:
			return fmt.Errorf("messages.%d.role: %q is none of user, assistant and system", i, m.Role)
		}
		if err := take(m.Role, m.Content); err != nil {
			return fmt.Errorf("messages.%d.%w", i, err)
		}
	}
	if c := req.CacheControl; c != nil {
		q.cache = append(q.cache, point(so, c.TTL))
	}
	return nil
}

// chatTools takes over tools and output format under the chat wire's names.
func (q *asked) chatTools(req *anthropic.Request) error {
	set := func(name string, v any) error {
		raw, err := openai.Encode(v)
		q.Extra[name] = raw
		return err
	}
	if len(req.Tools) > 0 {
		var tools []any
		for i, t := range req.Tools {
			if t.Name == "" || len(t.InputSchema) == 0 {
				return fmt.Errorf("tools.%d: this model calls tools of the client's own, with a name and an input_schema", i)
			}
			tools = append(tools, map[string]any{"type": "function", "function": map[string]any{"name": t.Name, "parameters": t.InputSchema}})
		}
		if err := set("tools", tools); err != nil {
			return err
		}
	}
	if c := req.ToolChoice; c != nil {
		var choice any = c.Type
		switch c.Type {
		case "any":
			choice = "required"
		case "tool":
			choice = map[string]any{"type": "function", "function": map[string]any{"name": c.Name}}
		}
		if err := set("tool_choice", choice); err != nil {
			return err
		}
	}
	if c := req.OutputConfig; c != nil && c.Format != nil {
		return set("response_format", map[string]any{"type": c.Format.Type, "json_schema": map[string]any{"schema": c.Format.Schema}})
	}
	return nil
}

// refuseMessages sends an error in the messages wire's envelope.
func refuseMessages(w http.ResponseWriter, e *openai.APIError) error {
	return anthropic.WriteError(w, &anthropic.APIError{Status: e.Status, Type: anthropic.TypeOf(e.Status), Message: e.Message})
}

func (t *Teacher) messagesCard() anthropic.Model {
	return anthropic.Model{ID: t.cfg.ModelName(), Type: "model", DisplayName: "Retort's reference teacher", CreatedAt: time.Unix(int64(t.card().Created), 0).UTC().Format(time.RFC3339)}
}

// message is a reply as a whole message.
func (t *Teacher) message(rep *reply) anthropic.Response {
	a := rep.answers[0]
	m := anthropic.Response{ID: "msg_" + strings.TrimPrefix(rep.id, "chatcmpl-"), Type: "message", Role: "assistant", Model: t.cfg.ModelName(), Content: []anthropic.Block{}}
	if t.thinks(rep) {
		m.Content = append(m.Content, thinkingBlock(a.text(true)))
	}
	stop := anthropic.StopEndTurn
	switch text := a.text(false); {
	case a.tool != "":
		m.Content = append(m.Content, anthropic.ToolUseBlock("toolu_"+m.ID[4:], a.tool, json.RawMessage(text)))
		if stop = anthropic.StopToolUse; !json.Valid([]byte(text)) { // cut off
			m.Content[len(m.Content)-1].Input = json.RawMessage("{}")
		}
	case text != "":
		m.Content = append(m.Content, anthropic.TextBlock(text))
	}
	switch {
	case a.finish == "length":
		stop = anthropic.StopMaxTokens
	case a.stopped != "":
		stop, m.StopSequence = anthropic.StopSequence, &a.stopped
	}
	m.StopReason = &stop
	if rep.fault != faultMissingUsage {
		m.Usage = anthropic.UsageOf(rep.usage.exchange())
	}
	return m
}

// thinks reports whether a reply has its reasoning in a field of its own.
func (t *Teacher) thinks(rep *reply) bool {
	return t.cfg.Reasoning != ReasoningThink && !rep.req.silent
}

// thinkingBlock signs reasoning, as the wire wants it.
func thinkingBlock(text string) anthropic.Block {
	sum := sha256.Sum256([]byte(text))
	return anthropic.ThinkingBlock(text, base64.StdEncoding.EncodeToString(sum[:]))
}

func (t *Teacher) sendMessage(w http.ResponseWriter, r *http.Request, rep *reply) {
	t.sendJSON(w, r, rep, t.message(rep))
}

// streamMessage writes a reply as the events of the messages wire.
func (t *Teacher) streamMessage(w http.ResponseWriter, r *http.Request, rep *reply) {
	out := anthropic.NewStreamWriter(w)
	events := t.messageEvents(rep)
	for i, e := range events {
		if i == len(events)/2 && t.midway(r, rep) {
			return
		}
		var err error
		if i == len(events)/2 && rep.fault == faultMalformed {
			err = out.Raw(anthropic.EventBlockDelta, []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`))
		} else {
			err = out.Send(e)
		}
		if err != nil {
			return // the client is gone
		}
	}
}

// messageEvents are the events of a streamed reply.
func (t *Teacher) messageEvents(rep *reply) []anthropic.Event {
	whole := t.message(rep)
	final := anthropic.Event{Type: anthropic.EventMessageDelta, Delta: &anthropic.Delta{StopReason: whole.StopReason, StopSequence: whole.StopSequence}, Usage: whole.Usage}
	start := whole
	start.Content, start.StopReason, start.StopSequence = []anthropic.Block{}, nil, nil
	if start.Usage != nil {
		one := int64(1)
		begun := *start.Usage
		begun.OutputTokens, begun.OutputTokensDetails = &one, nil
		start.Usage = &begun
	}
	out := []anthropic.Event{{Type: anthropic.EventMessageStart, Message: &start}, {Type: anthropic.EventPing}}
	for i, b := range whole.Content {
		out = append(out, blockEvents(i, b, rep.answers[0])...)
	}
	return append(out, final, anthropic.Event{Type: anthropic.EventMessageStop})
}

// blockEvents are the events of one block: its beginning, its pieces, its end.
func blockEvents(i int, b anthropic.Block, a *answer) []anthropic.Event {
	empty := b
	var piece func(text string) anthropic.Delta
	switch b.Type {
	case anthropic.TypeThinking:
		empty = anthropic.ThinkingBlock("", "")
		piece = func(s string) anthropic.Delta { return anthropic.Delta{Type: anthropic.DeltaThinking, Thinking: &s} }
	case anthropic.TypeToolUse:
		empty.Input = json.RawMessage("{}")
		piece = func(s string) anthropic.Delta { return anthropic.Delta{Type: anthropic.DeltaInput, PartialJSON: &s} }
	default:
		empty = anthropic.TextBlock("")
		piece = func(s string) anthropic.Delta { return anthropic.Delta{Type: anthropic.DeltaText, Text: &s} }
	}
	out := []anthropic.Event{{Type: anthropic.EventBlockStart, Index: &i, ContentBlock: &empty}}
	for _, text := range a.chunks(b.Type == anthropic.TypeThinking) {
		d := piece(text)
		out = append(out, anthropic.Event{Type: anthropic.EventBlockDelta, Index: &i, Delta: &d})
	}
	if b.Signature != nil {
		out = append(out, anthropic.Event{Type: anthropic.EventBlockDelta, Index: &i, Delta: &anthropic.Delta{Type: anthropic.DeltaSignature, Signature: b.Signature}})
	}
	return append(out, anthropic.Event{Type: anthropic.EventBlockStop, Index: &i})
}
