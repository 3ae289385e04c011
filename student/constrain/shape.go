package constrain

import (
	"errors"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// shape is what simple schemas that hold together ask for.
type shape struct {
	of       []*node
	declared types // what "type" says, all where it says nothing
	types    types // or else what the keywords are about
	values   []*node
	listed   bool // values says all there are

	names    []string // of properties, in order
	props    map[string][]*node
	required []string
	others   []*node // what other properties satisfy
	closed   bool    // there are no others
	refused  bool    // and additionalProperties says so

	prefix             [][]*node
	rest               []*node
	ended              bool // nothing follows the prefix
	minItems, maxItems int  // -1: no bound

	minLength, maxLength int
	pattern, format      *node

	low, high bound
}

// bound is a bound of numbers; at is nil where there is none.
type bound struct {
	at   *big.Rat
	open bool // the bound itself is excluded
	by   *node
}

// rational reads a JSON number exactly, unless its exponent is out of all
// proportion.
func rational(text string) (*big.Rat, bool) {
	if len(text) > 400 {
		return nil, false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e < -400 || e > 400 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(text)
}

// whole is the value of a keyword that check has seen.
func whole(v *node) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(v.text, ".0"))
	return n
}

// shape merges schemas, each of which check has seen.
func (s *schemas) shape(of []*node) (*shape, error) {
	sh := &shape{of: of, declared: allTypes, props: map[string][]*node{}, maxItems: -1, maxLength: -1}
	var about types
	typed := false
	for _, n := range of {
		for _, m := range n.members {
			v := m.value
			switch m.name {
			case "type":
				t, err := typesOf(v)
				if err != nil {
					return nil, err
				}
				sh.declared &= t
				typed = true
			case "enum":
				sh.restrict(v.items)
			case "const":
				sh.restrict([]*node{v})
			case "properties", "required", "additionalProperties":
				about |= typeObject
			case "items", "prefixItems":
				about |= typeArray
			case "minItems":
				about |= typeArray
				sh.minItems = max(sh.minItems, whole(v))
			case "maxItems":
				about |= typeArray
				if sh.maxItems < 0 || whole(v) < sh.maxItems {
					sh.maxItems = whole(v)
				}
			case "minLength":
				about |= typeString
				sh.minLength = max(sh.minLength, whole(v))
			case "maxLength":
				about |= typeString
				if sh.maxLength < 0 || whole(v) < sh.maxLength {
					sh.maxLength = whole(v)
				}
			case "pattern", "format":
				about |= typeString
				into := &sh.pattern
				if m.name == "format" {
					into = &sh.format
				}
				if *into != nil && (*into).text != v.text {
					return nil, v.errorf("two different values of %s cannot be combined (the other is at %s)", m.name, quotedPointer((*into).at()))
				}
				*into = v
			case "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum":
				about |= typeNumber | typeInteger
				at, _ := rational(v.text)
				b := bound{at, strings.HasPrefix(m.name, "exclusive"), v}
				into, side := &sh.low, 1
				if strings.HasSuffix(m.name, "aximum") {
					into, side = &sh.high, -1
				}
				if into.at == nil || at.Cmp(into.at) == side || at.Cmp(into.at) == 0 && b.open {
					*into = b
				}
			}
		}
	}
	sh.types = sh.declared
	if !typed && about != 0 {
		sh.types = about
	}
	sh.properties()
	sh.elements()
	return sh, nil
}

// restrict leaves of the values those that are in the list.
func (sh *shape) restrict(list []*node) {
	if !sh.listed {
		sh.values, sh.listed = list, true
		return
	}
	var both []*node
	for _, v := range sh.values {
		if slices.ContainsFunc(list, func(o *node) bool { return same(v, o) }) {
			both = append(both, v)
		}
	}
	sh.values = both
}

func same(a, b *node) bool { return a.written(true) == b.written(true) }

// properties merges the keywords about objects. A property satisfies what each
// schema says of it: its own schema, or that of others.
func (sh *shape) properties() {
	seen := map[string]bool{}
	name := func(s string) {
		if !seen[s] {
			seen[s] = true
			sh.names = append(sh.names, s)
		}
	}
	declares := false
	for _, n := range sh.of {
		if p := n.get("properties"); p != nil {
			for _, m := range p.members {
				name(m.name)
			}
			declares = declares || len(p.members) > 0
		}
	}
	open := false
	for _, n := range sh.of {
		if r := n.get("required"); r != nil {
			for _, m := range r.items {
				name(m.text)
				if !slices.Contains(sh.required, m.text) {
					sh.required = append(sh.required, m.text)
				}
			}
		}
		if others := n.get("additionalProperties"); others != nil {
			open = true
			if others.kind == 'f' {
				sh.refused = true
			}
			sh.others = append(sh.others, others)
		}
	}
	sh.closed = sh.refused || declares && !open
	for _, n := range sh.of {
		own, others := n.get("properties"), n.get("additionalProperties")
		for _, p := range sh.names {
			var v *node
			if own != nil {
				v = own.get(p)
			}
			if v == nil {
				v = others
			}
			if v != nil {
				sh.props[p] = append(sh.props[p], v)
			}
		}
	}
}

// elements merges the keywords about arrays, likewise.
func (sh *shape) elements() {
	known, rest := 0, false
	for _, n := range sh.of {
		if p := n.get("prefixItems"); p != nil {
			known = max(known, len(p.items))
		}
		if i := n.get("items"); i != nil {
			rest = true
			sh.rest = append(sh.rest, i)
			sh.ended = sh.ended || i.kind == 'f'
		}
	}
	if known > 0 && !rest && sh.minItems <= known {
		sh.ended = true
	}
	for i := range known {
		var all []*node
		for _, n := range sh.of {
			if p := n.get("prefixItems"); p != nil && i < len(p.items) {
				all = append(all, p.items[i])
			} else if r := n.get("items"); r != nil {
				all = append(all, r)
			}
		}
		sh.prefix = append(sh.prefix, all)
	}
}

// emit is the expression of a shape.
func (s *schemas) emit(sh *shape) (expr, error) {
	if sh.listed {
		return s.list(sh)
	}
	var all choice
	if sh.types&typeObject != 0 {
		e, err := s.object(sh)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if sh.types&typeArray != 0 {
		e, err := s.array(sh)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if sh.types&typeString != 0 {
		e, err := s.str(sh)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if sh.types&(typeNumber|typeInteger) != 0 {
		e, err := s.num(sh)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if sh.types&typeBoolean != 0 {
		all = append(all, literal("true"), literal("false"))
	}
	if sh.types&typeNull != 0 {
		all = append(all, literal("null"))
	}
	return all, nil
}

// list is those of the values that satisfy the rest of the shape.
func (s *schemas) list(sh *shape) (expr, error) {
	var all choice
	for _, v := range sh.values {
		ok, err := sh.holds(v)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, literal(v.written(false)))
		}
	}
	return all, nil
}

// holds reports whether a value satisfies the shape, its list excepted.
func (sh *shape) holds(v *node) (bool, error) {
	t := typeOf(v)
	switch {
	case sh.declared&t == 0:
		return false, nil
	case t == typeObject && slices.ContainsFunc(sh.of, hasAny("properties", "required", "additionalProperties")),
		t == typeArray && slices.ContainsFunc(sh.of, hasAny("items", "prefixItems")):
		return false, v.errorf("an object or array among listed values cannot be combined with keywords about its parts")
	case t == typeArray:
		return len(v.items) >= sh.minItems && (sh.maxItems < 0 || len(v.items) <= sh.maxItems), nil
	case t == typeString:
		if sh.format != nil {
			return false, sh.format.errorf("format cannot be combined with listed values")
		}
		if sh.pattern != nil {
			re, err := regexp.Compile(sh.pattern.text)
			if err != nil {
				return false, sh.pattern.errorf("pattern: %w", err)
			}
			if !re.MatchString(v.text) {
				return false, nil
			}
		}
		n := utf8.RuneCountInString(v.text)
		return n >= sh.minLength && (sh.maxLength < 0 || n <= sh.maxLength), nil
	case t == typeInteger || t == typeNumber:
		if sh.low.at == nil && sh.high.at == nil {
			return true, nil
		}
		r, ok := rational(v.text)
		if !ok {
			return false, v.errorf("the number is too large to be compared")
		}
		low, high := 1, -1
		if sh.low.at != nil {
			low = r.Cmp(sh.low.at)
		}
		if sh.high.at != nil {
			high = r.Cmp(sh.high.at)
		}
		return (low > 0 || low == 0 && !sh.low.open) && (high < 0 || high == 0 && !sh.high.open), nil
	}
	return true, nil
}

func hasAny(names ...string) func(*node) bool {
	return func(n *node) bool {
		return slices.ContainsFunc(names, func(name string) bool { return n.get(name) != nil })
	}
}

func (s *schemas) object(sh *shape) (expr, error) {
	o := object{gap: s.gap()}
	for _, name := range sh.names {
		value, err := s.ruleFor(sh.props[name])
		if err != nil {
			return nil, err
		}
		o.props = append(o.props, member{sequence{literal(quote(name)), colon(), ref(value)}, slices.Contains(sh.required, name)})
	}
	if !sh.closed {
		value, err := s.ruleFor(sh.others)
		if err != nil {
			return nil, err
		}
		name := s.text()
		if len(sh.names) > 0 {
			name = otherNames(sh.names)
		}
		o.extra = sequence{name, colon(), ref(value)}
	}
	return o, nil
}

func (s *schemas) array(sh *shape) (expr, error) {
	a := array{gap: s.gap(), min: sh.minItems, max: sh.maxItems}
	for _, of := range sh.prefix {
		r, err := s.ruleFor(of)
		if err != nil {
			return nil, err
		}
		a.prefix = append(a.prefix, ref(r))
	}
	if !sh.ended {
		r, err := s.ruleFor(sh.rest)
		if err != nil {
			return nil, err
		}
		a.rest = ref(r)
	}
	return a, nil
}

func (s *schemas) str(sh *shape) (expr, error) {
	if sh.maxLength >= 0 && sh.minLength > sh.maxLength {
		return choice{}, nil
	}
	by, pattern, search := sh.pattern, "", true
	if by != nil {
		pattern = by.text
	}
	if sh.format != nil {
		if by != nil {
			return nil, by.errorf("pattern cannot be combined with format")
		}
		var ok bool
		by, search = sh.format, false
		if pattern, ok = formats[by.text]; !ok {
			return nil, by.errorf("the format %s is not supported; there are %s", quoted(by.text), formatNames)
		}
	}
	if by == nil {
		if sh.minLength == 0 && sh.maxLength < 0 {
			return s.text(), nil
		}
		return sequence{literal(`"`), repeat{s.char(), sh.minLength, sh.maxLength}, literal(`"`)}, nil
	}
	alts, err := parseRegex(pattern, search)
	if err == nil {
		alts, err = within(alts, sh.minLength, sh.maxLength)
	}
	if err != nil {
		return nil, by.errorf("%s: %w", by.key, err)
	}
	return sequence{literal(`"`), regexExpr(alts, written), literal(`"`)}, nil
}

func (s *schemas) num(sh *shape) (expr, error) {
	if sh.low.at == nil && sh.high.at == nil {
		if sh.types&typeNumber != 0 {
			return s.number(), nil
		}
		return s.integer(), nil
	}
	if sh.types&typeNumber == 0 {
		low, err := sh.low.integer(1)
		if err != nil {
			return nil, err
		}
		high, err := sh.high.integer(-1)
		if err != nil {
			return nil, err
		}
		return integersFrom(low, high), nil
	}
	for _, b := range []bound{sh.low, sh.high} {
		if b.at != nil && (!b.at.IsInt() || new(big.Int).Abs(b.at.Num()).Cmp(big.NewInt(mostInteger)) > 0) {
			return nil, b.by.errorf("bounds of numbers that are not integers are supported only where they are whole and of at most %d digits", mostDigits)
		}
	}
	return numbersFrom(sh.low, sh.high), nil
}

var errNoIntegers = errors.New("there is no integer of at most 18 digits within this bound")

// integer is the outermost integer within the bound: the least if side is 1, the
// greatest if it is -1.
func (b bound) integer(side int) (int64, error) {
	most := big.NewInt(mostInteger)
	if b.at == nil {
		return int64(-side) * mostInteger, nil
	}
	n := new(big.Int).Div(b.at.Num(), b.at.Denom()) // rounded down
	whole := b.at.IsInt()
	switch {
	case side > 0 && (!whole || b.open):
		n.Add(n, big.NewInt(1))
	case side < 0 && whole && b.open:
		n.Sub(n, big.NewInt(1))
	}
	switch {
	case n.CmpAbs(most) <= 0:
		return n.Int64(), nil
	case n.Sign() == side:
		return 0, b.by.errorf("%w", errNoIntegers)
	}
	return int64(-side) * mostInteger, nil // a bound that nothing written reaches
}

// exclude reports whether no value can satisfy both, as far as that can be seen:
// false where it cannot. It goes by what the schemas say, not by what is left out
// of them here.
func (s *schemas) exclude(a, b flattened, depth int) (bool, error) {
	if a.never || b.never {
		return true, nil
	}
	x, err := s.shape(a.plain)
	if err != nil {
		return false, err
	}
	y, err := s.shape(b.plain)
	if err != nil {
		return false, err
	}
	if x.listed || y.listed {
		if !x.listed {
			x, y = y, x
		}
		for _, v := range x.values {
			in, err := x.holds(v)
			if err != nil || !in {
				continue // refused where it is written
			}
			in, err = y.holds(v)
			in = in || err != nil
			if y.listed {
				in = slices.ContainsFunc(y.values, func(o *node) bool { return same(v, o) })
			}
			if in {
				return false, nil
			}
		}
		return true, nil
	}
	switch x.declared & y.declared {
	case 0:
		return true, nil
	case typeInteger, typeInteger | typeNumber:
		return before(x.high, y.low) || before(y.high, x.low), nil
	case typeObject:
		if depth == 0 {
			return false, nil
		}
		if x.misses(y) || y.misses(x) {
			return true, nil
		}
		for _, name := range x.required {
			if !slices.Contains(y.required, name) {
				continue
			}
			p, err := s.flatten(x.props[name])
			if err != nil {
				return false, err
			}
			q, err := s.flatten(y.props[name])
			if err != nil {
				return false, err
			}
			if apart, err := s.exclude(p, q, depth-1); apart || err != nil {
				return apart, err
			}
		}
	}
	return false, nil
}

// misses reports whether sh requires a property that other refuses.
func (sh *shape) misses(other *shape) bool {
	if !other.refused {
		return false
	}
	return slices.ContainsFunc(sh.required, func(name string) bool {
		return slices.ContainsFunc(other.of, func(n *node) bool {
			more, own := n.get("additionalProperties"), n.get("properties")
			return more != nil && more.kind == 'f' && (own == nil || own.get(name) == nil)
		})
	})
}

// before reports whether all numbers up to high come before those from low.
func before(high, low bound) bool {
	if high.at == nil || low.at == nil {
		return false
	}
	c := high.at.Cmp(low.at)
	return c < 0 || c == 0 && (high.open || low.open)
}
