package dataset

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"retort/exchange"
	"retort/openai"
)

// layouts make the JSON of one example, or an *unfit error.
var layouts = map[ExportFormat]func(*Example, noteSet) (any, error){
	ExportOpenAI: openaiLine, ExportShareGPT: sharegptLine, ExportAlpaca: alpacaLine, ExportDPO: dpoLine,
}

// unfit says why an example has no place in a format.
type unfit struct{ reason, detail string }

func (u *unfit) Error() string { return u.reason + ": " + u.detail }

func refuse(reason, format string, args ...any) error {
	return &unfit{reason, fmt.Sprintf(format, args...)}
}

// noteSet is what a format does not keep of one example.
type noteSet map[string]bool

// asked splits a prompt into its system message, if it begins with one, and the
// turns after it.
func asked(e *Example) (system string, turns []exchange.Message, err error) {
	turns = e.Prompt
	if len(turns) > 0 && turns[0].Role == "system" {
		if strings.TrimSpace(turns[0].Content) == "" {
			return "", nil, refuse(RefusedEmpty, "the system message has no text")
		}
		system, turns = turns[0].Content, turns[1:]
	}
	if !slices.ContainsFunc(turns, func(m exchange.Message) bool { return m.Role == "user" }) {
		return "", nil, refuse(RefusedNoUser, "its prompt has no message of a user")
	}
	for i := range turns {
		switch m := &turns[i]; {
		case m.Role == "system":
			return "", nil, refuse(RefusedSystem, "message %d is of the system, and not the first", i+1)
		case m.Role != "user" && m.Role != "assistant" && m.Role != "tool":
			return "", nil, refuse(RefusedRole, "%q", m.Role)
		case strings.TrimSpace(m.Content) == "" && len(m.ToolCalls) == 0 && m.Role != "tool":
			return "", nil, refuse(RefusedEmpty, "message %d of its prompt, the %s's, has no text", i+1, m.Role)
		}
	}
	if strings.TrimSpace(e.Answer) == "" && len(e.ToolCalls) == 0 {
		return "", nil, refuse(RefusedEmpty, "its answer has no text")
	}
	return system, turns, nil
}

// answerMessage is an example's answer as a message.
func answerMessage(e *Example) exchange.Message {
	return exchange.Message{Role: "assistant", Content: e.Answer, Reasoning: e.Reasoning, ToolCalls: e.ToolCalls}
}

// thinking puts reasoning before a text in the tags that reasoning models and
// their templates use, and makes sure that it would be read back as that.
func thinking(reasoning, content string, notes noteSet) (string, error) {
	text := content
	if reasoning != "" {
		text = "<think>\n" + reasoning + "\n</think>\n\n" + content
	}
	gotReasoning, gotContent := openai.SplitThink(text)
	switch {
	case gotReasoning == reasoning && gotContent == content:
	case gotReasoning == strings.TrimSpace(reasoning) && gotContent == strings.TrimLeft(content, " \t\r\n") && gotReasoning != "":
		notes[NoteSpace] = true
	default:
		return "", refuse(RefusedThinkTags, "its text has think tags of its own: %.60q", text)
	}
	return text, nil
}

// The messages of OpenAI's wire.
type (
	wireMessage struct {
		Role       string     `json:"role"`
		Content    *string    `json:"content,omitempty"` // absent beside calls of tools
		Name       string     `json:"name,omitempty"`
		ToolCalls  []wireCall `json:"tool_calls,omitempty"`
		ToolCallID string     `json:"tool_call_id,omitempty"`
		Weight     *int       `json:"weight,omitempty"`
	}
	wireCall struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	}
)

// wireName is what OpenAI allows as a name.
var wireName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// openCalls are the ids of calls that no tool's message has answered yet.
type openCalls struct {
	ids []string
	n   int // calls so far
}

// call opens a call and returns its id: its own, or one that is made up.
func (o *openCalls) call(id string) string {
	o.n++
	if id == "" {
		id = "call_" + strconv.Itoa(o.n)
	}
	o.ids = append(o.ids, id)
	return id
}

// answer closes the call that a tool's message answers: the one that it names,
// else the first that is open.
func (o *openCalls) answer(id string) (string, error) {
	for i, open := range o.ids {
		if id == "" || id == open {
			o.ids = append(o.ids[:i:i], o.ids[i+1:]...)
			return open, nil
		}
	}
	return "", refuse(RefusedToolCall, "a tool's message answers the call %q, which was not made", id)
}

// wire turns messages into OpenAI's, and gives calls without an id one.
type wire struct {
	notes noteSet
	open  openCalls
}

func (w *wire) message(m exchange.Message) (wireMessage, error) {
	out := wireMessage{Role: m.Role, Content: &m.Content, Name: m.Name, ToolCallID: m.ToolCallID}
	if m.Role != "tool" && len(w.open.ids) > 0 {
		return out, refuse(RefusedToolCall, "no tool's message answers the call %q", w.open.ids[0])
	}
	if m.Name != "" && !wireName.MatchString(m.Name) {
		return out, refuse(RefusedName, "%q", m.Name)
	}
	switch m.Role {
	case "assistant":
		text, err := thinking(m.Reasoning, m.Content, w.notes)
		if err != nil {
			return out, err
		}
		if out.Content = &text; text == "" {
			out.Content = nil
		}
		for _, c := range m.ToolCalls {
			call, err := w.call(c)
			if err != nil {
				return out, err
			}
			out.ToolCalls = append(out.ToolCalls, call)
		}
	case "tool":
		id, err := w.open.answer(m.ToolCallID)
		if id != m.ToolCallID {
			w.notes[NoteAddedIDs] = true
		}
		out.ToolCallID = id
		return out, err
	}
	return out, nil
}

func (w *wire) call(c exchange.ToolCall) (wireCall, error) {
	var out wireCall
	if !wireName.MatchString(c.Name) {
		return out, refuse(RefusedName, "%q", c.Name)
	}
	if !json.Valid([]byte(c.Arguments)) {
		return out, refuse(RefusedArguments, "of %s: %.60q", c.Name, c.Arguments)
	}
	out.ID, out.Type = w.open.call(c.ID), "function"
	if c.ID == "" {
		w.notes[NoteAddedIDs] = true
	}
	out.Function.Name, out.Function.Arguments = c.Name, c.Arguments
	return out, nil
}

// wirePrompt is an example's prompt in OpenAI's messages.
func wirePrompt(e *Example, w *wire) ([]wireMessage, error) {
	system, turns, err := asked(e)
	if err != nil {
		return nil, err
	}
	var out []wireMessage
	if system != "" {
		out = append(out, wireMessage{Role: "system", Content: &system})
	}
	for i, m := range turns {
		if m.Role == "assistant" && (i == len(turns)-1 || turns[i+1].Role == "assistant") {
			return nil, refuse(RefusedTurnOrder, "two turns of the model follow each other, from message %d", i+1)
		}
		line, err := w.message(m)
		if err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, nil
}

// wireTools wraps tools that are bare functions.
func wireTools(tools string) ([]json.RawMessage, error) {
	if tools == "" {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(tools), &list); err != nil {
		return nil, err
	}
	for i, raw := range list {
		var tool struct {
			Type     string          `json:"type"`
			Name     string          `json:"name"`
			Function json.RawMessage `json:"function"`
		}
		if json.Unmarshal(raw, &tool) == nil && tool.Function == nil && tool.Name != "" {
			list[i] = json.RawMessage(`{"type":"function","function":` + string(raw) + `}`)
		}
	}
	return list, nil
}

// openaiLine: earlier answers of the assistant have the weight 0, since the
// example's own is what is to be learned.
func openaiLine(e *Example, notes noteSet) (any, error) {
	w := &wire{notes: notes}
	messages, err := wirePrompt(e, w)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Role == "assistant" {
			messages[i].Weight = new(int)
		}
	}
	answer, err := w.message(answerMessage(e))
	if err != nil {
		return nil, err
	}
	tools, err := wireTools(e.Tools)
	if e.RowID != "" {
		notes[NoteRowID] = true
	}
	return struct {
		Messages []wireMessage     `json:"messages"`
		Tools    []json.RawMessage `json:"tools,omitempty"`
	}{append(messages, answer), tools}, err
}

// dpoLine: the worse answer is text alone, as the dataset holds it.
func dpoLine(e *Example, notes noteSet) (any, error) {
	if strings.TrimSpace(e.Rejected) == "" {
		return nil, refuse(RefusedNoRejected, "it holds no answer that is not as good")
	}
	if _, err := thinking("", e.Rejected, notes); err != nil {
		return nil, err
	}
	w := &wire{notes: notes}
	prompt, err := wirePrompt(e, w)
	if err != nil {
		return nil, err
	}
	chosen, err := w.message(answerMessage(e))
	if err != nil {
		return nil, err
	}
	if chosen.Content != nil && *chosen.Content == e.Rejected {
		return nil, refuse(RefusedSame, "the answer and the one that is not as good are equal")
	}
	tools, err := wireTools(e.Tools)
	return struct {
		ID       string            `json:"id,omitempty"`
		Prompt   []wireMessage     `json:"prompt"`
		Chosen   []wireMessage     `json:"chosen"`
		Rejected []wireMessage     `json:"rejected"`
		Tools    []json.RawMessage `json:"tools,omitempty"`
	}{e.RowID, prompt, []wireMessage{chosen}, []wireMessage{{Role: "assistant", Content: &e.Rejected}}, tools}, err
}

type shareTurn struct {
	From  string `json:"from"`
	Value string `json:"value"`
}

// sharegptLine: after the system's, turns of a person or a tool and turns of
// the model alternate, as its loaders demand.
func sharegptLine(e *Example, notes noteSet) (any, error) {
	system, turns, err := asked(e)
	if err != nil {
		return nil, err
	}
	out := make([]shareTurn, 0, len(turns)+2)
	if system != "" {
		out = append(out, shareTurn{"system", system})
	}
	var open openCalls
	for i, m := range append(turns[:len(turns):len(turns)], answerMessage(e)) {
		if model := m.Role == "assistant"; model != (i%2 == 1) {
			return nil, refuse(RefusedTurnOrder, "turn %d is the %s's", i+1, m.Role)
		}
		if m.Role != "tool" {
			open = openCalls{}
		}
		for _, c := range m.ToolCalls {
			open.call(c.ID)
		}
		if m.Role == "tool" {
			if _, err := open.answer(m.ToolCallID); err != nil {
				return nil, err
			}
		}
		turn, err := shared(m, notes)
		if err != nil {
			return nil, err
		}
		out = append(out, turn)
	}
	return struct {
		ID            string      `json:"id,omitempty"`
		Conversations []shareTurn `json:"conversations"`
		Tools         string      `json:"tools,omitempty"` // JSON in a string
	}{e.RowID, out, e.Tools}, nil
}

// shared is a message as a turn of ShareGPT.
func shared(m exchange.Message, notes noteSet) (shareTurn, error) {
	if m.Name != "" {
		notes[NoteName] = true
	}
	if m.ToolCallID != "" {
		notes[NoteToolCallIDs] = true
	}
	switch {
	case m.Role == "user":
		return shareTurn{"human", m.Content}, nil
	case m.Role == "tool":
		return shareTurn{"observation", m.Content}, nil
	case len(m.ToolCalls) == 0:
		text, err := thinking(m.Reasoning, m.Content, notes)
		return shareTurn{"gpt", text}, err
	case m.Content != "" || m.Reasoning != "":
		return shareTurn{}, refuse(RefusedMixed, "a turn has both text and calls of tools")
	}
	calls := make([]string, len(m.ToolCalls))
	for i, c := range m.ToolCalls {
		var object map[string]json.RawMessage // its loaders take a string for the text of arguments
		if json.Unmarshal([]byte(c.Arguments), &object) != nil || object == nil {
			return shareTurn{}, refuse(RefusedArguments, "of %s are no object: %.60q", c.Name, c.Arguments)
		}
		if c.ID != "" {
			notes[NoteToolCallIDs] = true
		}
		name, err := jsonText(c.Name)
		if err != nil {
			return shareTurn{}, err
		}
		calls[i] = `{"name": ` + name + `, "arguments": ` + c.Arguments + `}`
	}
	value := calls[0]
	if len(calls) > 1 {
		value = "[" + strings.Join(calls, ", ") + "]"
	}
	return shareTurn{"function_call", value}, nil
}

// alpacaLine: earlier rounds of question and answer are the history.
func alpacaLine(e *Example, notes noteSet) (any, error) {
	system, turns, err := asked(e)
	if err != nil {
		return nil, err
	}
	if e.Tools != "" || len(e.ToolCalls) > 0 {
		return nil, refuse(RefusedTools, "it has tools")
	}
	var texts []string
	for i, m := range turns {
		if len(m.ToolCalls) > 0 || m.Role == "tool" {
			return nil, refuse(RefusedTools, "message %d of its prompt has tools", i+1)
		}
		if model := m.Role == "assistant"; model != (i%2 == 1) {
			return nil, refuse(RefusedTurnOrder, "turn %d is the %s's", i+1, m.Role)
		}
		if m.Name != "" {
			notes[NoteName] = true
		}
		text := m.Content
		if m.Role == "assistant" {
			if text, err = thinking(m.Reasoning, m.Content, notes); err != nil {
				return nil, err
			}
		}
		texts = append(texts, text)
	}
	if len(texts)%2 == 0 {
		return nil, refuse(RefusedTurnOrder, "its prompt ends with the model's own turn")
	}
	var history [][2]string
	for ; len(texts) > 1; texts = texts[2:] {
		history = append(history, [2]string{texts[0], texts[1]})
	}
	output, err := thinking(e.Reasoning, e.Answer, notes)
	return struct {
		ID          string      `json:"id,omitempty"`
		System      string      `json:"system,omitempty"`
		Instruction string      `json:"instruction"`
		Input       string      `json:"input"`
		Output      string      `json:"output"`
		History     [][2]string `json:"history,omitempty"`
	}{e.RowID, system, texts[0], "", output, history}, err
}
