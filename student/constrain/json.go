package constrain

import (
	"fmt"
	"strings"
)

// JSONObject allows any JSON object.
func JSONObject() *Grammar {
	j := new(jsonRules)
	root := j.object()
	g, err := compile(j.rules, root)
	if err != nil {
		panic(err) // it is always the same
	}
	return g
}

// jsonRules are rules of JSON, made when they are first asked for.
type jsonRules struct {
	rules []rule
	known map[string]int
}

// named returns the rule of that name, which it makes if it is not there.
func (j *jsonRules) named(name string, body func() expr) int {
	if id, ok := j.known[name]; ok {
		return id
	}
	if j.known == nil {
		j.known = map[string]int{}
	}
	id := j.add(name)
	j.known[name] = id
	j.rules[id].body = body() // may add others, and refer to this one
	return id
}

// add makes a rule that is to get its body.
func (j *jsonRules) add(name string) int {
	j.rules = append(j.rules, rule{name: name})
	return len(j.rules) - 1
}

// White space: see the package comment.
const (
	mostSpaces = 20
	mostTabs   = 10
)

// gap is the white space between the parts of an object or array.
func (j *jsonRules) gap() expr {
	return ref(j.named("white space", func() expr {
		return choice{sequence{}, literal(" "), sequence{literal("\n"), choice{repeat{literal(" "), 0, mostSpaces}, repeat{literal("\t"), 1, mostTabs}}}}
	}))
}

// colon is what stands between a name and its value.
func colon() expr { return sequence{literal(":"), optional(literal(" "))} }

// value is any JSON value.
func (j *jsonRules) value() int {
	return j.named("JSON value", func() expr {
		return choice{ref(j.object()), ref(j.array()), j.text(), j.number(), literal("true"), literal("false"), literal("null")}
	})
}

func (j *jsonRules) object() int {
	return j.named("JSON object", func() expr {
		return object{gap: j.gap(), extra: sequence{j.text(), colon(), ref(j.value())}}
	})
}

func (j *jsonRules) array() int {
	return j.named("JSON array", func() expr {
		return array{gap: j.gap(), rest: ref(j.value()), max: -1}
	})
}

// text is any string.
func (j *jsonRules) text() expr {
	return ref(j.named("JSON string", func() expr {
		return sequence{literal(`"`), repeat{j.char(), 0, -1}, literal(`"`)}
	}))
}

var (
	digit = runes{{'0', '9'}}
	hex   = runes{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}
	// plain is what stands for itself in a string.
	plain = anyRune.minus(runes{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}})
)

// char is a character of a string, written in any way. Of surrogates there are
// pairs alone, which are one character.
func (j *jsonRules) char() expr {
	return ref(j.named("JSON character", func() expr {
		return choice{plain, sequence{literal(`\`), choice{
			runes{{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'}, {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}},
			sequence{literal("u"), choice{
				sequence{runes{{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}, hex, hex, hex},
				sequence{runes{{'D', 'D'}, {'d', 'd'}}, choice{
					sequence{runes{{'0', '7'}}, hex, hex},
					sequence{runes{{'8', '9'}, {'A', 'B'}, {'a', 'b'}}, hex, hex, literal(`\u`), runes{{'D', 'D'}, {'d', 'd'}}, runes{{'C', 'F'}, {'c', 'f'}}, hex, hex},
				}},
			}},
		}}}
	}))
}

// short are the characters that have an escape of two bytes and cannot stand for
// themselves.
var short = map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

// written is one character of those as it is written in a string: plainly if
// possible, else with its short escape if it has one.
func written(class runes) expr {
	var c choice
	if stay := class.minus(anyRune.minus(plain)); len(stay) > 0 {
		c = append(c, stay)
	}
	for _, s := range class {
		for r := s.lo; r <= min(s.hi, '\\'); r++ {
			switch esc, ok := short[r]; {
			case ok:
				c = append(c, literal(esc))
			case r < 0x20:
				c = append(c, literal(fmt.Sprintf(`\u%04x`, r)))
			}
		}
	}
	if len(c) == 1 {
		return c[0]
	}
	return c
}

// quote is a string as written writes it, quotes included.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch esc, ok := short[r]; {
		case ok:
			b.WriteString(esc)
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// most digits of a number, before and after the point.
const mostDigits = 18

func (j *jsonRules) integer() expr {
	return ref(j.named("JSON integer", func() expr {
		return choice{literal("0"), sequence{optional(literal("-")), positive()}}
	}))
}

// positive is a whole number from 1.
func positive() expr { return sequence{runes{{'1', '9'}}, repeat{digit, 0, mostDigits - 1}} }

func (j *jsonRules) number() expr {
	return ref(j.named("JSON number", func() expr {
		return sequence{optional(literal("-")), choice{literal("0"), positive()}, optional(sequence{literal("."), repeat{digit, 1, mostDigits}}),
			optional(sequence{runes{{'E', 'E'}, {'e', 'e'}}, optional(runes{{'+', '+'}, {'-', '-'}}), repeat{digit, 1, 2}})}
	}))
}

// object is an object with properties in order and, if extra is not nil, others
// after them.
type object struct {
	gap   expr
	props []member
	extra expr
}

// member is a property, its name included.
type member struct {
	body     expr
	required bool
}

func (o object) build(b *builder, next int32) int32 {
	// Two chains from the end: first is where nothing has been written yet, later
	// where a comma must come before the next property.
	first := b.make(literal("}"), next)
	later := b.make(sequence{o.gap, literal("}")}, next)
	if o.extra != nil {
		loop := b.add(rawState{})
		again := b.make(sequence{literal(","), o.gap, o.extra}, loop)
		first = b.either(first, b.make(o.extra, loop))
		if b.err == nil {
			b.states[loop].free = []int32{later, again}
		}
		later = loop
	}
	for i := len(o.props) - 1; i >= 0 && b.err == nil; i-- {
		p := o.props[i]
		begin, goOn := b.make(p.body, later), b.make(sequence{literal(","), o.gap, p.body}, later)
		if !p.required {
			begin, goOn = b.either(begin, first), b.either(goOn, later)
		}
		first, later = begin, goOn
	}
	return b.make(sequence{literal("{"), o.gap}, first)
}

// array is an array that begins with given elements and goes on with others, if
// rest is not nil; max -1: without end.
type array struct {
	gap      expr
	prefix   []expr
	rest     expr
	min, max int
}

func (a array) build(b *builder, next int32) int32 {
	element := func(i int) expr {
		if i < len(a.prefix) {
			return a.prefix[i]
		}
		return a.rest
	}
	end := b.make(sequence{a.gap, literal("]")}, next)
	most, later := a.max, end
	switch known := max(len(a.prefix), a.min); {
	case a.rest == nil && (most < 0 || most > len(a.prefix)):
		most = len(a.prefix)
	case most > maxRepeat || a.min > maxRepeat:
		b.fail(fmt.Errorf("%w: an array of up to %d elements, at most %d are possible", errTooLarge, max(most, a.min), maxRepeat))
		return next
	case most < 0:
		most = max(known, 1)
		later = b.add(rawState{})
		again := b.make(sequence{literal(","), a.gap, element(most)}, later)
		if b.err == nil {
			b.states[later].free = []int32{end, again}
		}
	}
	if a.min > most {
		return b.either() // there is no such array
	}
	// From the last element to the second; later is where the elements so far
	// have been read.
	for i := most - 1; i >= 1 && b.err == nil; i-- {
		more := b.make(sequence{literal(","), a.gap, element(i)}, later)
		if i >= a.min {
			later = b.either(more, end)
		} else {
			later = more
		}
	}
	var begin []int32
	if most > 0 {
		begin = append(begin, b.make(element(0), later))
	}
	if a.min == 0 {
		begin = append(begin, b.make(literal("]"), next))
	}
	return b.make(sequence{literal("["), a.gap}, b.either(begin...))
}

// otherNames is a string, quotes included, that is none of those names.
type otherNames []string

func (o otherNames) build(b *builder, next int32) int32 {
	// A tree of the names, and a loop for what has left it.
	type node struct {
		state  int32
		isName bool
		after  map[rune]*node
		order  []rune
	}
	fresh := func() *node { return &node{state: b.add(rawState{}), after: map[rune]*node{}} }
	root := fresh()
	nodes := []*node{root}
	for _, name := range o {
		at := root
		for _, r := range name {
			if b.err != nil {
				return next
			}
			if at.after[r] == nil {
				at.after[r] = fresh()
				at.order = append(at.order, r)
				nodes = append(nodes, at.after[r])
			}
			at = at.after[r]
		}
		at.isName = true
	}
	end := b.make(literal(`"`), next)
	left := b.add(rawState{})
	more := b.make(written(anyRune), left)
	if b.err != nil {
		return next
	}
	b.states[left].free = []int32{end, more}
	for _, n := range nodes {
		var known runes
		var free []int32
		for _, r := range n.order {
			known = append(known, span{r, r})
			free = append(free, b.make(written(runes{{r, r}}), n.after[r].state))
		}
		free = append(free, b.make(written(anyRune.minus(known.normal())), left))
		if !n.isName {
			free = append(free, end)
		}
		b.states[n.state].free = free
	}
	return b.make(literal(`"`), root.state)
}
