package template

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// hostile are templates that would take for ever, or all memory, or more stack
// than there is.
var hostile = []struct{ template, why string }{
	// Loops.
	{"{% for x in range(10 * 1000 * 1000 * 1000) %}{% endfor %}", "Range too big"},
	{"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", tooMuchWork},
	{"{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}", tooMuchWork},
	{"{% for a in range(99999) %}{% for b in range(9) %}{% continue %}{% endfor %}{% endfor %}", tooMuchWork},
	{"{% for a in range(9999) %}{{ 'x' * 4000 }}{% endfor %}", tooMuchMade},
	{"{% for a in range(9999) %}" + strings.Repeat("text ", 1000) + "{% endfor %}", tooLong},
	{"{% set x %}{% for a in range(9999) %}" + strings.Repeat("text ", 1000) + "{% endfor %}{% endset %}", tooLong},
	{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "macros call one another"},
	{"{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", "macros call one another"},
	{"{% macro m(n) %}{% for x in range(n) %}{{ m(n - 1) }}{% endfor %}{% endmacro %}{{ m(30) }}", tooMuchWork},
	{"{% set l = range(9999)|list %}{% for a in range(9999) %}{{ 'x' in l }}{% endfor %}", tooMuchWork},
	{"{% set l = range(99999)|list %}{% for a in l %}{% if l|sort|unique|list == l %}{% endif %}{% endfor %}", tooMuchWork},
	{"{% set l = range(99999)|list %}{% for a in range(99999) %}{% if l == l + [1] %}{% endif %}{% endfor %}", "than a conversation of this length needs"},

	// Single values.
	{"{{ 'x' * 1000000000 }}", tooLong},
	{"{{ 1000000000000 * 'xyz' }}", tooLong},
	{"{{ [1] * 1000000000 }}", tooLong},
	{"{{ ('x' * 4000000)|replace('x', 'x' * 4000000) }}", tooLong},
	{"{{ ('x' * 4000000).replace('', 'yyyyyyyy') }}", tooLong},
	{"{{ ([''] * 99999)|join('x' * 99999) }}", tooLong},
	{"{{ ('x' * 99999).join(['y'] * 99999) }}", tooLong},
	{"{{ ('\\n' * 99999)|indent(99999, true, true) }}", tooLong},
	{"{{ 'a\\nb'|indent(1000000000) }}", "more than any text is long"},
	{"{{ l|tojson(indent=1000000000) }}", "more than any text is long"},
	{"{{ l|tojson(separators=('x' * 4000000, ':')) }}", tooLong},
	{"{{ ('{}' * 99999).format('x' * 99999) }}", "the format field"},
	{"{{ ('{0}' * 99999).format('x' * 99999) }}", tooLong},
	{"{{ strftime_now('%c' * 2000000) }}", tooLong},
	{"{{ ('x' * 4000000)|list }}", "than a conversation of this length needs"},
	{"{{ ('x ' * 2000000).split() }}", tooMuchMade},
	{"{{ ('\\n' * 4000000).splitlines() }}", tooMuchMade},
	{"{{ ('x' * 4000000)|map('upper')|list }}", "than a conversation of this length needs"},
	{"{{ ('\\x01' * 2000000)|tojson }}", tooLong},
	{"{{ ['\\x01' * 2000000] }}", tooLong},
	{"{{ ('<' * 2000000) + (''|safe) }}", tooLong},
	{"{{ 9 * 99999999999999999999 }}", "beyond 64 bits"},

	// Values that grow.
	{loop("n.x ~ n.x"), tooLong},
	{loop("n.x + n.x"), tooLong},
	{loop("[n.x, n.x]") + "{{ n.x }}", "nested deeper"},
	{loop("[n.x, n.x]") + "{{ n.x|tojson }}", "nested deeper"},
	{loop("[n.x, n.x]") + "{{ n.x == n.x }}", "nested deeper"},
	{"{% set n = namespace(x=1) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x == n.x }}", tooMuchWork},
	{"{% set n = namespace(x=1) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|string }}", tooLong},
	{"{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", tooMuchMade},
	{"{% set n = namespace(x=[]) %}{% for a in range(9999) %}{% set n.x = n.x + ['x' * 99999] %}{% endfor %}", tooMuchMade},
	{"{% set n = namespace(x='x') %}{% for a in range(99) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}", "stands where"},
	{"{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n - 1) }}{% endif %}{% endmacro %}{{ m('x', 99) }}", tooLong},
	{"{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}text{% endmacro %}{{ m(99) }}", tooMuchWork},
	{"{% set n = namespace(x='x') %}{% for a in range(99) %}{% filter replace('x', 'xxxxxxxxx') %}{{ n.x }}{% endfilter %}{% set n.x = n.x.replace('x', 'xx') %}{% endfor %}", tooLong},

	// Sources.
	{"{{ " + strings.Repeat("(", 99) + "1" + strings.Repeat(")", 99) + " }}", "nested deeper"},
	{"{{ " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + " }}", "nested deeper"},
	{"{{ " + strings.Repeat("-", 2000) + "1 }}", "nested deeper"},
	{"{{ " + strings.Repeat("not ", 2000) + "1 }}", "nested deeper"},
	{"{{ 1" + strings.Repeat(" if 1", 2000) + " }}", "times if in a row"},
	{"{{ 1" + strings.Repeat(" if 1 else 1", 999) + " }}", "nested deeper"},
	{"{{ 1" + strings.Repeat(" and 1", 2000) + " }}", "operands of and"},
	{"{{ " + strings.Repeat("f(", 999) + strings.Repeat(")", 999) + " }}", "nested deeper"},
	{strings.Repeat("{% if 1 %}", 9999) + strings.Repeat("{% endif %}", 9999), "blocks are nested deeper"},
	{strings.Repeat("{", mostSource), "the template is too long"},
	{strings.Repeat("{{a}}", mostSource/5), "the template is too long"},
	{strings.Repeat("a{##}", mostSource/5), "the template is too long"},
	{"{{ a" + strings.Repeat("+a", mostSource/2-10) + " }}", "the template is too long"},
	{"{{ " + strings.Repeat("a", mostSource-10) + " }}", "a name is longer"},
	{"{{ " + strings.Repeat("1", mostSource-10) + " }}", "digits"},
	{strings.Repeat("{% raw %}", mostSource/9), "raw text does not end"},

	// What is none of a template's business.
	{"{{ ''.__class__.__mro__[1].__subclasses__() }}", "is unsafe"},
	{"{{ messages.append(1) }}", "is unsafe"},
	{"{{ range.__globals__.x }}", "is unsafe"},
	{"{{ namespace.__init__.__globals__ }}", "is unsafe"},
	{"{{ loop.recurseFn() }}", "'loop' is undefined"},
	{"{% for x in l %}{{ loop.recurseFn() }}{% endfor %}", "has no attribute"},
	{"{% include '/etc/passwd' %}", "a template reads no files"},
}

const (
	tooMuchWork = "does more work than"
	tooMuchMade = "makes more text and lists than"
	tooLong     = "makes a text of more than"
)

// loop sets n.x to an expression again and again.
func loop(expression string) string {
	return fmt.Sprintf("{%% set n = namespace(x='x') %%}{%% for a in range(9999) %%}{%% set n.x = %s %%}{%% endfor %%}", expression)
}

func TestHostileTemplatesEndWithAnError(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	for _, c := range hostile {
		err := refusal(c.template, goldenInput)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.120q: error %.200v, want one that says %q", c.template, err, c.why)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.120q: the error has %d bytes", c.template, len(err.Error()))
		}
	}
	// The heap of the process has never been larger than this.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys > 64<<20 {
		t.Errorf("the heap took %d MiB", m.HeapSys>>20)
	}
}

func TestRefusalsAreTheSameEveryTime(t *testing.T) {
	source := loop("n.x ~ a")
	first := refusal(source, goldenInput)
	if first == nil {
		t.Skip("not refused")
	}
	if again := refusal(source, goldenInput); again.Error() != first.Error() {
		t.Errorf("first %v, then %v", first, again)
	}
}

func TestPanicsOfTheEngineAreErrors(t *testing.T) {
	tmpl, err := Parse("{{ bos_token }}")
	if err != nil {
		t.Fatal(err)
	}
	for key := range tmpl.uses {
		tmpl.uses[key] = use{do: func(*call) any { panic("engine") }}
	}
	if _, err := tmpl.Render(goldenInput); err == nil || errors.As(err, new(*Raised)) || !strings.Contains(err.Error(), "engine") {
		t.Errorf("error %v", err)
	}
}
