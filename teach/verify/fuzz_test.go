package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"retort/exchange"
	"retort/teach/task"
)

// FuzzPrograms runs programs with little room. One that ends is run again by
// the interpreter as it comes, and must come to the same.
func FuzzPrograms(f *testing.F) {
	for _, a := range attacks {
		if len(a.body) < 1000 {
			f.Add(fmt.Sprintf(attackSource, a.body))
		}
	}
	for _, op := range operations {
		f.Add("def check(answer, problem):\n    l = [1, 2]\n    s = 'ab'\n    d = {1: 2}\n    return " + op + "\n")
	}
	f.Fuzz(func(t *testing.T, src string) {
		j, err := newStarlark(StarlarkSpec{File: "c.star", Steps: 20_000, MemoryMB: 4}, []byte(src))
		_, program, plainErr := starlark.SourceProgramOptions(&dialect, "c.star", src, func(string) bool { return false })
		if err == nil && plainErr != nil {
			t.Fatalf("compiles only when rewritten: %v", plainErr)
		}
		if err != nil {
			if strings.Contains(err.Error(), "$") && !strings.Contains(src, "$") {
				t.Fatalf("the error speaks of a guard: %v", err)
			}
			return
		}
		run := j.(*starJudge).start(context.Background())
		defer run.end()
		got, err := run.ask(&answer{In: In{Answer: exchange.Answer{Content: `{"a": [1]}`}}})
		var limit *limitError
		if errors.As(err, &limit) || run.stopped.Load() != nil {
			return
		}
		if err == nil && run.result(got).reason == ReasonTime {
			t.Fatal("the clock stopped it")
		}
		thread := &starlark.Thread{Print: func(*starlark.Thread, string) {}}
		thread.SetMaxExecutionSteps(1 << 20)
		globals, plainErr := program.Init(thread, nil)
		if plainErr != nil {
			t.Fatalf("only as it comes the top level fails: %v", plainErr)
		}
		a := sameArguments(t)
		want, plainErr := starlark.Call(thread, globals["check"], a, nil)
		if (err == nil) != (plainErr == nil) {
			t.Fatalf("rewritten: %v; as it comes: %v", err, plainErr)
		}
		if err == nil && want.String() != got.String() {
			t.Fatalf("rewritten: %s; as it comes: %s", got, want)
		}
	})
}

// sameArguments makes the same arguments once more.
func sameArguments(t *testing.T) starlark.Tuple {
	j, err := newStarlark(StarlarkSpec{File: "c.star"}, []byte(okStar))
	if err != nil {
		t.Fatal(err)
	}
	run := j.(*starJudge).start(context.Background())
	defer run.end()
	args, err := run.arguments(&answer{In: In{Answer: exchange.Answer{Content: `{"a": [1]}`}}})
	if err != nil {
		t.Fatal(err)
	}
	return args
}

// FuzzAnswers judges any answer by every kind of verifier: none breaks down,
// and the same answer is judged the same again.
func FuzzAnswers(f *testing.F) {
	s, err := New([]Spec{
		{JSONSchema: &SchemaSpec{File: "t.json", Read: "any"}}, {Fields: &FieldsSpec{Names: []string{"team", "a.b"}}}, {Exact: &ExactSpec{Extract: "team(.*)"}},
		{Numeric: &NumericSpec{Tolerance: 0.5}}, {Regex: &RegexSpec{Pattern: `^(\s*{.*})*$`, Field: "team"}}, {Starlark: &StarlarkSpec{File: "c.star"}},
	}, files(map[string]string{"t.json": ticketSchema, "c.star": "def check(a, p):\n  return str(a)\n"}))
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range []string{"", "x", `{"team": "sales", "urgency": 1}`, "```json\n{}\n```", `[{"a": 1e5}]`, "a {b} {\"c\": 1}", "-1,000.5e-3", "\xff\x00", `{"a":{"b":null}}`, "answer is 4", `{"one": 1, "two": 2, "three": 3, "four": 4}`} {
		f.Add(c, "7")
		f.Add(c, `{"team": "x"}`)
	}
	f.Fuzz(func(t *testing.T, content, gold string) {
		judge := func() Result {
			in := In{Problem: task.Problem{Answer: gold}, Answer: exchange.Answer{Content: content}}
			return s.Judge(context.Background(), in)
		}
		r := judge()
		for _, c := range r.Checks {
			if strings.Contains(c.Detail, "broke down") || c.Reason == ReasonTime || len(c.Reason) > 80 {
				t.Errorf("%+v", c)
			}
		}
		if again := judge(); fmt.Sprint(again) != fmt.Sprint(r) {
			t.Errorf("judged %+v, then %+v", r, again)
		}
	})
}
