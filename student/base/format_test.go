package base

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/exchange"
	"retort/internal/modelfile"
	"retort/student/tokenizer"
)

func TestSpecialTokensOfADirectory(t *testing.T) {
	for _, test := range []struct {
		words, specials, bos, eos string
	}{
		{`{"bos_token": "a", "eos_token": "b"}`, `{"bos_token": "c", "eos_token": "d"}`, "a", "b"},
		{`{"bos_token": {"content": "a", "lstrip": false}, "eos_token": {"content": "b"}}`, ``, "a", "b"},
		{`{"bos_token": null, "eos_token": "b"}`, `{"eos_token": "d"}`, "", "b"},
		{`{}`, `{"bos_token": {"content": "c"}, "eos_token": "d"}`, "c", "d"},
		{`{}`, ``, "", ""},
	} {
		dir := t.TempDir()
		writeWords(t, dir)
		os.WriteFile(filepath.Join(dir, wordsFile), []byte(test.words), 0o644)
		if test.specials != "" {
			os.WriteFile(filepath.Join(dir, specialsFile), []byte(test.specials), 0o644)
		}
		var b Base
		if err := b.readWords(dir); err != nil || b.BOS != test.bos || b.EOSToken != test.eos {
			t.Errorf("%s and %s give %q and %q, %v, want %q and %q", test.words, test.specials, b.BOS, b.EOSToken, err, test.bos, test.eos)
		}
	}
	dir := t.TempDir()
	writeWords(t, dir)
	os.WriteFile(filepath.Join(dir, specialsFile), []byte(`{"eos_token": 5}`), 0o644)
	if err := new(Base).readWords(dir); err == nil || !strings.Contains(err.Error(), specialsFile) {
		t.Errorf("a number for a token gives %v", err)
	}
}

func TestABaseIsTalkedWithAsItsFilesSay(t *testing.T) {
	end, _ := words().ID(tokenizer.ImEnd)
	pad, _ := words().ID(tokenizer.EndOfText)
	path, c := filepath.Join(t.TempDir(), "m.gguf"), kinds[0].config
	pairs := slices.DeleteFunc(metadata("llama", c), func(kv modelfile.KV) bool {
		return strings.HasSuffix(kv.Key, "_token_id") || strings.HasSuffix(kv.Key, "chat_template")
	})
	pairs = append(pairs,
		modelfile.KV{Key: "tokenizer.ggml.bos_token_id", Value: uint32(pad)}, modelfile.KV{Key: "tokenizer.ggml.eos_token_id", Value: uint32(end)},
		modelfile.KV{Key: "tokenizer.chat_template", Value: "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"})
	create(t, path, func(w io.Writer) error {
		return modelfile.WriteGGUF(w, pairs, tensors(newModel(t, c), false, ggufName))
	})
	b, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	b.EOS = []int32{pad, end} // as a generation_config.json may list them
	f, err := b.Format()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := f.Prompt([]exchange.Message{{Role: "user", Content: "the"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := words().Encode(tokenizer.EndOfText + "the" + tokenizer.ImEnd); !slices.Equal(ids, want) {
		t.Errorf("the prompt is %v, want %v", ids, want)
	}
	if s := f.Spec(); !slices.Equal(s.End, []int32{end, pad}) || s.BOS != tokenizer.EndOfText || s.EOS != tokenizer.ImEnd {
		t.Errorf("it is talked with by %+v", s)
	}
	b.ChatTemplate = "{% for %}"
	if _, err := b.Format(); err == nil {
		t.Error("a broken template passes")
	}
}

func TestTheTokenBeforeTextOfAGGUF(t *testing.T) {
	c := kinds[0].config
	id, _ := words().ID(tokenizer.ImStart)
	bos := modelfile.KV{Key: "tokenizer.ggml.bos_token_id", Value: uint32(id)}
	for _, test := range []struct {
		pre   string
		pairs []modelfile.KV
		want  bool
	}{
		{"qwen2", []modelfile.KV{bos}, false},
		{"qwen2", []modelfile.KV{bos, {Key: "tokenizer.ggml.add_bos_token", Value: true}}, true},
		{"llama-bpe", []modelfile.KV{bos}, true},
		{"llama-bpe", []modelfile.KV{bos, {Key: "tokenizer.ggml.add_bos_token", Value: false}}, false},
		{"llama-bpe", nil, false},
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		pairs := append(metadata("llama", c), test.pairs...)
		for i := range pairs {
			if pairs[i].Key == "tokenizer.ggml.pre" {
				pairs[i].Value = test.pre
			}
		}
		create(t, path, func(w io.Writer) error {
			return modelfile.WriteGGUF(w, pairs, tensors(newModel(t, c), false, ggufName))
		})
		b, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := b.Tokenizer.BOS(); ok != test.want || ok && got != id {
			t.Errorf("%s with %v: text begins with %d (%v)", test.pre, test.pairs, got, ok)
		}
	}
}
