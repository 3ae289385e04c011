package kernel

import (
	"fmt"
	"math"
)

// PagedHeads is one layer of a paged cache of the keys and values of some heads, each
// read by few queries: page p holds for each head PageRows keys of Dim elements, one
// after the other, and then likewise the values. Attention of few queries is read from
// memory rather than computed, so pages may hold binary16.
type PagedHeads struct {
	Rows                 []float32
	Halves               []uint16 // in place of Rows, if not nil
	PageRows, Heads, Dim int
}

// PageSize is how many elements a page has.
func (l *PagedHeads) PageSize() int { return 2 * l.Heads * l.PageRows * l.Dim }

// at is where the keys of a head begin, or those of as many heads more the values.
func (l *PagedHeads) at(page int32, head int) int {
	return int(page)*l.PageSize() + head*l.PageRows*l.Dim
}

// Put sets row i of a page, a token's keys and values x [2·Heads·Dim].
func (l *PagedHeads) Put(page int32, i int, x []float32) {
	same(len(x), 2*l.Heads*l.Dim)
	for h := range 2 * l.Heads {
		at, x := l.at(page, h)+i*l.Dim, x[h*l.Dim:][:l.Dim]
		if l.Halves != nil {
			toHalf(l.Halves[at:][:l.Dim], x)
		} else {
			copy(l.Rows[at:], x)
		}
	}
}

// Gather sets keys and values [n, Dim] to the first rows of a page that a head has.
func (l *PagedHeads) Gather(page int32, head, n int, keys, values []float32) {
	for i, dst := range [][]float32{keys, values} {
		at, n := l.at(page, head+i*l.Heads), n*l.Dim
		if l.Halves != nil {
			fromHalf(dst[:n], l.Halves[at:][:n])
		} else {
			copy(dst, l.Rows[at:][:n])
		}
	}
}

// Read is attention of queries that share a head's keys and values, over a sequence of
// so many keys in the given pages: q [queries, Dim] (rows ldq apart, scaled), out
// [queries, Dim] (rows ldo apart). scores is scratch of queries·keys. The bits of a
// query do not depend on the others.
func (l *PagedHeads) Read(head, queries, keys int, pages []int32, q []float32, ldq int, scores, out []float32, ldo int, s *Scratch) {
	if need := (keys + l.PageRows - 1) / l.PageRows; keys < 1 || len(pages) < need || len(scores) < queries*keys || head < 0 || head >= l.Heads {
		panic(fmt.Sprintf("kernel: reading %d rows of %d pages by %d queries of head %d with room for %d scores", keys, len(pages), queries, head, len(scores)))
	}
	checkMatrix("q", q, queries, l.Dim, ldq)
	checkMatrix("out", out, queries, l.Dim, ldo)
	// What is read next is fetched with each page: keys, then values, then the next
	// head's keys.
	for k0 := 0; k0 < keys; k0 += l.PageRows {
		next := l.at(pages[0], l.Heads+head)
		if k0+l.PageRows < keys {
			next = l.at(pages[k0/l.PageRows+1], head)
		}
		l.score(queries, min(l.PageRows, keys-k0), l.at(pages[k0/l.PageRows], head), next, q, ldq, scores[k0:], keys, s)
	}
	for h := range queries {
		Softmax(scores[h*keys : (h+1)*keys])
	}
	for k0 := 0; k0 < keys; k0 += l.PageRows {
		next := l.at(pages[0], (head+1)%l.Heads)
		if k0+l.PageRows < keys {
			next = l.at(pages[k0/l.PageRows+1], l.Heads+head)
		}
		l.weigh(queries, min(l.PageRows, keys-k0), l.at(pages[k0/l.PageRows], l.Heads+head), next, scores[k0:], keys, out, ldo, k0 > 0, s)
	}
}

// widened are n rows of the cache from at on, as float32.
func (l *PagedHeads) widened(at, n int, s *Scratch) []float32 {
	n *= l.Dim
	if l.Halves == nil {
		return l.Rows[at:][:n]
	}
	s.panel = grow(s.panel, n)
	fromHalf(s.panel, l.Halves[at:][:n])
	return s.panel
}

// scorePortable sets scores [queries, rows] to the products of queries with the keys
// that begin at at.
func (l *PagedHeads) scorePortable(queries, rows, at int, q []float32, ldq int, scores []float32, lds int, s *Scratch) {
	keys := l.widened(at, rows, s)
	for h := range queries {
		for j := range rows {
			scores[h*lds+j] = dot(q[h*ldq:][:l.Dim], keys[j*l.Dim:][:l.Dim])
		}
	}
}

// weighPortable sets out [queries, Dim], or adds to it, the sum of the values that
// begin at at, weighted by p [queries, rows].
func (l *PagedHeads) weighPortable(queries, rows, at int, p []float32, ldp int, out []float32, ldo int, accumulate bool, s *Scratch) {
	values := l.widened(at, rows, s)
	for h := range queries {
		to := out[h*ldo:][:l.Dim]
		if !accumulate {
			clear(to)
		}
		for j := range rows {
			axpy(to, p[h*ldp+j], values[j*l.Dim:][:l.Dim])
		}
	}
}

func toHalfPortable(dst []uint16, x []float32) {
	for i, v := range x {
		dst[i] = halfOf(v)
	}
}

func fromHalfPortable(dst []float32, x []uint16) {
	for i, h := range x {
		dst[i] = floatOf(h)
	}
}

// floatOf is a binary16 as float32.
func floatOf(h uint16) float32 {
	sign, exp, frac := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: exact in float32
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// halfOf is the nearest binary16, ties to even.
func halfOf(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	b &^= 1 << 31
	switch {
	case b > 0x7f800000: // NaN
		return sign | 0x7e00
	case b >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case b < 0x38800000: // subnormal or zero: adding 0.5 rounds to a multiple of 2⁻²⁴
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	return sign | uint16((b-0x38000000+0xfff+b>>13&1)>>13)
}
