package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// byteRunes gives the character that stands for each byte in tokenizer.json:
// printable Latin-1 for itself, the others from U+0100 on, as in GPT-2.
var byteRunes, runeBytes = func() (to [256]rune, from map[rune]byte) {
	from = make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range 256 {
		switch {
		case '!' <= b && b <= '~', 0xa1 <= b && b <= 0xac, 0xae <= b && b <= 0xff:
			to[b] = rune(b)
		default:
			to[b] = next
			next++
		}
		from[to[b]] = byte(b)
	}
	return to, from
}()

// visible writes bytes in the alphabet of tokenizer.json.
func visible(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(byteRunes[c])
	}
	return s.String()
}

func unvisible(s string) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		b, ok := runeBytes[r]
		if !ok {
			return nil, fmt.Errorf("token %q has the character %q, which stands for no byte", s, r)
		}
		out = append(out, b)
	}
	return out, nil
}

// VisibleTokens returns every token as tokenizer.json and GGUF spell it: bytes
// in GPT-2's alphabet, added tokens as they are.
func (t *Tokenizer) VisibleTokens() []string {
	out := make([]string, len(t.tokens))
	for id, b := range t.tokens {
		out[id] = visible(b)
	}
	for _, a := range t.added {
		out[a.id] = a.content
	}
	return out
}

// VisibleMerges returns the merges by rank, as "left right" in GPT-2's alphabet.
func (t *Tokenizer) VisibleMerges() []string {
	out := make([]string, len(t.merges))
	for i, m := range t.merges {
		out[i] = visible(t.tokens[m.left]) + " " + visible(t.tokens[m.right])
	}
	return out
}

// Added lists the added tokens by id.
func (t *Tokenizer) Added() []Added {
	out := make([]Added, len(t.added))
	for i, a := range t.added {
		out[i] = Added{ID: a.id, Content: a.content, Special: a.special}
	}
	return out
}

// Added is an added token: one that stands for itself wherever its text occurs.
type Added struct {
	ID      int32
	Content string
	Special bool // hidden from text
}

// The structure of tokenizer.json, as far as this package writes and takes it.
type (
	fileJSON struct {
		Version       string      `json:"version"`
		Truncation    any         `json:"truncation"`
		Padding       any         `json:"padding"`
		AddedTokens   []addedJSON `json:"added_tokens"`
		Normalizer    *stepJSON   `json:"normalizer"`
		PreTokenizer  *stepJSON   `json:"pre_tokenizer"`
		PostProcessor *stepJSON   `json:"post_processor"`
		Decoder       *stepJSON   `json:"decoder"`
		Model         modelJSON   `json:"model"`
	}
	addedJSON struct {
		ID         int32  `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		Lstrip     bool   `json:"lstrip"`
		Rstrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
		Special    bool   `json:"special"`
	}
	stepJSON struct {
		Type             string       `json:"type"`
		Pretokenizers    []stepJSON   `json:"pretokenizers,omitempty"`
		Pattern          *patternJSON `json:"pattern,omitempty"`
		Behavior         string       `json:"behavior,omitempty"`
		Invert           *bool        `json:"invert,omitempty"`
		IndividualDigits *bool        `json:"individual_digits,omitempty"`
		AddPrefixSpace   *bool        `json:"add_prefix_space,omitempty"`
		TrimOffsets      *bool        `json:"trim_offsets,omitempty"`
		UseRegex         *bool        `json:"use_regex,omitempty"`

		// Of a post-processor.
		Processors    []stepJSON             `json:"processors,omitempty"`
		Single        []pieceJSON            `json:"single,omitempty"`
		Pair          []pieceJSON            `json:"pair,omitempty"`
		SpecialTokens map[string]specialJSON `json:"special_tokens,omitempty"`
	}
	patternJSON struct {
		Regex string `json:"Regex"`
	}
	modelJSON struct {
		Type                    string          `json:"type"`
		Dropout                 *float64        `json:"dropout"`
		UnkToken                *string         `json:"unk_token"`
		ContinuingSubwordPrefix *string         `json:"continuing_subword_prefix"`
		EndOfWordSuffix         *string         `json:"end_of_word_suffix"`
		FuseUnk                 bool            `json:"fuse_unk"`
		ByteFallback            bool            `json:"byte_fallback"`
		IgnoreMerges            bool            `json:"ignore_merges"`
		Vocab                   json.RawMessage `json:"vocab"`
		Merges                  []mergeJSON     `json:"merges"`
	}
)

// mergeJSON is a merge as "left right" or as ["left", "right"]; both are in use.
type mergeJSON [2]string

// MarshalJSON implements json.Marshaler with the older form, which every reader
// takes.
func (m mergeJSON) MarshalJSON() ([]byte, error) { return marshalPlain(m[0] + " " + m[1]) }

// UnmarshalJSON implements json.Unmarshaler.
func (m *mergeJSON) UnmarshalJSON(b []byte) error {
	var s string
	if len(b) > 0 && b[0] == '[' {
		var pair []string
		if err := json.Unmarshal(b, &pair); err != nil {
			return err
		}
		if len(pair) != 2 {
			return fmt.Errorf("a merge has %d parts, want 2", len(pair))
		}
		*m = mergeJSON{pair[0], pair[1]}
		return nil
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return fmt.Errorf("merge %q is not two tokens and one space", s)
	}
	*m = mergeJSON{left, right}
	return nil
}

// marshalPlain is json.Marshal without the escapes for HTML.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// JSON returns the content of tokenizer.json. Equal tokenizers give equal bytes.
func (t *Tokenizer) JSON() []byte {
	no, yes, empty := false, true, ""
	byteLevel := func(flag *bool) *stepJSON {
		return &stepJSON{Type: "ByteLevel", AddPrefixSpace: flag, TrimOffsets: flag, UseRegex: flag}
	}
	gpt2 := &stepJSON{Type: "ByteLevel", AddPrefixSpace: &no, TrimOffsets: &yes, UseRegex: &yes}
	split := func(pattern string) *stepJSON {
		return &stepJSON{Type: "Sequence", Pretokenizers: []stepJSON{
			{Type: "Split", Pattern: &patternJSON{pattern}, Behavior: "Isolated", Invert: &no},
			*byteLevel(&no),
		}}
	}
	cut := [...]*stepJSON{
		Qwen2: split(Pattern), Llama3: split(llama3Pattern), GPT2: gpt2,
		SmolLM2: {Type: "Sequence", Pretokenizers: []stepJSON{{Type: "Digits", IndividualDigits: &yes}, *gpt2}},
	}
	f := fileJSON{
		Version:       "1.0",
		PreTokenizer:  cut[t.rule],
		PostProcessor: t.postProcessor(byteLevel(&no)),
		Decoder:       byteLevel(&yes),
		Model: modelJSON{
			Type: "BPE", ContinuingSubwordPrefix: &empty, EndOfWordSuffix: &empty, IgnoreMerges: t.wholeWords,
			Vocab: t.vocabJSON(),
		},
	}
	if t.compose {
		f.Normalizer = &stepJSON{Type: "NFC"}
	}
	for _, a := range t.added {
		f.AddedTokens = append(f.AddedTokens, addedJSON{ID: a.id, Content: a.content, Special: a.special})
	}
	for _, m := range t.merges {
		f.Model.Merges = append(f.Model.Merges, mergeJSON{visible(t.tokens[m.left]), visible(t.tokens[m.right])})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(f); err != nil {
		panic("tokenizer: " + err.Error()) // strings, numbers and booleans only: cannot happen
	}
	return b.Bytes()
}

// vocabJSON writes the vocabulary in the order of ids, which a map would lose. Added
// tokens behind all others are left out; one that stands before others must be in,
// since readers number what is not from the vocabulary's size on.
func (t *Tokenizer) vocabJSON() json.RawMessage {
	behind := len(t.tokens)
	for i := len(t.added) - 1; i >= 0 && int(t.added[i].id) == behind-1; i-- {
		behind--
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for id, token := range t.VisibleTokens()[:behind] {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, _ := marshalPlain(token) // a string
		fmt.Fprintf(&b, "%s:%d", key, id)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// maxVocab bounds what Parse takes; the largest vocabularies in use have about
// 260,000 tokens.
const maxVocab = 1 << 20

// ErrUnsupported says that a vocabulary is of another structure than those that
// are followed, so that its text would be cut in another way.
var ErrUnsupported = errors.New("unsupported tokenizer structure")

// Parse reads the content of a tokenizer.json that cuts text by one of the rules.
// Another structure is refused with ErrUnsupported and what differs.
func Parse(data []byte) (*Tokenizer, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("parse tokenizer.json: not UTF-8")
	}
	var f fileJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("parse tokenizer.json: %w", err)
	}
	rule, err := f.supported()
	if err != nil {
		return nil, fmt.Errorf("parse tokenizer.json: %w: %w", ErrUnsupported, err)
	}
	bos, err := f.begins()
	if err != nil {
		return nil, fmt.Errorf("parse tokenizer.json: %w: %w", ErrUnsupported, err)
	}
	t, err := f.build()
	if err == nil {
		err = t.begin(bos)
	}
	if err != nil {
		return nil, fmt.Errorf("parse tokenizer.json: %w", err)
	}
	t.rule, t.compose, t.wholeWords = rule, f.Normalizer != nil, f.Model.IgnoreMerges
	return t, nil
}

func isSet(b *bool, want bool) bool { return b != nil && *b == want }

// supported compares the structure with those that are followed.
func (f *fileJSON) supported() (Rule, error) {
	m := &f.Model
	switch {
	case m.Type != "BPE":
		return 0, fmt.Errorf("model type is %q, want BPE", m.Type)
	case m.ByteFallback || m.Dropout != nil || m.UnkToken != nil:
		return 0, errors.New("model sets byte_fallback, dropout or unk_token")
	case m.ContinuingSubwordPrefix != nil && *m.ContinuingSubwordPrefix != "", m.EndOfWordSuffix != nil && *m.EndOfWordSuffix != "":
		return 0, errors.New("model sets a prefix or suffix of subwords")
	case f.Normalizer != nil && f.Normalizer.Type != "NFC":
		return 0, fmt.Errorf("normalizer is %s, want NFC or none", f.Normalizer.Type)
	case f.Decoder == nil || f.Decoder.Type != "ByteLevel":
		return 0, errors.New("decoder is not ByteLevel")
	}
	for _, a := range f.AddedTokens {
		if a.SingleWord || a.Lstrip || a.Rstrip || a.Normalized {
			return 0, fmt.Errorf("added token %q sets single_word, lstrip, rstrip or normalized", a.Content)
		}
	}
	if f.PreTokenizer == nil {
		return 0, errors.New("there is no pre_tokenizer")
	}
	steps := []stepJSON{*f.PreTokenizer}
	if f.PreTokenizer.Type == "Sequence" {
		steps = f.PreTokenizer.Pretokenizers
	}
	// Last is ByteLevel, with GPT-2's expression or after a Split by another.
	if n := len(steps); n == 0 || n > 2 || steps[n-1].Type != "ByteLevel" || !isSet(steps[n-1].AddPrefixSpace, false) {
		return 0, errors.New("pre_tokenizer does not end with ByteLevel without prefix space")
	}
	expression := !isSet(steps[len(steps)-1].UseRegex, false) // the default is true
	if len(steps) == 1 {
		if !expression {
			return 0, errors.New("pre_tokenizer cuts nothing")
		}
		return GPT2, nil
	}
	switch first := steps[0]; {
	case first.Type == "Digits" && isSet(first.IndividualDigits, true) && expression:
		return SmolLM2, nil
	case first.Type != "Split" || first.Pattern == nil || first.Behavior != "Isolated" || !isSet(first.Invert, false) || expression:
		return 0, errors.New("the first pre_tokenizer is neither an isolating Split by a regular expression, alone, nor Digits one by one before one")
	case first.Pattern.Regex == Pattern:
		return Qwen2, nil
	case first.Pattern.Regex == llama3Pattern:
		return Llama3, nil
	default:
		return 0, fmt.Errorf("the Split pattern is %q, want Qwen2's or Llama 3's", first.Pattern.Regex)
	}
}

func (f *fileJSON) build() (*Tokenizer, error) {
	var vocab map[string]int32
	if err := json.Unmarshal(f.Model.Vocab, &vocab); err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	for _, a := range f.AddedTokens {
		if id, ok := vocab[a.Content]; ok {
			if id != a.ID {
				return nil, fmt.Errorf("added token %q has id %d, and id %d in the vocabulary", a.Content, a.ID, id)
			}
			delete(vocab, a.Content) // it is in both; no merge makes it
		}
	}
	size := len(vocab) + len(f.AddedTokens)
	if size > maxVocab || len(f.Model.Merges) > maxVocab {
		return nil, fmt.Errorf("%d tokens and %d merges, at most %d are read", size, len(f.Model.Merges), maxVocab)
	}
	tokens := make([][]byte, size)
	place := func(id int32, text string, b []byte) error {
		if id < 0 || int(id) >= size {
			return fmt.Errorf("token %q has id %d of %d; ids must be consecutive from 0", text, id, size)
		}
		if tokens[id] != nil {
			return fmt.Errorf("token %q has id %d, which another token has too", text, id)
		}
		tokens[id] = b
		return nil
	}
	for text, id := range vocab {
		b, err := unvisible(text)
		if err == nil && len(b) == 0 {
			err = errors.New("a token is empty")
		}
		if err == nil {
			err = place(id, text, b)
		}
		if err != nil {
			return nil, err
		}
	}
	var added []addedToken
	for _, a := range f.AddedTokens {
		if a.Content == "" {
			return nil, fmt.Errorf("added token %d is empty", a.ID)
		}
		if err := place(a.ID, a.Content, []byte(a.Content)); err != nil {
			return nil, err
		}
		added = append(added, addedToken{a.ID, a.Content, a.Special})
	}
	slices.SortFunc(added, func(a, b addedToken) int { return int(a.id) - int(b.id) })
	merges := make([]merge, len(f.Model.Merges))
	for i, m := range f.Model.Merges {
		var err error
		if merges[i], err = mergeOf(vocab, m[0], m[1]); err != nil {
			return nil, fmt.Errorf("merge %d: %w", i, err)
		}
	}
	return newTokenizer(tokens, merges, added)
}
