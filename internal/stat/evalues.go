package stat

import (
	"cmp"
	"math"
	"slices"
)

// EBH is the e-BH procedure (Wang and Ramdas, J. R. Statist. Soc. B 84, 2022:
// 822–852): it rejects the k hypotheses with the largest e-values, for the
// largest k whose k-th largest e-value is at least n/(αk).
//
// It assumes that each e is a non-negative statistic whose mean under its own
// hypothesis is at most 1, and nothing else: the e-values may depend on one
// another in any way, and each may have been stopped at any time of its own.
// The expected share of false ones among those rejected is then at most α times
// the share of true hypotheses. An e that is NaN or negative counts as 0; a
// running maximum of an e-process is no e-value and breaks it. With α outside
// of (0, 1) nothing is rejected.
func EBH(e []float64, alpha float64) []bool {
	reject := make([]bool, len(e))
	if !(alpha > 0 && alpha < 1) {
		return reject
	}
	order := make([]int, len(e))
	for i := range order {
		order[i] = i
	}
	value := func(i int) float64 {
		if !(e[i] > 0) {
			return 0
		}
		return e[i]
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(value(j), value(i)) })
	n, most := float64(len(e)), 0
	for k := 1; k <= len(e); k++ {
		if float64(k)*value(order[k-1])*alpha >= n {
			most = k
		}
	}
	for _, i := range order[:most] {
		reject[i] = true
	}
	return reject
}

// Betting is an e-process of bets on the signs of numbers: E = Π e^{λt}/cosh(λt).
// Before each sign is seen its size |t| and the stake λ are fixed; whoever holds
// E ≥ 1/α at any time may stop and reject at level α (Ville's inequality).
//
// It assumes that, given everything seen before, |t| and λ, the sign of t is a
// fair coin. Then each factor has mean (e^{λ|t|} + e^{−λ|t|})/(2 cosh λt) = 1. It
// is conservative and exact in that sense for every number of bets, and stays so
// when one stops because of what one saw. Betting is not a p-value; Best is the
// largest E so far, and 1/Best is a p-value that holds at any time.
//
// The zero value has made no bets and is ready to use.
type Betting struct {
	logE, best float64
	bets       int
}

// Bet makes one bet: stake is λ, size is |t|, and win says whether the sign
// turned out to be the one that was bet on. A stake or size that is not a finite
// positive number is no bet and leaves E as it is.
func (b *Betting) Bet(stake, size float64, win bool) {
	x := stake * size
	if !(x > 0) || math.IsInf(x, 1) {
		return
	}
	// log(e^{±x}/cosh x) = ±x − x − log((1 + e^{−2x})/2)
	step := math.Ln2 - math.Log1p(math.Exp(-2*x))
	if !win {
		step -= 2 * x
	}
	b.bets++
	b.logE += step
	b.best = math.Max(b.best, b.logE)
}

// LogE returns the natural logarithm of E.
func (b *Betting) LogE() float64 { return b.logE }

// LogBest returns the logarithm of the largest E so far, at least 0.
func (b *Betting) LogBest() float64 { return b.best }

// Bets returns how many bets were made.
func (b *Betting) Bets() int { return b.bets }
