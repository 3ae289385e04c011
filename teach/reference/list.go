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
//	25413 add 3
//	58746 sort
//
// The answer is the list after the last operation.
func solveList(p task.Problem, v voice) (solution, error) {
	var l task.List
	if err := json.Unmarshal(p.Data, &l); err != nil {
		return solution{}, fmt.Errorf("read a list: %w", err)
	}
	var lines []string
	now := l.Start
	for _, op := range l.Ops {
		lines = append(lines, task.Digits(now)+" "+op.String())
		now = op.Apply(now)
	}
	return solution{reasoning: v.lines(lines), answer: task.Digits(now)}, nil
}
