package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode returns the text of ids, special tokens included. Bytes that are not
// UTF-8 become U+FFFD, one for each maximal part of a broken sequence (what the
// Unicode standard recommends and Hugging Face does); ids that do not exist
// are left out.
func (t *Tokenizer) Decode(ids []int32) string {
	var raw []byte
	for _, id := range ids {
		raw = append(raw, t.TokenBytes(id)...)
	}
	var out strings.Builder
	out.Grow(len(raw))
	appendLossy(&out, raw, true)
	return out.String()
}

// Stream decodes tokens one by one as a model writes them. It never hands out a
// part of a character: bytes wait until their character is whole or certainly
// broken. All that Next and Flush return, joined, is what Decode returns.
type Stream struct {
	t       *Tokenizer
	pending []byte // the beginning of a character, at most 3 bytes between calls
}

// NewStream returns a decoder for one answer. It is for one goroutine.
func (t *Tokenizer) NewStream() *Stream { return &Stream{t: t} }

// Next takes the next token and returns the text that is now certain.
func (s *Stream) Next(id int32) string {
	s.pending = append(s.pending, s.t.TokenBytes(id)...)
	var out strings.Builder
	rest := appendLossy(&out, s.pending, false)
	s.pending = s.pending[:copy(s.pending, rest)]
	return out.String()
}

// Flush ends the answer and returns what was held back, as U+FFFD.
func (s *Stream) Flush() string {
	var out strings.Builder
	appendLossy(&out, s.pending, true)
	s.pending = nil
	return out.String()
}

// appendLossy writes raw as valid UTF-8 and returns the bytes at its end that
// may still become a character, none if final.
func appendLossy(out *strings.Builder, raw []byte, final bool) []byte {
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r != utf8.RuneError || n != 1 {
			out.Write(raw[:n])
			raw = raw[n:]
			continue
		}
		if !final && !utf8.FullRune(raw) {
			return raw
		}
		out.WriteString("\uFFFD")
		raw = raw[brokenPrefix(raw):]
	}
	return nil
}

// brokenPrefix returns the length of the maximal part of an ill-formed sequence
// at the start of b: the longest prefix that could have begun a character, at
// least one byte.
func brokenPrefix(b []byte) int {
	n := 1
	for n < len(b) && !utf8.FullRune(b[:n+1]) { // false: b[:n+1] begins a character
		n++
	}
	return n
}
