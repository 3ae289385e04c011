// Package chat lays conversations out as the tokens that a model reads and is
// taught to write: in the format of our own students (ChatML), or by the chat
// template that another model brings along.
//
// What a message says is text: a special token's text in it is encoded letter by
// letter, so that nobody can end their turn and open another's. In all else a
// template gives the tokens that transformers gives.
//
// It renders; it neither cuts a conversation to a context nor takes a model's
// answer apart (student/serve does), and it knows text alone: tools and their
// calls are written into the text by whoever has them.
package chat

import (
	"errors"
	"fmt"
	"slices"

	"retort/exchange"
	"retort/student/tokenizer"
)

// Spec says how one talks with a model, as the model's files do.
type Spec struct {
	Template string  // Jinja; "": Plain
	BOS, EOS string  // what the template's bos_token and eos_token stand for; "": nothing
	End      []int32 // tokens that end an answer, the usual one first; at least one
}

// Plain is the template for a model that has none and was trained on text alone.
const Plain = `{%- for message in messages -%}
{{- message['role'].capitalize() + ':\n' + message['content'] + '\n\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:\n' -}}
{%- endif -%}`

// Format is how one talks with a model. It does not change once made and is safe
// for concurrent use.
type Format struct {
	tok    *tokenizer.Tokenizer
	spec   Spec
	layout layout
}

// layout writes conversations in tokens.
type layout interface {
	prompt(msgs []exchange.Message) ([]int32, error)
	example(msgs []exchange.Message, reasoning, answer string) (prompt, response []int32, err error)
	// begun is a response that breaks off: in the reasoning, if there is no answer yet.
	begun(msgs []exchange.Message, reasoning, answer string) ([]int32, error)
}

// Own is the format of a student of our own.
func Own(tok *tokenizer.Tokenizer) *Format {
	f := &Format{tok: tok, spec: Spec{Template: ChatML, EOS: tokenizer.ImEnd}, layout: chatML{tok}}
	for _, name := range []string{tokenizer.ImEnd, tokenizer.EndOfText} {
		if id, ok := tok.ID(name); ok {
			f.spec.End = append(f.spec.End, id)
		}
	}
	return f
}

// New is the format that a model's files describe.
func New(tok *tokenizer.Tokenizer, spec Spec) (*Format, error) {
	if len(spec.End) == 0 {
		return nil, fmt.Errorf("chat: no token ends an answer")
	}
	for _, id := range spec.End {
		if tok.TokenBytes(id) == nil {
			return nil, fmt.Errorf("chat: the end token %d is not in the vocabulary of %d", id, tok.VocabSize())
		}
	}
	if spec.Template == ChatML && ownTokens(tok) {
		return &Format{tok: tok, spec: spec, layout: chatML{tok}}, nil
	}
	if spec.Template == "" {
		spec.Template = Plain
	}
	t, err := newTemplated(tok, spec)
	if err != nil {
		return nil, err
	}
	return &Format{tok: tok, spec: spec, layout: t}, nil
}

// ownTokens reports whether ChatML's marks are tokens.
func ownTokens(tok *tokenizer.Tokenizer) bool {
	return !slices.ContainsFunc([]string{tokenizer.ImStart, tokenizer.ImEnd, tokenizer.ThinkStart, tokenizer.ThinkEnd}, func(mark string) bool {
		_, ok := tok.ID(mark)
		return !ok
	})
}

// Tokenizer is the model's.
func (f *Format) Tokenizer() *tokenizer.Tokenizer { return f.tok }

// Spec says how one talks with the model, for its files. The caller must not
// change what it points to.
func (f *Format) Spec() Spec { return f.spec }

// Ends reports whether a token ends an answer.
func (f *Format) Ends(id int32) bool { return slices.Contains(f.spec.End, id) }

// Prompt returns the tokens of a conversation that the assistant is to continue.
// A template may refuse a conversation, such as one with a system message.
func (f *Format) Prompt(msgs []exchange.Message) ([]int32, error) {
	ids, err := f.layout.prompt(msgs)
	if err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	return ids, nil
}

// Continue returns the tokens of a conversation whose last message, the assistant's,
// breaks off and is to be continued: in its answer, or in its reasoning if it has
// reasoning and no answer yet.
func (f *Format) Continue(msgs []exchange.Message) (ids []int32, thinking bool, err error) {
	last := len(msgs) - 1
	if last < 0 || msgs[last].Role != "assistant" {
		return nil, false, errors.New("chat: there is no assistant's message at the end that could be continued")
	}
	m := msgs[last]
	ids, err = f.layout.begun(msgs[:last], m.Reasoning, m.Content)
	if err != nil {
		return nil, false, fmt.Errorf("chat: %w", err)
	}
	return ids, m.Reasoning != "" && m.Content == "", nil
}

// Example returns the tokens of one training example: Prompt(msgs) and then the
// response, which begins at responseFrom and ends with a token that ends an
// answer. Reasoning stands where the template has a place for it, elsewhere
// between <think> and </think> before the answer.
func (f *Format) Example(msgs []exchange.Message, reasoning, answer string) (ids []int32, responseFrom int, err error) {
	prompt, response, err := f.layout.example(msgs, reasoning, answer)
	if err != nil {
		return nil, 0, fmt.Errorf("chat: %w", err)
	}
	return append(prompt, response...), len(prompt), nil
}
