package trial

import "slices"

// NewReport makes an empty one of what a bench did, which Print appends to the
// file record unless that is "".
func NewReport(bench, what, record string) *Report {
	return &Report{bench: bench, what: what, record: record}
}

// Median adds a figure that is the median over rounds, with the lowest and the
// highest, and a line like Mean's.
func (r *Report) Median(name, what, form string, values []float64) {
	median, lo, hi := Middle(values), slices.Min(values), slices.Max(values)
	r.add(name, median, lo, hi)
	r.Line("%s: "+form+" ["+form+" to "+form+"]", what, median, lo, hi)
}

// Middle is the median of values.
func Middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
