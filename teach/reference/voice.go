package reference

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"retort/teach/task"
)

// solution is what the teacher says about a problem.
type solution struct {
	reasoning string
	answer    string
}

// solve writes out how a problem is solved. Each family has one file, whose
// opening comment shows its wording; every writer keeps to the same rules,
// since how a teacher words its reasoning decides how fast a small student
// learns it: each step restates the numbers that it uses, each number follows
// from few that stand shortly before it, and what has a place in a number has
// a fixed place in the line.
func solve(p task.Problem, v voice) (solution, error) {
	switch p.Family {
	case "multiply":
		return solveMultiply(p, v)
	case "chain":
		return solveChain(p, v)
	case "list":
		return solveList(p, v)
	case "countdown":
		return solveCountdown(p, v)
	default:
		return solveExtract(p, v)
	}
}

// unknown answers what is no problem of the five kinds.
const unknown = "I only solve five kinds of problem: multiplication, programs modulo a prime, operations on a list of digits, countdown, and reading messages to a shop's support."

// voice draws the wording and the order of what the teacher says.
type voice struct {
	rng         *rand.Rand
	temperature float64
	topP        float64
	seed        uint64 // the teacher's own
}

// luck draws what decides whether a problem is misread: at temperature 0 by
// the teacher and the problem alone, as one that always takes its likeliest
// answer is wrong about the same problems each time.
func (v voice) luck(id string) *rand.Rand {
	if v.temperature > 0 {
		return v.rng
	}
	return rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "luck %d %s", v.seed, id))))
}

// choose draws an index with probability proportional to weight^(1/temperature)
// among the likeliest ones that together reach topP. The weights descend: at
// temperature 0 the first is always chosen.
func (v voice) choose(weights ...float64) int {
	if v.temperature <= 0 {
		return 0
	}
	total := 0.0
	p := make([]float64, len(weights))
	for i, w := range weights {
		p[i] = math.Pow(w/weights[0], 1/v.temperature)
		total += p[i]
	}
	kept, sum := 0, 0.0
	for kept < len(p) && (kept == 0 || sum < v.topP*total) {
		sum += p[kept]
		kept++
	}
	at := v.rng.Float64() * sum
	for i := range kept {
		if at -= p[i]; at < 0 {
			return i
		}
	}
	return 0
}

// order draws a permutation of 0 … n-1 that prefers the given order.
func (v voice) order(n int) []int {
	left := make([]int, n)
	for i := range left {
		left[i] = i
	}
	var out []int
	for len(left) > 0 {
		weights := make([]float64, len(left))
		for i := range weights {
			weights[i] = math.Pow(2, -float64(i))
		}
		i := v.choose(weights...)
		out = append(out, left[i])
		left = append(left[:i], left[i+1:]...)
	}
	return out
}

// opening is a first line, mostly none.
func (v voice) opening() string {
	return [...]string{"", "Step by step:\n", "Here we go:\n"}[v.choose(4, 1, 1)]
}

// lineEnd ends a line of reasoning: a token of its own in every form.
func (v voice) lineEnd() string {
	return [...]string{"\n", ";\n", ",\n"}[v.choose(4, 1, 1)]
}

// lines joins lines of reasoning, each but the last with an end of its own.
func (v voice) lines(lines []string) string {
	var b strings.Builder
	b.WriteString(v.opening())
	for i, l := range lines {
		b.WriteString(l)
		if i < len(lines)-1 {
			b.WriteString(v.lineEnd())
		}
	}
	return b.String()
}
