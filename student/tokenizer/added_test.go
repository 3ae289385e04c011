package tokenizer

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// front is a tokenizer whose special tokens stand before all others, as SmolLM2's do,
// but for one behind them.
func front(t *testing.T) *Tokenizer {
	t.Helper()
	from := trained(t)
	v := Vocabulary{Pre: SmolLM2.String(), Merges: from.VisibleMerges()}
	for _, a := range from.Added() {
		v.Tokens, v.Types = append(v.Tokens, a.Content), append(v.Types, typeControl)
	}
	plain := from.VisibleTokens()[:from.VocabSize()-len(v.Tokens)]
	v.Tokens = append(append(v.Tokens, plain...), "<|last|>")
	v.Types = append(append(v.Types, slices.Repeat([]int32{1}, len(plain))...), typeUser)
	tok, err := v.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestAddedTokensBeforeOthersAreInTheVocabulary(t *testing.T) {
	tok := front(t)
	data := tok.JSON()
	var f struct{ Model struct{ Vocab map[string]int32 } }
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	for _, a := range tok.Added() {
		id, in := f.Model.Vocab[a.Content]
		if want := a.Content != "<|last|>"; in != want || in && id != a.ID {
			t.Errorf("%s has id %d in the vocabulary (%v), want %d (%v)", a.Content, id, in, a.ID, want)
		}
	}
	back, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.JSON(), data) {
		t.Error("tokenizer.json changes when it is read and written")
	}
	text := "<|im_start|>user\nthe 12 <|last|>\n"
	if got, want := back.Encode(text), tok.Encode(text); !slices.Equal(got, want) || len(got) < 6 {
		t.Errorf("%q is %v, want %v", text, got, want)
	}
	// One that is behind all others may stand in both places too.
	both := bytes.Replace(data, []byte(`"vocab": {`), []byte(`"vocab": {"<|last|>": `+jsonNumber(tok.VocabSize()-1)+`,`), 1)
	if back, err = Parse(both); err != nil || !bytes.Equal(back.JSON(), data) {
		t.Errorf("a token in both places is read differently: %v", err)
	}
	other := bytes.Replace(data, []byte(`"<|endoftext|>": 0`), []byte(`"<|endoftext|>": 1`), 1)
	if _, err := Parse(other); err == nil || !strings.Contains(err.Error(), "and id 1 in the vocabulary") {
		t.Errorf("a token of two ids gives %v", err)
	}
}

func jsonNumber(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}
