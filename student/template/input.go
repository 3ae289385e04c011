package template

import (
	"encoding/json"
	"errors"
	"fmt"
)

// variables are what a template finds, as apply_chat_template of transformers
// gives it.
func (r *run) variables(in Input) (map[string]any, error) {
	if len(in.Messages) == 0 {
		return nil, errors.New("the conversation has no messages")
	}
	r.now = in.Now
	size := 0
	read := func(raw json.RawMessage) (any, error) {
		size += len(raw)
		return decode(raw)
	}
	messages := list{}
	for i, raw := range in.Messages {
		v, err := read(raw)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		m, ok := v.(dict)
		if !ok {
			return nil, fmt.Errorf("message %d is not an object", i+1)
		}
		messages = append(messages, reasoned(m))
	}
	var tools any
	if in.Tools != nil {
		all := list{}
		for i, raw := range in.Tools {
			v, err := read(raw)
			if err != nil {
				return nil, fmt.Errorf("tool %d: %w", i+1, err)
			}
			if _, ok := v.(dict); !ok {
				return nil, fmt.Errorf("tool %d is not an object", i+1)
			}
			all = append(all, v)
		}
		tools = all
	}
	out := map[string]any{
		variable("messages"):              messages,
		variable("tools"):                 tools,
		variable("documents"):             nil,
		variable("add_generation_prompt"): in.AddGenerationPrompt,
	}
	for name, token := range map[string]string{"bos_token": in.BOS, "eos_token": in.EOS} {
		if token != "" {
			out[variable(name)] = token
		}
	}
	for name, raw := range in.Extra {
		switch name {
		case "messages", "tools", "documents", "add_generation_prompt", "loop":
			return nil, fmt.Errorf("the extra variable %s has a place of its own", name)
		}
		v, err := read(raw)
		if err != nil {
			return nil, fmt.Errorf("extra variable %s: %w", name, err)
		}
		out[variable(name)] = v
	}
	r.work = mostWork + workPerByte*size
	r.bytes = mostBytes + bytesPerByte*size
	r.longest = mostText + textPerByte*size
	return out, nil
}

// reasoned is a message without what is null, and with its reasoning under every
// name that templates read.
func reasoned(m dict) dict {
	out := make(dict, 0, len(m)+2)
	have := map[any]any{}
	for _, e := range m {
		if e.value != nil {
			out = append(out, e)
			have[e.key] = e.value
		}
	}
	var reasoning any
	for _, name := range []string{"reasoning", "thinking", "reasoning_content"} {
		if v, ok := have[name]; ok {
			reasoning = v
		}
	}
	if reasoning == nil {
		return out
	}
	if _, ok := have["thinking"]; !ok {
		out = append(dict{{"thinking", reasoning}}, out...)
	}
	for i := range out {
		if out[i].key == "reasoning_content" {
			out[i].value = reasoning
			return out
		}
	}
	return append(out, entry{"reasoning_content", reasoning})
}
