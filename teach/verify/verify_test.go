package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/teach/task"
)

func set(t testing.TB, specs ...Spec) *Set {
	t.Helper()
	s, err := New(specs, files(nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// in is an answer to a problem with that gold answer, and that row.
func in(content, gold, row string) In {
	p := task.Problem{Prompt: "p", Answer: gold}
	if strings.HasPrefix(gold, "{") || strings.HasPrefix(gold, "[") {
		p.Gold = json.RawMessage(gold)
	}
	if row != "" {
		p.Fields = json.RawMessage(row)
	}
	return In{Problem: p, Answer: exchange.Answer{Content: content}}
}

func TestVerifiersJudge(t *testing.T) {
	exact := func(s ExactSpec) Spec { return Spec{Exact: &s} }
	numeric := func(s NumericSpec) Spec { return Spec{Numeric: &s} }
	regex := func(s RegexSpec) Spec { return Spec{Regex: &s} }
	fields := func(s FieldsSpec) Spec { return Spec{Fields: &s} }
	team := FieldsSpec{Names: []string{"team", "urgency"}}
	for _, c := range []struct {
		name               string
		spec               Spec
		content, gold, row string
		outcome, reason    string
		read               string // Verdict.Answer
	}{
		{"exact", exact(ExactSpec{}), " a \n b ", "a b", "", Pass, "", "a b"},
		{"exact wrong", exact(ExactSpec{}), "A b", "a b", "", Fail, "wrong", "A b"},
		{"exact case", exact(ExactSpec{IgnoreCase: true}), "A b", "a B", "", Pass, "", "A b"},
		{"exact empty", exact(ExactSpec{}), "  ", "a b", "", Fail, "no_answer", ""},
		{"exact without gold", exact(ExactSpec{}), "x", "", "", Skip, "no_gold", "x"},
		{"exact by field", exact(ExactSpec{Gold: "label"}), "x", "", `{"label": "x"}`, Pass, "", "x"},
		{"exact by a field that is null", exact(ExactSpec{Gold: "label"}), "x", "", `{"label": null}`, Skip, "no_gold", "x"},
		{"exact by a field that is a number", exact(ExactSpec{Gold: "a.b"}), "7", "", `{"a": {"b": 7}}`, Pass, "", "7"},
		{"exact extracted", exact(ExactSpec{Extract: `(?i)answer:\s*(\w+)`}), "Answer: no. Answer: yes!", "yes", "", Pass, "", "yes"},
		{"exact not extracted", exact(ExactSpec{Extract: `(?i)answer:\s*(\w+)`}), "yes", "yes", "", Fail, "no_answer", "yes"},
		{"exact bad row", exact(ExactSpec{Gold: "label"}), "x", "", `{"label"`, Error, ReasonBadGold, "x"},

		{"numeric", numeric(NumericSpec{}), "It is 1,000.0 dollars", "$1000", "", Pass, "", "1000"},
		{"numeric marked", numeric(NumericSpec{}), "The answer is 12, since 3 < 4", "12", "", Pass, "", "12"},
		{"numeric wrong", numeric(NumericSpec{}), "999.99", "1000", "", Fail, "wrong", "999.99"},
		{"numeric within", numeric(NumericSpec{Tolerance: 0.1}), "1000.1", "1000", "", Pass, "", "1000.1"},
		{"numeric just beyond", numeric(NumericSpec{Tolerance: 0.1}), "1000.1000001", "1000", "", Fail, "wrong", "1000.1000001"},
		{"numeric relative", numeric(NumericSpec{Relative: 0.01}), "-990", "-1000", "", Pass, "", "-990"},
		{"numeric relative beyond", numeric(NumericSpec{Relative: 0.01}), "-989", "-1000", "", Fail, "wrong", "-989"},
		{"numeric power", numeric(NumericSpec{}), "1.5e3", "1500", "", Pass, "", "1500"},
		{"numeric minus", numeric(NumericSpec{}), "x = −3", "-3", "", Pass, "", "-3"},
		{"numeric difference", numeric(NumericSpec{}), "7-3", "3", "", Pass, "", "3"},
		{"numeric none", numeric(NumericSpec{}), "no idea", "3", "", Fail, "no_answer", "no idea"},
		{"numeric bad gold", numeric(NumericSpec{}), "3", "three", "", Error, ReasonBadGold, "3"},
		{"numeric without gold", numeric(NumericSpec{}), "it is 3.50", "", "", Skip, "no_gold", "3.50"},
		{"numeric huge", numeric(NumericSpec{}), strings.Repeat("9", 5000), "3", "", Fail, "unparsable", strings.Repeat("9", 5000)},

		{"regex", regex(RegexSpec{Pattern: `^\d+$`}), "12", "", "", Pass, "", "12"},
		{"regex no match", regex(RegexSpec{Pattern: `^\d+$`}), "12a", "", "", Fail, ReasonNoMatch, "12a"},
		{"regex not", regex(RegexSpec{Pattern: `(?i)sorry`, Not: true}), "I am Sorry", "", "", Fail, ReasonMatch, "I am Sorry"},
		{"regex not, passed", regex(RegexSpec{Pattern: `(?i)sorry`, Not: true}), "fine", "", "", Pass, "", "fine"},
		{"regex group", regex(RegexSpec{Pattern: `so (?P<answer>\w+)!`}), "it is so blue!", "", "", Pass, "", "blue"},
		{"regex field", regex(RegexSpec{Pattern: `^ORD-\d+$`, Field: "order.id"}), `{"order": {"id": "ORD-7"}}`, "", "", Pass, "", `{"order": {"id": "ORD-7"}}`},
		{"regex field missing", regex(RegexSpec{Pattern: `x`, Field: "id"}), `{}`, "", "", Fail, ReasonNoField, `{}`},
		{"regex field of no JSON", regex(RegexSpec{Pattern: `x`, Field: "id"}), `x`, "", "", Fail, ReasonNotJSON, `x`},

		{"fields", fields(team), `{"team": " Billing", "urgency": "2", "other": 1}`, `{"team": "billing", "urgency": 2.0}`, "", Pass, "", `{"team":"billing","urgency":2}`},
		{"fields wrong", fields(team), `{"team": "sales", "urgency": 3}`, `{"team": "billing", "urgency": 2}`, "", Fail, "wrong:team", `{"team":"sales","urgency":3}`},
		{"fields second wrong", fields(team), `{"team": "billing"}`, `{"team": "billing", "urgency": 2}`, "", Fail, "wrong:urgency", `{"team":"billing","urgency":null}`},
		{"fields null is missing", fields(team), `{"team": "billing", "urgency": null}`, `{"team": "billing"}`, "", Pass, "", `{"team":"billing","urgency":null}`},
		{"fields exact", fields(FieldsSpec{Names: []string{"team"}, Exact: true}), `{"team": "Billing"}`, `{"team": "billing"}`, "", Fail, "wrong:team", `{"team":"Billing"}`},
		{"fields exact null", fields(FieldsSpec{Names: []string{"team"}, Exact: true}), `{"team": null}`, `{"x": 1}`, "", Fail, "wrong:team", `{"team":null}`},
		{"fields exact number", fields(FieldsSpec{Names: []string{"n"}, Exact: true}), `{"n": 1.0}`, `{"n": 1}`, "", Pass, "", `{"n":1}`},
		{"fields nested", fields(FieldsSpec{Names: []string{"a.b"}}), `{"a": {"b": [1, {"c": "X"}]}}`, `{"a": {"b": ["1", {"c": "x", "d": null}]}}`, "", Pass, "", `{"a.b":[1,{"c":"x"}]}`},
		{"fields order of a list", fields(FieldsSpec{Names: []string{"a"}}), `{"a": [1, 2]}`, `{"a": [2, 1]}`, "", Fail, "wrong:a", `{"a":[1,2]}`},
		{"fields in a block", fields(team), "Here:\n```json\n{\"team\": \"x\", \"urgency\": 1}\n```\nDone.", `{"team": "x", "urgency": 1}`, "", Pass, "", `{"team":"x","urgency":1}`},
		{"fields in prose", fields(team), `Sure {smile}: {"team": "x", "urgency": 1}.`, `{"team": "x", "urgency": 1}`, "", Pass, "", `{"team":"x","urgency":1}`},
		{"fields twice", fields(team), `{"team": "x"} or {"team": "y"}`, `{"team": "x"}`, "", Fail, ReasonNotJSON, `{"team": "x"} or {"team": "y"}`},
		{"fields none", fields(team), `the team is x`, `{"team": "x"}`, "", Fail, ReasonNotJSON, `the team is x`},
		{"fields list", fields(team), `[1]`, `{"team": "x"}`, "", Fail, ReasonNotJSON, `[1]`},
		{"fields without gold", fields(team), `{"team": "X"}`, "", "", Skip, "no_gold", `{"team":"x","urgency":null}`},
		{"fields without gold and JSON", fields(team), `x`, "", "", Skip, "no_gold", `x`},
		{"fields of the row", fields(FieldsSpec{Names: []string{"team"}, Gold: "."}), `{"team": "x"}`, "", `{"team": "x", "body": "…"}`, Pass, "", `{"team":"x"}`},
		{"fields the row lacks", fields(FieldsSpec{Names: []string{"team"}, Gold: "."}), `{"team": "x"}`, "", `{"body": "…"}`, Skip, "no_gold", `{"team":"x"}`},
		{"fields by field", fields(FieldsSpec{Names: []string{"team"}, Gold: "label"}), `{"team": "x"}`, "", `{"label": {"team": "x"}}`, Pass, "", `{"team":"x"}`},
		{"fields as text", fields(FieldsSpec{Names: []string{"team"}, Gold: "label"}), `{"team": "x"}`, "", `{"label": "{\"team\": \"x\"}"}`, Pass, "", `{"team":"x"}`},
		{"one field, one word", fields(FieldsSpec{Names: []string{"team"}}), `{"team": "x"}`, "X", "", Pass, "", `{"team":"x"}`},
		{"two fields, one word", fields(team), `{"team": "x"}`, "x", "", Error, ReasonBadGold, `{"team": "x"}`},
		{"leading zeros", fields(FieldsSpec{Names: []string{"id"}}), `{"id": "007"}`, `{"id": 7}`, "", Fail, "wrong:id", `{"id":"007"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := set(t, c.spec).Judge(context.Background(), in(c.content, c.gold, c.row))
			if got := r.Checks[0]; got.Outcome != c.outcome || got.Reason != c.reason {
				t.Errorf("check %+v", got)
			}
			if r.Verdict.Answer != c.read {
				t.Errorf("read %q, want %q", r.Verdict.Answer, c.read)
			}
			if r.Verdict.Correct != (c.outcome == Pass && c.spec.Regex == nil) {
				t.Errorf("verdict %+v", r.Verdict)
			}
		})
	}
}

const ticketSchema = `{
  "type": "object", "required": ["team", "urgency"], "additionalProperties": false,
  "properties": {"team": {"enum": ["billing", "sales"]}, "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
    "when": {"type": "string", "format": "date"}, "same": {"$ref": "#/$defs/word"}},
  "$defs": {"word": {"type": "string", "pattern": "^[a-z]+$"}}
}`

func TestASchemaJudges(t *testing.T) {
	for _, c := range []struct{ name, content, read, outcome, reason, detail string }{
		{"right", `{"team": "billing", "urgency": 2.0}`, "", Pass, "", ""},
		{"in a block", "```json\n{\"team\": \"billing\", \"urgency\": 2}\n```", "", Pass, "", ""},
		{"in a block, whole", "```json\n{\"team\": \"billing\", \"urgency\": 2}\n```", "whole", Fail, ReasonNotJSON, "code block"},
		{"in prose", `It is {"team": "billing", "urgency": 2}.`, "", Fail, ReasonNotJSON, "line 1, column"},
		{"in prose, any", `It is {"team": "billing", "urgency": 2}.`, "any", Pass, "", ""},
		{"missing", `{"team": "billing"}`, "", Fail, "schema:required", "urgency"},
		{"enum", `{"team": "x", "urgency": 2}`, "", Fail, "schema:enum", "at /team"},
		{"maximum", `{"team": "sales", "urgency": 9}`, "", Fail, "schema:maximum", "at /urgency"},
		{"unknown", `{"team": "sales", "urgency": 1, "x": 1}`, "", Fail, "schema:additionalProperties", "x"},
		{"format", `{"team": "sales", "urgency": 1, "when": "2026-13-01"}`, "", Fail, "schema:format", "at /when"},
		{"pattern by reference", `{"team": "sales", "urgency": 1, "same": "A"}`, "", Fail, "schema:pattern", "at /same"},
		{"several", `{"team": "x", "urgency": 9, "when": 3, "same": 4, "y": 1}`, "", Fail, "schema:additionalProperties", "and 2 more"},
		{"type", `[]`, "", Fail, "schema:type", "object"},
		{"duplicate", `{"team": "sales", "team": "billing", "urgency": 1}`, "", Fail, ReasonDuplicate, `"team"`},
		{"empty", ` `, "", Fail, ReasonNotJSON, "empty"},
		{"cut off", `{"team": "sales", `, "", Fail, ReasonNotJSON, "too early"},
		{"trailing", `{"team": "sales", "urgency": 1} x`, "", Fail, ReasonNotJSON, "follows"},
		{"huge number", `{"team": "sales", "urgency": 1e1000000000}`, "", Fail, ReasonBadNumber, "exponent"},
		{"long number", `{"team": "sales", "urgency": ` + strings.Repeat("1", 1000) + `}`, "", Fail, ReasonBadNumber, "1000 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := New([]Spec{{JSONSchema: &SchemaSpec{File: "ticket.json", Read: c.read}}}, files(map[string]string{"ticket.json": ticketSchema}))
			if err != nil {
				t.Fatal(err)
			}
			for range 5 { // the library goes through objects in random order
				got := s.Judge(context.Background(), in(c.content, "", "")).Checks[0]
				if got.Outcome != c.outcome || got.Reason != c.reason || !strings.Contains(got.Detail, c.detail) {
					t.Fatalf("%+v", got)
				}
			}
		})
	}
}

func TestVerdictsSumUp(t *testing.T) {
	pass := Spec{Regex: &RegexSpec{Pattern: "."}}
	fail := Spec{Regex: &RegexSpec{Pattern: "^$"}}
	knows := Spec{Exact: &ExactSpec{}}
	crash := Spec{Starlark: &StarlarkSpec{File: "crash.star"}}
	read := files(map[string]string{"crash.star": "def check(a, b):\n  return 1 // 0\n"})
	for _, c := range []struct {
		name    string
		specs   []Spec
		gold    string
		want    task.Verdict
		outcome string
	}{
		{"knows and passes", []Spec{pass, knows}, "x", task.Verdict{Correct: true, Reason: "correct", Answer: "x"}, "pass pass"},
		{"knows and fails", []Spec{pass, knows}, "y", task.Verdict{Reason: "wrong", Answer: "x"}, "pass fail"},
		{"the first failure counts", []Spec{fail, knows}, "y", task.Verdict{Reason: "no_match", Answer: "x"}, "fail fail"},
		{"one that passes does not outvote", []Spec{knows, fail}, "x", task.Verdict{Reason: "no_match", Answer: "x"}, "pass fail"},
		{"nobody knows", []Spec{pass, knows}, "", task.Verdict{Reason: "no_gold", Answer: "x"}, "pass skip"},
		{"nobody knows, badly formed", []Spec{fail, knows}, "", task.Verdict{Reason: "no_match", Answer: "x"}, "fail skip"},
		{"one that breaks is not passed", []Spec{knows, crash}, "x", task.Verdict{Reason: "error:crash", Answer: "x"}, "pass error"},
		{"no verifiers", nil, "x", task.Verdict{Reason: "no_gold", Answer: "x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := New(c.specs, read)
			if err != nil {
				t.Fatal(err)
			}
			r := s.Judge(context.Background(), in("x", c.gold, ""))
			if d := cmp.Diff(c.want, r.Verdict); d != "" {
				t.Error(d)
			}
			var outcomes []string
			for _, check := range r.Checks {
				outcomes = append(outcomes, check.Outcome)
			}
			if got := strings.Join(outcomes, " "); got != c.outcome {
				t.Errorf("outcomes %s, want %s", got, c.outcome)
			}
		})
	}
}

// source is a task that knows no right answers of some problems.
type source struct{ task.Task }

func (source) Name() string             { return "source" }
func (source) Mask(s string) string     { return "masked " + s }
func (source) VerifiableIdentity() bool { return true }
func (source) Verify(p task.Problem, content string) task.Verdict {
	switch p.Answer {
	case "":
		return task.Verdict{Reason: task.ReasonNoGold, Answer: content}
	case content:
		return task.Verdict{Correct: true, Reason: task.ReasonCorrect, Answer: content}
	}
	return task.Verdict{Reason: task.ReasonNumbers, Answer: content}
}

func TestTheTasksOwnVerifierIsOneOfThem(t *testing.T) {
	s := set(t, Spec{Task: &TaskSpec{}}, Spec{Regex: &RegexSpec{Pattern: "^[a-z]$"}})
	for _, c := range []struct{ content, gold, want string }{
		{"x", "x", "true correct pass pass"},
		{"x", "y", "false wrong_numbers fail pass"},
		{"x", "", "false no_gold skip pass"},
		{"XX", "", "false no_match skip fail"},
	} {
		i := in(c.content, c.gold, "")
		i.Task = source{}
		r := s.Judge(context.Background(), i)
		if got := fmt.Sprint(r.Verdict.Correct, " ", r.Verdict.Reason, " ", r.Checks[0].Outcome, " ", r.Checks[1].Outcome); got != c.want {
			t.Errorf("%q against %q: %s, want %s", c.content, c.gold, got, c.want)
		}
	}
	if r := s.Judge(context.Background(), in("x", "x", "")); r.Checks[0].Outcome != Error {
		t.Errorf("without a task: %+v", r)
	}
}

func TestASetIsATaskThatEvaluationCanUse(t *testing.T) {
	s := set(t, Spec{Regex: &RegexSpec{Pattern: "^{"}}, Spec{Fields: &FieldsSpec{Names: []string{"team"}}})
	judged := s.Task(source{})
	if judged.Name() != "source" || judged.Mask("p") != "masked p" || !judged.VerifiableIdentity() {
		t.Error("the task is another")
	}
	with := task.Problem{Answer: `{"team": "x"}`}
	if v := judged.Verify(with, `{"team": "X"}`); !v.Correct || v.Answer != `{"team":"x"}` {
		t.Errorf("right: %+v", v)
	}
	if v := judged.Verify(with, `no`); v.Correct || v.Reason != ReasonNoMatch {
		t.Errorf("badly formed: %+v", v)
	}
	// Evaluation asks in this way whether anything is known to be right.
	if v := judged.Verify(task.Problem{}, "0"); v.Reason != task.ReasonNoGold {
		t.Errorf("without gold: %+v", v)
	}
	a, b := judged.Verify(task.Problem{}, `{"team": "X", "n": 1}`), judged.Verify(task.Problem{}, "```\n{\"team\": \" x\"}\n```")
	if a.Answer != b.Answer || a.Answer != `{"team":"x"}` {
		t.Errorf("two that agree are read as %q and %q", a.Answer, b.Answer)
	}
}

func TestNamesAreStableAndDifferent(t *testing.T) {
	specs := []Spec{
		{Task: &TaskSpec{}}, {Regex: &RegexSpec{Pattern: "a"}}, {Regex: &RegexSpec{Pattern: "b"}},
		{JSONSchema: &SchemaSpec{File: "rules/t.json"}}, {Starlark: &StarlarkSpec{File: "c.star"}}, {Starlark: &StarlarkSpec{File: "d/c.star"}},
	}
	read := files(map[string]string{"rules/t.json": "{}", "c.star": okStar, "d/c.star": okStar})
	s, err := New(specs, read)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"task", "regex", "regex-2", "json_schema:t.json", "starlark:c.star", "starlark:c.star-2"}
	if d := cmp.Diff(want, s.Names()); d != "" {
		t.Error(d)
	}
	if !s.UsesGold() || set(t, specs[1]).UsesGold() {
		t.Error("task tells right from wrong, regex does not")
	}
}

const okStar = "def check(a, b):\n  return True\n"

func TestTheHashCoversSpecsAndFiles(t *testing.T) {
	hash := func(spec Spec, content string) string {
		s, err := New([]Spec{spec}, files(map[string]string{"f": content}))
		if err != nil {
			t.Fatal(err)
		}
		return s.Hash()
	}
	one := hash(Spec{Starlark: &StarlarkSpec{File: "f"}}, okStar)
	if len(one) != 64 || one != hash(Spec{Starlark: &StarlarkSpec{File: "f"}}, okStar) {
		t.Errorf("hash %q is not stable", one)
	}
	for name, other := range map[string]string{
		"content": hash(Spec{Starlark: &StarlarkSpec{File: "f"}}, okStar+"# changed\n"),
		"option":  hash(Spec{Starlark: &StarlarkSpec{File: "f", Gold: true}}, okStar),
		"kind":    hash(Spec{Regex: &RegexSpec{Pattern: "x"}}, ""),
	} {
		if other == one {
			t.Errorf("a changed %s has the same hash", name)
		}
	}
}

func TestSpecsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		spec Spec
		want string
	}{
		{"nothing", Spec{}, "verify[1]: names no verifier"},
		{"two", Spec{Task: &TaskSpec{}, Exact: &ExactSpec{}}, "verify[1]: names task and exact at once"},
		{"pattern", Spec{Regex: &RegexSpec{Pattern: `(?=x)`}}, "verify[1].regex.pattern: error parsing regexp: invalid or unsupported Perl syntax: `(?=` (RE2's syntax"},
		{"no pattern", Spec{Regex: &RegexSpec{}}, "verify[1].regex.pattern: there is no pattern"},
		{"extract", Spec{Exact: &ExactSpec{Extract: "("}}, "verify[1].exact.extract: "},
		{"tolerance", Spec{Numeric: &NumericSpec{Tolerance: -1}}, "verify[1].numeric.tolerance: -1 is no tolerance"},
		{"relative", Spec{Numeric: &NumericSpec{Relative: -1}}, "verify[1].numeric.relative: "},
		{"no fields", Spec{Fields: &FieldsSpec{}}, "verify[1].fields.names: there are no fields"},
		{"field twice", Spec{Fields: &FieldsSpec{Names: []string{"a", "a"}}}, "verify[1].fields.names[1]: "},
		{"empty field", Spec{Fields: &FieldsSpec{Names: []string{""}}}, "verify[1].fields.names[0]: "},
		{"read", Spec{Fields: &FieldsSpec{Names: []string{"a"}, Read: "all"}}, `verify[1].fields.read: "all" is no place`},
		{"no file", Spec{JSONSchema: &SchemaSpec{}}, "verify[1].json_schema.file: "},
		{"missing file", Spec{JSONSchema: &SchemaSpec{File: "none.json"}}, "verify[1].json_schema: read none.json: no such file"},
		{"no JSON", Spec{JSONSchema: &SchemaSpec{File: "bad.json"}}, "verify[1].json_schema: bad.json: line 2, column "},
		{"no schema", Spec{JSONSchema: &SchemaSpec{File: "type.json"}}, "verify[1].json_schema: type.json: is not a valid schema: at /type"},
		{"no star", Spec{Starlark: &StarlarkSpec{}}, "verify[1].starlark.file: "},
		{"steps", Spec{Starlark: &StarlarkSpec{File: "ok.star", Steps: -1}}, "verify[1].starlark.steps: "},
		{"memory", Spec{Starlark: &StarlarkSpec{File: "ok.star", MemoryMB: -1}}, "verify[1].starlark.memory_mb: "},
		{"time", Spec{Starlark: &StarlarkSpec{File: "ok.star", Time: "soon"}}, "verify[1].starlark.time: "},
		{"function", Spec{Starlark: &StarlarkSpec{File: "ok.star", Function: "judge"}}, "verify[1].starlark: ok.star:1:1: it defines no function judge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New([]Spec{{Task: &TaskSpec{}}, c.spec}, files(map[string]string{
				"ok.star": okStar, "bad.json": "{\n  x}", "type.json": `{"type": "thing"}`,
			}))
			var at *SpecError
			if !errors.As(err, &at) || at.Index != 1 || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestASetServesManyAtOnce(t *testing.T) {
	s, err := New([]Spec{
		{JSONSchema: &SchemaSpec{File: "t.json"}}, {Fields: &FieldsSpec{Names: []string{"team"}}}, {Starlark: &StarlarkSpec{File: "c.star"}},
	}, files(map[string]string{"t.json": ticketSchema, "c.star": "n = []\ndef check(a, p):\n  n.append(a['json']['urgency'])\n  return n == [p['row']['n']]\n"}))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			n := i%5 + 1
			r := s.Judge(context.Background(), in(fmt.Sprintf(`{"team": "sales", "urgency": %d}`, n), `{"team": "sales"}`, fmt.Sprintf(`{"n": %d}`, n)))
			if !r.Verdict.Correct {
				t.Errorf("%+v", r)
			}
		})
	}
	wg.Wait()
}

func TestAnInterruptedRunJudgesNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("interrupted"))
	r := star(t, okStar).Judge(ctx, In{})
	if c := r.Checks[0]; c.Outcome != Error || c.Reason != ReasonCancelled || r.Verdict.Correct {
		t.Errorf("%+v", r)
	}
}

func BenchmarkJudge(b *testing.B) {
	read := files(map[string]string{"ticket.json": ticketSchema, "check.star": `
TEAMS = ["billing", "sales"]

def check(answer, problem):
    ticket = answer["json"]
    if ticket.get("team") not in TEAMS:
        return "no such team"
    for word in answer["text"].split():
        if word.lower() == "sorry":
            return "sorry"
    return True
`})
	for _, spec := range []Spec{
		{Exact: &ExactSpec{}}, {Numeric: &NumericSpec{}}, {Regex: &RegexSpec{Pattern: `"team": "\w+"`}}, {JSONSchema: &SchemaSpec{File: "ticket.json"}},
		{Fields: &FieldsSpec{Names: []string{"team", "urgency"}}}, {Starlark: &StarlarkSpec{File: "check.star"}},
	} {
		s, err := New([]Spec{spec}, read)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.Names()[0], func(b *testing.B) {
			i := in(`{"team": "sales", "urgency": 3}`, `{"team": "sales", "urgency": 3}`, "")
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(context.Background(), i)
			}
		})
	}
}
