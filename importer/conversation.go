package importer

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"retort/exchange"
	"retort/openai"
)

// turn is one message of a conversation as a row has it.
type turn struct {
	exchange.Message
	finish    string
	untrained bool // the row gives it the weight 0
	callOnly  bool // ShareGPT's function_call, which belongs to the turn before it if that is an assistant's
}

// Roles as they are called in the formats. "developer" is what newer OpenAI
// models call the system.
func roleOf(s string) (role string, callOnly, ok bool) {
	switch s {
	case "user", "human", "prompter":
		return "user", false, true
	case "assistant", "gpt", "chatgpt", "bot", "model":
		return "assistant", false, true
	case "system", "developer":
		return "system", false, true
	case "function_call", "tool_call":
		return "assistant", true, true
	case "tool", "observation", "function", "function_response", "tool_response", "ipython":
		return "tool", false, true
	}
	if l := strings.ToLower(s); l != s {
		return roleOf(l)
	}
	return "", false, false
}

// turns reads a list of messages.
func (r *rowReader) turns(d *doc, list int32) ([]turn, error) {
	if d.nodes[list].kind != '[' {
		return nil, refuse(ReasonWrongType, "%s is %s and should be a list of messages", quoteName(d, list), d.kindName(list))
	}
	d.nodes[list].mark = opened
	out := r.scratch[:0]
	for i, ok := d.first(list); ok; i, ok = d.after(list, i) {
		if len(out) >= MaxTurns {
			return nil, refuse(ReasonTooMany, "more than %d messages", MaxTurns)
		}
		if kind, ok := d.itemKind(i); ok {
			d.nodes[i].mark = taken
			t, ok, err := r.responsesItem(d, i, kind, len(out)+1)
			if err != nil {
				return nil, err
			}
			if ok {
				out = follow(out, t)
			}
			continue
		}
		r.results = r.results[:0]
		t, err := r.turn(d, i, len(out)+1)
		if err != nil {
			return nil, err
		}
		if len(r.results) > 0 { // each a message of its own, and before what the user says
			out = append(out, r.results...)
			if t.Content == "" {
				continue
			}
		}
		out = follow(out, t)
	}
	r.scratch = out
	return out, nil
}

// follow adds a turn. Calls of tools are part of the assistant's turn right
// before them.
func follow(out []turn, t turn) []turn {
	last := len(out) - 1
	if t.callOnly && last >= 0 && out[last].Role == "assistant" && t.Reasoning == "" {
		out[last].ToolCalls = append(out[last].ToolCalls, t.ToolCalls...)
		out[last].untrained = out[last].untrained || t.untrained
		return out
	}
	return append(out, t)
}

// itemKind is the type of an item of the responses wire that is no message.
func (d *doc) itemKind(i int32) (string, bool) {
	kind, ok := d.find(i, "type")
	if !ok || d.nodes[kind].kind != '"' || d.str(kind) == "message" || d.has(i, "role") || d.has(i, "from") {
		return "", false
	}
	return d.str(kind), true
}

func quoteName(d *doc, i int32) string {
	if i == root || d.name(i) == "" {
		return "the value"
	}
	return strconv.Quote(clip(d.name(i)))
}

// turn reads one message, the nth of its list.
func (r *rowReader) turn(d *doc, object int32, nth int) (turn, error) {
	var t turn
	if d.nodes[object].kind != '{' {
		return t, refuse(ReasonWrongType, "message %d is %s and should be an object", nth, d.kindName(object))
	}
	d.nodes[object].mark = opened
	content, refusal := int32(-1), ""
	for i, ok := d.first(object); ok; i, ok = d.after(object, i) {
		n := &d.nodes[i]
		name := d.name(i)
		var into *string
		switch name {
		case "role", "from":
			if t.Role != "" {
				continue
			}
			if n.kind != '"' {
				return t, refuse(ReasonWrongType, "message %d: %s is %s and should be text", nth, name, d.kindName(i))
			}
			if t.Role, t.callOnly, ok = roleOf(d.str(i)); !ok {
				return t, refuse(ReasonRole, "message %d: the role %s is not known", nth, quote(d.str(i)))
			}
			n.mark = taken
			continue
		case "content", "value":
			if content < 0 || d.nodes[content].kind == 'n' {
				content, n.mark = i, taken
			}
			continue
		case "tool_calls", "function_call":
			n.mark = taken
			calls, err := r.calls(d, i, nth)
			if err != nil {
				return t, err
			}
			t.ToolCalls = append(t.ToolCalls, calls...)
			continue
		case "weight", "loss_weight":
			n.mark = taken
			if n.kind == '0' {
				w, err := strconv.ParseFloat(string(d.bytes(i)), 64)
				t.untrained = err == nil && w == 0
			}
			continue
		case "reasoning_content", "reasoning", "thinking":
			into = &t.Reasoning
		case "refusal":
			into = &refusal
		case "name":
			into = &t.Name
		case "tool_call_id":
			into = &t.ToolCallID
		case "finish_reason":
			into = &t.finish
		default:
			continue
		}
		if n.kind == '"' {
			if *into == "" {
				*into, n.mark = d.str(i), taken
			}
		} else if n.kind == 'n' {
			n.mark = taken
		} else {
			return t, refuse(ReasonWrongType, "message %d: %s is %s and should be text", nth, name, d.kindName(i))
		}
	}
	if t.Role == "" {
		return t, refuse(ReasonMissing, "message %d has no role", nth)
	}
	if content < 0 && len(t.ToolCalls) == 0 && t.Reasoning == "" && refusal == "" {
		return t, refuse(ReasonMissing, "message %d has no content", nth)
	}
	return t, r.content(d, &t, content, refusal, nth)
}

// content reads what a message says, in whichever way.
func (r *rowReader) content(d *doc, t *turn, content int32, refusal string, nth int) error {
	if content >= 0 {
		switch d.nodes[content].kind {
		case '"':
			t.Content = d.str(content)
		case '[':
			if err := r.parts(d, t, content, nth); err != nil {
				return err
			}
		case 'n':
		default:
			return refuse(ReasonWrongType, "message %d: its content is %s and should be text or a list of parts", nth, d.kindName(content))
		}
	}
	if t.callOnly { // JSON, behind the reasoning that led to it
		t.Reasoning, t.Content = apart(t.Reasoning, t.Content)
		calls, err := r.callText(t.Content, nth)
		if err != nil {
			return err
		}
		t.ToolCalls, t.Content = append(t.ToolCalls, calls...), ""
		return nil
	}
	if t.Role == "assistant" {
		t.Reasoning, t.Content = apart(t.Reasoning, t.Content)
		if t.Content == "" {
			t.Content = refusal
		}
	}
	return nil
}

// apart takes reasoning in <think> tags out of a content, as the collector does.
func apart(reasoning, content string) (string, string) {
	inside, rest := openai.SplitThink(content)
	switch {
	case reasoning == "":
		return inside, rest
	case inside == "":
		return reasoning, rest
	}
	return reasoning, content
}

// parts reads a content that is a list. What a part says stands in a field
// named for its type, or in "text" or "value".
func (r *rowReader) parts(d *doc, t *turn, list int32, nth int) error {
	var text, reasoning strings.Builder
	pieces := 0
	for i, ok := d.first(list); ok; i, ok = d.after(list, i) {
		pieces++
		if d.nodes[i].kind == '"' { // a bare string among parts
			text.WriteString(d.str(i))
			continue
		}
		kind, ok := d.find(i, "type")
		if !ok || d.nodes[kind].kind != '"' {
			return refuse(ReasonWrongType, "message %d: part %d of its content has no type", nth, pieces)
		}
		name := d.str(kind)
		switch name {
		case "text", "input_text", "output_text", "refusal", "reasoning", "thinking", "tool_call", "tool_calls":
		case "redacted_thinking":
			continue
		case "tool_use":
			c, err := toolUse(d, i, nth)
			if err != nil {
				return err
			}
			t.ToolCalls = append(t.ToolCalls, c)
			continue
		case "tool_result":
			result, err := r.toolResult(d, i, nth)
			if err != nil {
				return err
			}
			r.results = append(r.results, result)
			continue
		default:
			return refuse(ReasonNotText, "message %d: part %d of its content is %s", nth, pieces, quote(name))
		}
		says, ok := d.says(i, name)
		if !ok {
			return refuse(ReasonWrongType, "message %d: part %d of its content, %s, says nothing", nth, pieces, quote(name))
		}
		switch name {
		case "reasoning", "thinking":
			reasoning.WriteString(says)
		case "tool_call", "tool_calls":
			calls, err := r.callText(says, nth)
			if err != nil {
				return err
			}
			t.ToolCalls = append(t.ToolCalls, calls...)
		default:
			text.WriteString(says)
		}
	}
	t.Content = text.String()
	if t.Reasoning == "" {
		t.Reasoning = reasoning.String()
	}
	return nil
}

// says is the text of a part.
func (d *doc) says(part int32, kind string) (string, bool) {
	for _, name := range []string{kind, "text", "value"} {
		i, ok := d.find(part, name)
		if !ok {
			continue
		}
		switch d.nodes[i].kind {
		case '"':
			return d.str(i), true
		case '{', '[':
			return string(d.bytes(i)), true
		}
	}
	return "", false
}

// calls reads a list of tool calls, or one.
func (r *rowReader) calls(d *doc, value int32, nth int) ([]exchange.ToolCall, error) {
	switch d.nodes[value].kind {
	case 'n':
		return nil, nil
	case '"':
		if strings.TrimSpace(d.str(value)) == "" {
			return nil, nil
		}
		return r.callText(d.str(value), nth)
	case '{':
		c, err := call(d, value, nth)
		return []exchange.ToolCall{c}, err
	case '[':
		var out []exchange.ToolCall
		for i, ok := d.first(value); ok; i, ok = d.after(value, i) {
			c, err := call(d, i, nth)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
		return out, nil
	}
	return nil, refuse(ReasonBadTools, "message %d: its tool calls are %s", nth, d.kindName(value))
}

// callText reads tool calls that stand as JSON in a text.
func (r *rowReader) callText(s string, nth int) ([]exchange.ToolCall, error) {
	d, err := r.inner.parse([]byte(s))
	if err != nil {
		return nil, refuse(ReasonBadTools, "message %d: its tool call is not JSON: %v", nth, err)
	}
	if d.nul {
		r.nul = true
	}
	if k := d.nodes[root].kind; k != '{' && k != '[' {
		return nil, refuse(ReasonBadTools, "message %d: its tool call is %s", nth, d.kindName(root))
	}
	return r.calls(&d, root, nth)
}

// call reads one call: name and arguments, by themselves or inside of function.
func call(d *doc, object int32, nth int) (exchange.ToolCall, error) {
	var c exchange.ToolCall
	if d.nodes[object].kind != '{' {
		return c, refuse(ReasonBadTools, "message %d: its tool call is %s", nth, d.kindName(object))
	}
	if i, ok := d.find(object, "id"); ok && d.nodes[i].kind == '"' {
		c.ID = d.str(i)
	}
	if i, ok := d.find(object, "function"); ok && d.nodes[i].kind == '{' {
		object = i
	}
	name, ok := d.find(object, "name")
	if !ok || d.nodes[name].kind != '"' || d.str(name) == "" {
		return c, refuse(ReasonBadTools, "message %d: its tool call has no name", nth)
	}
	c.Name = d.str(name)
	args, ok := d.find(object, "arguments")
	if !ok {
		if args, ok = d.find(object, "parameters"); !ok {
			return c, nil
		}
	}
	switch d.nodes[args].kind {
	case '"':
		c.Arguments = d.str(args)
	case 'n':
	default:
		c.Arguments = string(d.bytes(args))
	}
	return c, nil
}

// compact returns a JSON value without white space, otherwise as it stands.
func compact(raw []byte) []byte {
	v := jsontext.Value(append([]byte(nil), raw...))
	if err := v.Compact(); err != nil {
		return raw
	}
	return v
}

// tools reads the tools that a row offers: a JSON list, or a text that is one.
func (r *rowReader) tools(d *doc, value int32) ([]byte, error) {
	if d.nodes[value].kind != '"' {
		return toolList(d, value)
	}
	s := strings.TrimSpace(d.str(value))
	if s == "" {
		return nil, nil
	}
	if s == r.toolsText { // rows often repeat each other's
		return r.toolsList, nil
	}
	in, err := r.inner.parse([]byte(s))
	if err != nil {
		return nil, refuse(ReasonBadTools, "its tools are not JSON: %v", err)
	}
	list, err := toolList(&in, root)
	if err != nil {
		return nil, err
	}
	r.toolsText, r.toolsList = strings.Clone(s), list
	return list, nil
}

// toolList is a list of tools as the wire has them: a bare function is wrapped
// with its type. What a tool says is left as it stands, but for white space.
func toolList(d *doc, list int32) ([]byte, error) {
	if d.nodes[list].kind != '[' {
		return nil, refuse(ReasonBadTools, "its tools are %s and should be a list", d.kindName(list))
	}
	out := []byte{'['}
	for i, ok := d.first(list); ok; i, ok = d.after(list, i) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		switch {
		case d.nodes[i].kind != '{':
			return nil, refuse(ReasonBadTools, "one of its tools is %s and should be an object", d.kindName(i))
		case d.bare(i):
			out = append(out, wrapTool(d, i)...)
		default:
			out = append(out, d.bytes(i)...)
		}
	}
	if len(out) == 1 {
		return nil, nil
	}
	return compact(append(out, ']')), nil
}

// bare reports whether a tool is a function without the wire's wrapping.
func (d *doc) bare(tool int32) bool {
	if !d.has(tool, "name") || d.has(tool, "function") {
		return false
	}
	kind, ok := d.find(tool, "type")
	return !ok || d.nodes[kind].kind == '"' && (d.str(kind) == "function" || d.str(kind) == "custom")
}
