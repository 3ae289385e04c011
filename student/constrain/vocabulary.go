package constrain

import (
	"bytes"
	"slices"
)

// Vocabulary is the tokens that a model chooses from. It does not change and is
// safe for concurrent use.
type Vocabulary struct {
	tokens  [][]byte
	ends    []int32
	longest int
	// trie holds the tokens by their bytes: a node stands before what is below it.
	trie []trieNode
	same []int32 // of each token: the next one of the same bytes, or -1
}

// trieNode is a byte after those of the nodes above it.
type trieNode struct {
	char  byte
	depth uint16 // of the root's children: 0
	token int32  // that ends here, or -1
	skip  int32  // the first node that is not below this one
}

// longestToken bounds the bytes of a token; longer ones are not offered.
const longestToken = 4096

// NewVocabulary makes a vocabulary of tokens 0 to size-1. token returns the
// bytes that a token adds to the text, none if it is not to be used in text that
// is constrained, as special tokens are not; ends are the tokens that end a
// text, whatever their bytes.
func NewVocabulary(size int, token func(id int32) []byte, ends []int32) *Vocabulary {
	v := &Vocabulary{tokens: make([][]byte, size), ends: slices.Clone(ends), same: make([]int32, size)}
	var order []int32
	for id := range int32(size) {
		v.same[id] = -1
		b := token(id)
		if len(b) == 0 || len(b) > longestToken || slices.Contains(ends, id) {
			continue
		}
		v.tokens[id] = b
		v.longest = max(v.longest, len(b))
		order = append(order, id)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return bytes.Compare(v.tokens[a], v.tokens[b]) })
	var path []int32 // nodes of the token before
	var before int32
	for i, id := range order {
		b := v.tokens[id]
		if i > 0 && bytes.Equal(b, v.tokens[before]) {
			v.same[before] = id
			before = id
			continue
		}
		shared := 0
		for shared < len(path) && shared < len(b) && v.trie[path[shared]].char == b[shared] {
			shared++
		}
		for _, n := range path[shared:] {
			v.trie[n].skip = int32(len(v.trie))
		}
		path = path[:shared]
		for d := shared; d < len(b); d++ {
			path = append(path, int32(len(v.trie)))
			v.trie = append(v.trie, trieNode{char: b[d], depth: uint16(d), token: -1})
		}
		v.trie[len(v.trie)-1].token = id
		before = id
	}
	for _, n := range path {
		v.trie[n].skip = int32(len(v.trie))
	}
	return v
}

// MaskLen is the length of a mask, 64 tokens a word.
func (v *Vocabulary) MaskLen() int { return (len(v.tokens) + 63) / 64 }
