package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"retort/exchange"
	"retort/internal/wire"
)

// ChatRequest is the body of POST /v1/chat/completions. Pointers tell absent
// from zero.
type ChatRequest struct {
	Model               string         `json:"model"`
	Messages            []Message      `json:"messages"`
	MaxTokens           *int           `json:"max_tokens,omitempty"`
	MaxCompletionTokens *int           `json:"max_completion_tokens,omitempty"` // the newer name of MaxTokens
	Temperature         *float64       `json:"temperature,omitempty"`
	TopP                *float64       `json:"top_p,omitempty"`
	N                   *int           `json:"n,omitempty"`
	Seed                *int64         `json:"seed,omitempty"`
	Stop                Stop           `json:"stop,omitempty"`
	Stream              bool           `json:"stream,omitempty"`
	StreamOptions       *StreamOptions `json:"stream_options,omitempty"`
	Extra               Extra          `json:"-"`
}

// OutputLimit returns the bound on output tokens that the request asks for,
// under whichever of its two names, and whether there is one.
func (r *ChatRequest) OutputLimit() (int, bool) {
	switch {
	case r.MaxCompletionTokens != nil:
		return *r.MaxCompletionTokens, true
	case r.MaxTokens != nil:
		return *r.MaxTokens, true
	}
	return 0, false
}

// StreamOptions are the options of a streamed response.
type StreamOptions struct {
	IncludeUsage bool  `json:"include_usage,omitempty"`
	Extra        Extra `json:"-"`
}

// Stop is a list of stop sequences; on the wire also a single string.
type Stop []string

// Message is one turn of a conversation, in a request or a response.
type Message struct {
	Role             string     `json:"role"`
	Content          Content    `json:"content,omitzero"`
	ReasoningContent *string    `json:"reasoning_content,omitempty"` // DeepSeek, vLLM, SGLang
	Reasoning        *string    `json:"reasoning,omitempty"`         // OpenRouter, newer vLLM
	Refusal          *string    `json:"refusal,omitempty"`
	Name             string     `json:"name,omitempty"`
	ToolCalls        []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID       string     `json:"tool_call_id,omitempty"`
	Extra            Extra      `json:"-"`
}

// Content is a message's content: absent, null, a string or a list of parts.
type Content struct {
	kind  contentKind
	text  string
	parts []Part
}

type contentKind uint8

const (
	contentAbsent contentKind = iota
	contentNull
	contentText
	contentParts
)

// Text returns a content that is a string.
func Text(s string) Content { return Content{kind: contentText, text: s} }

// Parts returns a content that is a list of parts.
func Parts(parts ...Part) Content { return Content{kind: contentParts, parts: parts} }

// IsZero reports whether the content is absent.
func (c Content) IsZero() bool { return c.kind == contentAbsent }

// String returns the text: the string, or the text parts one after another.
func (c Content) String() string {
	if c.kind != contentParts {
		return c.text
	}
	var b strings.Builder
	for _, p := range c.parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Parts returns the parts of a content that is a list, otherwise nil.
func (c Content) Parts() []Part { return c.parts }

// TextOnly reports whether String holds all that the content says: no image,
// audio or file is among its parts.
func (c Content) TextOnly() bool {
	for _, p := range c.parts {
		if p.Type != "text" {
			return false
		}
	}
	return true
}

// Part is one element of a content that is a list.
type Part struct {
	Type  string `json:"type"`
	Text  string `json:"text,omitempty"`
	Extra Extra  `json:"-"`
}

// ToolCall is a call of a tool, whole in a message and in pieces in a delta.
type ToolCall struct {
	Index    *int         `json:"index,omitempty"` // in deltas only
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function FunctionCall `json:"function"`
	Extra    Extra        `json:"-"`
}

// FunctionCall names a function and its arguments, which are JSON as the model
// wrote it, valid or not.
type FunctionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
	Extra     Extra  `json:"-"`
}

// ChatResponse is the body of a response that is not streamed.
type ChatResponse struct {
	ID                string   `json:"id"`
	Object            string   `json:"object"` // "chat.completion"
	Created           Unix     `json:"created"`
	Model             string   `json:"model"`
	SystemFingerprint string   `json:"system_fingerprint,omitempty"`
	Choices           []Choice `json:"choices"`
	Usage             *Usage   `json:"usage,omitempty"`
	Extra             Extra    `json:"-"`
}

// Choice is one of the answers of a ChatResponse.
type Choice struct {
	Index        int             `json:"index"`
	Message      Message         `json:"message"`
	Logprobs     json.RawMessage `json:"logprobs,omitempty"`
	FinishReason string          `json:"finish_reason"`
	Extra        Extra           `json:"-"`
}

// ChatChunk is one event of a streamed response.
type ChatChunk struct {
	ID                string        `json:"id"`
	Object            string        `json:"object"` // "chat.completion.chunk"
	Created           Unix          `json:"created"`
	Model             string        `json:"model"`
	SystemFingerprint string        `json:"system_fingerprint,omitempty"`
	Choices           []ChunkChoice `json:"choices"` // empty in the chunk that carries usage
	Usage             *Usage        `json:"usage,omitempty"`
	Error             *ErrorBody    `json:"error,omitempty"` // a failure after the status line
	Extra             Extra         `json:"-"`
}

// ChunkChoice is the next piece of one answer.
type ChunkChoice struct {
	Index        int             `json:"index"`
	Delta        Delta           `json:"delta"`
	Message      *Message        `json:"message,omitempty"` // some servers send a whole message in place of a delta
	Logprobs     json.RawMessage `json:"logprobs,omitempty"`
	FinishReason *string         `json:"finish_reason"` // null until the last piece
	Extra        Extra           `json:"-"`
}

// Delta is what a chunk adds to an answer.
type Delta struct {
	Role             string     `json:"role,omitempty"`
	Content          *string    `json:"content,omitempty"`
	ReasoningContent *string    `json:"reasoning_content,omitempty"`
	Reasoning        *string    `json:"reasoning,omitempty"`
	Refusal          *string    `json:"refusal,omitempty"`
	ToolCalls        []ToolCall `json:"tool_calls,omitempty"`
	Extra            Extra      `json:"-"`
}

// Usage counts tokens as a provider reports them. Its decoding never fails,
// since an answer is worth keeping whatever its usage looks like: Problem says
// why the counts cannot be used.
type Usage struct {
	PromptTokens            int64                    `json:"prompt_tokens"`
	CompletionTokens        int64                    `json:"completion_tokens"`
	TotalTokens             int64                    `json:"total_tokens"`
	PromptTokensDetails     *PromptTokensDetails     `json:"prompt_tokens_details,omitempty"`
	CompletionTokensDetails *CompletionTokensDetails `json:"completion_tokens_details,omitempty"`
	PromptCacheHitTokens    *int64                   `json:"prompt_cache_hit_tokens,omitempty"` // DeepSeek's name for cached tokens
	Extra                   Extra                    `json:"-"`

	Problem string          `json:"-"`
	raw     json.RawMessage // as received, where Problem is set
}

// PromptTokensDetails says which prompt tokens were billed otherwise.
type PromptTokensDetails struct {
	CachedTokens     int64  `json:"cached_tokens"`
	CacheWriteTokens *int64 `json:"cache_write_tokens,omitempty"` // billed above the others by some models
	Extra            Extra  `json:"-"`
}

// CompletionTokensDetails says what completion tokens were spent on.
type CompletionTokensDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
	Extra           Extra `json:"-"`
}

// ErrorEnvelope is the body of a failed request.
type ErrorEnvelope struct {
	Error ErrorBody `json:"error"`
	Extra Extra     `json:"-"`
}

// ErrorBody says what failed.
type ErrorBody struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   string `json:"param"`
	Code    Code   `json:"code"` // a string, a number or null
	Extra   Extra  `json:"-"`
}

// Code is an error code: on the wire a string, a number or null.
type Code string

// ModelList is the body of GET /v1/models.
type ModelList struct {
	Object string  `json:"object"` // "list"
	Data   []Model `json:"data"`
	Extra  Extra   `json:"-"`
}

// Model is one entry of a ModelList.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "model"
	Created Unix   `json:"created"`
	OwnedBy string `json:"owned_by"`
	Extra   Extra  `json:"-"`
}

// Unix is a time in seconds since 1970. Some servers send a fraction, which is
// cut off.
type Unix int64

// UnmarshalJSON accepts any number, and null.
func (u *Unix) UnmarshalJSON(b []byte) error {
	var f *float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if f != nil && *f > -1e15 && *f < 1e15 {
		*u = Unix(*f)
	}
	return nil
}

// UnmarshalJSON accepts a string, a list of strings or null.
func (s *Stop) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*s = Stop{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}

// UnmarshalJSON accepts a string, a number or null.
func (c *Code) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(c))
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*c = Code(n)
	return nil
}

// MarshalJSON writes an empty code as null, as OpenAI does.
func (c Code) MarshalJSON() ([]byte, error) {
	if c == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(c))
}

// UnmarshalJSON accepts a string, a list of parts or null.
func (c *Content) UnmarshalJSON(b []byte) error {
	*c = Content{}
	switch {
	case bytes.Equal(b, []byte("null")):
		c.kind = contentNull
		return nil
	case len(b) > 0 && b[0] == '"':
		c.kind = contentText
		return json.Unmarshal(b, &c.text)
	case len(b) > 0 && b[0] == '[':
		c.kind = contentParts
		return json.Unmarshal(b, &c.parts)
	}
	return fmt.Errorf("content is neither a string nor a list of parts")
}

// MarshalJSON writes the content as it came.
func (c Content) MarshalJSON() ([]byte, error) {
	switch c.kind {
	case contentText:
		return json.Marshal(c.text)
	case contentParts:
		if c.parts == nil {
			return []byte("[]"), nil
		}
		return json.Marshal(c.parts)
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads the counts, or notes in Problem why it cannot.
func (u *Usage) UnmarshalJSON(b []byte) error {
	*u = Usage{}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &fields); err != nil {
		u.Problem = "usage is not an object"
	} else if err := wire.DecodeObject(b, u); err != nil {
		u.Problem = err.Error()
	}
	for _, name := range []string{"prompt_tokens", "completion_tokens"} {
		if v, ok := fields[name]; u.Problem == "" && (!ok || bytes.Equal(v, []byte("null"))) {
			u.Problem = "usage lacks " + name
		}
	}
	if u.Problem == "" {
		u.Problem = u.implausible()
	}
	if u.Problem != "" {
		u.raw = bytes.Clone(b)
	}
	return nil
}

// MarshalJSON writes the counts, or what was received where it had none.
func (u Usage) MarshalJSON() ([]byte, error) {
	if u.Problem != "" && u.raw != nil {
		return u.raw, nil
	}
	type plain Usage
	return wire.EncodeObject(plain(u), u.Extra)
}

// Exchange returns the counts in our vocabulary; their source is missing where
// Problem says that they cannot be used.
func (u *Usage) Exchange() exchange.Usage {
	if u.Problem != "" {
		return exchange.Usage{Source: exchange.UsageMissing}
	}
	return exchange.Usage{
		Source: exchange.UsageReported,
		Input:  u.PromptTokens, CachedInput: u.cached(), CacheWrite: u.written(),
		Output: u.CompletionTokens, Reasoning: u.reasoning(),
	}
}

// implausible says what is wrong with counts that parsed, or "".
func (u *Usage) implausible() string {
	const most = 1 << 40 // tokens; no context is that long, and costs stay far from overflow
	for _, n := range []int64{u.PromptTokens, u.CompletionTokens, u.TotalTokens, u.cached(), u.written(), u.reasoning()} {
		if n < 0 || n > most {
			return fmt.Sprintf("usage counts %d tokens", n)
		}
	}
	if u.cached() > u.PromptTokens {
		return fmt.Sprintf("usage has %d cached of %d prompt tokens", u.cached(), u.PromptTokens)
	}
	return ""
}

func (u *Usage) cached() int64 {
	switch {
	case u.PromptTokensDetails != nil && u.PromptTokensDetails.CachedTokens != 0:
		return u.PromptTokensDetails.CachedTokens
	case u.PromptCacheHitTokens != nil:
		return *u.PromptCacheHitTokens
	}
	return 0
}

// written is how many prompt tokens were written to the cache: none that were
// read from it.
func (u *Usage) written() int64 {
	if u.PromptTokensDetails == nil || u.PromptTokensDetails.CacheWriteTokens == nil {
		return 0
	}
	n := *u.PromptTokensDetails.CacheWriteTokens
	return min(n, u.PromptTokens-u.cached())
}

func (u *Usage) reasoning() int64 {
	if u.CompletionTokensDetails == nil {
		return 0
	}
	return u.CompletionTokensDetails.ReasoningTokens
}
