package base

import (
	"encoding/json"
	"path/filepath"
	"slices"

	"retort/internal/modelfile"
	"retort/student/chat"
	"retort/student/tokenizer"
)

// Format is how one talks with the model: by its chat template, or as chat.Plain has
// it where the files have none. Of several tokens that end an answer the one that the
// tokenizer calls its end is the usual one.
func (b *Base) Format() (*chat.Format, error) {
	spec := b.spec()
	spec.End = slices.Clone(b.EOS)
	if id, ok := b.Tokenizer.ID(b.EOSToken); ok {
		if i := slices.Index(spec.End, id); i > 0 {
			spec.End = slices.Insert(slices.Delete(spec.End, i, i+1), 0, id)
		}
	}
	return chat.New(b.Tokenizer, spec)
}

// JinjaFile is the file of a Hugging Face directory whose chat template goes before the
// one in tokenizer_config.json.
const JinjaFile = jinjaFile

// ReadFormat reads from a Hugging Face directory how one talks with its model, end
// tokens in the order in which they stand there.
func ReadFormat(dir string) (*chat.Format, error) {
	var f struct {
		EOS ids `json:"eos_token_id"`
	}
	if err := readJSON(filepath.Join(dir, configFile), &f); err != nil {
		return nil, err
	}
	b := &Base{EOS: f.EOS}
	if err := b.readWords(dir); err != nil {
		return nil, err
	}
	return chat.New(b.Tokenizer, b.spec())
}

func (b *Base) spec() chat.Spec {
	return chat.Spec{Template: b.ChatTemplate, BOS: b.BOS, EOS: b.EOSToken, End: b.EOS}
}

// word is a special token's text, which a file may write as an object.
type word string

// UnmarshalJSON implements json.Unmarshaler.
func (w *word) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		var token struct {
			Content string `json:"content"`
		}
		err := json.Unmarshal(text, &token)
		*w = word(token.Content)
		return err
	}
	return json.Unmarshal(text, (*string)(w))
}

const specialsFile = "special_tokens_map.json"

// readSpecials reads the texts of the tokens that a template is told: those of
// tokenizer_config.json, else those of special_tokens_map.json.
func (b *Base) readSpecials(dir string) error {
	for _, name := range []string{wordsFile, specialsFile} {
		var said struct {
			BOS word `json:"bos_token"`
			EOS word `json:"eos_token"`
		}
		if err := readOptional(filepath.Join(dir, name), &said); err != nil {
			return err
		}
		if b.BOS == "" {
			b.BOS = string(said.BOS)
		}
		if b.EOSToken == "" {
			b.EOSToken = string(said.EOS)
		}
	}
	return nil
}

// specialsOf takes them from GGUF's metadata.
func (b *Base) specialsOf(g *modelfile.GGUF) {
	b.BOS, b.EOSToken = specialOf(g, "bos"), specialOf(g, "eos")
}

func specialOf(g *modelfile.GGUF, key string) string {
	tokens, _ := g.Value("tokenizer.ggml.tokens").([]string)
	id, ok := g.Value("tokenizer.ggml." + key + "_token_id").(uint32)
	if !ok || uint64(id) >= uint64(len(tokens)) {
		return ""
	}
	return tokens[id]
}

// begins is the token that is put before text. Without a word on it, that is so by
// Llama 3's rule, as in llama.cpp.
func begins(g *modelfile.GGUF) string {
	add, ok := g.Value("tokenizer.ggml.add_bos_token").(bool)
	if !ok {
		add = g.Value("tokenizer.ggml.pre") == tokenizer.Llama3.String()
	}
	if !add {
		return ""
	}
	return specialOf(g, "bos")
}
