package importer

import (
	"bytes"
	"errors"
	"strings"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// body is which wire the body of a response is of.
type body uint8

const (
	noBody        body = iota // a text, or a message by itself
	chatBody                  // OpenAI's chat completions
	responsesBody             // OpenAI's responses
	messagesBody              // Anthropic's messages
)

// bodyOf names the wire of an object by its fields.
func (d *doc) bodyOf(i int32) body {
	kind, _ := d.find(i, "type")
	switch {
	case d.nodes[i].kind != '{':
		return noBody
	case d.has(i, "choices"):
		return chatBody
	case d.isList(i, "output"):
		return responsesBody
	case d.isList(i, "content") && kind != 0 && d.nodes[kind].kind == '"' && d.str(kind) == "message" && !d.has(i, "status"):
		return messagesBody
	}
	return noBody
}

func (d *doc) isList(object int32, name string) bool {
	i, ok := d.find(object, name)
	return ok && d.nodes[i].kind == '['
}

// bodyIn names the wire of a body that stands in a text: an object, or server-
// sent events.
func (r *rowReader) bodyIn(s string) body {
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "{"):
		in, err := r.body.parse([]byte(s))
		if err != nil {
			return noBody
		}
		return in.bodyOf(root)
	case !strings.HasPrefix(s, "data:") && !strings.HasPrefix(s, "event:"):
		return noBody
	case strings.Contains(s[:min(len(s), 512)], "message_start"):
		return messagesBody
	case strings.Contains(s[:min(len(s), 512)], "response."):
		return responsesBody
	}
	return chatBody
}

// completion adds the answer of a response's body, streamed or not.
func (w *row) completion(of body, raw []byte) error {
	var (
		answer exchange.Answer
		usage  exchange.Usage
		model  string
		err    error
	)
	switch of {
	case messagesBody:
		var meta anthropic.Meta
		answer, usage, meta, err = anthropic.Parse("", raw)
		model = meta.Model
	case responsesBody:
		var meta openai.Meta
		answer, usage, meta, err = openai.ParseResponses("", raw)
		model = meta.Model
	default:
		var meta openai.Meta
		answer, usage, meta, err = openai.Parse("", raw)
		model = meta.Model
	}
	var api *openai.APIError
	var other *anthropic.APIError
	switch {
	case errors.As(err, &api):
		return refuse(ReasonFailed, "its response is the error %s", clip(api.Error()))
	case errors.As(err, &other):
		return refuse(ReasonFailed, "its response is the error %s", clip(other.Error()))
	case errors.Is(err, openai.ErrCut), errors.Is(err, anthropic.ErrCut):
		return refuse(ReasonFailed, "its response was cut off")
	case err != nil:
		return refuse(ReasonWrongType, "its response: %s", clip(err.Error()))
	}
	if model != "" {
		w.model = model
	}
	w.usage, w.reported = usage, true
	t := turn{Message: exchange.Message{Role: "assistant", Content: answer.Content, Reasoning: answer.Reasoning, ToolCalls: answer.ToolCalls}}
	t.finish = answer.FinishReason
	w.turns = append(w.turns, t)
	return nil
}

// chatRequest reads the body of a request: messages of either maker, the input
// of the responses wire, or the prompt of a text completion.
func (r *rowReader) chatRequest(in *doc, w *row) error {
	r.nul = r.nul || in.nul
	if in.nodes[root].kind != '{' {
		return refuse(ReasonWrongType, "its request is %s and should be an object", in.kindName(root))
	}
	var err error
	if list, ok := in.anyOf(root, conversationFields); ok {
		w.turns, err = r.turns(in, list)
	} else if list, ok := in.anyOf(root, []string{"input"}); ok && in.nodes[list].kind == '[' {
		w.turns, err = r.turns(in, list)
	} else if prompt, ok, wrong := in.takeText(root, []string{"prompt", "input"}); wrong != nil {
		err = wrong
	} else if ok {
		w.turns = append(r.scratch[:0], turn{Message: exchange.Message{Role: "user", Content: prompt}})
	} else {
		err = refuse(ReasonMissing, "its request has no messages and no prompt")
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"instructions", "system"} {
		if i, ok := in.find(root, name); ok && in.nodes[i].kind != 'n' {
			t := turn{Message: exchange.Message{Role: "system"}}
			if err := r.content(in, &t, i, "", 0); err != nil {
				return err
			}
			w.turns = append([]turn{t}, w.turns...)
		}
	}
	if i, ok := in.take(root, toolFields...); ok {
		if w.tools, err = r.tools(in, i); err != nil {
			return err
		}
	}
	if model, ok, err := in.takeText(root, []string{"model"}); err == nil && ok {
		w.model = model
	}
	return nil
}

// responsesItem reads an item of the responses wire that is no message: a call
// of a tool, or what the tool said. Reasoning is not sent back in the clear, and
// is passed over.
func (r *rowReader) responsesItem(d *doc, object int32, kind string, nth int) (t turn, ok bool, err error) {
	text := func(name string) string {
		if i, ok := d.find(object, name); ok && d.nodes[i].kind == '"' {
			return d.str(i)
		}
		return ""
	}
	switch kind {
	case "function_call":
		c, err := call(d, object, nth)
		c.ID = text("call_id")
		t = turn{Message: exchange.Message{Role: "assistant", ToolCalls: []exchange.ToolCall{c}}, callOnly: true}
		return t, true, err
	case "function_call_output":
		t = turn{Message: exchange.Message{Role: "tool", ToolCallID: text("call_id")}}
		output, ok := d.find(object, "output")
		if !ok {
			return t, false, refuse(ReasonMissing, "message %d has no output", nth)
		}
		return t, true, r.content(d, &t, output, "", nth)
	case "reasoning":
		return t, false, nil
	}
	return t, false, refuse(ReasonNotText, "message %d is %s", nth, quote(kind))
}

// toolUse reads a block of the messages wire that calls a tool.
func toolUse(d *doc, block int32, nth int) (exchange.ToolCall, error) {
	c, err := call(d, block, nth)
	if input, ok := d.find(block, "input"); ok && err == nil {
		c.Arguments = string(d.bytes(input))
	}
	return c, err
}

// toolResult reads a block of the messages wire that says what a tool did, which
// elsewhere is a message of its own.
func (r *rowReader) toolResult(d *doc, block int32, nth int) (turn, error) {
	t := turn{Message: exchange.Message{Role: "tool"}}
	if i, ok := d.find(block, "tool_use_id"); ok && d.nodes[i].kind == '"' {
		t.ToolCallID = d.str(i)
	}
	content, ok := d.find(block, "content")
	if !ok {
		return t, nil
	}
	return t, r.content(d, &t, content, "", nth)
}

// wrapTool writes a bare function as the chat wire has it. Anthropic calls the
// schema of its parameters input_schema.
func wrapTool(d *doc, tool int32) []byte {
	var b bytes.Buffer
	b.WriteString(`{"type":"function","function":{`)
	wrote := false
	for i, ok := d.first(tool); ok; i, ok = d.after(tool, i) {
		name := d.name(i)
		switch {
		case name == "type":
			continue
		case name == "input_schema" && !d.has(tool, "parameters"):
			name = "parameters"
		}
		if wrote {
			b.WriteByte(',')
		}
		wrote = true
		b.Write(quoted(name))
		b.WriteByte(':')
		b.Write(d.bytes(i))
	}
	b.WriteString("}}")
	return b.Bytes()
}
