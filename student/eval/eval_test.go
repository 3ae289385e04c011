package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"retort/exchange"
	"retort/internal/stat"
	"retort/teach/task"
)

// echo is a task whose right answer is the problem's.
type echo struct{ gold bool }

func (echo) Name() string             { return "echo" }
func (echo) Mask(p string) string     { return p }
func (echo) VerifiableIdentity() bool { return true }
func (t echo) Verify(p task.Problem, content string) task.Verdict {
	switch {
	case !t.gold:
		return task.Verdict{Reason: task.ReasonNoGold, Answer: content}
	case content == p.Answer:
		return task.Verdict{Correct: true, Reason: task.ReasonCorrect, Answer: content}
	}
	return task.Verdict{Reason: task.ReasonWrong, Answer: content}
}

func problems(source string, t echo, n int) []Item {
	var out []Item
	for i := range n {
		p := task.Problem{Family: "echo", ID: fmt.Sprintf("%s:%d", source, i), Prompt: fmt.Sprint("say ", i)}
		if t.gold {
			p.Answer = fmt.Sprint(i)
		}
		out = append(out, Item{Source: source, Task: t, Problem: p})
	}
	return out
}

// speaker answers by a function of the problem's number.
type speaker struct {
	say   func(source string, i int) string
	fail  func(source string, i int) error
	asked atomic.Int64
	wait  func()
}

func (s *speaker) Ask(ctx context.Context, r exchange.Request) (*exchange.Exchange, error) {
	s.asked.Add(1)
	if s.wait != nil {
		s.wait()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	source, number, _ := strings.Cut(r.Problem, ":")
	var i int
	fmt.Sscan(number, &i)
	if s.fail != nil {
		if err := s.fail(source, i); err != nil {
			var e *exchange.Error
			if errors.As(err, &e) {
				return &exchange.Exchange{ErrorClass: e.Class}, err
			}
			return nil, err
		}
	}
	key, _ := r.Key()
	return &exchange.Exchange{
		ID: exchange.ID(key[:16]), Key: key, Status: 200, Cost: 7,
		Answer: exchange.Answer{Reasoning: "I think", Content: s.say(source, i), FinishReason: "stop"},
		Usage:  exchange.Usage{Source: exchange.UsageReported, Input: 3, Output: int64(10 + i%4)},
	}, nil
}

func requests(model string) func(Item) (exchange.Request, error) {
	return func(it Item) (exchange.Request, error) {
		return exchange.Request{Endpoint: "test", Model: model, Messages: []exchange.Message{{Role: "user", Content: it.Problem.Prompt}}, Problem: it.Problem.ID}, nil
	}
}

func contestant(name string, s *speaker, dir string) Contestant {
	c := Contestant{Name: name, Asker: s, Request: requests(name), Concurrency: 4}
	if dir != "" {
		c.File = filepath.Join(dir, name+".jsonl")
	}
	return c
}

func right(_ string, i int) string { return fmt.Sprint(i) }

// wrongOn answers wrongly on every n-th problem from the given one.
func wrongOn(first, n int) func(string, int) string {
	return func(_ string, i int) string {
		if i%n == first {
			return "wrong"
		}
		return fmt.Sprint(i)
	}
}

func TestRowsCountWhatHappened(t *testing.T) {
	items := append(problems("a", echo{true}, 100), problems("b", echo{true}, 60)...)
	student := contestant("student", &speaker{say: wrongOn(0, 10)}, "")
	teacher := contestant("teacher", &speaker{say: wrongOn(5, 20)}, "")
	teacher.Teacher = true
	r, err := Run(context.Background(), items, []Contestant{student, teacher}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Comparisons) != 1 || !r.Comparisons[0].Teacher || len(r.Comparisons[0].Rows) != 3 {
		t.Fatalf("report: %+v", r)
	}
	for i, want := range []struct {
		family string
		table  stat.Paired
	}{
		{"a", stat.Paired{Both: 85, OnlyA: 5, OnlyB: 10}},
		{"b", stat.Paired{Both: 51, OnlyA: 3, OnlyB: 6}},
		{Overall, stat.Paired{Both: 136, OnlyA: 8, OnlyB: 16}},
	} {
		row, n := r.Comparisons[0].Rows[i], float64(want.table.N())
		d, q := want.table.Difference(0.95), want.table.Ratio(0.95)
		w := stat.Wilson(want.table.B(), want.table.N(), 0.95)
		if row.Family != want.family || row.N != want.table.N() || row.Measure != Accuracy || row.Excluded != 0 ||
			row.Student != float64(want.table.A())/n || row.Other != float64(want.table.B())/n ||
			math.Abs(row.Diff-(row.Student-row.Other)) > 1e-12 || row.DiffCI != [2]float64{d.Lo, d.Hi} ||
			row.P != want.table.McNemar() || row.OtherCI != [2]float64{w.Lo, w.Hi} ||
			row.Ratio == nil || row.Ratio.CI != [2]float64{q.Lo, q.Hi} || math.Abs(row.Ratio.Value-row.Student/row.Other) > 1e-12 {
			t.Errorf("row %+v, want the table %+v", row, want)
		}
		if row.StudentTokens != 11.5 || row.TokensDiff != 0 || math.Abs(row.OtherUSD-7e-12) > 1e-20 {
			t.Errorf("%s: tokens %v, difference %v, cost %v", row.Family, row.StudentTokens, row.TokensDiff, row.OtherUSD)
		}
	}
	raw, err := json.Marshal(r.Lines())
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	if err := json.Unmarshal(raw, &lines); err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if len(l) != 6 {
			t.Errorf("line has other members: %v", l)
		}
	}
	if lines[0]["family"] != "a" || lines[0]["student"] != 0.9 || lines[0]["teacher"] != 0.95 || lines[0]["n"] != 100.0 {
		t.Errorf("first line: %v", lines[0])
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("the report is not JSON: %v", err)
	}
}

func TestOnlyWhatBothAnsweredIsCompared(t *testing.T) {
	items := problems("a", echo{true}, 50)
	cut := &exchange.Error{Op: "ask", Class: exchange.ClassTimeout}
	teacher := &speaker{say: right, fail: func(_ string, i int) error {
		if i < 10 {
			return cut
		}
		return nil
	}}
	dir := t.TempDir()
	c := []Contestant{contestant("student", &speaker{say: wrongOn(0, 2)}, dir), contestant("teacher", teacher, dir)}
	r, err := Run(context.Background(), items, c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	row := r.Comparisons[0].Rows[0]
	if row.N != 40 || row.Excluded != 10 || row.Student != 0.5 || row.Other != 1 {
		t.Errorf("row: %+v", row)
	}
	if got := r.Contestants[1]; got.Unanswered != 10 || got.Answered != 40 || r.Contestants[0].Unanswered != 0 {
		t.Errorf("totals: %+v", r.Contestants)
	}
	// What was not answered is asked again, and nothing else.
	teacher.fail = nil
	teacher.asked.Store(0)
	if r, err = Run(context.Background(), items, c, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := teacher.asked.Load(); n != 10 || r.Comparisons[0].Rows[0].N != 50 {
		t.Errorf("asked %d again, compared %d", n, r.Comparisons[0].Rows[0].N)
	}
}

func TestWhatConcernsTheRunEndsItAndKeepsTheRest(t *testing.T) {
	items := problems("a", echo{true}, 40)
	for _, failure := range []error{
		&exchange.Error{Op: "ask", Class: exchange.ClassAuth},
		errors.New("budget"),
	} {
		dir := t.TempDir()
		s := &speaker{say: right, fail: func(_ string, i int) error {
			if i == 25 {
				return failure
			}
			return nil
		}}
		c := []Contestant{contestant("student", s, dir)}
		c[0].Concurrency = 1
		if _, err := Run(context.Background(), items, c, Options{}); !errors.Is(err, failure) || !strings.Contains(err.Error(), "a:25") {
			t.Fatalf("want %v, got %v", failure, err)
		}
		s.fail = nil
		s.asked.Store(0)
		r, err := Run(context.Background(), items, c, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := s.asked.Load(); n != 15 || r.Contestants[0].Answered != 40 {
			t.Errorf("after the failure %d are asked, want 15", n)
		}
		if _, err := os.Stat(c[0].File + partialSuffix); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the partial file is still there: %v", err)
		}
	}
}

func TestCancellingKeepsWhatWasAnswered(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &speaker{say: right}
	c := contestant("student", s, t.TempDir())
	done := 0
	_, err := Run(ctx, problems("a", echo{true}, 100), []Contestant{c}, Options{OnProgress: func(p Progress) {
		if done = p.Done; done == 30 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	s.asked.Store(0)
	var first Progress
	if _, err := Run(context.Background(), problems("a", echo{true}, 100), []Contestant{c}, Options{OnProgress: func(p Progress) {
		if first.Total == 0 {
			first = p
		}
	}}); err != nil {
		t.Fatal(err)
	}
	if first.Reused != done || s.asked.Load() != int64(100-done) {
		t.Errorf("%d were answered, %d are reused and %d asked", done, first.Reused, s.asked.Load())
	}
}

func TestAnAnswerIsReusedOnlyForTheSameQuestionToTheSameModel(t *testing.T) {
	dir := t.TempDir()
	s := &speaker{say: right}
	c := contestant("student", s, dir)
	items := problems("a", echo{true}, 20)
	run := func(items []Item) int64 {
		s.asked.Store(0)
		if _, err := Run(context.Background(), items, []Contestant{c}, Options{}); err != nil {
			t.Fatal(err)
		}
		return s.asked.Load()
	}
	if n := run(items); n != 20 {
		t.Errorf("first: %d asked", n)
	}
	if n := run(items); n != 0 {
		t.Errorf("again: %d asked", n)
	}
	items[3].Problem.Prompt = "another"
	if n := run(items); n != 1 {
		t.Errorf("one prompt changed: %d asked", n)
	}
	c.Request = requests("other weights")
	if n := run(items); n != 20 {
		t.Errorf("other weights: %d asked", n)
	}
}

func TestATornLineIsForgottenAndADamagedFileNamed(t *testing.T) {
	dir := t.TempDir()
	s := &speaker{say: right}
	c := contestant("student", s, dir)
	items := problems("a", echo{true}, 20)
	if _, err := Run(context.Background(), items, []Contestant{c}, Options{}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	// As a crash in the middle of a write leaves it.
	if err := os.Remove(c.File); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.File+partialSuffix, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	s.asked.Store(0)
	stop := errors.New("stop")
	s.fail = func(_ string, i int) error {
		if i == 15 {
			return stop
		}
		return nil
	}
	c.Concurrency = 1
	if _, err := Run(context.Background(), items, []Contestant{c}, Options{}); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	s.fail = nil
	if _, err := Run(context.Background(), items, []Contestant{c}, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := s.asked.Load() - 1; n < 9 || n > 11 { // one was asked twice
		t.Errorf("%d asked after half of the file was lost", n)
	}
	if again, err := os.ReadFile(c.File); err != nil || string(again) != string(whole) {
		t.Errorf("the file differs from that of an undisturbed evaluation: %v", err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for _, bad := range []struct {
		line int
		text string
	}{
		{3, strings.Join(lines[:2], "") + "{\"problem\": 7}\n" + strings.Join(lines[3:], "")},
		{20, strings.TrimSuffix(string(whole), "\n")},
		{2, lines[0] + "{}\n"},
	} {
		if err := os.WriteFile(c.File, []byte(bad.text), 0o644); err != nil {
			t.Fatal(err)
		}
		var re *ResultsError
		if _, err := Run(context.Background(), items, []Contestant{c}, Options{}); !errors.As(err, &re) || re.Line != bad.line || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("want line %d named: %v", bad.line, err)
		}
	}
}

func TestReportsDoNotDependOnTiming(t *testing.T) {
	items := append(problems("a", echo{true}, 80), problems("b", echo{false}, 40)...)
	run := func(concurrency int, seed uint64) (*Report, string) {
		dir := t.TempDir()
		rng := rand.New(rand.NewPCG(seed, seed))
		var mu sync.Mutex
		shuffle := func() {
			mu.Lock()
			n := rng.IntN(1000)
			mu.Unlock()
			for range n {
				_ = n
			}
		}
		c := []Contestant{
			contestant("student", &speaker{say: wrongOn(1, 3), wait: shuffle}, dir),
			contestant("teacher", &speaker{say: wrongOn(2, 7), wait: shuffle}, dir),
		}
		c[0].Concurrency, c[1].Concurrency, c[1].Teacher = concurrency, concurrency, true
		r, err := Run(context.Background(), items, c, Options{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(c[0].File)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(raw)
	}
	a, fileA := run(1, 1)
	b, fileB := run(16, 2)
	if diff := cmp.Diff(a, b, cmp.AllowUnexported(exchange.PicoSum{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reports differ:\n%s", diff)
	}
	if fileA != fileB {
		t.Error("results files differ")
	}
}

func TestWithoutGoldItIsAgreementWithTheTeacher(t *testing.T) {
	items := append(problems("a", echo{true}, 30), problems("file", echo{false}, 40)...)
	teacher := contestant("teacher", &speaker{say: func(_ string, i int) string {
		if i == 8 {
			return ""
		}
		return fmt.Sprintf("Answer  %d", i)
	}}, "")
	teacher.Teacher = true
	student := contestant("student", &speaker{say: func(source string, i int) string {
		switch {
		case source == "a":
			return fmt.Sprint(i)
		case i%4 == 0:
			return ""
		}
		return fmt.Sprintf("answer %d ", i)
	}}, "")
	untrained := contestant("untrained", &speaker{say: func(string, int) string { return "" }}, "")
	r, err := Run(context.Background(), items, []Contestant{student, teacher, untrained}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows := r.Comparisons[0].Rows
	if rows[1].Measure != Agreement || rows[1].Student != 0.75 || rows[1].N != 40 {
		t.Errorf("agreement: %+v", rows[1])
	}
	if rows[2].Measure != Accuracy || rows[2].N != 30 {
		t.Errorf("overall mixes measures: %+v", rows[2])
	}
	if u := r.Comparisons[1].Rows[1]; u.Measure != Agreement || u.Student != 0.75 || u.Other != 0 || u.Ratio != nil {
		t.Errorf("beside the untrained student: %+v", u)
	}
	l := r.Lines()[1]
	if l.Agreement == nil || *l.Agreement != 0.75 || l.Student != nil || l.Teacher != nil || l.CI95[0] > 0.75 || l.CI95[1] < 0.75 {
		t.Errorf("line: %+v", l)
	}
	// Without the teacher there is nothing to agree with.
	r, err = Run(context.Background(), items, []Contestant{student, untrained}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if row := r.Comparisons[0].Rows[1]; row.N != 0 || row.Excluded != 40 || row.DiffCI != [2]float64{-1, 1} || row.P != 1 {
		t.Errorf("agreement with nobody: %+v", row)
	}
}

func TestAnotherRunsResultsArePairedByProblem(t *testing.T) {
	dir := t.TempDir()
	earlier := contestant("earlier", &speaker{say: wrongOn(0, 2)}, dir)
	if _, err := Run(context.Background(), problems("a", echo{true}, 30), []Contestant{earlier}, Options{}); err != nil {
		t.Fatal(err)
	}
	items := problems("a", echo{true}, 40)
	for i := range items {
		items[i].Source = "renamed"
	}
	student := contestant("student", &speaker{say: right}, "")
	stored := Contestant{Name: "earlier", File: earlier.File}
	r, err := Run(context.Background(), items, []Contestant{student, stored}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if row := r.Comparisons[0].Rows[0]; row.N != 30 || row.Excluded != 10 || row.Other != 0.5 || row.Student != 1 {
		t.Errorf("row: %+v", row)
	}
	stored.File = filepath.Join(dir, "none.jsonl")
	if _, err := Run(context.Background(), items, []Contestant{student, stored}, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestSamplesShowEachOutcomeOnce(t *testing.T) {
	items := problems("a", echo{true}, 60)
	student := contestant("student", &speaker{say: wrongOn(0, 2)}, "")
	other := contestant("other", &speaker{say: wrongOn(0, 3)}, "")
	r, err := Run(context.Background(), items, []Contestant{student, other}, Options{Samples: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := map[Outcome]string{}
	for _, s := range r.Comparisons[0].Samples {
		got[s.Outcome] = s.Problem
		if s.StudentRight() != s.Student.Correct || s.OtherRight() != s.Other.Correct || s.Student.Reasoning != "I think" || s.Prompt == "" {
			t.Errorf("sample: %+v", s)
		}
	}
	want := map[Outcome]string{Both: "a:1", OnlyOther: "a:2", OnlyStudent: "a:3", Neither: "a:0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestImpossibleInputIsNamed(t *testing.T) {
	s := &speaker{say: right}
	items := problems("a", echo{true}, 3)
	ok := contestant("student", s, "")
	teacher := contestant("teacher", s, "")
	teacher.Teacher = true
	second := teacher
	second.Name = "second"
	shared := contestant("shared", s, "")
	shared.File = filepath.Join(t.TempDir(), "x.jsonl")
	twin := shared
	twin.Name = "twin"
	broken := ok
	broken.Request = func(Item) (exchange.Request, error) { return exchange.Request{Params: []byte("{")}, nil }
	for _, c := range []struct {
		items       []Item
		contestants []Contestant
		want        string
	}{
		{nil, []Contestant{ok}, "no held-out problems"},
		{items, nil, "no contestant"},
		{items, []Contestant{ok, ok}, `called "student"`},
		{items, []Contestant{ok, teacher, second}, "more than one"},
		{items, []Contestant{{Name: "x"}}, "needs an asker"},
		{append(items, items[0]), []Contestant{ok}, "a:0 twice"},
		{items, []Contestant{shared, twin}, "share the results file"},
		{items, []Contestant{broken}, "problem a:0"},
	} {
		if _, err := Run(context.Background(), c.items, c.contestants, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

func TestAnAnswerThatWasCutOffIsWrong(t *testing.T) {
	it := problems("a", echo{gold: true}, 1)[0]
	for reason, want := range map[string]Result{
		"stop":   {Correct: true, Verdict: task.ReasonCorrect},
		"length": {Correct: false, Verdict: VerdictCut},
	} {
		r := Result{Content: "0", FinishReason: reason}
		if r.verify(it); r.Correct != want.Correct || r.Verdict != want.Verdict {
			t.Errorf("finish reason %s: %v, %s", reason, r.Correct, r.Verdict)
		}
	}
}
