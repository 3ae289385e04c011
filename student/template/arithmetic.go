package template

import (
	"math"
	"math/big"
	"math/bits"
)

// numeric refuses what is no number that can be calculated with.
func (c *call) numeric(v any) {
	c.defined(v)
	if _, ok := v.(*big.Int); ok {
		c.fail("calculating with integers beyond 64 bits is not supported")
	}
	if _, ok := number(v); !ok {
		c.fail("unsupported operand type: '%s'", typeName(v))
	}
}

func negate(c *call) any {
	c.numeric(c.in)
	if f, ok := c.in.(float64); ok {
		return -f
	}
	n := c.int(c.in)
	if n == math.MinInt {
		c.overflow()
	}
	return -n
}

func (c *call) overflow() { c.fail("calculating with integers beyond 64 bits is not supported") }

// arithmetic evaluates an operator on two numbers.
func (c *call) arithmetic(op string) any {
	a, b := c.in, c.args[0]
	if _, ok := a.(string); ok && op == "%" {
		c.fail("formatting text with %% is not supported")
	}
	c.numeric(a)
	c.numeric(b)
	x, y, whole := integers(a, b)
	if whole && op != "/" {
		return c.integer(op, x, y)
	}
	f, _ := number(a)
	g, _ := number(b)
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	}
	if g == 0 {
		c.fail("division by zero")
	}
	switch op {
	case "/":
		return f / g
	case "//":
		return math.Floor(f / g)
	}
	m := math.Mod(f, g)
	if m != 0 && (m < 0) != (g < 0) {
		m += g
	}
	return m
}

// integer is arithmetic on integers, which in Python have no bounds.
func (c *call) integer(op string, x, y int) any {
	switch op {
	case "+":
		if s := x + y; (s > x) == (y > 0) {
			return s
		}
	case "-":
		if s := x - y; (s < x) == (y > 0) {
			return s
		}
	case "*":
		if p, ok := product(x, y); ok {
			return p
		}
	default:
		if y == 0 {
			c.fail("integer division or modulo by zero")
		}
		if x == math.MinInt {
			break
		}
		q, m := x/y, x%y
		if m != 0 && (m < 0) != (y < 0) {
			q, m = q-1, m+y
		}
		if op == "//" {
			return q
		}
		return m
	}
	c.overflow()
	return nil
}

func product(x, y int) (int, bool) {
	high, low := bits.Mul64(uint64(max(x, -x)), uint64(max(y, -y)))
	if high != 0 || low > math.MaxInt || x == math.MinInt || y == math.MinInt {
		return 0, false
	}
	if (x < 0) != (y < 0) {
		return -int(low), true
	}
	return int(low), true
}
