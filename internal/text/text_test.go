package text

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNormalizeMapsWhatLooksAlikeToOneText(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"Hello  World\n", "hello world"},
		{"ﬁne ＡＢＣ １２", "fine abc 12"},
		{"e\u0301t\u00e9", "\u00e9te\u0301"},
		{"a\u00a0b", "a b"},
	} {
		if Normalize(c.a) != Normalize(c.b) {
			t.Errorf("%q and %q: %q, %q", c.a, c.b, Normalize(c.a), Normalize(c.b))
		}
	}
	if Normalize("3+4") == Normalize("3-4") || Normalize("a.b") == Normalize("a b") {
		t.Error("Normalize drops what tells texts apart")
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"Don't panic: it's well-known.", []string{"don", "t", "panic", "it", "s", "well", "known"}},
		{"What is 3*4 - 5-6?", []string{"what", "is", "3", "*", "4", "-", "5", "-", "6"}},
		{"日本 has 2つ", []string{"日", "本", "has", "2", "つ"}},
		{"naïve café x2 🙂", []string{"naïve", "café", "x2", "🙂"}},
		{"한국어 텍스트", []string{"한국어", "텍스트"}},
	} {
		if diff := cmp.Diff(c.want, Words(c.in)); diff != "" {
			t.Errorf("Words(%q) (-want +got):\n%s", c.in, diff)
		}
	}
}

// vocabulary makes n words that are all different.
func vocabulary(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("w", i)
	}
	return out
}

func randomText(rng *rand.Rand, vocabulary []string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = vocabulary[rng.IntN(len(vocabulary))]
	}
	return out
}

// What the index reports is compared with looking at every pair.
func TestNearIndexAgreesWithComparingAllPairs(t *testing.T) {
	for _, threshold := range []float64{0.3, 0.5, 0.8, 0.95, 1} {
		rng := rand.New(rand.NewPCG(1, uint64(threshold*100)))
		x, err := NewNearIndex(threshold)
		if err != nil {
			t.Fatal(err)
		}
		var kept [][]string
		var sets [][]uint64
		var ids []int
		duplicates := 0
		words := vocabulary(400)
		for id := range 1500 {
			var s []string
			if len(kept) > 0 && rng.IntN(2) == 0 { // change some words of an earlier one
				s = append(s, kept[rng.IntN(len(kept))]...)
				for range rng.IntN(6) {
					s[rng.IntN(len(s))] = words[rng.IntN(len(words))]
				}
			} else {
				s = randomText(rng, words, 5+rng.IntN(60))
			}
			var want Near
			found := false
			set := shingleSet(s)
			for i := range sets {
				if j := jaccard(set, sets[i]); j >= threshold && (!found || j > want.Jaccard) {
					want, found = Near{ids[i], j}, true
				}
			}
			got, ok := x.Add(id, s)
			if ok != found || got != want {
				t.Fatalf("threshold %v, text %d: got %v %v, all pairs give %v %v", threshold, id, got, ok, want, found)
			}
			if found {
				duplicates++
			} else {
				kept, sets, ids = append(kept, s), append(sets, set), append(ids, id)
			}
		}
		if duplicates < 20 || x.Len() != len(kept) {
			t.Errorf("threshold %v: %d duplicates, %d of %d kept: the test does not test", threshold, duplicates, x.Len(), len(kept))
		}
	}
}

func TestBandsMissAtMostOneInTenThousandAtTheThreshold(t *testing.T) {
	for threshold := 0.05; threshold <= 1; threshold += 0.01 {
		rows, bands := bandsFor(threshold)
		miss := math.Pow(1-math.Pow(threshold, float64(rows)), float64(bands))
		if rows*bands > minHashes || miss > missAtMost && rows > 1 {
			t.Errorf("threshold %.2f: %d bands of %d, misses %v", threshold, bands, rows, miss)
		}
	}
}

func TestNearIndexReportsTheMostSimilar(t *testing.T) {
	x, err := NewNearIndex(0.4)
	if err != nil {
		t.Fatal(err)
	}
	v := vocabulary(60)
	x.Add(1, append(append([]string{}, v[:11]...), v[30:33]...)) // 9 of its 12 shingles are the query's
	x.Add(2, append(append([]string{}, v[8:20]...), v[40]))      // 10 of its 11
	if x.Len() != 2 {
		t.Fatalf("%d texts are held", x.Len())
	}
	if n, ok := x.Add(3, v[:20]); !ok || n.ID != 2 || n.Jaccard != 10.0/19 {
		t.Errorf("got %+v, %v", n, ok)
	}
}

// Real minima must behave like independent draws, or the bound above is
// fiction: the share of equal minima estimates the Jaccard similarity.
func TestMinimaEstimateSimilarity(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	x, err := NewNearIndex(0.5)
	if err != nil {
		t.Fatal(err)
	}
	for _, similarity := range []float64{0.2, 0.5, 0.8} {
		equal, n := 0, 0
		for range 200 {
			union := 100
			var a, b []uint64
			for i := range union {
				h := rng.Uint64()
				if i < int(similarity*float64(union)) {
					a, b = append(a, h), append(b, h)
				} else if i%2 == 0 {
					a = append(a, h)
				} else {
					b = append(b, h)
				}
			}
			x.sign(a)
			first := x.signature
			x.sign(b)
			for i := range first {
				n++
				if first[i] == x.signature[i] {
					equal++
				}
			}
		}
		if got := float64(equal) / float64(n); math.Abs(got-similarity) > 0.01 {
			t.Errorf("similarity %v is estimated as %v", similarity, got)
		}
	}
}

func TestNearIndexNeedsWordsAndAThreshold(t *testing.T) {
	x, err := NewNearIndex(0.5)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{nil, {Gap}, {Gap, Gap}} {
		for range 2 {
			if n, ok := x.Add(1, words); ok || x.Len() != 0 {
				t.Errorf("%q duplicates %v", words, n)
			}
		}
	}
	x.Add(7, []string{"two", "words"})
	if n, ok := x.Add(8, []string{"two", "words"}); !ok || n.ID != 7 || n.Jaccard != 1 {
		t.Errorf("two short texts that are equal: %v, %v", n, ok)
	}
	for _, bad := range []float64{0, -1, 1.01, math.NaN()} {
		if _, err := NewNearIndex(bad); err == nil {
			t.Errorf("threshold %v is accepted", bad)
		}
	}
}

func TestGapsBreakShinglesAndGrams(t *testing.T) {
	words := vocabulary(26)
	with := append(append(append([]string{}, words[:13]...), Gap), words[13:]...)
	count := func(w []string) (n int) {
		eachGram(w, GramWords, func(int, uint64) bool { n++; return true })
		return n
	}
	if count(words) != 14 || count(with) != 2 {
		t.Errorf("13-grams of 26 words: %d, with a gap in the middle: %d", count(words), count(with))
	}
	if a, b := shingleSet(words), shingleSet(with); len(a) != 24 || len(b) != 22 {
		t.Errorf("shingles: %d, with a gap: %d", len(a), len(b))
	}
}

func TestRollingHashIsTheHashOfTheGramAlone(t *testing.T) {
	words := randomText(rand.New(rand.NewPCG(9, 9)), vocabulary(50), 40)
	words[20] = Gap
	n := 0
	eachGram(words, 5, func(i int, h uint64) bool {
		n++
		alone, ok := wholeHash(words[i : i+5])
		if !ok || alone != h {
			t.Errorf("gram %d hashes to %x in the text and to %x alone", i, h, alone)
		}
		return true
	})
	if n != 16+15 {
		t.Errorf("%d grams", n)
	}
}

func TestOverlap(t *testing.T) {
	v := vocabulary(100)
	index := NewOverlapIndex()
	index.Add(10, v[:30])                                 // long
	index.Add(11, v[30:40])                               // ten words
	index.Add(12, v[40:44])                               // four words
	index.Add(13, append([]string{Gap}, v[50:53]...))     // masked, three words left
	index.Add(14, []string{v[60], Gap, v[61], Gap, v[0]}) // scattered
	cat := func(parts ...[]string) (out []string) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	for i, c := range []struct {
		words []string
		id    int
	}{
		{v[:30], 10},
		{cat(v[90:95], v[7:20], v[95:]), 10}, // thirteen words inside
		{cat(v[90:95], v[7:19], v[95:]), -1}, // twelve
		{cat(v[7:14], []string{Gap}, v[14:20]), -1},
		{cat(v[90:], v[30:40], v[90:]), 11}, // a text of ten words, whole
		{cat(v[90:], v[30:39], v[90:]), -1},
		{v[40:44], 12},
		{cat(v[90:], v[40:44]), -1}, // too few words to be a leak in another text
		{v[50:53], 13},
		{[]string{v[60], v[61], v[0]}, 14},
		{nil, -1},
	} {
		got, ok := index.Find(c.words)
		if ok != (c.id >= 0) || ok && got.ID != c.id {
			t.Errorf("case %d: %+v, %v, want %d", i, got, ok, c.id)
		}
	}
	if got, _ := index.Find(cat(v[90:95], v[7:20])); got.Words != strings.Join(v[7:20], " ") {
		t.Errorf("the piece is %q", got.Words)
	}
}

func TestSharedTextIsMaskedAndNothingElse(t *testing.T) {
	v := vocabulary(2000)
	rng := rand.New(rand.NewPCG(4, 4))
	before, middle := v[:10], v[10:16]
	var texts [][]string
	make1 := func() ([]string, []string) {
		a, b := randomText(rng, v[100:], 6), randomText(rng, v[100:], 8)
		all := append(append(append(append([]string{}, before...), a...), middle...), b...)
		want := append(append(append([]string{Gap}, a...), Gap), b...)
		return all, want
	}
	for range 30 {
		all, _ := make1()
		texts = append(texts, all)
	}
	s := LearnShared(texts)
	all, want := make1()
	if diff := cmp.Diff(want, s.Mask(all)); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
	if few := LearnShared(texts[:4]); len(few.Mask(all)) != len(all) {
		t.Error("four texts are enough to call a text shared")
	}
	var none *Shared
	if got := none.Mask(all); len(got) != len(all) {
		t.Error("an unknown source is masked")
	}
}
