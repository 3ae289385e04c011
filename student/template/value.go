package template

import (
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// The values of a template: nil (None), bool, int, *big.Int (an integer that int
// cannot hold; it can be shown and compared), float64, string and those below.
// gonja takes empty slices and maps and all functions for false, everything else
// that is not a number, a string or nil for true; the types are chosen so that it
// agrees with Python. Only a namespace changes once made.
type (
	list  []any
	tuple []any
	// view is what keys, values and items of a dict return.
	view []any
	// span is a range.
	span []any
	// dict keeps its order.
	dict  []entry
	entry struct{ key, value any }
	// stream is a generator: it is true, and gives its items once.
	stream struct{ items []any }
	// namespace holds boxed values; the name "" is there to make it true.
	namespace map[string]any
	// markup is text that was marked safe.
	markup string
	// undefined is a value that is not there; the text says which.
	undefined func() string
	// method is a method of a value.
	method struct {
		of   any
		name string
	}
	// function is a global function.
	function struct {
		name string
		call func(*call) any
	}
	// macro is a macro, which to gonja would be false.
	macro struct{ call exec.Macro }
	// boxed wraps a value that gonja would take for something else.
	boxed struct{ value any }
	// spread are arguments from a list.
	spread []any
	// absent is an argument that was not given.
	absent struct{}
)

func missing(text string) undefined { return func() string { return text } }

// typeName is Python's name of a value's type.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string, markup:
		return "str"
	case list:
		return "list"
	case tuple:
		return "tuple"
	case view:
		return "dict view"
	case span:
		return "range"
	case dict:
		return "dict"
	case *stream:
		return "generator"
	case namespace:
		return "Namespace"
	case undefined:
		return "Undefined"
	case exec.AttributeGetter:
		return "LoopContext"
	case *macro:
		return "Macro"
	}
	return "function"
}

// truth is what bool of Python says.
func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case dict:
		return len(v) > 0
	}
	if s, ok := items(v); ok {
		return len(s) > 0
	}
	return true
}

// items returns the items of a list, a tuple, a view or a range.
func items(v any) ([]any, bool) {
	switch v := v.(type) {
	case list:
		return v, true
	case tuple:
		return v, true
	case view:
		return v, true
	case span:
		return v, true
	}
	return nil, false
}

// find returns the place of a key in a dict, or -1.
func (r *run) find(d dict, key any) int {
	r.spend(len(d) / 2)
	for i := range d {
		if s, ok := key.(string); ok {
			if k, ok := d[i].key.(string); ok && k == s {
				return i
			}
			continue
		}
		if r.equal(d[i].key, key) {
			return i
		}
	}
	return -1
}

// hashable refuses what Python does not take for a key.
func (r *run) hashable(key any) {
	switch key.(type) {
	case list, dict:
		r.fail("unhashable type: '%s'", typeName(key))
	case tuple, view, span:
		r.fail("a %s as a key is not supported", typeName(key))
	}
}

// iterate returns the items that a loop over v sees; of a stream, all that are
// left, which it then has no more.
func (r *run) iterate(v any) []any {
	if s, ok := items(v); ok {
		return s
	}
	switch v := v.(type) {
	case string:
		return r.characters(v)
	case markup:
		return r.characters(string(v))
	case dict:
		return r.keys(v)
	case undefined:
		return nil
	case *stream:
		s := v.items
		v.items = nil
		return s
	}
	r.fail("'%s' object is not iterable", typeName(v))
	return nil
}

func (r *run) characters(s string) []any {
	r.hold(len(s))
	out := make([]any, 0, utf8.RuneCountInString(s))
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		out = append(out, s[i:i+n])
		i += n
	}
	return out
}

func (r *run) keys(d dict) []any {
	r.hold(len(d))
	out := make([]any, len(d))
	for i := range d {
		out[i] = d[i].key
	}
	return out
}

func (r *run) pairs(d dict) []any {
	r.hold(4 * len(d))
	out := make([]any, len(d))
	for i := range d {
		out[i] = tuple{d[i].key, d[i].value}
	}
	return out
}

// length is len of Python.
func (r *run) length(v any) int {
	if s, ok := items(v); ok {
		return len(s)
	}
	switch v := v.(type) {
	case string:
		return r.runes(v)
	case markup:
		return r.runes(string(v))
	case dict:
		return len(v)
	case undefined:
		return 0
	}
	r.fail("object of type '%s' has no len()", typeName(v))
	return 0
}

func (r *run) runes(s string) int {
	r.scan(len(s))
	return utf8.RuneCountInString(s)
}

// contains is the operator in.
func (r *run) contains(v, in any) bool {
	if whole, ok := text(in); ok {
		s, ok := text(v)
		if !ok {
			r.fail("'in <string>' requires string as left operand, not %s", typeName(v))
		}
		r.scan(len(whole))
		return strings.Contains(whole, s)
	}
	if d, ok := in.(dict); ok {
		r.hashable(v)
		return r.find(d, v) >= 0
	}
	for _, x := range r.iterate(in) {
		if r.equal(x, v) {
			return true
		}
	}
	return false
}
