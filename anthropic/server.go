package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"retort/internal/wire"
)

// ReadRequest reads and checks the body of a messages request of at most limit
// bytes, and that the request names the wire's version. Its error is what the
// client should be told; pass it to WriteError.
func ReadRequest(w http.ResponseWriter, r *http.Request, limit int64) (*Request, *APIError) {
	bad := func(status int, format string, args ...any) (*Request, *APIError) {
		return nil, &APIError{Status: status, Type: TypeOf(status), Message: fmt.Sprintf(format, args...)}
	}
	version := r.Header.Get(VersionHeader)
	switch version {
	case "":
		return bad(http.StatusBadRequest, "%s: header is required", VersionHeader)
	case Version, VersionSampling:
	default:
		return bad(http.StatusBadRequest, "%s: %q is none of the versions %s and %s", VersionHeader, version, Version, VersionSampling)
	}
	body, err := wire.ReadBody(w, r, limit)
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		return bad(http.StatusRequestEntityTooLarge, "%v", err)
	case err != nil:
		return bad(http.StatusBadRequest, "%v", err)
	}
	req := new(Request)
	if err := json.Unmarshal(body, req); err != nil {
		return bad(http.StatusBadRequest, "the request body is not a messages request: %v", err)
	}
	if version == Version {
		for i, given := range []bool{req.Temperature != nil, req.TopP != nil, req.TopK != nil} {
			if given {
				return bad(http.StatusBadRequest, "%s: Extra inputs are not permitted", sampling[i])
			}
		}
	}
	switch {
	case req.Model == "":
		return bad(http.StatusBadRequest, "model: field required")
	case req.MaxTokens == nil:
		return bad(http.StatusBadRequest, "max_tokens: field required")
	case *req.MaxTokens < 1:
		return bad(http.StatusBadRequest, "max_tokens: %d is less than 1", *req.MaxTokens)
	case len(req.Messages) == 0:
		return bad(http.StatusBadRequest, "messages: at least one message is required")
	}
	if t := req.Thinking; t != nil && t.Type == "enabled" {
		switch {
		case t.BudgetTokens == nil || *t.BudgetTokens < 1024:
			return bad(http.StatusBadRequest, "thinking.budget_tokens: must be at least 1024")
		case *t.BudgetTokens >= *req.MaxTokens:
			return bad(http.StatusBadRequest, "max_tokens: must be greater than thinking.budget_tokens")
		}
	}
	return req, nil
}

// WriteJSON sends v with the given status.
func WriteJSON(w http.ResponseWriter, status int, v any) error { return wire.WriteJSON(w, status, v) }

// WriteError sends e as the wire's error envelope; where it names no request,
// it takes the name that the response's header has. Other headers, such as
// Retry-After, are set by the caller before.
func WriteError(w http.ResponseWriter, e *APIError) error {
	return wire.WriteJSON(w, e.Status, e.envelope(w.Header().Get(RequestIDHeader)))
}

func (e *APIError) envelope(requestID string) ErrorEnvelope {
	if e.RequestID != "" {
		requestID = e.RequestID
	}
	return ErrorEnvelope{Type: EventError, Error: ErrorBody{Type: e.Type, Message: e.Message}, RequestID: requestID}
}

// StreamWriter sends a streamed response. Each event is flushed as it is
// written. It is not safe for concurrent use.
type StreamWriter struct{ out *wire.StreamWriter }

// NewStreamWriter sends the headers of a streamed response with status 200.
func NewStreamWriter(w http.ResponseWriter) *StreamWriter {
	return &StreamWriter{wire.NewStreamWriter(w)}
}

// Send writes an event under the name that is its type.
func (s *StreamWriter) Send(e Event) error { return s.out.SendEvent(e.Type, e) }

// Raw writes data, which must hold no line break, as an event of a type.
func (s *StreamWriter) Raw(typ string, data []byte) error { return s.out.RawEvent(typ, data) }

// Error reports a failure after the status line has gone out.
func (s *StreamWriter) Error(e *APIError) error {
	return s.out.SendEvent(EventError, e.envelope(""))
}
