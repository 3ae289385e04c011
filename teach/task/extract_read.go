package task

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// cueKind says what a cue tells.
type cueKind int

const (
	cueWant    cueKind = iota // what the customer wants; value is the intent
	cueTransit                // something went wrong before it was in use
	cueFailure                // it failed in use
	cueDanger
	cueUrgent
	cueRelaxed
	cueFixed  // a number that corrects an earlier one
	cueIgnore // only looks like something; field and value say like what
)

// cue is a way of saying something, as words in their normal form.
type cue struct {
	kind  cueKind
	field string // cueIgnore: the field that a hasty reader would fill
	value string // cueWant: the intent; cueIgnore: what a hasty reader would fill in, "" for what a slot holds
	slots []string
}

// trie finds the longest cue or product at a place.
type trie struct {
	next    map[string]*trie
	cue     *cue
	product int // index into products, -1
}

func newTrie() *trie { return &trie{next: map[string]*trie{}, product: -1} }

func (t *trie) add(words []string) *trie {
	for _, w := range words {
		n := t.next[w]
		if n == nil {
			n = newTrie()
			t.next[w] = n
		}
		t = n
	}
	return t
}

// ticketReader knows the language of tickets backwards.
type ticketReader struct {
	cues     *trie
	products *trie
	vocab    map[string]bool
	misspelt map[string][]string // a word with a letter left out → words of the vocabulary
	weekdays []string
	clashes  []string // cues that say two things
}

// reader is made when it is first needed.
var reader = sync.OnceValue(newTicketReader)

// Keys of what is not a word, in cues.
const (
	productKey = "<p>"
	numberKey  = "<n>"
	weekdayKey = "<w>"
)

func newTicketReader() *ticketReader {
	r := &ticketReader{cues: newTrie(), products: newTrie(), vocab: map[string]bool{}, misspelt: map[string][]string{}}
	for i, p := range products {
		for _, name := range append([]string{p.name}, p.also...) {
			words := plainWords(name)
			r.know(words)
			r.products.add(words).product = i
		}
	}
	for _, w := range weekdays {
		r.weekdays = append(r.weekdays, strings.ToLower(w))
	}
	r.know(r.weekdays)
	r.know(orderLabels)
	for _, s := range phraseBook() {
		for _, p := range s.patterns {
			r.knowAll(p.parts)
			for _, c := range p.cues() {
				r.learn(c, s.kind, s.field, s.value)
			}
		}
	}
	for w := range r.vocab {
		for _, d := range deletions(w) {
			r.misspelt[d] = append(r.misspelt[d], w)
		}
	}
	for _, of := range r.misspelt {
		slices.Sort(of)
	}
	return r
}

// learn adds a cue, and with an article where a slot brings one.
func (r *ticketReader) learn(text string, kind cueKind, field, value string) {
	for _, slot := range []string{"{ap}", "{aq}"} {
		if head, tail, ok := strings.Cut(text, slot); ok {
			for _, article := range []string{"a ", "an "} {
				r.learn(head+article+"{"+slot[2:]+tail, kind, field, value)
			}
			return
		}
	}
	var words []string
	c := &cue{kind: kind, field: field, value: value}
	for text != "" {
		head, tail, ok := strings.Cut(text, "{")
		for _, w := range plainWords(head) {
			words, c.slots = append(words, w), append(c.slots, "")
		}
		if !ok {
			break
		}
		slot, rest, _ := strings.Cut(tail, "}")
		key := map[string]string{"p": productKey, "q": productKey, "n": numberKey, "x": numberKey, "w": weekdayKey}[slot]
		if key == "" {
			panic("the slot {" + slot + "} cannot stand in a cue")
		}
		words, c.slots = append(words, key), append(c.slots, slot)
		text = rest
	}
	r.know(words)
	n := r.cues.add(words)
	if old := n.cue; old != nil && (old.kind != kind || old.field != field || old.value != value) {
		r.clashes = append(r.clashes, strings.Join(words, " "))
	}
	n.cue = c
}

// knowAll takes up every word that a pattern may say: what is spelt right is
// not corrected.
func (r *ticketReader) knowAll(parts []part) {
	for _, p := range parts {
		r.know(plainWords(p.text))
		for _, c := range p.choice {
			r.knowAll(c)
		}
	}
}

func (r *ticketReader) know(words []string) {
	for _, w := range words {
		if w[0] != '<' {
			r.vocab[w] = true
		}
	}
}

// token is a word of a text in its normal form, and where it stands.
type token struct {
	word       string   // or one of the keys
	may        []string // a misspelt word's corrections, if it is not known
	start, end int      // bytes
	product    int      // of productKey: an index into products
	ignored    bool     // a product or number that the matter is not about
}

// expanded are contractions as their words, with and without the apostrophe.
var expanded = sync.OnceValue(func() map[string][]string {
	m := map[string][]string{"cannot": {"can", "not"}}
	for _, c := range contractions {
		long := strings.Fields(strings.ReplaceAll(c.long, "cannot", "can not"))
		short := strings.ToLower(c.short)
		m[short] = long
		if bare := strings.ReplaceAll(short, "'", ""); !slices.Contains([]string{"its", "ill", "id", "were"}, bare) {
			m[bare] = long
		}
	}
	return m
})

// plainWords are the words of a text in lower case, contractions written out.
func plainWords(text string) []string {
	var out []string
	for _, t := range tokenize(text) {
		out = append(out, t.word)
	}
	return out
}

// tokenize cuts a text into words: letters and digits, with apostrophes in
// between.
func tokenize(text string) []token {
	var out []token
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if !inWord(r) {
			i += n
			continue
		}
		start := i
		for i < len(text) {
			r, n := utf8.DecodeRuneInString(text[i:])
			if r == '\'' || r == '’' {
				if next, _ := utf8.DecodeRuneInString(text[i+n:]); !unicode.IsLetter(next) {
					break
				}
			} else if !inWord(r) {
				break
			}
			i += n
		}
		word := strings.ReplaceAll(strings.ToLower(text[start:i]), "’", "'")
		words := expanded()[word]
		if words == nil {
			words = []string{word}
		}
		for _, w := range words {
			out = append(out, token{word: w, start: start, end: i, product: -1})
		}
	}
	return out
}

// longestWord bounds what is taken for a misspelt word, in letters.
const longestWord = 20

// spell notes which known words are one slip away from each unknown one.
func (r *ticketReader) spell(tokens []token) {
	for i := range tokens {
		w := tokens[i].word
		if len(w) < 3 || len(w) > longestWord || r.vocab[w] || !letters(w) {
			continue
		}
		var may []string
		for _, d := range append(deletions(w), w) {
			if r.vocab[d] {
				may = append(may, d)
			}
			for _, of := range r.misspelt[d] {
				if oneSlip(w, of) {
					may = append(may, of)
				}
			}
		}
		slices.Sort(may)
		tokens[i].may = slices.DeleteFunc(slices.Compact(may), func(w string) bool { return len(w) < 4 })
	}
}

// is reports whether a token is that word, or meant to be.
func (t *token) is(word string) bool { return t.word == word || slices.Contains(t.may, word) }

// longest follows the tokens down the trie, whatever they may mean, and
// returns the deepest node at which something ends and how many tokens lead
// there.
func (t *trie) longest(tokens []token) (end *trie, n int) {
	if t.cue != nil || t.product >= 0 {
		end = t
	}
	if len(tokens) == 0 {
		return end, 0
	}
	for i := -1; i < len(tokens[0].may); i++ {
		word := tokens[0].word
		if i >= 0 {
			word = tokens[0].may[i]
		}
		if next := t.next[word]; next != nil {
			if e, m := next.longest(tokens[1:]); e != nil && m+1 > n {
				end, n = e, m+1
			}
		}
	}
	return end, n
}

// deletions are the forms of a word of four letters or more with one left out.
func deletions(w string) []string {
	out := make([]string, 0, len(w))
	for i := range len(w) {
		if len(w) >= 4 {
			out = append(out, w[:i]+w[i+1:])
		}
	}
	return out
}

// oneSlip reports whether two words differ by one letter more, less, changed
// or swapped with its neighbour.
func oneSlip(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 1:
		return a[i:] == b[i+1:]
	case 0:
		if i == len(a) {
			return true
		}
		return a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	}
	return false
}

func letters(w string) bool {
	for i := range len(w) {
		if w[i] < 'a' || w[i] > 'z' {
			return false
		}
	}
	return true
}

// classify makes products, order-like numbers and weekdays tokens of their own.
func (r *ticketReader) classify(in []token) []token {
	out := make([]token, 0, len(in))
	for i := 0; i < len(in); {
		t := in[i]
		named, n := r.products.longest(in[i:])
		switch {
		case named != nil:
			t = token{word: productKey, start: t.start, end: in[i+n-1].end, product: named.product}
			i += n - 1
		case len(t.word) == orderDigits && strings.Trim(t.word, "0123456789") == "":
			t.word = numberKey
		case slices.ContainsFunc(r.weekdays, t.is):
			t.word = weekdayKey
		}
		out = append(out, t)
		i++
	}
	return out
}

// sign is a cue that was found.
type sign struct {
	*cue
	start, end int // in bytes
	number     int // cueFixed: its token
}

// signs finds the cues of a text, leftmost and longest first, and marks the
// products and numbers that they put aside.
func (r *ticketReader) signs(tokens []token) []sign {
	var out []sign
	for i := 0; i < len(tokens); {
		node, n := r.cues.longest(tokens[i:])
		if node == nil {
			i++
			continue
		}
		found, last := node.cue, i+n-1
		s := sign{cue: found, start: tokens[i].start, end: tokens[last].end, number: -1}
		for k, slot := range found.slots {
			switch slot {
			case "q", "x":
				tokens[i+k].ignored = true
			case "n":
				s.number = i + k
			}
		}
		out = append(out, s)
		i = last + 1
	}
	return out
}

// ignoreLists takes products that are merely listed, as in instructions, for
// words like others: three or more with nothing but "and" or "or" between them.
func ignoreLists(tokens []token) {
	for i := 0; i < len(tokens); i++ {
		if tokens[i].word != productKey {
			continue
		}
		run, last := 1, i
		for j := i + 1; j < len(tokens) && j <= last+2; j++ {
			switch tokens[j].word {
			case productKey:
				run, last = run+1, j
			case "and", "or":
			default:
				j = len(tokens)
			}
		}
		if run >= 3 {
			for j := i; j <= last; j++ {
				tokens[j].word = ""
			}
		}
		i = last
	}
}

// orderLabels are the words that may stand between "order" and its number.
var orderLabels = []string{"order", "number", "no", "nr", "id", "is", "was", "my", "the"}

// labelled reports whether a number is called an order's, and where the label
// begins.
func labelled(tokens []token, i int) (from int, ok bool) {
	for j := i - 1; j >= 0 && j >= i-5; j-- {
		if tokens[j].is("order") {
			return j, true
		}
		if !slices.ContainsFunc(orderLabels, tokens[j].is) {
			return 0, false
		}
	}
	return 0, false
}
