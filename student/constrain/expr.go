package constrain

import (
	"errors"
	"fmt"
)

// expr is an expression of a grammar. It is compiled from its end: build adds
// states to b that read the expression and go on at next, and returns the first.
type expr interface {
	build(b *builder, next int32) int32
}

type (
	literal  string   // its bytes
	sequence []expr   // one after the other; of none: the empty text
	choice   []expr   // one of them; of none: nothing at all
	ref      int      // a rule, by its index
	runes    []span   // one character of these, in order and without overlap
	until    string   // characters up to and including the first such text
	repeat   struct { // copies of body
		body     expr
		min, max int // max -1: without end
	}
)

func optional(e expr) expr { return repeat{body: e, max: 1} }

// builder makes states of expressions.
type builder struct {
	rules   []rule
	states  []rawState
	classes map[string]int // rule of the characters beyond ASCII of a class
	work    int
	err     error // the first; what is built after it is not used
}

// rawState is a state before its empty moves are resolved.
type rawState struct {
	free  []int32 // reached without reading
	edges []edge
	calls []call
}

// edge reads one byte.
type edge struct {
	lo, hi byte
	next   int32
}

// call reads what a rule reads and goes on at ret.
type call struct{ rule, ret int32 }

var errTooLarge = errors.New("it is too large")

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// add returns a new state. Where there are too many it is the first one, so that
// building can go on to its end.
func (b *builder) add(s rawState) int32 {
	if len(b.states) == maxStates {
		b.fail(fmt.Errorf("%w: more than %d states; use smaller counts, fewer or shorter texts", errTooLarge, maxStates))
		return 0
	}
	b.states = append(b.states, s)
	return int32(len(b.states) - 1)
}

// make builds an expression.
func (b *builder) make(e expr, next int32) int32 {
	if b.work++; b.work > maxWork {
		b.fail(fmt.Errorf("%w: it takes more than %d steps to compile; use smaller counts", errTooLarge, maxWork))
	}
	if b.err != nil {
		return next
	}
	return e.build(b, next)
}

// either is a state that goes on at any of those.
func (b *builder) either(nexts ...int32) int32 { return b.add(rawState{free: nexts}) }

func (l literal) build(b *builder, next int32) int32 {
	for i := len(l) - 1; i >= 0 && b.err == nil; i-- {
		next = b.add(rawState{edges: []edge{{l[i], l[i], next}}})
	}
	return next
}

func (s sequence) build(b *builder, next int32) int32 {
	for i := len(s) - 1; i >= 0; i-- {
		next = b.make(s[i], next)
	}
	return next
}

func (c choice) build(b *builder, next int32) int32 {
	if len(c) == 1 {
		return b.make(c[0], next)
	}
	var s rawState
	for _, e := range c {
		s.free = append(s.free, b.make(e, next))
	}
	return b.add(s)
}

func (r ref) build(b *builder, next int32) int32 {
	return b.add(rawState{calls: []call{{int32(r), next}}})
}

func (r repeat) build(b *builder, next int32) int32 {
	copies := max(r.min, r.max)
	if copies > maxRepeat {
		b.fail(fmt.Errorf("%w: something is repeated up to %d times, at most %d are possible", errTooLarge, copies, maxRepeat))
		return next
	}
	body := r.body
	if copies > 4 && !small(body) {
		// One rule that is called many times, not many copies.
		b.rules = append(b.rules, rule{"repetition", body})
		body = ref(len(b.rules) - 1)
	}
	if r.max < 0 {
		loop := b.add(rawState{})
		first := b.make(body, loop)
		b.states[loop].free = []int32{first, next}
		next = loop
	} else {
		end := next
		for i := r.min; i < r.max && b.err == nil; i++ {
			next = b.either(b.make(body, next), end)
		}
	}
	for i := 0; i < r.min && b.err == nil; i++ {
		next = b.make(body, next)
	}
	return next
}

// small reports whether a copy of e is as small as a call of it.
func small(e expr) bool {
	switch e := e.(type) {
	case ref:
		return true
	case runes:
		return len(e) <= 4
	case literal:
		return len(e) == 1
	}
	return false
}

func (u until) build(b *builder, next int32) int32 {
	// State k has just read k characters of the text. Any character that is not
	// the next one leaves as many as are still its beginning.
	text := []rune(u)
	at := make([]int32, len(text)+1)
	for k := range text {
		at[k] = b.add(rawState{})
	}
	at[len(text)] = next
	for k := range text {
		others := anyRune
		to := map[int]runes{}
		for _, c := range text {
			if one := (runes{{c, c}}); others.has(c) {
				others = others.minus(one)
				n := begun(append(append([]rune(nil), text[:k]...), c), text)
				to[n] = append(to[n], one...)
			}
		}
		to[0] = append(to[0], others...)
		for n := range len(text) + 1 {
			if len(to[n]) > 0 {
				b.states[at[k]].free = append(b.states[at[k]].free, b.make(to[n].normal(), at[n]))
			}
		}
	}
	return at[0]
}

// begun is how much of text the end of read is the beginning of.
func begun(read, text []rune) int {
	for n := min(len(read), len(text)); n > 0; n-- {
		if string(read[len(read)-n:]) == string(text[:n]) {
			return n
		}
	}
	return 0
}
