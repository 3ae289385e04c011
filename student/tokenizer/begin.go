package tokenizer

import (
	"errors"
	"fmt"
)

// BOS is the token that programs put before a text that they encode for the model, if
// its files ask for one, as Llama 3's do. Encode does not put it there; a chat template
// writes it out itself.
func (t *Tokenizer) BOS() (id int32, ok bool) { return t.bos, t.bos >= 0 }

// begin sets it by its text.
func (t *Tokenizer) begin(bos string) error {
	if bos == "" {
		return nil
	}
	id, ok := t.ID(bos)
	if !ok {
		return fmt.Errorf("the token %q, which is put before text, is not in the vocabulary", bos)
	}
	t.bos = id
	return nil
}

// Parts of a post-processor that puts tokens around text (TemplateProcessing).
type (
	pieceJSON struct {
		Special  *pieceID `json:"SpecialToken,omitempty"`
		Sequence *pieceID `json:"Sequence,omitempty"`
	}
	pieceID struct {
		ID   string `json:"id"`
		Type int    `json:"type_id"`
	}
	specialJSON struct {
		ID     string   `json:"id"`
		IDs    []int32  `json:"ids"`
		Tokens []string `json:"tokens"`
	}
)

// postProcessor is the step for offsets and, where text begins with a token, the one
// that puts it there.
func (t *Tokenizer) postProcessor(offsets *stepJSON) *stepJSON {
	if t.bos < 0 {
		return offsets
	}
	bos := string(t.tokens[t.bos])
	around := func(kind int, text string) []pieceJSON {
		return []pieceJSON{{Special: &pieceID{bos, kind}}, {Sequence: &pieceID{text, kind}}}
	}
	return &stepJSON{Type: "Sequence", Processors: []stepJSON{*offsets, {
		Type: "TemplateProcessing", Single: around(0, "A"), Pair: append(around(0, "A"), around(1, "B")...),
		SpecialTokens: map[string]specialJSON{bos: {bos, []int32{t.bos}, []string{bos}}},
	}}}
}

// begins is the text of the token that the post-processor puts before text; "" if none.
// What it puts elsewhere is refused.
func (f *fileJSON) begins() (string, error) {
	if f.PostProcessor == nil {
		return "", nil
	}
	steps := []stepJSON{*f.PostProcessor}
	if f.PostProcessor.Type == "Sequence" {
		steps = f.PostProcessor.Processors
	}
	bos := ""
	for _, s := range steps {
		switch s.Type {
		case "ByteLevel": // moves offsets only
		case "TemplateProcessing":
			pieces := s.Single
			if len(pieces) == 2 && pieces[0].Special != nil && bos == "" {
				bos, pieces = pieces[0].Special.ID, pieces[1:]
			}
			if len(pieces) != 1 || pieces[0].Sequence == nil || pieces[0].Sequence.ID != "A" {
				return "", errors.New("post_processor puts more around a text than one token before it")
			}
		default:
			return "", fmt.Errorf("post_processor has the step %s, want ByteLevel and TemplateProcessing", s.Type)
		}
	}
	return bos, nil
}
