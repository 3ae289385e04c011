package template

// primary is a name, a literal or what stands in brackets.
func (e *expression) primary() code {
	t := e.current()
	switch {
	case t.kind == nameToken:
		e.at++
		switch t.text {
		case "true", "True":
			return e.constant(true)
		case "false", "False":
			return e.constant(false)
		case "none", "None":
			return e.none()
		}
		return e.variable(t)
	case t.kind == literalToken:
		e.at++
		s, ok := t.value.(string)
		if !ok {
			return e.constant(t.value)
		}
		for e.current().kind == literalToken {
			more, ok := e.current().value.(string)
			if !ok {
				break
			}
			s += more
			e.at++
		}
		return e.constant(s)
	case e.accept("("):
		x := e.tuple(")", true)
		e.expect(")")
		return x
	case e.accept("["):
		return e.apply("list", e.none(), e.items("]", e.conditional)...)
	case e.accept("{"):
		var parts []code
		e.items("}", func() code {
			parts = append(parts, e.conditional())
			e.expect(":")
			parts = append(parts, e.conditional())
			return nil
		})
		return e.apply("dict", e.none(), parts...)
	}
	e.unexpected()
	return nil
}

// items reads what stands between brackets with commas, the last of which may be
// followed by one.
func (e *expression) items(closing string, item func() code) []code {
	var out []code
	for !e.accept(closing) {
		if len(out) > 0 {
			e.expect(",")
			if e.accept(closing) {
				break
			}
		}
		out = append(out, item())
	}
	return out
}

func (e *expression) postfix(x code) code {
	for {
		switch {
		case e.accept("."):
			if t := e.current(); t.kind == literalToken {
				if i, ok := t.value.(int); ok {
					e.at++
					x = e.apply("[]", x, e.constant(i))
					continue
				}
			}
			x = e.apply(".", x, e.constant(e.name()))
		case e.accept("["):
			x = e.subscript(x)
			e.expect("]")
		case e.is("("):
			x = e.call(x)
		default:
			return x
		}
	}
}

// subscript reads an index or a slice.
func (e *expression) subscript(x code) code {
	part := func() code {
		if e.is(":") || e.is("]") {
			return e.none()
		}
		return e.conditional()
	}
	if e.is("]") {
		e.unexpected()
	}
	first := part()
	if !e.accept(":") {
		return e.apply("[]", x, first)
	}
	second, third := part(), e.none()
	if e.accept(":") {
		third = part()
	}
	return e.apply("[:]", x, first, second, third)
}

func (e *expression) call(x code) code { return e.use("()", invoke, x, e.arguments()) }

// arguments reads what stands in the parentheses of a call: the names of named
// arguments first, if there are any.
func (e *expression) arguments() []code {
	e.expect("(")
	var names signature
	seen := map[string]bool{}
	parts := e.items(")", func() code {
		if e.is("**") {
			e.fail("arguments from a dict are not supported")
		}
		if e.accept("*") {
			return e.apply("spread", e.conditional())
		}
		if e.current().kind == nameToken && e.tokens[e.at+1].kind == operatorToken && e.tokens[e.at+1].text == "=" {
			name := e.name()
			if seen[name] {
				e.fail("the argument %s is given twice", name)
			}
			seen[name] = true
			names = append(names, name)
			e.at++
		} else if names != nil {
			e.fail("an argument without a name stands after one with a name")
		}
		return e.conditional()
	})
	if names == nil {
		return parts
	}
	return append([]code{e.constant(names)}, parts...)
}

func (e *expression) filter(x code) code {
	name := e.name()
	var args []code
	if e.is("(") {
		args = e.arguments()
	}
	do := filters[name]
	if do == nil { // Python fails where it comes to it, too
		do = func(c *call) any { c.fail("a filter %s is not supported", name); return nil }
	}
	return e.use("|"+name, do, x, args)
}

func (e *expression) test(x code) code {
	negated := e.accept("not")
	name := e.name()
	var args []code
	switch t := e.current(); {
	case e.is("("):
		args = e.arguments()
	case e.is("is"):
		e.fail("tests cannot be chained with is")
	case t.kind == literalToken || e.is("[") || e.is("{") ||
		t.kind == nameToken && t.text != "else" && t.text != "or" && t.text != "and":
		args = []code{e.postfix(e.primary())}
	}
	do := tests[name]
	if do == nil {
		do = func(c *call) any { c.fail("a test %s is not supported", name); return nil }
	}
	x = e.use("is "+name, do, x, args)
	if negated {
		x = e.apply("not", x)
	}
	return x
}
