package template

import "strings"

// Limits of a template's source. The templates of models in use have at most a
// few hundred tokens in a tag, and 30 kB in all.
const (
	mostSource    = 1 << 20 // bytes
	mostTokens    = 1 << 16
	mostTagTokens = 4096
	mostName      = 128 // bytes of an identifier
)

// piece is a stretch of text, or a tag.
type piece struct {
	open byte // '{' of {{ }}, '%' of {% %}, 0 of text
	text string
	tag  []token
	line int
}

// lexer cuts a template as Jinja does with trim_blocks and lstrip_blocks set.
// gonja's own lexer takes blanks from the middle of a line for the start of one
// and knows no line break in a tag.
type lexer struct {
	src       string
	at        int
	line      int
	lineStart bool // what was read last ended with a line break
	tokens    int
	pieces    []piece
}

func lex(source string) []piece {
	source = strings.ReplaceAll(source, "\r\n", "\n")
	source = strings.ReplaceAll(source, "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(source, "\n"), line: 1, lineStart: true}
	for l.at < len(l.src) {
		l.next()
	}
	return l.pieces
}

func (l *lexer) fail(format string, args ...any) { syntax(l.line, format, args...) }

// skip moves to a place further on.
func (l *lexer) skip(to int) {
	l.line += strings.Count(l.src[l.at:to], "\n")
	l.lineStart = to > l.at && l.src[to-1] == '\n'
	l.at = to
}

// next reads a text and the tag after it.
func (l *lexer) next() {
	rest := l.src[l.at:]
	open := 0
	for ; open < len(rest); open++ {
		if rest[open] == '{' && open+1 < len(rest) && strings.IndexByte("{%#", rest[open+1]) >= 0 {
			break
		}
	}
	if open == len(rest) {
		l.text(rest)
		l.skip(len(l.src))
		return
	}
	kind := rest[open+1]
	body := open + 2
	sign := byte(0)
	if body < len(rest) && (rest[body] == '-' || rest[body] == '+') {
		sign = rest[body]
		body++
	}
	l.text(l.trimmed(rest[:open], sign, kind))
	if n := rawBegin(rest[body:]); kind == '%' && n > 0 {
		l.skip(l.at + body + n)
		l.raw()
		return
	}
	l.skip(l.at + body)
	if kind == '#' {
		l.comment()
		return
	}
	p := piece{open: kind, line: l.line}
	p.tag = l.tag(kind)
	l.pieces = append(l.pieces, p)
}

func (l *lexer) text(s string) {
	if s != "" {
		l.count(nil)
		l.pieces = append(l.pieces, piece{text: s, line: l.line})
	}
}

// count notes one more token after those of its tag; a text is one, too.
func (l *lexer) count(tag []token) {
	if l.tokens++; l.tokens > mostTokens || len(tag) == mostTagTokens {
		l.fail("the template is too long: it may have %d tokens, and a tag %d", mostTokens, mostTagTokens)
	}
}

// trimmed is text before a tag of that kind without what the tag takes away.
func (l *lexer) trimmed(text string, sign, kind byte) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(text, isSpace)
	case sign == '+' || kind == '{':
		return text
	}
	line := strings.LastIndexByte(text, '\n') + 1
	if (line > 0 || l.lineStart) && strings.TrimLeftFunc(text[line:], isSpace) == "" {
		return text[:line]
	}
	return text
}

// close moves behind the end of a tag, whose mark begins at the given place, and
// behind what it takes away.
func (l *lexer) close(at int, sign byte, trimsLine bool) {
	at += 2
	switch {
	case sign == '-':
		at += len(l.src[at:]) - len(strings.TrimLeftFunc(l.src[at:], isSpace))
	case sign == 0 && trimsLine && strings.HasPrefix(l.src[at:], "\n"):
		at++
	}
	l.skip(at)
}

func (l *lexer) comment() {
	n := strings.Index(l.src[l.at:], "#}")
	if n < 0 {
		l.fail("a comment does not end")
	}
	sign := byte(0)
	if n > 0 && (l.src[l.at+n-1] == '-' || l.src[l.at+n-1] == '+') {
		sign = l.src[l.at+n-1]
	}
	l.close(l.at+n, sign, true)
}

// rawBegin is the length of "raw %}" at the start of s, or 0.
func rawBegin(s string) int {
	rest, ok := strings.CutPrefix(strings.TrimLeftFunc(s, isSpace), "raw")
	if !ok {
		return 0
	}
	rest = strings.TrimLeftFunc(rest, isSpace)
	if after, ok := strings.CutPrefix(rest, "-%}"); ok {
		return len(s) - len(strings.TrimLeftFunc(after, isSpace))
	}
	if after, ok := strings.CutPrefix(rest, "%}"); ok {
		return len(s) - len(after)
	}
	return 0
}

// raw reads up to {% endraw %}.
func (l *lexer) raw() {
	for from := l.at; ; from += 2 {
		n := strings.Index(l.src[from:], "{%")
		if n < 0 {
			l.fail("raw text does not end: {%% endraw %%} is missing")
		}
		from += n
		end, sign := from+2, byte(0)
		if end < len(l.src) && (l.src[end] == '-' || l.src[end] == '+') {
			sign = l.src[end]
			end++
		}
		rest, ok := strings.CutPrefix(strings.TrimLeftFunc(l.src[end:], isSpace), "endraw")
		if !ok {
			continue
		}
		rest = strings.TrimLeftFunc(rest, isSpace)
		closing := byte(0)
		if rest != "" && (rest[0] == '-' || rest[0] == '+') {
			closing, rest = rest[0], rest[1:]
		}
		if !strings.HasPrefix(rest, "%}") {
			continue
		}
		l.text(l.trimmed(l.src[l.at:from], sign, '%'))
		l.close(len(l.src)-len(rest), closing, true)
		return
	}
}
