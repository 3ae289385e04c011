package reference

import (
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"retort/teach/task"
)

func mustFamily(t testing.TB, name string, p task.Params) task.Family {
	t.Helper()
	f, err := task.New(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func speak(seed uint64, temperature float64) voice {
	return voice{rng: rand.New(rand.NewPCG(seed, 5)), temperature: temperature, topP: 1}
}

func TestEasyFamiliesAreAlwaysRight(t *testing.T) {
	for _, c := range []struct {
		name string
		p    task.Params
	}{
		{"multiply", task.Params{}}, {"multiply", task.Params{Digits: []int{4, 3}}}, {"multiply", task.Params{Digits: []int{1, 1}}},
		{"chain", task.Params{}}, {"chain", task.Params{Modulus: 23, Steps: []int{1, 12}}},
		{"list", task.Params{}}, {"list", task.Params{Length: []int{3, 10}, Operations: 6}},
	} {
		f := mustFamily(t, c.name, c.p)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 500 {
			p := f.Generate(rng)
			s, err := solve(p, speak(uint64(i), float64(i%3)))
			if err != nil {
				t.Fatal(err)
			}
			if v := f.Verify(p, s.answer); !v.Correct {
				t.Fatalf("%s is answered %q after\n%s\n%+v", p.Prompt, s.answer, s.reasoning, v)
			}
			checkArithmetic(t, p, s)
		}
	}
}

var equations = regexp.MustCompile(`(?:^|[ \n=])([0-9+*-]+)=(-?[0-9]+)`)

// checkArithmetic evaluates every equation that the reasoning states.
func checkArithmetic(t *testing.T, p task.Problem, s solution) {
	t.Helper()
	found := 0
	for _, e := range equations.FindAllStringSubmatch(s.reasoning, -1) {
		want, _ := strconv.Atoi(e[2])
		if got := evaluate(e[1]); got != want {
			t.Errorf("%s: the reasoning says %s=%s, which is %d:\n%s", p.Prompt, e[1], e[2], got, s.reasoning)
		}
		found++
	}
	if found == 0 && p.Family != "list" {
		t.Errorf("%s: no equation in\n%s", p.Prompt, s.reasoning)
	}
}

// evaluate computes a sum, a difference or a product.
func evaluate(s string) int {
	if x, y, ok := strings.Cut(s, "*"); ok {
		return evaluate(x) * evaluate(y)
	}
	sum := 0
	for _, part := range strings.Split(strings.ReplaceAll(s, "-", "+-"), "+") {
		n, _ := strconv.Atoi(part)
		sum += n
	}
	return sum
}

// The canonical wording, which a recipe's dataset hash depends on: a change of
// it needs another value of the constant wording.
func TestCanonicalWording(t *testing.T) {
	for _, c := range []struct{ prompt, reasoning, answer string }{
		{"What is 47*36?", `47*6:
7*6=42 4*6=24 24+4=28 0282
47*30:
7*3=21 4*3=12 12+2=14 1410
0282+1410:
2+0+0=02 8+1+0=09 2+4+0=06 0+1+0=01`, "1692"},
		{"Work modulo 7:\na=3\nb=a+4\nc=b-5\nd=c*6\nWhat is d?", "a=3\nb=a+4=3+4=7≡0\nc=b-5=0-5=-5≡2\nd=c*6=2*6=12≡5", "5"},
		{"Take the digits 31452, reverse them, add 3 to each modulo 10, sort them. Give the result.", "31452 reverse\n25413 add 3: 25 58 47 14 36\n58746 sort", "45678"},
		{"Make 19 from 2, 10 and 8, each once.", "19-10=9 19+10=29\n8+2=10 8-2=6 8*2=16 no\n19-8=11 19+8=27\n10+2=12 10-2=8 10*2=20 no\ngive up, nearest 10+10=20", "(8+2)+10"},
		{"Make 40 from 2, 10 and 8, each once.", "40-10=30 40+10=50 40/10=4\n8+2=10 8-2=6 8*2=16 no\n40-8=32 40+8=48 40/8=5\n10+2=12 10-2=8 10*2=20 no\ngive up, nearest 20+8=28", "(10*2)+8"},
		{"Make 12 from 2, 10 and 8, each once.", "12-10=2 12+10=22\n8+2=10 8-2=6 8*2=16 no\n12-8=4 12+8=20\n10+2=12 10-2=8 10*2=20 yes 20-8=12", "(10*2)-8"},
	} {
		p, ok := task.Parse(c.prompt)
		if !ok {
			t.Fatalf("%q does not parse", c.prompt)
		}
		s, err := solve(p, speak(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		if s.reasoning != c.reasoning || s.answer != c.answer {
			t.Errorf("%s\ngot:\n%s\n→ %s\nwant:\n%s\n→ %s", c.prompt, s.reasoning, s.answer, c.reasoning, c.answer)
		}
	}
}

// Over n problems the number that a teacher gets right is binomial: four
// standard deviations around 70 and 85% leave no room for luck.
func TestCountdownIsImperfectOnPurpose(t *testing.T) {
	const n = 4000
	for _, most := range []int{12, 20} {
		for _, temperature := range []float64{0, 1} {
			f := mustFamily(t, "countdown", task.Params{Max: most})
			rng := rand.New(rand.NewPCG(11, uint64(most)))
			right, gaveUp := 0, 0
			for i := range n {
				p := f.Generate(rng)
				s, err := solve(p, speak(uint64(i), temperature))
				if err != nil {
					t.Fatal(err)
				}
				v := f.Verify(p, s.answer)
				said := strings.Contains(s.reasoning, "give up")
				if v.Correct {
					right++
				} else if v.Reason != task.ReasonWrong {
					t.Errorf("%s: answer %q gets %+v: a try uses every number", p.Prompt, s.answer, v)
				}
				if said {
					gaveUp++
				}
				if said == v.Correct {
					t.Errorf("%s: answer %q, %+v, after\n%s", p.Prompt, s.answer, v, s.reasoning)
				}
				if k := CountTokens(s.reasoning); k > 124 {
					t.Errorf("%s: the search takes %d tokens:\n%s", p.Prompt, k, s.reasoning)
				}
				checkArithmetic(t, p, s)
			}
			share := float64(right) / n
			margin := 4 * math.Sqrt(0.8*0.2/n)
			if share-margin < 0.70 || share+margin > 0.85 {
				t.Errorf("numbers up to %d at temperature %v: %.3f±%.3f right, want it surely between 0.70 and 0.85", most, temperature, share, margin)
			}
			t.Logf("numbers up to %d at temperature %v: %.3f right", most, temperature, share)
		}
	}
}

func TestCountdownWithFourNumbersIsBounded(t *testing.T) {
	f := mustFamily(t, "countdown", task.Params{Numbers: 4, Max: 50})
	rng := rand.New(rand.NewPCG(3, 3))
	right := 0
	for i := range 500 {
		p := f.Generate(rng)
		s, err := solve(p, speak(uint64(i), 1))
		if err != nil {
			t.Fatal(err)
		}
		v := f.Verify(p, s.answer)
		if v.Correct {
			right++
		} else if v.Reason != task.ReasonWrong {
			t.Errorf("%s: answer %q gets %+v", p.Prompt, s.answer, v)
		}
		if k := CountTokens(s.reasoning); k > 400 {
			t.Errorf("%s: the search takes %d tokens", p.Prompt, k)
		}
		checkArithmetic(t, p, s)
	}
	if right < 150 || right == 500 {
		t.Errorf("%d of 500 right", right)
	}
}

func TestSamplesDiffer(t *testing.T) {
	for _, name := range task.Names() {
		f := mustFamily(t, name, task.Params{})
		rng := rand.New(rand.NewPCG(5, 6))
		different := map[float64]int{}
		for i := range 200 {
			p := f.Generate(rng)
			for _, temperature := range []float64{0, 0.5, 1} {
				a, errA := solve(p, speak(uint64(2*i), temperature))
				b, errB := solve(p, speak(uint64(2*i+1), temperature))
				if errA != nil || errB != nil {
					t.Fatal(errA, errB)
				}
				if a != b {
					different[temperature]++
				}
			}
		}
		if different[0] != 0 || different[1] < 120 || different[0.5] >= different[1] {
			t.Errorf("%s: of 200 pairs of samples so many differ, by temperature: %v", name, different)
		}
	}
}

func TestTokensAreTheTextAndNoMoreThanItsBytes(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		{"", 0}, {"What is 47*36?", 9}, {"b=a+4=3+4=7≡0\n", 14}, {" a  b", 3}, {"été 12", 4}, {"\xff\xfe", 2}, {"日本 語", 2},
	} {
		if got := CountTokens(c.text); got != c.want {
			t.Errorf("%q has %d tokens, want %d: %q", c.text, got, c.want, pieces(c.text))
		}
	}
}

func FuzzTokens(f *testing.F) {
	for _, s := range []string{"a b", "12 ≡\n", "\xf0\x9f", "  é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := pieces(text)
		if len(p) > len(text) || strings.Join(p, "") != text {
			t.Fatalf("%q is cut into %q", text, p)
		}
	})
}

func FuzzSolve(f *testing.F) {
	for _, name := range task.Names() {
		fam := mustFamily(f, name, task.Params{})
		for range 3 {
			f.Add(fam.Generate(rand.New(rand.NewPCG(1, 1))).Prompt)
		}
	}
	f.Add("What is 0*0?")
	f.Add("What is 00000001*99999999?")
	f.Add("Work modulo 23:\na=999\nb=a-999\nc=b*999\nGive c.")
	f.Add("Take the digits 9999999999999999, drop the first, drop the first, add 0 to each modulo 10. Give the result.")
	f.Add("Make 9999 from 9999, 9999, 1 and 9999, each once.")
	f.Add("Make 0 from 1, 1 and 1, each once.")
	f.Fuzz(func(t *testing.T, prompt string) {
		p, ok := task.Parse(prompt)
		if !ok {
			return
		}
		s, err := solve(p, speak(1, 1))
		if err != nil {
			t.Fatalf("%q: %v", prompt, err)
		}
		fam := mustFamily(t, p.Family, task.Params{})
		v := fam.Verify(p, s.answer)
		if imperfect := p.Family == "countdown" || p.Family == "extract"; !v.Correct && !(imperfect && v.Reason == task.ReasonWrong) {
			t.Fatalf("%q is answered %q after\n%s\n%+v", prompt, s.answer, s.reasoning, v)
		}
	})
}
