package text

import (
	"fmt"
	"math"
	"slices"

	"github.com/zeebo/xxh3"
)

// NearIndex finds texts that nearly duplicate an earlier one: Jaccard
// similarity of their sets of three-word shingles at or above a threshold.
//
// Candidates come from MinHash with locality-sensitive hashing (Broder 1997;
// Leskovec, Rajaraman, Ullman, chapter 3): of 128 minima, bands of r are
// hashed, and texts that agree in one band are compared. A pair at exactly the
// threshold is missed with probability at most 10⁻⁴, one above it less often.
// Every candidate is then verified on the shingles themselves, so nothing is
// reported that is not at the threshold.
type NearIndex struct {
	threshold  float64
	rows       int // minima per band
	bands      int
	multiply   [minHashes]uint64
	add        [minHashes]uint64
	ids        []int
	shingles   [][]uint64       // sorted, of each text held
	head       map[uint64]int32 // band → the last text in it, as a position in links
	links      []link
	visited    []int32 // per text: the number of the query that last saw it
	queries    int32
	signature  [minHashes]uint32
	candidates []int32
}

type link struct{ item, next int32 }

// Near is an earlier text and how similar it is.
type Near struct {
	ID      int // as given to Add
	Jaccard float64
}

const (
	minHashes   = 128
	shingleSize = 3
	missAtMost  = 1e-4
)

// NewNearIndex makes an index for a threshold in (0, 1].
func NewNearIndex(threshold float64) (*NearIndex, error) {
	if !(threshold > 0 && threshold <= 1) {
		return nil, fmt.Errorf("near-duplicate threshold %v: want a Jaccard similarity above 0 and at most 1", threshold)
	}
	x := &NearIndex{threshold: threshold, head: map[uint64]int32{}}
	x.rows, x.bands = bandsFor(threshold)
	state := uint64(0x5265746f7274) // any fixed value: the index must not differ between runs
	next := func() uint64 {
		state += gramBase
		return mix(state)
	}
	for i := range x.multiply {
		x.multiply[i], x.add[i] = next()|1, next()
	}
	return x, nil
}

// bandsFor returns the longest bands that miss a pair at the threshold with
// probability (1 − t^r)^b of at most missAtMost.
func bandsFor(t float64) (rows, bands int) {
	rows, bands = 1, minHashes
	for r := 2; r <= 8; r++ {
		b := minHashes / r
		if math.Pow(1-math.Pow(t, float64(r)), float64(b)) > missAtMost {
			break
		}
		rows, bands = r, b
	}
	return rows, bands
}

// Len returns how many texts the index holds.
func (x *NearIndex) Len() int { return len(x.ids) }

// Add looks for an earlier text that words nearly duplicates. If there is one
// it returns the most similar, the earliest of equals, and does not add words;
// otherwise it adds them under id. A text without words duplicates nothing and
// is not added.
func (x *NearIndex) Add(id int, words []string) (Near, bool) {
	set := shingleSet(words)
	if len(set) == 0 {
		return Near{}, false
	}
	x.sign(set)
	if near, ok := x.find(set); ok {
		return near, true
	}
	item := int32(len(x.ids))
	x.ids = append(x.ids, id)
	x.shingles = append(x.shingles, set)
	x.visited = append(x.visited, 0)
	for b := range x.bands {
		h := x.band(b)
		next := int32(-1)
		if old, ok := x.head[h]; ok {
			next = old
		}
		x.head[h] = int32(len(x.links))
		x.links = append(x.links, link{item, next})
	}
	return Near{}, false
}

func (x *NearIndex) find(set []uint64) (Near, bool) {
	x.queries++
	x.candidates = x.candidates[:0]
	for b := range x.bands {
		at, ok := x.head[x.band(b)]
		for ok && at >= 0 {
			l := x.links[at]
			if x.visited[l.item] != x.queries {
				x.visited[l.item] = x.queries
				x.candidates = append(x.candidates, l.item)
			}
			at = l.next
		}
	}
	slices.Sort(x.candidates)
	best, found := Near{}, false
	for _, c := range x.candidates {
		other := x.shingles[c]
		if float64(min(len(set), len(other))) < x.threshold*float64(max(len(set), len(other))) {
			continue // sizes alone rule it out
		}
		if j := jaccard(set, other); j >= x.threshold && (!found || j > best.Jaccard) {
			best, found = Near{x.ids[c], j}, true
		}
	}
	return best, found
}

// sign computes the minima of a set under multiply-shift hash functions.
func (x *NearIndex) sign(set []uint64) {
	for i := range x.signature {
		a, b := x.multiply[i], x.add[i]
		least := uint32(math.MaxUint32)
		for _, s := range set {
			least = min(least, uint32((a*s+b)>>32))
		}
		x.signature[i] = least
	}
}

func (x *NearIndex) band(b int) uint64 {
	h := uint64(b) + 1
	for _, v := range x.signature[b*x.rows : (b+1)*x.rows] {
		h = mix(h*gramBase + uint64(v))
	}
	return h
}

// shingleSet returns the sorted distinct hashes of all three-word shingles; a
// stretch between gaps that is shorter is one shingle.
func shingleSet(words []string) []uint64 {
	var set []uint64
	for len(words) > 0 {
		n := slices.Index(words, Gap)
		if n < 0 {
			n = len(words)
		}
		if n > 0 && n < shingleSize {
			var h uint64
			for _, w := range words[:n] {
				h = h*gramBase + xxh3.HashString(w)
			}
			set = append(set, mix(h))
		} else {
			eachGram(words[:n], shingleSize, func(_ int, h uint64) bool {
				set = append(set, h)
				return true
			})
		}
		words = words[min(n+1, len(words)):]
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// jaccard is |a ∩ b| / |a ∪ b| of sorted sets.
func jaccard(a, b []uint64) float64 {
	both, i, j := 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			both++
			i++
			j++
		}
	}
	return float64(both) / float64(len(a)+len(b)-both)
}
