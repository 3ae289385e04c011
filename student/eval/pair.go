package eval

import (
	"slices"

	"retort/internal/stat"
)

// PairRow compares two contestants, such as the students of two runs, on the
// problems of one source that both answered.
type PairRow struct {
	Family  string     `json:"family"` // the source, or Overall
	N       int        `json:"n"`
	OnlyInA int        `json:"only_in_a"` // problems that B has no answer to
	OnlyInB int        `json:"only_in_b"`
	Measure Measure    `json:"measure"`
	A       float64    `json:"a"`
	ACI     [2]float64 `json:"a_ci95"` // Wilson
	B       float64    `json:"b"`
	BCI     [2]float64 `json:"b_ci95"` // Wilson
	Diff    float64    `json:"diff"`   // B less A
	DiffCI  [2]float64 `json:"ci95"`   // paired: Tango's score interval
	P       float64    `json:"p"`      // exact McNemar, two-sided
	// PHolm is P corrected by Holm's method for there being several families;
	// of Overall, which is one question of its own, it is P.
	PHolm float64 `json:"p_holm"`
	Same  float64 `json:"same"` // share of problems to which both give the same answer
	// Changed are the first problems that one of the two got right and the
	// other did not, those that B lost first.
	Changed []PairChange `json:"changed,omitempty"`
}

// PairChange is a problem that only one of two contestants got right.
type PairChange struct {
	Problem string `json:"problem"`
	AnswerA string `json:"answer_a"`
	AnswerB string `json:"answer_b"`
	Lost    bool   `json:"lost"` // A was right and B is not
}

// PairSide is one side of a comparison: stored results and, where a source has
// no right answers, those of its own teacher, which stand in for them.
type PairSide struct {
	Results []Result
	Teacher []Result
}

// mostChanges bounds PairRow.Changed for each direction.
const mostChanges = 2

// Pair compares two sides source by source, in the order of a's results, and
// overall. measure says what right means for a source. Sources that only one of
// the two has are left out of Overall, and counted.
func Pair(a, b PairSide, measure func(source string) Measure) []PairRow {
	type slot struct{ source, problem string }
	index := func(list []Result) map[slot]*Result {
		m := map[slot]*Result{}
		for i := range list {
			m[slot{list[i].Source, list[i].Problem}] = &list[i]
		}
		return m
	}
	inA, inB, teacherA, teacherB := index(a.Results), index(b.Results), index(a.Teacher), index(b.Teacher)
	right := func(m Measure, r *Result, teacher map[slot]*Result) (bool, bool) {
		if m == Accuracy {
			return r.Correct, true
		}
		t := teacher[slot{r.Source, r.Problem}]
		return t != nil && agree(r, t), t != nil
	}
	rows := map[string]*pairCounts{}
	var names []string
	of := func(source string) *pairCounts {
		c := rows[source]
		if c == nil {
			c = &pairCounts{measure: measure(source)}
			rows[source] = c
			names = append(names, source)
		}
		return c
	}
	for i := range a.Results {
		x := &a.Results[i]
		c := of(x.Source)
		y := inB[slot{x.Source, x.Problem}]
		if y == nil {
			c.onlyA++
			continue
		}
		xr, okx := right(c.measure, x, teacherA)
		yr, oky := right(c.measure, y, teacherB)
		if okx && oky {
			c.count(x, y, xr, yr)
		}
	}
	for i := range b.Results {
		if y := &b.Results[i]; inA[slot{y.Source, y.Problem}] == nil {
			of(y.Source).onlyB++
		}
	}
	return pairRows(names, rows)
}

// pairCounts is what one row is made of.
type pairCounts struct {
	measure      Measure
	table        stat.Paired
	same         int
	onlyA, onlyB int
	lost, won    []PairChange
}

func (c *pairCounts) count(x, y *Result, xr, yr bool) {
	c.table.Count(xr, yr)
	if agree(x, y) {
		c.same++
	}
	change := PairChange{Problem: x.Problem, AnswerA: x.Content, AnswerB: y.Content, Lost: xr}
	switch {
	case xr && !yr && len(c.lost) < mostChanges:
		c.lost = append(c.lost, change)
	case yr && !xr && len(c.won) < mostChanges:
		c.won = append(c.won, change)
	}
}

func (c *pairCounts) add(o *pairCounts) {
	c.table.Both += o.table.Both
	c.table.OnlyA += o.table.OnlyA
	c.table.OnlyB += o.table.OnlyB
	c.table.Neither += o.table.Neither
	c.same += o.same
	c.onlyA += o.onlyA
	c.onlyB += o.onlyB
}

func pairRows(names []string, rows map[string]*pairCounts) []PairRow {
	var out []PairRow
	overall := &pairCounts{measure: Agreement}
	for _, name := range names { // shares of right answers and of agreement do not add up
		if rows[name].measure == Accuracy {
			overall.measure = Accuracy
		}
	}
	for _, name := range names {
		c := rows[name]
		out = append(out, c.row(name))
		if c.measure == overall.measure && c.table.N() > 0 {
			overall.add(c)
		}
	}
	holm(out)
	total := overall.row(Overall)
	total.PHolm = total.P
	return append(out, total)
}

func (c *pairCounts) row(name string) PairRow {
	n := c.table.N()
	r := PairRow{Family: name, N: n, OnlyInA: c.onlyA, OnlyInB: c.onlyB, Measure: c.measure, P: 1, PHolm: 1, Changed: append(c.lost, c.won...)}
	if n == 0 {
		return r
	}
	r.A, r.B = float64(c.table.A())/float64(n), float64(c.table.B())/float64(n)
	r.ACI, r.BCI = ends(stat.Wilson(c.table.A(), n, confidence)), ends(stat.Wilson(c.table.B(), n, confidence))
	d := ends(c.table.Difference(confidence)) // of A less B
	r.Diff, r.DiffCI = float64(c.table.OnlyB-c.table.OnlyA)/float64(n), [2]float64{-d[1], -d[0]}
	r.P, r.Same = c.table.McNemar(), float64(c.same)/float64(n)
	return r
}

// holm fills in PHolm: the smallest of m values is multiplied by m, the next by
// m−1 and so on, and none is smaller than the one before it. Families without a
// problem in common ask no question and are not counted.
func holm(rows []PairRow) {
	var order []int
	for i := range rows {
		if rows[i].N > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case rows[i].P < rows[j].P:
			return -1
		case rows[i].P > rows[j].P:
			return 1
		}
		return 0
	})
	last := 0.0
	for k, i := range order {
		last = max(last, min(1, rows[i].P*float64(len(order)-k)))
		rows[i].PHolm = last
	}
}

// Judge judges stored results again by the items' own tasks, such as another
// run's verifiers. A result that answers none of the items stays as it is.
func Judge(results []Result, items []Item) []Result {
	byID := map[[2]string]Item{}
	for _, it := range items {
		byID[[2]string{it.Source, it.Problem.ID}] = it
	}
	out := slices.Clone(results)
	for i := range out {
		if it, ok := byID[[2]string{out[i].Source, out[i].Problem}]; ok {
			out[i].verify(it)
		}
	}
	return out
}
