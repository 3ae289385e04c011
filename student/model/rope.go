package model

import "math"

// ropeTable holds the cosines and sines by which positions rotate pairs, each
// [positions, rope/2].
type ropeTable struct {
	half     int
	cos, sin []float32
}

// newRopeTable rounds frequencies and angles to float32 as transformers does,
// so that far positions agree with it. Frequencies are divided by factors, if there
// are any.
func newRopeTable(c Config, factors []float32, positions int) ropeTable {
	half := c.RopeDim / 2
	t := ropeTable{half: half, cos: make([]float32, positions*half), sin: make([]float32, positions*half)}
	for i := range half {
		freq := float32(1 / math.Pow(c.RopeTheta, float64(2*i)/float64(c.RopeDim)))
		if len(factors) > 0 {
			freq /= factors[i]
		}
		for pos := range positions {
			sin, cos := math.Sincos(float64(float32(pos) * freq))
			t.cos[pos*half+i], t.sin[pos*half+i] = float32(cos), float32(sin)
		}
	}
	return t
}

// at is the row of a position.
func (t *ropeTable) at(pos int) (cos, sin []float32) {
	i, j := pos*t.half, (pos+1)*t.half
	return t.cos[i:j:j], t.sin[i:j:j]
}
