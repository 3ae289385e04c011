package template

import (
	"fmt"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// use is an operator at a line of a template. To gonja every use is a filter of
// its own, so that an error knows its line.
type use struct {
	do   func(*call) any
	line int
}

// signature is the first argument of a use that takes named arguments: their
// names. They stand last.
type signature []string

// call is one evaluation of a use.
type call struct {
	*run
	in    any   // what is filtered, the left operand, or the function
	args  []any // by position
	names signature
	named []any
}

// filters are the uses of a template as filters of a run.
func (t *Template) filters(r *run) *exec.FilterSet {
	set := make(map[string]exec.FilterFunction, len(t.uses))
	for key, u := range t.uses {
		set[key] = func(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
			r.line = u.line
			r.spend(operatorCost + argumentCost*len(params.Args))
			c := &call{run: r, in: in.Interface()}
			for _, a := range params.Args {
				switch v := a.Interface().(type) {
				case signature:
					c.names = v
				case spread:
					c.hold(len(v))
					c.args = append(c.args, v...)
				default:
					c.args = append(c.args, v)
				}
			}
			at := len(c.args) - len(c.names)
			c.args, c.named = c.args[:at], c.args[at:]
			return exec.AsValue(u.do(c))
		}
	}
	return exec.NewFilterSet(set)
}

// take returns the arguments for the given parameters, absent where there is
// none; at least the first few must be there.
func (c *call) take(least int, parameters ...string) []any {
	out := make([]any, len(parameters))
	for i := range out {
		out[i] = absent{}
	}
	if len(c.args) > len(parameters) {
		c.fail("too many arguments: %d, not at most %d", len(c.args), len(parameters))
	}
	copy(out, c.args)
named:
	for i, name := range c.names {
		for j, p := range parameters {
			if p == name {
				if _, ok := out[j].(absent); !ok {
					c.fail("the argument %s is given twice", name)
				}
				out[j] = c.named[i]
				continue named
			}
		}
		c.fail("an argument %s is not known", name)
	}
	for i, v := range out[:least] {
		if _, ok := v.(absent); ok {
			c.fail("the argument %s is missing", parameters[i])
		}
	}
	return out
}

// given returns v, or what stands for it if it was not given.
func given(v, instead any) any {
	if _, ok := v.(absent); ok {
		return instead
	}
	return v
}

// text refuses what is not a string. Text that was marked safe is refused, too:
// what Python then makes of it is not supported.
func (c *call) text(v any) string {
	c.defined(v)
	s, ok := v.(string)
	if !ok {
		if _, safe := v.(markup); safe {
			c.fail("changing text that was marked safe is not supported")
		}
		c.fail("a string is expected, not a %s", typeName(v))
	}
	return s
}

// soft is text, or str of what is not text.
func (c *call) soft(v any) string {
	if _, ok := v.(markup); ok {
		return c.text(v)
	}
	return c.str(v)
}

func (c *call) int(v any) int {
	c.defined(v)
	n, ok := whole(v)
	if !ok {
		c.fail("an integer is expected, not a %s", typeName(v))
	}
	return n
}

// small refuses a width that no text can have.
func (c *call) small(n int, what string) int {
	if n > c.longest {
		c.fail("%s is %d, more than any text is long", what, n)
	}
	c.alloc(max(0, n))
	return n
}

// invoke calls what a template calls.
func invoke(c *call) any {
	switch f := c.in.(type) {
	case *function:
		return f.call(c)
	case *method:
		return f.call(c)
	case *macro:
		return c.macro(f)
	case func(*exec.VarArgs) *exec.Value: // of a loop
		return c.engine(f, c.args, nil)
	}
	c.defined(c.in)
	c.fail("'%s' object is not callable", typeName(c.in))
	return nil
}

func (c *call) macro(m *macro) any {
	if c.macros++; c.macros > mostMacros {
		c.fail("macros call one another deeper than %d", mostMacros)
	}
	line := c.line
	named := make(map[string]*exec.Value, len(c.names))
	for i, name := range c.names {
		named[variable(name)] = exec.AsValue(c.named[i])
	}
	out := c.engine(m.call, c.args, named)
	c.macros--
	c.line = line
	return out
}

// engine calls a function of gonja.
func (c *call) engine(f func(*exec.VarArgs) *exec.Value, args []any, named map[string]*exec.Value) any {
	params := &exec.VarArgs{KwArgs: named}
	for _, a := range args {
		params.Args = append(params.Args, exec.AsValue(a))
	}
	v := f(params)
	if v.IsError() {
		c.fail("%s", strings.ReplaceAll(v.Error(), "'$", "'")) // as the template calls it
	}
	return v.Interface()
}

// globals are the functions that every template has.
var globals = map[string]func(*call) any{
	"range": func(c *call) any {
		a := c.take(1, "start", "stop", "step")
		start, stop, step := 0, c.int(a[0]), 1
		if v := given(a[1], nil); v != nil {
			start, stop = stop, c.int(v)
			step = c.int(given(a[2], 1))
		}
		if step == 0 {
			c.fail("range() arg 3 must not be zero")
		}
		const most, far = 100_000, 1 << 60 // the first as in Jinja's sandbox
		n := most + 1
		if -far < min(start, stop, step) && max(start, stop, step) < far {
			n = max(0, (stop-start+step-step/max(step, -step))/step)
		}
		if n > most {
			c.fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", most)
		}
		c.hold(n)
		out := make(span, n)
		for i := range out {
			out[i] = start + i*step
		}
		return out
	},
	"namespace": func(c *call) any {
		out := namespace{"": nil}
		for _, e := range newDict(c) {
			name := c.text(e.key)
			c.attribute(name)
			out[name] = boxed{e.value}
		}
		return out
	},
	"dict": func(c *call) any { return newDict(c) },
	"raise_exception": func(c *call) any {
		panic(failure{&Raised{c.str(c.take(1, "message")[0])}})
	},
	"strftime_now": func(c *call) any { return c.strftime(c.text(c.take(1, "format")[0])) },
	"cycler":       notSupported,
	"joiner":       notSupported,
	"lipsum":       notSupported,
}

func notSupported(c *call) any {
	c.fail("the function %s is not supported", c.in.(*function).name)
	return nil
}

// newDict is dict of Python.
func newDict(c *call) dict {
	var out dict
	set := func(key, value any) {
		c.hashable(key)
		if i := c.find(out, key); i >= 0 {
			out[i].value = value
			return
		}
		c.hold(4)
		out = append(out, entry{key, value})
	}
	if len(c.args) > 1 {
		c.fail("dict expected at most 1 argument, got %d", len(c.args))
	}
	if len(c.args) == 1 {
		if d, ok := c.args[0].(dict); ok {
			c.hold(4 * len(d))
			out = append(out, d...)
		} else {
			for _, pair := range c.iterate(c.args[0]) {
				p := c.iterate(pair)
				if len(p) != 2 {
					c.fail("dict: an item has length %d; 2 is required", len(p))
				}
				set(p[0], p[1])
			}
		}
	}
	for i, name := range c.names {
		set(name, c.named[i])
	}
	return out
}

// attribute refuses a name that a namespace may not have.
func (c *call) attribute(name string) {
	if name == "" || name[0] == '_' {
		panic(failure{fmt.Errorf("chat templates cannot store underscore-prefixed attributes on a namespace, but got %q", name)})
	}
}
