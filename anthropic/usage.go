package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"

	"retort/exchange"
	"retort/internal/wire"
)

// Usage counts tokens as a provider reports them: input_tokens leaves out what
// was read from the cache and what was written to it. Its decoding never fails,
// since an answer is worth keeping whatever its usage looks like: Problem says
// why the counts cannot be used.
type Usage struct {
	InputTokens              *int64               `json:"input_tokens,omitempty"`
	CacheCreationInputTokens *int64               `json:"cache_creation_input_tokens,omitempty"`
	CacheReadInputTokens     *int64               `json:"cache_read_input_tokens,omitempty"`
	CacheCreation            *CacheCreation       `json:"cache_creation,omitempty"`
	OutputTokens             *int64               `json:"output_tokens,omitempty"`
	OutputTokensDetails      *OutputTokensDetails `json:"output_tokens_details,omitempty"`
	Extra                    Extra                `json:"-"`

	Problem string          `json:"-"`
	raw     json.RawMessage // as received, where Problem is set
}

// CacheCreation says for how long tokens were written to the cache.
type CacheCreation struct {
	Ephemeral5m int64 `json:"ephemeral_5m_input_tokens"`
	Ephemeral1h int64 `json:"ephemeral_1h_input_tokens"`
	Extra       Extra `json:"-"`
}

// OutputTokensDetails says what output tokens were spent on.
type OutputTokensDetails struct {
	ThinkingTokens int64 `json:"thinking_tokens"`
	Extra          Extra `json:"-"`
}

// UsageOf returns the counts of an answer as the wire has them.
func UsageOf(u exchange.Usage) *Usage {
	written := u.CacheWrite + u.CacheWriteLong
	input := u.Input - u.CachedInput - written
	return &Usage{
		InputTokens: &input, CacheCreationInputTokens: &written, CacheReadInputTokens: &u.CachedInput, OutputTokens: &u.Output,
		CacheCreation:       &CacheCreation{Ephemeral5m: u.CacheWrite, Ephemeral1h: u.CacheWriteLong},
		OutputTokensDetails: &OutputTokensDetails{ThinkingTokens: u.Reasoning},
	}
}

// UnmarshalJSON reads the counts, or notes in Problem why it cannot.
func (u *Usage) UnmarshalJSON(b []byte) error {
	*u = Usage{}
	if !bytes.HasPrefix(b, []byte("{")) {
		u.Problem = "usage is not an object"
	} else if err := wire.DecodeObject(b, u); err != nil {
		u.Problem = err.Error()
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

// merge takes over the counts of a later report, which are totals; what it
// leaves out stays.
func (u *Usage) merge(later *Usage) {
	for _, f := range []struct{ to, from **int64 }{
		{&u.InputTokens, &later.InputTokens}, {&u.CacheCreationInputTokens, &later.CacheCreationInputTokens},
		{&u.CacheReadInputTokens, &later.CacheReadInputTokens}, {&u.OutputTokens, &later.OutputTokens},
	} {
		if *f.from != nil {
			*f.to = *f.from
		}
	}
	if later.CacheCreation != nil {
		u.CacheCreation = later.CacheCreation
	}
	if later.OutputTokensDetails != nil {
		u.OutputTokensDetails = later.OutputTokensDetails
	}
	if later.Problem != "" {
		u.Problem = later.Problem
	}
}

// Exchange returns the counts in our vocabulary, or why they cannot be used; in
// that case their source is missing.
func (u *Usage) Exchange() (exchange.Usage, string) {
	problem := u.Problem
	switch {
	case problem != "":
	case u.InputTokens == nil:
		problem = "usage lacks input_tokens"
	case u.OutputTokens == nil:
		problem = "usage lacks output_tokens"
	default:
		problem = u.implausible()
	}
	if problem != "" {
		return exchange.Usage{Source: exchange.UsageMissing}, problem
	}
	written, long := count(u.CacheCreationInputTokens), int64(0)
	if c := u.CacheCreation; c != nil {
		long = min(c.Ephemeral1h, written)
	}
	out := exchange.Usage{
		Source: exchange.UsageReported, Input: *u.InputTokens + written + count(u.CacheReadInputTokens),
		CachedInput: count(u.CacheReadInputTokens), CacheWrite: written - long, CacheWriteLong: long, Output: *u.OutputTokens,
	}
	if d := u.OutputTokensDetails; d != nil {
		out.Reasoning = d.ThinkingTokens
	}
	return out, ""
}

// implausible says what is wrong with counts that parsed, or "".
func (u *Usage) implausible() string {
	const most = 1 << 40 // tokens; no context is that long, and costs stay far from overflow
	counts := []int64{count(u.InputTokens), count(u.CacheCreationInputTokens), count(u.CacheReadInputTokens), count(u.OutputTokens)}
	if c := u.CacheCreation; c != nil {
		counts = append(counts, c.Ephemeral5m, c.Ephemeral1h)
	}
	if d := u.OutputTokensDetails; d != nil {
		counts = append(counts, d.ThinkingTokens)
	}
	for _, n := range counts {
		if n < 0 || n > most {
			return fmt.Sprintf("usage counts %d tokens", n)
		}
	}
	return ""
}

func count(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
