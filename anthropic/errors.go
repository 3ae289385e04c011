package anthropic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"retort/internal/wire"
)

// The types of error.
const (
	ErrInvalidRequest = "invalid_request_error" // 400
	ErrAuthentication = "authentication_error"  // 401
	ErrBilling        = "billing_error"         // 402
	ErrPermission     = "permission_error"      // 403
	ErrNotFound       = "not_found_error"       // 404
	ErrTooLarge       = "request_too_large"     // 413
	ErrRateLimit      = "rate_limit_error"      // 429
	ErrAPI            = "api_error"             // 500
	ErrTimeout        = "timeout_error"         // 504
	ErrOverloaded     = "overloaded_error"      // 529
)

// StatusOverloaded is the status with which a server refuses that is asked too
// much by everybody together.
const StatusOverloaded = 529

// APIError is what a provider, or a server of ours, says about a request that
// failed.
type APIError struct {
	Status    int // HTTP status; 0 where it came in the middle of a stream
	Type      string
	Message   string
	RequestID string
}

// Error implements error.
func (e *APIError) Error() string {
	var b strings.Builder
	switch {
	case e.Status == 0:
		b.WriteString("error in the stream")
	case e.Status == StatusOverloaded:
		b.WriteString("529 Overloaded")
	default:
		fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Type != "" {
		fmt.Fprintf(&b, " (%s)", e.Type)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// TypeOf returns the type of error that goes with a status.
func TypeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return ErrAuthentication
	case http.StatusPaymentRequired:
		return ErrBilling
	case http.StatusForbidden:
		return ErrPermission
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case http.StatusTooManyRequests:
		return ErrRateLimit
	case http.StatusGatewayTimeout:
		return ErrTimeout
	case StatusOverloaded:
		return ErrOverloaded
	}
	if status >= 500 {
		return ErrAPI
	}
	return ErrInvalidRequest
}

// ParseError reads the body of a response with a non-2xx status, or an error
// event: the wire's envelope, or, failing that, the first words of whatever
// came. It always returns an error value.
func ParseError(status int, body []byte) *APIError {
	e := &APIError{Status: status}
	var env struct {
		Error     json.RawMessage `json:"error"`
		RequestID string          `json:"request_id"`
		Message   string          `json:"message"`
	}
	if wire.Check(body) != nil || json.Unmarshal(body, &env) != nil {
		e.Message = wire.Excerpt(string(body))
		return e
	}
	e.RequestID = wire.Excerpt(env.RequestID)
	var one ErrorBody
	var text string
	switch {
	case len(env.Error) > 0 && env.Error[0] == '{' && json.Unmarshal(env.Error, &one) == nil:
		e.Type, e.Message = wire.Excerpt(one.Type), wire.Excerpt(one.Message)
	case json.Unmarshal(env.Error, &text) == nil && text != "":
		e.Message = wire.Excerpt(text)
	case env.Message != "":
		e.Message = wire.Excerpt(env.Message)
	default:
		e.Message = wire.Excerpt(string(body))
	}
	return e
}
