package export

import (
	"fmt"
	"slices"

	"retort/internal/modelfile"
	"retort/student/chat"
	"retort/student/tokenizer"
)

// words is what a model's files say about text: its tokens, which of them begin and
// end, and how one talks with it.
type words struct {
	tok  *tokenizer.Tokenizer
	spec chat.Spec
	bos  int32 // -1: none
	eos  int32 // the usual end
	pad  int32 // fills batches: the last of the ends that is an added token
}

// newWords refuses tokens that other programs would take for something else.
func newWords(f *chat.Format) (words, error) {
	w := words{tok: f.Tokenizer(), spec: f.Spec(), bos: -1}
	w.eos = w.spec.End[0]
	for _, named := range []struct {
		role, text string
		id         *int32
	}{{"bos_token", w.spec.BOS, &w.bos}, {"eos_token", w.spec.EOS, &w.eos}} {
		if named.text == "" {
			continue
		}
		id, ok := w.added(named.text)
		if !ok {
			return w, fmt.Errorf("its %s %q is not one of its added tokens: other programs would make a new one of it", named.role, named.text)
		}
		*named.id = id
	}
	for _, id := range append([]int32{w.eos}, w.spec.End...) {
		if _, ok := w.added(w.text(id)); ok {
			w.pad = id
		} else if id == w.eos {
			return w, fmt.Errorf("the token %d (%q) that ends an answer is not one of its added tokens: it could be text", id, w.text(id))
		}
	}
	return w, nil
}

// added looks an added token up by its text.
func (w *words) added(text string) (int32, bool) {
	for _, a := range w.tok.Added() {
		if a.Content == text {
			return a.ID, true
		}
	}
	return 0, false
}

func (w *words) text(id int32) string { return string(w.tok.TokenBytes(id)) }

// begin and end are the tokens that a template is told, nil for none.
func (w *words) begin() *string { return orNil(w.spec.BOS) }
func (w *words) end() *string   { return orNil(w.spec.EOS) }

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// bosID is nil if nothing begins a conversation.
func (w *words) bosID() *int32 {
	if w.bos < 0 {
		return nil
	}
	return &w.bos
}

type generationJSON struct {
	BOS    *int32  `json:"bos_token_id,omitempty"`
	EOS    []int32 `json:"eos_token_id"`
	Pad    int32   `json:"pad_token_id"`
	Sample bool    `json:"do_sample"`
}

func (w *words) generation() generationJSON {
	return generationJSON{BOS: w.bosID(), EOS: w.spec.End, Pad: w.pad}
}

type tokenizerJSON struct {
	Class        string        `json:"tokenizer_class"`
	MaxLength    int           `json:"model_max_length"`
	BOS          *string       `json:"bos_token"`
	EOS          *string       `json:"eos_token"`
	Pad          string        `json:"pad_token"`
	Unk          *string       `json:"unk_token"`
	AddBOS       bool          `json:"add_bos_token"`
	CleanUp      bool          `json:"clean_up_tokenization_spaces"`
	AddedDecoder map[int32]any `json:"added_tokens_decoder"`
	ChatTemplate string        `json:"chat_template"`
}

type addedTokenJSON struct {
	Content    string `json:"content"`
	Lstrip     bool   `json:"lstrip"`
	Normalized bool   `json:"normalized"`
	Rstrip     bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
	Special    bool   `json:"special"`
}

func (w *words) tokenizerConfig(maxLength int) tokenizerJSON {
	_, adds := w.tok.BOS()
	f := tokenizerJSON{
		Class: "PreTrainedTokenizerFast", MaxLength: maxLength,
		BOS: w.begin(), EOS: w.end(), Pad: w.text(w.pad), AddBOS: adds,
		AddedDecoder: map[int32]any{}, ChatTemplate: w.spec.Template,
	}
	for _, a := range w.tok.Added() {
		f.AddedDecoder[a.ID] = addedTokenJSON{Content: a.Content, Special: a.Special}
	}
	return f
}

// specialTokens is special_tokens_map.json.
func (w *words) specialTokens() map[string]any {
	f := map[string]any{"pad_token": w.text(w.pad)}
	if w.spec.BOS != "" {
		f["bos_token"] = w.spec.BOS
	}
	if w.spec.EOS != "" {
		f["eos_token"] = w.spec.EOS
	}
	others := []string{}
	for _, a := range w.tok.Added() {
		if a.Special && a.ID != w.bos && a.ID != w.eos && a.ID != w.pad {
			others = append(others, a.Content)
		}
	}
	f["additional_special_tokens"] = others
	return f
}

// GGUF's types of tokens.
const (
	tokenNormal      = 1
	tokenControl     = 3
	tokenUserDefined = 4
	tokenUnused      = 5
)

// otherEnds are the keys of tokens besides the usual one that end an answer.
var otherEnds = []string{"eot", "eom"}

// ends are the ends besides the usual one that GGUF has to name: <|endoftext|> is one
// to llama.cpp by its text.
func (w *words) ends() []int32 {
	var ends []int32
	for _, id := range w.spec.End {
		if id != w.eos && w.text(id) != tokenizer.EndOfText {
			ends = append(ends, id)
		}
	}
	return ends
}

// vocabulary is what GGUF says of text, for a model of so many rows. Rows without a
// token get one that is not used, as llama.cpp's converter does it.
func (w *words) vocabulary(rows int) []modelfile.KV {
	tokens := w.tok.VisibleTokens()
	types := slices.Repeat([]int32{tokenNormal}, rows)
	for id := range rows {
		unused := fmt.Sprintf("[PAD%d]", id)
		if id >= len(tokens) {
			tokens = append(tokens, unused)
		}
		if tokens[id] == unused {
			types[id] = tokenUnused
		}
	}
	for _, a := range w.tok.Added() {
		types[a.ID] = tokenUserDefined
		if a.Special {
			types[a.ID] = tokenControl
		}
	}
	bos := w.bos
	if bos < 0 {
		bos = w.pad // a reader that finds none assumes id 11
	}
	kv := []modelfile.KV{
		{Key: "tokenizer.ggml.model", Value: "gpt2"},
		{Key: "tokenizer.ggml.pre", Value: w.tok.Rule().String()},
		{Key: "tokenizer.ggml.tokens", Value: tokens},
		{Key: "tokenizer.ggml.token_type", Value: types},
		{Key: "tokenizer.ggml.merges", Value: w.tok.VisibleMerges()},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(bos)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(w.eos)},
	}
	for i, id := range w.ends() {
		kv = append(kv, modelfile.KV{Key: "tokenizer.ggml." + otherEnds[i] + "_token_id", Value: uint32(id)})
	}
	_, adds := w.tok.BOS()
	return append(kv,
		modelfile.KV{Key: "tokenizer.ggml.padding_token_id", Value: uint32(w.pad)},
		modelfile.KV{Key: "tokenizer.ggml.add_bos_token", Value: adds},
		modelfile.KV{Key: "tokenizer.ggml.add_eos_token", Value: false},
		modelfile.KV{Key: "tokenizer.chat_template", Value: w.spec.Template},
	)
}
