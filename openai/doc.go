// Package openai is the OpenAI chat-completions wire: its requests, responses,
// stream chunks, usage, errors and model lists, as a client meets them and as
// a server of ours sends them.
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

import "errors"

var (
	// ErrMalformed says that a body is not a chat completion.
	ErrMalformed = errors.New("not a chat completion")
	// ErrCut says that a stream ended before its answer did.
	ErrCut = errors.New("stream ended before the answer did")
)
