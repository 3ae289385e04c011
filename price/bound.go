package price

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"retort/exchange"
)

const (
	// perMessage covers the tokens that a chat template puts around a message:
	// role markers, separators and names; templates in use need up to 8.
	perMessage = 16
	// perRequest covers what a template adds once: a beginning-of-text token,
	// a default system prompt (Qwen's and SmolLM2's have about 25 tokens), a
	// date, the opening of the answer.
	perRequest = 128
	// withTools covers the instructions that templates add where tools are
	// declared, beyond the declarations themselves.
	withTools = 1024
)

// InputBound returns a number of tokens that the input of r does not exceed,
// whatever the teacher's tokenizer: the bytes of all its text plus an allowance
// for the chat template.
//
// Byte-level BPE starts from bytes and only merges, so that it never makes more
// tokens than there are bytes; SentencePiece and WordPiece start from
// characters and fall back to at most one token a byte. Some normalise the text
// first (NFC or NFKC), which can lengthen it, so the longest form counts.
// Parameters (tools, response schemas, a provider's own fields) count as text,
// since servers may write them into the prompt.
//
// The template's allowance is the one part that is not a theorem: a server that
// puts a longer prompt of its own before ours can exceed it, and is then
// charged what it reports.
func InputBound(r exchange.Request) int64 {
	n := int64(perRequest)
	for _, m := range r.Messages {
		n += perMessage + longest(m.Role) + longest(m.Content) + longest(m.Reasoning) + longest(m.Name) + longest(m.ToolCallID)
		for _, c := range m.ToolCalls {
			n += perMessage + longest(c.ID) + longest(c.Name) + longest(c.Arguments)
		}
	}
	if len(r.Params) > 0 {
		n += longest(string(r.Params))
		if strings.Contains(string(r.Params), `"tools"`) {
			n += withTools
		}
	}
	return n
}

// WorstOf is the most that r can cost for n answers of at most MaxTokens each.
// Input is written to a cache for longer than minutes only where the request
// says so.
func (p Price) WorstOf(r exchange.Request, n int) exchange.Pico {
	if !strings.Contains(string(r.Params), `"ttl"`) {
		p.CacheWriteLong = 0
	}
	return p.Worst(InputBound(r), int64(r.MaxTokens)*int64(n))
}

// longest is the length in bytes of the longest form that normalisation gives
// a text. A byte that is not UTF-8 is sent as U+FFFD, three bytes.
func longest(s string) int64 {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < 0x80
	}
	if ascii {
		return int64(len(s))
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	n := len(s)
	for _, f := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
		n = max(n, len(f.String(s)))
	}
	return int64(n)
}
