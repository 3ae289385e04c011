package tokenizer

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Options says how a tokenizer is trained.
type Options struct {
	// VocabSize bounds the number of ids, added tokens included. Fewer are made
	// if no pair of tokens occurs twice any more. At least 256 bytes, one merge
	// and the added tokens must fit; 0 means 1024.
	VocabSize int
	// Special are the added tokens that are hidden from text. nil means
	// EndOfText, ImStart and ImEnd, which the chat template needs. ThinkStart
	// and ThinkEnd are always added, not as special tokens.
	Special []string
}

// DefaultVocabSize is the vocabulary size that Options{} asks for.
const DefaultVocabSize = 1024

// ErrNoPairs says that the training text has no word of two bytes or more, so
// that there is nothing to merge.
var ErrNoPairs = errors.New("the text has no word of two bytes or more to learn from")

// Train learns merges from texts: again and again the most frequent pair of
// neighbouring tokens becomes a token, pairs of equal count in the order of
// their bytes (left, then right). It stops at the vocabulary size or when no
// pair occurs twice, but not before one merge, which readers of the file need.
// The result depends on the texts alone, not on their order.
func Train(texts iter.Seq[string], opt Options) (*Tokenizer, error) {
	if opt.VocabSize == 0 {
		opt.VocabSize = DefaultVocabSize
	}
	if opt.Special == nil {
		opt.Special = []string{EndOfText, ImStart, ImEnd}
	}
	added := addedTokens(opt.Special)
	room := opt.VocabSize - 256 - len(added)
	if room < 1 {
		return nil, fmt.Errorf("train tokenizer: a vocabulary of %d is too small: 256 bytes, %d added tokens and at least one merge need %d",
			opt.VocabSize, len(added), 257+len(added))
	}
	tr := newTrainer(texts, added)
	for len(tr.tokens) < 256+room && tr.step() {
	}
	if len(tr.merges) == 0 {
		return nil, fmt.Errorf("train tokenizer: %w", ErrNoPairs)
	}
	for i := range added {
		added[i].id = int32(len(tr.tokens))
		tr.tokens = append(tr.tokens, []byte(added[i].content))
	}
	t, err := newTokenizer(tr.tokens, tr.merges, added)
	if err != nil {
		return nil, fmt.Errorf("train tokenizer: %w", err)
	}
	return t, nil
}

func addedTokens(special []string) []addedToken {
	var added []addedToken
	for _, s := range special {
		added = append(added, addedToken{content: s, special: true})
	}
	for _, s := range []string{ThinkStart, ThinkEnd} {
		if !slices.Contains(special, s) {
			added = append(added, addedToken{content: s})
		}
	}
	return added
}

// trainer counts the pairs of all distinct words once, and after each merge
// only those of the words that held the merged pair.
type trainer struct {
	words   []trainWord
	tokens  [][]byte
	ids     map[string]int32
	merges  []merge
	pairs   map[uint64]*pairCount
	queue   pairQueue // candidates; counts may be out of date, see step
	touched []*pairCount
}

type trainWord struct {
	symbols []int32
	count   int64
}

type pairCount struct {
	left, right int32
	count       int64
	words       map[int32]struct{} // words that held the pair at some time
	banned      bool               // its bytes are those of an added token
	merged      bool
	dirty       bool // in touched
}

func newTrainer(texts iter.Seq[string], added []addedToken) *trainer {
	counts := map[string]int64{}
	for text := range texts {
		for text != "" {
			n := nextWord(text)
			if c, ok := counts[text[:n]]; ok || n > 1 {
				if ok {
					counts[text[:n]] = c + 1
				} else {
					counts[strings.Clone(text[:n])] = 1
				}
			}
			text = text[n:]
		}
	}
	tr := &trainer{ids: map[string]int32{}, pairs: map[uint64]*pairCount{}}
	for b := range 256 {
		tr.ids[string([]byte{byte(b)})] = int32(b)
		tr.tokens = append(tr.tokens, []byte{byte(b)})
	}
	for _, a := range added {
		tr.ids[a.content] = -1
	}
	words := make([]string, 0, len(counts))
	for w := range counts {
		words = append(words, w)
	}
	slices.Sort(words)
	for i, w := range words {
		symbols := make([]int32, len(w))
		for j := range len(w) {
			symbols[j] = int32(w[j])
		}
		tr.words = append(tr.words, trainWord{symbols, counts[w]})
		tr.count(int32(i), counts[w])
	}
	tr.requeue()
	return tr
}

// count adds sign·count of a word's pairs to the table.
func (tr *trainer) count(word int32, count int64) {
	symbols := tr.words[word].symbols
	for i := range len(symbols) - 1 {
		key := pairKey(symbols[i], symbols[i+1])
		p := tr.pairs[key]
		if p == nil {
			p = &pairCount{left: symbols[i], right: symbols[i+1], words: map[int32]struct{}{}}
			p.banned = tr.isAdded(p)
			tr.pairs[key] = p
		}
		p.count += count
		if count > 0 {
			p.words[word] = struct{}{}
		}
		if !p.dirty {
			p.dirty = true
			tr.touched = append(tr.touched, p)
		}
	}
}

func (tr *trainer) isAdded(p *pairCount) bool {
	id, ok := tr.ids[string(tr.join(p.left, p.right))]
	return ok && id < 0
}

func (tr *trainer) join(left, right int32) []byte {
	return slices.Concat(tr.tokens[left], tr.tokens[right])
}

// requeue puts the pairs whose counts have changed into the queue again.
func (tr *trainer) requeue() {
	for _, p := range tr.touched {
		p.dirty = false
		if p.count > 0 && !p.banned {
			heap.Push(&tr.queue, candidate{p, p.count, tr.tokens[p.left], tr.tokens[p.right]})
		}
	}
	tr.touched = tr.touched[:0]
}

// step makes one merge and reports whether there was one to make. A candidate
// whose count has changed since it was queued is passed over: its true count
// was queued when it changed.
func (tr *trainer) step() bool {
	for len(tr.queue) > 0 {
		c := heap.Pop(&tr.queue).(candidate)
		if c.count != c.pair.count {
			continue
		}
		if c.count < 2 && len(tr.merges) > 0 {
			return false
		}
		tr.apply(c.pair)
		return true
	}
	return false
}

func (tr *trainer) apply(p *pairCount) {
	text := tr.join(p.left, p.right)
	result, ok := tr.ids[string(text)]
	if !ok { // two ways to the same bytes share an id
		result = int32(len(tr.tokens))
		tr.ids[string(text)] = result
		tr.tokens = append(tr.tokens, text)
	}
	m := merge{p.left, p.right, result}
	if !p.merged { // a shared id can bring an old pair together again
		p.merged = true
		tr.merges = append(tr.merges, m)
	}
	for word := range p.words { // sums do not depend on the order
		w := &tr.words[word]
		tr.count(word, -w.count)
		w.symbols = applyMerge(w.symbols, m)
		tr.count(word, w.count)
	}
	p.count = 0
	clear(p.words)
	tr.requeue()
}

func applyMerge(symbols []int32, m merge) []int32 {
	out := symbols[:0]
	for i := 0; i < len(symbols); i++ {
		if i+1 < len(symbols) && symbols[i] == m.left && symbols[i+1] == m.right {
			out = append(out, m.result)
			i++
			continue
		}
		out = append(out, symbols[i])
	}
	return out
}

// candidate is a pair as it stood when it was queued.
type candidate struct {
	pair        *pairCount
	count       int64
	left, right []byte
}

type pairQueue []candidate

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	if a.count != b.count {
		return a.count > b.count
	}
	if c := bytes.Compare(a.left, b.left); c != 0 {
		return c < 0
	}
	return bytes.Compare(a.right, b.right) < 0
}
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *pairQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
