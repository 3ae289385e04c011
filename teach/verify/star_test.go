package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"retort/exchange"
	"retort/teach/task"
)

// files serves verifiers' files from memory.
func files(m map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		s, ok := m[name]
		if !ok {
			return nil, fmt.Errorf("no such file")
		}
		return []byte(s), nil
	}
}

func star(t testing.TB, src string) *Set {
	t.Helper()
	s, err := New([]Spec{{Starlark: &StarlarkSpec{File: "check.star", Gold: true}}}, files(map[string]string{"check.star": src}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask judges one answer by one verifier.
func ask(s *Set, content string) Check {
	return s.Judge(context.Background(), In{Problem: task.Problem{Prompt: "p", Answer: "42"}, Answer: exchange.Answer{Content: content}}).Checks[0]
}

func TestAStarlarkCheckJudges(t *testing.T) {
	for _, c := range []struct {
		name, body, outcome, reason, detail string
	}{
		{"true", "return True", Pass, "", ""},
		{"false", "return False", Fail, "refused", ""},
		{"reason", "return 'no team'", Fail, "no team", ""},
		{"long reason", "return 'x' * 100", Fail, strings.Repeat("x", 60) + "…", strings.Repeat("x", 100)},
		{"none", "return None", Skip, "skipped", ""},
		{"dict", "return {'ok': False, 'reason': 'short', 'detail': 'too short by 3'}", Fail, "short", "too short by 3"},
		{"dict true", "return {'ok': True, 'answer': 'x'}", Pass, "", ""},
		{"dict without ok", "return {'reason': 'x'}", Error, ReasonBadResult, "ok"},
		{"unknown key", "return {'ok': True, 'because': 'x'}", Error, ReasonBadResult, "because"},
		{"number", "return 1", Error, ReasonBadResult, "int"},
		{"empty reason", "return ''", Error, ReasonBadResult, "empty"},
		{"crash", "return answer['nothing']", Error, ReasonCrash, "check.star:2:16: "},
		{"fail", "fail('no', 3)", Error, ReasonCrash, "fail: no 3"},
		{"print", "print('seen', 7)\n  return False", Fail, "refused", "seen 7"},
		{"text", "return answer['text'] == ' {\"a\": [1, 2.5]} '", Pass, "", ""},
		{"json", "return answer['json']['a'] == [1, 2.5] and answer['json'].get('a')[0] == 1", Pass, "", ""},
		{"gold", "return problem['gold'] == '42'", Pass, "", ""},
		{"messages", "return problem['messages'] == [{'role': 'user', 'content': 'p'}]", Pass, "", ""},
		{"recursion", "f = lambda g: g(g)\n  return f(f)", Error, ReasonCrash, "recursively"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(star(t, "def check(answer, problem):\n  "+c.body+"\n"), ` {"a": [1, 2.5]} `)
			if got.Outcome != c.outcome || got.Reason != c.reason || !strings.Contains(got.Detail, c.detail) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// The programs of this test use every operation that is rewritten; each must
// mean what it means without.
func TestARewrittenProgramMeansTheSame(t *testing.T) {
	const src = `
def add(x, y = 1 + 1, *rest, **more):
    return x + y + len(rest) + sum(more.values())

def sum(xs):
    t = 0
    for x in xs:
        t += x
    return t

def extended():
    base = [1, 2] + [3]
    base += (4,)
    return base

table = {"a": {"b": [1, 2, 3]}}
table["a"]["b"][0] += 10
text = "-".join(["%s=%d" % (k, v) for k, v in {"x": 1, "y": 2}.items()])

def counts(words):
    out = {}
    for w in words.split():
        out[w] = out.get(w, 0) + 1
    return out

def swap(xs):
    xs[0], xs[1] = xs[1], xs[0]
    [a, (b, xs[2])] = [1, (2, 30)]
    return xs

def merged():
    d = {"a": 1}
    e = d
    d |= {"b": 2}
    s = set([1, 2])
    s |= set([3])
    return e == {"a": 1, "b": 2} and s == set([1, 2, 3]) and ({"a": 1} | {"a": 2}) == {"a": 2}

def aliased():
    xs = [1]
    ys = xs
    xs += [2]
    xs += xs
    return ys

calls = []
def index():
    calls.append(1)
    return 0

def once():
    xs = [1, 2]
    xs[index()] += 5
    return xs == [6, 2] and calls == [1]

def check(answer, problem):
    got = [
        add(1), add(1, 2, 3, 4), add(*[1, 2], **{"k": 5}), extended(), table["a"]["b"], text, counts("a b a"),
        swap([1, 2, 3]), merged(), aliased(), once(),
        "abc"[1:], "abcdef"[::2], [1, 2, 3, 4][1:-1], (1, 2, 3)[::-1], -5 // 2, 7 % 3, ~5, +1 - -1, 1 << 10, 5 & 4 | 1 ^ 3,
        2 in [1, 2], 3 not in (1, 2), "b" in "abc", "k" in {"k": 1}, "z" not in {"k": 1},
        1 < 2, [1, 2] <= [1, 3], "a" != "b", not (1 == 1.0), 3 * "ab", [0] * 3, 7 / 2,
        [x * y for x in range(3) for y in range(3) if x != y], {k: v for k, v in zip("ab".elems(), [1, 2])},
        sorted([3, 1, 2], reverse = True), sorted(["bb", "a"], key = len), max([1, 5, 3]), min(4, 2), max("aa", "b", key = len),
        "{} {x}".format(1, x = 2), (lambda a, b = 2: a + b)(1), 1 if "" else 2, "a,b".split(","), "x".upper(), getattr("x", "upper")(),
        hasattr("x", "upper"), str([1, "a"]), repr("q"), list("abc".elems()), tuple([1]), dict([("a", 1)], b = 2), bool([]), int("12"), float("1.5"),
        [i for i, _ in enumerate(["a", "b"])], reversed([1, 2]), any([0, 1]), all([]), abs(-3), ord("a"), chr(98), type(1),
        "a b c".rsplit(None, 1), "a-b-c".replace("-", "+", 1), "line\nend\n".splitlines(), " x ".strip(), "abc".find("c"), b"ab" + b"c",
        set([1, 2]).union([3]), set([1]) & set([1, 2]), set([1, 2]) - set([1]), len({1: 2}), "%s %s %%" % ("a", [1]), "%x" % 255,
    ]
    return {"ok": True, "answer": str(got)}
`
	const want = `[3, 5, 8, [1, 2, 3, 4], [11, 2, 3], "x=1-y=2", {"a": 2, "b": 1}, [2, 1, 30], True, [1, 2, 1, 2], True, ` +
		`"bc", "ace", [2, 3], (3, 2, 1), -3, 1, -6, 2, 1024, 6, ` +
		`True, True, True, True, True, ` +
		`True, True, True, False, "ababab", [0, 0, 0], 3.5, ` +
		`[0, 0, 0, 2, 0, 2], {"a": 1, "b": 2}, ` +
		`[3, 2, 1], ["a", "bb"], 5, 2, "aa", ` +
		`"1 2", 3, 2, ["a", "b"], "X", "X", ` +
		`True, "[1, \"a\"]", "\"q\"", ["a", "b", "c"], (1,), {"a": 1, "b": 2}, False, 12, 1.5, ` +
		`[0, 1], [2, 1], True, True, 3, 97, "b", "int", ` +
		`["a b", "c"], "a+b-c", ["line", "end"], "x", 2, b"abc", ` +
		`set([1, 2, 3]), set([1]), set([2]), 1, "a [1] %", "ff"]`
	thread := &starlark.Thread{}
	_, program, err := starlark.SourceProgramOptions(&dialect, "check.star", src, func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	globals, err := program.Init(thread, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := starlark.Call(thread, globals["check"], starlark.Tuple{starlark.None, starlark.None}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v, _, _ := plain.(*starlark.Dict).Get(starlark.String("answer")); v != starlark.String(want) {
		t.Fatalf("as it stands the program says %s", v)
	}
	s := star(t, src)
	r := s.Judge(context.Background(), In{})
	if got := r.Verdict.Answer; got != want {
		t.Errorf("%+v\ngot  %s\nwant %s", r.Checks, got, want)
	}
}

func TestAStarlarkFileThatCannotWorkIsRefusedWithItsPlace(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"syntax", "def check(answer, problem):\n  return (1 +\n", "check.star:3:1: "},
		{"undefined", "def check(answer, problem):\n  return nothing(answer)\n", "check.star:2:10: undefined: nothing"},
		{"load", "load('other.star', 'x')\ndef check(answer, problem):\n  return x\n", "check.star:1:1: a check may not load"},
		{"while", "def check(answer, problem):\n  while True:\n    pass\n", "check.star:2:3: there is no while"},
		{"no function", "def test(a, b):\n  return True\n", "defines no function check"},
		{"not a function", "check = 3\n", "check is a int"},
		{"one argument", "\ndef check(answer):\n  return True\n", "check.star:2:1: check must take two arguments"},
		{"crash", "x = 1 // 0\ndef check(a, b):\n  return True\n", "check.star:1:7: floored division by zero"},
		{"endless", "x = [i for i in range(1 << 60)]\ndef check(a, b):\n  return True\n", "more than 2000000 steps"},
		{"empty", "", "defines no function check"},
		{"nul", "def check(a, b):\n\x00  return True\n", "check.star:2:1: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New([]Spec{{Task: &TaskSpec{}}, {Starlark: &StarlarkSpec{File: "check.star"}}}, files(map[string]string{"check.star": c.src}))
			at, ok := err.(*SpecError)
			if !ok || at.Index != 1 || at.Path != "starlark" || !strings.Contains(at.Msg, c.want) {
				t.Errorf("%#v", err)
			}
		})
	}
}

func TestGuardsCoverEveryFunctionOfTheLanguage(t *testing.T) {
	const src = `
def check(answer, problem):
    names = []
    for x in [b"", {}, [], "", set()]:
        names += [type(x) + "." + n for n in dir(x)]
    return {"ok": True, "answer": ",".join(names)}
`
	r := star(t, src).Judge(context.Background(), In{})
	if !r.Verdict.Correct {
		t.Fatalf("%+v", r)
	}
	names := strings.Split(r.Verdict.Answer, ",")
	if len(names) < 60 {
		t.Fatalf("found %d methods", len(names))
	}
	for _, n := range names {
		if _, ok := methods[n]; !ok {
			t.Errorf("%s has no charge", n)
		}
	}
	for name, v := range environment {
		if _, known := functions[name]; !known && !strings.HasPrefix(name, "$") {
			t.Errorf("%s (%s) has no charge", name, v.Type())
		}
	}
}

func TestNoCheckLeavesAnythingBehind(t *testing.T) {
	s := star(t, "seen = []\ndef check(a, b):\n  seen.append(1)\n  return len(seen) == 1\n")
	for range 3 {
		if c := ask(s, "x"); c.Outcome != Pass {
			t.Fatalf("%+v", c)
		}
	}
}

func TestAStarlarkCheckSeesTheRow(t *testing.T) {
	s := star(t, "def check(answer, problem):\n  return {'ok': True, 'answer': str([problem['id'], problem['row'], problem['gold']])}\n")
	r := s.Judge(context.Background(), In{Problem: task.Problem{
		ID: "file:1", RowID: "t-7", Fields: json.RawMessage(`{"z": 1, "a": [true, null, 1e3]}`), Gold: json.RawMessage(`{"team": "x"}`),
	}})
	if want := `["t-7", {"a": [True, None, 1000.0], "z": 1}, {"team": "x"}]`; r.Verdict.Answer != want {
		t.Fatalf("%+v", r)
	}
}
