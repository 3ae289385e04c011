package task

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"retort/exchange"
)

// Corpus is a task whose problems come from a file, in the file's order.
type Corpus struct {
	name     string
	problems []Problem
	verify   func(content, gold string) Verdict
	template *template // that rendered the prompts; nil without one
	// Words that every prompt begins and ends with, the template apart.
	head, tail []string
}

// GSM8K reads the data set's own JSON lines: each an object with "question"
// and "answer", the answer ending in "#### " and a number. Verify compares
// numbers by value: 1,000 and $1000.00 are equal.
func GSM8K(path string) (*Corpus, error) {
	c := &Corpus{name: "gsm8k", verify: verifyNumber}
	err := readJSONL(path, func(at place, r row) error {
		question, err := r.text(at, "question")
		if err != nil {
			return err
		}
		worked, err := r.text(at, "answer")
		if err != nil {
			return err
		}
		_, gold, ok := strings.Cut(worked, "####")
		if gold = extractNumber(gold); !ok || gold == "" {
			return at.errorf(r.column("answer"), `"answer" has no number after ####`)
		}
		c.add(Problem{Prompt: question, Answer: gold, Row: at.String()})
		return nil
	})
	return c.ready(path, err)
}

// add takes a problem and gives it its identity: that of its conversation's
// words, without what stands before every conversation, or else of its prompt.
func (c *Corpus) add(p Problem, turns ...exchange.Message) {
	asked := squeeze(p.Prompt)
	if len(turns) > 1 {
		asked, p.Said = "", Said(turns)
		for _, m := range turns {
			asked += m.Role + "\x00" + squeeze(m.Content) + "\x00"
			for _, call := range m.ToolCalls {
				asked += call.Name + "\x00" + call.Arguments + "\x00"
			}
		}
	}
	sum := sha256.Sum256([]byte(asked))
	p.Family = c.name
	p.ID = c.name + ":" + hex.EncodeToString(sum[:12])
	c.problems = append(c.problems, p)
}

func (c *Corpus) ready(path string, err error) (*Corpus, error) {
	if err == nil && len(c.problems) == 0 {
		err = errors.New(path + ": holds no prompts")
	}
	if err != nil {
		return nil, err
	}
	c.findShared()
	return c, nil
}

// findShared finds the words that all prompts begin and end with: a template
// around what is particular to each.
func (c *Corpus) findShared() {
	if len(c.problems) < 2 {
		return
	}
	c.head = strings.Fields(c.fields(c.problems[0].Particular()))
	c.tail = c.head
	shortest := len(c.head)
	for _, p := range c.problems[1:] {
		w := strings.Fields(c.fields(p.Particular()))
		shortest = min(shortest, len(w))
		n := 0
		for n < min(len(w), len(c.head)) && w[n] == c.head[n] {
			n++
		}
		c.head = c.head[:n]
		n = 0
		for n < min(len(w), len(c.tail)) && w[len(w)-1-n] == c.tail[len(c.tail)-1-n] {
			n++
		}
		c.tail = c.tail[len(c.tail)-n:]
	}
	if len(c.head)+len(c.tail) > shortest { // head and tail overlap in the shortest prompt
		c.tail = c.tail[len(c.head)+len(c.tail)-shortest:]
	}
	if len(c.head)+len(c.tail) == shortest { // never mask a prompt away
		c.head, c.tail = nil, nil
	}
}

// Name implements Task: "gsm8k", or "file" for a user's own.
func (c *Corpus) Name() string { return c.name }

// VerifiableIdentity implements Task: identity is only that of the text.
func (c *Corpus) VerifiableIdentity() bool { return false }

// Problems returns the problems in the file's order. The slice is shared: do
// not change it.
func (c *Corpus) Problems() []Problem { return c.problems }

// HasGold reports whether the problems have right answers. Without them an
// evaluation can only report agreement with the teacher.
func (c *Corpus) HasGold() bool { return c.problems[0].Answer != "" }

// Verify implements Task.
func (c *Corpus) Verify(p Problem, content string) Verdict {
	if p.Answer == "" {
		return Verdict{Reason: ReasonNoGold, Answer: strings.TrimSpace(content)}
	}
	if p.Gold != nil {
		return verifyJSON(content, p.Gold)
	}
	return c.verify(content, p.Answer)
}

// fields cuts the template's own text out of a prompt, if there is one.
func (c *Corpus) fields(prompt string) string {
	if c.template != nil {
		if s, ok := c.template.particular(prompt); ok && strings.TrimSpace(s) != "" {
			return s
		}
	}
	return prompt
}

// Mask implements Task: it cuts out the template's own text, and off the words
// that every prompt of the file begins or ends with.
func (c *Corpus) Mask(prompt string) string {
	prompt = c.fields(prompt)
	w := strings.Fields(prompt)
	if len(w) <= len(c.head)+len(c.tail) {
		return prompt
	}
	for i, h := range c.head {
		if w[i] != h {
			return prompt
		}
	}
	for i, t := range c.tail {
		if w[len(w)-len(c.tail)+i] != t {
			return prompt
		}
	}
	if len(c.head)+len(c.tail) == 0 {
		return prompt
	}
	return strings.Join(w[len(c.head):len(w)-len(c.tail)], " ")
}

// Split holds out that many different problems, drawn by the seed, and leaves
// the others for training in the file's order. Both keep the file's order.
func (c *Corpus) Split(seed uint64, heldout int) (Split, error) {
	unique := make([]Problem, 0, len(c.problems))
	seen := make(map[string]bool)
	for _, p := range c.problems {
		if !seen[p.ID] {
			seen[p.ID] = true
			unique = append(unique, p)
		}
	}
	if heldout < 0 || heldout > len(unique) {
		return Split{}, fmt.Errorf("cannot hold out %d of the %d different problems in %s", heldout, len(unique), c.problems[0].Row)
	}
	held := make([]bool, len(unique))
	for _, i := range stream(seed, c.name, "heldout").Perm(len(unique))[:heldout] {
		held[i] = true
	}
	var chosen []Problem
	for i, p := range unique {
		if held[i] {
			chosen = append(chosen, p)
		}
	}
	return c.without(chosen), nil
}

// SplitFrom takes all different problems of another corpus as held-out
// problems; what of c is among them is left out of training.
func (c *Corpus) SplitFrom(heldout *Corpus) Split {
	all, _ := heldout.Split(0, 0)
	var chosen []Problem
	for p := range all.Train {
		chosen = append(chosen, p)
	}
	return c.without(chosen)
}

// without is the split that holds these problems out. A held-out row counts as
// held out, not as skipped; only further rows with the same problem are
// skipped.
func (c *Corpus) without(heldout []Problem) Split {
	s := Split{Heldout: heldout}
	held := make(map[string]string, len(heldout))
	for _, p := range heldout {
		held[p.ID] = p.Row
	}
	var train []Problem
	seen := make(map[string]bool)
	for _, p := range c.problems {
		row, isHeld := held[p.ID]
		switch {
		case isHeld && row == p.Row:
		case isHeld:
			s.Skipped = append(s.Skipped, Skipped{p, SkipHeldout})
		case seen[p.ID]:
			s.Skipped = append(s.Skipped, Skipped{p, SkipDuplicate})
		default:
			seen[p.ID] = true
			train = append(train, p)
		}
	}
	s.Train = func(yield func(Problem) bool) {
		for _, p := range train {
			if !yield(p) {
				return
			}
		}
	}
	return s
}

// verifyJSON compares the JSON value that content holds, in a code fence or
// not, with the gold value.
func verifyJSON(content string, gold json.RawMessage) Verdict {
	got := strings.TrimSpace(unfence(content))
	if got == "" {
		return Verdict{Reason: ReasonNoAnswer}
	}
	canonical, err := exchange.CanonicalJSON([]byte(got))
	if err != nil {
		return Verdict{Reason: ReasonUnparsable, Answer: got}
	}
	want, err := exchange.CanonicalJSON(gold)
	if err != nil || !bytes.Equal(canonical, want) {
		return Verdict{Reason: ReasonWrong, Answer: string(canonical)}
	}
	return Verdict{Correct: true, Reason: ReasonCorrect, Answer: string(canonical)}
}

// unfence returns what stands in the last code fence of a text, or the text.
func unfence(s string) string {
	const fence = "```"
	end := strings.LastIndex(s, fence)
	if end < 0 {
		return s
	}
	start := strings.LastIndex(s[:end], fence)
	if start < 0 {
		return s
	}
	_, body, ok := strings.Cut(s[start:end], "\n")
	if !ok { // a fence within a line
		return s[start+len(fence) : end]
	}
	return body
}

// verifyText compares an answer with the gold answer up to white space.
func verifyText(content, gold string) Verdict {
	got := strings.Join(strings.Fields(content), " ")
	switch {
	case got == "":
		return Verdict{Reason: ReasonNoAnswer}
	case got != strings.Join(strings.Fields(gold), " "):
		return Verdict{Reason: ReasonWrong, Answer: got}
	}
	return Verdict{Correct: true, Reason: ReasonCorrect, Answer: got}
}
