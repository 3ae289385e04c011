package task

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// Arithmetic as people and models write it: whole numbers, + - * / with the
// usual precedence, unary signs and parentheses.
//
//	sum     = product { ("+" | "-") product }
//	product = unary { ("*" | "/") unary }
//	unary   = { "+" | "-" } atom
//	atom    = number | "(" sum ")"

// expr is a node of a parsed expression: a number where op is 0, a negation
// where op is 'n', otherwise left op right.
type expr struct {
	op          byte
	left, right *expr
	number      int64
}

const (
	maxExprBytes  = 512
	maxExprDepth  = 64
	maxExprDigits = 9 // of one number
)

var errDivideByZero = errors.New("division by zero")

// parseExpr reads one expression that fills s.
func parseExpr(s string) (*expr, error) {
	if len(s) > maxExprBytes {
		return nil, fmt.Errorf("expression is longer than %d bytes", maxExprBytes)
	}
	p := &exprParser{s: s}
	e, err := p.sum(0)
	if err != nil {
		return nil, err
	}
	if c := p.peek(); c != 0 {
		return nil, fmt.Errorf("unexpected %q at byte %d", c, p.at)
	}
	return e, nil
}

type exprParser struct {
	s  string
	at int
}

// peek returns the next byte that is no blank, or 0 at the end.
func (p *exprParser) peek() byte {
	for p.at < len(p.s) && (p.s[p.at] == ' ' || p.s[p.at] == '\t') {
		p.at++
	}
	if p.at == len(p.s) {
		return 0
	}
	return p.s[p.at]
}

func (p *exprParser) sum(depth int) (*expr, error) {
	left, err := p.product(depth)
	for err == nil && (p.peek() == '+' || p.peek() == '-') {
		op := p.s[p.at]
		p.at++
		var right *expr
		right, err = p.product(depth)
		left = &expr{op: op, left: left, right: right}
	}
	return left, err
}

func (p *exprParser) product(depth int) (*expr, error) {
	left, err := p.unary(depth)
	for err == nil && (p.peek() == '*' || p.peek() == '/') {
		op := p.s[p.at]
		p.at++
		var right *expr
		right, err = p.unary(depth)
		left = &expr{op: op, left: left, right: right}
	}
	return left, err
}

func (p *exprParser) unary(depth int) (*expr, error) {
	negative := false
	for p.peek() == '+' || p.peek() == '-' {
		negative = negative != (p.s[p.at] == '-')
		p.at++
	}
	e, err := p.atom(depth)
	if err == nil && negative {
		e = &expr{op: 'n', left: e}
	}
	return e, err
}

func (p *exprParser) atom(depth int) (*expr, error) {
	switch c := p.peek(); {
	case c == '(':
		if depth == maxExprDepth {
			return nil, fmt.Errorf("parentheses are nested more than %d deep", maxExprDepth)
		}
		p.at++
		e, err := p.sum(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.peek() != ')' {
			return nil, fmt.Errorf("missing ) at byte %d", p.at)
		}
		p.at++
		return e, nil
	case c >= '0' && c <= '9':
		start, n := p.at, int64(0)
		for p.at < len(p.s) && p.s[p.at] >= '0' && p.s[p.at] <= '9' {
			if p.at-start == maxExprDigits {
				return nil, fmt.Errorf("number at byte %d has more than %d digits", start, maxExprDigits)
			}
			n = 10*n + int64(p.s[p.at]-'0')
			p.at++
		}
		return &expr{number: n}, nil
	case c == 0:
		return nil, errors.New("the expression ends too early")
	default:
		return nil, fmt.Errorf("unexpected %q at byte %d", c, p.at)
	}
}

// numbers appends the numbers of the expression from left to right.
func (e *expr) numbers(to []int64) []int64 {
	if e.op == 0 {
		return append(to, e.number)
	}
	to = e.left.numbers(to)
	if e.right != nil {
		to = e.right.numbers(to)
	}
	return to
}

// value evaluates the expression exactly.
func (e *expr) value() (*big.Rat, error) {
	if e.op == 0 {
		return new(big.Rat).SetInt64(e.number), nil
	}
	x, err := e.left.value()
	if err != nil {
		return nil, err
	}
	if e.op == 'n' {
		return x.Neg(x), nil
	}
	y, err := e.right.value()
	if err != nil {
		return nil, err
	}
	switch e.op {
	case '+':
		return x.Add(x, y), nil
	case '-':
		return x.Sub(x, y), nil
	case '*':
		return x.Mul(x, y), nil
	}
	if y.Sign() == 0 {
		return nil, errDivideByZero
	}
	return x.Quo(x, y), nil
}

var (
	signs = strings.NewReplacer("×", "*", "⋅", "*", "·", "*", "∙", "*", "∗", "*", "÷", "/", "∕", "/", "−", "-", "–", "-", "＝", "=",
		`\times`, "*", `\cdot`, "*", `\div`, "/", `\left`, "", `\right`, "", "\u00a0", " ", "\u2009", " ", "[", "(", "]", ")")
	timesX = regexp.MustCompile(`([0-9)])[ \t]*[xX][ \t]*([0-9(])`)
	// A stretch of a line that may be an expression or an equation.
	exprStretch = regexp.MustCompile(`[-+*/()=0-9 \t]*[0-9][-+*/()=0-9 \t]*`)
	// What may stand before an expression without being part of it.
	listMarker = regexp.MustCompile(`^[ \t]*(?:[-*+][ \t]+|[0-9]+\)[ \t]*)`)
)

// plainSigns writes arithmetic signs of all kinds as + - * / ( ).
func plainSigns(s string) string {
	s = signs.Replace(s)
	for range 2 { // neighbours overlap: 2x3x4
		s = timesX.ReplaceAllString(s, "$1*$2")
	}
	return s
}

// equation is an expression with what it is said to be equal to.
type equation struct {
	text string
	expr *expr
	rest []*expr // the other sides
}

// parseEquation reads "expression", "expression = n" or "n = expression".
// The expression is the first side that computes something.
func parseEquation(s string) (equation, bool) {
	q := equation{}
	sides := strings.Split(strings.Trim(s, " \t="), "=")
	for i, side := range sides {
		e, err := parseExpr(side)
		if err != nil {
			return equation{}, false
		}
		if q.expr == nil && (e.op != 0 || i == len(sides)-1) {
			q.expr, q.text = e, strings.TrimSpace(side)
		} else {
			q.rest = append(q.rest, e)
		}
	}
	return q, true
}

// readings returns the ways in which a stretch of text can be read as an
// equation: as it stands, without a list marker, and without a parenthesis
// that belongs to the words around it.
func readings(stretch string) []equation {
	stretch = strings.TrimSpace(stretch)
	forms := []string{stretch}
	if m := listMarker.FindString(stretch); m != "" {
		forms = append(forms, stretch[len(m):])
	}
	switch open, shut := strings.Count(stretch, "("), strings.Count(stretch, ")"); {
	case shut == open+1:
		forms = append(forms, strings.TrimSuffix(stretch, ")"))
	case open == shut+1:
		forms = append(forms, strings.TrimPrefix(stretch, "("))
	}
	var out []equation
	for _, f := range forms {
		if q, ok := parseEquation(f); ok {
			out = append(out, q)
		}
	}
	return out
}
