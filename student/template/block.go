package template

import "slices"

// loop writes {% for … %}.
func (e *expression) loop() {
	parenthesised := e.accept("(")
	var targets []code
	for {
		targets = append(targets, e.target())
		if !e.accept(",") {
			break
		}
	}
	if len(targets) > 2 {
		e.fail("a loop with more than two variables is not supported")
	}
	if parenthesised {
		e.expect(")")
	}
	e.expect("in")
	over := e.apply("each", e.tuple("", false), e.constant(len(targets)))
	parts := []code{targets[0]}
	if len(targets) == 2 {
		parts = append(parts, code{comma}, targets[1])
	}
	parts = append(parts, code{in}, over)
	b := block{name: "for", loop: true}
	if e.accept("if") {
		from := e.at
		parts = append(parts, code{e.named("if")}, e.apply("bool", e.conditional()))
		for _, t := range e.tokens[from:e.at] {
			b.names = append(b.names, t.text)
		}
	}
	if e.is("recursive") {
		e.fail("a recursive loop is not supported")
	}
	e.begin(b)
	e.tag("for", parts...)
}

// set writes {% set … %}.
func (e *expression) set() {
	line := e.current().line
	target := e.target()
	switch {
	case e.accept("."):
		for _, b := range e.open { // gonja evaluates it for all items before the first
			if slices.Contains(b.names, e.tokens[e.at-2].text) {
				e.fail("changing what the condition of the loop of line %d reads is not supported", b.line)
			}
		}
		name := e.name()
		e.expect("=")
		value := e.tuple("", true)
		value = e.apply("store", value, slices.Clone(target), e.constant(name))
		e.tag("set", append(target, dot, e.named(name)), code{assign}, value)
	case e.accept("="):
		e.tag("set", target, code{assign}, e.tuple("", true))
	case e.is(","):
		e.fail("setting more than one name is not supported")
	default:
		b := block{name: "set"}
		e.tag("set", target)
		if e.is("|") {
			x := e.filters(slices.Clone(target))
			b.after = append(append(code{blockBegin, e.named("set")}, target...), assign)
			b.after = append(append(b.after, x...), blockEnd)
		}
		b.line = line
		e.begin(b)
	}
}

// filters reads filters of x.
func (e *expression) filters(x code) code {
	if !e.is("|") {
		x = e.filter(x)
	}
	for e.accept("|") {
		x = e.filter(x)
	}
	return x
}

// with writes {% with … %}.
func (e *expression) with() {
	var parts []code
	for e.current().kind == nameToken {
		if parts != nil {
			parts = append(parts, code{comma})
		}
		target := e.target()
		e.expect("=")
		parts = append(parts, target, code{assign}, e.conditional())
		if !e.accept(",") {
			break
		}
	}
	e.begin(block{name: "with", loop: e.inner().loop})
	e.tag("with", parts...)
}

// macro writes {% macro … %}. A parameter's default is evaluated within the macro,
// where it may use the parameters before it.
func (e *expression) macro() {
	name := e.target()
	e.expect("(")
	parts := append(name, leftParenthesis)
	var defaults []func()
	for n := 0; !e.accept(")"); n++ {
		if n > 0 {
			e.expect(",")
			parts = append(parts, comma)
		}
		t := e.current()
		parameter := e.target()
		parts = append(append(parts, parameter...), assign)
		if !e.accept("=") {
			if defaults != nil {
				e.fail("a parameter without a default stands after one with a default")
			}
			parts = append(parts, e.constant(missing("parameter '"+t.text+"' was not provided"))...)
			continue
		}
		parts = append(parts, e.constant(absent{})...)
		value := e.conditional()
		value = e.apply("box", value)
		defaults = append(defaults, func() {
			x := append(code{leftParenthesis}, e.apply("given", slices.Clone(parameter))...)
			x = append(append(x, and), e.apply("box", slices.Clone(parameter))...)
			x = append(append(append(x, or), value...), rightParenthesis)
			e.tag("set", parameter, code{assign}, e.apply("unbox", x))
		})
	}
	after := append(append(code{blockBegin, e.named("set")}, parts[0], assign), e.apply("macro", code{parts[0]})...)
	e.begin(block{name: "macro", after: append(after, blockEnd)})
	e.macros++
	e.tag("macro", append(parts, rightParenthesis))
	for _, set := range defaults {
		set()
	}
}
