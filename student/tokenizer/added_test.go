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
	var f struct {
		Model struct{ Vocab map[string]int32 }
	}
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

func TestATokenBeforeTextIsKnownAndNotEncoded(t *testing.T) {
	from := trained(t)
	if id, ok := from.BOS(); ok {
		t.Errorf("a tokenizer of our own begins text with %d", id)
	}
	plain := string(from.JSON())
	start, _ := from.ID(ImStart)
	post := `"post_processor": {"type": "Sequence", "processors": [
		{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
		{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
		 "pair": [], "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [` + jsonNumber(int(start)) + `], "tokens": ["<|im_start|>"]}}}]}, "decoder"`
	at := strings.Index(plain, `"post_processor"`)
	end := strings.Index(plain, `"decoder"`)
	with := func(post string) string { return plain[:at] + post + plain[end+len(`"decoder"`):] }
	tok, err := Parse([]byte(with(post)))
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.BOS(); !ok || id != start {
		t.Errorf("text begins with %d (%v), want %d", id, ok, start)
	}
	if got := tok.Encode("the"); !slices.Equal(got, from.Encode("the")) {
		t.Errorf("it is encoded to %v", got)
	}
	back, err := Parse(tok.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := back.BOS(); !ok || id != start || !bytes.Equal(back.JSON(), tok.JSON()) {
		t.Errorf("written and read, text begins with %d (%v)", id, ok)
	}
	only := strings.Replace(post, `{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, `, "", 1)
	if tok, err = Parse([]byte(with(only))); err != nil || !bytes.Equal(tok.JSON(), from.JSON()) {
		t.Errorf("of a post-processor that adds nothing: %v", err)
	}
	for want, bad := range map[string]string{
		"more around a text":  strings.Replace(post, `{"id": "A", "type_id": 0}}]`, `{"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}]`, 1),
		"step BertProcessing": strings.Replace(post, "TemplateProcessing", "BertProcessing", 1),
		`"<|nope|>"`:          strings.ReplaceAll(post, "<|im_start|>", "<|nope|>"),
	} {
		if _, err := Parse([]byte(with(bad))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error about %q", err, want)
		}
	}
}
