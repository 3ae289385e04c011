package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Shield puts mark into the text of every special token in s, after its first
// character, so that EncodeShielded takes it for what it says and not for the
// token. s must not hold mark.
func (t *Tokenizer) Shield(s string, mark rune) string {
	var b strings.Builder
	from := 0
	for i := range s {
		if a := t.addedAt(s, i); a != nil && a.special {
			_, first := utf8.DecodeRuneInString(s[i:])
			b.WriteString(s[from : i+first])
			b.WriteRune(mark)
			from = i + first
		}
	}
	if from == 0 {
		return s
	}
	b.WriteString(s[from:])
	return b.String()
}

// EncodeShielded is Encode of text without its marks, in which no added token goes
// across the place of one.
func (t *Tokenizer) EncodeShielded(text string, mark rune) []int32 {
	var plain strings.Builder
	var within []int
	for {
		before, after, found := strings.Cut(text, string(mark))
		plain.WriteString(before)
		if !found {
			return t.encode(plain.String(), within)
		}
		within, text = append(within, plain.Len()), after
	}
}
