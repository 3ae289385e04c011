package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ReadChatRequest reads and checks the body of a chat-completions request of
// at most limit bytes. Its error is what the client should be told; pass it to
// WriteAPIError.
func ReadChatRequest(w http.ResponseWriter, r *http.Request, limit int64) (*ChatRequest, *APIError) {
	bad := func(status int, param, format string, args ...any) (*ChatRequest, *APIError) {
		return nil, &APIError{Status: status, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, args...)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bad(http.StatusRequestEntityTooLarge, "", "the request body is larger than %d bytes", limit)
	case err != nil:
		return bad(http.StatusBadRequest, "", "the request body could not be read")
	}
	if err := Check(body); err != nil {
		return bad(http.StatusBadRequest, "", "the request body is not valid: %v", err)
	}
	req := new(ChatRequest)
	if err := json.Unmarshal(body, req); err != nil {
		return bad(http.StatusBadRequest, "", "the request body is not a chat-completions request: %v", err)
	}
	switch {
	case req.Model == "":
		return bad(http.StatusBadRequest, "model", "you must provide a model parameter")
	case len(req.Messages) == 0:
		return bad(http.StatusBadRequest, "messages", "messages must hold at least one message")
	}
	if n, ok := req.OutputLimit(); ok && n < 1 {
		return bad(http.StatusBadRequest, "max_tokens", "max_tokens is %d, must be at least 1", n)
	}
	if req.N != nil && (*req.N < 1 || *req.N > 128) {
		return bad(http.StatusBadRequest, "n", "n is %d, must be between 1 and 128", *req.N)
	}
	return req, nil
}

// WriteJSON sends v with the given status.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := Encode(v)
	if err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
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

// StreamWriter sends a streamed response. Each event is flushed as it is
// written. It is not safe for concurrent use.
type StreamWriter struct {
	w     http.ResponseWriter
	flush func() error
}

// NewStreamWriter sends the headers of a streamed response with status 200.
func NewStreamWriter(w http.ResponseWriter) *StreamWriter {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // nginx would otherwise hold events back
	w.WriteHeader(http.StatusOK)
	return &StreamWriter{w: w, flush: http.NewResponseController(w).Flush}
}

// Send writes v as one event.
func (s *StreamWriter) Send(v any) error {
	body, err := Encode(v)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	return s.write("data: ", body)
}

// Raw writes data, which must hold no line break, as one event.
func (s *StreamWriter) Raw(data []byte) error { return s.write("data: ", data) }

// Comment writes a comment, which readers ignore: it keeps a connection alive.
func (s *StreamWriter) Comment(text string) error { return s.write(": ", []byte(text)) }

// Error reports a failure after the status line has gone out.
func (s *StreamWriter) Error(e *APIError) error {
	return s.Send(ErrorEnvelope{Error: e.body()})
}

// Done writes the event that ends a stream.
func (s *StreamWriter) Done() error { return s.write("data: ", []byte("[DONE]")) }

func (s *StreamWriter) write(prefix string, body []byte) error {
	buf := make([]byte, 0, len(prefix)+len(body)+2)
	buf = append(append(append(buf, prefix...), body...), '\n', '\n')
	if _, err := s.w.Write(buf); err != nil {
		return err
	}
	if err := s.flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
