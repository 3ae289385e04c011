package constrain

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// span is the characters from lo to hi, both included.
type span struct{ lo, hi rune }

// anyRune is every character of Unicode. Surrogates are no characters: text
// that holds one is not UTF-8.
var anyRune = runes{{0, 0xD7FF}, {0xE000, utf8.MaxRune}}

// normal is the same characters in order, without overlap or surrogates.
func (r runes) normal() runes {
	in := slices.Clone(r)
	slices.SortFunc(in, func(a, b span) int { return int(a.lo - b.lo) })
	var out runes
	for _, s := range in {
		if n := len(out); n > 0 && s.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, s.hi)
			continue
		}
		if s.lo <= s.hi {
			out = append(out, s)
		}
	}
	return out.minus(runes{{0xD800, 0xDFFF}})
}

// minus is r without those of other, both normal.
func (r runes) minus(other runes) runes {
	var out runes
	for _, s := range r {
		i, _ := slices.BinarySearchFunc(other, s.lo, func(o span, lo rune) int {
			if o.hi < lo {
				return -1
			}
			return 1
		})
		for ; i < len(other) && other[i].lo <= s.hi; i++ {
			if other[i].lo > s.lo {
				out = append(out, span{s.lo, other[i].lo - 1})
			}
			s.lo = other[i].hi + 1
		}
		if s.lo <= s.hi {
			out = append(out, s)
		}
	}
	return out
}

// has reports whether c is among r, which is normal.
func (r runes) has(c rune) bool {
	return slices.ContainsFunc(r, func(s span) bool { return s.lo <= c && c <= s.hi })
}

func (r runes) build(b *builder, next int32) int32 {
	var s rawState
	wide := r
	for len(wide) > 0 && wide[0].lo < utf8.RuneSelf {
		s.edges = append(s.edges, edge{byte(wide[0].lo), byte(min(wide[0].hi, utf8.RuneSelf-1)), next})
		if wide[0].hi >= utf8.RuneSelf {
			wide = append(runes{{utf8.RuneSelf, wide[0].hi}}, wide[1:]...)
			break
		}
		wide = wide[1:]
	}
	if len(wide) == 1 && wide[0].lo == wide[0].hi {
		s.free = []int32{literal(string(wide[0].lo)).build(b, next)}
	} else if len(wide) > 0 {
		s.calls = []call{{int32(b.class(wide)), next}}
	}
	return b.add(s)
}

// class is the rule that reads one of those characters, none of them ASCII:
// classes are repeated, and their bytes take many states.
func (b *builder) class(r runes) int {
	var key strings.Builder
	for _, s := range r {
		fmt.Fprintf(&key, "%x-%x,", s.lo, s.hi)
	}
	id, ok := b.classes[key.String()]
	if !ok {
		id = len(b.rules)
		b.classes[key.String()] = id
		b.rules = append(b.rules, rule{"characters", wideRunes(r)})
	}
	return id
}

// wideRunes is one of those characters, of two to four bytes each.
type wideRunes runes

func (w wideRunes) build(b *builder, next int32) int32 {
	var first rawState
	shared := map[edge]int32{} // states of the bytes after the first, by what they read
	for _, s := range w {
		for _, seq := range encodings(s) {
			to := next
			for i := len(seq) - 1; i > 0; i-- {
				e := edge{seq[i].lo, seq[i].hi, to}
				at, ok := shared[e]
				if !ok {
					at = b.add(rawState{edges: []edge{e}})
					shared[e] = at
				}
				to = at
			}
			first.edges = append(first.edges, edge{seq[0].lo, seq[0].hi, to})
		}
	}
	return b.add(first)
}

// encodings splits characters of more than one byte into sequences of ranges of
// bytes that together are their UTF-8.
func encodings(s span) [][]edge {
	for _, last := range []rune{0x7FF, 0xFFFF} {
		if s.lo <= last && s.hi > last {
			return append(encodings(span{s.lo, last}), encodings(span{last + 1, s.hi})...)
		}
	}
	n := utf8.RuneLen(s.lo)
	for i := 1; i < n; i++ {
		mask := rune(1)<<(6*i) - 1 // what the last i bytes hold
		if s.lo&^mask == s.hi&^mask {
			continue
		}
		if s.lo&mask != 0 {
			return append(encodings(span{s.lo, s.lo | mask}), encodings(span{(s.lo | mask) + 1, s.hi})...)
		}
		if s.hi&mask != mask {
			return append(encodings(span{s.lo, s.hi&^mask - 1}), encodings(span{s.hi &^ mask, s.hi})...)
		}
	}
	lo, hi := string(s.lo), string(s.hi)
	seq := make([]edge, n)
	for i := range seq {
		seq[i] = edge{lo: lo[i], hi: hi[i]}
	}
	return [][]edge{seq}
}
