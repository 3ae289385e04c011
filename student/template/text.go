package template

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str is str of Python.
func (r *run) str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case undefined:
		return ""
	}
	var b builder
	b.run = r
	b.repr(v)
	return b.String()
}

// builder builds text that the run pays for as it grows.
type builder struct {
	strings.Builder
	run *run
}

func (b *builder) add(s string) {
	b.run.grow(b.Len(), len(s))
	b.WriteString(s)
}

// repr adds repr of Python.
func (b *builder) repr(v any) {
	b.run.enter()
	defer b.run.leave()
	switch v := v.(type) {
	case nil:
		b.add("None")
	case bool:
		if v {
			b.add("True")
		} else {
			b.add("False")
		}
	case int:
		b.add(strconv.Itoa(v))
	case *big.Int:
		b.add(v.String())
	case float64:
		b.add(formatFloat(v))
	case string:
		b.quote(v)
	case undefined:
		b.add("Undefined")
	case list:
		b.sequence("[", v, "]")
	case tuple:
		if len(v) == 1 {
			b.sequence("(", v, ",)")
		} else {
			b.sequence("(", v, ")")
		}
	case dict:
		b.add("{")
		for i, e := range v {
			if i > 0 {
				b.add(", ")
			}
			b.repr(e.key)
			b.add(": ")
			b.repr(e.value)
		}
		b.add("}")
	default:
		b.run.fail("a %s as text is not supported", typeName(v))
	}
}

func (b *builder) sequence(open string, items []any, closing string) {
	b.add(open)
	for i, v := range items {
		if i > 0 {
			b.add(", ")
		}
		b.repr(v)
	}
	b.add(closing)
}

// quote adds a string as Python writes it in a list.
func (b *builder) quote(s string) {
	mark := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		mark = '"'
	}
	b.add(string(mark))
	from := 0
	for i, c := range s {
		escape := ""
		switch {
		case c == rune(mark) || c == '\\':
			escape = `\` + string(c)
		case c == '\n':
			escape = `\n`
		case c == '\r':
			escape = `\r`
		case c == '\t':
			escape = `\t`
		case unicode.IsPrint(c):
			continue
		case c < 0x100:
			escape = fmt.Sprintf(`\x%02x`, c)
		case c < 0x10000:
			escape = fmt.Sprintf(`\u%04x`, c)
		default:
			escape = fmt.Sprintf(`\U%08x`, c)
		}
		b.add(s[from:i])
		b.add(escape)
		from = i + utf8.RuneLen(c)
	}
	b.add(s[from:])
	b.add(string(mark))
}

// formatFloat is repr of Python.
func formatFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if strings.IndexByte(s, '.') < 0 {
		s += ".0"
	}
	return s
}
