package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"retort/internal/wire"
)

// decode reads JSON as json.loads of Python does: objects keep their order, an
// integer stays one.
func decode(raw json.RawMessage) (any, error) {
	if err := wire.Check(raw); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return decodeNext(dec)
}

// decodeNext reads a value of JSON that wire.Check has accepted.
func decodeNext(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Number:
		s := tok.String()
		if strings.ContainsAny(s, ".eE") {
			f, _ := strconv.ParseFloat(s, 64) // out of range is infinite, as in Python
			return f, nil
		}
		return integer(s)
	case json.Delim:
		if tok == '[' {
			out := list{}
			for dec.More() {
				v, err := decodeNext(dec)
				if err != nil {
					return nil, err
				}
				out = append(out, v)
			}
			_, err = dec.Token()
			return out, err
		}
		out := dict{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeNext(dec)
			if err != nil {
				return nil, err
			}
			out = append(out, entry{key, v})
		}
		_, err = dec.Token()
		return out, err
	}
	return tok, nil
}

// encoder writes JSON as json.dumps of Python does.
type encoder struct {
	builder
	ascii       bool
	indent      *string // nil: on one line
	comma       string
	colon       string
	sorted      bool
	indentation string // of the line that is written
}

// toJSON is the filter tojson of transformers, which unlike Jinja's escapes
// nothing for HTML.
func toJSON(c *call) any {
	a := c.take(0, "ensure_ascii", "indent", "separators", "sort_keys")
	e := encoder{comma: ", ", colon: ": "}
	e.run = c.run
	e.ascii = truth(given(a[0], false))
	e.sorted = truth(given(a[3], false))
	if v := given(a[1], nil); v != nil {
		indent, ok := text(v)
		if n, isInt := whole(v); isInt {
			indent, ok = strings.Repeat(" ", c.small(max(0, n), "indent")), true
		}
		if !ok {
			c.fail("tojson: indent is a %s, not a number or a string", typeName(v))
		}
		e.indent, e.comma = &indent, ","
	}
	if v := given(a[2], nil); v != nil {
		s, _ := items(v)
		if len(s) != 2 {
			c.fail("tojson: separators is not a pair of strings")
		}
		e.comma, e.colon = c.text(s[0]), c.text(s[1])
	}
	e.value(c.in)
	return e.String()
}

func (e *encoder) value(v any) {
	e.run.enter()
	defer e.run.leave()
	switch v := v.(type) {
	case nil:
		e.add("null")
	case bool, int, *big.Int, float64:
		e.add(scalar(v))
	case string:
		e.str(v)
	case markup:
		e.str(string(v))
	case list:
		e.array(v)
	case tuple:
		e.array(v)
	case dict:
		e.object(v)
	default:
		e.run.fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

// scalar is a bool or a number in JSON.
func scalar(v any) string {
	switch v := v.(type) {
	case float64:
		switch {
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		case math.IsNaN(v):
			return "NaN"
		}
		return formatFloat(v)
	default:
		return fmt.Sprint(v)
	}
}

func (e *encoder) array(items []any) {
	if len(items) == 0 {
		e.add("[]")
		return
	}
	e.add("[")
	outer := e.deeper()
	for i, v := range items {
		if i > 0 {
			e.add(e.comma)
		}
		e.newline()
		e.value(v)
	}
	e.indentation = outer
	e.newline()
	e.add("]")
}

func (e *encoder) object(d dict) {
	if len(d) == 0 {
		e.add("{}")
		return
	}
	if e.sorted {
		d = slices.Clone(d)
		e.run.hold(len(d))
		slices.SortStableFunc(d, func(a, b entry) int { return e.run.order("<", a.key, b.key) })
	}
	e.add("{")
	outer := e.deeper()
	for i, x := range d {
		if i > 0 {
			e.add(e.comma)
		}
		e.newline()
		switch k := x.key.(type) {
		case string:
			e.str(k)
		case nil:
			e.add(`"null"`)
		default:
			e.add(`"` + scalar(k) + `"`)
		}
		e.add(e.colon)
		e.value(x.value)
	}
	e.indentation = outer
	e.newline()
	e.add("}")
}

func (e *encoder) deeper() (outer string) {
	outer = e.indentation
	if e.indent != nil {
		e.run.grow(len(outer), len(*e.indent))
		e.indentation += *e.indent
	}
	return outer
}

func (e *encoder) newline() {
	if e.indent != nil {
		e.add("\n")
		e.add(e.indentation)
	}
}

func (e *encoder) str(s string) {
	e.add(`"`)
	from := 0
	for i, c := range s {
		escape := ""
		switch {
		case c == '"' || c == '\\':
			escape = `\` + string(c)
		case c == '\n':
			escape = `\n`
		case c == '\r':
			escape = `\r`
		case c == '\t':
			escape = `\t`
		case c == '\b':
			escape = `\b`
		case c == '\f':
			escape = `\f`
		case c < 0x20 || e.ascii && 0x7f <= c && c < 0x10000:
			escape = fmt.Sprintf(`\u%04x`, c)
		case e.ascii && c >= 0x10000:
			a, b := utf16.EncodeRune(c)
			escape = fmt.Sprintf(`\u%04x\u%04x`, a, b)
		default:
			continue
		}
		e.add(s[from:i])
		e.add(escape)
		from = i + utf8.RuneLen(c)
	}
	e.add(s[from:])
	e.add(`"`)
}
