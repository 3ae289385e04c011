package model

import (
	"math"
	"slices"
	"testing"
)

func TestStretchesOfTheHeadAreInvisible(t *testing.T) {
	m := testModel(t, odd(experts), 9)
	b := testBatch(m.config, 10, 101, 40, 150, 60)
	pass := func(rows int) (p *Pass, loss float64, logits []float32) {
		p = NewPass(m, testPool(t, 2), 400)
		p.head.rows = min(p.head.rows, rows)
		loss, err := p.Gradients(b)
		if err != nil {
			t.Fatal(err)
		}
		logits, err = p.Logits(b)
		if err != nil {
			t.Fatal(err)
		}
		return p, loss, logits
	}
	whole, loss, logits := pass(480)
	parts, partsLoss, partsLogits := pass(blockRows)
	if whole.head.step < len(whole.lossAt) || parts.head.step != blockRows || len(parts.lossAt) <= 2*blockRows {
		t.Fatalf("%d loss positions in stretches of %d and of %d, want one and at least three", len(parts.lossAt), whole.head.step, parts.head.step)
	}
	if loss != partsLoss || !slices.Equal(whole.TokenLosses(), parts.TokenLosses()) || !slices.Equal(logits, partsLogits) {
		t.Error("losses or logits are others where the head works in stretches")
	}
	for i, g := range whole.grad {
		if math.Abs(float64(g-parts.grad[i])) > 1e-6 {
			t.Fatalf("gradient %d is %v in stretches, want %v", i, parts.grad[i], g)
		}
	}
	if forward, err := parts.Forward(b); err != nil || forward != loss {
		t.Errorf("the loss is %v without gradients (%v), want %v", forward, err, loss)
	}
}

func TestStretchesAreBounded(t *testing.T) {
	for _, test := range []struct{ vocab, tokens, want int }{
		{1024, 4096, 1920}, // 2 MiB of elements, in pairs of blocks
		{389, 2048, 2112},  // the whole batch
		{49152, 4096, 384}, // at least four blocks
		{49152, 100, 192},
	} {
		if got := stretch(test.vocab, test.tokens); got != test.want {
			t.Errorf("vocabulary %d, %d tokens: stretches of %d rows, want %d", test.vocab, test.tokens, got, test.want)
		}
	}
	h := head{rows: 1920}
	var got [][2]int
	for h.begin(4096); h.next(); {
		got = append(got, [2]int{h.from, h.to})
	}
	if want := [][2]int{{0, 1536}, {1536, 3072}, {3072, 4096}}; !slices.Equal(got, want) {
		t.Errorf("stretches are %v, want %v", got, want)
	}
	for h.begin(0); h.next(); {
		t.Error("a batch without targets has a stretch")
	}
}
