package template

import (
	"cmp"
	"math/big"
	"strings"
)

// equal is the operator ==.
func (r *run) equal(a, b any) bool {
	r.enter()
	defer r.leave()
	if x, y, ok := integers(a, b); ok {
		return x == y
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	if x, ok := text(a); ok {
		y, ok := text(b)
		r.scan(min(len(x), len(y)))
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case *big.Int:
		b, ok := b.(*big.Int)
		return ok && a.Cmp(b) == 0
	case undefined:
		_, ok := b.(undefined)
		return ok
	case list:
		b, ok := b.(list)
		return ok && r.equalItems(a, b)
	case tuple:
		b, ok := b.(tuple)
		return ok && r.equalItems(a, b)
	case span:
		b, ok := b.(span)
		return ok && r.equalItems(a, b)
	case dict:
		b, ok := b.(dict)
		if !ok || len(a) != len(b) {
			return false
		}
		for _, e := range a {
			i := r.find(b, e.key)
			if i < 0 || !r.equal(e.value, b[i].value) {
				return false
			}
		}
		return true
	}
	r.fail("comparing values of type '%s' is not supported", typeName(a))
	return false
}

func (r *run) equalItems(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !r.equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// order compares as the operators <, <=, > and >= do; name is the operator.
func (r *run) order(name string, a, b any) int {
	r.enter()
	defer r.leave()
	r.defined(a)
	r.defined(b)
	if i, j, ok := integers(a, b); ok {
		return cmp.Compare(i, j)
	}
	x, ok := number(a)
	y, ok2 := number(b)
	if ok && ok2 {
		return cmp.Compare(x, y)
	}
	s, ok := text(a)
	t, ok2 := text(b)
	if ok && ok2 {
		r.scan(min(len(s), len(t)))
		return strings.Compare(s, t)
	}
	var p, q []any
	ok = false
	switch a := a.(type) {
	case list:
		p = a
		q, ok = b.(list)
	case tuple:
		p = a
		q, ok = b.(tuple)
	}
	if !ok {
		r.fail("'%s' not supported between instances of '%s' and '%s'", name, typeName(a), typeName(b))
	}
	for i := range min(len(p), len(q)) {
		if !r.equal(p[i], q[i]) {
			return r.order(name, p[i], q[i])
		}
	}
	return cmp.Compare(len(p), len(q))
}

// number returns a bool, an int or a float64 as a float64.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// integers returns two ints or bools as ints.
func integers(a, b any) (int, int, bool) {
	x, ok := whole(a)
	y, ok2 := whole(b)
	return x, y, ok && ok2
}

func whole(v any) (int, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int:
		return v, true
	}
	return 0, false
}

func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// defined refuses what is undefined where Python would.
func (r *run) defined(v any) {
	if u, ok := v.(undefined); ok {
		r.fail("%s", u())
	}
}
