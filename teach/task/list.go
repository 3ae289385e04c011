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

// List is a problem of the family list: operations applied one after another
// to a short list of digits.
type List struct {
	Start []int    `json:"start"` // digits 0 to 9
	Ops   []ListOp `json:"ops"`
}

// ListOp is one operation on a list of digits.
type ListOp struct {
	Name string `json:"name"`        // reverse, sort, rotate, swap, drop or add
	N    int    `json:"n,omitempty"` // add: what is added to each digit, modulo 10
}

// Apply returns the list after the operation; the argument stays as it is.
func (o ListOp) Apply(in []int) []int {
	out := slices.Clone(in)
	switch o.Name {
	case "reverse":
		slices.Reverse(out)
	case "sort":
		slices.Sort(out)
	case "rotate":
		if len(out) > 1 {
			out = append(out[1:], in[0])
		}
	case "swap":
		if n := len(out); n > 1 {
			out[0], out[n-1] = out[n-1], out[0]
		}
	case "drop":
		if len(out) > 0 {
			out = out[1:]
		}
	case "add":
		for i := range out {
			out[i] = (out[i] + o.N) % 10
		}
	}
	return out
}

// String names the operation in a word, with its number.
func (o ListOp) String() string {
	if o.Name == "add" {
		return "add " + strconv.Itoa(o.N)
	}
	return o.Name
}

// listPhrases say in a prompt what each operation does.
var listPhrases = []struct{ name, phrase string }{
	{"reverse", "reverse them"},
	{"sort", "sort them"},
	{"rotate", "rotate them left"},
	{"swap", "swap first and last"},
	{"drop", "drop the first"},
	{"add", "add %d to each modulo 10"},
}

// Digits writes a list of digits as one word.
func Digits(list []int) string {
	b := make([]byte, len(list))
	for i, d := range list {
		b[i] = byte('0' + d)
	}
	return string(b)
}

const (
	maxListLength = 10 // the digits of a list are distinct
	maxListOps    = 6  // and so are the operations of a pipeline
)

type list struct{ lo, hi, ops int }

func newList(p Params) (Family, error) {
	f := &list{}
	var err error
	if f.lo, f.hi, err = pair("list", "length", p.Length, [2]int{4, 6}, 3, maxListLength, true); err != nil {
		return nil, err
	}
	if f.ops, err = single("list", "operations", p.Operations, 3, 1, maxListOps); err != nil {
		return nil, err
	}
	return f, nil
}

func (*list) Name() string             { return "list" }
func (*list) VerifiableIdentity() bool { return true }

var (
	listOpenings = []string{"Take the digits", "Start with the digits", "Given the digits"}
	listClosings = []string{"What is the result?", "Give the result."}
)

// Generate draws distinct digits and distinct operations, so that neither can
// be mistaken for another within one problem.
func (f *list) Generate(rng *rand.Rand) Problem {
	l := List{Start: rng.Perm(10)[:span(rng, f.lo, f.hi)]}
	for _, i := range rng.Perm(len(listPhrases))[:f.ops] {
		op := ListOp{Name: listPhrases[i].name}
		if op.Name == "add" {
			op.N = span(rng, 1, 9)
		}
		l.Ops = append(l.Ops, op)
	}
	return l.problem(pick(rng, listOpenings) + " " + Digits(l.Start) + l.pipeline() + ". " + pick(rng, listClosings))
}

// pipeline returns the operations as the prompt lists them, each after a comma.
func (l List) pipeline() string {
	var b strings.Builder
	for _, op := range l.Ops {
		for _, p := range listPhrases {
			switch {
			case p.name != op.Name:
			case op.Name == "add":
				b.WriteString(", " + fmt.Sprintf(p.phrase, op.N))
			default:
				b.WriteString(", " + p.phrase)
			}
		}
	}
	return b.String()
}

func (l List) result() []int {
	out := l.Start
	for _, op := range l.Ops {
		out = op.Apply(out)
	}
	return out
}

func (l List) short() string {
	words := []string{Digits(l.Start)}
	for _, op := range l.Ops {
		words = append(words, op.String())
	}
	return strings.Join(words, " ")
}

func (l List) problem(prompt string) Problem {
	return Problem{
		Family: "list",
		ID:     "list:" + strings.ReplaceAll(strings.ReplaceAll(l.short(), "add ", "add"), " ", ","),
		Prompt: prompt,
		Answer: Digits(l.result()),
		Data:   encode(l),
	}
}

var (
	listPrompt = regexp.MustCompile(`^(?:Take|Start with|Given) the digits (\d{1,16})((?:, [a-z 0-9]+)+)\. (?:What is the result\?|Give the result\.)$`)
	listAdd    = regexp.MustCompile(`^add ([0-9]) to each modulo 10$`)
)

func (*list) Parse(prompt string) (Problem, bool) { return parseList(prompt) }

func parseList(prompt string) (Problem, bool) {
	l, ok := readList(prompt)
	if !ok {
		return Problem{}, false
	}
	return l.problem(prompt), true
}

func readList(prompt string) (List, bool) {
	g := listPrompt.FindStringSubmatch(squeeze(prompt))
	if g == nil {
		return List{}, false
	}
	var l List
	for _, d := range []byte(g[1]) {
		l.Start = append(l.Start, int(d-'0'))
	}
	drops := 0
phrases:
	for _, phrase := range strings.Split(g[2], ", ")[1:] {
		if a := listAdd.FindStringSubmatch(phrase); a != nil {
			l.Ops = append(l.Ops, ListOp{Name: "add", N: int(a[1][0] - '0')})
			continue
		}
		for _, p := range listPhrases {
			if p.phrase == phrase && p.name != "add" {
				l.Ops = append(l.Ops, ListOp{Name: p.name})
				if p.name == "drop" {
					drops++
				}
				continue phrases
			}
		}
		return List{}, false
	}
	return l, drops < len(l.Start)
}

// listGroups finds lists of digits: digits with nothing but blanks, commas and
// semicolons between them.
var listGroups = regexp.MustCompile(`[0-9](?:[\s,;]*[0-9])*`)

func (*list) Verify(p Problem, content string) Verdict {
	var l List
	if err := json.Unmarshal(p.Data, &l); err != nil {
		return Verdict{Reason: ReasonNoGold}
	}
	groups := listGroups.FindAllString(content, -1)
	if groups == nil {
		return Verdict{Reason: ReasonNoAnswer}
	}
	last := groups[len(groups)-1]
	got := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, last)
	if got != Digits(l.result()) {
		return Verdict{Reason: ReasonWrong, Answer: got}
	}
	return Verdict{Correct: true, Reason: ReasonCorrect, Answer: got}
}

func (*list) Mask(prompt string) string {
	if l, ok := readList(prompt); ok {
		return l.short()
	}
	return prompt
}
