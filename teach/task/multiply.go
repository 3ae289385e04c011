package task

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
)

// Multiply is a problem of the family multiply: A×B, as asked.
type Multiply struct {
	A int `json:"a"`
	B int `json:"b"`
}

// maxFactorDigits keeps products of two factors far inside an int.
const maxFactorDigits = 8

type multiply struct{ k, m int }

func newMultiply(p Params) (Family, error) {
	k, m, err := pair("multiply", "digits", p.Digits, [2]int{2, 2}, 1, maxFactorDigits, false)
	if err != nil {
		return nil, err
	}
	return &multiply{k: k, m: m}, nil
}

func (*multiply) Name() string             { return "multiply" }
func (*multiply) VerifiableIdentity() bool { return true }

var multiplyWordings = []string{"What is %d*%d?", "Work out %d*%d.", "Compute %d*%d."}

func (f *multiply) Generate(rng *rand.Rand) Problem {
	a, b := withDigits(rng, f.k), withDigits(rng, f.m)
	if rng.IntN(2) == 1 { // either factor may come first
		a, b = b, a
	}
	m := Multiply{A: a, B: b}
	return m.problem(fmt.Sprintf(pick(rng, multiplyWordings), a, b))
}

// withDigits draws a number of exactly n digits; of one digit, 0 and 1 are
// left out since they ask nothing.
func withDigits(rng *rand.Rand, n int) int {
	if n == 1 {
		return span(rng, 2, 9)
	}
	lo := 1
	for range n - 1 {
		lo *= 10
	}
	return span(rng, lo, 10*lo-1)
}

func (m Multiply) problem(prompt string) Problem {
	return Problem{
		Family: "multiply",
		ID:     fmt.Sprintf("multiply:%d*%d", min(m.A, m.B), max(m.A, m.B)),
		Prompt: prompt,
		Answer: strconv.Itoa(m.A * m.B),
		Data:   encode(m),
	}
}

var multiplyPrompt = regexp.MustCompile(`^(?:What is|Work out|Compute|Multiply) (\d{1,8}) ?(?:\*|×|x|times|by|and) ?(\d{1,8}) ?[.?]?$`)

func (*multiply) Parse(prompt string) (Problem, bool) { return parseMultiply(prompt) }

func parseMultiply(prompt string) (Problem, bool) {
	g := multiplyPrompt.FindStringSubmatch(squeeze(prompt))
	if g == nil {
		return Problem{}, false
	}
	var m Multiply
	m.A, _ = strconv.Atoi(g[1]) // at most 8 digits
	m.B, _ = strconv.Atoi(g[2])
	return m.problem(prompt), true
}

func (*multiply) Verify(p Problem, content string) Verdict {
	var m Multiply
	if err := json.Unmarshal(p.Data, &m); err != nil {
		return Verdict{Reason: ReasonNoGold}
	}
	return verifyPlainNumber(content, strconv.Itoa(m.A*m.B))
}

func (*multiply) Mask(prompt string) string {
	if g := multiplyPrompt.FindStringSubmatch(squeeze(prompt)); g != nil {
		return g[1] + "*" + g[2]
	}
	return prompt
}
