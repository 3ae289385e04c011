package kernel

import "fmt"

// Paged is one layer of a paged cache as some heads of attention see it: page p
// holds PageRows rows of Width values each, which begin at p·PageRows·Width. Of a row
// Key is what queries are matched with and Value what is read. The two overlap in
// absorbed latent attention, where the key is latent and rotary key and the value the
// latent (arXiv:2405.04434, section 2.1).
type Paged struct {
	Rows            []float32
	PageRows, Width int
	Key, Value      Span
}

// Span is N values of a row, from one on.
type Span struct{ From, N int }

// Read is attention of several heads over a sequence of keys rows in the given
// pages, which all heads read: q [heads, Key.N] (rows ldq apart, scaled), out
// [heads, Value.N] (rows ldo apart). scores is scratch of heads·keys. The bits of
// a head do not depend on the others.
func (l *Paged) Read(heads, keys int, pages []int32, q []float32, ldq int, scores, out []float32, ldo int, s *Scratch) {
	if need := (keys + l.PageRows - 1) / l.PageRows; keys < 1 || len(pages) < need || len(scores) < heads*keys {
		panic(fmt.Sprintf("kernel: reading %d rows of %d pages by %d heads with room for %d scores", keys, len(pages), heads, len(scores)))
	}
	checkMatrix("q", q, heads, l.Key.N, ldq)
	checkMatrix("out", out, heads, l.Value.N, ldo)
	nr := tile.nr
	s.panel = grow(s.panel, max(l.Key.N, l.PageRows, readRows)*nr)
	panel := s.panel[:l.Key.N*nr]
	for k0 := 0; k0 < keys; k0 += l.PageRows {
		rows := l.page(pages[k0/l.PageRows])
		for j := 0; j < min(l.PageRows, keys-k0); j += nr {
			n := min(nr, l.PageRows-j, keys-k0-j)
			packColumns(panel, rows[j*l.Width+l.Key.From:], l.Width, n, l.Key.N)
			multiplyPanel(heads, n, l.Key.N, q, tile.mr*ldq, ldq, 1, panel, scores[k0+j:], keys, false)
		}
	}
	for h := range heads {
		Softmax(scores[h*keys : (h+1)*keys])
	}
	most := max(l.PageRows, readRows/l.PageRows*l.PageRows)
	for k0 := 0; k0 < keys; k0 += most {
		kc := min(most, keys-k0)
		for j := 0; j < l.Value.N; j += nr {
			n := min(nr, l.Value.N-j)
			for at := 0; at < kc; at += l.PageRows {
				rows := l.page(pages[(k0+at)/l.PageRows])
				packRows(s.panel[at*nr:], rows[l.Value.From+j:], l.Width, n, min(l.PageRows, kc-at))
			}
			multiplyPanel(heads, n, kc, scores[k0:], tile.mr*keys, keys, 1, s.panel, out[j:], ldo, k0 > 0)
		}
	}
}

// readRows is how many rows are read at once, if whole pages allow.
const readRows = 128

func (l *Paged) page(p int32) []float32 {
	n := l.PageRows * l.Width
	return l.Rows[int(p)*n : (int(p)+1)*n]
}
