package constrain

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// automaton runs a program on all its readings of a text at once. It is a
// deterministic automaton that is made as it is walked.
//
// A reading is an item: a state and a frame, which says where to go on when the
// state's rule ends. A frame is a set of links, a state each and the frame that
// goes with it: all calls of a rule at one place of the text share it (as in
// Earley's and Tomita's parsers), so that ambiguity costs a polynomial in the
// length and not an exponential. Because there is no left recursion frames have
// no cycles, and frames of the same content are one and the same. So are
// configurations, the sets of items; in steady use a byte is one look-up.
type automaton struct {
	prog    *program
	frames  map[string]*frame
	configs map[string]*config
	start   *config
	size    int    // bytes that the two maps hold, about
	age     uint64 // counts how often they were emptied
	ids     uint64 // of frames
	work    int    // what may still be done for whoever is being served

	// Reused:
	queue   []item
	seen    map[item]struct{}
	items   []item
	accept  bool
	pending [][]link // of each rule: its callers at this place
	called  []int32  // ranks of the rules that are called, highest first
	key     []byte
}

type frame struct {
	id    uint64
	links []link // in order
}

// link is where a rule returns to; up is nil where that is the end of the text.
type link struct {
	state int32
	up    *frame
}

type item struct {
	state int32
	frame *frame
}

// config is a set of readings: those with something to read, and whether there
// is one that has come to its end.
type config struct {
	items  []item
	accept bool
	age    uint64    // of the automaton when it was made
	next   []*config // by class of byte; nil: not known yet
	mask   []uint64  // tokens that may follow; nil: not known yet
}

// dead is the configuration without readings.
var dead = new(config)

var errWork = errors.New("the grammar is too ambiguous to be followed: write it so that there are fewer ways to read a text")

// cacheSize bounds the bytes of an automaton.
const cacheSize = 8 << 20

func newAutomaton(p *program) *automaton {
	a := &automaton{prog: p, seen: map[item]struct{}{}, pending: make([][]link, len(p.starts))}
	a.empty()
	return a
}

// empty forgets all configurations. Those in use go on to be used: see renew.
func (a *automaton) empty() {
	a.frames, a.configs, a.size = map[string]*frame{}, map[string]*config{}, 0
	a.age++
	a.work = firstWork // enough, or the grammar would not have been compiled
	a.begin()
	a.accept = a.prog.states[a.prog.starts[a.prog.root]].final
	a.call(call{rule: a.prog.root, ret: tail}, a.frame([]link{{}}))
	a.start = a.settle()
}

// renew returns the configuration that stands for c, which may be of an earlier
// age. It forgets everything where that has become too much.
func (a *automaton) renew(c *config) *config {
	if a.size > cacheSize {
		a.empty()
	}
	if c.age == a.age {
		return c
	}
	a.work = math.MaxInt // it has been paid for
	frames := map[*frame]*frame{nil: nil}
	var again func(f *frame) *frame
	again = func(f *frame) *frame {
		g, ok := frames[f]
		if !ok {
			links := make([]link, len(f.links))
			for i, l := range f.links {
				links[i] = link{l.state, again(l.up)}
			}
			g = a.frame(links)
			frames[f] = g
		}
		return g
	}
	a.begin()
	for _, it := range c.items {
		a.items = append(a.items, item{it.state, again(it.frame)})
	}
	a.accept = c.accept
	return a.config()
}

// step is the configuration after a byte, by its class.
func (a *automaton) step(c *config, class byte) (*config, error) {
	if to := c.next[class]; to != nil {
		return to, nil
	}
	b := a.prog.sample[class]
	a.begin()
	for _, it := range c.items {
		edges := a.prog.states[it.state].edges
		a.work -= len(edges)
		for _, e := range edges {
			if e.lo <= b && b <= e.hi {
				a.push(item{e.next, it.frame})
			}
		}
	}
	to := a.settle()
	if a.work < 0 {
		return nil, errWork
	}
	c.next[class] = to
	return to, nil
}

func (a *automaton) begin() {
	clear(a.seen)
	a.queue, a.items, a.accept = a.queue[:0], a.items[:0], false
}

func (a *automaton) push(it item) {
	if _, ok := a.seen[it]; !ok {
		a.seen[it] = struct{}{}
		a.queue = append(a.queue, it)
	}
}

// settle follows returns and calls from the items pushed and returns the
// configuration that this makes. Returns come first: they lead to frames that
// were there before this byte. Rules are entered by rank, when all of their
// callers are known; that one may be empty is in the program already, so that
// none returns at once.
func (a *automaton) settle() *config {
	for len(a.queue) > 0 && a.work >= 0 {
		it := a.queue[len(a.queue)-1]
		a.queue = a.queue[:len(a.queue)-1]
		a.enter(it)
		if !a.prog.states[it.state].final {
			continue
		}
		a.work -= len(it.frame.links)
		for _, l := range it.frame.links {
			if l.up == nil {
				a.accept = true
			} else {
				a.push(item{l.state, l.up})
			}
		}
	}
	for len(a.called) > 0 && a.work >= 0 {
		r := a.prog.order[a.called[len(a.called)-1]]
		a.called = a.called[:len(a.called)-1]
		f := a.frame(a.pending[r])
		a.pending[r] = a.pending[r][:0]
		a.enter(item{a.prog.starts[r], f})
	}
	for _, rank := range a.called { // cut short
		r := a.prog.order[rank]
		a.pending[r] = a.pending[r][:0]
	}
	a.called = a.called[:0]
	if len(a.items) == 0 && !a.accept {
		return dead
	}
	return a.config()
}

// enter notes what an item reads and whom it calls.
func (a *automaton) enter(it item) {
	s := &a.prog.states[it.state]
	if len(s.edges) > 0 {
		a.items = append(a.items, it)
	}
	a.work -= 1 + len(s.calls)
	for _, c := range s.calls {
		a.call(c, it.frame)
	}
}

// call notes a call that is made within a frame.
func (a *automaton) call(c call, f *frame) {
	rank := a.prog.ranks[c.rule]
	at, ok := slices.BinarySearchFunc(a.called, rank, func(a, b int32) int { return cmp.Compare(b, a) })
	if !ok {
		a.called = slices.Insert(a.called, at, rank)
	}
	if c.ret == tail {
		a.work -= len(f.links)
		a.pending[c.rule] = append(a.pending[c.rule], f.links...)
	} else {
		a.pending[c.rule] = append(a.pending[c.rule], link{c.ret, f})
	}
}

// number is the frame's id, 0 where there is none.
func (f *frame) number() uint64 {
	if f == nil {
		return 0
	}
	return f.id
}

// frame returns the frame of those links, which it puts in order.
func (a *automaton) frame(links []link) *frame {
	slices.SortFunc(links, func(x, y link) int {
		return cmp.Or(cmp.Compare(x.state, y.state), cmp.Compare(x.up.number(), y.up.number()))
	})
	links = slices.Compact(links)
	a.work -= len(links)
	a.key = a.key[:0]
	for _, l := range links {
		a.key = binary.LittleEndian.AppendUint32(a.key, uint32(l.state))
		a.key = binary.LittleEndian.AppendUint64(a.key, l.up.number())
	}
	f, ok := a.frames[string(a.key)]
	if !ok {
		a.ids++
		f = &frame{id: a.ids, links: slices.Clone(links)}
		a.frames[string(a.key)] = f
		a.size += 80 + len(a.key) + 16*len(links)
	}
	return f
}

// config returns the configuration of the items collected, which it puts in
// order.
func (a *automaton) config() *config {
	slices.SortFunc(a.items, func(x, y item) int {
		return cmp.Or(cmp.Compare(x.state, y.state), cmp.Compare(x.frame.id, y.frame.id))
	})
	a.items = slices.Compact(a.items)
	a.work -= len(a.items)
	a.key = a.key[:0]
	if a.accept {
		a.key = append(a.key, 1)
	}
	for _, it := range a.items {
		a.key = binary.LittleEndian.AppendUint32(a.key, uint32(it.state))
		a.key = binary.LittleEndian.AppendUint64(a.key, it.frame.id)
	}
	c, ok := a.configs[string(a.key)]
	if !ok {
		c = &config{items: slices.Clone(a.items), accept: a.accept, age: a.age, next: make([]*config, len(a.prog.sample))}
		a.configs[string(a.key)] = c
		a.work -= 8 + len(c.next)/4 // memory is work, too
		a.size += 160 + len(a.key) + 16*len(a.items) + 8*len(c.next)
	}
	return c
}
