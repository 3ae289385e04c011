package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRoundingToBFloat16(t *testing.T) {
	one, above := float32(1), math.Float32frombits(0x3f810000) // neighbours in bfloat16
	for _, c := range []struct{ x, want float32 }{
		{0, 0}, {one, one}, {-one, -one}, {above, above},
		{math.Float32frombits(0x3f808000), one},                              // a tie goes to the even one
		{math.Float32frombits(0x3f818000), math.Float32frombits(0x3f820000)}, // here upwards
		{math.Float32frombits(0x3f808001), above}, {math.Float32frombits(0x3f807fff), one},
		{math.MaxFloat32, float32(math.Inf(1))}, {float32(math.Inf(-1)), float32(math.Inf(-1))},
	} {
		got := []float32{c.x}
		roundBF16(got, got)
		if got[0] != c.want {
			t.Errorf("%v (%#x) is rounded to %v, want %v", c.x, math.Float32bits(c.x), got[0], c.want)
		}
	}
	nan := []float32{math.Float32frombits(0x7f800001)}
	if roundBF16(nan, nan); nan[0] == nan[0] {
		t.Errorf("a NaN is rounded to %v", nan[0])
	}
}

// TestInstructionsRoundAsWeDo: the machine's rounding is the one that is written
// out for machines without, but for subnormal numbers, which it takes for 0.
func TestInstructionsRoundAsWeDo(t *testing.T) {
	if !FastBF16() {
		t.Skip("this machine has no instructions for bfloat16")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, 1<<16+5)
	for i := range x {
		x[i] = math.Float32frombits(rng.Uint32())
	}
	want, got := make([]float32, len(x)), make([]uint16, padK(len(x)))
	roundBF16(want, x)
	convertRows(got, len(got), x, len(x), 1, len(x))
	for i, v := range want {
		bits := math.Float32bits(v)
		switch {
		case v != v:
			if g := math.Float32frombits(uint32(got[i]) << 16); g == g {
				t.Fatalf("%#x is a NaN and becomes %v", math.Float32bits(x[i]), g)
			}
		case math.Float32bits(x[i])&0x7f800000 == 0: // subnormal
			if got[i]&0x7fff != 0 {
				t.Fatalf("subnormal %#x becomes %#x", math.Float32bits(x[i]), got[i])
			}
		case uint32(got[i]) != bits>>16:
			t.Fatalf("%#x becomes %#x, want %#x", math.Float32bits(x[i]), got[i], bits>>16)
		}
	}
	for _, v := range got[len(x):] {
		if v != 0 {
			t.Fatal("what fills the last tile is not 0")
		}
	}
}
