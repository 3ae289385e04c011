package stat

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// ConformalP returns the conformal p-value of a score against calibration scores
// in ascending order: (1 + how many of them are at least as high) / (n + 1).
//
// It assumes that the score and the calibration scores are exchangeable: drawn
// alike, and treated alike by whatever made scores of them. Then P(p ≤ t) ≤ t for
// every t, over draws of both. With one calibration set for many accounts their
// p-values depend on each other, and the rate that a given set realises varies:
// see SizeToHold.
func ConformalP(calibration []float64, score float64) float64 {
	i, _ := slices.BinarySearch(calibration, score)
	return float64(1+len(calibration)-i) / float64(len(calibration)+1)
}

// SizeToAttain returns how many calibration scores it takes for a conformal
// p-value to be as low as level at all: 1/(n + 1) ≤ level.
func SizeToAttain(level float64) int {
	if !(level > 0 && level < 1) {
		return math.MaxInt
	}
	return int(math.Ceil(1/level-1e-9)) - 1
}

// SizeToHold returns how many calibration scores it takes for the highest of them
// to be above the level's quantile with the given confidence, so that a threshold
// there realises at most the level: (1 − level)ⁿ ≤ 1 − confidence. It assumes that
// the calibration scores are independent.
func SizeToHold(level, confidence float64) int {
	if !(level > 0 && level < 1) || !(confidence > 0 && confidence < 1) {
		return math.MaxInt
	}
	return int(math.Ceil(math.Log1p(-confidence) / math.Log1p(-level)))
}

// Look is a time at which a p-value is looked at: once, and only there.
type Look struct {
	Weight float64 // of its e-value in the sum; 0 if it cannot reach its level
	Level  float64 // e = 1/Level where p ≤ Level, else 0
}

// PlanLooks shares a lifetime level among looks. Sizes are the calibration sizes of
// the looks in their order of importance. Of them it takes as many from the front
// as can all attain their share; a look's share is its weight times the level, and
// at least 1/(n + 1). Shares beyond that go to the looks in proportion to how much
// they were meant to have. It depends on the sizes alone, never on a score.
//
// With E = Σ weight · e over the looks reached, E ≥ 1/level as soon as one of them
// has p ≤ Level, so that P(E ever reaches 1/level) ≤ Σ Level ≤ level.
func PlanLooks(level float64, sizes []int, meant []float64) ([]Look, error) {
	if !(level > 0 && level < 1) || len(sizes) != len(meant) {
		return nil, fmt.Errorf("plan looks: level %v, %d sizes and %d weights: want a level between 0 and 1 and a weight for each size", level, len(sizes), len(meant))
	}
	plan := make([]Look, len(sizes))
	least, share := 0.0, 0.0
	var taken []int
	for i, n := range sizes {
		need := 1 / (level * float64(n+1))
		if n < 1 || least+need > 1 {
			continue
		}
		least += need
		share += meant[i]
		taken = append(taken, i)
		plan[i].Weight = need
	}
	for _, i := range taken {
		plan[i].Weight += (1 - least) * meant[i] / share
		plan[i].Level = plan[i].Weight * level
	}
	return plan, nil
}

// E returns the e-value of one look.
func (l Look) E(p float64) float64 {
	if l.Level == 0 || p > l.Level*(1+1e-12) {
		return 0
	}
	return 1 / l.Level
}

// DecoyE returns the e-value of a flagged group: (n + 1)/(1 + flagged decoys), of n
// decoys; of a group that is not flagged it is 0.
//
// It assumes that the group, were it innocent, and the decoys are exchangeable, and
// that the rule that flags treats them alike and without knowing which are decoys.
// The sum of it over all n + 1 is then at most n + 1, hence its mean at most 1.
func DecoyE(decoys, flagged int) float64 {
	if decoys < 0 || flagged < 0 || flagged > decoys {
		return 0
	}
	return float64(decoys+1) / float64(1+flagged)
}

// AtMost returns the largest count that n trials of the given probability exceed
// with probability at most 1 − confidence: the binomial quantile.
//
// It assumes independent trials. Counts of accounts that share an organisation are
// not: they spread more.
func AtMost(n int, probability, confidence float64) int {
	b := distuv.Binomial{N: float64(n), P: probability}
	for k := range n + 1 {
		if b.CDF(float64(k)) >= confidence {
			return k
		}
	}
	return n
}

// BulkDrift compares new scores with calibration scores where most accounts lie,
// and returns the p-value of their having one distribution there: of both samples
// only what is below the calibration's quantile is compared, by the two-sample test
// of Kolmogorov and Smirnov with its asymptotic distribution. What is above may
// differ: there are those that detection is for. Both samples are in ascending
// order.
//
// It assumes independent scores and about 50 of both below the quantile; with fewer
// it returns 1. Cutting both at a point of one of them makes it slightly
// conservative.
func BulkDrift(calibration, scores []float64, quantile float64) float64 {
	cut := int(quantile * float64(len(calibration)))
	if cut < 50 || cut >= len(calibration) {
		return 1
	}
	at := calibration[cut]
	m, _ := slices.BinarySearch(scores, at)
	if m < 50 {
		return 1
	}
	a, b := calibration[:cut], scores[:m]
	d, i, j := 0.0, 0, 0
	for i < len(a) && j < len(b) {
		v := min(a[i], b[j])
		for i < len(a) && a[i] <= v {
			i++
		}
		for j < len(b) && b[j] <= v {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n := float64(len(a)) * float64(len(b)) / float64(len(a)+len(b))
	return kolmogorov(math.Sqrt(n) * d)
}

// kolmogorov is the upper tail of Kolmogorov's distribution.
func kolmogorov(x float64) float64 {
	if x < 0.2 {
		return 1
	}
	sum, sign := 0.0, 1.0
	for k := 1.0; k <= 100; k++ {
		term := math.Exp(-2 * k * k * x * x)
		sum += sign * term
		sign = -sign
		if term < 1e-12 {
			break
		}
	}
	return min(1, max(0, 2*sum))
}
