package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"retort/internal/wire"
)

// Request is the body of POST /v1/messages. Pointers tell absent from zero.
type Request struct {
	Model         string        `json:"model"`
	MaxTokens     *int          `json:"max_tokens,omitempty"` // required
	Messages      []Message     `json:"messages"`
	System        Content       `json:"system,omitzero"`
	Temperature   *float64      `json:"temperature,omitempty"`
	TopP          *float64      `json:"top_p,omitempty"`
	TopK          *int          `json:"top_k,omitempty"`
	StopSequences []string      `json:"stop_sequences,omitempty"`
	Stream        bool          `json:"stream,omitempty"`
	Tools         []Tool        `json:"tools,omitempty"`
	ToolChoice    *ToolChoice   `json:"tool_choice,omitempty"`
	Thinking      *Thinking     `json:"thinking,omitempty"`
	OutputConfig  *OutputConfig `json:"output_config,omitempty"`
	CacheControl  *CacheControl `json:"cache_control,omitempty"` // of the last block that can be cached
	Extra         Extra         `json:"-"`
}

// Message is one turn of a request's conversation.
type Message struct {
	Role    string  `json:"role"` // user or assistant; system in the middle of a conversation
	Content Content `json:"content,omitzero"`
	Extra   Extra   `json:"-"`
}

// Content is what a turn holds: absent, a string, or a list of blocks.
type Content struct {
	kind   contentKind
	text   string
	blocks []Block
}

type contentKind uint8

const (
	contentAbsent contentKind = iota
	contentText
	contentBlocks
)

// Text returns a content that is a string.
func Text(s string) Content { return Content{kind: contentText, text: s} }

// Blocks returns a content that is a list of blocks.
func Blocks(blocks ...Block) Content { return Content{kind: contentBlocks, blocks: blocks} }

// IsZero reports whether the content is absent.
func (c Content) IsZero() bool { return c.kind == contentAbsent }

// Blocks returns the blocks; a string is one block of text.
func (c Content) Blocks() []Block {
	if c.kind == contentText {
		return []Block{TextBlock(c.text)}
	}
	return c.blocks
}

// String returns the text: the string, or the text blocks one after another.
func (c Content) String() string {
	if c.kind == contentText {
		return c.text
	}
	var b strings.Builder
	for i := range c.blocks {
		if t := c.blocks[i].Text; t != nil {
			b.WriteString(*t)
		}
	}
	return b.String()
}

// The types of block that this package knows.
const (
	TypeText             = "text"
	TypeThinking         = "thinking"
	TypeRedactedThinking = "redacted_thinking"
	TypeToolUse          = "tool_use"
	TypeToolResult       = "tool_result"
)

// Block is one element of a content. Which fields are set depends on its type.
type Block struct {
	Type         string          `json:"type"`
	Text         *string         `json:"text,omitempty"`
	Thinking     *string         `json:"thinking,omitempty"`
	Signature    *string         `json:"signature,omitempty"`
	Data         string          `json:"data,omitempty"` // of redacted thinking
	ID           string          `json:"id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        json.RawMessage `json:"input,omitempty"`       // of tool_use: an object
	ToolUseID    string          `json:"tool_use_id,omitempty"` // of tool_result: the call that it answers
	Content      Content         `json:"content,omitzero"`      // of tool_result
	CacheControl *CacheControl   `json:"cache_control,omitempty"`
	Extra        Extra           `json:"-"`
}

// TextBlock returns a block of text.
func TextBlock(s string) Block { return Block{Type: TypeText, Text: &s} }

// ThinkingBlock returns a block of thinking with its signature.
func ThinkingBlock(thinking, signature string) Block {
	return Block{Type: TypeThinking, Thinking: &thinking, Signature: &signature}
}

// ToolUseBlock returns a call of a tool; input is a JSON object.
func ToolUseBlock(id, name string, input json.RawMessage) Block {
	return Block{Type: TypeToolUse, ID: id, Name: name, Input: input}
}

// Tool is a tool that the model may call. One without a type, or of type
// custom, is the client's own; others are run, and billed, by the provider.
type Tool struct {
	Type        string          `json:"type,omitempty"`
	Name        string          `json:"name,omitempty"`
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
	Extra       Extra           `json:"-"`
}

// ToolChoice says whether, and which, tools are called: auto, any, tool or
// none.
type ToolChoice struct {
	Type                   string `json:"type"`
	Name                   string `json:"name,omitempty"`
	DisableParallelToolUse bool   `json:"disable_parallel_tool_use,omitempty"`
	Extra                  Extra  `json:"-"`
}

// Thinking says whether the model thinks before it answers: enabled with a
// budget that is less than max_tokens, adaptive, or disabled.
type Thinking struct {
	Type         string `json:"type"`
	BudgetTokens *int   `json:"budget_tokens,omitempty"`
	Extra        Extra  `json:"-"`
}

// OutputConfig shapes the answer.
type OutputConfig struct {
	Format *OutputFormat `json:"format,omitempty"`
	Effort string        `json:"effort,omitempty"`
	Extra  Extra         `json:"-"`
}

// OutputFormat is a JSON schema that the answer's text keeps to.
type OutputFormat struct {
	Type   string          `json:"type"` // json_schema
	Schema json.RawMessage `json:"schema,omitempty"`
	Extra  Extra           `json:"-"`
}

// CacheControl asks for the prompt up to a block to be cached.
type CacheControl struct {
	Type  string `json:"type"`          // ephemeral
	TTL   string `json:"ttl,omitempty"` // 5m, the default, or 1h
	Extra Extra  `json:"-"`
}

// Response is the message that answers a request.
type Response struct {
	ID           string  `json:"id"`
	Type         string  `json:"type"` // message
	Role         string  `json:"role"` // assistant
	Model        string  `json:"model"`
	Content      []Block `json:"content"`
	StopReason   *string `json:"stop_reason"` // null while it is streamed
	StopSequence *string `json:"stop_sequence"`
	Usage        *Usage  `json:"usage,omitempty"`
	Extra        Extra   `json:"-"`
}

// The stop reasons.
const (
	StopEndTurn       = "end_turn"
	StopMaxTokens     = "max_tokens"
	StopSequence      = "stop_sequence"
	StopToolUse       = "tool_use"
	StopPauseTurn     = "pause_turn"
	StopRefusal       = "refusal"
	StopContextWindow = "model_context_window_exceeded"
)

// FinishReason returns the chat wire's name for a stop reason: stop, length,
// tool_calls or content_filter. One that the chat wire has no name for keeps
// its own.
func FinishReason(stop string) string {
	switch stop {
	case StopEndTurn, StopSequence:
		return "stop"
	case StopMaxTokens, StopContextWindow:
		return "length"
	case StopToolUse:
		return "tool_calls"
	case StopRefusal:
		return "content_filter"
	}
	return stop
}

// The types of stream event.
const (
	EventMessageStart = "message_start"
	EventBlockStart   = "content_block_start"
	EventBlockDelta   = "content_block_delta"
	EventBlockStop    = "content_block_stop"
	EventMessageDelta = "message_delta"
	EventMessageStop  = "message_stop"
	EventPing         = "ping"
	EventError        = "error"
)

// Event is one event of a streamed response. Which fields are set depends on
// its type; a type that is not listed here is skipped by readers.
type Event struct {
	Type         string     `json:"type"`
	Message      *Response  `json:"message,omitempty"`       // of message_start: without content and stop reason
	Index        *int       `json:"index,omitempty"`         // of the block that the event is about
	ContentBlock *Block     `json:"content_block,omitempty"` // of content_block_start: empty
	Delta        *Delta     `json:"delta,omitempty"`
	Usage        *Usage     `json:"usage,omitempty"` // of message_delta: totals so far
	Error        *ErrorBody `json:"error,omitempty"`
	RequestID    string     `json:"request_id,omitempty"` // of an error
	Extra        Extra      `json:"-"`
}

// The types of a block's delta.
const (
	DeltaText      = "text_delta"
	DeltaThinking  = "thinking_delta"
	DeltaSignature = "signature_delta"
	DeltaInput     = "input_json_delta"
)

// Delta is what an event adds to a block, or, in a message_delta, to the
// message itself.
type Delta struct {
	Type        string  `json:"type,omitempty"`
	Text        *string `json:"text,omitempty"`
	Thinking    *string `json:"thinking,omitempty"`
	Signature   *string `json:"signature,omitempty"`
	PartialJSON *string `json:"partial_json,omitempty"`

	StopReason   *string `json:"stop_reason,omitempty"`
	StopSequence *string `json:"stop_sequence,omitempty"`
	Extra        Extra   `json:"-"`
}

// ErrorEnvelope is the body of a failed request, and an error in a stream.
type ErrorEnvelope struct {
	Type      string    `json:"type"` // error
	Error     ErrorBody `json:"error"`
	RequestID string    `json:"request_id,omitempty"`
	Extra     Extra     `json:"-"`
}

// ErrorBody says what failed.
type ErrorBody struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Extra   Extra  `json:"-"`
}

// ModelList is the body of GET /v1/models.
type ModelList struct {
	Data    []Model `json:"data"`
	HasMore bool    `json:"has_more"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	Extra   Extra   `json:"-"`
}

// Model is one entry of a ModelList.
type Model struct {
	ID          string `json:"id"`
	Type        string `json:"type"` // model
	DisplayName string `json:"display_name"`
	CreatedAt   string `json:"created_at"` // RFC 3339
	Extra       Extra  `json:"-"`
}

// UnmarshalJSON accepts a string, a list of blocks, or null.
func (c *Content) UnmarshalJSON(b []byte) error {
	*c = Content{}
	switch {
	case bytes.Equal(b, []byte("null")):
		return nil
	case len(b) > 0 && b[0] == '"':
		c.kind = contentText
		return json.Unmarshal(b, &c.text)
	case len(b) > 0 && b[0] == '[':
		c.kind = contentBlocks
		return json.Unmarshal(b, &c.blocks)
	}
	return errors.New("content is neither a string nor a list of blocks")
}

// MarshalJSON writes the content as it came.
func (c Content) MarshalJSON() ([]byte, error) {
	switch {
	case c.kind == contentText:
		return wire.Encode(c.text)
	case c.blocks == nil:
		return []byte("[]"), nil
	}
	return wire.Encode(c.blocks)
}
