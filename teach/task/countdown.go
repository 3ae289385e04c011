package task

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Countdown is a problem of the family countdown: make the target from the
// numbers, each used exactly once, with + - * / and parentheses.
type Countdown struct {
	Numbers []int `json:"numbers"` // as asked
	Target  int   `json:"target"`
}

const (
	maxCountdown       = 100  // the largest number that a recipe may ask for
	maxCountdownTarget = 99   // of generated problems
	maxCountdownParsed = 9999 // of numbers and targets in prompts that people write
)

type countdown struct{ numbers, max int }

func newCountdown(p Params) (Family, error) {
	f := &countdown{}
	var err error
	if f.numbers, err = single("countdown", "numbers", p.Numbers, 3, 3, 4); err != nil {
		return nil, err
	}
	if f.max, err = single("countdown", "max", p.Max, 20, 4, maxCountdown); err != nil {
		return nil, err
	}
	return f, nil
}

func (*countdown) Name() string             { return "countdown" }
func (*countdown) VerifiableIdentity() bool { return true }

var countdownWordings = []string{
	"Make %[1]d from %[2]s, each once.",
	"Reach %[1]d with %[2]s, each once.",
	"Use %[2]s, each once, to make %[1]d.",
}

// Generate draws numbers and an expression over them; the target is what the
// expression comes to, so every problem has an answer.
func (f *countdown) Generate(rng *rand.Rand) Problem {
	for {
		c := Countdown{Numbers: make([]int, f.numbers)}
		for i := range c.Numbers {
			c.Numbers[i] = span(rng, 1, f.max)
		}
		var ok bool
		c.Target, ok = reach(rng, slices.Clone(c.Numbers))
		if !ok || c.Target > maxCountdownTarget || slices.Contains(c.Numbers, c.Target) {
			continue
		}
		return c.problem(fmt.Sprintf(pick(rng, countdownWordings), c.Target, c.list()))
	}
}

// reach combines two of the values at a time until one is left, or fails where
// a drawn operation gives no positive whole number.
func reach(rng *rand.Rand, values []int) (int, bool) {
	for len(values) > 1 {
		i := rng.IntN(len(values))
		x := values[i]
		values = slices.Delete(values, i, i+1)
		j := rng.IntN(len(values))
		v, ok := combine(rng, x, values[j])
		if !ok {
			return 0, false
		}
		values[j] = v
	}
	return values[0], true
}

// combine draws an operation on two positive whole numbers whose result is
// one too.
func combine(rng *rand.Rand, x, y int) (int, bool) {
	switch rng.IntN(7) {
	case 0:
		return x + y, true
	case 1, 2:
		return x - y, x > y
	case 3, 4, 5:
		return x * y, x > 1 && y > 1
	default:
		if y < 2 || x%y != 0 {
			return 0, false
		}
		return x / y, true
	}
}

// list writes the numbers as English lists them: "2, 10 and 8".
func (c Countdown) list() string {
	words := make([]string, len(c.Numbers))
	for i, n := range c.Numbers {
		words[i] = strconv.Itoa(n)
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func (c Countdown) problem(prompt string) Problem {
	sorted := slices.Sorted(slices.Values(c.Numbers))
	words := make([]string, len(sorted))
	for i, n := range sorted {
		words[i] = strconv.Itoa(n)
	}
	answer, _ := solveCountdown(sorted, c.Target)
	return Problem{
		Family: "countdown",
		ID:     fmt.Sprintf("countdown:%s=%d", strings.Join(words, ","), c.Target),
		Prompt: prompt,
		Answer: answer,
		Data:   encode(c),
	}
}

var countdownPrompt = regexp.MustCompile(
	`^(?:(?:Make|Reach) (\d{1,4}) (?:from|with) (\d[\d, ]*? and \d{1,4}), each once\.|Use (\d[\d, ]*? and \d{1,4}), each once, to make (\d{1,4})\.)$`)

func (*countdown) Parse(prompt string) (Problem, bool) { return parseCountdown(prompt) }

func parseCountdown(prompt string) (Problem, bool) {
	c, ok := readCountdown(prompt)
	if !ok {
		return Problem{}, false
	}
	return c.problem(prompt), true
}

func readCountdown(prompt string) (Countdown, bool) {
	g := countdownPrompt.FindStringSubmatch(squeeze(prompt))
	if g == nil {
		return Countdown{}, false
	}
	var c Countdown
	c.Target, _ = strconv.Atoi(g[1] + g[4]) // one of the two is empty
	for _, w := range strings.Split(strings.ReplaceAll(g[2]+g[3], " and ", ", "), ", ") {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 || n > maxCountdownParsed {
			return Countdown{}, false
		}
		c.Numbers = append(c.Numbers, n)
	}
	return c, len(c.Numbers) == 3 || len(c.Numbers) == 4
}

// Verify accepts any valid expression that uses each number exactly once and
// makes the target. Of several expressions the last one counts.
func (*countdown) Verify(p Problem, content string) Verdict {
	var c Countdown
	if err := json.Unmarshal(p.Data, &c); err != nil {
		return Verdict{Reason: ReasonNoGold}
	}
	stretches := exprStretch.FindAllString(plainSigns(content), -1)
	slices.Reverse(stretches)
	for _, s := range stretches {
		if !strings.ContainsAny(s, "+-*/") {
			continue
		}
		verdict, found := Verdict{}, false
		for _, q := range readings(s) {
			if q.expr.op == 0 {
				continue
			}
			if v := c.judge(q); !found || v.Correct {
				verdict, found = v, true
			}
		}
		if found {
			return verdict
		}
	}
	if len(stretches) > 0 {
		return Verdict{Reason: ReasonUnparsable}
	}
	return Verdict{Reason: ReasonNoAnswer}
}

func (c Countdown) judge(q equation) Verdict {
	v := Verdict{Reason: ReasonNumbers, Answer: q.text}
	used := q.expr.numbers(nil)
	slices.Sort(used)
	if !slices.EqualFunc(used, slices.Sorted(slices.Values(c.Numbers)), func(a int64, b int) bool { return a == int64(b) }) {
		return v
	}
	v.Reason = ReasonWrong
	target := new(big.Rat).SetInt64(int64(c.Target))
	if got, err := q.expr.value(); err != nil || got.Cmp(target) != 0 {
		return v
	}
	for _, side := range q.rest { // "= 18" may follow, "= 17" may not
		if side.op != 0 || side.number != int64(c.Target) {
			return v
		}
	}
	return Verdict{Correct: true, Reason: ReasonCorrect, Answer: q.text}
}

func (*countdown) Mask(prompt string) string {
	c, ok := readCountdown(prompt)
	if !ok {
		return prompt
	}
	return strings.ReplaceAll(c.list(), " and ", ", ") + " = " + strconv.Itoa(c.Target)
}

// solveCountdown finds one expression by trying all.
func solveCountdown(numbers []int, target int) (string, bool) {
	s := &solver{numbers: numbers, target: int64(target)}
	terms := make([]term, len(numbers))
	for i, n := range numbers {
		terms[i] = term{num: int64(n), den: 1, node: i}
	}
	if !s.search(terms, 0) {
		return "", false
	}
	return s.text(len(numbers) + len(numbers) - 2), true
}

// term is a value on the way to the target, an exact fraction. With up to four
// numbers of four digits every numerator and denominator fits in 64 bits.
type term struct {
	num, den int64
	node     int // how it was made: a number's index, or beyond them a step's
}

// solver searches depth first. A step takes two terms and makes one, so the
// steps on the way to a solution are those of each depth.
type solver struct {
	numbers []int
	target  int64
	steps   [3]struct {
		op          byte
		left, right int // nodes
	}
}

func (s *solver) search(terms []term, depth int) bool {
	if len(terms) == 1 {
		return terms[0].num == s.target*terms[0].den
	}
	for i, x := range terms {
		for j, y := range terms {
			if i == j {
				continue
			}
			var space [3]term
			rest := space[:0]
			for k, t := range terms {
				if k != i && k != j {
					rest = append(rest, t)
				}
			}
			for _, op := range []byte("+-*/") {
				if (op == '+' || op == '*') && i > j || op == '/' && y.num == 0 {
					continue
				}
				s.steps[depth].op, s.steps[depth].left, s.steps[depth].right = op, x.node, y.node
				if s.search(append(rest, x.with(y, op, len(s.numbers)+depth)), depth+1) {
					return true
				}
			}
		}
	}
	return false
}

func (x term) with(y term, op byte, node int) term {
	switch op {
	case '+':
		return term{x.num*y.den + y.num*x.den, x.den * y.den, node}
	case '-':
		return term{x.num*y.den - y.num*x.den, x.den * y.den, node}
	case '*':
		return term{x.num * y.num, x.den * y.den, node}
	}
	return term{x.num * y.den, x.den * y.num, node}
}

// text writes a node, with parentheses around each step inside of another.
func (s *solver) text(node int) string {
	if node < len(s.numbers) {
		return strconv.Itoa(s.numbers[node])
	}
	inner := func(n int) string {
		if n < len(s.numbers) {
			return s.text(n)
		}
		return "(" + s.text(n) + ")"
	}
	step := s.steps[node-len(s.numbers)]
	return inner(step.left) + string(step.op) + inner(step.right)
}
