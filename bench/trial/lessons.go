package trial

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"retort/student/chat"
	"retort/student/tokenizer"
	"retort/student/train"
	"retort/teach/dataset"
)

// Lessons are what the students of a seed learn from, as tokens, and answers that
// are kept from them.
type Lessons struct {
	Vocabulary int
	Train      []train.Sequence
	Heldout    []train.Sequence
}

// Text is an example before it is tokens.
type Text = dataset.Example

// Dataset runs the recipe under a seed for its dataset alone: the student of that
// run is trained for one step, and thrown away.
func (t *Trial) Dataset(seed int) ([]Text, error) {
	r, err := t.train("dataset", seed, func(recipe map[string]any) {
		prompts, _ := recipe["prompts"].([]any)
		for _, p := range prompts {
			if p, ok := p.(map[string]any); ok {
				p["heldout"] = 1 // Split holds out what students are measured on
			}
		}
		recipe["train"] = []any{map[string]any{"sft": map[string]any{"tokens": 1}}}
	})
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(r.Dir, "..", "..", "datasets", "*", dataset.DataFile))
	if err != nil || len(dirs) != 1 {
		return nil, errors.Join(err, fmt.Errorf("%d datasets of %s, want 1", len(dirs), r.Dir))
	}
	d, err := dataset.Open(filepath.Dir(dirs[0]))
	if err != nil {
		return nil, err
	}
	return d.Examples, nil
}

// Split trains a tokenizer on texts and holds one text in every so many out, drawn
// by the seed. Where everything is set the loss is taken on prompts too.
func Split(texts []Text, seed uint64, vocabulary, every int, everything bool) (Lessons, error) {
	tokens, err := tokenizer.Train(func(yield func(string) bool) {
		for _, e := range texts {
			for piece := range chat.Texts(e.Prompt, e.Reasoning, e.Answer) {
				if !yield(piece) {
					return
				}
			}
		}
	}, tokenizer.Options{VocabSize: vocabulary})
	if err != nil {
		return Lessons{}, err
	}
	l := Lessons{Vocabulary: tokens.VocabSize()}
	held := map[int]bool{}
	for _, i := range rand.New(rand.NewPCG(seed, uint64(len(texts)))).Perm(len(texts))[:len(texts)/every] {
		held[i] = true
	}
	format := chat.Own(tokens)
	for i, e := range texts {
		ids, from, err := format.Example(e.Prompt, e.Reasoning, e.Answer)
		if err != nil {
			return Lessons{}, err
		}
		if everything {
			from = 0
		}
		if s := (train.Sequence{Tokens: ids, ResponseFrom: from}); held[i] {
			l.Heldout = append(l.Heldout, s)
		} else {
			l.Train = append(l.Train, s)
		}
	}
	return l, nil
}
