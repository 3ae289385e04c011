package tokenizer

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// longRun is how many marks in a row the library's NFC is trusted with: from its 31st on
// it inserts U+034F (Stream-Safe Text, Unicode Standard Annex 15, section 13), which
// Hugging Face does not.
const longRun = 15

// composed is text in Unicode's NFC.
func composed(text string) string {
	switch {
	case norm.NFC.IsNormalString(text):
		return text
	case hasLongRun(text):
		return string(compose(decompose(text)))
	}
	return norm.NFC.String(text)
}

// hasLongRun counts a letter that comes apart into marks as one: at most three of them.
func hasLongRun(text string) bool {
	run := 0
	for _, r := range text {
		if r < utf8.RuneSelf || norm.NFD.PropertiesString(string(r)).LeadCCC() == 0 {
			run = 0
			continue
		}
		if run++; run > longRun {
			return true
		}
	}
	return false
}

// decompose is the canonical decomposition, marks in canonical order. What is not UTF-8
// is U+FFFD.
func decompose(text string) []rune {
	var out []rune
	start := 0 // of the marks at the end of out
	for _, r := range text {
		for _, part := range norm.NFD.String(string(r)) {
			if ccc(part) == 0 {
				order(out[start:])
				start = len(out) + 1
			}
			out = append(out, part)
		}
	}
	order(out[start:])
	return out
}

func ccc(r rune) uint8 { return norm.NFD.PropertiesString(string(r)).CCC() }

func order(marks []rune) {
	slices.SortStableFunc(marks, func(a, b rune) int { return int(ccc(a)) - int(ccc(b)) })
}

// compose is the canonical composition (Unicode Standard, definition D117): each
// character joins the last starter if nothing between them blocks it.
func compose(in []rune) []rune {
	var out []rune
	starter, last := -1, uint8(0) // where in out; the class of what was last put behind it
	for _, r := range in {
		class := ccc(r)
		if starter >= 0 && (starter == len(out)-1 || last != 0 && last < class) {
			if pair := norm.NFC.String(string([]rune{out[starter], r})); utf8.RuneCountInString(pair) == 1 {
				out[starter], _ = utf8.DecodeRuneInString(pair)
				continue
			}
		}
		out, last = append(out, r), class
		if class == 0 {
			starter = len(out) - 1
		}
	}
	return out
}
