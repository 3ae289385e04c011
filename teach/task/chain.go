package task

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Chain is a problem of the family chain: a straight-line program modulo a
// prime. Variable 0 is a, variable i is the result of step i-1.
type Chain struct {
	Modulus int         `json:"modulus"`
	Start   int         `json:"start"` // the value of a
	Steps   []ChainStep `json:"steps"`
}

// ChainStep computes a new variable from the previous one and a constant.
type ChainStep struct {
	Op      string `json:"op"` // "+", "-" or "*"
	Operand int    `json:"operand"`
}

// Apply returns the step's result before and after reduction.
func (s ChainStep) Apply(v, modulus int) (raw, reduced int) {
	switch s.Op {
	case "+":
		raw = v + s.Operand
	case "-":
		raw = v - s.Operand
	default:
		raw = v * s.Operand
	}
	return raw, ((raw % modulus) + modulus) % modulus
}

// Variable names the i-th variable: a, b, c, …
func (c Chain) Variable(i int) string { return string(rune('a' + i)) }

var chainModuli = []int{3, 5, 7, 11, 13, 17, 19, 23}

const maxChainSteps = 12

type chain struct{ modulus, lo, hi int }

func newChain(p Params) (Family, error) {
	f := &chain{modulus: 7}
	if p.Modulus != 0 {
		f.modulus = p.Modulus
	}
	if !slices.Contains(chainModuli, f.modulus) {
		return nil, fmt.Errorf("family chain: modulus is %d, must be one of the primes %v", f.modulus, chainModuli)
	}
	var err error
	f.lo, f.hi, err = pair("chain", "steps", p.Steps, [2]int{3, 5}, 1, maxChainSteps, true)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (*chain) Name() string             { return "chain" }
func (*chain) VerifiableIdentity() bool { return true }

var (
	chainOpenings = []string{"Work modulo %d:", "Run this modulo %d:", "Compute modulo %d:"}
	chainClosings = []string{"What is %s?", "Give %s."}
)

func (f *chain) Generate(rng *rand.Rand) Problem {
	c := Chain{Modulus: f.modulus, Start: rng.IntN(f.modulus)}
	for range span(rng, f.lo, f.hi) {
		op := [...]string{"+", "-", "*"}[rng.IntN(3)]
		lo := 1
		if op == "*" && f.modulus > 2 {
			lo = 2 // times one asks nothing
		}
		c.Steps = append(c.Steps, ChainStep{Op: op, Operand: span(rng, lo, f.modulus-1)})
	}
	open := fmt.Sprintf(pick(rng, chainOpenings), f.modulus)
	last := fmt.Sprintf(pick(rng, chainClosings), c.Variable(len(c.Steps)))
	return c.problem(open + "\n" + c.program() + last)
}

// program returns the lines of the program as the prompt shows them.
func (c Chain) program() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a=%d\n", c.Start)
	for i, s := range c.Steps {
		fmt.Fprintf(&b, "%s=%s%s%d\n", c.Variable(i+1), c.Variable(i), s.Op, s.Operand)
	}
	return b.String()
}

// identity returns the program without names of variables.
func (c Chain) identity() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chain:%d:%d", c.Modulus, c.Start)
	for _, s := range c.Steps {
		b.WriteString(s.Op + strconv.Itoa(s.Operand))
	}
	return b.String()
}

func (c Chain) value() int {
	v := c.Start % c.Modulus
	for _, s := range c.Steps {
		_, v = s.Apply(v, c.Modulus)
	}
	return v
}

func (c Chain) problem(prompt string) Problem {
	return Problem{Family: "chain", ID: c.identity(), Prompt: prompt, Answer: strconv.Itoa(c.value()), Data: encode(c)}
}

var (
	chainOpening = regexp.MustCompile(`^(?:Work|Run this|Compute) modulo (\d{1,3}):$`)
	chainStart   = regexp.MustCompile(`^([a-z]) ?= ?(\d{1,3})$`)
	chainLine    = regexp.MustCompile(`^([a-z]) ?= ?([a-z]) ?([-+*]) ?(\d{1,3})$`)
	chainClosing = regexp.MustCompile(`^(?:What is|Give) ([a-z])[.?]$`)
)

func (*chain) Parse(prompt string) (Problem, bool) { return parseChain(prompt) }

func parseChain(prompt string) (Problem, bool) {
	c, ok := readChain(prompt)
	if !ok {
		return Problem{}, false
	}
	return c.problem(prompt), true
}

func readChain(prompt string) (Chain, bool) {
	lines := strings.Split(squeeze(prompt), "\n")
	if len(lines) < 4 || len(lines) > maxChainSteps+3 {
		return Chain{}, false
	}
	open := chainOpening.FindStringSubmatch(lines[0])
	start := chainStart.FindStringSubmatch(lines[1])
	last := chainClosing.FindStringSubmatch(lines[len(lines)-1])
	if open == nil || start == nil || last == nil {
		return Chain{}, false
	}
	var c Chain
	c.Modulus, _ = strconv.Atoi(open[1])
	c.Start, _ = strconv.Atoi(start[2])
	if !slices.Contains(chainModuli, c.Modulus) {
		return Chain{}, false
	}
	seen, prev := start[1], start[1]
	for _, line := range lines[2 : len(lines)-1] {
		g := chainLine.FindStringSubmatch(line)
		if g == nil || g[2] != prev || strings.Contains(seen, g[1]) {
			return Chain{}, false
		}
		n, _ := strconv.Atoi(g[4])
		c.Steps = append(c.Steps, ChainStep{Op: g[3], Operand: n})
		prev, seen = g[1], seen+g[1]
	}
	return c, last[1] == prev
}

var chainReduced = regexp.MustCompile(`(?i)\(?\s*\bmod(?:ulo)?\b\.?\s*\d+\s*\)?`)

func (*chain) Verify(p Problem, content string) Verdict {
	var c Chain
	if err := json.Unmarshal(p.Data, &c); err != nil || c.Modulus < 2 {
		return Verdict{Reason: ReasonNoGold}
	}
	// "3 (mod 7)" is three.
	return verifyPlainNumber(chainReduced.ReplaceAllString(content, " "), strconv.Itoa(c.value()))
}

func (*chain) Mask(prompt string) string {
	if c, ok := readChain(prompt); ok {
		return strings.TrimSuffix(c.program(), "\n")
	}
	return prompt
}
