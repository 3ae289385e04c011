package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/prove/evidence"
	"retort/prove/expose"
	"retort/student/model"
	"retort/student/tokenizer"
)

// continuer goes on from a beginning of the assistant's turn, greedily: an API that
// takes a prefill.
type continuer struct {
	s    *student
	free chan *model.Decoder
}

func newContinuer(s *student, n int) (*continuer, func()) {
	c := &continuer{s, make(chan *model.Decoder, n)}
	pool := kernel.NewPool(1)
	for range 1 { // a pool serves one decoder at a time
		c.free <- model.NewDecoder(s.model, pool, model.DecoderOptions{})
	}
	return c, pool.Close
}

// Ask implements exchange.Asker.
func (c *continuer) Ask(_ context.Context, r exchange.Request) (*exchange.Exchange, error) {
	last := len(r.Messages) - 1
	ids, _, err := c.s.format.Example(r.Messages[:last], r.Messages[last].Content, "")
	if err != nil {
		return nil, err
	}
	tok := c.s.format.Tokenizer()
	end, ok := tok.ID(tokenizer.ThinkEnd)
	at := slices.Index(ids, end)
	if !ok || at < 0 {
		return nil, errors.New("the prefix holds no reasoning")
	}
	d := <-c.free
	defer func() { d.Reset(0); c.free <- d }()
	logits, err := d.Prefill(0, ids[:at])
	if err != nil {
		return nil, err
	}
	var said []int32
	for len(said) < r.MaxTokens && d.Len(0) < d.MaxContext()-1 {
		best := int32(0)
		for i, l := range logits {
			if l > logits[best] {
				best = int32(i)
			}
		}
		if best == end || c.s.format.Ends(best) {
			break
		}
		said = append(said, best)
		if logits, err = d.Read([]model.Chunk{{Tokens: []int32{best}}}); err != nil {
			return nil, err
		}
	}
	text := tok.Decode(said)
	if strings.HasPrefix(text, " ") || strings.HasSuffix(r.Messages[last].Content, " ") {
		text = strings.TrimSpace(text)
	} else if first, rest, ok := strings.Cut(text, " "); ok && first != "" && !strings.ContainsAny(first[:1], "\n") {
		text = rest // it completed the prefix's last word
	}
	return &exchange.Exchange{Answer: exchange.Answer{Content: text}}, nil
}

// text tests the suspect by what it says alone.
func text(ctx context.Context, w *world, s *student, n int, seed uint64) error {
	f := frameOf(expose.KindText)
	n = min(n, len(w.pairs))
	pairs, coins := w.pairs[:n], w.coins[:n]
	lines := expose.Lines(pairs)
	c, done := newContinuer(s, 1)
	defer done()
	t := &expose.Text{Asker: c, Prefill: true, Parallel: 1}
	best, at := 0.0, 0
	err := t.Ask(ctx, f, f.Suspect, lines, pairs, 50, func(asked int) bool {
		e, err := expose.LogE(f, lines, coins, f.Suspect)
		if err == nil && e > best {
			best, at = e, asked
		}
		return true
	})
	if err != nil {
		return err
	}
	e, err := expose.LogE(f, lines, coins, f.Suspect)
	if err != nil {
		return err
	}
	apart := 0
	for _, l := range lines {
		if m := l.Match["suspect"]; m[0] != m[1] {
			apart++
		}
	}
	fmt.Printf("\nseed %d, text alone: %d coins, %d queries, arms followed differently in %d; e = %s at the end, %s at best after %d coins\n\n", seed, n, 2*n, apart, evidence.FormatE(e), evidence.FormatE(best), at)
	return nil
}
