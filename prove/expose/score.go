package expose

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"

	"retort/exchange"
	"retort/prove/commit"
)

// Scorer gives the log-probability of answers under one model, in nats. It is handed
// pairs whose coins are sealed.
type Scorer interface {
	// Score returns the log-probability of both arms of each pair, and how many tokens
	// each has.
	Score(ctx context.Context, pairs []Pair) ([]Scored, error)
}

// Scored is what a model thinks of a pair.
type Scored struct {
	LogProb [2]float64
	Tokens  [2]int
}

// Line is one line of a file of scores: all that the statistic is computed from, but
// for the coin. Numbers are rounded to 10⁻⁶ before they are written.
type Line struct {
	Counter uint64                `json:"counter"`
	Family  string                `json:"family"`
	Length  [2]int                `json:"length"` // of the arms, in characters
	Tokens  [2]int                `json:"tokens"` // of the arms, as the suspect reads them
	LogProb map[string][2]float64 `json:"logprob,omitempty"`
	Match   map[string][2]float64 `json:"match,omitempty"` // text only: of each arm's continuation
}

// round is what a number is when it is written with six decimals.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// Lines begins the scores of pairs.
func Lines(pairs []Pair) []Line {
	lines := make([]Line, len(pairs))
	for i, p := range pairs {
		lines[i] = Line{Counter: p.Counter, Family: p.Family}
		for arm, a := range p.Arms {
			lines[i].Length[arm] = length(a)
		}
	}
	return lines
}

func length(a commit.Answer) int {
	return utf8.RuneCountInString(a.Reasoning) + utf8.RuneCountInString(a.Content)
}

// Add scores pairs under one model into their lines. Of the suspect, which comes
// first, token counts are kept too.
func Add(ctx context.Context, lines []Line, pairs []Pair, m Model, s Scorer) error {
	sealed := make([]Pair, len(pairs))
	for i, p := range pairs {
		p.Seed = commit.Seed{} // nobody who scores can look
		sealed[i] = p
	}
	got, err := s.Score(ctx, sealed)
	if err != nil {
		return fmt.Errorf("score %s: %w", m.Name, err)
	}
	if len(got) != len(lines) {
		return fmt.Errorf("score %s: %d scores for %d pairs", m.Name, len(got), len(lines))
	}
	for i, g := range got {
		l := &lines[i]
		if math.IsNaN(g.LogProb[0]+g.LogProb[1]) || math.IsInf(g.LogProb[0]+g.LogProb[1], 0) {
			return fmt.Errorf("score %s: coin %d: its log-probabilities %v are not finite", m.Name, l.Counter, g.LogProb)
		}
		if l.LogProb == nil {
			l.LogProb, l.Tokens = map[string][2]float64{}, g.Tokens
		}
		l.LogProb[m.Name] = [2]float64{round(g.LogProb[0]), round(g.LogProb[1])}
	}
	return nil
}

// EncodeLines writes a file of scores: one JSON object a line, in the order of
// counters.
func EncodeLines(lines []Line) []byte {
	var b bytes.Buffer
	for i := range lines {
		b.Write(commit.JSON(&lines[i]))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// ParseLines reads a file of scores.
func ParseLines(b []byte) ([]Line, error) {
	var lines []Line
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var l Line
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			return nil, fmt.Errorf("scores, line %d: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("scores: %w", err)
	}
	if !bytes.Equal(EncodeLines(lines), b) {
		return nil, fmt.Errorf("scores: they are not in canonical form")
	}
	return lines, nil
}

// Renderer lays an answer to a conversation out as a model's tokens; a student/chat
// Format is one.
type Renderer interface {
	Example(msgs []exchange.Message, reasoning, answer string) (ids []int32, responseFrom int, err error)
}
