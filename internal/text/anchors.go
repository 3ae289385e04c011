package text

import (
	"strings"
	"unicode/utf8"
)

// How far, in bytes, a claim may begin before the end of the anchor in it, and
// end behind. The longest that the patterns allow, in ordinary words, is half of
// it.
const (
	reachBefore = 256
	reachBehind = 128
)

// anchors finds the anchors of all identities in one pass: an Aho-Corasick
// automaton (Aho and Corasick 1975) over bytes, which are folded to lower case
// where they are ASCII letters. Almost all texts hold none, and none of the
// patterns need look at them.
type anchorSet struct {
	class [256]uint8 // bytes that no anchor tells apart share one
	width int        // number of classes
	next  []uint16   // [state, class]
	ends  []uint32   // [state] the identities of which an anchor ends here, a bit each
}

var anchors = newAnchorSet(identities)

func newAnchorSet(ids []identity) *anchorSet {
	a := &anchorSet{width: 1}
	for i := range ids {
		for _, word := range ids[i].anchors {
			for _, c := range []byte(word) {
				if a.class[c] == 0 {
					a.class[c] = uint8(a.width)
					a.width++
				}
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		a.class[c] = a.class[c-'A'+'a']
	}
	a.state()
	for i := range ids {
		for _, word := range ids[i].anchors {
			at := 0
			for _, c := range []byte(word) {
				to := &a.next[at*a.width+int(a.class[c])]
				if *to == 0 {
					n := a.state()
					to = &a.next[at*a.width+int(a.class[c])] // the table may have moved
					*to = n
				}
				at = int(*to)
			}
			a.ends[at] |= 1 << i
		}
	}
	a.link()
	return a
}

func (a *anchorSet) state() uint16 {
	a.next = append(a.next, make([]uint16, a.width)...)
	a.ends = append(a.ends, 0)
	return uint16(len(a.ends) - 1)
}

// link fills in where a state goes on a byte that continues none of its
// anchors: where its longest proper suffix goes.
func (a *anchorSet) link() {
	suffix := make([]uint16, len(a.ends))
	queue := []uint16{0}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for c := range a.width {
			to := &a.next[int(s)*a.width+c]
			back := a.next[int(suffix[s])*a.width+c]
			switch {
			case *to != 0 && s == 0:
				queue = append(queue, *to)
			case *to != 0:
				suffix[*to] = back
				a.ends[*to] |= a.ends[back]
				queue = append(queue, *to)
			case s != 0:
				*to = back
			}
		}
	}
}

// maxAround bounds what is searched of one text for one identity.
const maxAround = 64 << 10

// hit is an anchor that was found: the offset behind it, and whose it is.
type hit struct {
	end int
	of  uint32
}

// find returns the anchors in s, in order.
func (a *anchorSet) find(s string) (hits []hit) {
	at := 0
	for i := 0; i < len(s); i++ {
		at = int(a.next[at*a.width+int(a.class[s[i]])])
		if of := a.ends[at]; of != 0 {
			hits = append(hits, hit{i + 1, of})
		}
	}
	return hits
}

// around returns the stretches of s that a claim of one identity can stand in:
// what is within reach of its anchors, up to the spaces beyond. Of a text that
// goes on and on about models it is the first maxAround bytes.
func around(s string, hits []hit, identity int) (parts [][2]int) {
	looked := 0
	for _, h := range hits {
		if h.of&(1<<identity) == 0 {
			continue
		}
		if looked > maxAround {
			break
		}
		from, to := max(0, h.end-reachBefore), min(len(s), h.end+reachBehind)
		for from > 0 && s[from-1] != ' ' && h.end-from < 2*reachBefore || !boundary(s, from) {
			from--
		}
		for to < len(s) && s[to] != ' ' && to-h.end < 2*reachBefore || !boundary(s, to) {
			to++
		}
		if n := len(parts); n > 0 && from <= parts[n-1][1] {
			looked += max(0, to-parts[n-1][1])
			parts[n-1][1] = max(parts[n-1][1], to)
			continue
		}
		looked += to - from
		parts = append(parts, [2]int{from, to})
	}
	return parts
}

// firstPerson reports whether a writer may be speaking of itself: a text without
// these words makes no claim. It costs a thousandth of what the patterns do.
func firstPerson(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if c < 'a' || c > 'z' {
			if strings.HasPrefix(s[i:], "我") || strings.HasPrefix(s[i:], "由") || strings.HasPrefix(s[i:], "作为") {
				return true
			}
			continue
		}
		if i > 0 && wordByte(s[i-1]) {
			continue
		}
		end := i + 1
		for end < len(s) && wordByte(s[end]) {
			end++
		}
		switch len := end - i; {
		case len == 1 && c == 'i',
			len == 2 && c == 'm' && (s[i+1]|0x20 == 'e' || s[i+1]|0x20 == 'y'),
			len == 2 && c == 'a' && s[i+1]|0x20 == 's',
			len == 4 && strings.EqualFold(s[i:end], "this"),
			len == 5 && strings.EqualFold(s[i:end], "which"):
			return true
		}
		i = end - 1
	}
	return false
}

// wordByte reports whether regexp's \b takes a byte for part of a word.
func wordByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_'
}

func boundary(s string, i int) bool { return i == 0 || i >= len(s) || utf8.RuneStart(s[i]) }
