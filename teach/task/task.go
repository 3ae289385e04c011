// Package task makes problems and verifies answers to them.
//
// A verifiable family (multiply, chain, list, countdown, extract) draws
// problems from a seeded generator whose difficulty its Params set, and accepts
// every right answer, however it is written, and no other. A Corpus reads
// problems from a file: GSM8K in the data set's own JSON lines, or a user's
// prompts in JSON lines, CSV or Parquet, with or without gold answers, rendered
// by a template and with what a builder puts before them.
//
// A problem's ID is its identity: two prompts that ask the same thing share
// it, mirror images included (a×b and b×a, the same countdown numbers in
// another order, the same complaint with another greeting). Splits into
// held-out and training problems go by ID.
//
// The package does not solve problems with written-out reasoning (reference
// does), and knows nothing about models, messages or money. Its errors name
// the parameter, or the file, line and column, and what is allowed there.
package task

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"retort/exchange"
)

// Problem is one question with, where there is one, its right answer.
type Problem struct {
	Family string          `json:"family"`
	ID     string          `json:"id"`               // canonical identity, "family:…"; mirror images share it
	Prompt string          `json:"prompt"`           // what is asked, in plain English
	Answer string          `json:"answer,omitempty"` // one right answer in its shortest form; "" without gold
	Data   json.RawMessage `json:"data,omitempty"`   // the family's own form of the problem, such as Multiply
	Row    string          `json:"row,omitempty"`    // where a problem from a file stands: "tickets.jsonl:17"

	// What a builder's own prompts hold besides.
	RowID    string             `json:"row_id,omitempty"`   // the row's own id, if it has one
	Messages []exchange.Message `json:"messages,omitempty"` // what the teacher is sent; nil: Prompt as one user message
	Student  []exchange.Message `json:"student,omitempty"`  // what the student reads; nil: what the teacher is sent
	Gold     json.RawMessage    `json:"gold,omitempty"`     // the right answer where it is more than a line of text
	Fields   json.RawMessage    `json:"fields,omitempty"`   // the row as it stands in the file, an object, for verifiers
	Said     string             `json:"said,omitempty"`     // of a conversation, all that its turns say (see Said); "": Prompt is all
}

// Said returns what the turns of a conversation say, a line each, without
// system prompts. The last question of a conversation ("yes, please") does not
// tell it from others.
func Said(turns []exchange.Message) string {
	var b strings.Builder
	for _, m := range turns {
		if m.Role != "system" && m.Content != "" {
			b.WriteString(m.Content + "\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Particular returns the text by which the problem is compared with others:
// what its conversation says, or else its prompt.
func (p *Problem) Particular() string {
	if p.Said != "" {
		return p.Said
	}
	return p.Prompt
}

// TeacherMessages returns the conversation that the teacher is sent.
func (p *Problem) TeacherMessages() []exchange.Message {
	if p.Messages != nil {
		return p.Messages
	}
	return []exchange.Message{{Role: "user", Content: p.Prompt}}
}

// StudentMessages returns the conversation that the student reads.
func (p *Problem) StudentMessages() []exchange.Message {
	if p.Student != nil {
		return p.Student
	}
	return p.TeacherMessages()
}

// Verdict is what a verifier says about an answer.
type Verdict struct {
	Correct bool   `json:"correct"`
	Reason  string `json:"reason"` // one of the Reason constants, for counting
	Answer  string `json:"answer"` // the answer as it was read out of the content
}

// Reasons of a verdict.
const (
	ReasonCorrect    = "correct"
	ReasonWrong      = "wrong"         // an answer, but not a right one
	ReasonNoAnswer   = "no_answer"     // nothing that could be an answer
	ReasonUnparsable = "unparsable"    // an answer that cannot be read as one
	ReasonNumbers    = "wrong_numbers" // countdown: not each number exactly once
	ReasonNoGold     = "no_gold"       // the problem has no known answer
)

// Task is what all sources of problems have in common.
type Task interface {
	// Name is the family's name, as in Problem.Family.
	Name() string
	// Verify judges the content of an answer, without its reasoning. It accepts
	// every right answer.
	Verify(p Problem, content string) Verdict
	// Mask returns what is particular to this prompt: the text that all prompts
	// of the source share is cut out, so that near-duplicates and overlaps are
	// looked for in the rest.
	Mask(prompt string) string
	// VerifiableIdentity reports whether Problem.ID is exact: equal for two
	// problems if and only if they ask the same thing.
	VerifiableIdentity() bool
}

// Family is a task that makes its own problems.
type Family interface {
	Task
	// Generate draws one problem. Its result depends on rng alone.
	Generate(rng *rand.Rand) Problem
	// Parse is the inverse of a prompt: it reads any problem of this kind,
	// whatever the difficulty, from a prompt in one of the family's wordings.
	Parse(prompt string) (Problem, bool)
}

// Params set the difficulty of a family. Zero values take the family's
// defaults; a parameter that a family does not have is refused.
type Params struct {
	Digits     []int `yaml:"digits,omitempty,flow" json:"digits,omitempty"`    // multiply: digits of the two factors
	Modulus    int   `yaml:"modulus,omitempty" json:"modulus,omitempty"`       // chain: a small prime
	Steps      []int `yaml:"steps,omitempty,flow" json:"steps,omitempty"`      // chain: fewest and most lines
	Length     []int `yaml:"length,omitempty,flow" json:"length,omitempty"`    // list: shortest and longest list
	Operations int   `yaml:"operations,omitempty" json:"operations,omitempty"` // list: operations in the pipeline
	Numbers    int   `yaml:"numbers,omitempty" json:"numbers,omitempty"`       // countdown: how many numbers, 3 or 4
	Max        int   `yaml:"max,omitempty" json:"max,omitempty"`               // countdown: largest number
	Words      []int `yaml:"words,omitempty,flow" json:"words,omitempty"`      // extract: fewest and most words of a ticket
}

// Names lists the families that New makes.
func Names() []string { return []string{"multiply", "chain", "list", "countdown", "extract"} }

// New returns the family of that name at the given difficulty.
func New(name string, p Params) (Family, error) {
	given := p.given()
	take := func(keys ...string) error {
		for _, k := range given {
			if !slices.Contains(keys, k) {
				return fmt.Errorf("family %s has no parameter %q; it has %s", name, k, strings.Join(keys, ", "))
			}
		}
		return nil
	}
	switch name {
	case "multiply":
		if err := take("digits"); err != nil {
			return nil, err
		}
		return newMultiply(p)
	case "chain":
		if err := take("modulus", "steps"); err != nil {
			return nil, err
		}
		return newChain(p)
	case "list":
		if err := take("length", "operations"); err != nil {
			return nil, err
		}
		return newList(p)
	case "countdown":
		if err := take("numbers", "max"); err != nil {
			return nil, err
		}
		return newCountdown(p)
	case "extract":
		if err := take("words"); err != nil {
			return nil, err
		}
		return newExtract(p)
	}
	return nil, fmt.Errorf("there is no family %q; there are %s", name, strings.Join(Names(), ", "))
}

// Parse reads a problem of any verifiable family from its prompt.
func Parse(prompt string) (Problem, bool) {
	if len(prompt) <= maxPrompt {
		for _, f := range parsers {
			if p, ok := f(prompt); ok {
				return p, true
			}
		}
	}
	return parseExtract(prompt) // may stand in a template of any length
}

// maxPrompt bounds what Parse looks at for a family of arithmetic; every prompt
// of theirs is shorter.
const maxPrompt = 2048

var parsers = []func(string) (Problem, bool){parseMultiply, parseChain, parseList, parseCountdown}

// given lists the parameters that are set.
func (p Params) given() []string {
	var out []string
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"digits", p.Digits != nil}, {"modulus", p.Modulus != 0}, {"steps", p.Steps != nil}, {"length", p.Length != nil},
		{"operations", p.Operations != 0}, {"numbers", p.Numbers != 0}, {"max", p.Max != 0},
		{"words", p.Words != nil},
	} {
		if k.set {
			out = append(out, k.name)
		}
	}
	return out
}

// pair reads a parameter of two numbers between lo and hi.
func pair(family, key string, v []int, def [2]int, lo, hi int, ordered bool) (a, b int, err error) {
	if v == nil {
		return def[0], def[1], nil
	}
	if len(v) != 2 {
		return 0, 0, fmt.Errorf("family %s: %s is %v, must be two numbers such as [%d, %d]", family, key, v, def[0], def[1])
	}
	for _, n := range v {
		if n < lo || n > hi {
			return 0, 0, fmt.Errorf("family %s: %s is %v, each must be between %d and %d", family, key, v, lo, hi)
		}
	}
	if ordered && v[0] > v[1] {
		return 0, 0, fmt.Errorf("family %s: %s is %v, the smaller number comes first", family, key, v)
	}
	return v[0], v[1], nil
}

// single reads a parameter that is one number between lo and hi.
func single(family, key string, v, def, lo, hi int) (int, error) {
	if v == 0 {
		return def, nil
	}
	if v < lo || v > hi {
		return 0, fmt.Errorf("family %s: %s is %d, must be between %d and %d", family, key, v, lo, hi)
	}
	return v, nil
}

// encode writes a family's own form of a problem. Those forms are structs of
// numbers and strings, which always encode.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// pick draws one of several wordings.
func pick(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

// span draws a whole number between lo and hi, both included.
func span(rng *rand.Rand, lo, hi int) int { return lo + rng.IntN(hi-lo+1) }

// squeeze makes runs of blanks one space within each line and drops blank
// lines, so that Parse does not depend on white space.
func squeeze(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if f := strings.Join(strings.Fields(line), " "); f != "" {
			lines = append(lines, f)
		}
	}
	return strings.Join(lines, "\n")
}
