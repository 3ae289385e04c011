package template

import (
	"slices"
	"strconv"
	"strings"
)

// getter returns what map, sort and others take from an item: the attribute at a
// path such as "function.name" or 0, or the item itself for None.
func (c *call) getter(path any) func(any) any {
	if path == nil {
		return func(v any) any { return v }
	}
	keys := []any{path}
	if s, ok := path.(string); ok {
		keys = nil
		for _, part := range strings.Split(s, ".") {
			if n, err := strconv.Atoi(part); err == nil && n >= 0 {
				keys = append(keys, n)
			} else {
				keys = append(keys, part)
			}
		}
	}
	return func(v any) any {
		for _, k := range keys {
			c.spend(operatorCost)
			v = c.getitem(v, k)
		}
		return v
	}
}

// folded is what Jinja compares where case does not count.
func (c *call) folded(v any) any {
	if s, ok := v.(string); ok {
		return c.lower(s)
	}
	return v
}

func mapFilter(c *call) any {
	if !truth(c.in) { // not even None is refused
		return &stream{}
	}
	s := c.iterate(c.in)
	var apply func(any) any
	if len(c.args) == 0 {
		a := c.take(0, "attribute", "default")
		get, instead := c.getter(given(a[0], nil)), given(a[1], nil)
		apply = func(v any) any {
			v = get(v)
			if _, ok := v.(undefined); ok && instead != nil {
				return instead
			}
			return v
		}
	} else {
		do := filters[c.text(c.args[0])]
		if do == nil {
			c.fail("map: a filter %s is not supported", excerpt(c.args[0].(string)))
		}
		apply = func(v any) any {
			c.spend(operatorCost)
			return do(&call{run: c.run, in: v, args: c.args[1:], names: c.names, named: c.named})
		}
	}
	c.hold(len(s))
	out := make([]any, len(s))
	for i, v := range s {
		out[i] = apply(v)
	}
	return &stream{out}
}

// choose is select, reject, and both of an attribute.
func choose(c *call, attribute, keep bool) any {
	if !truth(c.in) {
		return &stream{}
	}
	get := c.getter(nil)
	args := c.args
	if attribute {
		if len(args) == 0 {
			c.fail("the argument attribute is missing")
		}
		get, args = c.getter(args[0]), args[1:]
	}
	is := truth
	if len(args) > 0 {
		test := tests[c.text(args[0])]
		if test == nil {
			c.fail("a test %s is not supported", excerpt(args[0].(string)))
		}
		is = func(v any) bool {
			return truth(test(&call{run: c.run, in: v, args: args[1:], names: c.names, named: c.named}))
		}
	}
	var out []any
	for _, v := range c.iterate(c.in) {
		c.spend(operatorCost)
		c.hold(1)
		if is(get(v)) == keep {
			out = append(out, v)
		}
	}
	return &stream{out}
}

func first(c *call) any {
	c.take(0)
	if s, ok := c.in.(*stream); ok && len(s.items) > 0 {
		v := s.items[0]
		s.items = s.items[1:]
		return v
	}
	if s, ok := text(c.in); ok && s != "" {
		return c.character(s, 0)
	}
	if s := c.iterate(c.in); len(s) > 0 {
		return s[0]
	}
	return missing("No first item, sequence was empty.")
}

func last(c *call) any {
	c.take(0)
	if _, ok := c.in.(*stream); ok {
		c.fail("'generator' object is not reversible")
	}
	if s, ok := text(c.in); ok && s != "" {
		return c.character(s, -1)
	}
	if s := c.iterate(c.in); len(s) > 0 {
		return s[len(s)-1]
	}
	return missing("No last item, sequence was empty.")
}

func join(c *call) any {
	a := c.take(0, "d", "attribute")
	get, mark := c.getter(given(a[1], nil)), c.str(given(a[0], ""))
	b := builder{run: c.run}
	for i, v := range c.iterate(c.in) {
		if i > 0 {
			b.add(mark)
		}
		c.spend(2)
		b.add(c.str(get(v)))
	}
	return b.String()
}

// sorted orders items by what get takes from them.
func (c *call) sorted(s []any, get func(any) any, reverse bool) []any {
	type keyed struct{ key, item any }
	c.hold(4 * len(s))
	all := make([]keyed, len(s))
	for i, v := range s {
		all[i] = keyed{get(v), v}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		order := c.order("<", a.key, b.key)
		if reverse {
			return -order
		}
		return order
	})
	out := make([]any, len(s))
	for i := range all {
		out[i] = all[i].item
	}
	return out
}

func sortFilter(c *call) any {
	a := c.take(0, "reverse", "case_sensitive", "attribute")
	if s, ok := given(a[2], nil).(string); ok && strings.Contains(s, ",") {
		c.fail("sort: more than one attribute is not supported")
	}
	get := c.getter(given(a[2], nil))
	key := get
	if !truth(given(a[1], false)) {
		key = func(v any) any { return c.folded(get(v)) }
	}
	return list(c.sorted(c.iterate(c.in), key, truth(given(a[0], false))))
}

func dictSort(c *call) any {
	a := c.take(0, "case_sensitive", "by", "reverse")
	d, ok := c.in.(dict)
	if !ok {
		c.defined(c.in)
		c.fail("dictsort: a dict is expected, not a %s", typeName(c.in))
	}
	by := map[any]int{"key": 0, "value": 1}
	at, ok := by[given(a[1], "key")]
	if !ok {
		c.fail(`You can only sort by either "key" or "value"`)
	}
	key := func(v any) any {
		k := v.(tuple)[at]
		if !truth(given(a[0], false)) {
			k = c.folded(k)
		}
		return k
	}
	return list(c.sorted(c.pairs(d), key, truth(given(a[2], false))))
}

func dictItems(c *call) any {
	c.take(0)
	switch v := c.in.(type) {
	case undefined:
		return &stream{}
	case dict:
		return &stream{c.pairs(v)}
	}
	c.fail("Can only get item pairs from a mapping.")
	return nil
}

// extreme is max (1) or min (-1).
func extreme(c *call, sign int) any {
	a := c.take(0, "case_sensitive", "attribute")
	get := c.getter(given(a[1], nil))
	key := get
	if !truth(given(a[0], false)) {
		key = func(v any) any { return c.folded(get(v)) }
	}
	s := c.iterate(c.in)
	if len(s) == 0 {
		return missing("No aggregated item, sequence was empty.")
	}
	best := s[0]
	for _, v := range s[1:] {
		if c.order("<", key(v), key(best))*sign > 0 {
			best = v
		}
	}
	return best
}

func unique(c *call) any {
	a := c.take(0, "case_sensitive", "attribute")
	get := c.getter(given(a[1], nil))
	var out, seen []any
	for _, v := range c.iterate(c.in) {
		key := get(v)
		if !truth(given(a[0], false)) {
			key = c.folded(key)
		}
		c.hashable(key)
		if !c.contains(key, list(seen)) {
			c.hold(2)
			out, seen = append(out, v), append(seen, key)
		}
	}
	return &stream{out}
}
