package tokenizer

import (
	"errors"
	"fmt"
	"strings"
)

// Vocabulary is a byte-level BPE vocabulary as GGUF's metadata hold it
// (tokenizer.ggml.*, model gpt2).
type Vocabulary struct {
	Pre    string   // llama.cpp's name of the rule that cuts text
	Tokens []string // by id, bytes in GPT-2's alphabet but for added tokens
	Types  []int32  // of each token
	Merges []string // "left right", by rank
	BOS    string   // the token that is put before text; "": none
}

// GGUF's types of tokens that are not cut out of text by merging.
const (
	typeControl = 3
	typeUser    = 4
)

// Tokenizer makes a tokenizer of the vocabulary.
func (v *Vocabulary) Tokenizer() (*Tokenizer, error) {
	rule, err := ruleOf(v.Pre)
	if err != nil {
		return nil, err
	}
	if len(v.Types) != len(v.Tokens) {
		return nil, fmt.Errorf("there are %d tokens and %d types of tokens", len(v.Tokens), len(v.Types))
	}
	if len(v.Tokens) > maxVocab || len(v.Merges) > maxVocab {
		return nil, fmt.Errorf("%d tokens and %d merges, at most %d are read", len(v.Tokens), len(v.Merges), maxVocab)
	}
	tokens, ids := make([][]byte, len(v.Tokens)), make(map[string]int32, len(v.Tokens))
	var added []addedToken
	for id, text := range v.Tokens {
		if text == "" {
			return nil, fmt.Errorf("token %d is empty", id)
		}
		if kind := v.Types[id]; kind == typeControl || kind == typeUser {
			tokens[id] = []byte(text)
			added = append(added, addedToken{int32(id), text, kind == typeControl})
			continue
		}
		if tokens[id], err = unvisible(text); err != nil {
			return nil, err
		}
		ids[text] = int32(id)
	}
	merges := make([]merge, len(v.Merges))
	for i, m := range v.Merges {
		left, right, ok := strings.Cut(m, " ")
		if !ok {
			return nil, fmt.Errorf("merge %d, %q, is not two tokens and a space", i, m)
		}
		if merges[i], err = mergeOf(ids, left, right); err != nil {
			return nil, fmt.Errorf("merge %d: %w", i, err)
		}
	}
	t, err := newTokenizer(tokens, merges, added)
	if err != nil {
		return nil, err
	}
	t.rule, t.wholeWords = rule, rule == Llama3
	return t, t.begin(v.BOS)
}

// errNoToken says that a merge has parts that are no tokens.
var errNoToken = errors.New("the vocabulary lacks a token of it")

func mergeOf(vocab map[string]int32, left, right string) (merge, error) {
	l, ok1 := vocab[left]
	r, ok2 := vocab[right]
	result, ok3 := vocab[left+right]
	if !ok1 || !ok2 || !ok3 {
		return merge{}, fmt.Errorf("%q and %q: %w", left, right, errNoToken)
	}
	return merge{l, r, result}, nil
}
