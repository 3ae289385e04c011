package constrain

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrNoToken means that the vocabulary cannot spell what must come next.
var ErrNoToken = errors.New("no token of the vocabulary can come next")

// Constraint is a grammar for a vocabulary. Matchers of the same constraint
// share what they find out. It is safe for concurrent use.
type Constraint struct {
	v *Vocabulary

	mu   sync.Mutex
	auto *automaton
	path []*config // of the tokens being looked at, reused
}

// NewConstraint joins a grammar and a vocabulary. It is cheap: masks are made
// when they are first asked for.
func NewConstraint(g *Grammar, v *Vocabulary) *Constraint {
	return &Constraint{v: v, auto: newAutomaton(g.prog), path: make([]*config, v.longest+1)}
}

// NewMatcher returns a matcher for one sequence, at its start.
func (c *Constraint) NewMatcher() *Matcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Matcher{c: c, at: c.auto.start, work: firstWork}
}

// What may be done for one sequence, in items looked at: so much at first, and
// so much more for each token, on average. It is far above what sensible
// grammars take; a hostile one is stopped before it holds up everybody else.
const (
	firstWork = 2 << 20
	tokenWork = 32 << 10
)

// Matcher follows one sequence. It is for one goroutine.
type Matcher struct {
	c     *Constraint
	at    *config
	ended bool // by a token that ends a text
	work  int
}

// lend gives the automaton what the sequence may still ask of it and, when the
// returned function is called, takes back what is left.
func (m *Matcher) lend() (giveBack func()) {
	a := m.c.auto
	m.at = a.renew(m.at)
	a.work = m.work
	return func() { m.work = max(a.work, 0) }
}

// Allowed sets the bits of the tokens that may come next, and clears the others;
// mask has the vocabulary's MaskLen words. Tokens that end a text are among them
// exactly when the text may end. If there is no token at all it returns
// ErrNoToken.
func (m *Matcher) Allowed(mask []uint64) error {
	if len(mask) != m.c.v.MaskLen() {
		return fmt.Errorf("the mask has %d words, the vocabulary needs %d", len(mask), m.c.v.MaskLen())
	}
	if m.ended {
		clear(mask)
		return fmt.Errorf("%w: the text has ended", ErrNoToken)
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.at.mask == nil || m.at.age != m.c.auto.age {
		giveBack := m.lend()
		err := m.c.fill(m.at)
		giveBack()
		if err != nil {
			clear(mask)
			return err
		}
	}
	copy(mask, m.at.mask)
	return nil
}

// fill makes the mask of a configuration by walking the trie of tokens.
func (c *Constraint) fill(at *config) error {
	if at.mask != nil {
		return nil
	}
	mask := make([]uint64, c.v.MaskLen())
	any := false
	set := func(id int32) {
		mask[id>>6] |= 1 << (id & 63)
		any = true
	}
	c.path[0] = at
	for i := 0; i < len(c.v.trie); {
		n := &c.v.trie[i]
		from, class := c.path[n.depth], c.auto.prog.class[n.char]
		to := from.next[class]
		if to == nil {
			var err error
			if to, err = c.auto.step(from, class); err != nil {
				return err
			}
		}
		if to == dead {
			i = int(n.skip)
			continue
		}
		c.path[n.depth+1] = to
		for id := n.token; id >= 0; id = c.v.same[id] {
			set(id)
		}
		i++
	}
	if at.accept {
		for _, id := range c.v.ends {
			set(id)
		}
	}
	if !any && !at.accept {
		return fmt.Errorf("%w: it must begin with one of %s", ErrNoToken, c.auto.expected(at))
	}
	at.mask = mask
	c.auto.size += 8 * len(mask)
	return nil
}

// expected lists the bytes that can follow, the first few.
func (a *automaton) expected(c *config) string {
	var out []byte
	for b := 0; b < 256 && len(out) < 8; b++ {
		for _, it := range c.items {
			if slices.ContainsFunc(a.prog.states[it.state].edges, func(e edge) bool { return e.lo <= byte(b) && byte(b) <= e.hi }) {
				out = append(out, byte(b))
				break
			}
		}
	}
	return fmt.Sprintf("%q", out)
}

// Accept takes the next token. If it may not come next the matcher stays where
// it is.
func (m *Matcher) Accept(token int32) error {
	if token < 0 || int(token) >= len(m.c.v.tokens) {
		return fmt.Errorf("token %d is not in the vocabulary of %d", token, len(m.c.v.tokens))
	}
	if m.ended {
		return fmt.Errorf("token %d comes after the end of the text", token)
	}
	if slices.Contains(m.c.v.ends, token) {
		if !m.at.accept {
			return fmt.Errorf("token %d ends the text, which is not complete", token)
		}
		m.ended = true
		return nil
	}
	b := m.c.v.tokens[token]
	if b == nil {
		return fmt.Errorf("token %d has no text", token)
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	giveBack := m.lend()
	defer giveBack()
	at, err := m.c.auto.read(m.at, b)
	switch {
	case err != nil:
		return err
	case at == dead:
		return fmt.Errorf("token %d (%q) may not come next", token, b)
	}
	m.at = at
	m.c.auto.work = min(m.c.auto.work+tokenWork, firstWork)
	return nil
}

// read is the configuration after some bytes.
func (a *automaton) read(c *config, text []byte) (*config, error) {
	for _, b := range text {
		if c == dead {
			break
		}
		var err error
		if c, err = a.step(c, a.prog.class[b]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Done reports whether the text is complete and nothing can follow: it has come
// to an end that the grammar leaves no choice about, or a token ended it.
func (m *Matcher) Done() bool { return m.ended || m.at.accept && len(m.at.items) == 0 }
