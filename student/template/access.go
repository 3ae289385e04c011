package template

import (
	"strings"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// getattr is a.b: a method, else an item.
func (r *run) getattr(of any, name string) any {
	r.defined(of)
	if strings.HasPrefix(name, "__") {
		return unsafe(of, name)
	}
	if m := r.method(of, name); m != nil {
		return m
	}
	switch v := of.(type) {
	case dict:
		if i := r.find(v, name); i >= 0 {
			return v[i].value
		}
	case namespace:
		if b, ok := v[name].(boxed); ok {
			return b.value
		}
	case exec.AttributeGetter:
		if value, ok := loopAttribute(v, name); ok {
			return value
		}
	}
	return noAttribute(of, name)
}

func noAttribute(of any, name string) undefined {
	return func() string { return "'" + typeName(of) + " object' has no attribute " + excerpt(name) }
}

// getitem is a[b]: an item, else a method.
func (r *run) getitem(of, key any) any {
	r.defined(of)
	if d, ok := of.(dict); ok {
		switch key.(type) {
		case list, dict:
		default:
			r.hashable(key)
			if i := r.find(d, key); i >= 0 {
				return d[i].value
			}
		}
	}
	if i, ok := whole(key); ok {
		switch v := of.(type) {
		case string:
			return r.character(v, i)
		case markup:
			return r.character(string(v), i)
		case list, tuple, span:
			s, _ := items(v)
			if i < 0 {
				i += len(s)
			}
			if 0 <= i && i < len(s) {
				return s[i]
			}
		}
	}
	if name, ok := key.(string); ok {
		if _, isDict := of.(dict); isDict {
			if m := r.method(of, name); m != nil {
				return m
			}
			return noAttribute(of, name)
		}
		return r.getattr(of, name)
	}
	return missing("'" + typeName(of) + " object' has no such element")
}

func (r *run) character(s string, i int) any {
	n := r.runes(s)
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return missing("'str object' has no such element")
	}
	if n == len(s) {
		return s[i : i+1]
	}
	r.scan(len(s))
	for at := range s {
		if i == 0 {
			_, size := utf8.DecodeRuneInString(s[at:])
			return s[at : at+size]
		}
		i--
	}
	return nil
}

// loopAttribute reads the variable loop. gonja knows no undefined neighbour.
func loopAttribute(loop exec.AttributeGetter, name string) (any, bool) {
	read := func(name string) any {
		v, _ := loop.GetAttribute(name)
		return v.Interface()
	}
	switch name {
	case "previtem", "nextitem":
		if end := map[string]string{"previtem": "first", "nextitem": "last"}[name]; read(end) == true {
			return missing("there is no such item"), true
		}
		if pair, ok := read(name).([2]*exec.Value); ok {
			return tuple{pair[0].Interface(), pair[1].Interface()}, true
		}
	case "depth": // counts loops of the same tag
		return 1, true
	case "depth0":
		return 0, true
	case "index", "index0", "revindex", "revindex0", "first", "last", "length", "cycle", "changed":
	default:
		return nil, false
	}
	return read(name), true
}

// slice is a[b:c:d].
func slice(c *call) any {
	c.defined(c.in)
	step := c.bound(2, 1)
	if step == 0 {
		c.fail("slice step cannot be zero")
	}
	if s, ok := text(c.in); ok {
		if step == 1 {
			from, to := c.bounds(c.runes(s), 1)
			return c.between(s, from, to)
		}
		c.alloc(5 * len(s))
		return string(pick([]rune(s), c, step))
	}
	switch v := c.in.(type) {
	case list:
		return list(pick(v, c, step))
	case tuple:
		return tuple(pick(v, c, step))
	case span:
		return span(pick(v, c, step))
	case dict:
		c.fail("unhashable type: 'slice'")
	}
	c.fail("'%s' object is not subscriptable", typeName(c.in))
	return nil
}

// bound returns an argument of a slice, or what stands for None.
func (c *call) bound(i, none int) int {
	if c.args[i] == nil {
		return none
	}
	return c.int(c.args[i])
}

// bounds returns where a slice of n items begins and ends.
func (c *call) bounds(n, step int) (from, to int) {
	low, high := 0, n
	first, last := low, high
	if step < 0 {
		low, high = -1, n-1
		first, last = high, low
	}
	clamp := func(i, none int) int {
		if c.args[i] == nil {
			return none
		}
		at := c.int(c.args[i])
		if at < 0 {
			at += n
		}
		return min(max(at, low), high)
	}
	return clamp(0, first), clamp(1, last)
}

// pick returns the items of a slice.
func pick[T any](s []T, c *call, step int) []T {
	from, to := c.bounds(len(s), step)
	step = min(max(step, -len(s)-1), len(s)+1)
	c.hold((max(to-from, from-to) / max(step, -step)))
	out := []T{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		out = append(out, s[i])
	}
	return out
}

// between returns the characters of s from one to another.
func (c *call) between(s string, from, to int) string {
	if from >= to {
		return ""
	}
	c.scan(len(s))
	n, begin := 0, len(s)
	for at := range s {
		if n == from {
			begin = at
		}
		if n == to {
			return s[begin:at]
		}
		n++
	}
	return s[begin:]
}
