package template

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

func strip(c *call, left, right bool) any {
	s := c.in.(string)
	out := isSpace
	if chars := given(c.take(0, "chars")[0], nil); chars != nil {
		set := c.text(chars)
		c.scan(len(s) * len(set))
		out = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, out)
	}
	if right {
		s = strings.TrimRightFunc(s, out)
	}
	return s
}

// split is split, or from the right rsplit.
func split(c *call, right bool) any {
	a := c.take(0, "sep", "maxsplit")
	s, most := c.in.(string), c.int(given(a[1], -1))
	if most < 0 {
		most = len(s)
	}
	var parts []string
	if sep := given(a[0], nil); sep != nil {
		mark := c.text(sep)
		if mark == "" {
			c.fail("empty separator")
		}
		c.hold(min(most, strings.Count(s, mark)))
		for index := strings.Index; len(parts) < most; {
			if right {
				index = strings.LastIndex
			}
			at := index(s, mark)
			if at < 0 {
				break
			}
			before, after := s[:at], s[at+len(mark):]
			if right {
				before, after = after, before
			}
			parts, s = append(parts, before), after
		}
		parts = append(parts, s)
	} else {
		for s = trimSpace(s, right); s != ""; s = trimSpace(s, right) {
			c.hold(1)
			at := strings.IndexFunc(s, isSpace)
			if right {
				at = strings.LastIndexFunc(s, isSpace)
			}
			switch {
			case at < 0 || len(parts) == most: // the rest keeps the blanks on its other side
				parts, s = append(parts, s), ""
			case right:
				_, n := utf8.DecodeRuneInString(s[at:])
				parts, s = append(parts, s[at+n:]), s[:at]
			default:
				parts, s = append(parts, s[:at]), s[at:]
			}
		}
	}
	out := make(list, len(parts))
	for i, p := range parts {
		if right {
			out[len(parts)-1-i] = p
		} else {
			out[i] = p
		}
	}
	return out
}

func trimSpace(s string, right bool) string {
	if right {
		return strings.TrimRightFunc(s, isSpace)
	}
	return strings.TrimLeftFunc(s, isSpace)
}

func splitLines(c *call) any {
	keep := truth(given(c.take(0, "keepends")[0], false))
	var out list
	for _, line := range c.lines(c.in.(string)) {
		if !keep {
			line = strings.TrimRightFunc(line, isLineBreak)
		}
		out = append(out, line)
	}
	return append(list{}, out...)
}

// lines cuts text after its line breaks, as Python sees them.
func (r *run) lines(s string) []string {
	var out []string
	for s != "" {
		r.hold(1)
		at := strings.IndexFunc(s, isLineBreak)
		if at < 0 {
			return append(out, s)
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		if strings.HasPrefix(s[at:], "\r\n") {
			n = 2
		}
		out, s = append(out, s[:at+n]), s[at+n:]
	}
	return out
}

func isLineBreak(r rune) bool {
	return '\n' <= r && r <= '\r' || 0x1c <= r && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029
}

// affix is startswith or endswith.
func affix(c *call, has func(s, affix string) bool) any {
	a := c.take(1, "prefix")[0]
	options, ok := a.(tuple)
	if !ok {
		options = tuple{a}
	}
	for _, o := range options {
		if has(c.in.(string), c.text(o)) {
			return true
		}
	}
	return false
}

// find counts in characters, as everything in Python.
func find(c *call, index func(s, sub string) int) any {
	s := c.in.(string)
	at := index(s, c.text(c.take(1, "sub")[0]))
	if at < 0 {
		return -1
	}
	return c.runes(s[:at])
}

func count(c *call) any { return strings.Count(c.in.(string), c.text(c.take(1, "sub")[0])) }

// replace is replace of Python, of n places if n is not negative.
func (c *call) replace(s, old, new string, n int) string {
	c.scan(len(s))
	places := strings.Count(s, old)
	if n >= 0 {
		places = min(places, n)
	}
	c.alloc(len(s))
	c.grow(len(s), max(0, c.times(len(new), places)-len(old)*places))
	return strings.Replace(s, old, new, n)
}

// joined is join of Python on strings.
func (c *call) joined(items []any, sep string) string {
	var b builder
	b.run = c.run
	for i, v := range items {
		if i > 0 {
			b.add(sep)
		}
		b.add(v.(string))
	}
	return b.String()
}

func (r *run) upper(s string) string {
	r.alloc(2 * len(s))
	r.spend(len(s))
	return cases.Upper(language.Und).String(s)
}

func (r *run) lower(s string) string {
	r.alloc(2 * len(s))
	r.spend(len(s))
	return cases.Lower(language.Und).String(s)
}

// capitalize makes the first character a capital and the others small, which may
// depend on what stands before them.
func (r *run) capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	first := cases.Title(language.Und, cases.NoLower).String(s[:n])
	return first + strings.TrimPrefix(r.lower(s), r.lower(s[:n]))
}

// title capitalizes letters that stand together.
func (r *run) title(s string) string {
	r.alloc(2 * len(s))
	var b strings.Builder
	for s != "" {
		n := len(s) - len(strings.TrimLeftFunc(s, isCased))
		b.WriteString(r.capitalize(s[:n]))
		s = s[n:]
		n = len(s) - len(strings.TrimLeftFunc(s, func(c rune) bool { return !isCased(c) }))
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String()
}

func isCased(r rune) bool { return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) }
