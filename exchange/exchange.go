// Package exchange is Retort's vocabulary: what was asked of a model, what it
// answered, who it was, when, at what cost and under which terms, and the
// Asker interface through which every paid call goes.
//
// It holds values and no behaviour that needs a disk or a network; it imports
// the standard library and oklog/ulid and nothing else, so that every room may
// speak it. The ledger stores exchanges as records of several kinds and reads
// them together into the Exchange below.
package exchange

import (
	"context"
	"encoding/json"
)

// Origin says how an exchange came into the ledger.
type Origin string

// The origins.
const (
	OriginAPI    Origin = "api"    // collected from a teacher by this program
	OriginImport Origin = "import" // read from somebody's file or log
	OriginServed Origin = "served" // recorded by a gateway that served it
	OriginHuman  Origin = "human"  // written or corrected by a person
)

// Message is one turn of a conversation.
type Message struct {
	Role      string `json:"role"`                // system, user, assistant or tool
	Content   string `json:"content"`             // the text, without its reasoning
	Reasoning string `json:"reasoning,omitempty"` // the written-out reasoning that preceded Content

	// What conversations with tools hold besides.
	Name       string     `json:"name,omitempty"`         // of the participant, or of the tool that speaks
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`   // an assistant's
	ToolCallID string     `json:"tool_call_id,omitempty"` // the call that a tool's message answers
}

// Plain reports whether the message is text alone: nobody is named and no tool
// is called or answers.
func (m *Message) Plain() bool {
	return m.Name == "" && len(m.ToolCalls) == 0 && m.ToolCallID == ""
}

// Request is one sample to be asked of one model. It is independent of the
// wire: Body is the request body as a chat-completions JSON object in canonical
// form, without the fields that the wire adapter owns (model, stream,
// stream_options, n and a derived seed).
type Request struct {
	Endpoint string          // what names the teacher in a prompt key: base URL, or a built-in teacher's configuration
	Model    string          // the model asked
	Messages []Message       // the conversation as sent
	Params   json.RawMessage // canonical JSON object of the remaining request fields; nil means {}
	Sample   int             // index among several samples of one request, from 0

	// MaxTokens bounds the answer and with it the cost; it is sent and is
	// part of the key.
	MaxTokens int
	// Seed says whether a seed is sent that is derived from the key.
	Seed SeedMode

	// Run, Stage and Family say on whose behalf the call is made. They are
	// recorded and do not enter the key.
	Run, Stage, Family string
	// Problem is the identity of the problem asked, recorded for people who
	// look the exchange up.
	Problem string
}

// SeedMode says what a request's seed field holds.
type SeedMode string

// The seed modes.
const (
	SeedDerived SeedMode = ""     // a seed derived from the prompt key, so that a resumed run asks the same question
	SeedNone    SeedMode = "none" // no seed is sent: every call draws anew
)

// Asker is anything that answers requests: the collector with its ledger and
// budget, or a student served in process. An Asker is safe for concurrent use.
//
// The returned exchange is complete and, where a ledger stands behind the
// Asker, durable. An exchange that ended in an error that retrying did not
// cure is returned together with that error.
type Asker interface {
	Ask(ctx context.Context, r Request) (*Exchange, error)
}

// Exchange is one attempt at one request and all that came back, as read
// together from the ledger's records.
type Exchange struct {
	ID     ID  // of this attempt
	Parent ID  // the attempt that this one retries or continues; zero if none
	Key    Key // the prompt key: equal keys ask the same thing

	Run    string // the run on whose behalf it was made
	Stage  string // the stage of that run
	Origin Origin

	Provider       string // which provider's conventions the wire followed
	Endpoint       string // as in Request
	ModelAsked     string
	ModelAnswered  string // as the response names it
	Fingerprint    string // system_fingerprint of the response
	Account        string // keyed hash of the account that asked; empty for our own calls
	KeyID          string // which of the account's keys it used
	EndUser        string // keyed hash of the person on whose behalf the account asked, where it says so
	Family         string
	Problem        string
	TermsID        string // the terms row that it was obtained under
	TermsBasis     string // on what basis the gate let it pass
	ExposureArm    string // which arm of an exposure pair was served; empty if none
	Attempt        int    // from 1
	Status         int    // HTTP status; 0 if no response line arrived
	ErrorClass     ErrorClass
	ErrorText      string            // what was wrong, free of secrets
	RequestHeader  map[string]string // the subset of headers that is kept
	ResponseHeader map[string]string
	RequestBody    []byte // as it was on the wire
	ResponseBody   []byte // as it was on the wire, server-sent events included

	Answer Answer // the parsed view; zero if nothing could be parsed
	Usage  Usage
	Cost   Pico   // what it is charged in our books
	Worst  Pico   // what was reserved for it
	Price  string // the price-book entry used
	Times  Times
}

// Answer is the parsed view of a response.
type Answer struct {
	Reasoning    string     `json:"reasoning,omitempty"`
	Content      string     `json:"content,omitempty"`
	ToolCalls    []ToolCall `json:"tool_calls,omitempty"`
	FinishReason string     `json:"finish_reason,omitempty"`
}

// ToolCall is a call of a tool that an answer asks for.
type ToolCall struct {
	ID        string `json:"id,omitempty"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // as the model wrote them
}

// OK reports whether the exchange came to a regular end: an answer that was
// read to its end with a 2xx status.
func (e *Exchange) OK() bool {
	return e.ErrorClass == "" && e.Status >= 200 && e.Status < 300
}

// UsageSource says where token counts come from.
type UsageSource string

// The usage sources.
const (
	UsageReported  UsageSource = "reported"
	UsageEstimated UsageSource = "estimated"
	UsageMissing   UsageSource = "missing"
)

// Usage counts tokens. Reasoning tokens are part of Output; input tokens that
// were read from a provider's cache, and those that were written to it, are
// parts of Input that do not overlap.
type Usage struct {
	Source         UsageSource `json:"source"`
	Input          int64       `json:"input"`
	CachedInput    int64       `json:"cached_input,omitempty"`     // read from the cache
	CacheWrite     int64       `json:"cache_write,omitempty"`      // written to it for minutes
	CacheWriteLong int64       `json:"cache_write_long,omitempty"` // written to it for an hour or longer
	Output         int64       `json:"output"`
	Reasoning      int64       `json:"reasoning,omitempty"`
}

// Times are UTC nanoseconds since the Unix epoch; 0 means that it did not
// happen.
type Times struct {
	Queued    int64 `json:"queued,omitempty"`
	Sent      int64 `json:"sent,omitempty"`
	FirstByte int64 `json:"first_byte,omitempty"`
	LastByte  int64 `json:"last_byte,omitempty"`
}
