package eval

import (
	"fmt"
	"math"
	"testing"
)

// side makes results of sources, one letter a problem: + right, - wrong, .
// unanswered.
func side(marks map[string]string) PairSide {
	var s PairSide
	for _, source := range []string{"a", "b", "c"} {
		for i, m := range marks[source] {
			if m == '.' {
				continue
			}
			s.Results = append(s.Results, Result{Source: source, Problem: fmt.Sprint(source, i), Correct: m == '+', Answer: string(m), Content: string(m)})
		}
	}
	return s
}

func accuracy(string) Measure { return Accuracy }

func TestPairComparesOnlyWhatBothAnswered(t *testing.T) {
	rows := Pair(side(map[string]string{"a": "++--+.", "b": "+"}), side(map[string]string{"a": "+-+-.+", "c": "-"}), accuracy)
	if len(rows) != 4 {
		t.Fatalf("rows: %+v", rows)
	}
	a := rows[0]
	if a.N != 4 || a.OnlyInA != 1 || a.OnlyInB != 1 || a.A != 0.5 || a.B != 0.5 || a.Diff != 0 || a.P != 1 || a.Same != 0.5 {
		t.Errorf("a: %+v", a)
	}
	if len(a.Changed) != 2 || !a.Changed[0].Lost || a.Changed[0].Problem != "a1" || a.Changed[1].Lost || a.Changed[1].Problem != "a2" {
		t.Errorf("changed: %+v", a.Changed)
	}
	if rows[1].N != 0 || rows[1].OnlyInA != 1 || rows[2].OnlyInB != 1 || rows[2].P != 1 {
		t.Errorf("sources of one side alone: %+v", rows[1:3])
	}
	if rows[3].Family != Overall || rows[3].N != 4 {
		t.Errorf("overall: %+v", rows[3])
	}
}

func TestHolmCorrectsForTheNumberOfFamilies(t *testing.T) {
	lost := func(n int) (string, string) {
		a, b := "", ""
		for i := range 20 {
			a += "+"
			if i < n {
				b += "-"
			} else {
				b += "+"
			}
		}
		return a, b
	}
	a10, b10 := lost(10)
	a6, b6 := lost(6)
	a5, b5 := lost(5)
	rows := Pair(side(map[string]string{"a": a6, "b": a10, "c": a5}), side(map[string]string{"a": b6, "b": b10, "c": b5}), accuracy)
	// Exact McNemar of n against 0: 2·2⁻ⁿ.
	p := func(n int) float64 { return 2 * math.Pow(2, -float64(n)) }
	for i, want := range []float64{2 * p(6), 3 * p(10), max(2*p(6), p(5))} {
		if math.Abs(rows[i].PHolm-want) > 1e-12 {
			t.Errorf("%s: p %v corrected to %v, want %v", rows[i].Family, rows[i].P, rows[i].PHolm, want)
		}
	}
	if rows[3].PHolm != rows[3].P || rows[3].DiffCI[1] >= 0 || rows[0].Diff != -0.3 {
		t.Errorf("overall: %+v", rows[3])
	}
}

func TestPairByAgreementLooksAtEachSidesOwnTeacher(t *testing.T) {
	answers := func(list ...string) (out []Result) {
		for i, a := range list {
			out = append(out, Result{Source: "a", Problem: fmt.Sprint(i), Answer: a, Content: a})
		}
		return out
	}
	rows := Pair(
		PairSide{Results: answers("x", "y", "z"), Teacher: answers("x", "y", "q")},
		PairSide{Results: answers("x", "u", "z"), Teacher: answers("x", "y", "q")},
		func(string) Measure { return Agreement })
	if r := rows[0]; r.Measure != Agreement || r.A != 2./3 || r.B != 1./3 || r.Same != 2./3 {
		t.Errorf("%+v", r)
	}
}

func TestJudgeJudgesStoredResultsByOtherRules(t *testing.T) {
	items := problems("a", echo{gold: true}, 3)
	results := []Result{
		{Source: "a", Problem: "a:1", Content: "1", Correct: false}, {Source: "a", Problem: "a:2", Content: "7", Correct: true},
		{Source: "a", Problem: "a:9", Content: "9", Correct: true},
	}
	got := Judge(results, items)
	if len(got) != 3 || !got[0].Correct || got[1].Correct || !got[2].Correct {
		t.Errorf("%+v", got)
	}
	if results[0].Correct {
		t.Error("the stored results were changed")
	}
}
