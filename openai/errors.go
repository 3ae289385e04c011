package openai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"retort/internal/wire"
)

// APIError is what a provider, or a server of ours, says about a request that
// failed.
type APIError struct {
	Status  int // HTTP status; 0 where it came in the middle of a stream
	Type    string
	Code    string
	Param   string
	Message string
}

// Error implements error.
func (e *APIError) Error() string {
	var b strings.Builder
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	} else {
		b.WriteString("error in the stream")
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " (%s)", e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// ParseError reads the body of a response with a non-2xx status. It reads the
// OpenAI envelope, the variants that other servers send, and, failing that,
// takes the first words of whatever came. It always returns an error value.
func ParseError(status int, body []byte) *APIError {
	e := &APIError{Status: status}
	var env struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"` // vLLM before 0.10, Mistral
		Type    string          `json:"type"`
		Code    Code            `json:"code"`
		Detail  json.RawMessage `json:"detail"` // FastAPI
	}
	if Check(body) == nil {
		var list []json.RawMessage
		if json.Unmarshal(body, &list) == nil && len(list) > 0 { // Gemini: a list of one
			body = list[0]
		}
	}
	if err := Check(body); err != nil || json.Unmarshal(body, &env) != nil {
		e.Message = wire.Excerpt(string(body))
		return e
	}
	var one ErrorBody
	var text string
	switch {
	case len(env.Error) > 0 && env.Error[0] == '{' && json.Unmarshal(env.Error, &one) == nil:
		e.fill(one)
		var google struct {
			Status string `json:"status"` // such as RESOURCE_EXHAUSTED, beside a code that is the status
		}
		if json.Unmarshal(env.Error, &google) == nil && e.Type == "" {
			e.Type = wire.Excerpt(google.Status)
		}
	case json.Unmarshal(env.Error, &text) == nil && text != "":
		e.Message = wire.Excerpt(text)
	case env.Message != "":
		e.Type, e.Code, e.Message = env.Type, string(env.Code), wire.Excerpt(env.Message)
	case len(env.Detail) > 0:
		e.Message = wire.Excerpt(string(env.Detail))
	default:
		e.Message = wire.Excerpt(string(body))
	}
	return e
}

func (e *APIError) fill(b ErrorBody) {
	e.Type, e.Code, e.Param, e.Message = b.Type, string(b.Code), b.Param, wire.Excerpt(b.Message)
}
