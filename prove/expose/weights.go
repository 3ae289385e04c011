package expose

import (
	"context"
	"fmt"
	"math"

	"retort/internal/kernel"
	"retort/student/model"
)

// Weights scores open weights in this process: a student of ours or an imported model.
// What does not fit into the model's positions is cut off at the end, in both arms
// alike; a pair whose prompt alone fills them says nothing, with 0 for both.
type Weights struct {
	Model  *model.Model
	Format Renderer
	Pool   *kernel.Pool
	On     func(done, of int) // told of progress; may be nil
}

const (
	scoreSlots = 16
	scoreRows  = 512 // of one call
)

// Score implements Scorer.
func (w *Weights) Score(ctx context.Context, pairs []Pair) ([]Scored, error) {
	longest := w.Model.Config().MaxPositions
	if longest > 4096 {
		longest = 4096
	}
	d := model.NewDecoder(w.Model, w.Pool, model.DecoderOptions{Slots: scoreSlots, MaxContext: longest})
	out := make([]Scored, len(pairs))
	var all []*sequence
	for i, p := range pairs {
		for arm, a := range p.Arms {
			ids, from, err := w.Format.Example(p.Messages, a.Reasoning, a.Content)
			if err != nil {
				return nil, fmt.Errorf("coin %d, answer %d: %w", p.Counter, arm+1, err)
			}
			out[i].Tokens[arm] = len(ids) - from
			ids = ids[:min(len(ids), longest)]
			if from >= len(ids) {
				continue
			}
			if from < 1 {
				return nil, fmt.Errorf("coin %d: nothing stands before the answer", p.Counter)
			}
			all = append(all, &sequence{ids: ids, from: from, to: &out[i].LogProb[arm]})
		}
	}
	vocab := w.Model.Config().VocabSize
	for next, rest := 0, all; len(rest) > 0; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// As many whole sequences as one call takes; a longer one goes in pieces.
		n, rows := 0, 0
		for n < len(rest) && n < scoreSlots && (n == 0 || rows+len(rest[n].ids) <= scoreRows) {
			rows += len(rest[n].ids)
			n++
		}
		for read := 0; ; read += scoreRows {
			var chunks []model.Chunk
			for slot, s := range rest[:n] {
				if read < len(s.ids) {
					chunks = append(chunks, model.Chunk{Slot: slot, Tokens: s.ids[read:min(len(s.ids), read+scoreRows)], Prompt: true, Wanted: model.EveryLogits})
				}
			}
			if len(chunks) == 0 {
				break
			}
			logits, err := d.Read(chunks)
			if err != nil {
				return nil, err
			}
			for _, c := range chunks {
				rest[c.Slot].add(read, len(c.Tokens), logits, vocab)
				logits = logits[len(c.Tokens)*vocab:]
			}
		}
		for slot := range n {
			d.Reset(slot)
		}
		rest = rest[n:]
		if next += n; w.On != nil {
			w.On(next/2, len(pairs))
		}
	}
	return out, nil
}

// sequence is one arm after its prompt.
type sequence struct {
	ids  []int32
	from int // where the answer begins
	to   *float64
}

// add takes the logits behind tokens [at, at+n) into account.
func (s *sequence) add(at, n int, logits []float32, vocab int) {
	for i := range n {
		if next := at + i + 1; next >= s.from && next < len(s.ids) {
			*s.to += logProb(logits[i*vocab:][:vocab], s.ids[next])
		}
	}
}

// logProb is the logarithm of the softmax of logits at one token.
func logProb(logits []float32, token int32) float64 {
	most := logits[0]
	for _, l := range logits {
		most = max(most, l)
	}
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l - most))
	}
	return float64(logits[token]-most) - math.Log(sum)
}
