package constrain

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// large is a vocabulary of 50,000 tokens with the lengths and the mixture of
// letters, spaces and punctuation of a trained one.
func large() *Vocabulary {
	rng := rand.New(rand.NewPCG(1, 1))
	letters := "etaoinshrdlucmfwypvbgkjqxz"
	seen := map[string]bool{}
	texts := append([]string(nil), everyday...)
	for len(texts) < 50_000-257 {
		var b []byte
		if rng.IntN(2) == 0 {
			b = append(b, ' ')
		}
		for range 1 + rng.IntN(9) {
			b = append(b, letters[min(rng.IntN(26), rng.IntN(26))])
		}
		switch rng.IntN(20) {
		case 0:
			b = append(b, `"},:[]{`[rng.IntN(7)])
		case 1:
			b = append(b, "é日ñ"...)
		}
		if !seen[string(b)] {
			seen[string(b)] = true
			texts = append(texts, string(b))
		}
	}
	v, _ := vocabularyOf(texts...)
	return v
}

const person = `{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"type":"string","maxLength":20}}},"required":["name","age","tags"],"additionalProperties":false}`

// Masks of a schema at places of different kinds, on 50,000 tokens: made anew,
// and seen before.
func BenchmarkMask(b *testing.B) {
	v := large()
	g, err := Schema([]byte(person))
	if err != nil {
		b.Fatal(err)
	}
	for _, at := range []struct{ name, text string }{{"start", ""}, {"string", `{"name":"An`}, {"bounded string", `{"name":"An","age":7,"tags":["x`}, {"number", `{"name":"An","age":1`}} {
		mask := make([]uint64, v.MaskLen())
		matcher := func(c *Constraint) *Matcher {
			m := c.NewMatcher()
			for i := range len(at.text) {
				if err := m.Accept(int32(at.text[i])); err != nil {
					b.Fatal(err)
				}
			}
			return m
		}
		b.Run(fmt.Sprintf("%s/new", at.name), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				m := matcher(NewConstraint(g, v))
				b.StartTimer()
				if err := m.Allowed(mask); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%s/seen", at.name), func(b *testing.B) {
			m := matcher(NewConstraint(g, v))
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Allowed(mask); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Schema([]byte(person)); err != nil {
			b.Fatal(err)
		}
	}
}
