package dataset

import (
	"slices"
	"unicode/utf8"
)

// Stats are figures about a dataset's rows.
type Stats struct {
	Hash      string         `json:"hash"`
	Examples  int            `json:"examples"`
	Sources   map[string]int `json:"sources"`
	Families  map[string]int `json:"families"`
	Origins   map[string]int `json:"origins"`
	Verdicts  map[string]int `json:"verdicts"`
	Terms     map[string]int `json:"terms"`
	Reasoning int            `json:"reasoning"` // rows with reasoning
	Tools     int            `json:"tools"`     // rows that offer tools
	ToolCalls int            `json:"tool_calls"`
	Rejected  int            `json:"rejected"` // rows with an answer that is not as good
	Turns     Spread         `json:"turns"`    // messages of a prompt
	// Lengths in characters.
	PromptChars    Spread `json:"prompt_chars"` // all messages of a prompt together
	ReasoningChars Spread `json:"reasoning_chars"`
	AnswerChars    Spread `json:"answer_chars"`
	// Answers that several rows share, and how many rows those are.
	CommonAnswers int `json:"common_answers"`
	CommonRows    int `json:"common_rows"`
}

// Spread is how a number is spread over the rows that have it.
type Spread struct {
	Min    int   `json:"min"`
	Median int   `json:"median"`
	P95    int   `json:"p95"`
	Max    int   `json:"max"`
	Sum    int64 `json:"sum"`
}

// Stats computes figures about the rows.
func (d *Dataset) Stats() Stats {
	c := countRows(d.Examples)
	s := Stats{
		Hash: d.Hash, Examples: len(d.Examples), Sources: c.sources, Families: c.families, Origins: c.origins,
		Verdicts: c.verdicts, Terms: c.terms, Reasoning: c.reasoning,
	}
	answers := map[string]int{}
	var turns, prompts, reasonings, texts []int
	for i := range d.Examples {
		e := &d.Examples[i]
		if e.Tools != "" {
			s.Tools++
		}
		if len(e.ToolCalls) > 0 {
			s.ToolCalls++
		}
		if e.Rejected != "" {
			s.Rejected++
		}
		chars := 0
		for _, m := range e.Prompt {
			chars += utf8.RuneCountInString(m.Content)
		}
		turns, prompts = append(turns, len(e.Prompt)), append(prompts, chars)
		texts = append(texts, utf8.RuneCountInString(e.Answer))
		if e.Reasoning != "" {
			reasonings = append(reasonings, utf8.RuneCountInString(e.Reasoning))
		}
		answers[e.Answer]++
	}
	for _, n := range answers {
		if n > 1 {
			s.CommonAnswers++
			s.CommonRows += n
		}
	}
	s.Turns, s.PromptChars, s.ReasoningChars, s.AnswerChars = spread(turns), spread(prompts), spread(reasonings), spread(texts)
	return s
}

// spread sorts values in place. Quantiles are the nearest rank.
func spread(values []int) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	rank := func(percent int) int { return values[(len(values)*percent+99)/100-1] }
	s := Spread{Min: values[0], Median: rank(50), P95: rank(95), Max: values[len(values)-1]}
	for _, v := range values {
		s.Sum += int64(v)
	}
	return s
}
