package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"

	"retort/exchange"
	"retort/openai"
)

// newJob reads a request as what the engine is to do, without a context.
func (e *Engine) newJob(req *openai.ChatRequest) (*job, *openai.APIError) {
	if req.Model != e.opt.Model {
		return nil, &openai.APIError{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
			Message: fmt.Sprintf("the model %q does not exist here; this server has %q", req.Model, e.opt.Model)}
	}
	j := &job{n: 1, inline: e.opt.InlineReasoning, stops: req.Stop, ready: make(chan struct{}, 1)}
	if req.N != nil {
		j.n = *req.N
	}
	if bad := j.readSampling(req); bad != nil {
		return nil, bad
	}
	if bad := j.readExtra(req.Extra); bad != nil {
		return nil, bad
	}
	messages, bad := conversation(req.Messages)
	if bad != nil {
		return nil, bad
	}
	j.prompt = e.tok.Prompt(messages)
	room := e.opt.MaxContext - len(j.prompt)
	if room < 1 {
		return nil, &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "context_length_exceeded", Param: "messages",
			Message: fmt.Sprintf("this model's context is %d tokens and the messages take %d of them: shorten them", e.opt.MaxContext, len(j.prompt))}
	}
	j.maxTokens = room
	if most, ok := req.OutputLimit(); ok {
		j.maxTokens = min(room, most)
	}
	return j, nil
}

// invalid is a refusal of one parameter.
func invalid(param, format string, args ...any) *openai.APIError {
	return &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, args...)}
}

func (j *job) readSampling(req *openai.ChatRequest) *openai.APIError {
	j.sampling = sampling{temperature: 1, topP: 1}
	if t := req.Temperature; t != nil {
		if !(*t >= 0 && *t <= 2) {
			return invalid("temperature", "temperature is %v, must be between 0 and 2", *t)
		}
		j.sampling.temperature = *t
	}
	if p := req.TopP; p != nil {
		if !(*p > 0 && *p <= 1) {
			return invalid("top_p", "top_p is %v, must be above 0 and at most 1", *p)
		}
		j.sampling.topP = *p
	}
	j.seed = rand.Uint64()
	if req.Seed != nil {
		j.seed = uint64(*req.Seed)
	}
	return nil
}

// readExtra reads the fields that openai.ChatRequest does not name. Those that
// would change the answer and that this server cannot honour are refused
// rather than passed over.
func (j *job) readExtra(extra openai.Extra) *openai.APIError {
	read := func(name string, into any) *openai.APIError {
		raw, ok := extra[name]
		if !ok || bytes.Equal(raw, []byte("null")) {
			return nil
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return invalid(name, "%s is not of the right type", name)
		}
		return nil
	}
	var format struct{ Type string }
	var presence, frequency float64
	for _, field := range []struct {
		name string
		into any
	}{
		{"top_k", &j.sampling.topK}, {"logprobs", &j.logprobs}, {"top_logprobs", &j.top},
		{"response_format", &format}, {"presence_penalty", &presence}, {"frequency_penalty", &frequency},
	} {
		if bad := read(field.name, field.into); bad != nil {
			return bad
		}
	}
	switch {
	case j.sampling.topK < 0:
		if j.sampling.topK != -1 { // vLLM's way to say all
			return invalid("top_k", "top_k is %d, must be at least 1 (0 or -1: all)", j.sampling.topK)
		}
		j.sampling.topK = 0
	case j.top < 0 || j.top > 20:
		return invalid("top_logprobs", "top_logprobs is %d, must be between 0 and 20", j.top)
	case j.top > 0 && !j.logprobs:
		return invalid("top_logprobs", "top_logprobs needs logprobs to be true")
	case format.Type != "" && format.Type != "text":
		return invalid("response_format", "response_format %q is not supported, only text", format.Type)
	case presence != 0 || frequency != 0:
		return invalid("presence_penalty", "presence_penalty and frequency_penalty are not supported, only 0")
	}
	for _, name := range []string{"tools", "functions", "logit_bias", "modalities", "audio", "prediction", "web_search_options"} {
		raw := bytes.TrimSpace(extra[name])
		if empty := len(raw) == 0 || slices.Contains([]string{"null", "[]", "{}", `["text"]`}, string(raw)); !empty {
			return invalid(name, "%s is not supported by this server", name)
		}
	}
	return nil
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
