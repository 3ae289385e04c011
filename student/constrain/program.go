package constrain

import (
	"errors"
	"fmt"
)

// program is a compiled grammar: for each rule a machine that reads bytes and
// calls other rules. It has no empty moves, no left recursion, and no state from
// which the end cannot be reached.
type program struct {
	states []state
	starts []int32   // first state of each rule
	ranks  []int32   // of each rule: a rule is called before anything is read only by those of lower rank
	order  []int32   // rules by rank
	root   int32     // rule
	class  [256]byte // bytes that no state tells apart have the same class
	sample []byte    // one byte of each class
}

type state struct {
	edges []edge
	calls []call // ret is tail where the caller ends with the call
	final bool   // the rule may end here
}

// tail is in place of the state after a call where nothing follows.
const tail = -1

// assemble builds the rules and resolves what a program does without.
func assemble(rules []rule, root int) (*program, error) {
	b := &builder{rules: append([]rule(nil), rules...), classes: map[string]int{}}
	starts := make([]int32, 0, len(rules))
	final := map[int32]bool{}
	for i := 0; i < len(b.rules) && b.err == nil; i++ { // rules are added on the way
		end := b.add(rawState{})
		final[end] = true
		starts = append(starts, b.make(b.rules[i].body, end))
	}
	if b.err != nil {
		return nil, b.err
	}
	l := &linker{raw: b.states, final: final, program: program{starts: starts, root: int32(root)}}
	l.index()
	useful := l.reach(true)
	if !useful[starts[root]] {
		return nil, errors.New("no text satisfies it: see whether what it asks for contradicts itself")
	}
	l.prune(useful)
	l.empty = l.reach(false)
	if err := l.resolve(); err != nil {
		return nil, err
	}
	if err := l.rank(b.rules); err != nil {
		return nil, err
	}
	l.classify()
	return &l.program, nil
}

// linker is a program in the making.
type linker struct {
	program
	raw   []rawState
	final map[int32]bool
	empty []bool // of each raw state: its rule can end without reading

	moves   [][]int32 // of each raw state, backwards: states that reach it by an empty move
	reads   [][]int32 // by reading a byte
	returns [][]int32 // by a call that returns to it
	entered [][]int32 // rules that start there
	callers [][]int32 // of each rule: states that call it
}

func (l *linker) index() {
	n := len(l.raw)
	l.moves, l.reads, l.returns, l.entered = make([][]int32, n), make([][]int32, n), make([][]int32, n), make([][]int32, n)
	l.callers = make([][]int32, len(l.starts))
	for r, s := range l.starts {
		l.entered[s] = append(l.entered[s], int32(r))
	}
	for i := range l.raw {
		for _, to := range l.raw[i].free {
			l.moves[to] = append(l.moves[to], int32(i))
		}
		for _, e := range l.raw[i].edges {
			l.reads[e.next] = append(l.reads[e.next], int32(i))
		}
		for _, c := range l.raw[i].calls {
			l.returns[c.ret] = append(l.returns[c.ret], int32(i))
			l.callers[c.rule] = append(l.callers[c.rule], int32(i))
		}
	}
}

// reach finds the states from which their rule can end, by reading something if
// reading is set.
func (l *linker) reach(reading bool) []bool {
	ends := make([]bool, len(l.raw))
	var queue []int32
	mark := func(s int32) {
		if !ends[s] {
			ends[s] = true
			queue = append(queue, s)
		}
	}
	called := func(s int32) { // one of the calls of s may have become passable
		for _, c := range l.raw[s].calls {
			if ends[c.ret] && ends[l.starts[c.rule]] {
				mark(s)
				return
			}
		}
	}
	for s := range l.final {
		mark(s)
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, p := range l.moves[s] {
			mark(p)
		}
		if reading {
			for _, p := range l.reads[s] {
				mark(p)
			}
		}
		for _, p := range l.returns[s] {
			called(p)
		}
		for _, r := range l.entered[s] {
			for _, p := range l.callers[r] {
				called(p)
			}
		}
	}
	return ends
}

// prune cuts what leads nowhere.
func (l *linker) prune(useful []bool) {
	for i := range l.raw {
		s := &l.raw[i]
		free, edges, calls := s.free[:0], s.edges[:0], s.calls[:0]
		for _, to := range s.free {
			if useful[to] {
				free = append(free, to)
			}
		}
		for _, e := range s.edges {
			if useful[e.next] {
				edges = append(edges, e)
			}
		}
		for _, c := range s.calls {
			if useful[c.ret] && useful[l.starts[c.rule]] {
				calls = append(calls, c)
			}
		}
		s.free, s.edges, s.calls = free, edges, calls
	}
}

// resolve makes the states without empty moves. A call of a rule that can be
// empty counts as one, too.
func (l *linker) resolve() error {
	l.states = make([]state, len(l.raw))
	needed := make([]bool, len(l.raw))
	var queue []int32
	need := func(s int32) {
		if !needed[s] {
			needed[s] = true
			queue = append(queue, s)
		}
	}
	rules := make([]bool, len(l.starts))
	need(l.starts[l.root])
	rules[l.root] = true
	total := 0
	seen := make([]int32, len(l.raw)) // by which state + 1, so that it need not be cleared
	var stack []int32
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		out := &l.states[s]
		stack = append(stack[:0], s)
		seen[s] = s + 1
		visit := func(t int32) {
			if seen[t] != s+1 {
				seen[t] = s + 1
				stack = append(stack, t)
			}
		}
		for len(stack) > 0 {
			t := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			raw := &l.raw[t]
			out.final = out.final || l.final[t]
			out.edges = append(out.edges, raw.edges...)
			out.calls = append(out.calls, raw.calls...)
			for _, to := range raw.free {
				visit(to)
			}
			for _, c := range raw.calls {
				if l.empty[l.starts[c.rule]] {
					visit(c.ret)
				}
			}
			total += 1 + len(raw.edges) + len(raw.calls)
			if total > maxEdges {
				return fmt.Errorf("%w: more than %d transitions; use fewer parts that may be left out", errTooLarge, maxEdges)
			}
		}
		for _, e := range out.edges {
			need(e.next)
		}
		for _, c := range out.calls {
			need(c.ret)
			if !rules[c.rule] {
				rules[c.rule] = true
				need(l.starts[c.rule])
			}
		}
	}
	// Where nothing follows a call, what follows the caller follows it: recursion
	// at a rule's end does not make the stack grow.
	for i := range l.states {
		for j, c := range l.states[i].calls {
			if after := &l.states[c.ret]; after.final && len(after.edges) == 0 && len(after.calls) == 0 {
				l.states[i].calls[j].ret = tail
			}
		}
	}
	return nil
}

// rank orders the rules and refuses left recursion.
func (l *linker) rank(rules []rule) error {
	const fresh, open, closed = 0, 1, 2
	mark := make([]byte, len(l.starts))
	var visit func(r int32) error
	visit = func(r int32) error {
		mark[r] = open
		for _, c := range l.states[l.starts[r]].calls {
			switch mark[c.rule] {
			case open:
				return fmt.Errorf("%s can begin with itself (left recursion): write it with repetition, or with the recursion at its end", rules[c.rule].name)
			case fresh:
				if err := visit(c.rule); err != nil {
					return err
				}
			}
		}
		mark[r] = closed
		l.order = append(l.order, r)
		return nil
	}
	for r := range l.starts {
		if mark[r] == fresh {
			if err := visit(int32(r)); err != nil {
				return err
			}
		}
	}
	l.ranks = make([]int32, len(l.starts))
	for i, j := 0, len(l.order)-1; i < j; i, j = i+1, j-1 {
		l.order[i], l.order[j] = l.order[j], l.order[i]
	}
	for rank, r := range l.order {
		l.ranks[r] = int32(rank)
	}
	return nil
}

// classify finds the bytes that every state treats alike.
func (l *linker) classify() {
	var cut [257]bool // a class begins there
	for i := range l.states {
		for _, e := range l.states[i].edges {
			cut[e.lo], cut[int(e.hi)+1] = true, true
		}
	}
	cut[0] = true
	for c := range 256 {
		if cut[c] {
			l.sample = append(l.sample, byte(c))
		}
		l.class[c] = byte(len(l.sample) - 1)
	}
}
