package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// CompletionRequest is the body of POST /v1/completions, the older wire on which
// a model continues text that no template surrounds. Pointers tell absent from
// zero.
type CompletionRequest struct {
	Model         string         `json:"model"`
	Prompt        Prompt         `json:"prompt,omitzero"`
	MaxTokens     *int           `json:"max_tokens,omitempty"`
	Temperature   *float64       `json:"temperature,omitempty"`
	TopP          *float64       `json:"top_p,omitempty"`
	N             *int           `json:"n,omitempty"` // completions of each prompt
	Seed          *int64         `json:"seed,omitempty"`
	Stop          Stop           `json:"stop,omitempty"`
	Echo          bool           `json:"echo,omitempty"`     // the prompt comes before its completion
	Logprobs      *int           `json:"logprobs,omitempty"` // alternatives to report at each token
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions *StreamOptions `json:"stream_options,omitempty"`
	Extra         Extra          `json:"-"`
}

// DefaultCompletionTokens is the bound on output tokens of a completions request
// that names none.
const DefaultCompletionTokens = 16

// Prompt is what a completions request is to continue: texts or, in their
// place, lists of token ids. On the wire a single one may stand without a list
// around it.
type Prompt struct {
	Texts  []string
	Tokens [][]int32

	single bool // it came without a list around it
}

// IsZero reports whether there is no prompt.
func (p Prompt) IsZero() bool { return p.Texts == nil && p.Tokens == nil }

// CompletionResponse is the body of a response of the completions wire, and of
// each event of a streamed one.
type CompletionResponse struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"` // "text_completion"
	Created           Unix               `json:"created"`
	Model             string             `json:"model"`
	SystemFingerprint string             `json:"system_fingerprint,omitempty"`
	Choices           []CompletionChoice `json:"choices"` // empty in the event that carries usage
	Usage             *Usage             `json:"usage,omitempty"`
	Extra             Extra              `json:"-"`
}

// CompletionChoice is one completion, or the next piece of it. The completions
// of one prompt stand together, in the order of the prompts.
type CompletionChoice struct {
	Index        int                 `json:"index"`
	Text         string              `json:"text"`
	Logprobs     *CompletionLogprobs `json:"logprobs"`
	FinishReason *string             `json:"finish_reason"` // null until the last piece
	Extra        Extra               `json:"-"`
}

// CompletionLogprobs describes tokens in lists of one entry a token. TextOffset
// is where a token begins in the choice's text, in Unicode code points. The
// first token of an echoed prompt follows nothing and has no log-probability:
// its entries are nil.
type CompletionLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []*float64           `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"` // the likeliest tokens, and the one that stands there
	TextOffset    []int                `json:"text_offset"`
	Extra         Extra                `json:"-"`
}

// ReadCompletionRequest reads and checks the body of a completions request of at
// most limit bytes. Its error is what the client should be told; pass it to
// WriteAPIError.
func ReadCompletionRequest(w http.ResponseWriter, r *http.Request, limit int64) (*CompletionRequest, *APIError) {
	req := new(CompletionRequest)
	if bad := readRequest(w, r, limit, "completions", req); bad != nil {
		return nil, bad
	}
	bad := func(param, format string, args ...any) (*CompletionRequest, *APIError) {
		return nil, badRequest(http.StatusBadRequest, param, format, args...)
	}
	switch {
	case req.Model == "":
		return bad("model", "you must provide a model parameter")
	case req.Prompt.IsZero():
		return bad("prompt", "you must provide a prompt: a string, a list of strings, a list of token ids or a list of such lists")
	case req.MaxTokens != nil && *req.MaxTokens < 0:
		return bad("max_tokens", "max_tokens is %d, must be at least 0", *req.MaxTokens)
	case req.N != nil && (*req.N < 1 || *req.N > 128):
		return bad("n", "n is %d, must be between 1 and 128", *req.N)
	case req.Logprobs != nil && (*req.Logprobs < 0 || *req.Logprobs > 5):
		return bad("logprobs", "logprobs is %d, must be between 0 and 5", *req.Logprobs)
	}
	return req, nil
}

// UnmarshalJSON accepts a string, a list of strings, a list of token ids, a list
// of such lists, or null.
func (p *Prompt) UnmarshalJSON(b []byte) error {
	*p = Prompt{}
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		p.Texts, p.single = make([]string, 1), true
		return json.Unmarshal(b, &p.Texts[0])
	}
	var items []json.RawMessage
	if err := json.Unmarshal(b, &items); err != nil {
		return errors.New("prompt is neither a string nor a list")
	}
	if len(items) == 0 {
		return errors.New("prompt is an empty list")
	}
	switch items[0][0] {
	case '"':
		texts, err := elements[string](items)
		if err != nil {
			return errors.New("prompt begins as a list of strings and holds something else")
		}
		p.Texts = texts
	case '[':
		for i := range items {
			var inner []json.RawMessage
			if err := json.Unmarshal(items[i], &inner); err != nil || inner == nil {
				return errors.New("prompt begins as a list of lists and holds something else")
			}
			ids, err := elements[int32](inner)
			if err != nil {
				return fmt.Errorf("prompt[%d] is not a list of token ids", i)
			}
			p.Tokens = append(p.Tokens, ids)
		}
	default:
		ids, err := elements[int32](items)
		if err != nil {
			return errors.New("prompt is neither a list of strings nor of token ids, nor a list of such lists")
		}
		p.Tokens, p.single = [][]int32{ids}, true
	}
	return nil
}

// elements reads items that are all of one type. A null, which encoding/json would
// take for a zero, is not.
func elements[T any](items []json.RawMessage) ([]T, error) {
	out := make([]T, len(items))
	for i, raw := range items {
		if bytes.Equal(raw, []byte("null")) {
			return nil, errors.New("null in a list")
		}
		if err := json.Unmarshal(raw, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// MarshalJSON writes the prompt as it came.
func (p Prompt) MarshalJSON() ([]byte, error) {
	switch {
	case p.single && len(p.Texts) == 1:
		return Encode(p.Texts[0])
	case p.single && len(p.Tokens) == 1:
		return Encode(p.Tokens[0])
	case p.Texts != nil:
		return Encode(p.Texts)
	case p.Tokens != nil:
		return Encode(p.Tokens)
	}
	return []byte("null"), nil
}
