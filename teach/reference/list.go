package reference

import (
	"encoding/json"
	"fmt"

	"retort/teach/task"
)

// The list before each operation, with the operation. 31452, reversed, 3 added
// to each, sorted:
//
//	31452 reverse
//	25413 add 3: 25 58 47 14 36
//	58746 sort
//
// Adding restates each digit before its result, so that place and arithmetic
// are not one step; it took a student from 0.97 to 0.998. The answer is the list
// after the last operation.
func solveList(p task.Problem, v voice) (solution, error) {
	var l task.List
	if err := json.Unmarshal(p.Data, &l); err != nil {
		return solution{}, fmt.Errorf("read a list: %w", err)
	}
	var lines []string
	now := l.Start
	for _, op := range l.Ops {
		line, next := task.Digits(now)+" "+op.String(), op.Apply(now)
		if op.Name == "add" {
			line += ":"
			for i := range now {
				line += fmt.Sprintf(" %d%d", now[i], next[i])
			}
		}
		lines = append(lines, line)
		now = next
	}
	return solution{reasoning: v.lines(lines), answer: task.Digits(now)}, nil
}
