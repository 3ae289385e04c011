// Package text compares texts the way a curator must: are two of them the same
// but for case and spacing, nearly the same, or does one contain a piece of
// another that must stay unseen; and does a text say which model wrote it.
//
// Its currency is the word list that Words makes. Text that all prompts share
// (an instruction, a template) is masked before lists are compared: a masked
// stretch is a Gap, which no shingle and no n-gram crosses.
//
// Everything is deterministic: hashes have fixed seeds and results never
// depend on map order. Indexes grow by Add, in the caller's order, and are not
// safe for concurrent use. The package knows nothing of tasks, exchanges or
// files.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Gap stands in a word list for masked text.
const Gap = ""

// Normalize maps texts that differ in Unicode form, case or white space only
// to one text: NFKC, lower case, runs of white space as one space, none at the
// ends. It keeps punctuation.
func Normalize(s string) string {
	return strings.Join(strings.Fields(fold(s)), " ")
}

// Words splits a text into what n-grams are made of: runs of letters, digits
// and marks, in NFKC and lower case. Ideographs and kana are words one by one,
// since their scripts do not write spaces. Punctuation is dropped; symbols and
// arithmetic signs are words, so that "3+4" and "3*4" differ.
func Words(s string) []string {
	s = fold(s)
	var words []string
	start := -1 // of the open run
	end := func(i int) {
		if start >= 0 {
			words = append(words, s[start:i])
			start = -1
		}
	}
	for i, r := range s {
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana):
			end(i)
			words = append(words, s[i:i+utf8.RuneLen(r)])
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			if start < 0 {
				start = i
			}
		case r == '-' && start >= 0: // well-known, 3-4: decided by what follows
			next, _ := utf8.DecodeRuneInString(s[i+1:])
			digits := unicode.IsDigit(next)
			end(i)
			if digits {
				words = append(words, "-")
			}
		case isSign(r):
			end(i)
			words = append(words, string(r))
		default:
			end(i)
		}
	}
	end(len(s))
	return words
}

// isSign reports whether a rune that is no letter or digit carries meaning.
func isSign(r rune) bool {
	return unicode.IsSymbol(r) || strings.ContainsRune("*/%&#@-", r)
}

func fold(s string) string {
	if isLowerASCII(s) {
		return s
	}
	return norm.NFKC.String(strings.ToLower(norm.NFKC.String(s)))
}

func isLowerASCII(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}
