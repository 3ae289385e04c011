package stat

import (
	"cmp"
	"slices"
)

// BenjaminiHochberg rejects at a false discovery rate of alpha: the k hypotheses
// with the smallest p-values, for the largest k whose k-th smallest p is at most
// αk/n (J. R. Statist. Soc. B 57, 1995: 289–300).
//
// It assumes that the p-values of true hypotheses are independent of each other
// and of the rest, or positively dependent on each of them. The expected share of
// false ones among those rejected is then at most α times the share of true
// hypotheses. Where p-values share coins or were stopped early use EBH. NaN
// counts as 1. With α outside of (0, 1) nothing is rejected.
func BenjaminiHochberg(p []float64, alpha float64) []bool {
	reject := make([]bool, len(p))
	if !(alpha > 0 && alpha < 1) {
		return reject
	}
	order, most := ascending(p), 0
	for k := 1; k <= len(p); k++ {
		if orOne(p[order[k-1]]) <= alpha*float64(k)/float64(len(p)) {
			most = k
		}
	}
	for _, i := range order[:most] {
		reject[i] = true
	}
	return reject
}

// Holm returns p-values adjusted by Holm's step-down (Scand. J. Statist. 6, 1979:
// 65–70): the hypotheses with an adjusted p of at most α may be rejected together,
// and the chance that any true one is among them is at most α.
//
// It assumes only that each p is valid for itself; they may depend on one another
// in any way. It must be given every hypothesis that was examined, not those that
// look well. NaN counts as 1.
func Holm(p []float64) []float64 {
	adjusted := make([]float64, len(p))
	least := 0.0
	for k, i := range ascending(p) {
		least = max(least, min(1, float64(len(p)-k)*orOne(p[i])))
		adjusted[i] = least
	}
	return adjusted
}

// ascending returns the indices of p in the order of its values, equal ones as
// they stand.
func ascending(p []float64) []int {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(orOne(p[i]), orOne(p[j])) })
	return order
}

func orOne(p float64) float64 {
	if !(p >= 0) {
		return 1
	}
	return p
}
