package openai

import (
	"encoding/json"
	"fmt"

	"retort/exchange"
)

// ParseEmbeddings reads what the body of POST /v1/embeddings' response says about
// itself. There is no answer in our vocabulary, and no output.
func ParseEmbeddings(body []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	none := exchange.Usage{Source: exchange.UsageMissing}
	if err := Check(body); err != nil {
		return exchange.Answer{}, none, Meta{}, err
	}
	var r struct {
		Model string            `json:"model"`
		Data  []json.RawMessage `json:"data"`
		Usage *struct {
			PromptTokens *int64 `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return exchange.Answer{}, none, Meta{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	meta := Meta{Model: r.Model}
	if r.Usage == nil || r.Usage.PromptTokens == nil {
		meta.NoUsage = "not sent"
		return exchange.Answer{}, none, meta, nil
	}
	u := Usage{PromptTokens: *r.Usage.PromptTokens}
	u.Problem = u.implausible()
	return exchange.Answer{}, usageOf(&u, &meta), meta, nil
}
