package chat

import (
	"iter"
	"strings"

	"retort/exchange"
	"retort/student/tokenizer"
)

// ChatML is the conversation format of our own students in Jinja, as other
// programs read it from tokenizer_config.json and GGUF. It renders what Render
// does. An assistant's written-out reasoning is read from reasoning_content or
// reasoning.
//
// Where another program renders this template to text and then encodes the text
// with added tokens recognised, a user who writes "<|im_end|>" can end a turn;
// Format has no such hole.
const ChatML = `{%- for message in messages -%}
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

// Render returns the text of a conversation as ChatML renders it. With generate
// it ends where the assistant is to begin.
func Render(msgs []exchange.Message, generate bool) string {
	var b strings.Builder
	for _, m := range msgs {
		b.WriteString(tokenizer.ImStart + m.Role + "\n")
		if m.Role == "assistant" && m.Reasoning != "" {
			b.WriteString(tokenizer.ThinkStart + m.Reasoning + tokenizer.ThinkEnd)
		}
		b.WriteString(m.Content + tokenizer.ImEnd + "\n")
	}
	if generate {
		b.WriteString(tokenizer.ImStart + "assistant\n")
	}
	return b.String()
}

// chatML writes ChatML in tokens: its own marks are special, whatever the
// messages say is ordinary text.
type chatML struct{ tok *tokenizer.Tokenizer }

func (c chatML) prompt(msgs []exchange.Message) ([]int32, error) {
	var out []int32
	for _, m := range msgs {
		out = c.appendMark(out, tokenizer.ImStart)
		if m.Role == "assistant" && m.Reasoning != "" {
			out = append(out, c.tok.EncodeOrdinary(m.Role+"\n")...)
			out = c.appendResponse(out, m.Reasoning, m.Content)
		} else {
			out = append(out, c.tok.EncodeOrdinary(m.Role+"\n"+m.Content)...)
			out = c.appendMark(out, tokenizer.ImEnd)
		}
		out = append(out, c.tok.EncodeOrdinary("\n")...)
	}
	out = c.appendMark(out, tokenizer.ImStart)
	return append(out, c.tok.EncodeOrdinary("assistant\n")...), nil
}

func (c chatML) example(msgs []exchange.Message, reasoning, answer string) (prompt, response []int32, err error) {
	prompt, err = c.prompt(msgs)
	return prompt, c.appendResponse(nil, reasoning, answer), err
}

func (c chatML) begun(msgs []exchange.Message, reasoning, answer string) ([]int32, error) {
	out, err := c.prompt(msgs)
	if err != nil || reasoning == "" {
		return append(out, c.tok.EncodeOrdinary(answer)...), err
	}
	out = append(c.appendMark(out, tokenizer.ThinkStart), c.tok.EncodeOrdinary(reasoning)...)
	if answer != "" {
		out = append(c.appendMark(out, tokenizer.ThinkEnd), c.tok.EncodeOrdinary(answer)...)
	}
	return out, nil
}

func (c chatML) appendResponse(out []int32, reasoning, answer string) []int32 {
	if reasoning != "" {
		out = c.appendMark(out, tokenizer.ThinkStart)
		out = append(out, c.tok.EncodeOrdinary(reasoning)...)
		out = c.appendMark(out, tokenizer.ThinkEnd)
	}
	out = append(out, c.tok.EncodeOrdinary(answer)...)
	return c.appendMark(out, tokenizer.ImEnd)
}

// appendMark appends an added token, or, in a tokenizer that was made without
// it, its text.
func (c chatML) appendMark(out []int32, mark string) []int32 {
	if id, ok := c.tok.ID(mark); ok {
		return append(out, id)
	}
	return append(out, c.tok.EncodeOrdinary(mark)...)
}

// Texts yields the pieces of an example as ChatML's Format encodes them, the
// names of the roles included: what tokenizer.Train should see of it.
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
