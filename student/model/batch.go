package model

import "fmt"

// Batch is one or more sequences, packed one after the other. Positions restart
// at 0 with each and attention does not cross from one into another.
type Batch struct {
	Tokens  []int32
	Targets []int32 // Targets[i] is what should follow Tokens[i]; -1: no loss there
	Starts  []int   // where each sequence starts in Tokens, ascending from 0

	// Draw names the random numbers by which an adapter's inputs are dropped
	// (LoRA.Dropout); where it is 0 nothing is dropped.
	Draw uint64

	// Weigh, if set, is what the cross-entropy of each position with a target counts,
	// instead of its share of their mean: a gradient is that of Σ Weigh(i, loss)·loss,
	// the weights taken for constants. i counts the positions that have a target. It is
	// called concurrently, once a position and pass.
	Weigh func(i int, loss float32) float32
}

// bounds of sequence s in Tokens.
func (b *Batch) bounds(s int) (from, to int) {
	if s+1 < len(b.Starts) {
		return b.Starts[s], b.Starts[s+1]
	}
	return b.Starts[s], len(b.Tokens)
}

// check reports what is wrong with b for a model of configuration c.
func (b *Batch) check(c Config, maxTokens int) error {
	if len(b.Tokens) == 0 {
		return fmt.Errorf("batch is empty")
	}
	if len(b.Tokens) > maxTokens {
		return fmt.Errorf("batch has %d tokens, more than the %d that the pass was made for", len(b.Tokens), maxTokens)
	}
	if len(b.Targets) != len(b.Tokens) {
		return fmt.Errorf("batch has %d targets for %d tokens", len(b.Targets), len(b.Tokens))
	}
	if len(b.Starts) == 0 || b.Starts[0] != 0 {
		return fmt.Errorf("batch's first sequence does not start at 0")
	}
	for s := range b.Starts {
		from, to := b.bounds(s)
		if to <= from {
			return fmt.Errorf("batch's sequence %d is empty: it starts at %d and ends at %d", s, from, to)
		}
		if to-from > c.MaxPositions {
			return fmt.Errorf("batch's sequence %d has %d tokens, more than the model's %d positions", s, to-from, c.MaxPositions)
		}
	}
	for i, t := range b.Tokens {
		if t < 0 || int(t) >= c.VocabSize {
			return fmt.Errorf("batch's token %d is %d, not in the vocabulary of %d", i, t, c.VocabSize)
		}
		if y := b.Targets[i]; y < -1 || int(y) >= c.VocabSize {
			return fmt.Errorf("batch's target %d is %d, not in the vocabulary of %d and not -1", i, y, c.VocabSize)
		}
	}
	return nil
}
