package constrain

import (
	"math/rand/v2"
	"testing"
)

// tryOut follows a few walks through a grammar from a stranger.
func tryOut(t *testing.T, g *Grammar) {
	v, end := vocabularyOf(everyday...)
	c := NewConstraint(g, v)
	for i := range 2 {
		m := c.NewMatcher()
		rng := rand.New(rand.NewPCG(uint64(i), 0))
		mask := make([]uint64, v.MaskLen())
		for step := 0; step < 12 && !m.Done(); step++ {
			if err := m.Allowed(mask); err != nil {
				if err != errWork {
					t.Fatalf("a dead end: %v", err)
				}
				break
			}
			at := rng.Int32N(end + 1)
			for mask[at>>6]>>(at&63)&1 == 0 {
				at = (at + 1) % (end + 1)
			}
			if err := m.Accept(at); err != nil && err != errWork {
				t.Fatalf("token %d was allowed but: %v", at, err)
			}
		}
	}
}

func FuzzSchema(f *testing.F) {
	for _, c := range schemaCases {
		f.Add(c.schema)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		if g, err := Schema([]byte(schema)); err == nil {
			tryOut(t, g)
		}
	})
}

func FuzzRegex(f *testing.F) {
	for _, p := range patterns {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if g, err := Regex(pattern); err == nil {
			tryOut(t, g)
		}
	})
}

func FuzzGBNF(f *testing.F) {
	for _, g := range []string{arithmetic, moves, anyJSON} {
		f.Add(g)
	}
	f.Fuzz(func(t *testing.T, grammar string) {
		if g, err := GBNF(grammar); err == nil {
			tryOut(t, g)
		}
	})
}
