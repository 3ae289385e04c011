package openai

import (
	"cmp"
	"fmt"

	"retort/exchange"
	"retort/internal/wire"
)

// RequestOptions say how a request is put on the wire.
type RequestOptions struct {
	Stream bool
	// TokensField names the chat wire's field that carries the bound on output
	// tokens: "max_tokens" (the default) or "max_completion_tokens".
	TokensField string
	// SeedField names the field that carries the seed: "seed" if empty.
	SeedField string
	// ReasoningField names the field that carries the reasoning of earlier
	// turns: "reasoning_content" (the default) or "reasoning".
	ReasoningField string
	// NoSeed, NoStreamOptions and NoReasoning leave out what a provider
	// refuses: the seed, stream_options, the reasoning of earlier turns.
	NoSeed, NoStreamOptions, NoReasoning bool
}

// owned are the fields that EncodeRequest writes; parameters may not hold them.
var owned = []string{"model", "messages", "stream", "stream_options", "n", "seed", "max_tokens", "max_completion_tokens"}

// EncodeRequest returns the body of a chat-completions request that asks r for
// one answer. Fields come in alphabetical order, so that equal requests are
// equal bytes. The seed is derived from key unless r or the options say
// otherwise.
func EncodeRequest(r exchange.Request, key exchange.Key, opt RequestOptions) ([]byte, error) {
	body, err := wire.ParseFields(r.Params, "chat", owned, nil)
	if err != nil {
		return nil, err
	}
	if err := bounded(r); err != nil {
		return nil, err
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
	for i := range r.Messages {
		messages[i] = chatMessage(&r.Messages[i], opt)
	}
	set := map[string]any{"model": r.Model, "messages": messages, tokens: r.MaxTokens}
	if opt.Stream {
		set["stream"] = true
		if !opt.NoStreamOptions {
			set["stream_options"] = StreamOptions{IncludeUsage: true}
		}
	}
	if r.Seed == exchange.SeedDerived && !opt.NoSeed {
		set[cmp.Or(opt.SeedField, "seed")] = key.Seed()
	}
	for name, v := range set {
		if err := body.Set(name, v); err != nil {
			return nil, err
		}
	}
	return Encode(body)
}

// bounded reports a request whose cost nothing would bound.
func bounded(r exchange.Request) error {
	if r.Model == "" || len(r.Messages) == 0 {
		return fmt.Errorf("request lacks a model or messages")
	}
	if r.MaxTokens < 1 {
		return fmt.Errorf("max_tokens is %d: it must be at least 1, since it bounds what an answer costs", r.MaxTokens)
	}
	return nil
}

func chatMessage(m *exchange.Message, opt RequestOptions) Message {
	out := Message{Role: m.Role, Content: Text(m.Content), Name: m.Name, ToolCallID: m.ToolCallID}
	switch {
	case m.Reasoning == "" || opt.NoReasoning:
	case opt.ReasoningField == "reasoning":
		out.Reasoning = &m.Reasoning
	default:
		out.ReasoningContent = &m.Reasoning
	}
	for _, c := range m.ToolCalls {
		out.ToolCalls = append(out.ToolCalls, ToolCall{ID: c.ID, Type: "function", Function: FunctionCall{Name: c.Name, Arguments: c.Arguments}})
	}
	if len(out.ToolCalls) > 0 && m.Content == "" {
		out.Content = Content{kind: contentNull}
	}
	return out
}
