package wire

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ErrTooLarge says that a request body is larger than the limit.
var ErrTooLarge = errors.New("the request body is too large")

// ReadBody reads the body of a request, of at most limit bytes, and checks that
// it is JSON. Its error says what the client should be told.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, limit)
	case err != nil:
		return nil, errors.New("the request body could not be read")
	}
	if err := Check(body); err != nil {
		return nil, fmt.Errorf("the request body is not valid: %w", err)
	}
	return body, nil
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

// StreamWriter sends server-sent events. Each is flushed as it is written. It
// is not safe for concurrent use.
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

// Send writes v as one event without a name.
func (s *StreamWriter) Send(v any) error { return s.SendEvent("", v) }

// SendEvent writes v as one event of the given name.
func (s *StreamWriter) SendEvent(name string, v any) error {
	body, err := Encode(v)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	return s.RawEvent(name, body)
}

// Raw writes data, which must hold no line break, as one event.
func (s *StreamWriter) Raw(data []byte) error { return s.RawEvent("", data) }

// RawEvent writes data, which must hold no line break, as one event of the
// given name.
func (s *StreamWriter) RawEvent(name string, data []byte) error {
	if name != "" {
		name = "event: " + name + "\n"
	}
	return s.write(name+"data: ", data)
}

// Comment writes a comment, which readers ignore: it keeps a connection alive.
func (s *StreamWriter) Comment(text string) error { return s.write(": ", []byte(text)) }

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
