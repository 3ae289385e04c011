package tokenizer

import (
	"iter"
	"strings"

	"retort/exchange"
)

// ChatTemplate is the conversation format (ChatML) in Jinja, as other programs
// read it from tokenizer_config.json and GGUF. It renders what Render does. An
// assistant's written-out reasoning is read from reasoning_content or reasoning.
//
// Where another program renders this template to text and then encodes the text
// with added tokens recognised, a user who writes "<|im_end|>" can end a turn;
// Prompt and Example encode what was written by people and models letter by
// letter and have no such hole.
const ChatTemplate = `{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- if message['reasoning_content'] -%}
{{- '<think>' + message['reasoning_content'] + '</think>' -}}
{%- elif message['reasoning'] -%}
{{- '<think>' + message['reasoning'] + '</think>' -}}
{%- endif -%}
{%- endif -%}
{{- message['content'] + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- endif -%}`

// Render returns the text of a conversation as ChatTemplate renders it. With
// generate it ends where the assistant is to begin.
func Render(msgs []exchange.Message, generate bool) string {
	var b strings.Builder
	for _, m := range msgs {
		b.WriteString(ImStart + m.Role + "\n")
		if m.Role == "assistant" && m.Reasoning != "" {
			b.WriteString(ThinkStart + m.Reasoning + ThinkEnd)
		}
		b.WriteString(m.Content + ImEnd + "\n")
	}
	if generate {
		b.WriteString(ImStart + "assistant\n")
	}
	return b.String()
}

// Prompt returns the tokens of a conversation that the assistant is to
// continue; it ends with "<|im_start|>assistant\n". Only the template's own
// tokens are special: whatever the messages say is ordinary text.
func (t *Tokenizer) Prompt(msgs []exchange.Message) []int32 {
	var out []int32
	for _, m := range msgs {
		out = t.appendAdded(out, ImStart)
		if m.Role == "assistant" && m.Reasoning != "" {
			out = t.appendOrdinary(out, m.Role+"\n")
			out = t.appendResponse(out, m.Reasoning, m.Content)
		} else {
			out = t.appendOrdinary(out, m.Role+"\n"+m.Content)
			out = t.appendAdded(out, ImEnd)
		}
		out = t.appendOrdinary(out, "\n")
	}
	out = t.appendAdded(out, ImStart)
	return t.appendOrdinary(out, "assistant\n")
}

// Example returns the tokens of one training example, Prompt(msgs) and then the
// response: reasoning between ThinkStart and ThinkEnd if there is any, the
// answer, and ImEnd. The response begins at responseFrom.
func (t *Tokenizer) Example(msgs []exchange.Message, reasoning, answer string) (ids []int32, responseFrom int) {
	ids = t.Prompt(msgs)
	responseFrom = len(ids)
	return t.appendResponse(ids, reasoning, answer), responseFrom
}

func (t *Tokenizer) appendResponse(out []int32, reasoning, answer string) []int32 {
	if reasoning != "" {
		out = t.appendAdded(out, ThinkStart)
		out = t.appendOrdinary(out, reasoning)
		out = t.appendAdded(out, ThinkEnd)
	}
	out = t.appendOrdinary(out, answer)
	return t.appendAdded(out, ImEnd)
}

// appendAdded appends an added token, or, in a tokenizer that was made without
// it, its text.
func (t *Tokenizer) appendAdded(out []int32, content string) []int32 {
	if id, ok := t.byText[content]; ok {
		return append(out, id)
	}
	return t.appendOrdinary(out, content)
}

// Texts yields the pieces of an example as Example encodes them, the names of
// the roles included: what Train should see of it.
func Texts(msgs []exchange.Message, reasoning, answer string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, m := range msgs {
			if m.Role == "assistant" && m.Reasoning != "" {
				if !yield(m.Role+"\n") || !yield(m.Reasoning) || !yield(m.Content) {
					return
				}
				continue
			}
			if !yield(m.Role + "\n" + m.Content) {
				return
			}
		}
		_ = yield("assistant\n") && (reasoning == "" || yield(reasoning)) && yield(answer)
	}
}
