// Package anthropic is Anthropic's messages wire, as a client meets it and as a
// server of ours speaks it: requests, messages of content blocks, stream
// events, usage, errors and model lists.
//
// It parses copies: callers keep the raw bytes, and nothing here is written
// back in their place. Every object keeps the fields that it does not know in
// Extra, so that a value survives decode and encode. It opens no connection,
// retries nothing and counts no money; teach/collect does.
//
// A parsed answer is in our vocabulary: thinking blocks are its reasoning, text
// blocks its content, tool_use blocks its tool calls; stop reasons take the
// names that they have on the chat wire (FinishReason). What has no place there,
// such as redacted thinking and signatures, is in the raw bytes alone.
//
// Errors: *APIError is what a provider said in its error envelope, on a non-2xx
// status or in the middle of a stream. ErrMalformed wraps whatever is not what
// the wire says; ErrCut wraps a stream that ended before its answer did.
package anthropic

import (
	"encoding/json"

	"retort/internal/wire"
)

// The headers of the wire.
const (
	VersionHeader   = "anthropic-version" // carries a version; required
	KeyHeader       = "x-api-key"         // carries the API key; it may also come as a bearer token
	RequestIDHeader = "request-id"        // names a request in every response
)

// The versions of the wire. They differ, as far as this package is concerned, in
// one thing: since Version a request may not hold temperature, top_p or top_k,
// not even at their defaults. Older models still read them under VersionSampling.
const (
	Version         = "2026-10-21"
	VersionSampling = "2023-06-01"
)

var (
	// ErrMalformed says that a body is not what the wire says.
	ErrMalformed = wire.ErrMalformed
	// ErrCut says that a stream ended before its answer did.
	ErrCut = wire.ErrCut
)

// Extra holds the fields of an object that this package does not know.
type Extra = wire.Extra

// sampling are the parameters that Version does not have.
var sampling = []string{"temperature", "top_p", "top_k"}

// VersionOf returns the version that a request body is to be sent under.
func VersionOf(body []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return Version
	}
	for _, name := range sampling {
		if _, ok := fields[name]; ok {
			return VersionSampling
		}
	}
	return Version
}
