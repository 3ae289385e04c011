package text

import (
	"strings"
	"unicode/utf8"
)

// How far, in bytes, a claim may begin before the end of the anchor in it, and
// end behind. The longest that the patterns allow, in ordinary words, is half of
// it.
const (
	reachBefore = 192
	reachBehind = 96
)

// anchorSet finds the anchors of all identities in one pass: an Aho-Corasick
// automaton (Aho and Corasick 1975) over bytes, which are folded to lower case
// where they are ASCII letters. Almost all texts hold none, and none of the
// patterns need look at them.
type anchorSet struct {
	class   [256]uint16 // bytes that no anchor tells apart share one
	width   int         // number of classes
	longest int         // bytes of the longest anchor
	next    []uint16    // [state, class] → offset of the next state's row, marked if an anchor ends there
	ends    []uint32    // [state] the identities of which an anchor ends here, a bit each
}

// ending marks a state in which an anchor ends.
const ending = 1 << 15

var anchors = newAnchorSet(identities)

func newAnchorSet(ids []identity) *anchorSet {
	a := &anchorSet{width: 1}
	for i := range ids {
		for _, word := range ids[i].anchors {
			a.longest = max(a.longest, len(word))
			for _, c := range []byte(word) {
				if a.class[c] == 0 {
					a.class[c] = uint16(a.width)
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
				cell := at*a.width + int(a.class[c])
				if a.next[cell] == 0 {
					n := a.state() // which may move the table
					a.next[cell] = n
				}
				at = int(a.next[cell])
			}
			a.ends[at] |= 1 << i
		}
	}
	a.link()
	for cell, to := range a.next { // numbers of states become offsets
		a.next[cell] = to * uint16(a.width)
		if a.ends[to] != 0 {
			a.next[cell] |= ending
		}
	}
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

// hit is an anchor that was found: the offset behind it, and whose it is.
type hit struct {
	end int
	of  uint32
}

// lanes is how many stretches of a text are read side by side. Each step of the
// automaton waits for the one before it; four of them do not wait for each other.
const lanes = 4

// find returns the anchors in s, in order but for some that are found twice.
func (a *anchorSet) find(s string) (hits []hit) {
	stretch := (len(s) + lanes - 1) / lanes
	if stretch < 4*a.longest { // not worth it
		return a.one(s, 0, hits)
	}
	// Each but the last goes on into the next for as long as an anchor that
	// begins in it may be.
	n := stretch + a.longest
	from := [lanes]int{0, stretch, len(s) - n - stretch, len(s) - n}
	s0, s1, s2, s3 := s[from[0]:][:n], s[from[1]:][:n], s[from[2]:][:n], s[from[3]:][:n]
	var found [lanes][]hit
	var at0, at1, at2, at3 uint16
	for i := 0; i < n; i++ {
		at0 = a.next[at0+a.class[s0[i]]]
		at1 = a.next[at1+a.class[s1[i]]]
		at2 = a.next[at2+a.class[s2[i]]]
		at3 = a.next[at3+a.class[s3[i]]]
		if (at0|at1|at2|at3)&ending == 0 {
			continue
		}
		for k, at := range [lanes]*uint16{&at0, &at1, &at2, &at3} {
			if *at&ending != 0 {
				*at &^= ending
				found[k] = append(found[k], hit{i + 1, a.ends[int(*at)/a.width]})
			}
		}
	}
	for k := range found {
		for _, h := range found[k] {
			hits = append(hits, hit{from[k] + h.end, h.of})
		}
	}
	return hits
}

// one is find for one stretch, which begins at an offset.
func (a *anchorSet) one(s string, from int, hits []hit) []hit {
	at := uint16(0)
	for i := 0; i < len(s); i++ {
		if at = a.next[at+a.class[s[i]]]; at&ending != 0 {
			at &^= ending
			hits = append(hits, hit{from + i + 1, a.ends[int(at)/a.width]})
		}
	}
	return hits
}

// maxAround bounds what is searched of one text for one identity.
const maxAround = 64 << 10

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
	as, i := false, false
	for at := 0; at < len(s); at++ {
		c := s[at] | 0x20
		if c < 'a' || c > 'z' {
			if c >= 0x80 && startsWith(s[at:], "我", "由", "作为") {
				return true
			}
			continue
		}
		if at > 0 && wordByte(s[at-1]) {
			continue
		}
		end := at + 1
		for end < len(s) && wordByte(s[end]) {
			end++
		}
		word, rest := s[at:end], s[end:]
		switch {
		case len(word) == 1 && c == 'i':
			i = true
			if startsWith(rest, "'", "’", ",", " am", " was", " have", " go") {
				return true
			}
		case len(word) == 2 && c == 'm' && word[1]|0x20 == 'e',
			len(word) == 2 && c == 'm' && word[1]|0x20 == 'y' && startsWith(rest, " name", " creator", " developer", " maker"),
			len(word) == 2 && c == 'a' && word[1]|0x20 == 's' && startsWith(rest, " a ", " an ", " the ", " just ", " only ", " also ", " actually "),
			len(word) == 4 && strings.EqualFold(word, "this") && startsWith(rest, " is"),
			len(word) == 5 && strings.EqualFold(word, "which") && startsWith(rest, " was"):
			return true
		case len(word) == 2 && c == 'a' && word[1]|0x20 == 's':
			as = true
		}
		if as && i { // "as NAME, I"
			return true
		}
		at = end - 1
	}
	return false
}

// startsWith reports whether s begins with one of these, in any case.
func startsWith(s string, with ...string) bool {
	for _, w := range with {
		if len(s) >= len(w) && strings.EqualFold(s[:len(w)], w) {
			return true
		}
	}
	return false
}

// wordByte reports whether regexp's \b takes a byte for part of a word.
func wordByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_'
}

func boundary(s string, i int) bool { return i == 0 || i >= len(s) || utf8.RuneStart(s[i]) }
