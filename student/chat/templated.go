package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"retort/exchange"
	"retort/student/template"
	"retort/student/tokenizer"
)

// templated lays conversations out by a template.
type templated struct {
	tok      *tokenizer.Tokenizer
	spec     Spec
	template *template.Template
}

// today is what a template is told when it asks for the date: always the same, so
// that the same conversation is the same tokens. It is the date that Llama 3's
// templates take where there is no clock.
var today = time.Date(2024, time.July, 26, 0, 0, 0, 0, time.UTC)

func newTemplated(tok *tokenizer.Tokenizer, spec Spec) (*templated, error) {
	t, err := template.Parse(spec.Template)
	if err != nil {
		return nil, err
	}
	return &templated{tok: tok, spec: spec, template: t}, nil
}

func (t *templated) prompt(msgs []exchange.Message) ([]int32, error) {
	text, mark, err := t.shielded(msgs, true)
	if err != nil {
		return nil, err
	}
	return t.tok.EncodeShielded(text, mark), nil
}

// example renders the conversation up to the answer and with it. What comes on
// top is the response; where the template writes the two differently, such as one
// that ends a prompt with <think> and leaves reasoning out of what was said, the
// response is put together here.
func (t *templated) example(msgs []exchange.Message, reasoning, answer string) (prompt, response []int32, err error) {
	said := exchange.Message{Role: "assistant", Content: answer, Reasoning: reasoning}
	mark, err := unused(append(slices.Clone(msgs), said))
	if err != nil {
		return nil, nil, err
	}
	before, err := t.render(msgs, mark, true)
	if err != nil {
		return nil, nil, err
	}
	rest, err := t.continued(msgs, said, before, mark)
	if err != nil {
		return nil, nil, err
	}
	return t.tok.EncodeShielded(before, mark), t.closed(rest, mark), nil
}

// begun renders the whole conversation, and cuts it behind what the assistant said
// last.
func (t *templated) begun(msgs []exchange.Message, reasoning, answer string) ([]int32, error) {
	said := exchange.Message{Role: "assistant", Content: answer, Reasoning: reasoning}
	mark, err := unused(append(slices.Clone(msgs), said))
	if err != nil {
		return nil, err
	}
	before, err := t.render(msgs, mark, true)
	if err != nil {
		return nil, err
	}
	rest, err := t.continued(msgs, said, before, mark)
	if err != nil {
		return nil, err
	}
	text := t.tok.Shield(answer, mark)
	if answer == "" {
		text = t.tok.Shield(reasoning, mark)
	}
	// Templates trim what they are given, so that its own white space is put back.
	if bare := strings.Trim(text, space); bare != "" {
		i := strings.LastIndex(rest, bare)
		if i < 0 {
			return nil, errors.New("the template does not show the assistant's last message, which therefore cannot be continued")
		}
		rest = rest[:i] + bare + text[len(strings.TrimRight(text, space)):]
	} else {
		rest = text
	}
	return t.tok.EncodeShielded(before+rest, mark), nil
}

// continued is the text that follows before once the assistant has said it.
func (t *templated) continued(msgs []exchange.Message, said exchange.Message, before string, mark rune) (string, error) {
	render := func(m exchange.Message) (string, error) { return t.render(append(slices.Clone(msgs), m), mark, false) }
	whole, err := render(said)
	if err != nil {
		return "", err
	}
	opened := opensThought(before)
	if said.Reasoning != "" && !opened {
		inline := exchange.Message{Role: said.Role, Content: said.Content}
		without, err := render(inline)
		if err != nil {
			return "", err
		}
		if without == whole { // the template has no place for it
			inline.Content = thought(said)
			if whole, err = render(inline); err != nil {
				return "", err
			}
		}
	}
	if rest, ok := strings.CutPrefix(whole, before); ok {
		return rest, nil
	}
	said.Reasoning, said.Content = t.tok.Shield(said.Reasoning, mark), t.tok.Shield(said.Content, mark)
	if opened {
		return said.Reasoning + tokenizer.ThinkEnd + said.Content, nil
	}
	return thought(said), nil
}

// thought is a message's text with its reasoning before it.
func thought(m exchange.Message) string {
	if m.Reasoning == "" {
		return m.Content
	}
	return tokenizer.ThinkStart + m.Reasoning + tokenizer.ThinkEnd + m.Content
}

// opensThought reports whether a prompt ends inside of the reasoning.
func opensThought(prompt string) bool {
	return strings.HasSuffix(strings.TrimRight(prompt, space), tokenizer.ThinkStart)
}

// closed is a response in tokens up to the first that ends an answer. Where a
// template ends none, white space ends a turn, and gives way to the end token.
func (t *templated) closed(response string, mark rune) []int32 {
	ids := t.tok.EncodeShielded(response, mark)
	end := slices.IndexFunc(ids, func(id int32) bool { return slices.Contains(t.spec.End, id) })
	if end < 0 {
		return append(t.tok.EncodeShielded(strings.TrimRight(response, space), mark), t.spec.End[0])
	}
	return ids[:end+1]
}

const space = " \t\r\n"

// shielded renders a conversation with every special token's text in its messages
// marked.
func (t *templated) shielded(msgs []exchange.Message, generate bool) (text string, mark rune, err error) {
	if mark, err = unused(msgs); err != nil {
		return "", 0, err
	}
	text, err = t.render(msgs, mark, generate)
	return text, mark, err
}

func (t *templated) render(msgs []exchange.Message, mark rune, generate bool) (string, error) {
	in := template.Input{AddGenerationPrompt: generate, BOS: t.spec.BOS, EOS: t.spec.EOS, Now: today}
	for i, m := range msgs {
		raw, err := json.Marshal(struct {
			Role      string `json:"role"`
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content,omitempty"`
		}{m.Role, t.tok.Shield(m.Content, mark), t.tok.Shield(m.Reasoning, mark)})
		if err != nil {
			return "", fmt.Errorf("message %d: %w", i+1, err)
		}
		in.Messages = append(in.Messages, raw)
	}
	return t.template.Render(in)
}

// The marks that a text may be shielded with: characters that Unicode keeps for a
// program's own use and that no text should hold.
const firstMark, lastMark rune = 0xFDD0, 0xFDEF

// unused is a mark that no message holds.
func unused(msgs []exchange.Message) (rune, error) {
	for mark := firstMark; mark <= lastMark; mark++ {
		if !slices.ContainsFunc(msgs, func(m exchange.Message) bool {
			return strings.ContainsRune(m.Content, mark) || strings.ContainsRune(m.Reasoning, mark)
		}) {
			return mark, nil
		}
	}
	return 0, errors.New("the messages hold every one of the noncharacters U+FDD0 to U+FDEF, of which one is needed: remove them")
}
