package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// Text without long runs of marks is the library's; the long way gives the same there.
func TestCompositionIsUnicodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ranges := [][2]rune{
		{'a', 'z'}, {0x300, 0x36f}, {0xc0, 0x24f}, {0x1e00, 0x1fff}, {0x1100, 0x11ff}, {0xac00, 0xd7a3}, {0x900, 0x9ff}, {0xf00, 0xfbc},
		{0x1d15e, 0x1d16e}, {0x2f800, 0x2f8ff}, {0x591, 0x5c7}, {0x11080, 0x110ba}, {0xb40, 0xbd7}, {0x308, 0x345},
	}
	for range 20000 {
		var b strings.Builder
		for range rng.IntN(9) {
			r := ranges[rng.IntN(len(ranges))]
			b.WriteRune(r[0] + rng.Int32N(r[1]-r[0]+1))
		}
		s := b.String()
		want := norm.NFC.String(s)
		if got := composed(s); got != want {
			t.Fatalf("%+q becomes %+q, want %+q", s, got, want)
		}
		if got := string(compose(decompose(s))); got != want {
			t.Fatalf("%+q becomes %+q the long way, want %+q", s, got, want)
		}
	}
}

// As Hugging Face does it, and unlike the library, which inserts U+034F.
func TestLongRunsOfMarksGainNothing(t *testing.T) {
	acute := strings.Repeat("\u0301", 100)
	for _, c := range []struct{ in, want string }{
		{acute, acute},
		{"a" + acute, "á" + acute[2:]},
		{"e" + acute + "\u0327", "\u0229" + acute}, // the cedilla goes before them
		{"x" + acute + "e\u0301", "x" + acute + "é"},
	} {
		if got := composed(c.in); got != c.want {
			t.Errorf("%+q becomes %+q, want %+q", c.in, got, c.want)
		}
	}
}
