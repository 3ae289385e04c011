package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// Pattern is the regular expression that cuts text into the words inside which
// pairs are merged: Qwen2's. It needs a look-ahead, which Go's regexp lacks, so
// nextWord below follows it by hand; tokenizer.json carries it as it is.
const Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// class sorts code points as Pattern sees them.
type class uint8

const (
	classOther class = iota // [^\s\p{L}\p{N}]
	classLetter
	classNumber
	classSpace   // \s but for the next
	classNewline // [\r\n]
)

// classify uses the project's own tables for \p{L} and \p{N}, not those of the
// Go release, so that the same text has the same tokens under every compiler.
func classify(r rune) class {
	switch {
	case r < 0x80:
		return asciiClass[r]
	case unicode.Is(letters, r):
		return classLetter
	case unicode.Is(numbers, r):
		return classNumber
	case isSpace(r):
		return classSpace
	}
	return classOther
}

var asciiClass = func() (t [0x80]class) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			t[c] = classLetter
		case '0' <= c && c <= '9':
			t[c] = classNumber
		case c == '\r' || c == '\n':
			t[c] = classNewline
		case c == ' ' || c == '\t' || c == '\v' || c == '\f':
			t[c] = classSpace
		}
	}
	return t
}()

// isSpace reports White_Space beyond ASCII.
func isSpace(r rune) bool {
	switch r {
	case 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return 0x2000 <= r && r <= 0x200a
}

// classAt returns the class and width of the code point at s[i:]; i must be
// less than len(s). A byte that is not UTF-8 counts as classOther.
func classAt(s string, i int) (class, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && n == 1 {
		return classOther, 1
	}
	return classify(r), n
}

// run returns the end of the longest run of class c that starts at s[i:].
func run(s string, i int, c class) int {
	for i < len(s) {
		k, n := classAt(s, i)
		if k != c {
			break
		}
		i += n
	}
	return i
}

// nextWord returns the length of the word at the start of s, which is not
// empty. The alternatives of Pattern are tried in their order.
func nextWord(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	first, width := classAt(s, 0)
	switch first {
	case classLetter: // \p{L}+
		return run(s, width, classLetter)
	case classNumber: // \p{N}
		return width
	case classOther:
		if end := run(s, width, classLetter); end > width { // [^\r\n\p{L}\p{N}]?\p{L}+
			return end
		}
		return run(s, run(s, width, classOther), classNewline)
	case classSpace:
		if end := run(s, width, classLetter); end > width { // [^\r\n\p{L}\p{N}]?\p{L}+
			return end
		}
		if s[0] == ' ' { //  ?[^\s\p{L}\p{N}]+[\r\n]*
			if end := run(s, width, classOther); end > width {
				return run(s, end, classNewline)
			}
		}
	}
	return spaces(s)
}

// spaces follows the last three alternatives at a run of white space: up to and
// including its last line break; else all of it at the end of the text; else
// all but the last, which begins the next word, unless that is all there is.
func spaces(s string) int {
	end, last, newline := 0, 0, 0
	for end < len(s) {
		c, n := classAt(s, end)
		if c != classSpace && c != classNewline {
			break
		}
		last = end
		end += n
		if c == classNewline {
			newline = end
		}
	}
	switch {
	case newline > 0:
		return newline
	case end == len(s) || last == 0:
		return end
	}
	return last
}

// contraction returns the length of (?i:'s|'t|'re|'ve|'m|'ll|'d) at the start
// of s, or 0. The long s (ſ) folds to s, as it does in the original.
func contraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] | 0x20 {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2]|0x20 == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2]|0x20 == 'l' {
			return 3
		}
	}
	if len(s) > 2 && s[1:3] == "ſ" {
		return 3
	}
	return 0
}
