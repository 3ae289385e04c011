package constrain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// GBNF allows what the rule root of a grammar does, written as llama.cpp writes
// it: rules name ::= alternatives, texts "in quotes", classes [a-z] and [^"\\],
// any character ., groups, * + ? {m} {m,} {m,n}, and comments from #. A rule may
// go on after a line break within a group, after ::= and around |.
func GBNF(text string) (*Grammar, error) {
	p := &gbnf{text: text, line: 1, byName: map[string]int{}}
	g, err := p.grammar()
	if err != nil {
		return nil, fmt.Errorf("grammar: %w", err)
	}
	return g, nil
}

type gbnf struct {
	text   string
	at     int
	line   int
	depth  int
	rules  []rule
	byName map[string]int
	uses   []use
}

// use is where a rule is first referred to.
type use struct{ rule, line int }

func (p *gbnf) grammar() (*Grammar, error) {
	for p.space(true); p.at < len(p.text); p.space(true) {
		if err := p.rule(); err != nil {
			return nil, err
		}
	}
	for _, u := range p.uses {
		if p.rules[u.rule].body == nil {
			return nil, fmt.Errorf("line %d: the rule %s is not defined", u.line, quoted(p.rules[u.rule].name))
		}
	}
	root, ok := p.byName["root"]
	if !ok {
		return nil, fmt.Errorf("there is no rule root, with which a text begins")
	}
	rules := make([]rule, len(p.rules))
	for i, r := range p.rules {
		rules[i] = rule{"the rule " + quoted(r.name), r.body}
	}
	return compile(rules, root)
}

func (p *gbnf) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{p.line}, args...)...)
}

// space passes over white space and comments, with breaks over those of lines.
func (p *gbnf) space(breaks bool) {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == ' ' || c == '\t':
		case c == '#':
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
			continue
		case (c == '\n' || c == '\r') && breaks:
			if c == '\n' {
				p.line++
			}
		default:
			return
		}
		p.at++
	}
}

// take passes over a text that is next.
func (p *gbnf) take(s string) bool {
	if strings.HasPrefix(p.text[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

// here names what is next, for an error.
func (p *gbnf) here() string {
	if p.at >= len(p.text) {
		return "the end of the grammar"
	}
	rest, _, _ := strings.Cut(p.text[p.at:], "\n")
	return quoted(rest)
}

func (p *gbnf) name() string {
	from := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			p.at++
			continue
		}
		break
	}
	return p.text[from:p.at]
}

// index is the rule of a name, which need not be defined yet.
func (p *gbnf) index(name string) int {
	i, ok := p.byName[name]
	if !ok {
		i = len(p.rules)
		p.byName[name] = i
		p.rules = append(p.rules, rule{name: name})
		p.uses = append(p.uses, use{i, p.line})
	}
	return i
}

func (p *gbnf) rule() error {
	name := p.name()
	if name == "" {
		return p.errorf("a rule begins with its name, not %s", p.here())
	}
	i := p.index(name)
	p.space(false)
	if !p.take("::=") {
		return p.errorf("after the name %s comes ::=, not %s", quoted(name), p.here())
	}
	if p.rules[i].body != nil {
		return p.errorf("the rule %s is defined twice", quoted(name))
	}
	p.space(true)
	body, err := p.alternatives(false)
	if err != nil {
		return err
	}
	p.rules[i].body = body
	if p.at < len(p.text) && p.text[p.at] != '\n' && p.text[p.at] != '\r' {
		return p.errorf("the rule %s goes on with %s", quoted(name), p.here())
	}
	return nil
}

func (p *gbnf) alternatives(group bool) (expr, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, p.errorf("groups are nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	var all choice
	for {
		s, err := p.sequence(group)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
		if !p.bar() {
			return all, nil
		}
		p.space(true)
	}
}

// bar passes over |, which may stand on the next line.
func (p *gbnf) bar() bool {
	at, line := p.at, p.line
	p.space(true)
	if p.take("|") {
		return true
	}
	p.at, p.line = at, line
	return false
}

func (p *gbnf) sequence(group bool) (expr, error) {
	var s sequence
	for p.at < len(p.text) {
		var e expr
		var err error
		switch c := p.text[p.at]; {
		case c == '"':
			e, err = p.quoted()
		case c == '[':
			e, err = p.class()
		case c == '.':
			p.at++
			e = anyRune
		case c == '(':
			p.at++
			p.space(true)
			if e, err = p.alternatives(true); err == nil && !p.take(")") {
				err = p.errorf("a group ends with ), not %s", p.here())
			}
		case c == '<' || c == '!':
			err = p.errorf("tokens (%s) are not supported: write their text", p.here())
		default:
			name := p.name()
			if name == "" {
				return s, nil
			}
			e = ref(p.index(name))
		}
		if err != nil {
			return nil, err
		}
		p.space(group)
		if e, err = p.counted(e); err != nil {
			return nil, err
		}
		s = append(s, e)
		p.space(group)
	}
	return s, nil
}

// counted applies the repetitions that follow e.
func (p *gbnf) counted(e expr) (expr, error) {
	for n := 0; p.at < len(p.text); n++ {
		if n == 16 {
			return nil, p.errorf("too many repetitions follow one another")
		}
		switch {
		case p.take("*"):
			e = repeat{e, 0, -1}
		case p.take("+"):
			e = repeat{e, 1, -1}
		case p.take("?"):
			e = optional(e)
		case p.take("{"):
			counts, rest, ok := strings.Cut(p.text[p.at:], "}")
			first, last, comma := strings.Cut(counts, ",")
			least, err := count(first)
			most := least
			if comma && err == nil {
				if most = -1; strings.TrimSpace(last) != "" {
					most, err = count(last)
				}
			}
			switch {
			case !ok || err != nil || most >= 0 && most < least:
				return nil, p.errorf("a count is {m}, {m,} or {m,n}, not {%s", quoted(p.text[p.at:]))
			case max(least, most) > maxRepeat:
				return nil, p.errorf("%w: something is repeated up to %d times, at most %d are possible", errTooLarge, max(least, most), maxRepeat)
			}
			p.at = len(p.text) - len(rest)
			e = repeat{e, least, most}
		default:
			return e, nil
		}
		p.space(false)
	}
	return e, nil
}

func count(s string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31)
	return int(n), err
}

// quoted reads a text in quotes.
func (p *gbnf) quoted() (expr, error) {
	p.at++
	var b strings.Builder
	for !p.take(`"`) {
		r, err := p.char("a text")
		if err != nil {
			return nil, err
		}
		b.WriteRune(r)
	}
	return literal(b.String()), nil
}

func (p *gbnf) class() (expr, error) {
	p.at++
	not := p.take("^")
	var class runes
	for !p.take("]") {
		lo, err := p.char("a class")
		if err != nil {
			return nil, err
		}
		hi := lo
		if strings.HasPrefix(p.text[p.at:], "-") && !strings.HasPrefix(p.text[p.at:], "-]") {
			p.at++
			if hi, err = p.char("a class"); err != nil {
				return nil, err
			}
			if hi < lo {
				return nil, p.errorf("the range %q-%q of a class goes backwards", lo, hi)
			}
		}
		class = append(class, span{lo, hi})
	}
	class = class.normal()
	if not {
		class = anyRune.minus(class)
	}
	return class, nil
}

// char reads a character of a text or class, which may be escaped.
func (p *gbnf) char(what string) (rune, error) {
	if p.at >= len(p.text) || p.text[p.at] == '\n' {
		return 0, p.errorf("%s does not end", what)
	}
	r, n := utf8.DecodeRuneInString(p.text[p.at:])
	if r == utf8.RuneError && n == 1 {
		return 0, p.errorf("%s is not UTF-8", what)
	}
	p.at += n
	if r != '\\' {
		return r, nil
	}
	if p.at >= len(p.text) {
		return 0, p.errorf("%s does not end", what)
	}
	c := p.text[p.at]
	p.at++
	switch c {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case '\\', '"', '[', ']', '-', '^', '\'', '/', '.':
		return rune(c), nil
	case 'x', 'u', 'U':
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		if p.at+digits <= len(p.text) {
			if v, err := strconv.ParseUint(p.text[p.at:p.at+digits], 16, 32); err == nil && v <= utf8.MaxRune && utf8.ValidRune(rune(v)) {
				p.at += digits
				return rune(v), nil
			}
		}
		return 0, p.errorf(`after \%c come %d hexadecimal digits of a character`, c, digits)
	}
	return 0, p.errorf(`\%s is not an escape; there are \n \r \t \\ \" \[ \] \- \^ \xNN \uNNNN \UNNNNNNNN`, quoted(string(rune(c))))
}
