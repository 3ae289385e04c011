package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"retort/internal/wire"
)

// ReadChatRequest reads and checks the body of a chat-completions request of
// at most limit bytes. Its error is what the client should be told; pass it to
// WriteAPIError.
func ReadChatRequest(w http.ResponseWriter, r *http.Request, limit int64) (*ChatRequest, *APIError) {
	req := new(ChatRequest)
	if bad := readRequest(w, r, limit, "chat-completions", req); bad != nil {
		return nil, bad
	}
	bad := func(param, format string, args ...any) (*ChatRequest, *APIError) {
		return nil, badRequest(http.StatusBadRequest, param, format, args...)
	}
	switch {
	case req.Model == "":
		return bad("model", "you must provide a model parameter")
	case len(req.Messages) == 0:
		return bad("messages", "messages must hold at least one message")
	}
	if n, ok := req.OutputLimit(); ok && n < 1 {
		return bad("max_tokens", "max_tokens is %d, must be at least 1", n)
	}
	if req.N != nil && (*req.N < 1 || *req.N > 128) {
		return bad("n", "n is %d, must be between 1 and 128", *req.N)
	}
	return req, nil
}

// readRequest reads the body of a request of a wire into req; nothing but its
// JSON is checked.
func readRequest(w http.ResponseWriter, r *http.Request, limit int64, name string, req any) *APIError {
	body, err := wire.ReadBody(w, r, limit)
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		return badRequest(http.StatusRequestEntityTooLarge, "", "%v", err)
	case err != nil:
		return badRequest(http.StatusBadRequest, "", "%v", err)
	}
	if err := json.Unmarshal(body, req); err != nil {
		return badRequest(http.StatusBadRequest, "", "the request body is not a %s request: %v", name, err)
	}
	return nil
}

func badRequest(status int, param, format string, args ...any) *APIError {
	return &APIError{Status: status, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, args...)}
}

// WriteError sends the OpenAI error envelope. Headers such as Retry-After are
// set by the caller before it.
func WriteError(w http.ResponseWriter, status int, typ, code, message string) error {
	return WriteAPIError(w, &APIError{Status: status, Type: typ, Code: code, Message: message})
}

// WriteAPIError sends e as the OpenAI error envelope.
func WriteAPIError(w http.ResponseWriter, e *APIError) error {
	return WriteJSON(w, e.Status, ErrorEnvelope{Error: e.body()})
}

func (e *APIError) body() ErrorBody {
	return ErrorBody{Message: e.Message, Type: e.Type, Param: e.Param, Code: Code(e.Code)}
}

// StreamWriter sends a streamed chat completion. Each event is flushed as it is
// written. It is not safe for concurrent use.
type StreamWriter struct{ *wire.StreamWriter }

// NewStreamWriter sends the headers of a streamed response with status 200.
func NewStreamWriter(w http.ResponseWriter) *StreamWriter {
	return &StreamWriter{wire.NewStreamWriter(w)}
}

// Error reports a failure after the status line has gone out.
func (s *StreamWriter) Error(e *APIError) error {
	return s.Send(ErrorEnvelope{Error: e.body()})
}

// Done writes the event that ends a stream.
func (s *StreamWriter) Done() error { return s.Raw([]byte("[DONE]")) }

// ReadResponsesRequest reads and checks the body of a request of the responses
// wire of at most limit bytes. Its error is what the client should be told; pass
// it to WriteAPIError.
func ReadResponsesRequest(w http.ResponseWriter, r *http.Request, limit int64) (*ResponsesRequest, *APIError) {
	req := new(ResponsesRequest)
	if bad := readRequest(w, r, limit, "responses", req); bad != nil {
		return nil, bad
	}
	bad := func(param, format string, args ...any) (*ResponsesRequest, *APIError) {
		return nil, badRequest(http.StatusBadRequest, param, format, args...)
	}
	switch {
	case req.Model == "":
		return bad("model", "you must provide a model parameter")
	case len(req.Input) == 0:
		return bad("input", "input must hold at least one item")
	case req.MaxOutputTokens != nil && *req.MaxOutputTokens < 1:
		return bad("max_output_tokens", "max_output_tokens is %d, must be at least 1", *req.MaxOutputTokens)
	case req.Background:
		return bad("background", "this server answers at once, never in the background")
	}
	return req, nil
}

// ResponsesWriter sends a streamed response of the responses wire: each event
// under the name that is its type, numbered from 0. It is not safe for
// concurrent use.
type ResponsesWriter struct {
	out  *wire.StreamWriter
	next int
}

// NewResponsesWriter sends the headers of a streamed response with status 200.
func NewResponsesWriter(w http.ResponseWriter) *ResponsesWriter {
	return &ResponsesWriter{out: wire.NewStreamWriter(w)}
}

// Send writes the next event and sets its number.
func (s *ResponsesWriter) Send(e ResponsesEvent) error {
	e.SequenceNumber = s.next
	s.next++
	return s.out.SendEvent(e.Type, e)
}

// Raw writes data, which must hold no line break, as an event of a type.
func (s *ResponsesWriter) Raw(typ string, data []byte) error { return s.out.RawEvent(typ, data) }

// Error reports a failure after the status line has gone out.
func (s *ResponsesWriter) Error(e *APIError) error {
	n := s.next
	s.next++
	return s.out.SendEvent(EventErr, struct {
		Type           string  `json:"type"`
		Code           Code    `json:"code"`
		Message        string  `json:"message"`
		Param          *string `json:"param"`
		SequenceNumber int     `json:"sequence_number"`
	}{EventErr, Code(e.Code), e.Message, nil, n})
}
