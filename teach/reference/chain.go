package reference

import (
	"encoding/json"
	"fmt"
	"strconv"

	"retort/teach/task"
)

// A program is run line by line. Modulo 7, a=3, b=a+4, c=b-5:
//
//	a=3
//	b=a+4=3+4=7≡0
//	c=b-5=0-5=-5≡2
//
// Each line is copied from the program, with the value of its variable, the
// result, and the result modulo the prime.
func solveChain(p task.Problem, v voice) (solution, error) {
	var c task.Chain
	if err := json.Unmarshal(p.Data, &c); err != nil {
		return solution{}, fmt.Errorf("read a chain: %w", err)
	}
	value := c.Start
	lines := []string{fmt.Sprintf("a=%d", value)}
	for i, s := range c.Steps {
		raw, reduced := s.Apply(value, c.Modulus)
		lines = append(lines, fmt.Sprintf("%s=%s%s%d=%d%s%d=%d≡%d",
			c.Variable(i+1), c.Variable(i), s.Op, s.Operand, value, s.Op, s.Operand, raw, reduced))
		value = reduced
	}
	return solution{reasoning: v.lines(lines), answer: strconv.Itoa(value)}, nil
}
