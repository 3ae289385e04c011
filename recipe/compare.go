package recipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"retort/report"
	"retort/student/eval"
	"retort/workspace"
)

// Comparison is two runs side by side, on the held-out problems that both
// answered.
type Comparison struct {
	A RunInfo `json:"a"`
	B RunInfo `json:"b"`
	// Rules says whose verifiers judged both runs' answers.
	Rules   string         `json:"rules"`
	Student []eval.PairRow `json:"student"`
	Teacher []eval.PairRow `json:"teacher,omitempty"` // nil where one of the two asked none
	Notes   []string       `json:"notes,omitempty"`
	// Worse and Better are the families, or overall, in which B's student
	// differs from A's beyond chance: 5%, corrected for the families.
	Worse  []string `json:"worse"`
	Better []string `json:"better"`
}

// significance is the level at which a difference counts as one.
const significance = 0.05

// runFile holds what a run's directory says about where it came from.
const runFile = "run.json"

// origin is the content of runFile.
type origin struct {
	Recipe string `json:"recipe"` // absolute path of the recipe's file
	Rules  string `json:"rules"`  // hash of its verifiers
}

// Compare compares two runs of a workspace, named as for FindRun. Both must
// have been evaluated. Where their verifiers differ, both runs' answers are
// judged by those of B, if B's recipe still stands where it was run from.
func Compare(ws *workspace.Workspace, a, b string) (*Comparison, error) {
	c := &Comparison{Worse: []string{}, Better: []string{}}
	var sides [2]evaluated
	for i, name := range []string{a, b} {
		info, err := FindRun(ws, name)
		if err != nil {
			return nil, err
		}
		if sides[i], err = readEvaluated(info); err != nil {
			return nil, err
		}
	}
	c.A, c.B = sides[0].info, sides[1].info
	if c.A.Name == c.B.Name {
		return nil, fmt.Errorf("%q and %q are the same run, %s", a, b, c.A.Name)
	}
	c.rejudge(ws, &sides[0], &sides[1])
	measure := func(source string) eval.Measure {
		if m, ok := sides[1].measures[source]; ok {
			return m
		}
		return sides[0].measures[source]
	}
	c.Student = eval.Pair(eval.PairSide{Results: sides[0].student, Teacher: sides[0].teacher}, eval.PairSide{Results: sides[1].student, Teacher: sides[1].teacher}, measure)
	if sides[0].teacher != nil && sides[1].teacher != nil {
		c.Teacher = eval.Pair(eval.PairSide{Results: sides[0].teacher}, eval.PairSide{Results: sides[1].teacher}, func(string) eval.Measure { return eval.Accuracy })
		c.Teacher = onlyMeasured(c.Teacher, measure)
	}
	c.conclude()
	return c, nil
}

// onlyMeasured keeps the rows of sources whose right answers are known: nobody
// can say how often a teacher is right elsewhere.
func onlyMeasured(rows []eval.PairRow, measure func(string) eval.Measure) []eval.PairRow {
	var out []eval.PairRow
	for _, r := range rows {
		if r.Family != eval.Overall && measure(r.Family) == eval.Accuracy {
			out = append(out, r)
		}
	}
	return out
}

// evaluated is what a run's evaluation has left.
type evaluated struct {
	info             RunInfo
	student, teacher []eval.Result
	measures         map[string]eval.Measure
	origin           origin
}

func readEvaluated(info RunInfo) (evaluated, error) {
	e := evaluated{info: info, measures: map[string]eval.Measure{}}
	var found eval.Report
	ok, err := readJSON(filepath.Join(info.Dir, evalFile), &found)
	if err != nil {
		return e, err
	}
	if !ok {
		return e, fmt.Errorf("run %s has not been evaluated: it comes to stage %q next; go on with: retort run RECIPE", info.Name, info.Next)
	}
	for _, c := range found.Comparisons {
		for _, row := range c.Rows {
			e.measures[row.Family] = row.Measure
		}
	}
	if e.student, err = eval.LoadResults(resultsPath(info.Dir, "student")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("run %s has no held-out problems: there is nothing to compare", info.Name)
		}
		return e, err
	}
	if e.teacher, err = eval.LoadResults(resultsPath(info.Dir, againstTeacher)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return e, err
	}
	_, err = readJSON(filepath.Join(info.Dir, runFile), &e.origin)
	return e, err
}

// rejudge puts both runs' answers to one set of verifiers where theirs differ.
func (c *Comparison) rejudge(ws *workspace.Workspace, a, b *evaluated) {
	c.Rules = "the same verifiers"
	if a.origin.Rules == b.origin.Rules {
		return
	}
	items, name, err := itemsOf(ws, b)
	if err != nil {
		items, name, err = itemsOf(ws, a)
	}
	if err != nil {
		c.Rules = "each run's own verifiers"
		c.Notes = append(c.Notes, fmt.Sprintf("The two runs judged by different verifiers, and neither recipe can be read any more (%v): the shares are not of the same thing.", err))
		return
	}
	c.Rules = "the verifiers of " + name
	c.Notes = append(c.Notes, "The two runs judged by different verifiers; here the answers of both are judged by those of "+name+".")
	for _, e := range []*evaluated{a, b} {
		e.student, e.teacher = eval.Judge(e.student, items), eval.Judge(e.teacher, items)
		for _, it := range items {
			e.measures[it.Source] = it.Measure
		}
	}
}

// itemsOf makes the held-out problems of a run with its verifiers, if the
// recipe that it was run from is still the same.
func itemsOf(ws *workspace.Workspace, e *evaluated) ([]eval.Item, string, error) {
	if e.origin.Recipe == "" {
		return nil, "", fmt.Errorf("run %s does not say from which file it was run", e.info.Name)
	}
	rec, err := Load(e.origin.Recipe)
	if err != nil {
		return nil, "", err
	}
	name, err := rec.RunName()
	if err != nil {
		return nil, "", err
	}
	if name != e.info.Name {
		return nil, "", fmt.Errorf("%s has changed since %s", e.origin.Recipe, e.info.Name)
	}
	r := &run{Recipe: rec}
	if r.verifiers, err = rec.makeVerifiers(); err != nil {
		return nil, "", err
	}
	if r.sources, err = rec.sources(context.Background(), &place{ws: ws, dir: e.info.Dir}); err != nil {
		return nil, "", err
	}
	return r.items(), name, nil
}

// conclude says what the comparison comes to.
func (c *Comparison) conclude() {
	for _, r := range c.Student {
		if r.N == 0 && r.Family != eval.Overall {
			c.Notes = append(c.Notes, fmt.Sprintf("%s: the two runs have no problem in common.", r.Family))
		}
		switch {
		case r.PHolm >= significance:
		case r.Diff < 0:
			c.Worse = append(c.Worse, r.Family)
		case r.Diff > 0:
			c.Better = append(c.Better, r.Family)
		}
	}
	if n := len(c.Student); n > 0 && c.Student[n-1].N > 0 && c.Student[n-1].N < 100 {
		c.Notes = append(c.Notes, fmt.Sprintf("Only %d problems in common: the intervals are wide.", c.Student[n-1].N))
	}
}

// Print writes the comparison for people.
func (c *Comparison) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n\n", c.A.line(), c.B.line())
	if err := pairTable(&b, "student", c.Student); err != nil {
		return err
	}
	if len(c.Teacher) > 0 {
		b.WriteByte('\n')
		if err := pairTable(&b, "teacher", c.Teacher); err != nil {
			return err
		}
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "\n%s\n", report.Wrap(n))
	}
	b.WriteByte('\n')
	switch {
	case len(c.Worse)+len(c.Better) == 0:
		b.WriteString("No difference between the students beyond chance.\n")
	default:
		if len(c.Better) > 0 {
			fmt.Fprintf(&b, "B's student is better: %s.\n", strings.Join(c.Better, ", "))
		}
		if len(c.Worse) > 0 {
			fmt.Fprintf(&b, "B's student is worse: %s.\n", strings.Join(c.Worse, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *RunInfo) line() string {
	s := fmt.Sprintf("%s: %s examples", r.Name, report.FormatCount(int64(r.Examples)))
	if r.Page != "" {
		s += ", " + report.FormatUSD(r.USD)
	}
	return s
}

func pairTable(w io.Writer, who string, rows []eval.PairRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tn\tA\tB\tB less A\t95%% interval\tp\tp (Holm)\tsame answer\t\n", who)
	agreement := false
	for _, r := range rows {
		if r.N == 0 {
			fmt.Fprintf(t, "%s\t0\t\t\t\t\t\t\t\t\n", r.Family)
			continue
		}
		name := r.Family
		if r.Measure == eval.Agreement {
			name, agreement = name+" *", true
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, r.N, report.FormatPercent(r.A), report.FormatPercent(r.B),
			report.FormatPoints(r.Diff), report.FormatInterval(r.DiffCI), report.FormatP(r.P), report.FormatP(r.PHolm), report.FormatPercent(r.Same))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if agreement {
		fmt.Fprintf(w, "* agreement with the run's own teacher: nobody knows what is right\n")
	}
	return nil
}
