package exchange

import "fmt"

// ErrorClass sorts the ways in which an attempt can fail by what is to be done
// about it. The empty class means that it did not.
type ErrorClass string

// The error classes.
const (
	ClassRateLimited ErrorClass = "rate_limited" // 429: wait as told, try again
	ClassServer      ErrorClass = "server"       // 5xx and 408, 409, 425: try again
	ClassNetwork     ErrorClass = "network"      // connection refused, reset or cut: try again
	ClassTimeout     ErrorClass = "timeout"      // deadline or stall: try again
	ClassMalformed   ErrorClass = "malformed"    // a 2xx whose body is not what the wire says: try again
	ClassAuth        ErrorClass = "auth"         // 401, 403: the key is wrong; stop
	ClassNotFound    ErrorClass = "not_found"    // 404: model or address is wrong; stop
	ClassInvalid     ErrorClass = "invalid"      // other 4xx: this request is refused; do not repeat it
	ClassQuota       ErrorClass = "quota"        // the account's money is spent (402, insufficient_quota); stop
	ClassCancelled   ErrorClass = "cancelled"    // we gave up on it: interrupted
	ClassUnended     ErrorClass = "unended"      // an intent without an end: a crash cut it off; charged its worst case
)

// Retryable reports whether another attempt at the same request can help.
func (c ErrorClass) Retryable() bool {
	switch c {
	case ClassRateLimited, ClassServer, ClassNetwork, ClassTimeout, ClassMalformed:
		return true
	}
	return false
}

// Fatal reports whether no other request can succeed either, so that a run
// should stop and say why.
func (c ErrorClass) Fatal() bool {
	return c == ClassAuth || c == ClassNotFound || c == ClassQuota
}

// Error is a failed attempt.
type Error struct {
	Op    string // what was being done, such as "ask"
	What  string // to what: model and address, without secrets
	Class ErrorClass
	Code  string // the provider's error code, if any
	Err   error  // the cause
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Op
	if e.What != "" {
		s += " " + e.What
	}
	s += ": " + string(e.Class)
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
