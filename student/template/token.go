package template

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	endToken tokenKind = iota // the end of a tag
	nameToken
	literalToken
	operatorToken
)

// token is a part of a tag.
type token struct {
	kind  tokenKind
	text  string // as written, of a name or an operator
	value any    // of a literal
	line  int
}

func (t token) String() string {
	switch t.kind {
	case endToken:
		return "the end of the tag"
	case literalToken:
		if s, ok := t.value.(string); ok {
			return "the string " + excerpt(s)
		}
		return "a number"
	}
	return excerpt(t.text)
}

// excerpt quotes text from a template in an error.
func excerpt(s string) string { return fmt.Sprintf("%.60q", s) }

// tag reads the tokens of a tag and moves behind it.
func (l *lexer) tag(kind byte) []token {
	mark := "}}"
	if kind == '%' {
		mark = "%}"
	}
	var tokens []token
	var open []byte
	for {
		l.skip(len(l.src) - len(strings.TrimLeftFunc(l.src[l.at:], isSpace)))
		if l.at == len(l.src) {
			l.fail("a tag does not end: %s is missing", mark)
		}
		l.count(tokens)
		rest := l.src[l.at:]
		if len(open) == 0 {
			if strings.HasPrefix(rest, mark) {
				l.close(l.at, 0, kind == '%')
				return append(tokens, token{line: l.line})
			}
			if len(rest) > 2 && rest[1:3] == mark && (rest[0] == '-' || rest[0] == '+' && kind == '%') {
				l.close(l.at+1, rest[0], false)
				return append(tokens, token{line: l.line})
			}
		}
		r, _ := utf8.DecodeRuneInString(rest)
		t := token{line: l.line}
		var n int
		switch {
		case '0' <= r && r <= '9':
			t.kind = literalToken
			t.value, n = l.number(rest)
		case r == '_' || unicode.IsLetter(r):
			t.kind = nameToken
			n = len(rest) - len(strings.TrimLeftFunc(rest, isNamePart))
			if n > mostName {
				l.fail("a name is longer than %d bytes", mostName)
			}
			t.text = rest[:n]
		case r == '\'' || r == '"':
			t.kind = literalToken
			t.value, n = l.quoted(rest)
		default:
			t.kind = operatorToken
			t.text = operator(rest)
			n = len(t.text)
			if n == 0 {
				l.fail("%q is unexpected here", r)
			}
			open = l.balance(open, t.text[0])
		}
		tokens = append(tokens, t)
		l.skip(l.at + n)
	}
}

// balance notes a bracket, if it is one, among those that are open.
func (l *lexer) balance(open []byte, c byte) []byte {
	switch c {
	case '(':
		return append(open, ')')
	case '[':
		return append(open, ']')
	case '{':
		return append(open, '}')
	case ')', ']', '}':
		if len(open) == 0 || open[len(open)-1] != c {
			l.fail("%q is unexpected here", c)
		}
		return open[:len(open)-1]
	}
	return open
}

// operator returns the operator at the start of s, or "".
func operator(s string) string {
	for _, o := range []string{"//", "**", "==", "!=", ">=", "<="} {
		if strings.HasPrefix(s, o) {
			return o
		}
	}
	if strings.IndexByte("+-/*%~[](){}><=.:|,;", s[0]) >= 0 {
		return s[:1]
	}
	return ""
}

func isNamePart(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r)
}

// isSpace is what str.isspace of Python is for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }
