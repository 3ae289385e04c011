// Package tokenizer turns text into a model's tokens and back: byte-level
// byte-pair encoding, trained on the dataset's text with Qwen2's word pattern and
// single digits, or read from tokenizer.json or GGUF's metadata; written as
// tokenizer.json, and encoding exactly as Hugging Face tokenizers does on that
// file. Conversations are student/chat's.
//
// It is not a reader of every tokenizer in the world: it follows the rules of Rule
// and refuses others by name. What Train makes has no normaliser, so that
// llama.cpp, which has none, sees the same tokens: text in NFD stays in NFD. What
// is read from tokenizer.json may have NFC.
//
// Token ids are int32 from 0; Train gives the 256 bytes, then one id per new
// merge, then the added tokens. A Tokenizer does not change once made and is safe
// for concurrent use.
package tokenizer

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
)

// The added tokens that our own chat template uses.
const (
	EndOfText  = "<|endoftext|>" // padding
	ImStart    = "<|im_start|>"  // opens a turn
	ImEnd      = "<|im_end|>"    // closes a turn, and an answer
	ThinkStart = "<think>"       // opens written-out reasoning; not a special token, so that it shows in text
	ThinkEnd   = "</think>"
)

// Tokenizer encodes and decodes text.
type Tokenizer struct {
	rule       Rule
	compose    bool  // text is put into Unicode's NFC first
	wholeWords bool  // a word that is a token is not merged from parts
	bos        int32 // see BOS; -1: none

	tokens [][]byte         // bytes of each id; for an added token, its content
	ids    map[string]int32 // bytes → id, added tokens not included
	bytes  [256]int32       // ids of single bytes; -1: there is none, and it is left out of what is encoded
	merges []merge          // by rank
	ranks  map[uint64]ranked
	added  []addedToken // by id
	byText map[string]int32
	byHead map[byte][]int // first byte → indexes into added, longest content first
	cache  [cacheShards]cacheShard
}

// merge joins two neighbouring tokens into one.
type merge struct{ left, right, result int32 }

// ranked is what a pair of neighbours becomes; lower ranks are joined first.
type ranked struct{ rank, result int32 }

// addedToken is a token that stands for itself wherever its text occurs.
type addedToken struct {
	id      int32
	content string
	special bool // hidden from text, as end marks are
}

// newTokenizer builds the indexes. ids are assigned as the package comment says
// unless the caller (Parse) gives others.
func newTokenizer(tokens [][]byte, merges []merge, added []addedToken) (*Tokenizer, error) {
	t := &Tokenizer{
		tokens: tokens,
		ids:    make(map[string]int32, len(tokens)),
		merges: merges,
		ranks:  make(map[uint64]ranked, len(merges)),
		added:  added,
		byText: make(map[string]int32, len(added)),
		byHead: map[byte][]int{},
		bos:    -1,
	}
	isAdded := make(map[int32]bool, len(added))
	for i, a := range added {
		if a.content == "" {
			return nil, fmt.Errorf("added token %d is empty", a.id)
		}
		if _, ok := t.byText[a.content]; ok {
			return nil, fmt.Errorf("added token %q is given twice", a.content)
		}
		t.byText[a.content] = a.id
		t.byHead[a.content[0]] = append(t.byHead[a.content[0]], i)
		isAdded[a.id] = true
	}
	for _, list := range t.byHead {
		sort.SliceStable(list, func(i, j int) bool { return len(added[list[i]].content) > len(added[list[j]].content) })
	}
	for id, b := range tokens {
		if isAdded[int32(id)] {
			continue
		}
		if _, ok := t.ids[string(b)]; ok {
			return nil, fmt.Errorf("token %q has two ids", b)
		}
		t.ids[string(b)] = int32(id)
	}
	for b := range t.bytes {
		t.bytes[b] = -1
		if id, ok := t.ids[string([]byte{byte(b)})]; ok {
			t.bytes[b] = id
		}
	}
	for i, m := range merges {
		key := pairKey(m.left, m.right)
		if _, ok := t.ranks[key]; !ok { // the first of equal pairs counts
			t.ranks[key] = ranked{int32(i), m.result}
		}
	}
	for i := range t.cache {
		t.cache[i].words = map[string][]int32{}
	}
	return t, nil
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// VocabSize is the number of ids, added tokens included.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// Merges is the number of merges learned.
func (t *Tokenizer) Merges() int { return len(t.merges) }

// ID returns the id of an added token or of a token by its bytes.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.byText[token]; ok {
		return id, true
	}
	id, ok := t.ids[token]
	return id, ok
}

// TokenBytes returns the bytes that id stands for, nil if there is no such id.
// They need not be UTF-8 on their own. The caller must not change them.
func (t *Tokenizer) TokenBytes(id int32) []byte {
	if id < 0 || int(id) >= len(t.tokens) {
		return nil
	}
	return t.tokens[id]
}

// IsSpecial reports whether id is an added token that is hidden from text, such
// as <|im_end|>.
func (t *Tokenizer) IsSpecial(id int32) bool {
	i, ok := slices.BinarySearchFunc(t.added, id, func(a addedToken, id int32) int { return int(a.id) - int(id) })
	return ok && t.added[i].special
}

// Encode returns the tokens of text, in which the text of an added token is
// that token. Use it on text that is trusted; see EncodeOrdinary.
func (t *Tokenizer) Encode(text string) []int32 { return t.encode(text, nil) }

// encode cuts text at added tokens, but at none that goes across one of the
// offsets in within, which ascend.
func (t *Tokenizer) encode(text string, within []int) []int32 {
	out := make([]int32, 0, len(text)/3+1)
	start := 0
	for i := 0; i < len(text); {
		for len(within) > 0 && within[0] <= i {
			within = within[1:]
		}
		a := t.addedAt(text, i)
		if a == nil || len(within) > 0 && within[0] < i+len(a.content) {
			i++
			continue
		}
		out = t.appendOrdinary(out, text[start:i])
		out = append(out, a.id)
		i += len(a.content)
		start = i
	}
	return t.appendOrdinary(out, text[start:])
}

// addedAt returns the longest added token whose text stands at text[i:].
func (t *Tokenizer) addedAt(text string, i int) *addedToken {
	for _, k := range t.byHead[text[i]] {
		if strings.HasPrefix(text[i:], t.added[k].content) {
			return &t.added[k]
		}
	}
	return nil
}

// EncodeOrdinary returns the tokens of text in which nothing is special: the
// text of an added token is encoded letter by letter. What people and models
// write is encoded with it, so that nobody can write a turn of somebody else.
func (t *Tokenizer) EncodeOrdinary(text string) []int32 {
	return t.appendOrdinary(make([]int32, 0, len(text)/3+1), text)
}

func (t *Tokenizer) appendOrdinary(out []int32, text string) []int32 {
	if t.compose {
		text = composed(text)
	}
	for text != "" {
		piece := text[:t.rule.piece(text)]
		text = text[len(piece):]
		for piece != "" {
			n := t.rule.word(piece)
			out = t.appendWord(out, piece[:n])
			piece = piece[n:]
		}
	}
	return out
}

// The cache of words keeps text that repeats from being merged again. It is
// bounded: a shard that is full takes no more.
const (
	cacheShards  = 16
	cacheWords   = 4096 // in a shard
	cacheWordLen = 64   // bytes; longer words seldom repeat
)

type cacheShard struct {
	mu    sync.RWMutex
	words map[string][]int32
}

func (t *Tokenizer) appendWord(out []int32, word string) []int32 {
	if len(word) == 1 {
		if id := t.bytes[word[0]]; id >= 0 {
			out = append(out, id)
		}
		return out
	}
	if t.wholeWords {
		if id, ok := t.ids[word]; ok {
			return append(out, id)
		}
	}
	if len(word) > cacheWordLen {
		return append(out, t.mergeWord(word)...)
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(word) {
		h = (h ^ uint32(word[i])) * 16777619
	}
	shard := &t.cache[h%cacheShards]
	shard.mu.RLock()
	ids, ok := shard.words[word]
	shard.mu.RUnlock()
	if ok {
		return append(out, ids...)
	}
	ids = slices.Clone(t.mergeWord(word))
	shard.mu.Lock()
	if len(shard.words) < cacheWords {
		shard.words[strings.Clone(word)] = ids
	}
	shard.mu.Unlock()
	return append(out, ids...)
}
