package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"retort/exchange"
	"retort/openai"
)

// newJob reads a request as what the engine is to do, without a context.
func (e *Engine) newJob(req *openai.ChatRequest) (*job, *openai.APIError) {
	which, bad := e.modelOf(req.Model)
	if bad != nil {
		return nil, bad
	}
	j := &job{model: which, n: 1, inline: e.opt.InlineReasoning, stops: req.Stop, ready: make(chan struct{}, 1)}
	if req.N != nil {
		j.n = *req.N
	}
	if bad := j.readSampling(req.Temperature, req.TopP, req.Seed, req.Extra); bad != nil {
		return nil, bad
	}
	if bad := j.readExtra(req.Extra); bad != nil {
		return nil, bad
	}
	if bad := e.readAdjustments(j, req.Extra); bad != nil {
		return nil, bad
	}
	messages, bad := conversation(req.Messages)
	if bad != nil {
		return nil, bad
	}
	prompt, bad := e.readTurn(j, messages, req.Extra)
	if bad != nil {
		return nil, bad
	}
	j.prompts = [][]int32{prompt}
	room := e.opt.MaxContext - len(prompt)
	if room < 1 {
		return nil, &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "context_length_exceeded", Param: "messages",
			Message: fmt.Sprintf("this model's context is %d tokens and the messages take %d of them: shorten them", e.opt.MaxContext, len(prompt))}
	}
	j.maxTokens = room
	if most, ok := req.OutputLimit(); ok {
		j.maxTokens = min(room, most)
	}
	return j, nil
}

// readTurn lays out what is to be continued: the conversation by an answer, or, as
// vLLM's continue_final_message asks for, its last message, the assistant's. Where
// that begins with <think> and does not close it, what comes is more reasoning.
func (e *Engine) readTurn(j *job, messages []exchange.Message, extra openai.Extra) ([]int32, *openai.APIError) {
	goOn, generate := false, true
	if bad := readFields(extra, field{"continue_final_message", &goOn}, field{"add_generation_prompt", &generate}); bad != nil {
		return nil, bad
	}
	if _, said := extra["add_generation_prompt"]; said && generate == goOn {
		return nil, invalid("add_generation_prompt", "add_generation_prompt is %t: it has to be false where continue_final_message is true, and true elsewhere", generate)
	}
	if !goOn {
		prompt, err := e.format.Prompt(messages)
		if err != nil {
			return nil, invalid("messages", "%v", err)
		}
		return prompt, nil
	}
	if j.sampling.constraint != nil {
		return nil, invalid("continue_final_message", "continue_final_message cannot be combined with a form that the answer is kept to")
	}
	if last := len(messages) - 1; last >= 0 && messages[last].Reasoning == "" {
		m := &messages[last]
		if body := strings.TrimLeft(m.Content, space); strings.HasPrefix(body, thinkOpen) {
			m.Reasoning, m.Content, _ = strings.Cut(body[len(thinkOpen):], thinkClose)
		}
	}
	prompt, thinking, err := e.format.Continue(messages)
	if err != nil {
		return nil, invalid("messages", "%v", err)
	}
	j.begins = textContent
	if thinking && !j.inline {
		j.begins = textReasoning
	}
	return prompt, nil
}

// modelOf is the place of the model that a client asks for.
func (e *Engine) modelOf(name string) (int, *openai.APIError) {
	if i := slices.IndexFunc(e.served, func(s served) bool { return s.name == name }); i >= 0 {
		return i, nil
	}
	return 0, &openai.APIError{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("the model %q does not exist here; this server has %s", name, strings.Join(e.Models(), ", "))}
}

// invalid is a refusal of one parameter.
func invalid(param, format string, args ...any) *openai.APIError {
	return &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, args...)}
}

// readSampling reads how tokens are to be drawn; extra holds what OpenAI's wires
// do not have, top_k and min_p.
func (j *job) readSampling(t, p *float64, seed *int64, extra openai.Extra) *openai.APIError {
	j.sampling = sampling{temperature: 1, topP: 1}
	if t != nil {
		if !(*t >= 0 && *t <= 2) {
			return invalid("temperature", "temperature is %v, must be between 0 and 2", *t)
		}
		j.sampling.temperature = *t
	}
	if p != nil {
		if !(*p > 0 && *p <= 1) {
			return invalid("top_p", "top_p is %v, must be above 0 and at most 1", *p)
		}
		j.sampling.topP = *p
	}
	j.seed = rand.Uint64()
	if seed != nil {
		j.seed = uint64(*seed)
	}
	if bad := readFields(extra, field{"top_k", &j.sampling.topK}, field{"min_p", &j.sampling.minP}); bad != nil {
		return bad
	}
	switch {
	case j.sampling.topK < -1:
		return invalid("top_k", "top_k is %d, must be at least 1 (0 or -1: all)", j.sampling.topK)
	case j.sampling.topK == -1: // vLLM's way to say all
		j.sampling.topK = 0
	case !(j.sampling.minP >= 0 && j.sampling.minP <= 1):
		return invalid("min_p", "min_p is %v, must be between 0 and 1", j.sampling.minP)
	}
	return nil
}

// field is a field of a request that the wire's type does not name, and where
// its value goes.
type field struct {
	name string
	into any
}

// readFields reads the fields that are there and not null.
func readFields(extra openai.Extra, fields ...field) *openai.APIError {
	for _, f := range fields {
		raw, ok := extra[f.name]
		if !ok || bytes.Equal(raw, []byte("null")) {
			continue
		}
		if err := json.Unmarshal(raw, f.into); err != nil {
			return invalid(f.name, "%s is not of the right type", f.name)
		}
	}
	return nil
}

// refuse refuses fields that are there and ask for something.
func refuse(extra openai.Extra, names ...string) *openai.APIError {
	for _, name := range names {
		raw := bytes.TrimSpace(extra[name])
		if empty := len(raw) == 0 || slices.Contains([]string{"null", "[]", "{}", `""`, `["text"]`}, string(raw)); !empty {
			return invalid(name, "%s is not supported by this server", name)
		}
	}
	return nil
}

// readExtra reads the fields that openai.ChatRequest does not name. Those that
// would change the answer and that this server cannot honour are refused
// rather than passed over.
func (j *job) readExtra(extra openai.Extra) *openai.APIError {
	if bad := readFields(extra, field{"logprobs", &j.logprobs}, field{"top_logprobs", &j.top}); bad != nil {
		return bad
	}
	switch {
	case j.top < 0 || j.top > 20:
		return invalid("top_logprobs", "top_logprobs is %d, must be between 0 and 20", j.top)
	case j.top > 0 && !j.logprobs:
		return invalid("top_logprobs", "top_logprobs needs logprobs to be true")
	}
	return refuse(extra, "tools", "functions", "modalities", "audio", "prediction", "web_search_options")
}

// conversation turns the wire's messages into the template's.
func conversation(messages []openai.Message) ([]exchange.Message, *openai.APIError) {
	var out []exchange.Message
	for i, m := range messages {
		param := fmt.Sprintf("messages[%d]", i)
		role := m.Role
		switch role {
		case "system", "user", "assistant":
		case "developer":
			role = "system"
		default:
			return nil, invalid(param, "%s has role %q, must be system, developer, user or assistant", param, m.Role)
		}
		if !m.Content.TextOnly() {
			return nil, invalid(param, "%s holds something other than text, which this model cannot read", param)
		}
		if len(m.ToolCalls) > 0 {
			return nil, invalid(param, "%s holds tool calls, which this server does not support", param)
		}
		msg := exchange.Message{Role: role, Content: m.Content.String()}
		switch {
		case m.ReasoningContent != nil:
			msg.Reasoning = *m.ReasoningContent
		case m.Reasoning != nil:
			msg.Reasoning = *m.Reasoning
		}
		out = append(out, msg)
	}
	return out, nil
}
