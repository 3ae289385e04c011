package train

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestEverySequenceOnceAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.IntRange(1, 400), 1, 200).Draw(t, "lengths")
		p := newPacker(lengths, rapid.IntRange(1, 1000).Draw(t, "batchTokens"), rapid.Uint64().Draw(t, "seed"))
		for epoch := range 3 {
			p.load(epoch)
			var seen []int32
			for s := range p.ends {
				step := p.step(s)
				if len(step) == 0 {
					t.Fatalf("epoch %d step %d is empty", epoch, s)
				}
				seen = append(seen, step...)
			}
			slices.Sort(seen)
			for i, n := range seen {
				if int(n) != i || len(seen) != len(lengths) {
					t.Fatalf("epoch %d is not a permutation: %v", epoch, seen)
				}
			}
		}
	})
}

func TestStepsOfAnEpochAreOfOneSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	lengths := make([]int, 3001)
	longest := 0
	for i := range lengths {
		lengths[i] = 40 + rng.IntN(120)
		longest = max(longest, lengths[i])
	}
	p := newPacker(lengths, 2048, 1)
	for epoch := range 4 {
		p.load(epoch)
		if len(p.ends) != p.target() {
			t.Fatalf("epoch %d has %d steps, want %d", epoch, len(p.ends), p.target())
		}
		want := p.total / p.target()
		for s := range p.ends {
			if n := p.tokens(p.step(s)); n < want-longest || n > want+longest {
				t.Errorf("epoch %d step %d of %d has %d tokens, want %d ± %d", epoch, s, len(p.ends), n, want, longest)
			}
		}
	}
}

func TestEpochsDifferAndRepeat(t *testing.T) {
	lengths := slices.Repeat([]int{10, 20, 30}, 30)
	p, q := newPacker(lengths, 200, 9), newPacker(lengths, 200, 9)
	p.load(0)
	first := slices.Clone(p.order)
	p.load(1)
	if slices.Equal(first, p.order) {
		t.Error("two epochs have one order")
	}
	q.load(1) // as a resumed run does, without having loaded epoch 0
	if !slices.Equal(p.order, q.order) || !slices.Equal(p.ends, q.ends) {
		t.Error("an epoch depends on those before it")
	}
	other := newPacker(lengths, 200, 10)
	other.load(1)
	if slices.Equal(other.order, p.order) {
		t.Error("the order does not depend on the seed")
	}
}

func TestBudgetEndsWithTheStepThatReachesIt(t *testing.T) {
	lengths := slices.Repeat([]int{25}, 40) // 1,000 tokens an epoch, 10 steps
	p := newPacker(lengths, 100, 1)
	if s := p.measure(3, 0, 1); s.steps != 30 || s.tokens != 3000 || !slices.Equal(s.epochEnd, []int{10, 20, 30}) {
		t.Errorf("three epochs are %+v", s)
	}
	if s := p.measure(0, 1250, 1); s.steps != 13 || s.tokens != 1300 || !slices.Equal(s.epochEnd, []int{10, 13}) {
		t.Errorf("1,250 tokens are %+v", s)
	}
	if s := p.measure(0, 1, 1); s.steps != 1 || s.largest != 100 {
		t.Errorf("1 token is %+v", s)
	}
}

func TestScheduleWarmsUpAndEndsWithTheBudget(t *testing.T) {
	s := newSchedule(100, 0.1, 0.5)
	for _, c := range []struct {
		step int
		want float64
	}{{0, 0.1}, {4, 0.5}, {9, 1}, {10, 1}, {50, 1}, {51, 0.98}, {75, 0.5}, {99, 0.02}, {100, 0}} {
		if got := s.at(c.step); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("factor at step %d is %v, want %v", c.step, got, c.want)
		}
	}
	if flat := newSchedule(10, -1, -1); flat.at(0) != 1 || flat.at(9) != 1 {
		t.Error("a schedule without warm-up and decay is not flat")
	}
}
