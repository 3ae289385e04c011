// Package wire is what the HTTP wires of openai and anthropic have in common:
// JSON objects that keep the fields they do not know, a check of JSON that
// comes from outside, and server-sent events, read and written.
//
// It knows no provider's objects and opens no connection.
//
// Errors: ErrMalformed wraps whatever is not what a wire says; ErrCut wraps a
// stream that ended before its answer did.
package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrMalformed says that a body is not what the wire says.
	ErrMalformed = errors.New("malformed")
	// ErrCut says that a stream ended before its answer did.
	ErrCut = errors.New("stream ended before the answer did")
)

// Extra holds the fields of an object that its type does not know.
type Extra map[string]json.RawMessage

// Excerpt makes text from outside fit to be shown: one line, printable, at
// most 400 bytes.
func Excerpt(s string) string {
	const most = 400
	cut := len(s) > most
	if cut {
		s = s[:most]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		s = s[:len(s)-1]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if cut {
		s += "…"
	}
	return s
}
