package eval

import (
	"fmt"
	"math"

	"retort/exchange"
	"retort/internal/stat"
	"retort/internal/text"
	"retort/teach/task"
)

// Overall is the name of the row over all sources.
const Overall = "overall"

// Measure says what a share of "right" answers is a share of.
type Measure string

// The measures.
const (
	Accuracy  Measure = "accuracy"
	Agreement Measure = "agreement with the teacher"
)

// confidence is the level of every interval, and of the name "ci95".
const confidence = 0.95

// Report is what an evaluation found.
type Report struct {
	Student     string       `json:"student"`
	Contestants []Total      `json:"contestants"`
	Comparisons []Comparison `json:"comparisons"` // of the student with each of the others, in their order
}

// Total is what one contestant did on the whole.
type Total struct {
	Name       string           `json:"name"`
	Problems   int              `json:"problems"`
	Answered   int              `json:"answered"`
	Unanswered int              `json:"unanswered"` // requests that failed, or problems that stored results lack
	Output     int64            `json:"output_tokens"`
	Cost       exchange.PicoSum `json:"-"`
	USD        float64          `json:"cost_usd"`
}

// Comparison is the student beside one other contestant.
type Comparison struct {
	Other   string   `json:"other"`
	Teacher bool     `json:"teacher"` // whether the other is the teacher
	Rows    []Row    `json:"rows"`    // one a source, then Overall
	Samples []Sample `json:"samples"`
}

// Row compares the student with another contestant on the problems of one
// source that both answered. Where the measure is agreement and the other is
// the teacher, Other is 1 by definition and only the student's share says
// anything.
type Row struct {
	Family    string     `json:"family"` // the source, or Overall
	N         int        `json:"n"`
	Excluded  int        `json:"excluded"` // problems that one of the two did not answer
	Measure   Measure    `json:"measure"`
	Student   float64    `json:"student"`
	StudentCI [2]float64 `json:"student_ci95"` // Wilson
	Other     float64    `json:"other"`
	OtherCI   [2]float64 `json:"other_ci95"` // Wilson
	Diff      float64    `json:"diff"`       // Student less Other
	DiffCI    [2]float64 `json:"ci95"`       // paired: Tango's score interval
	P         float64    `json:"p"`          // exact McNemar, two-sided
	Ratio     *Ratio     `json:"ratio"`      // null where the other solved nothing

	StudentTokens float64    `json:"student_tokens"` // output tokens per answer, where known
	OtherTokens   float64    `json:"other_tokens"`
	TokensDiff    float64    `json:"tokens_diff"`
	TokensDiffCI  [2]float64 `json:"tokens_diff_ci95"` // paired bootstrap, BCa
	StudentUSD    float64    `json:"student_usd"`      // cost per answer
	OtherUSD      float64    `json:"other_usd"`
}

// Ratio is the student's share divided by the other's. Its lower end is what
// "the student reaches so much of the other" may claim.
type Ratio struct {
	Value float64    `json:"value"`
	CI    [2]float64 `json:"ci95"` // paired: score interval of Nam and Blackwelder
}

// Outcome says who was right on a problem.
type Outcome string

// The outcomes.
const (
	OnlyOther   Outcome = "only_other" // the most telling one: what the student has not learned
	Both        Outcome = "both"
	Neither     Outcome = "neither"
	OnlyStudent Outcome = "only_student"
)

// Sample is one problem with both answers.
type Sample struct {
	Source  string  `json:"source"`
	Problem string  `json:"problem"`
	Prompt  string  `json:"prompt"`
	Outcome Outcome `json:"outcome"`
	Measure Measure `json:"measure"` // what right means
	Student Result  `json:"student"`
	Other   Result  `json:"other"`
}

// StudentRight reports whether the student's answer counts as right by the
// sample's measure.
func (s *Sample) StudentRight() bool { return s.Outcome == Both || s.Outcome == OnlyStudent }

// OtherRight reports the same of the other's answer.
func (s *Sample) OtherRight() bool { return s.Outcome == Both || s.Outcome == OnlyOther }

// Line is a row as `retort run --json` prints it: the student beside its
// teacher, or, where no right answer is known, its agreement with it.
type Line struct {
	Family    string     `json:"family"`
	N         int        `json:"n"`
	Student   *float64   `json:"student,omitempty"`
	Teacher   *float64   `json:"teacher,omitempty"`
	Diff      *float64   `json:"diff,omitempty"`
	Agreement *float64   `json:"agreement,omitempty"`
	CI95      [2]float64 `json:"ci95"` // of the difference, or of the agreement
}

// Lines returns the comparison with the teacher in short, nil without one.
func (r *Report) Lines() []Line {
	var out []Line
	for i := range r.Comparisons {
		if !r.Comparisons[i].Teacher {
			continue
		}
		for _, row := range r.Comparisons[i].Rows {
			l := Line{Family: row.Family, N: row.N}
			if row.Measure == Agreement {
				l.Agreement, l.CI95 = &row.Student, row.StudentCI
			} else {
				l.Student, l.Teacher, l.Diff, l.CI95 = &row.Student, &row.Other, &row.Diff, row.DiffCI
			}
			out = append(out, l)
		}
	}
	return out
}

// compare makes the report from all answers.
func compare(items []Item, contestants []Contestant, all []answers, opt Options) (*Report, error) {
	teacher := -1
	r := &Report{Student: contestants[0].Name}
	for i, c := range contestants {
		if c.Teacher {
			teacher = i
		}
		t := Total{Name: c.Name, Problems: len(items)}
		for _, a := range all[i] {
			if a == nil {
				t.Unanswered++
				continue
			}
			t.Answered++
			t.Output += a.Usage.Output
			t.Cost.Add(a.Cost)
		}
		t.USD = t.Cost.USD()
		r.Contestants = append(r.Contestants, t)
	}
	for i := 1; i < len(contestants); i++ {
		p := pairing{items: items, student: all[0], other: all[i]}
		if teacher >= 0 {
			p.teacher = all[teacher]
		}
		c, err := p.comparison(opt)
		if err != nil {
			return nil, fmt.Errorf("evaluate: compare %s with %s: %w", contestants[0].Name, contestants[i].Name, err)
		}
		c.Other, c.Teacher = contestants[i].Name, i == teacher
		r.Comparisons = append(r.Comparisons, c)
	}
	return r, nil
}

// pairing is two contestants' answers to the same items.
type pairing struct {
	items          []Item
	student, other answers
	teacher        answers // nil if the teacher is not among the contestants
}

// sourcesOf lists the items' indices by source, in order of appearance.
func sourcesOf(items []Item) (names []string, members map[string][]int) {
	members = map[string][]int{}
	for i, it := range items {
		if members[it.Source] == nil {
			names = append(names, it.Source)
		}
		members[it.Source] = append(members[it.Source], i)
	}
	return names, members
}

func (p *pairing) comparison(opt Options) (Comparison, error) {
	var c Comparison
	names, members := sourcesOf(p.items)
	measures := map[Measure][]int{}
	for _, name := range names {
		m := p.measure(members[name])
		measures[m] = append(measures[m], members[name]...)
		row, err := p.row(name, m, members[name], opt)
		if err != nil {
			return c, err
		}
		c.Rows = append(c.Rows, row)
		c.Samples = append(c.Samples, p.samples(m, members[name], opt.Samples)...)
	}
	// Shares of right answers and shares of agreement do not add up.
	m := Accuracy
	if len(measures[Accuracy]) == 0 {
		m = Agreement
	}
	row, err := p.row(Overall, m, measures[m], opt)
	if err != nil {
		return c, err
	}
	c.Rows = append(c.Rows, row)
	return c, nil
}

// measure is agreement if any problem of the source has no right answer.
func (p *pairing) measure(members []int) Measure {
	for _, i := range members {
		if it := &p.items[i]; it.Measure == Agreement || it.Measure == "" && it.Problem.Answer == "" && p.unjudged(i) {
			return Agreement
		}
	}
	return Accuracy
}

// unjudged reports whether the task itself says that nothing is known to be
// right; a problem without a stored answer may still have a verifier.
func (p *pairing) unjudged(i int) bool {
	it := p.items[i]
	return it.Task.Verify(it.Problem, "0").Reason == task.ReasonNoGold
}

// right reports whether an answer counts, and false for ok if nobody can say.
func (p *pairing) right(m Measure, i int, r *Result) (right, ok bool) {
	if m == Accuracy {
		return r.Correct, true
	}
	if p.teacher == nil || p.teacher[i] == nil {
		return false, false
	}
	return agree(r, p.teacher[i]), true
}

// agree compares two answers as the verifier read them, up to case, spacing
// and Unicode form. Nothing agrees with an empty answer.
func agree(a, b *Result) bool {
	read := func(r *Result) string {
		if r.Answer != "" {
			return text.Normalize(r.Answer)
		}
		return text.Normalize(r.Content)
	}
	x := read(a)
	return x != "" && x == read(b)
}

// pair is one problem that both answered and somebody could judge.
type pair struct {
	student, other           *Result
	studentRight, otherRight bool
	item                     int
}

func (p *pairing) pairs(m Measure, members []int) []pair {
	var out []pair
	for _, i := range members {
		s, o := p.student[i], p.other[i]
		if s == nil || o == nil {
			continue
		}
		sr, ok := p.right(m, i, s)
		if !ok {
			continue
		}
		or, _ := p.right(m, i, o)
		out = append(out, pair{s, o, sr, or, i})
	}
	return out
}

func (p *pairing) row(name string, m Measure, members []int, opt Options) (Row, error) {
	pairs := p.pairs(m, members)
	row := Row{Family: name, N: len(pairs), Excluded: len(members) - len(pairs), Measure: m}
	var table stat.Paired
	var studentCost, otherCost exchange.PicoSum
	var studentTokens, otherTokens []float64
	for _, x := range pairs {
		table.Count(x.studentRight, x.otherRight)
		studentCost.Add(x.student.Cost)
		otherCost.Add(x.other.Cost)
		if known(x.student.Usage) && known(x.other.Usage) {
			studentTokens = append(studentTokens, float64(x.student.Usage.Output))
			otherTokens = append(otherTokens, float64(x.other.Usage.Output))
		}
	}
	row.P = table.McNemar()
	row.StudentCI = ends(stat.Wilson(table.A(), len(pairs), confidence))
	row.OtherCI = ends(stat.Wilson(table.B(), len(pairs), confidence))
	row.DiffCI = ends(table.Difference(confidence))
	if n := float64(len(pairs)); n > 0 {
		row.Student, row.Other = float64(table.A())/n, float64(table.B())/n
		row.Diff = float64(table.OnlyA-table.OnlyB) / n
		row.StudentUSD, row.OtherUSD = studentCost.USD()/n, otherCost.USD()/n
	}
	if i := table.Ratio(confidence); table.B() > 0 && !math.IsInf(i.Hi, 1) {
		row.Ratio = &Ratio{float64(table.A()) / float64(table.B()), ends(i)}
	}
	if len(studentTokens) > 0 {
		i, err := stat.Bootstrap{Confidence: confidence, Resamples: 1000, Seed: opt.Seed}.Difference(studentTokens, otherTokens)
		if err != nil {
			return row, err
		}
		row.StudentTokens, row.OtherTokens = mean(studentTokens), mean(otherTokens)
		row.TokensDiff, row.TokensDiffCI = row.StudentTokens-row.OtherTokens, ends(i)
	}
	return row, nil
}

func known(u exchange.Usage) bool { return u.Source != "" && u.Source != exchange.UsageMissing }

func ends(i stat.Interval) [2]float64 { return [2]float64{i.Lo, i.Hi} }

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// samples returns the first problems of each outcome, the telling ones first.
func (p *pairing) samples(m Measure, members []int, most int) []Sample {
	byOutcome := map[Outcome][]Sample{}
	for _, x := range p.pairs(m, members) {
		o := outcome(x.studentRight, x.otherRight)
		if len(byOutcome[o]) == most {
			continue
		}
		it := p.items[x.item]
		byOutcome[o] = append(byOutcome[o], Sample{it.Source, it.Problem.ID, it.Problem.Prompt, o, m, *x.student, *x.other})
	}
	var out []Sample
	for _, o := range []Outcome{OnlyOther, Both, Neither, OnlyStudent} {
		out = append(out, byOutcome[o]...)
	}
	return out
}

func outcome(student, other bool) Outcome {
	switch {
	case student && other:
		return Both
	case student:
		return OnlyStudent
	case other:
		return OnlyOther
	}
	return Neither
}
