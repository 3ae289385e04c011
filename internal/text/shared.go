package text

import "github.com/zeebo/xxh3"

// Shared is what prompts of one source have in common, learned from a sample
// of them: word n-grams that stand in many.
type Shared struct{ grams map[uint64]bool }

// The length of the n-grams that LearnShared counts, the share of texts that
// one must stand in to be common, and the least number of texts. Chance
// repetitions of five words in a tenth of unrelated questions do not happen;
// an instruction in front of every prompt always does.
const (
	sharedGram  = 5
	sharedShare = 0.1
	sharedTexts = 5
)

// LearnShared learns what the given texts share. From fewer than five texts it
// learns nothing.
func LearnShared(texts [][]string) *Shared {
	s := &Shared{grams: map[uint64]bool{}}
	least := max(sharedTexts, int(sharedShare*float64(len(texts))))
	seen := map[uint64]int{}
	for _, words := range texts {
		own := map[uint64]bool{}
		eachGram(words, sharedGram, func(_ int, h uint64) bool {
			if !own[h] {
				own[h] = true
				if seen[h]++; seen[h] >= least {
					s.grams[h] = true
				}
			}
			return true
		})
	}
	return s
}

// Mask returns the words with each stretch of shared text replaced by one Gap.
func (s *Shared) Mask(words []string) []string {
	if s == nil || len(s.grams) == 0 {
		return words
	}
	covered := make([]bool, len(words))
	found := false
	eachGram(words, sharedGram, func(i int, h uint64) bool {
		if s.grams[h] {
			found = true
			for j := i; j < i+sharedGram; j++ {
				covered[j] = true
			}
		}
		return true
	})
	if !found {
		return words
	}
	out := make([]string, 0, len(words))
	for i, w := range words {
		switch {
		case !covered[i]:
			out = append(out, w)
		case i == 0 || !covered[i-1]:
			out = append(out, Gap)
		}
	}
	return out
}

// gramBase is the multiplier of the rolling hash: odd, with well-mixed bits.
const gramBase = 0x9e3779b97f4a7c15

// eachGram calls fn with the position and hash of every n-gram of words that
// crosses no Gap, until fn returns false. The hash is a polynomial in the
// words' hashes modulo 2⁶⁴, rolled along the text.
func eachGram(words []string, n int, fn func(i int, h uint64) bool) {
	if len(words) < n {
		return
	}
	top := uint64(1) // gramBase^(n-1)
	for range n - 1 {
		top *= gramBase
	}
	hashes := make([]uint64, len(words))
	for i, w := range words {
		hashes[i] = xxh3.HashString(w)
	}
	var h uint64
	length := 0 // of the n-gram under way
	for i, w := range words {
		if w == Gap {
			h, length = 0, 0
			continue
		}
		if length == n {
			h -= top * hashes[i-n]
			length--
		}
		h = h*gramBase + hashes[i]
		if length++; length == n && !fn(i-n+1, mix(h)) {
			return
		}
	}
}

// mix is the finaliser of splitmix64: the low bits of a polynomial hash depend
// on few words only.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
