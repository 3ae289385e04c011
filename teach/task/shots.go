package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"retort/exchange"
)

// Shots are worked examples that a teacher is shown before every question, in
// the order of their file.
type Shots struct{ shots []shot }

// shot is one example: a conversation as it stands, or fields for the template
// and an answer.
type shot struct {
	at       place
	row      row
	messages []exchange.Message
}

// ReadShots reads worked examples from JSON lines. A line is either
//
//	{"messages": [{"role": "user", …}, {"role": "assistant", …}]}
//
// which is sent as it stands, or an object with an "answer" and, besides,
// either the fields that the prompts' template names, which is then rendered
// like any row, or a "prompt", which is sent as it stands. An answer that is
// an object or an array is sent as JSON; without "answer", the field of the
// gold answers is looked for.
func ReadShots(path string) (*Shots, error) {
	if ext := strings.ToLower(filepath.Ext(path)); ext != ".jsonl" && ext != ".ndjson" {
		return nil, fmt.Errorf("%s: shots are JSON lines; the name must end in .jsonl or .ndjson", path)
	}
	s := &Shots{}
	err := readJSONL(path, func(at place, r row) error {
		one := shot{at: at, row: r}
		if _, ok := r.values["messages"]; ok {
			m, err := r.messages(at, "messages")
			if err != nil {
				return err
			}
			if last := m[len(m)-1].Role; last != "assistant" {
				return at.errorf(r.column("messages"), "a shot ends with the assistant's answer; this one ends with the role %s", last)
			}
			if m[0].Role == "system" {
				return at.errorf(r.column("messages"), "a shot has no system prompt; name it once, for all prompts")
			}
			one.messages = m
		}
		s.shots = append(s.shots, one)
		return nil
	})
	if err == nil && len(s.shots) == 0 {
		err = errors.New(path + ": holds no shots")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// render returns the shots as messages. With no template a shot's "prompt" is
// what is asked.
func (s *Shots) render(t *template, gold string) ([]exchange.Message, error) {
	if s == nil {
		return nil, nil
	}
	var out []exchange.Message
	for _, one := range s.shots {
		if one.messages != nil {
			out = append(out, one.messages...)
			continue
		}
		asked, err := one.question(t)
		if err != nil {
			return nil, err
		}
		answer, err := one.answer(gold)
		if err != nil {
			return nil, err
		}
		out = append(out, exchange.Message{Role: "user", Content: asked}, exchange.Message{Role: "assistant", Content: answer})
	}
	return out, nil
}

func (s *shot) question(t *template) (string, error) {
	_, plain := s.row.values["prompt"]
	if t == nil || plain && !t.has(s.row) {
		return s.row.text(s.at, "prompt")
	}
	return t.render(s.at, s.row)
}

func (s *shot) answer(gold string) (string, error) {
	name := "answer"
	if _, ok := s.row.values[name]; !ok && gold != "" {
		if _, ok := s.row.values[gold]; ok {
			name = gold
		}
	}
	raw, err := s.row.field(s.at, name)
	if err != nil {
		return "", err
	}
	if raw[0] == '{' || raw[0] == '[' {
		var b bytes.Buffer
		err := json.Compact(&b, raw)
		return b.String(), err
	}
	answer, err := s.row.scalar(s.at, name)
	if err == nil && strings.TrimSpace(answer) == "" {
		err = s.at.errorf(s.row.column(name), "%q is empty; a shot shows an answer", name)
	}
	return answer, err
}
