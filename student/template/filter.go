package template

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// filters are those of Jinja, and tojson of transformers, by name.
var filters map[string]func(*call) any

func init() { // some call others
	filters = map[string]func(*call) any{
		"capitalize": func(c *call) any { c.take(0); return c.capitalize(c.soft(c.in)) },
		"count":      func(c *call) any { c.take(0); return c.length(c.in) },
		"d":          fallback,
		"default":    fallback,
		"dictsort":   dictSort,
		"first":      first,
		"indent":     indent,
		"int":        toInt,
		"items":      dictItems,
		"join":       join,
		"last":       last,
		"length":     func(c *call) any { c.take(0); return c.length(c.in) },
		"list":       func(c *call) any { c.take(0); return list(c.join(c.iterate(c.in), nil)) },
		"lower":      func(c *call) any { c.take(0); return c.lower(c.soft(c.in)) },
		"map":        mapFilter,
		"max":        func(c *call) any { return extreme(c, 1) },
		"min":        func(c *call) any { return extreme(c, -1) },
		"reject":     func(c *call) any { return choose(c, false, false) },
		"rejectattr": func(c *call) any { return choose(c, true, false) },
		"replace": func(c *call) any {
			a := c.take(2, "old", "new", "count")
			n := given(a[2], nil)
			if n == nil {
				n = -1
			}
			return c.replace(c.str(c.in), c.str(a[0]), c.str(a[1]), c.int(n))
		},
		"reverse":    reverse,
		"safe":       func(c *call) any { c.take(0); return markup(c.str(c.in)) },
		"select":     func(c *call) any { return choose(c, false, true) },
		"selectattr": func(c *call) any { return choose(c, true, true) },
		"sort":       sortFilter,
		"string":     func(c *call) any { c.take(0); return soften(c) },
		"title":      func(c *call) any { c.take(0); return c.jinjaTitle(c.soft(c.in)) },
		"tojson":     toJSON,
		"trim":       func(c *call) any { c.in = c.soft(c.in); c.scan(len(c.in.(string))); return strip(c, true, true) },
		"unique":     unique,
		"upper":      func(c *call) any { c.take(0); return c.upper(c.soft(c.in)) },
	}
}

// soften is str, which leaves text that was marked safe as it is.
func soften(c *call) any {
	if m, ok := c.in.(markup); ok {
		return m
	}
	return c.str(c.in)
}

func fallback(c *call) any {
	a := c.take(0, "default_value", "boolean")
	_, gone := c.in.(undefined)
	if gone || truth(given(a[1], false)) && !truth(c.in) {
		return given(a[0], "")
	}
	return c.in
}

// toInt is the filter int: text is read as a number, what is none is 0.
func toInt(c *call) any {
	a := c.take(0, "default", "base")
	base := c.int(given(a[1], 10))
	switch v := c.in.(type) {
	case bool, int:
		return c.int(v)
	case *big.Int:
		return v
	case float64:
		return truncated(c, v, given(a[0], 0))
	case string:
		if base != 10 {
			c.fail("int: a base other than 10 is not supported")
		}
		s := strings.TrimFunc(v, isSpace)
		unsigned := strings.TrimLeft(s, "+-")
		if n := digits(unsigned); n > 0 && n == len(unsigned) && len(s)-n < 2 {
			if i, err := strconv.Atoi(strings.ReplaceAll(s, "_", "")); err == nil {
				return i
			}
			c.overflow()
		}
		if f, ok := parseFloat(v); ok {
			return truncated(c, f, given(a[0], 0))
		}
	case undefined:
		c.defined(v)
	}
	return given(a[0], 0)
}

func truncated(c *call, f float64, none any) any {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return none
	case math.Abs(f) >= 1<<63:
		c.overflow()
	}
	return int(f)
}

func parseFloat(s string) (float64, bool) {
	s = strings.TrimFunc(s, isSpace)
	if strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || math.IsInf(f, 0)
}

func indent(c *call) any {
	a := c.take(0, "width", "first", "blank")
	width, ok := given(a[0], 4).(string)
	if !ok {
		width = strings.Repeat(" ", c.small(max(0, c.int(given(a[0], 4))), "indent: the width"))
	}
	first, blank := truth(given(a[1], false)), truth(given(a[2], false))
	b := builder{run: c.run}
	for i, line := range c.lines(c.text(c.in) + "\n") { // the line break as in Jinja
		line = strings.TrimRightFunc(line, isLineBreak)
		if i > 0 {
			b.add("\n")
		}
		if i == 0 && first || i > 0 && (blank || line != "") {
			b.add(width)
		}
		b.add(line)
	}
	return b.String()
}

// jinjaTitle is the filter title, which unlike the method knows where words begin.
func (r *run) jinjaTitle(s string) string {
	r.alloc(2 * len(s))
	r.spend(len(s))
	var b strings.Builder
	for s != "" {
		inWord := func(c rune) bool { return !isSpace(c) && !strings.ContainsRune("-({[<", c) }
		at := strings.IndexFunc(s, inWord)
		if at < 0 {
			at = len(s)
		}
		b.WriteString(s[:at])
		s = s[at:]
		end := strings.IndexFunc(s, func(c rune) bool { return !inWord(c) })
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			n := len(string([]rune(s[:end])[:1]))
			b.WriteString(r.upper(s[:n]))
			b.WriteString(r.lower(s[n:end]))
			s = s[end:]
		}
	}
	return b.String()
}

func reverse(c *call) any {
	c.take(0)
	if s, ok := c.in.(string); ok {
		c.alloc(5 * len(s))
		r := []rune(s)
		slices.Reverse(r)
		return string(r)
	}
	s := c.join(c.iterate(c.in), nil)
	slices.Reverse(s)
	if _, ok := c.in.(*stream); ok {
		return list(s)
	}
	return &stream{s}
}
