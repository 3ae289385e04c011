package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// One packed copy of weights serves both directions, to the bits of two.
func TestPackedWeightsMultiplyBothWays(t *testing.T) {
	was := Active()
	defer use(was)
	for _, isa := range Available() {
		use(isa)
		rng := rand.New(rand.NewPCG(7, 8))
		s := new(Scratch)
		for _, shape := range [][3]int{{1, 1, 1}, {5, 33, 31}, {96, 64, 256}, {100, 300, 520}, {7, 257, 17}, {3, 512, 1}} {
			m, out, in := shape[0], shape[1], shape[2]
			w, dy := random(rng, out*in), random(rng, m*(out+3))
			for _, precision := range []Precision{F32, BF16} {
				if precision == BF16 && FastBF16() {
					continue
				}
				forward, backward := NewPackedB(precision), NewPackedB(precision)
				forward.Repack(NT, out, in, w, in, s)
				backward.Repack(NN, in, out, w, in, s)
				want, got := random(rng, m*(in+5)), random(rng, m*(in+5))
				copy(got, want)
				GemmPackedSerial(m, dy, out+3, backward, want, in+5, false, s)
				GemmPackedBackSerial(m, dy, out+3, forward, got, in+5, s)
				if !slices.Equal(got, want) {
					t.Errorf("%v, %v, %v: other bits than with a copy of its own", isa, shape, precision)
				}
			}
		}
		if !FastBF16() {
			continue
		}
		b := NewPackedB(BF16)
		b.Repack(NT, 2, 2, make([]float32, 4), 2, s)
		func() {
			defer func() {
				if v := fmt.Sprint(recover()); v != "kernel: B is packed in bfloat16 and cannot be transposed" {
					t.Errorf("%v: of a B in bfloat16 it says %s", isa, v)
				}
			}()
			GemmPackedBackSerial(1, make([]float32, 2), 2, b, make([]float32, 2), 2, s)
		}()
	}
}
