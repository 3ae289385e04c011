package stat

import (
	"fmt"
	"math"
)

// SignFlip returns the natural logarithm of P(Σ ε·a ≥ sum) for independent fair
// signs ε and the sizes |a| of scores on an integer grid: the exact one-sided
// p-value of a sign-flip test whose observed sum is sum. A sum that no signs reach
// has probability 0, of which the logarithm is −Inf.
//
// It assumes that, under the hypothesis, the signs are fair coins independent of
// the sizes; nothing of how the sizes came about. The test is exact, hence
// conservative where the sum takes few values: P(p ≤ α) ≤ α for every α.
//
// The distribution comes by convolution, under the exponential tilt with which the
// observed sum is expected: P(Σ = x) = Π cosh θa · e^{−θx} · Q(x), where under Q the
// sign of a is positive with probability 1/(1 + e^{−2θa}). What is added up is then
// of ordinary size however small the result (10⁻³⁰⁰ and far below), every term is
// positive, and the relative error is a few units in the last place for each score.
// States of Q with less than 10⁻³⁰ in all are dropped and their weight is added to
// the result, so that it errs upwards.
func SignFlip(sizes []int, sum int) (logP float64, err error) {
	total, count := 0, 0
	abs := make([]int, 0, len(sizes))
	for _, a := range sizes {
		if a < 0 {
			a = -a
		}
		if a > 1<<20 {
			return 0, fmt.Errorf("sign-flip test: a score of %d: the grid goes to %d", a, 1<<20)
		}
		if a > 0 {
			abs = append(abs, a)
			total += a
			count++
		}
	}
	switch {
	case sum > total:
		return math.Inf(-1), nil
	case sum <= -total:
		return 0, nil
	case sum == total:
		return -float64(count) * math.Ln2, nil
	}
	theta := tilt(abs, sum)
	q := tilted{mass: []float64{1}}
	scale := 0.0 // log of Π cosh θa
	for _, a := range abs {
		x := 2 * theta * float64(a)
		q.add(a, 1/(1+math.Exp(-x)))
		scale += x/2 + math.Log1p(math.Exp(-x)) - math.Ln2
	}
	// With k the sum of the sizes whose sign is positive, Σ ε·a = 2k − total.
	tail := q.dropped
	for i, m := range q.mass {
		if x := 2*(q.lo+i) - total; x >= sum {
			tail += m * math.Exp(-theta*float64(x-sum))
		}
	}
	return min(0, scale-theta*float64(sum)+math.Log(tail)), nil
}

// tilt returns the θ ≥ 0 under which the expected sum Σ a·tanh θa is sum, or 0 if
// sum is not positive.
func tilt(sizes []int, sum int) float64 {
	if sum <= 0 {
		return 0
	}
	expected := func(theta float64) (e float64) {
		for _, a := range sizes {
			e += float64(a) * math.Tanh(theta*float64(a))
		}
		return e
	}
	hi := 1e-6
	for expected(hi) < float64(sum) && hi < 64 {
		hi *= 2
	}
	return bisect(0, hi, func(theta float64) bool { return expected(theta) < float64(sum) })
}

// tilted is a distribution over the integers from lo on.
type tilted struct {
	lo      int
	mass    []float64
	dropped float64
}

// add convolves with a variable that is a with probability p and else 0.
func (t *tilted) add(a int, p float64) {
	n := len(t.mass)
	t.mass = append(t.mass, make([]float64, a)...)
	m := t.mass
	for i := len(m) - 1; i >= a; i-- {
		stay := 0.0
		if i < n {
			stay = m[i]
		}
		m[i] = stay*(1-p) + m[i-a]*p
	}
	for i := range min(a, n) {
		m[i] *= 1 - p
	}
	// What is dropped at each end adds up to less than 10⁻³⁰ over a million scores.
	const least = 1e-36
	from, to, cut := 0, len(m), 0.0
	for from < to-1 && cut+m[from] < least {
		cut += m[from]
		from++
	}
	t.dropped += cut
	cut = 0
	for to-1 > from && cut+m[to-1] < least {
		cut += m[to-1]
		to--
	}
	t.dropped += cut
	if from > 0 {
		copy(m, m[from:to])
		t.lo += from
	}
	t.mass = m[:to-from]
}

// Mixture is the mean of several e-processes of bets on the same signs, each with a
// stake of its own: for a test that does not know how strong the effect will be. It
// costs the logarithm of their number against the best of them.
//
// Its assumption is that of Betting. A mean of e-processes is one.
type Mixture struct {
	stakes []float64
	bets   []Betting
	best   float64
}

// NewMixture makes a mixture of the given stakes.
func NewMixture(stakes ...float64) *Mixture {
	return &Mixture{stakes: stakes, bets: make([]Betting, len(stakes))}
}

// Bet makes one bet of every stake, as Betting.Bet.
func (m *Mixture) Bet(size float64, win bool) {
	for i := range m.bets {
		m.bets[i].Bet(m.stakes[i], size, win)
	}
	m.best = math.Max(m.best, m.LogE())
}

// LogE returns the natural logarithm of E; 0 for a mixture of nothing.
func (m *Mixture) LogE() float64 {
	if len(m.bets) == 0 {
		return 0
	}
	most := math.Inf(-1)
	for i := range m.bets {
		most = math.Max(most, m.bets[i].logE)
	}
	sum := 0.0
	for i := range m.bets {
		sum += math.Exp(m.bets[i].logE - most)
	}
	return most + math.Log(sum/float64(len(m.bets)))
}

// LogBest returns the logarithm of the largest E so far, at least 0: e^−LogBest is a
// p-value at any time.
func (m *Mixture) LogBest() float64 { return m.best }
