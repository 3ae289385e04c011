package train

import "math"

// schedule is the factor by which the learning rates are multiplied: a linear
// warm-up from the first step, a plateau at 1, and a linear decay that ends
// with the budget, so that the step after the last would have a rate of 0.
type schedule struct {
	steps, warm, decay int
}

func newSchedule(steps int, warmShare, decayShare float64) schedule {
	share := func(s float64) int { return int(math.Round(max(0, s) * float64(steps))) }
	return schedule{steps: steps, warm: share(warmShare), decay: share(decayShare)}
}

// at returns the factor for a step counted from 0.
func (s schedule) at(step int) float64 {
	f := 1.0
	if step < s.warm {
		f = float64(step+1) / float64(s.warm)
	}
	if left := s.steps - step; left < s.decay {
		f = min(f, float64(left)/float64(s.decay))
	}
	return f
}
