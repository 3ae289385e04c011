package task

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// pattern is a line of the language of tickets, read: its parts in order.
type pattern struct {
	electric bool // it fits only what runs on current
	parts    []part
}

// part is one of: text, a slot, a choice among sequences, or the begin or end
// of a cue.
type part struct {
	text   string
	slot   string
	choice [][]part
	mark   byte // '[' or ']'
}

// parsePattern reads a line. Lines are the program's own; a broken one is a
// mistake of the programmer's, which the first test shows.
func parsePattern(line string) pattern {
	rest, electric := strings.CutPrefix(line, "~")
	parts, left := parseParts(rest, "")
	if left != "" {
		panic(fmt.Sprintf("pattern %q: unexpected %q", line, left))
	}
	return pattern{electric, parts}
}

// parseParts reads up to one of the stop characters, which it leaves.
func parseParts(s, stop string) (parts []part, rest string) {
	for s != "" && !strings.ContainsRune(stop, rune(s[0])) {
		switch s[0] {
		case '(':
			var p part
			for {
				var one []part
				one, s = parseParts(s[1:], "|)")
				p.choice = append(p.choice, one)
				if s == "" {
					panic("a choice is not closed")
				}
				if s[0] == ')' {
					break
				}
			}
			parts, s = append(parts, p), s[1:]
		case '{':
			slot, after, ok := strings.Cut(s[1:], "}")
			if !ok {
				panic("a slot is not closed")
			}
			parts, s = append(parts, part{slot: slot}), after
		case '[', ']':
			parts, s = append(parts, part{mark: s[0]}), s[1:]
		case '\\':
			parts, s = append(parts, part{text: s[1:2]}), s[2:]
		default:
			n := strings.IndexAny(s, `({[]\`+stop)
			if n < 0 {
				n = len(s)
			}
			parts, s = append(parts, part{text: s[:n]}), s[n:]
		}
	}
	return parts, s
}

// say draws one way of saying a pattern.
func say(rng *rand.Rand, parts []part, slot func(name string) string) string {
	var b strings.Builder
	for _, p := range parts {
		switch {
		case p.choice != nil:
			b.WriteString(say(rng, p.choice[rng.IntN(len(p.choice))], slot))
		case p.slot != "":
			b.WriteString(slot(p.slot))
		default:
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// cues returns every way of saying each cue of a pattern; slots stand in them
// as they are written.
func (p pattern) cues() []string {
	var out []string
	var inside []part
	open := false
	for _, x := range p.parts {
		switch x.mark {
		case '[':
			open, inside = true, nil
		case ']':
			open = false
			out = append(out, allWays(inside)...)
		default:
			if open {
				inside = append(inside, x)
			}
		}
	}
	return out
}

// allWays lists every way of saying a sequence.
func allWays(parts []part) []string {
	out := []string{""}
	for _, p := range parts {
		tails := []string{p.text}
		switch {
		case p.choice != nil:
			tails = nil
			for _, c := range p.choice {
				tails = append(tails, allWays(c)...)
			}
		case p.slot != "":
			tails = []string{"{" + p.slot + "}"}
		}
		next := make([]string, 0, len(out)*len(tails))
		for _, head := range out {
			for _, tail := range tails {
				next = append(next, head+tail)
			}
		}
		out = next
	}
	return out
}
