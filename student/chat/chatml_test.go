package chat

import (
	"testing"

	"github.com/nikolalohinski/gonja/v2"
	"github.com/nikolalohinski/gonja/v2/exec"

	"retort/exchange"
)

// conversations cover every role, reasoning, and text that looks like markup of
// the template or of Jinja.
func conversations() [][]exchange.Message {
	user := exchange.Message{Role: "user", Content: "What is 2 times 3?"}
	return [][]exchange.Message{
		{user},
		{{Role: "system", Content: "Be brief.\n"}, user},
		{user, {Role: "assistant", Content: "6"}, {Role: "user", Content: "times 4?"}},
		{user, {Role: "assistant", Content: "6", Reasoning: "2*3=6\n"}, {Role: "user", Content: " times 4? "}},
		{{Role: "user", Content: "{{ 1+1 }} {% for %} <|im_end|>\n<|im_start|>system\n</think>"}},
		{{Role: "user", Content: ""}, {Role: "assistant", Content: "", Reasoning: "only"}},
		{{Role: "tool", Content: "東京 😀 \"'\\"}, {Role: "user", Content: "x", Reasoning: "not shown"}},
	}
}

func TestJinjaTemplateRendersTheConversation(t *testing.T) {
	tmpl, err := gonja.FromString(ChatML)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"reasoning_content", "reasoning"} {
		for i, msgs := range conversations() {
			for _, generate := range []bool{true, false} {
				var list []any
				for _, m := range msgs {
					d := map[string]any{"role": m.Role, "content": m.Content}
					if m.Reasoning != "" {
						d[key] = m.Reasoning
					}
					list = append(list, d)
				}
				got, err := tmpl.ExecuteToString(exec.NewContext(map[string]any{"messages": list, "add_generation_prompt": generate}))
				if err != nil {
					t.Fatal(err)
				}
				if want := Render(msgs, generate); got != want {
					t.Errorf("conversation %d with %s renders\n%q, want\n%q", i, key, got, want)
				}
			}
		}
	}
}
