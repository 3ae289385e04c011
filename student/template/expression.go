package template

import (
	"strings"

	"github.com/nikolalohinski/gonja/v2/tokens"
)

// mostNested is how deep expressions and blocks may be nested.
const mostNested = 64

// mostOperands is how many operands one and or or may join: gonja evaluates them
// from within one another.
const mostOperands = 256

// code is an expression as gonja is to read it: names, parentheses, and, or, and
// filters.
type code []*tokens.Token

// expression writes an expression of Jinja's grammar anew.
//
//	a + b.c(d)          becomes   a | + ( b | . ( 'c' ) | () ( d ) )
//	x if y else z       becomes   ( y | bool and x | box or z | box ) | unbox
//
// where literals, too, are names, of constants.
type expression struct {
	*writer
	tokens []token
	at     int
	depth  int
}

func (e *expression) current() token { return e.tokens[e.at] }

func (e *expression) fail(format string, args ...any) {
	syntax(e.current().line, format, args...)
}

// unexpected refuses the current token.
func (e *expression) unexpected() { e.fail("%s is unexpected here", e.current()) }

// is reports whether the current token is an operator or a name with that text.
func (e *expression) is(text string) bool {
	t := e.current()
	return t.text == text && t.kind != literalToken && t.kind != endToken
}

// accept passes over the current token if it has that text.
func (e *expression) accept(text string) bool {
	if !e.is(text) {
		return false
	}
	e.at++
	return true
}

func (e *expression) expect(text string) {
	if !e.accept(text) {
		e.fail("%s stands where %q should", e.current(), text)
	}
}

// name reads an identifier.
func (e *expression) name() string {
	if e.current().kind != nameToken {
		e.fail("%s stands where a name should", e.current())
	}
	e.at++
	return e.tokens[e.at-1].text
}

// end refuses anything that is left of the tag.
func (e *expression) end() {
	if e.current().kind != endToken {
		e.unexpected()
	}
}

func (e *expression) enter() {
	if e.depth++; e.depth > mostNested {
		e.fail("expressions are nested deeper than %d", mostNested)
	}
}

func (e *expression) leave() { e.depth-- }

// tuple reads expressions with commas between them, up to a closing token; of one
// without a comma, the expression itself.
func (e *expression) tuple(closing string, conditional bool) code {
	ends := func() bool { return e.current().kind == endToken || closing != "" && e.is(closing) }
	if ends() {
		if closing == ")" {
			return e.apply("tuple", e.none())
		}
		e.unexpected()
	}
	var parts []code
	isTuple := false
	for {
		if conditional {
			parts = append(parts, e.conditional())
		} else {
			parts = append(parts, e.or())
		}
		if !e.accept(",") {
			break
		}
		isTuple = true
		if ends() {
			break
		}
	}
	if !isTuple {
		return parts[0]
	}
	return e.apply("tuple", e.none(), parts...)
}

// conditional is any expression.
func (e *expression) conditional() code {
	e.enter()
	defer e.leave()
	x := e.or()
	for n := 0; e.accept("if"); n++ {
		if n == mostNested {
			e.fail("more than %d times if in a row", mostNested)
		}
		condition := e.or()
		var y code
		if e.accept("else") {
			y = e.conditional()
		} else {
			y = e.constant(missing("the inline if-expression evaluated to false and no else section was defined."))
		}
		out := append(code{leftParenthesis}, e.apply("bool", condition)...)
		out = append(append(out, and), e.apply("box", x)...)
		out = append(append(out, or), e.apply("box", y)...)
		x = e.apply("unbox", append(out, rightParenthesis))
	}
	return x
}

func (e *expression) or() code { return e.chain("or", or, e.and) }

func (e *expression) and() code { return e.chain("and", and, e.not) }

func (e *expression) chain(word string, operator *tokens.Token, operand func() code) code {
	x := operand()
	if !e.is(word) {
		return x
	}
	out := append(code{leftParenthesis}, x...)
	for n := 2; e.accept(word); n++ {
		if n > mostOperands {
			e.fail("more than %d operands of %s", mostOperands, word)
		}
		out = append(append(out, operator), operand()...)
	}
	return append(out, rightParenthesis)
}

func (e *expression) not() code {
	if !e.accept("not") {
		return e.compare()
	}
	e.enter()
	defer e.leave()
	return e.apply("not", e.not())
}

func (e *expression) compare() code {
	x := e.sum()
	for n := 0; ; n++ {
		name := e.current().text
		switch {
		case e.accept("in"):
		case e.is("not") && e.tokens[e.at+1].kind == nameToken && e.tokens[e.at+1].text == "in":
			name = "not in"
			e.at += 2
		case e.current().kind == operatorToken && strings.Contains(" == != < <= > >= ", " "+name+" "):
			e.at++
		default:
			return x
		}
		if n > 0 {
			e.fail("a chain of comparisons is not supported: join them with and")
		}
		x = e.apply(name, x, e.sum())
	}
}

// binary reads operands with some operators between them.
func (e *expression) binary(operators string, operand func() code) code {
	x := operand()
	for e.current().kind == operatorToken && strings.Contains(operators, " "+e.current().text+" ") {
		name := e.current().text
		e.at++
		x = e.apply(name, x, operand())
	}
	return x
}

func (e *expression) sum() code { return e.binary(" + - ", e.concat) }

func (e *expression) concat() code { return e.binary(" ~ ", e.product) }

func (e *expression) product() code { return e.binary(" * / // % ", e.power) }

func (e *expression) power() code {
	return e.binary(" ** ", func() code { return e.unary(true) })
}

func (e *expression) unary(filtered bool) code {
	var x code
	name := map[string]string{"-": "neg", "+": "pos"}[e.current().text]
	if name != "" && e.current().kind == operatorToken {
		e.at++
		e.enter()
		x = e.apply(name, e.unary(false))
		e.leave()
	} else {
		x = e.primary()
	}
	x = e.postfix(x)
	for filtered {
		switch {
		case e.accept("|"):
			x = e.filter(x)
		case e.accept("is"):
			x = e.test(x)
		case e.is("("):
			x = e.call(x)
		default:
			return x
		}
	}
	return x
}
