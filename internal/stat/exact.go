package stat

import "gonum.org/v1/gonum/stat/distuv"

// LowerBound is the one-sided lower confidence bound of Clopper and Pearson
// (Biometrika 26, 1934: 404–413) for a proportion of which k of n were seen.
//
// It assumes independent draws. It is exact: it exceeds the proportion with a
// probability of at most 1 − confidence, for every proportion and n.
func LowerBound(k, n int, confidence float64) float64 {
	if k <= 0 || n <= 0 || confidence >= 1 {
		return 0
	}
	return distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.Quantile(1 - confidence)
}

// UpperBound is the one-sided upper bound, likewise.
func UpperBound(k, n int, confidence float64) float64 {
	if k >= n || n <= 0 || confidence >= 1 {
		return 1
	}
	return distuv.Beta{Alpha: float64(k + 1), Beta: float64(n - k)}.Quantile(confidence)
}
