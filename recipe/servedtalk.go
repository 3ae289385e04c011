package recipe

import (
	"crypto/sha256"
	"strings"

	"retort/exchange"
	"retort/teach/task"
)

// saidThere is one exchange that was read.
type saidThere struct {
	problem task.Problem
	account string
	answer  exchange.Answer
	taken   bool // it is a problem of its own, and no earlier one again
}

// conversationsIn groups requests into conversations, and returns the first
// request of each one's.
//
// A request belongs to the conversation of an earlier one if it goes on from it:
// it begins with the same turns and with the answer that was given to them, of the
// same account. That a request merely begins as another does is no sign: examples
// that a builder puts before every question begin all of them. System prompts are
// left out, since they may hold the date, and white space counts as one space.
// What is asked again belongs to where it was asked first.
func conversationsIn(list []saidThere) []int {
	root := make([]int, len(list))
	for i := range root {
		root[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if root[i] != i {
			root[i] = find(root[i])
		}
		return root[i]
	}
	join := func(a, b int) {
		a, b = find(a), find(b)
		root[max(a, b)] = min(a, b)
	}
	asked := map[[sha256.Size]byte]int{}   // by all that was said before the answer
	ended := map[[sha256.Size]byte]int{}   // by all that was said up to and with the answer
	paths := make([][][32]byte, len(list)) // of each request, where an assistant has spoken
	for i, x := range list {
		said := sha256.Sum256([]byte(x.account))
		for _, m := range x.problem.Messages {
			if m.Role == "system" {
				continue
			}
			said = saidNext(said, m)
			if m.Role == "assistant" {
				paths[i] = append(paths[i], said)
			}
		}
		if first, ok := asked[said]; ok {
			join(first, i)
		} else {
			asked[said] = i
		}
		said = saidNext(said, exchange.Message{Role: "assistant", Content: x.answer.Content, ToolCalls: x.answer.ToolCalls})
		if _, ok := ended[said]; !ok {
			ended[said] = i
		}
	}
	for i := range list {
		for _, said := range paths[i] {
			if before, ok := ended[said]; ok {
				join(before, i)
			}
		}
	}
	for i := range root {
		root[i] = find(i)
	}
	return root
}

// saidNext digests what was said with one more turn.
func saidNext(before [sha256.Size]byte, m exchange.Message) [sha256.Size]byte {
	var b strings.Builder
	b.Write(before[:])
	b.WriteString(m.Role + "\x00" + strings.Join(strings.Fields(m.Content), " "))
	for _, c := range m.ToolCalls {
		arguments := []byte(c.Arguments)
		if canonical, err := exchange.CanonicalJSON(arguments); err == nil {
			arguments = canonical
		}
		b.WriteString("\x00" + c.Name + "\x00" + string(arguments))
	}
	return sha256.Sum256([]byte(b.String()))
}
