package eval

import (
	"bytes"
	_ "embed" // for general
	"encoding/json"
	"fmt"
	"math"

	"retort/internal/stat"
)

// Reference is a question and how somebody answered it well.
type Reference struct {
	ID     string `json:"id"`
	Prompt string `json:"prompt"`
	Answer string `json:"answer"`
}

//go:embed general/general.jsonl
var general []byte

// General are 60 questions of all kinds with answers that experts wrote: what a
// model that was taught one job may have forgotten. general/README.md says where
// they are from.
func General() []Reference {
	var out []Reference
	for dec := json.NewDecoder(bytes.NewReader(general)); dec.More(); {
		var r Reference
		if err := dec.Decode(&r); err != nil {
			panic(fmt.Sprintf("eval: general.jsonl: %v", err)) // it is always the same
		}
		out = append(out, r)
	}
	return out
}

// Perplexity compares how likely a student and another model find given answers.
// Perplexities are exp of the mean over answers of the mean loss over an answer's
// tokens: each answer counts the same.
type Perplexity struct {
	Family  string     `json:"family"`
	N       int        `json:"n"`
	Student float64    `json:"student"`
	Other   float64    `json:"other"`
	Ratio   float64    `json:"ratio"` // Student / Other
	RatioCI [2]float64 `json:"ratio_ci95"`
}

// ComparePerplexity compares losses of the same answers, each a mean in nats a
// token. The interval of the ratio is exp of the paired bootstrap's (BCa) of the
// difference of mean losses, over answers, which are taken to be independent draws
// of what is asked.
func ComparePerplexity(family string, student, other []float64, seed uint64) (Perplexity, error) {
	if len(student) != len(other) || len(student) == 0 {
		return Perplexity{}, fmt.Errorf("perplexity on %s: %d losses of the student and %d of the other", family, len(student), len(other))
	}
	d, err := stat.Bootstrap{Confidence: confidence, Resamples: 1000, Seed: seed}.Difference(student, other)
	if err != nil {
		return Perplexity{}, fmt.Errorf("perplexity on %s: %w", family, err)
	}
	p := Perplexity{Family: family, N: len(student), Student: math.Exp(mean(student)), Other: math.Exp(mean(other))}
	p.Ratio, p.RatioCI = p.Student/p.Other, [2]float64{math.Exp(d.Lo), math.Exp(d.Hi)}
	return p, nil
}
