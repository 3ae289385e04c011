package anthropic

import (
	"encoding/json"
	"fmt"
	"strings"

	"retort/exchange"
	"retort/internal/wire"
)

// RequestOptions say how a request is put on the wire.
type RequestOptions struct {
	Stream bool
}

// owned are the fields that EncodeRequest writes; parameters may not hold them.
var owned = []string{"model", "messages", "system", "stream", "max_tokens"}

// chatOnly are the chat wire's parameters that this wire has no counterpart of.
var chatOnly = []string{
	"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "n", "seed", "stream_options",
	"max_completion_tokens", "modalities", "audio", "prediction", "verbosity", "functions", "function_call", "store", "user",
	"web_search_options", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
}

// EncodeRequest returns the body that asks r for one answer. Fields come in
// alphabetical order, so that equal requests are equal bytes.
//
// Parameters may be given in this wire's words or in those of the chat wire:
// stop, response_format (of type json_schema), tools, tool_choice,
// parallel_tool_calls and reasoning_effort are translated. What cannot be said
// on this wire, and tools that the provider runs and bills by the call, are
// refused rather than left out.
//
// Leading system messages become the system prompt. The reasoning of earlier
// turns is not sent: the wire takes it back only with a signature.
//
// max_tokens bounds all that is billed as output, thinking included.
func EncodeRequest(r exchange.Request, opt RequestOptions) ([]byte, error) {
	fields, err := wire.ParseFields(r.Params, "messages", owned, chatOnly)
	if err != nil {
		return nil, err
	}
	p := params{fields}
	if r.Model == "" || len(r.Messages) == 0 {
		return nil, fmt.Errorf("request lacks a model or messages")
	}
	if r.MaxTokens < 1 {
		return nil, fmt.Errorf("max_tokens is %d: it must be at least 1, since it bounds what an answer costs", r.MaxTokens)
	}
	if err := p.translate(); err != nil {
		return nil, fmt.Errorf("request parameters: %w", err)
	}
	if err := p.checkThinking(r.MaxTokens); err != nil {
		return nil, fmt.Errorf("request parameters: %w", err)
	}
	system, messages, err := conversation(r.Messages)
	if err != nil {
		return nil, err
	}
	set := map[string]any{"model": r.Model, "messages": messages, "max_tokens": r.MaxTokens}
	if system != "" {
		set["system"] = system
	}
	if opt.Stream {
		set["stream"] = true
	}
	for name, v := range set {
		if err := p.Set(name, v); err != nil {
			return nil, err
		}
	}
	return wire.Encode(p.Fields)
}

// params are a request's fields by name.
type params struct{ wire.Fields }

// translate puts the chat wire's words into this wire's.
func (p params) translate() error {
	for _, step := range []func() error{p.translateStop, p.translateFormat, p.translateTools, p.translateChoice, p.translateEffort} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (p params) translateStop() error {
	var raw json.RawMessage
	if ok, err := p.Take("stop", &raw); !ok {
		return err
	}
	var list []string
	if raw[0] == '"' {
		list = []string{""}
		if err := json.Unmarshal(raw, &list[0]); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("stop is neither a text nor a list of texts")
	}
	if _, ok := p.Fields["stop_sequences"]; ok {
		return fmt.Errorf("both stop and stop_sequences are given")
	}
	return p.Set("stop_sequences", list)
}

func (p params) translateFormat() error {
	var format struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	}
	if ok, err := p.Take("response_format", &format); !ok {
		return err
	}
	switch format.Type {
	case "text":
		return nil
	case "json_schema":
		if len(format.JSONSchema.Schema) == 0 {
			return fmt.Errorf("response_format.json_schema lacks its schema")
		}
		return p.SetIn("output_config", "format", OutputFormat{Type: "json_schema", Schema: format.JSONSchema.Schema})
	}
	return fmt.Errorf("response_format of type %q: the messages wire has json_schema alone", format.Type)
}

func (p params) translateEffort() error {
	var effort string
	if ok, err := p.Take("reasoning_effort", &effort); !ok {
		return err
	}
	return p.SetIn("output_config", "effort", effort)
}

func (p params) translateTools() error {
	var tools []json.RawMessage
	if ok, err := p.Take("tools", &tools); !ok {
		return err
	}
	for i, raw := range tools {
		var t struct {
			Type     string           `json:"type"`
			Function *json.RawMessage `json:"function"`
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("tools[%d]: %w", i, err)
		}
		switch {
		case t.Type == "function" && t.Function != nil:
			var f struct {
				Name        string          `json:"name"`
				Description string          `json:"description"`
				Parameters  json.RawMessage `json:"parameters"`
				Strict      *bool           `json:"strict"`
			}
			if err := json.Unmarshal(*t.Function, &f); err != nil {
				return fmt.Errorf("tools[%d].function: %w", i, err)
			}
			if len(f.Parameters) == 0 {
				f.Parameters = json.RawMessage(`{"type":"object","properties":{}}`)
			}
			out, err := wire.Encode(Tool{Name: f.Name, Description: f.Description, InputSchema: f.Parameters, Strict: f.Strict})
			if err != nil {
				return fmt.Errorf("tools[%d]: %w", i, err)
			}
			tools[i] = out
		case t.Type != "" && t.Type != "custom":
			return fmt.Errorf("tools[%d] is of type %q: what the provider runs itself is billed by the call, which the budget cannot bound", i, t.Type)
		}
	}
	return p.Set("tools", tools)
}

func (p params) translateChoice() error {
	var raw json.RawMessage
	given, err := p.Take("tool_choice", &raw)
	if err != nil {
		return err
	}
	choice := ToolChoice{Type: "auto"}
	var word string
	switch {
	case !given:
	case json.Unmarshal(raw, &word) == nil:
		choice.Type = word
		if word == "required" {
			choice.Type = "any"
		}
	default:
		var function struct {
			Type     string `json:"type"`
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		}
		if err := json.Unmarshal(raw, &function); err != nil {
			return fmt.Errorf("tool_choice: %w", err)
		}
		if function.Type == "function" {
			choice = ToolChoice{Type: "tool", Name: function.Function.Name}
		} else if err := json.Unmarshal(raw, &choice); err != nil {
			return fmt.Errorf("tool_choice: %w", err)
		}
	}
	parallel := true
	asked, err := p.Take("parallel_tool_calls", &parallel)
	if err != nil {
		return err
	}
	if !parallel {
		choice.DisableParallelToolUse = true
	}
	if !given && (!asked || parallel) {
		return nil
	}
	return p.Set("tool_choice", choice)
}

// checkThinking reports a budget of thinking that max_tokens would not bound.
func (p params) checkThinking(maxTokens int) error {
	raw, ok := p.Fields["thinking"]
	if !ok {
		return nil
	}
	var t Thinking
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("thinking: %w", err)
	}
	if t.BudgetTokens != nil && *t.BudgetTokens >= maxTokens {
		return fmt.Errorf("thinking.budget_tokens is %d, which must be less than max_tokens (%d): both are billed as output, and max_tokens bounds them together",
			*t.BudgetTokens, maxTokens)
	}
	return nil
}

// conversation returns the leading system messages as the system prompt and the
// rest as turns. The results of one turn's calls are one turn of the user's.
func conversation(in []exchange.Message) (system string, out []Message, err error) {
	lead := 0
	var prompts []string
	for lead < len(in) && isSystem(in[lead].Role) {
		prompts = append(prompts, in[lead].Content)
		lead++
	}
	results := false // the last turn holds results, and more may join them
	for i, m := range in[lead:] {
		if m.Name != "" && m.Role != "tool" {
			return "", nil, fmt.Errorf("messages[%d] names %q: the messages wire has no names of participants", lead+i, m.Name)
		}
		switch {
		case m.Role == "tool":
			block := Block{Type: TypeToolResult, ToolUseID: m.ToolCallID, Content: Text(m.Content)}
			if results {
				last := &out[len(out)-1]
				last.Content = Blocks(append(last.Content.Blocks(), block)...)
			} else {
				out = append(out, Message{Role: "user", Content: Blocks(block)})
			}
		case len(m.ToolCalls) > 0:
			turn, err := callTurn(m)
			if err != nil {
				return "", nil, fmt.Errorf("messages[%d]: %w", lead+i, err)
			}
			out = append(out, turn)
		case isSystem(m.Role):
			out = append(out, Message{Role: "system", Content: Text(m.Content)})
		default:
			out = append(out, Message{Role: m.Role, Content: Text(m.Content)})
		}
		results = m.Role == "tool"
	}
	if len(out) == 0 {
		return "", nil, fmt.Errorf("the messages hold nothing but a system prompt")
	}
	return strings.Join(prompts, "\n\n"), out, nil
}

func isSystem(role string) bool { return role == "system" || role == "developer" }

// callTurn is a turn in which the assistant called tools.
func callTurn(m exchange.Message) (Message, error) {
	var blocks []Block
	if m.Content != "" {
		blocks = append(blocks, TextBlock(m.Content))
	}
	for _, c := range m.ToolCalls {
		input := json.RawMessage(c.Arguments)
		if err := wire.Check(input); err != nil || !wire.LooksLikeObject(input) {
			return Message{}, fmt.Errorf("the arguments of the call of %q are not a JSON object, as the messages wire wants them", c.Name)
		}
		blocks = append(blocks, ToolUseBlock(c.ID, c.Name, input))
	}
	return Message{Role: m.Role, Content: Blocks(blocks...)}, nil
}
