package template

import (
	"math/big"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// tests are Jinja's, by what stands after "is".
var tests map[string]func(*call) any

func init() { // some compare as operators do
	plain := func(is func(v any) bool) func(*call) any {
		return func(c *call) any { c.take(0); return is(c.in) }
	}
	compare := func(name string) func(*call) any {
		return func(c *call) any {
			c.args = c.take(1, "other")
			return operators[name](c)
		}
	}
	tests = map[string]func(*call) any{
		"defined":   plain(func(v any) bool { return !isUndefined(v) }),
		"undefined": plain(isUndefined),
		"none":      plain(func(v any) bool { return v == nil }),
		"true":      plain(func(v any) bool { b, ok := v.(bool); return ok && b }),
		"false":     plain(func(v any) bool { b, ok := v.(bool); return ok && !b }),
		"boolean":   plain(func(v any) bool { _, ok := v.(bool); return ok }),
		"string":    plain(func(v any) bool { _, ok := text(v); return ok }),
		"integer":   plain(isInteger),
		"float":     plain(func(v any) bool { _, ok := v.(float64); return ok }),
		"number":    plain(func(v any) bool { _, ok := number(v); return ok || isInteger(v) }),
		"mapping":   plain(func(v any) bool { _, ok := v.(dict); return ok }),
		"sequence":  plain(isSequence),
		"iterable":  plain(func(v any) bool { _, ok := v.(*stream); return ok || isSequence(v) || isView(v) || isLoop(v) }),
		"callable":  plain(isCallable),
		"odd":       func(c *call) any { c.take(0); return c.equal(remainder(c, 2), 1) },
		"even":      func(c *call) any { c.take(0); return c.equal(remainder(c, 2), 0) },
		"divisibleby": func(c *call) any {
			return c.equal(remainder(c, c.int(c.take(1, "num")[0])), 0)
		},
		"in": compare("in"),
	}
	for name, operator := range map[string]string{
		"==": "==", "eq": "==", "equalto": "==", "!=": "!=", "ne": "!=", "<": "<", "lt": "<", "lessthan": "<",
		"<=": "<=", "le": "<=", ">": ">", "gt": ">", "greaterthan": ">", ">=": ">=", "ge": ">=",
	} {
		tests[name] = compare(operator)
	}
}

func isUndefined(v any) bool { _, ok := v.(undefined); return ok }
func isView(v any) bool      { _, ok := v.(view); return ok }
func isLoop(v any) bool      { _, ok := v.(exec.AttributeGetter); return ok }

func isInteger(v any) bool {
	switch v.(type) {
	case int, *big.Int:
		return true
	}
	return false
}

// isSequence is true of undefined, too, as in Jinja.
func isSequence(v any) bool {
	switch v.(type) {
	case string, markup, list, tuple, span, dict, undefined:
		return true
	}
	return false
}

// isCallable is true of undefined, too, as in Jinja.
func isCallable(v any) bool {
	switch v.(type) {
	case undefined, *function, *method, *macro, func(*exec.VarArgs) *exec.Value:
		return true
	}
	return false
}

func remainder(c *call, by int) any {
	return (&call{run: c.run, in: c.in, args: []any{by}}).arithmetic("%")
}
