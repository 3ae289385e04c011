package text

import (
	"slices"
	"strings"
)

// OverlapIndex finds pieces of held-out texts in other texts: any n-gram of
// GramWords words, as in the decontamination of GPT-3 and its successors. A
// held-out text of fewer words counts when it stands in the other as a whole,
// and one of fewer than ShortWords only when it is the other, since so few
// words meet by chance.
type OverlapIndex struct {
	texts   [][]string
	ids     []int
	byGram  map[int]map[uint64]place // length → hash → first text and position with it
	lengths []int                    // the keys of byGram, descending
	whole   map[uint64]int           // hash of a text, gaps left out → text
}

type place struct{ text, at int }

// Overlap is a piece of a held-out text that was found.
type Overlap struct {
	ID    int    // the held-out text, as given to Add
	Words string // the piece, in normalised words
}

// The lengths that decide: GramWords is GPT-3's choice, ShortWords its lower
// bound for short texts.
const (
	GramWords  = 13
	ShortWords = 8
)

// NewOverlapIndex makes an empty index.
func NewOverlapIndex() *OverlapIndex {
	return &OverlapIndex{byGram: map[int]map[uint64]place{}, whole: map[uint64]int{}}
}

// Add adds a held-out text. A stretch between gaps of ShortWords words or more
// counts as a text of its own.
func (x *OverlapIndex) Add(id int, words []string) {
	t := len(x.texts)
	x.texts = append(x.texts, words)
	x.ids = append(x.ids, id)
	if h, ok := wholeHash(withoutGaps(words)); ok {
		if _, taken := x.whole[h]; !taken {
			x.whole[h] = t
		}
	}
	for start := 0; start < len(words); {
		end := start + len(words[start:])
		if g := slices.Index(words[start:], Gap); g >= 0 {
			end = start + g
		}
		if n := min(end-start, GramWords); n >= ShortWords {
			x.addGrams(t, start, words[start:end], n)
		}
		start = end + 1
	}
}

func (x *OverlapIndex) addGrams(t, start int, words []string, n int) {
	grams := x.byGram[n]
	if grams == nil {
		grams = map[uint64]place{}
		x.byGram[n] = grams
		x.lengths = append(x.lengths, n)
		slices.Sort(x.lengths)
		slices.Reverse(x.lengths)
	}
	eachGram(words, n, func(i int, h uint64) bool {
		if _, ok := grams[h]; !ok {
			grams[h] = place{t, start + i}
		}
		return true
	})
}

// Find returns the first piece of a held-out text that words contain.
func (x *OverlapIndex) Find(words []string) (Overlap, bool) {
	bare := withoutGaps(words)
	if h, ok := wholeHash(bare); ok {
		if t, hit := x.whole[h]; hit && slices.Equal(withoutGaps(x.texts[t]), bare) {
			return Overlap{x.ids[t], strings.Join(bare, " ")}, true
		}
	}
	for _, n := range x.lengths {
		grams := x.byGram[n]
		var found Overlap
		ok := false
		eachGram(words, n, func(i int, h uint64) bool {
			p, hit := grams[h]
			if hit && slices.Equal(x.texts[p.text][p.at:p.at+n], words[i:i+n]) {
				found, ok = Overlap{x.ids[p.text], strings.Join(words[i:i+n], " ")}, true
			}
			return !ok
		})
		if ok {
			return found, true
		}
	}
	return Overlap{}, false
}

// wholeHash hashes a text as one n-gram; an empty one has none.
func wholeHash(words []string) (h uint64, ok bool) {
	eachGram(words, max(1, len(words)), func(_ int, v uint64) bool {
		h, ok = v, true
		return true
	})
	return h, ok
}

func withoutGaps(words []string) []string {
	if !slices.Contains(words, Gap) {
		return words
	}
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == Gap })
}
