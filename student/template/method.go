package template

import (
	"slices"
	"strings"
)

// unsupported are methods and other attributes of Python.
var unsupported = map[string][]string{
	"str": {"casefold", "center", "encode", "expandtabs", "format_map", "index", "isalnum", "isalpha", "isascii", "isdecimal",
		"isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "ljust", "maketrans",
		"partition", "rindex", "rjust", "rpartition", "swapcase", "translate", "zfill"},
	"list":      {"copy", "count", "index"},
	"tuple":     {"count", "index"},
	"dict":      {"copy", "fromkeys"},
	"dict view": {"isdisjoint", "mapping"},
	"range":     {"count", "index", "start", "stop", "step"},
	"bool":      ofNumbers,
	"int":       ofNumbers,
	"float":     {"as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real"},
	"generator": {"close", "send", "throw"},
	"Macro":     {"name", "arguments", "caller", "catch_kwargs", "catch_varargs", "explicit_caller"},
}

var ofNumbers = []string{"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "imag", "numerator", "real", "to_bytes"}

// mutators are methods that Jinja's sandbox forbids.
var mutators = map[string][]string{
	"list": {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// method returns a value's method of that name, or nil.
func (r *run) method(of any, name string) any {
	kind := typeName(of)
	switch {
	case slices.Contains(mutators[kind], name):
		return unsafe(of, name)
	case slices.Contains(unsupported[kind], name):
		r.fail("the attribute %s of %s is not supported", name, kind)
	case methods[kind][name] != nil:
		return &method{of, name}
	}
	return nil
}

func unsafe(of any, name string) undefined {
	return func() string {
		return "access to attribute " + excerpt(name) + " of '" + typeName(of) + "' object is unsafe"
	}
}

func (m *method) call(c *call) any {
	c.in = m.of
	if _, ok := text(m.of); ok {
		c.scan(len(c.text(m.of)))
	}
	return methods[typeName(m.of)][m.name](c)
}

// methods are the methods by type; c.in is the value.
var methods map[string]map[string]func(*call) any

func init() { // some call others
	methods = map[string]map[string]func(*call) any{
		"dict": {
			"keys":   func(c *call) any { c.take(0); return view(c.keys(c.in.(dict))) },
			"values": func(c *call) any { c.take(0); return view(c.values(c.in.(dict))) },
			"items":  func(c *call) any { c.take(0); return view(c.pairs(c.in.(dict))) },
			"get":    dictGet,
		},
		"str": stringMethods,
	}
}

func (r *run) values(d dict) []any {
	r.hold(len(d))
	out := make([]any, len(d))
	for i := range d {
		out[i] = d[i].value
	}
	return out
}

func dictGet(c *call) any {
	a := c.take(1, "key", "default")
	c.hashable(a[0])
	d := c.in.(dict)
	if i := c.find(d, a[0]); i >= 0 {
		return d[i].value
	}
	return given(a[1], nil)
}

// stringMethods are the methods of str.
var stringMethods = map[string]func(*call) any{
	"strip":        func(c *call) any { return strip(c, true, true) },
	"lstrip":       func(c *call) any { return strip(c, true, false) },
	"rstrip":       func(c *call) any { return strip(c, false, true) },
	"split":        func(c *call) any { return split(c, false) },
	"rsplit":       func(c *call) any { return split(c, true) },
	"splitlines":   splitLines,
	"startswith":   func(c *call) any { return affix(c, strings.HasPrefix) },
	"endswith":     func(c *call) any { return affix(c, strings.HasSuffix) },
	"removeprefix": func(c *call) any { return strings.TrimPrefix(c.in.(string), c.text(c.take(1, "prefix")[0])) },
	"removesuffix": func(c *call) any { return strings.TrimSuffix(c.in.(string), c.text(c.take(1, "suffix")[0])) },
	"find":         func(c *call) any { return find(c, strings.Index) },
	"rfind":        func(c *call) any { return find(c, strings.LastIndex) },
	"count":        count,
	"replace": func(c *call) any {
		a := c.take(2, "old", "new", "count")
		return c.replace(c.in.(string), c.text(a[0]), c.text(a[1]), c.int(given(a[2], -1)))
	},
	"join": func(c *call) any {
		items := c.iterate(c.take(1, "iterable")[0])
		for _, v := range items {
			c.text(v)
		}
		return c.joined(items, c.in.(string))
	},
	"format":     format,
	"upper":      func(c *call) any { c.take(0); return c.upper(c.in.(string)) },
	"lower":      func(c *call) any { c.take(0); return c.lower(c.in.(string)) },
	"title":      func(c *call) any { c.take(0); return c.title(c.in.(string)) },
	"capitalize": func(c *call) any { c.take(0); return c.capitalize(c.in.(string)) },
}
