package recipe

import (
	"encoding/json"
	"slices"
	"strings"

	"retort/exchange"
	"retort/teach/dataset"
	"retort/teach/task"
)

// The student's chat template knows text alone. What a conversation says with
// tools is written into the text in the form that many open models use, so that
// nothing of it is lost: calls as JSON between these marks, the tools that were
// offered in the system prompt.
const (
	callStart = "<tool_call>\n"
	callEnd   = "\n</tool_call>"
	toolsHead = "These tools can be called, by writing " + `<tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>` + ":\n"
)

// withCalls appends calls to the text that stands before them.
func withCalls(content string, calls []exchange.ToolCall) string {
	parts := []string{}
	if content != "" {
		parts = append(parts, content)
	}
	for _, c := range calls {
		arguments := json.RawMessage(c.Arguments)
		if !json.Valid(arguments) {
			arguments, _ = json.Marshal(c.Arguments) // a string always encodes
		}
		name, _ := json.Marshal(c.Name)
		parts = append(parts, callStart+`{"name": `+string(name)+`, "arguments": `+string(arguments)+"}"+callEnd)
	}
	return strings.Join(parts, "\n")
}

// inText writes what messages and tools say beside their text into it.
func inText(list []exchange.Message, tools string) []exchange.Message {
	if tools == "" && !slices.ContainsFunc(list, func(m exchange.Message) bool { return len(m.ToolCalls) > 0 }) {
		return list
	}
	out := slices.Clone(list)
	for i, m := range out {
		out[i] = exchange.Message{Role: m.Role, Content: withCalls(m.Content, m.ToolCalls), Reasoning: m.Reasoning}
	}
	if tools == "" {
		return out
	}
	if len(out) > 0 && out[0].Role == "system" {
		out[0].Content += "\n\n" + toolsHead + tools
		return out
	}
	return append([]exchange.Message{{Role: "system", Content: toolsHead + tools}}, out...)
}

// reads is the conversation that the student reads for a problem.
func (s *promptSource) reads(p task.Problem) []exchange.Message {
	tools := ""
	if s.given != nil {
		tools = s.given.items[p.ID].tools
	}
	return inText(p.StudentMessages(), tools)
}

// lesson is an example as the student reads and writes it.
func lesson(e dataset.Example) (prompt []exchange.Message, reasoning, answer string) {
	return inText(e.Prompt, e.Tools), e.Reasoning, withCalls(e.Answer, e.ToolCalls)
}
