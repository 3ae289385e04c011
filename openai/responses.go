package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"retort/exchange"
	"retort/internal/wire"
)

// ResponsesRequest is the body of POST /v1/responses, as far as a server of
// ours reads it.
type ResponsesRequest struct {
	Model           string          `json:"model"`
	Input           Input           `json:"input"`
	Instructions    string          `json:"instructions,omitempty"`
	MaxOutputTokens *int            `json:"max_output_tokens,omitempty"`
	Temperature     *float64        `json:"temperature,omitempty"`
	TopP            *float64        `json:"top_p,omitempty"`
	Stream          bool            `json:"stream,omitempty"`
	Background      bool            `json:"background,omitempty"`
	Text            *TextConfig     `json:"text,omitempty"`
	Tools           []ResponsesTool `json:"tools,omitempty"`
	ToolChoice      json.RawMessage `json:"tool_choice,omitempty"` // a word or an object
	Extra           Extra           `json:"-"`
}

// Input is what a response is asked for: items; on the wire also a single
// string, which is one message of the user's.
type Input []Item

// TextConfig shapes the text of a response.
type TextConfig struct {
	Format    *TextFormat `json:"format,omitempty"`
	Verbosity string      `json:"verbosity,omitempty"`
	Extra     Extra       `json:"-"`
}

// TextFormat says what a response's text keeps to: text, json_object, or
// json_schema with its schema beside it.
type TextFormat struct {
	Type        string          `json:"type"`
	Name        string          `json:"name,omitempty"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
	Extra       Extra           `json:"-"`
}

// ResponsesTool is a tool that the model may call. Type function is the
// client's own; others are run, and billed, by the provider.
type ResponsesTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name,omitempty"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
	Extra       Extra           `json:"-"`
}

// The types of item that this package knows.
const (
	ItemMessage    = "message"
	ItemReasoning  = "reasoning"
	ItemCall       = "function_call"
	ItemCallOutput = "function_call_output"
)

// Item is one element of a response's input or output. Which fields are set
// depends on its type.
type Item struct {
	Type      string          `json:"type,omitempty"` // "" in an input means message
	ID        string          `json:"id,omitempty"`
	Status    string          `json:"status,omitempty"`
	Role      string          `json:"role,omitempty"`
	Content   ItemContent     `json:"content,omitzero"` // of a message, or of reasoning that is shown
	Summary   *[]ItemPart     `json:"summary,omitempty"`
	CallID    string          `json:"call_id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Arguments *string         `json:"arguments,omitempty"`
	Output    json.RawMessage `json:"output,omitempty"` // of a call: a string or parts
	Extra     Extra           `json:"-"`
}

// ItemContent is the content of an item: absent, a string, or a list of parts.
type ItemContent struct {
	text  *string
	parts []ItemPart
	list  bool
}

// ItemText returns a content that is a string.
func ItemText(s string) ItemContent { return ItemContent{text: &s} }

// ItemParts returns a content that is a list of parts.
func ItemParts(parts ...ItemPart) ItemContent { return ItemContent{parts: parts, list: true} }

// IsZero reports whether the content is absent.
func (c ItemContent) IsZero() bool { return c.text == nil && !c.list }

// Parts returns the parts of a content that is a list.
func (c ItemContent) Parts() []ItemPart { return c.parts }

// String returns the text: the string, or the text of the parts one after
// another.
func (c ItemContent) String() string {
	if c.text != nil {
		return *c.text
	}
	var b strings.Builder
	for _, p := range c.parts {
		if p.Text != nil {
			b.WriteString(*p.Text)
		}
	}
	return b.String()
}

// The types of part that this package knows.
const (
	PartInputText     = "input_text"
	PartOutputText    = "output_text"
	PartReasoningText = "reasoning_text"
	PartSummaryText   = "summary_text"
	PartRefusal       = "refusal"
)

// ItemPart is one part of an item's content or summary.
type ItemPart struct {
	Type        string             `json:"type"`
	Text        *string            `json:"text,omitempty"`
	Refusal     *string            `json:"refusal,omitempty"`
	Annotations *[]json.RawMessage `json:"annotations,omitempty"`
	Extra       Extra              `json:"-"`
}

// The states of a response.
const (
	StatusCompleted  = "completed"
	StatusIncomplete = "incomplete"
	StatusFailed     = "failed"
	StatusInProgress = "in_progress"
)

// ResponsesResult is a response: the body of one that is not streamed, and part
// of the events that begin and end a stream.
type ResponsesResult struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"` // response
	CreatedAt         Unix               `json:"created_at"`
	Status            string             `json:"status"`
	Error             *ErrorBody         `json:"error"`
	IncompleteDetails *IncompleteDetails `json:"incomplete_details"`
	Model             string             `json:"model"`
	Output            []Item             `json:"output"`
	Usage             *ResponsesUsage    `json:"usage"`
	Extra             Extra              `json:"-"`
}

// IncompleteDetails says why a response is incomplete: max_output_tokens or
// content_filter.
type IncompleteDetails struct {
	Reason string `json:"reason"`
	Extra  Extra  `json:"-"`
}

// ResponsesUsage counts tokens as a provider reports them. Its decoding never
// fails; Problem says why the counts cannot be used.
type ResponsesUsage struct {
	InputTokens         int64                `json:"input_tokens"`
	InputTokensDetails  *PromptTokensDetails `json:"input_tokens_details,omitempty"`
	OutputTokens        int64                `json:"output_tokens"`
	OutputTokensDetails *OutputTokensDetails `json:"output_tokens_details,omitempty"`
	TotalTokens         int64                `json:"total_tokens"`
	Extra               Extra                `json:"-"`

	Problem string          `json:"-"`
	raw     json.RawMessage // as received, where Problem is set
}

// OutputTokensDetails says what output tokens were spent on.
type OutputTokensDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
	Extra           Extra `json:"-"`
}

// The types of stream event that this package knows; others are skipped.
const (
	EventCreated        = "response.created"
	EventInProgress     = "response.in_progress"
	EventItemAdded      = "response.output_item.added"
	EventItemDone       = "response.output_item.done"
	EventPartAdded      = "response.content_part.added"
	EventPartDone       = "response.content_part.done"
	EventTextDelta      = "response.output_text.delta"
	EventTextDone       = "response.output_text.done"
	EventRefusalDelta   = "response.refusal.delta"
	EventReasoningDelta = "response.reasoning_text.delta"
	EventReasoningDone  = "response.reasoning_text.done"
	EventSummaryAdded   = "response.reasoning_summary_part.added"
	EventSummaryDelta   = "response.reasoning_summary_text.delta"
	EventArgsDelta      = "response.function_call_arguments.delta"
	EventArgsDone       = "response.function_call_arguments.done"
	EventCompleted      = "response.completed"
	EventIncomplete     = "response.incomplete"
	EventFailed         = "response.failed"
	EventErr            = "error"
)

// ResponsesEvent is one event of a streamed response. Which fields are set
// depends on its type.
type ResponsesEvent struct {
	Type           string             `json:"type"`
	SequenceNumber int                `json:"sequence_number"`
	Response       *ResponsesResult   `json:"response,omitempty"`
	OutputIndex    *int               `json:"output_index,omitempty"`
	ContentIndex   *int               `json:"content_index,omitempty"`
	SummaryIndex   *int               `json:"summary_index,omitempty"`
	ItemID         string             `json:"item_id,omitempty"`
	Item           *Item              `json:"item,omitempty"`
	Part           *ItemPart          `json:"part,omitempty"`
	Delta          *string            `json:"delta,omitempty"`
	Text           *string            `json:"text,omitempty"`
	Name           string             `json:"name,omitempty"`
	Arguments      *string            `json:"arguments,omitempty"`
	Logprobs       *[]json.RawMessage `json:"logprobs,omitempty"`
	Extra          Extra              `json:"-"`
}

// UnmarshalJSON accepts a string or a list of items.
func (in *Input) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		*in = Input{{Role: "user", Content: ItemText(text)}}
		return nil
	}
	if len(b) == 0 || b[0] != '[' {
		return errors.New("input is neither a string nor a list of items")
	}
	return json.Unmarshal(b, (*[]Item)(in))
}

// UnmarshalJSON accepts a string, a list of parts, or null.
func (c *ItemContent) UnmarshalJSON(b []byte) error {
	*c = ItemContent{}
	switch {
	case bytes.Equal(b, []byte("null")):
		return nil
	case len(b) > 0 && b[0] == '"':
		c.text = new(string)
		return json.Unmarshal(b, c.text)
	case len(b) > 0 && b[0] == '[':
		c.list = true
		return json.Unmarshal(b, &c.parts)
	}
	return errors.New("content is neither a string nor a list of parts")
}

// MarshalJSON writes the content as it came.
func (c ItemContent) MarshalJSON() ([]byte, error) {
	switch {
	case c.text != nil:
		return Encode(*c.text)
	case c.parts == nil:
		return []byte("[]"), nil
	}
	return Encode(c.parts)
}

// UnmarshalJSON reads the counts, or notes in Problem why it cannot.
func (u *ResponsesUsage) UnmarshalJSON(b []byte) error {
	*u = ResponsesUsage{}
	if bytes.Equal(b, []byte("null")) {
		u.Problem = "usage is null"
		return nil
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &fields); err != nil {
		u.Problem = "usage is not an object"
	} else if err := wire.DecodeObject(b, u); err != nil {
		u.Problem = err.Error()
	}
	for _, name := range []string{"input_tokens", "output_tokens"} {
		if v, ok := fields[name]; u.Problem == "" && (!ok || bytes.Equal(v, []byte("null"))) {
			u.Problem = "usage lacks " + name
		}
	}
	if u.Problem == "" {
		u.Problem = u.chat().implausible()
	}
	if u.Problem != "" {
		u.raw = bytes.Clone(b)
	}
	return nil
}

// MarshalJSON writes the counts, or what was received where it had none.
func (u ResponsesUsage) MarshalJSON() ([]byte, error) {
	if u.Problem != "" && u.raw != nil {
		return u.raw, nil
	}
	type plain ResponsesUsage
	return wire.EncodeObject(plain(u), u.Extra)
}

// chat is the usage in the chat wire's names.
func (u *ResponsesUsage) chat() *Usage {
	out := &Usage{
		PromptTokens: u.InputTokens, CompletionTokens: u.OutputTokens, TotalTokens: u.TotalTokens,
		PromptTokensDetails: u.InputTokensDetails, Problem: u.Problem,
	}
	if d := u.OutputTokensDetails; d != nil {
		out.CompletionTokensDetails = &CompletionTokensDetails{ReasoningTokens: d.ReasoningTokens}
	}
	return out
}

// Exchange returns the counts in our vocabulary; their source is missing where
// Problem says that they cannot be used.
func (u *ResponsesUsage) Exchange() exchange.Usage { return u.chat().Exchange() }

// ResponsesUsageOf returns the counts of an answer as the wire has them.
func ResponsesUsageOf(u exchange.Usage) *ResponsesUsage {
	return &ResponsesUsage{
		InputTokens: u.Input, InputTokensDetails: &PromptTokensDetails{CachedTokens: u.CachedInput, CacheWriteTokens: new(u.CacheWrite + u.CacheWriteLong)},
		OutputTokens: u.Output, OutputTokensDetails: &OutputTokensDetails{ReasoningTokens: u.Reasoning}, TotalTokens: u.Input + u.Output,
	}
}

// failure is what a response that failed says about it.
func (r *ResponsesResult) failure() error {
	switch {
	case r.Error != nil && (r.Error.Message != "" || r.Error.Code != ""):
		e := &APIError{}
		e.fill(*r.Error)
		return e
	case r.Status == StatusFailed || r.Status == "cancelled":
		return &APIError{Code: r.Status, Message: "the response was " + r.Status}
	case r.Status != "" && r.Status != StatusCompleted && r.Status != StatusIncomplete:
		return fmt.Errorf("%w: the response is %s", ErrMalformed, wire.Excerpt(r.Status))
	}
	return nil
}
