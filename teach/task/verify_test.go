package task

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type answerCase struct {
	content string
	reason  string
}

func checkAnswers(t *testing.T, prompt string, cases []answerCase) {
	t.Helper()
	p, ok := Parse(prompt)
	if !ok {
		t.Fatalf("%q does not parse", prompt)
	}
	f, err := New(p.Family, Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		v := f.Verify(p, c.content)
		if v.Reason != c.reason || v.Correct != (c.reason == ReasonCorrect) {
			t.Errorf("%q: answer %q gets %+v, want %s", prompt, c.content, v, c.reason)
		}
	}
}

func TestMultiplyAcceptsEveryRightAnswer(t *testing.T) {
	checkAnswers(t, "What is 47*36?", []answerCase{
		{"1692", ReasonCorrect}, {" 1692.\n", ReasonCorrect}, {"1,692", ReasonCorrect}, {"1692.0", ReasonCorrect},
		{"47*36=1692", ReasonCorrect}, {"The answer is 1692.", ReasonCorrect}, {"**1692**", ReasonCorrect},
		{"The answer is 47*36 = 1692, as 47*30 = 1410.", ReasonCorrect},
		{`\boxed{1692}`, ReasonCorrect}, {"Answer: 1692 (that is 47 times 36)", ReasonCorrect},
		{"", ReasonNoAnswer}, {"I do not know.", ReasonNoAnswer},
		{"1693", ReasonWrong}, {"-1692", ReasonWrong}, {"16920", ReasonWrong}, {"1692.5", ReasonWrong},
		{"1692 or 1693", ReasonWrong}, {"16 92", ReasonWrong}, {"1692e1", ReasonWrong},
		{strings.Repeat("9", 10000), ReasonWrong},
	})
}

func TestChainAcceptsEveryRightAnswer(t *testing.T) {
	checkAnswers(t, "Work modulo 7:\na=3\nb=a+4\nc=b+3\nWhat is c?", []answerCase{
		{"3", ReasonCorrect}, {"c=3", ReasonCorrect}, {"c is 3 (mod 7).", ReasonCorrect}, {"3 modulo 7", ReasonCorrect},
		{"10", ReasonWrong}, {"-4", ReasonWrong}, {"7", ReasonWrong}, {"", ReasonNoAnswer}, {"mod 7", ReasonNoAnswer},
	})
}

func TestListAcceptsEveryRightAnswer(t *testing.T) {
	checkAnswers(t, "Take the digits 3145, reverse them, add 9 to each modulo 10. Give the result.", []answerCase{
		{"4302", ReasonCorrect}, {"4 3 0 2", ReasonCorrect}, {"[4, 3, 0, 2]", ReasonCorrect}, {"4,3,0,2.", ReasonCorrect},
		{"After reversing, 5413; after adding: 4302", ReasonCorrect},
		{"4320", ReasonWrong}, {"43020", ReasonWrong}, {"430", ReasonWrong}, {"2034", ReasonWrong}, {"4302, then 1", ReasonWrong},
		{"none", ReasonNoAnswer}, {"", ReasonNoAnswer},
	})
}

func TestCountdownAcceptsEveryValidExpression(t *testing.T) {
	checkAnswers(t, "Make 18 from 2, 10 and 8, each once.", []answerCase{
		{"(10-2)+8", ReasonWrong}, // 16
		{"10*2-8", ReasonWrong},
		{"2+8+10", ReasonWrong},
		{"10+8/2", ReasonWrong},
		{"2*8+10", ReasonWrong},
		{"10+2*8=18", ReasonWrong},
		{"10 8 2", ReasonUnparsable}, {"18", ReasonUnparsable}, {"no way", ReasonNoAnswer}, {"", ReasonNoAnswer},
		{"18+0*2", ReasonNumbers}, {"10+8", ReasonNumbers}, {"10+8+2-2", ReasonNumbers}, {"20-2", ReasonNumbers},
		{"10^2", ReasonUnparsable},
	})
	checkAnswers(t, "Make 20 from 2, 10 and 8, each once.", []answerCase{
		{"2+8+10", ReasonCorrect}, {"(2+8)+10 = 20", ReasonCorrect}, {"20 = 10+(8+2)", ReasonCorrect}, {"= 8+10+2", ReasonCorrect},
		{"The answer is 10 + 8 + 2.", ReasonCorrect}, {"- (2+8)+10", ReasonCorrect}, {"1) 2+8+10", ReasonCorrect},
		{"(namely 2+8+10)", ReasonCorrect}, {"$2 + 8 + 10 = 20$", ReasonCorrect}, {"10−(−8−2)", ReasonCorrect},
		{"2+8+10=21", ReasonWrong}, {"2+8+10=20=21", ReasonWrong}, {"2+8+10=20=20", ReasonCorrect}, {"(2+8+10", ReasonCorrect},
		{"2+8+10+0", ReasonNumbers}, {"2+8+1 0", ReasonUnparsable}, {"28+10", ReasonNumbers}, {"2+8+10*", ReasonUnparsable},
		{"2+8+10, but I am not sure: 2*8+10", ReasonWrong},
	})
	checkAnswers(t, "Make 6 from 4, 3 and 8, each once.", []answerCase{
		{"4*3/8", ReasonWrong}, {"8*3/4", ReasonCorrect}, {"8÷4×3", ReasonCorrect}, {"3 x 8 / 4", ReasonCorrect}, {"3/(4/8)", ReasonCorrect},
		{`\left(8 \div 4\right) \times 3`, ReasonCorrect}, {"[8/4]*3", ReasonCorrect}, {"8/(4/3)", ReasonCorrect}, {"8/(3-3)", ReasonNumbers},
	})
	checkAnswers(t, "Make 5 from 4, 4 and 5, each once.", []answerCase{
		{"5/(4-4)", ReasonWrong}, {"4-4+5", ReasonCorrect}, {"4/4*5", ReasonCorrect}, {"5*4/4", ReasonCorrect}, {"5+4-5", ReasonNumbers},
	})
}

// Every expression over the numbers that makes the target is right, however it
// is written, and becomes wrong when the target moves by one.
func TestCountdownJudgesRandomExpressions(t *testing.T) {
	f, err := New("countdown", Params{})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 9))
		n := 3 + rng.IntN(2)
		c := Countdown{}
		type made struct {
			num, den int64
			text     string
		}
		var terms []made
		for range n {
			v := span(rng, 1, 30)
			c.Numbers = append(c.Numbers, v)
			terms = append(terms, made{int64(v), 1, strconv.Itoa(v)})
		}
		for len(terms) > 1 {
			i := rng.IntN(len(terms) - 1)
			x, y, op := terms[i], terms[i+1], "+-*/"[rng.IntN(4)]
			m := made{text: "(" + x.text + ")" + string(op) + "(" + y.text + ")"}
			switch op {
			case '+':
				m.num, m.den = x.num*y.den+y.num*x.den, x.den*y.den
			case '-':
				m.num, m.den = x.num*y.den-y.num*x.den, x.den*y.den
			case '*':
				m.num, m.den = x.num*y.num, x.den*y.den
			case '/':
				if y.num == 0 {
					return
				}
				m.num, m.den = x.num*y.den, x.den*y.num
			}
			terms = append(append(terms[:i:i], m), terms[i+2:]...)
		}
		v := terms[0]
		if v.num%v.den != 0 || v.num/v.den < 1 {
			return
		}
		c.Target = int(v.num / v.den)
		text := v.text
		if rng.IntN(2) == 1 {
			text = strings.NewReplacer("*", " × ", "/", " ÷ ", "-", " − ", "+", " + ").Replace(text)
		}
		if rng.IntN(2) == 1 {
			text += fmt.Sprintf(" = %d.", c.Target)
		}
		p := c.problem("")
		if got := f.Verify(p, text); !got.Correct {
			t.Fatalf("%v makes %d as %q, verdict %+v", c.Numbers, c.Target, text, got)
		}
		if p.Answer == "" {
			t.Fatalf("%v makes %d as %q, but no answer was found", c.Numbers, c.Target, text)
		}
		if got := f.Verify(p, p.Answer); !got.Correct {
			t.Fatalf("%v makes %d, own answer %q gets %+v", c.Numbers, c.Target, p.Answer, got)
		}
		c.Target++
		if got := f.Verify(c.problem(""), v.text); got.Correct {
			t.Fatalf("%v does not make %d as %q, verdict %+v", c.Numbers, c.Target, text, got)
		}
	})
}

func TestNumbersAreReadOutOfAnswers(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"#### 18", "18"}, {"so 3+4\n#### 1,234", "1234"}, {"#### $1,234.50", "1234.50"}, {"#### -5", "-5"}, {"He owes $-5", "-5"},
		{"It is 5 - 3 = 2", "2"}, {"It is 7-3", "3"}, {"x = -3", "-3"}, {"− 4", "-4"},
		{"The answer is 12.\nLet me check: 12/3 = 4.", "12"}, {"Answer: **42**", "42"}, {"the answer is 3 + 4 = 7", "7"},
		{"To answer the question, count 3 dogs and 5 cats. That makes 8.", "8"},
		{"it costs 0.75", "0.75"}, {"it costs .75", ".75"}, {"1,2,3", "3"}, {"10%", "10"}, {"nothing", ""}, {"####", ""},
		{"The answer is 5 or the answer is 6.", "6"},
	} {
		if got := extractNumber(c.content); got != c.want {
			t.Errorf("extractNumber(%q) = %q, want %q", c.content, got, c.want)
		}
	}
}

func FuzzCountdownAnswer(f *testing.F) {
	for _, s := range []string{"2+8+10", "(2+8)+10 = 20", "20=2+8+10", "--2+8+10", "((((2))))+8+10", "2+8+10)", "- 2+8+10", "2x8+10", `2\times8`, "2/(8-8)", "=", "(", "1)", "2+8+10=20="} {
		f.Add(s)
	}
	c := Countdown{Numbers: []int{2, 8, 10}, Target: 20}
	p := c.problem("")
	fam := &countdown{numbers: 3, max: 12}
	f.Fuzz(func(t *testing.T, content string) {
		v := fam.Verify(p, content)
		if v.Reason == "" || v.Correct != (v.Reason == ReasonCorrect) {
			t.Fatalf("%q gets %+v", content, v)
		}
		if !v.Correct {
			return
		}
		e, err := parseExpr(v.Answer)
		if err != nil {
			t.Fatalf("%q is right with the answer %q: %v", content, v.Answer, err)
		}
		got, err := e.value()
		if err != nil || got.RatString() != "20" || len(e.numbers(nil)) != 3 {
			t.Fatalf("%q is right with the answer %q, which is %v, %v", content, v.Answer, got, err)
		}
	})
}
