package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// objects are JSON texts as the elements of an Input.
func objects(texts ...string) []json.RawMessage {
	out := []json.RawMessage{}
	for _, t := range texts {
		out = append(out, json.RawMessage(t))
	}
	return out
}

var goldenInput = Input{
	Messages: objects(`{"role": "user", "content": "héllo wörld"}`, `{"role": "assistant", "content": "x", "reasoning": "why"}`,
		`{"role": "tool", "content": null, "name": "t"}`),
	AddGenerationPrompt: true,
	BOS:                 "<s>",
	Now:                 time.Date(2026, 3, 7, 4, 5, 6, 0, time.UTC),
	Extra: map[string]json.RawMessage{
		"s": json.RawMessage(`"Hello World"`), "u": json.RawMessage(`"ΑΣ straße ﬁ İ"`), "n": json.RawMessage(`5`), "z": json.RawMessage(`null`),
		"l": json.RawMessage(`[3, 1, 2]`), "ls": json.RawMessage(`["b", "A", "c", "a"]`),
		"d":    json.RawMessage(`{"b": 1, "a": 2, "C": 3, "items": "I"}`),
		"nest": json.RawMessage(`{"x": {"y": [1, {"k": "v"}]}}`),
		"objs": json.RawMessage(`[{"name": "Bob", "age": 3}, {"name": "alice", "age": 1}, {"name": "Carl", "age": 2, "x": {"y": 5}}]`),
		"big":  json.RawMessage(`12345678901234567890`), "fl": json.RawMessage(`[1.0, 1e16, 1e-5, 1e15, 0.1, 1e22, -0.0]`),
		"q":     json.RawMessage(`["it's", "say \"hi\"", "both ' and \"", "nl\n\t\\", "é\u200b\u007f\u2028"]`),
		"ws":    json.RawMessage(`" \t a  b\u00a0c \n"`),
		"lines": json.RawMessage(`"a\nb\r\nc\u000bd\u2028e\n\n"`),
	},
}

func render(t *testing.T, source string, in Input) string {
	t.Helper()
	tmpl, err := Parse(source)
	if err != nil {
		t.Fatalf("%q: %v", source, err)
	}
	got, err := tmpl.Render(in)
	if err != nil {
		t.Fatalf("%q: %v", source, err)
	}
	return got
}

func TestTemplatesRenderAsInTransformers(t *testing.T) {
	for _, c := range golden {
		if got := render(t, c.template, goldenInput); got != c.want {
			t.Errorf("%q renders\n%q, want\n%q", c.template, got, c.want)
		}
	}
}

// refusal is why a template cannot be parsed or rendered.
func refusal(source string, in Input) error {
	tmpl, err := Parse(source)
	if err == nil {
		_, err = tmpl.Render(in)
	}
	return err
}

// TestTemplatesAreRefused holds refusals of transformers, and of what is not
// supported here.
func TestTemplatesAreRefused(t *testing.T) {
	for _, c := range []struct{ template, why string }{
		{"{{ s", "line 1: a tag does not end: }} is missing"},
		{"a\n{% if s", "line 2: a tag does not end: %} is missing"},
		{"{{ 's }}", "a string does not end"},
		{"{# abc", "a comment does not end"},
		{"{% raw %}abc", "raw text does not end"},
		{"{{ }}", "the end of the tag is unexpected here"},
		{"{% %}", "the end of the tag stands where a name should"},
		{"{{ s ! }}", `'!' is unexpected here`},
		{"{{ (s }}", `'}' is unexpected here`},
		{"{{ s) }}", `')' is unexpected here`},
		{"{{ s | }}", "stands where a name should"},
		{"{{ .s }}", `"." is unexpected here`},
		{"{{ s + }}", "the end of the tag is unexpected here"},
		{"{{ [1 2] }}", `a number stands where "," should`},
		{"{{ f(a=1, 2) }}", "without a name stands after one with a name"},
		{"{{ f(a=1, a=2) }}", "the argument a is given twice"},
		{"{{ '\\u12' }}", "is no character"},
		{"{{ 1 < 2 < 3 }}", "a chain of comparisons is not supported"},
		{"{{ 2 ** 3 }}", "the operator ** is not supported"},
		{"{{ s\n}}{{ s|nothing }}", "line 2: a filter nothing is not supported"},
		{"{{ s is nothing }}", "a test nothing is not supported"},
		{"{{ s.encode() }}", "the attribute encode of str is not supported"},
		{"{{ lipsum() }}", "the function lipsum is not supported"},
		{"{{ '%s' % 'a' }}", "formatting text with % is not supported"},
		{"{{ '{:>5}'.format(1) }}", "the format field"},
		{"{{ strftime_now('%Q') }}", "%Q is not supported"},
		{"{{ d.items() }}", "a dict view as text is not supported"},
		{"{{ 9223372036854775807 + 1 }}", "beyond 64 bits"},
		{"{% if 1 %}", "if does not end"},
		{"{% endif %}", "the tag endif does not belong here"},
		{"{% for x in l %}{% endif %}", "the tag endif does not belong in for of line 1"},
		{"{% if 1 %}{% else %}{% elif 1 %}{% endif %}", "the tag elif does not belong"},
		{"{% break %}", "the tag break does not belong here"},
		{"{% include 'x' %}", "a template reads no files"},
		{"{% import 'x' as y %}", "a template reads no files"},
		{"{% from 'x' import y %}", "a template reads no files"},
		{"{% extends 'x' %}", "a template reads no files"},
		{"{% do 1 %}", "the tag do is not supported"},
		{"{% call m() %}{% endcall %}", "the tag call is not supported"},
		{"{% set a, b = 1, 2 %}", "setting more than one name is not supported"},
		{"{% set true = 1 %}", "true cannot get a value"},
		{"{% for loop in l %}{% endfor %}", "loop cannot get a value"},
		{"{% for a, b, c in l %}{% endfor %}", "more than two variables"},
		{"{% for x in l recursive %}{% endfor %}", "a recursive loop is not supported"},
		{"{% set n = namespace(f=0) %}{% for x in l if not n.f %}{% set n.f = 1 %}{% endfor %}", "what the condition of the loop of line 1 reads"},
		{"{% macro m() %}{{ caller() }}{% endmacro %}", "caller of a macro is not supported"},
		{"{% macro m(a=1, b) %}{% endmacro %}", "a parameter without a default"},
		{"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "macro 'm' received 2 arguments"},
		{"{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "no keyword argument 'b'"},
		{"{{ nope.x }}", "'nope' is undefined"},
		{"{{ d.zz.x }}", "'dict object' has no attribute \"zz\""},
		{"{{ nope + 'a' }}", "'nope' is undefined"},
		{"{{ nope() }}", "'nope' is undefined"},
		{"{{ 'a' + 1 }}", "unsupported operand type: 'str'"},
		{"{{ 'a' < 1 }}", "'<' not supported between instances of 'str' and 'int'"},
		{"{{ 1 in 'a' }}", "requires string as left operand"},
		{"{{ 1 / 0 }}", "division by zero"},
		{"{{ none[1:] }}", "'NoneType' object is not subscriptable"},
		{"{{ s() }}", "'str' object is not callable"},
		{"{{ nope|tojson }}", "Object of type Undefined is not JSON serializable"},
		{"{% for x in z %}{% endfor %}", "'NoneType' object is not iterable"},
		{"{% for a, b in [(1, 2, 3)] %}{% endfor %}", "an item of the loop has 3 values, not 2"},
		{"{% set d.x = 1 %}", "cannot assign attribute on non-namespace object"},
		{"{% set n = namespace() %}{% set n._x = 1 %}", "underscore-prefixed"},
		{"{{ l.append(4) }}", "access to attribute \"append\" of 'list' object is unsafe"},
		{"{{ d.update({}) }}", "is unsafe"},
		{"{{ ''.__class__.__mro__ }}", "access to attribute \"__class__\" of 'str' object is unsafe"},
		{"{{ ''['__class__'].x }}", "is unsafe"},
		{"{{ eos_token + 'x' }}", "'eos_token' is undefined"},
		{"\xff", "not UTF-8"},
		{strings.Repeat(" ", mostSource+1), "bytes, more than"},
	} {
		err := refusal(c.template, goldenInput)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.80q: error %v, want one that says %q", c.template, err, c.why)
		}
	}
}

func TestRaiseExceptionIsAnErrorWithTheMessage(t *testing.T) {
	err := refusal("{% for x in l %}\n{{ raise_exception('no ' ~ x) }}{% endfor %}", goldenInput)
	var raised *Raised
	if !errors.As(err, &raised) || raised.Message != "no 3" {
		t.Fatalf("error %v, want one that wraps Raised", err)
	}
	if want := "template: line 2: no 3"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestMessagesAreTakenAsTransformersTakesThem(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		{`{"role": "user", "content": "a"}`, `{"role": "user", "content": "a"}`},
		{`{"content": null, "b": 1, "a": null}`, `{"b": 1}`},
		{`{"reasoning": "r", "b": 1}`, `{"thinking": "r", "reasoning": "r", "b": 1, "reasoning_content": "r"}`},
		{`{"thinking": "t", "reasoning": "r"}`, `{"thinking": "t", "reasoning": "r", "reasoning_content": "t"}`},
		{`{"reasoning_content": "c", "reasoning": "r"}`, `{"thinking": "c", "reasoning_content": "c", "reasoning": "r"}`},
		{`{"z": {"y": 1.0, "x": [1, null]}, "a": 1e2}`, `{"z": {"y": 1.0, "x": [1, null]}, "a": 100.0}`},
	} {
		if got := render(t, "{{ messages[0]|tojson }}", Input{Messages: objects(c.message)}); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.message, got, c.want)
		}
	}
}

func TestToolsKeepTheirOrder(t *testing.T) {
	const tool = `{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": {"y": [], "b": 18446744073709551615}}}}`
	in := Input{Messages: objects(`{}`), Tools: objects(tool)}
	if got := render(t, "{% for t in tools %}{{ t|tojson }}{% endfor %}", in); got != tool {
		t.Errorf("a tool becomes %s, want %s", got, tool)
	}
	in.Tools = objects()
	if got := render(t, "{{ tools }}{{ tools is none }}", in); got != "[]False" {
		t.Errorf("no tools become %q", got)
	}
}

func TestInputIsRefused(t *testing.T) {
	one := objects(`{}`)
	for name, c := range map[string]struct {
		in  Input
		why string
	}{
		"no messages":   {Input{}, "the conversation has no messages"},
		"not JSON":      {Input{Messages: objects(`{`)}, "message 1: malformed"},
		"not an object": {Input{Messages: objects(`{}`, `[]`)}, "message 2 is not an object"},
		"tool":          {Input{Messages: one, Tools: objects(`"f"`)}, "tool 1 is not an object"},
		"extra":         {Input{Messages: one, Extra: map[string]json.RawMessage{"x": nil}}, "extra variable x: malformed"},
		"taken":         {Input{Messages: one, Extra: map[string]json.RawMessage{"tools": json.RawMessage("1")}}, "tools has a place of its own"},
	} {
		if err := refusal("{{ messages }}", c.in); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.why)
		}
	}
}

func TestATemplateIsRenderedConcurrently(t *testing.T) {
	tmpl, err := Parse("{% set n = namespace(s='') %}{% for m in messages %}{% set n.s = n.s ~ m.content %}{% endfor %}{{ n.s }}")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 20 {
				want := strings.Repeat(fmt.Sprint(i), 5)
				in := Input{Messages: objects(fmt.Sprintf(`{"content": %q}`, want))}
				if got, err := tmpl.Render(in); err != nil || got != want {
					t.Errorf("renders %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	group.Wait()
}
