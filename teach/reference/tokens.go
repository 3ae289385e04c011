package reference

import (
	"unicode"
	"unicode/utf8"
)

// pieces cuts text into the teacher's tokens, which it counts and bills:
//
//   - a run of letters, with one space before it;
//   - any other character by itself: a digit, a sign, white space, or a byte
//     that is not UTF-8.
//
// So a text has never more tokens than bytes, and its tokens put together are
// the text.
func pieces(text string) []string {
	var out []string
	for i := 0; i < len(text); {
		n := letters(text[i:])
		if n == 0 && text[i] == ' ' {
			if n = letters(text[i+1:]); n > 0 {
				n++
			}
		}
		if n == 0 {
			_, n = utf8.DecodeRuneInString(text[i:])
		}
		out = append(out, text[i:i+n])
		i += n
	}
	return out
}

// letters returns the length in bytes of the letters that text begins with.
func letters(text string) int {
	for i, r := range text {
		if !unicode.IsLetter(r) {
			return i
		}
	}
	return len(text)
}

// CountTokens returns how many tokens the teacher counts in a text.
func CountTokens(text string) int { return len(pieces(text)) }
