package model

import "retort/internal/kernel"

// pageTokens is how many tokens a page of the cache holds: few, so that short
// beginnings can be shared, and enough for a product.
const pageTokens = 32

// cache holds what has been read, in pages. A page belongs to a position of some
// sequence, the same in all layers. Pages full of prompt are known by their
// tokens and by what stands before them, so that a sequence that begins alike
// need not read them again; they are kept until their room is needed.
type cache struct {
	width int                 // values of a token and layer
	bytes int                 // of a value
	rows  [][]float32         // of latents, [layer] [pages·pageTokens, width]
	heads []kernel.PagedHeads // or of keys and values, [layer]
	pages []page
	free  []int32

	// Known pages that nobody reads any more: a ring list through pages, from
	// the one that is given up first. len(pages) is its head.
	idle int

	known  map[pageKey]int32
	serial uint64 // of the last known page; those of adapters come first
	held   int    // pages that slots were promised and have not taken
}

type page struct {
	users      int
	id         uint64  // once known; 0: not
	key        pageKey // once known
	next, last int32   // in the idle list
}

// pageKey is a page's content: the page before it, of a first page the sequence's
// adapter (0: none), and its tokens.
type pageKey struct {
	before uint64
	tokens [pageTokens]int32
}

// newCache makes an empty one, of which halves holds keys and values in binary16.
func newCache(m *Config, halves bool, pages, adapters int) *cache {
	c := &cache{serial: uint64(adapters), width: m.cacheWidth(), bytes: 4, pages: make([]page, pages+1), free: make([]int32, pages), known: make(map[pageKey]int32, pages)}
	if halves && m.grouped() {
		c.bytes = 2
	}
	for range m.Layers {
		n := pages * pageTokens * c.width
		heads := kernel.PagedHeads{PageRows: pageTokens, Heads: m.KVHeads, Dim: m.VDim}
		switch {
		case !m.grouped():
			c.rows = append(c.rows, make([]float32, n))
			continue
		case halves:
			heads.Halves = make([]uint16, n)
		default:
			heads.Rows = make([]float32, n)
		}
		c.heads = append(c.heads, heads)
	}
	for i := range c.free {
		c.free[i] = int32(pages - 1 - i)
	}
	head := &c.pages[pages]
	head.next, head.last = int32(pages), int32(pages)
	return c
}

func pagesOf(tokens int) int { return (tokens + pageTokens - 1) / pageTokens }

// available is how many pages nobody reads or was promised.
func (c *cache) available() int { return len(c.free) + c.idle - c.held }

// at are the latents of a page in a layer, [pageTokens, width].
func (c *cache) at(layer int, p int32) []float32 {
	n := pageTokens * c.width
	return c.rows[layer][int(p)*n : (int(p)+1)*n]
}

// take gives out a page; there must be one.
func (c *cache) take() int32 {
	if n := len(c.free); n > 0 {
		p := c.free[n-1]
		c.free = c.free[:n-1]
		c.pages[p].users = 1
		return p
	}
	p := c.pages[len(c.pages)-1].next // the head's: the one to be given up first
	c.unlink(p)
	delete(c.known, c.pages[p].key)
	c.pages[p] = page{users: 1}
	return p
}

// share takes a known page once more.
func (c *cache) share(p int32) {
	if c.pages[p].users == 0 {
		c.unlink(p)
	}
	c.pages[p].users++
}

// drop gives a page back.
func (c *cache) drop(p int32) {
	g := &c.pages[p]
	if g.users--; g.users > 0 {
		return
	}
	if g.id == 0 {
		c.free = append(c.free, p)
		return
	}
	head := int32(len(c.pages) - 1)
	last := c.pages[head].last
	g.next, g.last = head, last
	c.pages[last].next, c.pages[head].last = p, p
	c.idle++
}

func (c *cache) unlink(p int32) {
	g := &c.pages[p]
	c.pages[g.last].next, c.pages[g.next].last = g.next, g.last
	c.idle--
}

// know makes a page that is full of prompt known, unless its like is, and
// returns the id of its content.
func (c *cache) know(p int32, key pageKey) uint64 {
	if like, ok := c.known[key]; ok {
		return c.pages[like].id
	}
	c.serial++
	c.pages[p].id, c.pages[p].key = c.serial, key
	c.known[key] = p
	return c.serial
}

// slot is one sequence.
type slot struct {
	adapter  int
	length   int     // tokens read
	pages    []int32 // that hold them
	promised int     // pages that it may yet take
	prompt   int     // tokens of its beginning that were read as prompt
	before   uint64  // the last full page, if all before it is prompt; at the beginning the adapter
	tail     pageKey // what stands in the page being filled, as far as it is prompt
}

// match finds the known pages that a prompt begins with, leaving at least one
// token to be read, and calls found with each.
func (c *cache) match(adapter int, prompt []int32, found func(p int32, id uint64)) {
	key := pageKey{before: uint64(adapter)}
	for len(prompt) > pageTokens {
		copy(key.tokens[:], prompt)
		p, ok := c.known[key]
		if !ok {
			return
		}
		key.before = c.pages[p].id
		found(p, key.before)
		prompt = prompt[pageTokens:]
	}
}

// begin promises an empty slot pages for so many tokens and gives it those that
// its prompt shares. It changes nothing if there is no room.
func (c *cache) begin(s *slot, adapter int, prompt []int32, room int) bool {
	shared, idle := 0, 0
	c.match(adapter, prompt, func(p int32, _ uint64) {
		shared++
		if c.pages[p].users == 0 {
			idle++
		}
	})
	need := pagesOf(max(room, len(prompt))) - shared
	if need > c.available()-idle {
		return false
	}
	s.adapter, s.before = adapter, uint64(adapter)
	c.match(adapter, prompt, func(p int32, id uint64) {
		c.share(p)
		s.pages = append(s.pages, p)
		s.before = id
	})
	s.length, s.prompt = shared*pageTokens, shared*pageTokens
	s.promised = need
	c.held += need
	return true
}

// grow makes room in a slot for so many more tokens and reports whether there is
// any; if not it changes nothing.
func (c *cache) grow(s *slot, tokens int) bool {
	need := pagesOf(s.length+tokens) - len(s.pages)
	own := min(need, s.promised)
	if need-own > c.available() {
		return false
	}
	s.promised -= own
	c.held -= own
	for range need {
		s.pages = append(s.pages, c.take())
	}
	return true
}

// append says that tokens have been read into a slot.
func (c *cache) append(s *slot, tokens []int32, prompt bool) {
	if !prompt || s.prompt < s.length {
		s.length += len(tokens)
		return
	}
	for _, t := range tokens {
		at := s.length % pageTokens
		s.tail.tokens[at] = t
		s.length++
		if at+1 == pageTokens {
			s.tail.before = s.before
			s.before = c.know(s.pages[s.length/pageTokens-1], s.tail)
		}
	}
	s.prompt = s.length
}

// empty gives everything back, the pages that are known from the last to the
// first, so that a beginning outlives what follows it.
func (c *cache) empty(s *slot) {
	for i := len(s.pages) - 1; i >= 0; i-- {
		c.drop(s.pages[i])
	}
	c.held -= s.promised
	*s = slot{pages: s.pages[:0]}
}
