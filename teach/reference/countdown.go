package reference

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"retort/teach/task"
)

// Countdown is searched backwards from the target. 18 from 2, 10 and 8:
//
//	18-10=8 18+10=28
//	8+2=10 8-2=6 8*2=16 no
//	18-8=10 18+8=26
//	10+2=12 10-2=8 10*2=20 no
//	give up, nearest 10+10=20
//
// A first line takes one number as the last to be used and says what the other
// two must make: the target with the operation undone. The second line tries
// them. On a match the equation is written out, and the answer puts the two
// steps together. With four numbers, two are first made into one.
//
// The teacher is imperfect here on purpose: it never divides two numbers first,
// tries only some numbers as the last one, and then gives up with its nearest
// try as the answer.
func solveCountdown(p task.Problem, v voice) (solution, error) {
	var c task.Countdown
	if err := json.Unmarshal(p.Data, &c); err != nil {
		return solution{}, fmt.Errorf("read a countdown: %w", err)
	}
	s := &countdownSearch{voice: v, target: c.Target, nearest: try{off: -1}}
	var terms []term
	for _, n := range c.Numbers {
		terms = append(terms, term{value: n, text: strconv.Itoa(n)})
	}
	slices.SortStableFunc(terms, func(a, b term) int { return b.value - a.value })
	var found bool
	if len(terms) == 3 {
		found = s.three(terms, blocksOfThree)
	} else {
		found = s.four(terms)
	}
	if !found {
		s.lines = append(s.lines, "give up, nearest "+s.nearest.equation)
	}
	return solution{reasoning: v.lines(s.lines), answer: s.nearest.answer}, nil
}

const (
	blocksOfThree = 2 // numbers tried as the last one, of three
	pairsOfFour   = 4 // pairs first made into one, of four numbers
	blocksOfFour  = 1 // then numbers tried as the last one
)

// term is a number at hand and how it was made.
type term struct {
	value    int
	text     string
	compound bool
}

func (t term) inner() string {
	if t.compound {
		return "(" + t.text + ")"
	}
	return t.text
}

// made is what an operation on two numbers comes to.
func made(x, y term, op byte) (term, bool) {
	t := term{text: x.inner() + string(op) + y.inner(), compound: true}
	switch op {
	case '+':
		t.value = x.value + y.value
	case '-':
		t.value = x.value - y.value
	case '*':
		t.value = x.value * y.value
	}
	return t, t.value > 0
}

// equation writes "x op y=value" with plain numbers.
func equation(x, y term, op byte, value int) string {
	return fmt.Sprintf("%d%c%d=%d", x.value, op, y.value, value)
}

// try is an attempt that uses every number.
type try struct {
	off      int // how far from the target; -1: no try yet
	equation string
	answer   string
}

type countdownSearch struct {
	voice   voice
	target  int
	lines   []string
	nearest try
}

// undo is a way to reach the target with a last number: what the others must
// make, and the operation that then leads to the target.
type undo struct {
	need int
	op   byte
	flip bool // the last number comes first: last-need=target
	text string
}

// undone returns what the other numbers must make if last is used last.
func (s *countdownSearch) undone(last term) []undo {
	t, z := s.target, last.value
	var out []undo
	if t > z {
		out = append(out, undo{need: t - z, op: '+', text: fmt.Sprintf("%d-%d=%d", t, z, t-z)})
	}
	if z > t {
		out = append(out, undo{need: z - t, op: '-', flip: true, text: fmt.Sprintf("%d-%d=%d", z, t, z-t)})
	}
	out = append(out, undo{need: t + z, op: '-', text: fmt.Sprintf("%d+%d=%d", t, z, t+z)})
	if z > 1 && t%z == 0 {
		out = append(out, undo{need: t / z, op: '*', text: fmt.Sprintf("%d/%d=%d", t, z, t/z)})
	}
	return out
}

// use is the attempt to make the target from a number and the last one.
func (s *countdownSearch) use(x, last term, u undo) try {
	a, b := x, last
	if u.flip {
		a, b = b, a
	}
	value := 0
	switch u.op {
	case '+':
		value = a.value + b.value
	case '-':
		value = a.value - b.value
	case '*':
		value = a.value * b.value
	}
	off := value - s.target
	return try{off: max(off, -off), equation: equation(a, b, u.op, value), answer: a.inner() + string(u.op) + b.inner()}
}

// three searches with three numbers, trying at most that many different ones
// as the last.
func (s *countdownSearch) three(terms []term, blocks int) bool {
	var tried []int
	for _, i := range s.voice.order(3) {
		last := terms[i]
		if len(tried) == blocks || slices.Contains(tried, last.value) {
			continue
		}
		tried = append(tried, last.value)
		pair := slices.Delete(slices.Clone(terms), i, i+1)
		if s.block(pair[0], pair[1], last) {
			return true
		}
	}
	return false
}

// block tries one number as the last one.
func (s *countdownSearch) block(x, y, last term) bool {
	if x.value < y.value {
		x, y = y, x
	}
	ways := s.undone(last)
	var wants []string
	for _, u := range ways {
		wants = append(wants, u.text)
	}
	s.lines = append(s.lines, strings.Join(wants, " "))
	var tried []string
	for _, op := range []byte("+-*") {
		r, ok := made(x, y, op)
		if !ok {
			continue
		}
		tried = append(tried, equation(x, y, op, r.value))
		for _, u := range ways {
			t := s.use(r, last, u)
			if s.nearest.off < 0 || t.off < s.nearest.off {
				s.nearest = t
			}
			if r.value == u.need {
				s.nearest = t
				s.lines = append(s.lines, strings.Join(tried, " ")+" yes "+t.equation)
				return true
			}
		}
	}
	s.lines = append(s.lines, strings.Join(tried, " ")+" no")
	return false
}

// four makes two of four numbers into one, a few times, and searches with
// three.
func (s *countdownSearch) four(terms []term) bool {
	type first struct {
		made term
		rest []term
		text string
	}
	var firsts []first
	for i := range terms {
		for j := i + 1; j < len(terms); j++ {
			var rest []term
			for k, t := range terms {
				if k != i && k != j {
					rest = append(rest, t)
				}
			}
			for _, op := range []byte("+-*") {
				if r, ok := made(terms[i], terms[j], op); ok {
					firsts = append(firsts, first{r, rest, equation(terms[i], terms[j], op, r.value)})
				}
			}
		}
	}
	for _, i := range s.voice.order(len(firsts))[:min(pairsOfFour, len(firsts))] {
		f := firsts[i]
		three := append([]term{f.made}, f.rest...)
		s.lines = append(s.lines, fmt.Sprintf("%s left %d %d %d", f.text, three[0].value, three[1].value, three[2].value))
		if s.three(three, blocksOfFour) {
			return true
		}
	}
	return false
}
