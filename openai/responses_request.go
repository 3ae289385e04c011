package openai

import (
	"encoding/json"
	"fmt"

	"retort/exchange"
	"retort/internal/wire"
)

// ownedResponses are the fields that EncodeResponses writes.
var ownedResponses = []string{"model", "input", "stream", "stream_options", "max_output_tokens"}

// notResponses are parameters that the responses wire does not have, or that
// would bring input that nobody has counted.
var notResponses = []string{
	"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "n", "seed", "stop", "max_tokens", "max_completion_tokens",
	"modalities", "audio", "prediction", "functions", "function_call", "web_search_options",
	"background", "previous_response_id", "conversation", "prompt", "instructions",
}

// EncodeResponses returns the body of a request of the responses wire that asks
// r for one answer. Fields come in alphabetical order.
//
// Parameters may be given in this wire's words or in those of the chat wire:
// response_format, tools, tool_choice, reasoning_effort and verbosity are
// translated. What cannot be said on this wire, what would bring input from
// elsewhere (previous_response_id, conversation, prompt), and tools that the
// provider runs and bills by the call, are refused rather than left out.
//
// The provider is asked not to store the response unless the parameters say
// otherwise. The reasoning of earlier turns is not sent: the wire takes it back
// only in a form that is not text. No seed is sent, since there is none.
//
// max_output_tokens bounds all that is billed as output, reasoning included.
func EncodeResponses(r exchange.Request, opt RequestOptions) ([]byte, error) {
	body, err := wire.ParseFields(r.Params, "responses", ownedResponses, notResponses)
	if err != nil {
		return nil, err
	}
	if err := bounded(r); err != nil {
		return nil, err
	}
	p := responsesParams{body}
	for _, step := range []func() error{p.format, p.tools, p.choice, p.effort, p.verbosity} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("request parameters: %w", err)
		}
	}
	input, err := inputItems(r.Messages)
	if err != nil {
		return nil, err
	}
	set := map[string]any{"model": r.Model, "input": input, "max_output_tokens": r.MaxTokens}
	if opt.Stream {
		set["stream"] = true
	}
	if _, ok := body["store"]; !ok {
		set["store"] = false
	}
	for name, v := range set {
		if err := body.Set(name, v); err != nil {
			return nil, err
		}
	}
	return Encode(body)
}

// responsesParams puts the chat wire's words into the responses wire's.
type responsesParams struct{ wire.Fields }

func (p responsesParams) format() error {
	var format struct {
		Type       string          `json:"type"`
		JSONSchema json.RawMessage `json:"json_schema"`
	}
	if ok, err := p.Take("response_format", &format); !ok {
		return err
	}
	out := TextFormat{Type: format.Type}
	if format.Type == "json_schema" {
		if err := json.Unmarshal(format.JSONSchema, &out); err != nil {
			return fmt.Errorf("response_format.json_schema: %w", err)
		}
		out.Type = format.Type
		if len(out.Schema) == 0 {
			return fmt.Errorf("response_format.json_schema lacks its schema")
		}
	}
	return p.SetIn("text", "format", out)
}

func (p responsesParams) verbosity() error {
	var v string
	if ok, err := p.Take("verbosity", &v); !ok {
		return err
	}
	return p.SetIn("text", "verbosity", v)
}

func (p responsesParams) effort() error {
	var v string
	if ok, err := p.Take("reasoning_effort", &v); !ok {
		return err
	}
	return p.SetIn("reasoning", "effort", v)
}

func (p responsesParams) tools() error {
	var tools []json.RawMessage
	if ok, err := p.Take("tools", &tools); !ok {
		return err
	}
	for i, raw := range tools {
		var t struct {
			Type     string          `json:"type"`
			Function json.RawMessage `json:"function"`
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("tools[%d]: %w", i, err)
		}
		if t.Type != "function" {
			return fmt.Errorf("tools[%d] is of type %q: what the provider runs itself is billed by the call, which the budget cannot bound", i, t.Type)
		}
		if len(t.Function) == 0 {
			continue
		}
		var out ResponsesTool
		if err := json.Unmarshal(t.Function, &out); err != nil {
			return fmt.Errorf("tools[%d].function: %w", i, err)
		}
		out.Type = t.Type
		flat, err := Encode(out)
		if err != nil {
			return fmt.Errorf("tools[%d]: %w", i, err)
		}
		tools[i] = flat
	}
	return p.Set("tools", tools)
}

func (p responsesParams) choice() error {
	raw, ok := p.Fields["tool_choice"]
	if !ok {
		return nil
	}
	var choice struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(raw, &choice) == nil && choice.Function.Name != "" {
		return p.Set("tool_choice", map[string]string{"type": choice.Type, "name": choice.Function.Name})
	}
	return nil
}

// inputItems is a conversation as a list of items.
func inputItems(messages []exchange.Message) ([]Item, error) {
	var out []Item
	for i, m := range messages {
		if m.Name != "" && m.Role != "tool" {
			return nil, fmt.Errorf("messages[%d] names %q: the responses wire has no names of participants", i, m.Name)
		}
		if m.Role == "tool" {
			text, err := Encode(m.Content)
			if err != nil {
				return nil, fmt.Errorf("messages[%d]: %w", i, err)
			}
			out = append(out, Item{Type: ItemCallOutput, CallID: m.ToolCallID, Output: text})
			continue
		}
		if m.Content != "" || len(m.ToolCalls) == 0 {
			out = append(out, Item{Role: m.Role, Content: ItemText(m.Content)})
		}
		for _, c := range m.ToolCalls {
			out = append(out, Item{Type: ItemCall, CallID: c.ID, Name: c.Name, Arguments: &c.Arguments})
		}
	}
	return out, nil
}
