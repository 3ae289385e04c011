package base

import (
	"math"

	"retort/student/model"
)

// RopeScaling is a rule by which rotary frequencies are divided by factors, as
// Hugging Face's files name it (rope_scaling) and say what it needs.
type RopeScaling struct {
	Type   string // "linear": all by Factor; "llama3": by 1 to Factor, more the longer the wave
	Factor float64

	// Of llama3: waves shorter than Original/High positions stay, those longer than
	// Original/Low are divided by Factor, the others in between.
	Low, High float64
	Original  int
}

// factors of the rule, for a model of c.
func (r RopeScaling) factors(c model.Config) ([]float32, error) {
	f := hfRope{Type: r.Type, Factor: r.Factor, Low: r.Low, High: r.High, Original: float64(r.Original)}
	return f.factors(c.RopeDim, c.RopeTheta)
}

// gives reports whether the rule gives want, up to what single precision costs those
// who compute it in another order.
func (r RopeScaling) gives(c model.Config, want []float32) bool {
	got, err := r.factors(c)
	if err != nil || len(got) != len(want) {
		return false
	}
	for i, v := range got {
		if !(math.Abs(float64(v)/float64(want[i])-1) < 1e-6) {
			return false
		}
	}
	return true
}

// RopeScalingOf finds the rule that gives a model's rotary factors; false if none does.
func RopeScalingOf(c model.Config, factors []float32) (RopeScaling, bool) {
	most := 0.0
	for _, f := range factors {
		most = max(most, float64(f))
	}
	if r := (RopeScaling{Type: "linear", Factor: most}); r.gives(c, factors) {
		return r, true
	}
	for _, r := range llama3(c, factors, most) {
		if r.gives(c, factors) {
			return r, true
		}
	}
	return RopeScaling{}, false
}

// llama3 are rules that may give factors, rounder numbers first. A factor f of a wave
// of length w says how far it is between the bounds: s = (1/f-1/most)/(1-1/most), which
// is (Original/w-Low)/(High-Low). Only the ratios of the three numbers count, so Low is
// 1 at first; what two waves do not determine is as in Meta's models.
func llama3(c model.Config, factors []float32, most float64) (rules []RopeScaling) {
	length := func(i int) float64 { return 2 * math.Pi * math.Pow(c.RopeTheta, float64(2*i)/float64(c.RopeDim)) }
	share := func(i int) float64 { return (1/float64(factors[i]) - 1/most) / (1 - 1/most) }
	var between []int
	stay := 0
	for i, f := range factors {
		switch {
		case f == 1:
			stay = i + 1
		case float64(f) < most:
			between = append(between, i)
		}
	}
	high, original := 4.0, 0.0
	switch n := len(between); {
	case n == 0 && stay < len(factors) && stay > 0:
		original = math.Sqrt(high * length(stay-1) * length(stay))
	case n == 0:
		return nil
	case n == 1:
		i := between[0]
		original = length(i) * (share(i)*(high-1) + 1)
	default:
		i, j := between[0], between[n-1]
		slope := (share(i) - share(j)) / (1/length(i) - 1/length(j)) // Original/(High-Low)
		offset := slope/length(i) - share(i)                         // Low/(High-Low)
		high, original = 1+1/offset, slope/offset
	}
	if !(original >= 0.5) || !(original < 1<<40) || !(high > 1) {
		return nil
	}
	whole := max(1, math.Round(original))
	low := whole / original
	return []RopeScaling{
		{Type: "llama3", Factor: most, Low: 1, High: math.Round(high*1000) / 1000, Original: int(whole)},
		{Type: "llama3", Factor: most, Low: low, High: high * low, Original: int(whole)},
	}
}
