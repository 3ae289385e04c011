package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// ruleVectors are, by rule, how a tokenizer.json differs from testdata's and what
// Hugging Face tokenizers makes of some texts with it.
func ruleVectors(t *testing.T) (texts []string, rules []struct {
	Rule string
	File json.RawMessage
	IDs  [][]int32
}) {
	t.Helper()
	data, err := os.ReadFile("testdata/rules.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	var last struct{ Texts []string }
	if err := json.Unmarshal(all[len(all)-1], &last); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(append(append([]byte("["), bytes.Join(rawBytes(all[:len(all)-1]), []byte(","))...), ']'), &rules); err != nil {
		t.Fatal(err)
	}
	if len(rules) != 4 || len(last.Texts) < 200 {
		t.Fatalf("%d rules and %d texts", len(rules), len(last.Texts))
	}
	return last.Texts, rules
}

func rawBytes(raw []json.RawMessage) (out [][]byte) {
	for _, r := range raw {
		out = append(out, r)
	}
	return out
}

func TestEveryRuleCutsAsHuggingFaceDoes(t *testing.T) {
	texts, rules := ruleVectors(t)
	data, err := os.ReadFile("testdata/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		var file map[string]json.RawMessage
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		var parts struct {
			Normalizer   json.RawMessage
			PreTokenizer json.RawMessage `json:"pre_tokenizer"`
			IgnoreMerges bool            `json:"ignore_merges"`
		}
		if err := json.Unmarshal(r.File, &parts); err != nil {
			t.Fatal(err)
		}
		file["normalizer"], file["pre_tokenizer"] = parts.Normalizer, parts.PreTokenizer
		if parts.IgnoreMerges {
			file["model"] = bytes.Replace(file["model"], []byte(`"ignore_merges": false`), []byte(`"ignore_merges": true`), 1)
		}
		changed, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(changed)
		if err != nil {
			t.Fatalf("%s: %v", r.Rule, err)
		}
		again, err := Parse(tok.JSON())
		if err != nil {
			t.Fatalf("%s, written: %v", r.Rule, err)
		}
		if tok.rule.String() != r.Rule || !bytes.Equal(again.JSON(), tok.JSON()) {
			t.Errorf("%s is read as %s, or written otherwise than read", r.Rule, tok.rule)
		}
		fromGGUF, err := (&Vocabulary{Pre: r.Rule, Tokens: tok.VisibleTokens(), Types: types(tok), Merges: tok.VisibleMerges()}).Tokenizer()
		if err != nil {
			t.Fatalf("%s from GGUF: %v", r.Rule, err)
		}
		for i, text := range texts {
			if got := tok.Encode(text); !slices.Equal(got, r.IDs[i]) {
				t.Fatalf("%s: %q encodes to %v, want %v", r.Rule, text, got, r.IDs[i])
			}
			if got := again.Encode(text); !slices.Equal(got, r.IDs[i]) {
				t.Fatalf("%s, written: %q encodes to %v, want %v", r.Rule, text, got, r.IDs[i])
			}
			if got := fromGGUF.Encode(text); !tok.compose && !slices.Equal(got, r.IDs[i]) {
				t.Fatalf("%s from GGUF: %q encodes to %v, want %v", r.Rule, text, got, r.IDs[i])
			}
		}
	}
}

// types are GGUF's types of a tokenizer's tokens.
func types(t *Tokenizer) []int32 {
	all := slices.Repeat([]int32{1}, t.VocabSize())
	for _, a := range t.Added() {
		all[a.ID] = typeUser
		if a.Special {
			all[a.ID] = typeControl
		}
	}
	return all
}

func TestWholeWordsAreNotMerged(t *testing.T) {
	// "abc" is a token that merging never makes: "b c" comes first.
	tok := trained(t)
	v := Vocabulary{Pre: "llama-bpe", Tokens: tok.VisibleTokens()[:256], Merges: []string{"b c", "a b", "ab c"}}
	v.Tokens = append(v.Tokens, "bc", "ab", "abc")
	v.Types = slices.Repeat([]int32{1}, len(v.Tokens))
	whole, err := v.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	v.Pre = "gpt-2"
	parts, err := v.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if got := whole.Encode("abc"); !slices.Equal(got, []int32{258}) {
		t.Errorf("where whole words stand, abc is %v", got)
	}
	if got := parts.Encode("abc"); !slices.Equal(got, []int32{'a', 256}) {
		t.Errorf("where they do not, abc is %v", got)
	}
}

// As in Hugging Face tokenizers, what stands beside such a byte can be merged.
func TestBytesWithoutATokenAreLeftOut(t *testing.T) {
	tok := trained(t)
	v := Vocabulary{Pre: "gpt-2", Tokens: tok.VisibleTokens()[:256], Types: slices.Repeat([]int32{1}, 257), Merges: []string{"! !"}}
	v.Tokens[4], v.Tokens = "ĀĀ", append(v.Tokens, "!!")
	few, err := v.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{"\x04": nil, "a\x04b": {'a', 'b'}, "!\x04!": {256}} {
		if got := few.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func TestImpossibleVocabulariesAreRefused(t *testing.T) {
	tok := trained(t)
	for _, c := range []struct {
		want   string
		damage func(v *Vocabulary)
	}{
		{`rule "deepseek-llm"`, func(v *Vocabulary) { v.Pre = "deepseek-llm" }},
		{"types of tokens", func(v *Vocabulary) { v.Types = v.Types[1:] }},
		{"token 300 is empty", func(v *Vocabulary) { v.Tokens[300] = "" }},
		{"stands for no byte", func(v *Vocabulary) { v.Tokens[300] = "日" }},
		{"has two ids", func(v *Vocabulary) { v.Tokens[300], v.Merges = v.Tokens[301], nil }},
		{"not two tokens", func(v *Vocabulary) { v.Merges[3] = "ab" }},
		{"merge 3: ", func(v *Vocabulary) { v.Merges[3] = "日 本" }},
	} {
		v := Vocabulary{Pre: "qwen2", Tokens: tok.VisibleTokens(), Types: types(tok), Merges: tok.VisibleMerges()}
		c.damage(&v)
		if _, err := v.Tokenizer(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one that says %q", err, c.want)
		}
	}
	v := Vocabulary{Pre: "deepseek-llm"}
	if _, err := v.Tokenizer(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("of an unknown rule the error is %v", err)
	}
}
