// Package openai is OpenAI's wires, chat completions and responses, as a client
// meets them and as a server of ours speaks them, and the older completions as a
// server speaks them: requests, responses, stream events, usage, errors, model
// lists and batch files.
//
// It parses copies: callers keep the raw bytes, and nothing here is written
// back in their place. Every object keeps the fields that it does not know in
// Extra, so that a value survives decode and encode. It opens no connection,
// retries nothing and counts no money; teach/collect does.
//
// What comes in is hostile until shown otherwise. Check refuses JSON that is
// nested deeper than MaxDepth, that repeats a name within an object or that is
// not UTF-8, and everything that parses a body calls it first.
//
// Errors: *APIError is what a provider said in its error envelope, on a
// non-2xx status or in the middle of a stream. ErrMalformed wraps whatever is
// not what the wire says; ErrCut wraps a stream that ended before its answer
// did.
package openai

import (
	"net/http"

	"retort/internal/wire"
)

var (
	// ErrMalformed says that a body is not what the wire says.
	ErrMalformed = wire.ErrMalformed
	// ErrCut says that a stream ended before its answer did.
	ErrCut = wire.ErrCut
)

// MaxDepth is how deep JSON may be nested.
const MaxDepth = wire.MaxDepth

// MaxEvent is the largest event, in bytes, that a stream may hold.
const MaxEvent = wire.MaxEvent

// Extra holds the fields of an object that this package does not know.
type Extra = wire.Extra

// Event is one server-sent event.
type Event = wire.Event

// EventDecoder splits server-sent events out of bytes that arrive in any
// pieces.
type EventDecoder = wire.EventDecoder

// Check reports why raw is not one JSON value that this package will read: bad
// syntax, not UTF-8, too deep, or an object that repeats a name.
func Check(raw []byte) error { return wire.Check(raw) }

// Encode writes v as JSON on one line without escaping <, > and &.
func Encode(v any) ([]byte, error) { return wire.Encode(v) }

// WriteJSON sends v with the given status.
func WriteJSON(w http.ResponseWriter, status int, v any) error { return wire.WriteJSON(w, status, v) }

// SplitThink separates the reasoning that a model wrote inside <think> tags at
// the start of its content from the answer after it.
func SplitThink(content string) (reasoning, answer string) { return wire.SplitThink(content) }
