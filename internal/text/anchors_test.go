package text

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Anchors are found wherever they stand, as searching for each would find them.
func TestAnchorsAreThoseThatASearchFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	pieces := []string{" ", "x", "i", "GPT", "g", "open", "llama ", "Claude", "cla", "通", "通义", "由", "\xff", "an ai", "n a", "meta ai", "Meta", "qwe", "qwen"}
	for i := range 6000 {
		var b strings.Builder
		most := 12
		if i%4 == 0 { // long enough to be read in lanes
			most = 400
		}
		for range rng.IntN(most) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		s, want := b.String(), uint32(0)
		for i := range identities {
			if slices.ContainsFunc(identities[i].anchors, func(a string) bool { return strings.Contains(strings.ToLower(s), a) }) {
				want |= 1 << i
			}
		}
		got := uint32(0)
		for _, h := range anchors.find(s) {
			got |= h.of
		}
		if got != want {
			t.Fatalf("%q: %b, want %b", s, got, want)
		}
		one := anchors.one(s, 0, nil)
		at := func(hits []hit) map[hit]bool {
			all := map[hit]bool{}
			for _, h := range hits {
				all[h] = true
			}
			return all
		}
		if a, b := at(one), at(anchors.find(s)); !maps.Equal(a, b) {
			t.Fatalf("%q: %v, want %v", s, b, a)
		}
	}
}

// Looking near the anchors alone finds what looking everywhere does.
func TestClaimsAreFoundFarIntoALongText(t *testing.T) {
	far := strings.Repeat("The wind blew over the hills, and nobody spoke. ", 200)
	for _, claim := range []string{"I am ChatGPT, a large language model.", "As an AI language model, I cannot.", "我是ChatGPT。", "Researchers from Large Model Systems Organization (LMSYS) created me."} {
		for _, s := range []string{claim + " " + far, far + claim, far + claim + " " + far, far + "OpenAI is a company. " + far + claim} {
			if got, want := patterns(s), patterns(claim); !slices.Equal(got, want) || len(got) == 0 {
				t.Errorf("%q in %d bytes: %v, want %v", claim, len(s), got, want)
			}
		}
	}
	if got := patterns(far + "When asked it says: \"I am ChatGPT" + far); len(got) > 0 {
		t.Errorf("a quotation is a claim: %v", got)
	}
}

// Texts made to be slow end: without bounds on what is looked at these take
// longer than a test may.
func TestHostileTextsEnd(t *testing.T) {
	for _, s := range []string{"\"I am ChatGPT, ", "I am not Claude. ", "gpt", "an ai ", "我是由"} {
		FindIdentity(strings.Repeat(s, 1<<18))
	}
}
