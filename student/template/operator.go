package template

import (
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// operators are the uses that expressions are made of, by their names in them.
// The left operand is what is filtered.
var operators map[string]func(*call) any

func init() { // some evaluate others
	operators = map[string]func(*call) any{
		"+":      add,
		"-":      func(c *call) any { return c.arithmetic("-") },
		"*":      multiply,
		"/":      func(c *call) any { return c.arithmetic("/") },
		"//":     func(c *call) any { return c.arithmetic("//") },
		"%":      func(c *call) any { return c.arithmetic("%") },
		"**":     func(c *call) any { c.fail("the operator ** is not supported"); return nil },
		"~":      func(c *call) any { return c.concat(c.str(c.in), c.str(c.args[0])) },
		"neg":    negate,
		"pos":    func(c *call) any { c.numeric(c.in); return c.in },
		"==":     func(c *call) any { return c.equal(c.in, c.args[0]) },
		"!=":     func(c *call) any { return !c.equal(c.in, c.args[0]) },
		"<":      func(c *call) any { return c.order("<", c.in, c.args[0]) < 0 },
		"<=":     func(c *call) any { return c.order("<=", c.in, c.args[0]) <= 0 },
		">":      func(c *call) any { return c.order(">", c.in, c.args[0]) > 0 },
		">=":     func(c *call) any { return c.order(">=", c.in, c.args[0]) >= 0 },
		"in":     func(c *call) any { return c.contains(c.in, c.args[0]) },
		"not in": func(c *call) any { return !c.contains(c.in, c.args[0]) },
		"not":    func(c *call) any { return !truth(c.in) },
		"bool":   func(c *call) any { return truth(c.in) },
		".":      func(c *call) any { return c.getattr(c.in, c.args[0].(string)) },
		"[]":     func(c *call) any { return c.getitem(c.in, c.args[0]) },
		"[:]":    slice,
		"()":     invoke,
		"list":   func(c *call) any { c.hold(len(c.args)); return list(c.args) },
		"tuple":  func(c *call) any { c.hold(len(c.args)); return tuple(c.args) },
		"dict":   literalDict,
		"box":    func(c *call) any { return boxed{c.in} },
		"unbox":  func(c *call) any { return c.in.(boxed).value },
		"given":  func(c *call) any { _, ok := c.in.(absent); return !ok },
		"macro":  func(c *call) any { return &macro{c.in.(exec.Macro)} },
		"spread": func(c *call) any { return spread(c.iterate(c.in)) },
		"each":   each,
		"store":  store,
		"out":    func(c *call) any { return c.output(c.str(c.in)) },
	}
}

// output pays for text that is written, to the end or to what a macro returns.
func (r *run) output(s string) string {
	r.grow(r.written/2, len(s))
	r.written += len(s)
	return s
}

func (r *run) concat(a, b string) string {
	r.grow(len(a), len(b))
	r.alloc(len(a))
	return a + b
}

func add(c *call) any {
	a, b := c.in, c.args[0]
	c.defined(a)
	c.defined(b)
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return c.concat(x, y)
		}
	case list:
		if y, ok := b.(list); ok {
			return list(c.join(x, y))
		}
	case tuple:
		if y, ok := b.(tuple); ok {
			return tuple(c.join(x, y))
		}
	}
	x, ok := text(a)
	y, ok2 := text(b)
	if ok && ok2 {
		return markup(c.concat(c.escaped(a, x), c.escaped(b, y)))
	}
	return c.arithmetic("+")
}

// escaped is text as it becomes where it is added to text that was marked safe.
func (r *run) escaped(v any, s string) string {
	if _, safe := v.(markup); safe || !strings.ContainsAny(s, "&<>'\"") {
		return s
	}
	r.grow(0, 5*len(s))
	return htmlEscaper.Replace(s)
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")

func (r *run) join(a, b []any) []any {
	r.hold(len(a) + len(b))
	return append(append(make([]any, 0, len(a)+len(b)), a...), b...)
}

func multiply(c *call) any {
	a, b := c.in, c.args[0]
	c.defined(a)
	c.defined(b)
	if _, ok := whole(a); ok {
		a, b = b, a
	}
	n, ok := whole(b)
	if n = max(n, 0); !ok {
		return c.arithmetic("*")
	}
	switch s := a.(type) {
	case string:
		c.alloc(c.times(len(s), n))
		return strings.Repeat(s, n)
	case list:
		c.hold(c.times(len(s), n))
		return slices.Repeat(s, n)
	}
	return c.arithmetic("*")
}

// times is n times a length, which no text may have.
func (c *call) times(length, n int) int {
	if length > 0 && n > c.longest/length {
		c.grow(c.longest, 1)
	}
	return length * n
}

// each makes what a loop runs over: a list, or with two loop variables a list of
// pairs.
func each(c *call) any {
	items := c.iterate(c.in)
	c.spend(loopCost * len(items))
	if c.args[0] == 1 {
		return list(items)
	}
	out := make(list, len(items))
	for i, v := range items {
		pair := c.iterate(v)
		if len(pair) != 2 {
			c.fail("an item of the loop has %d values, not 2", len(pair))
		}
		out[i] = tuple(pair)
	}
	return out
}

// store checks the target of {% set a.b = … %}. A map of gonja's forgets what is
// set to None, so the value is boxed.
func store(c *call) any {
	if _, ok := c.args[0].(namespace); !ok {
		c.fail("cannot assign attribute on non-namespace object")
	}
	c.attribute(c.args[1].(string))
	return boxed{c.in}
}

func literalDict(c *call) any {
	out := dict{}
	for i := 0; i < len(c.args); i += 2 {
		key, value := c.args[i], c.args[i+1]
		c.hashable(key)
		c.hold(4)
		if at := c.find(out, key); at >= 0 {
			out[at].value = value
		} else {
			out = append(out, entry{key, value})
		}
	}
	return out
}
