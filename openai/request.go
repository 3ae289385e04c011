package openai

import (
	"encoding/json"
	"fmt"

	"retort/exchange"
)

// RequestOptions say how a request is put on the wire.
type RequestOptions struct {
	Stream bool
	// TokensField names the field that carries the bound on output tokens:
	// "max_tokens" (the default) or "max_completion_tokens".
	TokensField string
}

// owned are the fields that EncodeRequest writes; parameters may not hold them.
var owned = []string{"model", "messages", "stream", "stream_options", "n", "seed", "max_tokens", "max_completion_tokens"}

// EncodeRequest returns the body that asks r for one answer. Fields come in
// alphabetical order, so that equal requests are equal bytes. The seed is
// derived from key unless r says otherwise.
func EncodeRequest(r exchange.Request, key exchange.Key, opt RequestOptions) ([]byte, error) {
	body := make(map[string]json.RawMessage)
	if len(r.Params) > 0 {
		if err := Check(r.Params); err != nil {
			return nil, fmt.Errorf("request parameters: %w", err)
		}
		if err := json.Unmarshal(r.Params, &body); err != nil {
			return nil, fmt.Errorf("request parameters are not an object: %w", err)
		}
	}
	for _, name := range owned {
		if _, ok := body[name]; ok {
			return nil, fmt.Errorf("request parameters hold %q, which is set elsewhere", name)
		}
	}
	if r.Model == "" || len(r.Messages) == 0 {
		return nil, fmt.Errorf("request lacks a model or messages")
	}
	if r.MaxTokens < 1 {
		return nil, fmt.Errorf("max_tokens is %d: it must be at least 1, since it bounds what an answer costs", r.MaxTokens)
	}
	tokens := opt.TokensField
	switch tokens {
	case "":
		tokens = "max_tokens"
	case "max_tokens", "max_completion_tokens":
	default:
		return nil, fmt.Errorf("tokens field %q is neither max_tokens nor max_completion_tokens", tokens)
	}
	messages := make([]Message, len(r.Messages))
	for i, m := range r.Messages {
		messages[i] = Message{Role: m.Role, Content: Text(m.Content)}
		if m.Reasoning != "" {
			messages[i].ReasoningContent = &m.Reasoning
		}
	}
	set := map[string]any{"model": r.Model, "messages": messages, tokens: r.MaxTokens}
	if opt.Stream {
		set["stream"] = true
		set["stream_options"] = StreamOptions{IncludeUsage: true}
	}
	if r.Seed == exchange.SeedDerived {
		set["seed"] = key.Seed()
	}
	for name, v := range set {
		raw, err := Encode(v)
		if err != nil {
			return nil, fmt.Errorf("request field %s: %w", name, err)
		}
		body[name] = raw
	}
	return Encode(body)
}
