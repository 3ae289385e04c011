package task

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// families are one or more difficulties of each.
func families(t testing.TB) []Family {
	t.Helper()
	var out []Family
	for _, c := range []struct {
		name string
		p    Params
	}{
		{"multiply", Params{}}, {"multiply", Params{Digits: []int{3, 1}}},
		{"chain", Params{}}, {"chain", Params{Modulus: 13, Steps: []int{1, 12}}},
		{"list", Params{}}, {"list", Params{Length: []int{3, 10}, Operations: 6}},
		{"countdown", Params{}}, {"countdown", Params{Numbers: 4, Max: 100}},
		{"extract", Params{Words: []int{15, 60}}},
	} {
		f, err := New(c.name, c.p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func TestPromptsParseBackIntoTheirProblem(t *testing.T) {
	for i, f := range families(t) {
		t.Run(fmt.Sprintf("%s %d", f.Name(), i), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				p := f.Generate(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
				for how, parse := range map[string]func(string) (Problem, bool){"family": f.Parse, "package": Parse} {
					got, ok := parse(p.Prompt)
					if !ok {
						t.Fatalf("%s does not parse %q", how, p.Prompt)
					}
					if d := cmp.Diff(p, got); d != "" {
						t.Fatalf("%s parses %q into another problem:\n%s", how, p.Prompt, d)
					}
				}
				if v := f.Verify(p, p.Answer); !v.Correct || v.Reason != ReasonCorrect {
					t.Fatalf("%q: its own answer %q gets %+v", p.Prompt, p.Answer, v)
				}
				if m := f.Mask(p.Prompt); m == p.Prompt || m == "" {
					t.Fatalf("%q is masked as %q", p.Prompt, m)
				}
				if p.Family != f.Name() || !strings.HasPrefix(p.ID, p.Family+":") {
					t.Fatalf("%q is %s, %s", p.Prompt, p.Family, p.ID)
				}
			})
		})
	}
}

// The answers are computed here a second time, without the package's help.
func TestAnswersAreRight(t *testing.T) {
	for _, c := range []struct{ prompt, id, answer string }{
		{"What is 47*36?", "multiply:36*47", "1692"},
		{"Multiply 36 by 47.", "multiply:36*47", "1692"},
		{"Work modulo 7:\na=3\nb=a+4\nc=b-5\nd=c*6\nWhat is d?", "chain:7:3+4-5*6", "5"}, // 7→0, -5→2, 12→5
		{"Run this modulo 7:\n x = 3\ny = x*6\n\nGive y.", "chain:7:3*6", "4"},
		{"Take the digits 31452, reverse them, add 9 to each modulo 10, rotate them left. What is the result?", "list:31452,reverse,add9,rotate", "43021"},
		{"Given the digits 9075, sort them, swap first and last, drop the first. Give the result.", "list:9075,sort,swap,drop", "570"},
		{"Make 18 from 2, 10 and 8, each once.", "countdown:2,8,10=18", "2*(8-10)"},
	} {
		p, ok := Parse(c.prompt)
		if !ok {
			t.Errorf("%q does not parse", c.prompt)
			continue
		}
		if p.ID != c.id {
			t.Errorf("%q is %s, want %s", c.prompt, p.ID, c.id)
		}
		if p.Family != "countdown" && p.Answer != c.answer {
			t.Errorf("%q has the answer %s, want %s", c.prompt, p.Answer, c.answer)
		}
	}
}

func TestMirrorImagesAreOneProblem(t *testing.T) {
	for _, group := range [][]string{
		{"What is 47*36?", "Compute 36*47.", "Work out 36 times 47."},
		{"Make 18 from 2, 10 and 8, each once.", "Use 8, 2 and 10, each once, to make 18.", "Reach 18 with 10, 8 and 2, each once."},
		{"Work modulo 7:\na=3\nb=a+4\nWhat is b?", "Compute modulo 7:\np=3\nq=p+4\nGive q."},
		{"Take the digits 314, sort them. Give the result.", "Given the digits 314, sort them. What is the result?"},
	} {
		first, _ := Parse(group[0])
		for _, other := range group[1:] {
			if p, ok := Parse(other); !ok || p.ID != first.ID {
				t.Errorf("%q is %q, %q is %q", group[0], first.ID, other, p.ID)
			}
		}
	}
	for _, pair := range [][2]string{
		{"What is 47*36?", "What is 47*63?"},
		{"What is 1*11?", "What is 11*11?"},
		{"Make 18 from 2, 10 and 8, each once.", "Make 10 from 2, 18 and 8, each once."},
		{"Make 18 from 2, 2 and 8, each once.", "Make 18 from 2, 8 and 8, each once."},
		{"Work modulo 7:\na=3\nb=a+4\nWhat is b?", "Work modulo 5:\na=3\nb=a+4\nWhat is b?"},
		{"Take the digits 314, sort them, reverse them. Give the result.", "Take the digits 314, reverse them, sort them. Give the result."},
	} {
		p, ok1 := Parse(pair[0])
		q, ok2 := Parse(pair[1])
		if !ok1 || !ok2 || p.ID == q.ID {
			t.Errorf("%q and %q are both %q", pair[0], pair[1], p.ID)
		}
	}
}

func TestParametersAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Params
		want []string
	}{
		{"multiplyy", Params{}, []string{"multiplyy", "countdown"}},
		{"multiply", Params{Modulus: 7}, []string{"multiply", "modulus", "digits"}},
		{"multiply", Params{Digits: []int{2}}, []string{"digits", "two numbers"}},
		{"multiply", Params{Digits: []int{0, 2}}, []string{"digits", "1", "8"}},
		{"multiply", Params{Digits: []int{2, 9}}, []string{"digits", "1", "8"}},
		{"chain", Params{Modulus: 9}, []string{"modulus", "9", "primes"}},
		{"chain", Params{Steps: []int{5, 3}}, []string{"steps", "smaller"}},
		{"chain", Params{Steps: []int{3, 13}}, []string{"steps", "12"}},
		{"list", Params{Length: []int{2, 4}}, []string{"length", "3", "10"}},
		{"list", Params{Operations: 7}, []string{"operations", "6"}},
		{"countdown", Params{Numbers: 5}, []string{"numbers", "3", "4"}},
		{"countdown", Params{Max: 3}, []string{"max", "4", "100"}},
		{"countdown", Params{Digits: []int{2, 2}}, []string{"digits"}},
		{"extract", Params{Max: 5}, []string{"extract", "max", "words"}},
		{"extract", Params{Words: []int{30}}, []string{"words", "two numbers"}},
		{"extract", Params{Words: []int{5, 60}}, []string{"words", "15", "150"}},
		{"extract", Params{Words: []int{40, 50}}, []string{"words", "at least 15"}},
	} {
		f, err := New(c.name, c.p)
		if err == nil {
			t.Errorf("New(%s, %+v) made %T", c.name, c.p, f)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("New(%s, %+v): %q does not say %q", c.name, c.p, err, w)
			}
		}
	}
}

func TestSplitNeverMixesTrainingWithHeldout(t *testing.T) {
	for i, f := range families(t) {
		t.Run(fmt.Sprintf("%s %d", f.Name(), i), func(t *testing.T) {
			s, err := NewSplit(f, 7, 200)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, p := range s.Heldout {
				if seen[p.ID] {
					t.Errorf("%s is held out twice", p.ID)
				}
				seen[p.ID] = true
			}
			if len(s.Heldout) != 200 {
				t.Errorf("%d problems are held out, want 200", len(s.Heldout))
			}
			var prompts []string
			for p := range s.Train {
				if seen[p.ID] {
					t.Errorf("%s comes twice or is held out", p.ID)
				}
				seen[p.ID] = true
				if prompts = append(prompts, p.Prompt); len(prompts) == 1000 {
					break
				}
			}
			again, err := NewSplit(f, 7, 200)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a sequence that is read again starts again
				n := 0
				for p := range again.Train {
					if p.Prompt != prompts[n] {
						t.Fatalf("training problem %d is %q the second time, was %q", n, p.Prompt, prompts[n])
					}
					if n++; n == len(prompts) {
						break
					}
				}
			}
			if d := cmp.Diff(s.Heldout, again.Heldout); d != "" {
				t.Errorf("held-out problems differ the second time:\n%s", d)
			}
			other, err := NewSplit(f, 8, 200)
			if err != nil {
				t.Fatal(err)
			}
			if other.Heldout[0].Prompt == s.Heldout[0].Prompt && other.Heldout[1].Prompt == s.Heldout[1].Prompt {
				t.Error("another seed holds out the same problems")
			}
		})
	}
}

func TestSplitEndsWhenTheProblemsAreExhausted(t *testing.T) {
	f, err := New("multiply", Params{Digits: []int{1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	const space = 8 * 9 / 2 // products of 2 to 9, a×b and b×a as one
	s, err := NewSplit(f, 1, 6)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range s.Train {
		n++
	}
	if n != space-6 {
		t.Errorf("%d training problems, want %d", n, space-6)
	}
	if s, err = NewSplit(f, 1, space); err != nil || len(s.Heldout) != space {
		t.Errorf("holding out all gives %d, %v", len(s.Heldout), err)
	}
	if _, err = NewSplit(f, 1, space+1); err == nil || !strings.Contains(err.Error(), "36") {
		t.Errorf("holding out more than there are: %v", err)
	}
	if _, err = NewSplit(f, 1, -1); err == nil {
		t.Error("a negative number was held out")
	}
}

// How many of the words of all families of arithmetic a student must know
// decides how large its vocabulary must be.
func TestFewWordsAreUsed(t *testing.T) {
	words := map[string]bool{}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, f := range families(t) {
		if f.Name() == "extract" {
			continue
		}
		for range 300 {
			for _, w := range strings.FieldsFunc(f.Generate(rng).Prompt, func(r rune) bool { return r < 'A' || r > 'z' }) {
				words[w] = true
			}
		}
	}
	if len(words) > 80 {
		t.Errorf("prompts use %d words", len(words))
	}
}

func TestVerifyWithoutDataIsNoGold(t *testing.T) {
	for _, f := range families(t) {
		if v := f.Verify(Problem{Family: f.Name(), Data: json.RawMessage(`[`)}, "5"); v.Correct || v.Reason != ReasonNoGold {
			t.Errorf("%s: %+v", f.Name(), v)
		}
	}
}

func TestListOperationsKeepTheirArgument(t *testing.T) {
	for _, op := range []string{"reverse", "sort", "rotate", "swap", "drop", "add"} {
		in := []int{3, 1, 4, 2}
		ListOp{Name: op, N: 5}.Apply(in)
		if !slices.Equal(in, []int{3, 1, 4, 2}) {
			t.Errorf("%s changed its argument to %v", op, in)
		}
	}
}

func FuzzParse(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, fam := range families(f) {
		for range 3 {
			f.Add(fam.Generate(rng).Prompt)
		}
	}
	f.Add("Make 1 from 0, 0, 0 and 0, each once.")
	f.Add("Take the digits 1, drop the first, drop the first. Give the result.")
	f.Fuzz(func(t *testing.T, prompt string) {
		p, ok := Parse(prompt)
		if !ok {
			return
		}
		if p.Prompt != prompt || p.ID == "" {
			t.Fatalf("%q parses into %+v", prompt, p)
		}
		again, ok := Parse(p.Prompt)
		if !ok || again.ID != p.ID {
			t.Fatalf("%q parses into %s and then %s", prompt, p.ID, again.ID)
		}
		fam, err := New(p.Family, Params{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Answer != "" && !fam.Verify(p, p.Answer).Correct {
			t.Fatalf("%q: its own answer %q is refused: %+v", prompt, p.Answer, fam.Verify(p, p.Answer))
		}
	})
}

func TestNoiseThatHoldsADigitIsNoAnswer(t *testing.T) {
	f, err := New("chain", Params{})
	if err != nil {
		t.Fatal(err)
	}
	p := f.Generate(rand.New(rand.NewPCG(1, 1)))
	for _, content := range []string{p.Answer, "The answer is " + p.Answer + ".", "e=" + p.Answer, "**" + p.Answer + "**", "so it is " + p.Answer + "!"} {
		if v := f.Verify(p, content); !v.Correct {
			t.Errorf("%q is right, but judged %+v", content, v)
		}
	}
	for _, content := range []string{"_" + p.Answer + "_Ru", "step" + p.Answer, p.Answer + "\ufffd", "\x10" + p.Answer} {
		if v := f.Verify(p, content); v.Correct {
			t.Errorf("%q was taken for an answer", content)
		}
	}
}
