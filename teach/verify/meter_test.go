package verify

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"go.starlark.net/starlark"
)

// operations are expressions over large values; f, g and so on are defined by
// operands below. Together they use every function and method that the charges
// know.
var operations = []string{
	// Operators.
	"s + s", "s * 3", "3 * s", "l + l", "l * 2", "t + t", "t * 2", "b + b", "b * 2", "d | d", "e | e", "e & e", "e - e", "e ^ e",
	"n * n", "n + n", "n - 1", "n << 500", "n >> 3", "n // 7", "n % 1000007", "n & n", "n | 1", "n ^ 1", "-n", "~n", "+n", "1.5 * 2", "7 / 2",
	"'%s %s' % (s, s)", "'%r' % l", "'%(s)s' % {'s': s}", "'%d' % n", "'%x' % n", "'%s' % d",
	"s[1:]", "s[::2]", "s[::-1]", "l[1:]", "l[::2]", "t[1:]", "b[1:]", "b[::2]", "l[5]", "d[5]", "s[7]",
	"s == u", "l == m", "t == t", "d == h", "e == e", "s < u", "l < m", "'zz' in s", "-1 in l", "-1 in t", "-1 in d", "-1 in e", "s in [u]", "-1 not in l",
	"[x for x in l]", "{x: x for x in few}", "f(*l)", "g(**kw)", "[few for x in few]", "(lambda x: x)(l)", "add(l, few)", "merge(d, h)",
	// Functions.
	"abs(-n)", "all(l)", "any([0] * 10000)", "bool(l)", "bytes(s)", "bytes([1] * 10000)", "chr(97)", "dict(d)", "dict(pairs)", "dir(s)", "enumerate(l)", "float(digits)",
	"getattr(s, 'upper')()", "hasattr(s, 'upper')", "hash(s)", "int(digits)", "len(l)", "list(l)", "list(d)", "list(s.elems())", "max(l)", "min(l)", "max(words)", "max(words, key = len)", "ord('a')", "print(l)", "print(s, s, sep = s)",
	"range(1 << 40)", "repr(s)", "repr(l)", "reversed(l)", "set(few)", "sorted(l)", "sorted(words)", "sorted(words, key = len, reverse = True)", "str(l)", "str(d)", "str(e)", "str(n)", "tuple(l)", "type(l)", "zip(l, l)", "zip(l, l, l)",
	// Methods.
	"b.elems()", "list(b.elems())", "copy(d).clear()", "d.get(3)", "d.items()", "d.keys()", "d.pop(3)", "d.popitem()", "d.setdefault(-3, 1)", "d.update(h)", "d.update(pairs)", "d.values()",
	"l.append(1)", "copied(l).clear()", "l.extend(m)", "l.index(9999)", "l.insert(1, 1)", "l.pop()", "l.pop(0)", "l.remove(9000)",
	"s.capitalize()", "list(s.codepoint_ords())", "list(s.codepoints())", "s.count('a')", "list(s.elem_ords())", "s.endswith('a')", "s.find('zz')", "'{} {}'.format(s, s)", "'{s}{s}'.format(s = s)", "'{0}'.format(l)", "s.index('a')",
	"s.isalnum()", "s.isalpha()", "s.isdigit()", "s.islower()", "s.isspace()", "s.istitle()", "s.isupper()", "','.join(words)", "s.join(['a', 'b', 'c'])", "s.lower()", "s.lstrip()", "s.partition('b')", "s.removeprefix('a')", "s.removesuffix('a')",
	"s.replace('b', 'ccc')", "s.replace('', 'x')", "s.rfind('zz')", "s.rindex('a')", "s.rpartition('b')", "s.rsplit('b')", "s.rsplit(None, 5)", "s.rsplit('b', 5)", "s.rstrip()", "s.split('b')", "s.split()", "s.split('b', 5)", "s.split(None, 5)",
	"(s + '\\n').splitlines()", "lines.splitlines(True)", "s.startswith(('x', 'y'))", "s.strip()", "s.title()", "s.upper()", "'\\x00' * 9 + repr('\\x00' * 100000)", "str(['\\x00' * 100000])",
	"e.add(-5)", "copied_set(e).clear()", "e.difference(few)", "e.discard(3)", "e.intersection(few)", "e.issubset(few)", "e.issuperset(few)", "e.pop()", "e.remove(7)", "e.symmetric_difference(few)", "e.union(few)", "e.update(few)",
}

const operands = `
def f(*rest): return 1
def g(**rest): return 1
def add(x, y):
    x += y
    return x
def merge(x, y):
    x |= y
    return x
def copy(d): return dict(d)
def copied(l): return list(l)
def copied_set(e): return e.union([])

def check(answer, problem):
    s = "abcd ef " * 10000
    n = 3
    for i in range(12):
        n = n * n
    pairs = [(-i, i) for i in range(1000)]
    d = {i: i for i in range(1000)}
    words = ["word %%d" %% i for i in range(1000)]
    return run(
        s = s, u = "abcd ef " * 10000, l = list(range(10000)), m = list(range(10000)), t = tuple(range(10000)), b = bytes(s), n = n, digits = "1" * 300,
        d = d, h = dict(d), e = set(range(1000)), few = list(range(1000)), pairs = pairs, words = words,
        kw = {"k%%d" %% i: i for i in range(1000)}, lines = "line\n" * 10000)

def run(s, u, l, m, t, b, n, digits, d, h, e, few, pairs, words, kw, lines):
    begin()
    x = %s
    end()
    return x
`

// TestTheMeterChargesWhatIsAllocated holds each operation's charge against what
// it really allocates, garbage included: at most twice its charge, and a few
// dozen bytes a step.
func TestTheMeterChargesWhatIsAllocated(t *testing.T) {
	var before, after runtime.MemStats
	var memory, steps int64
	probe := func(name string, f func(m *meter)) *starlark.Builtin {
		return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			f(meterOf(t))
			return starlark.None, nil
		})
	}
	// Only this test's programs can name these.
	env := starlark.StringDict{
		"begin": probe("begin", func(m *meter) {
			memory, steps = m.memory, int64(m.thread.Steps)
			runtime.ReadMemStats(&before)
		}),
		"end": probe("end", func(m *meter) {
			runtime.ReadMemStats(&after)
			memory, steps = m.memory-memory, int64(m.thread.Steps)-steps
		}),
	}
	for name, v := range environment {
		env[name] = v
	}
	used := map[string]bool{}
	for _, op := range operations {
		t.Run(op, func(t *testing.T) {
			j := &starJudge{spec: StarlarkSpec{File: "c.star", Function: "check", Steps: 50_000_000, MemoryMB: 1024}, limit: DefaultTime}
			src := fmt.Sprintf(operands, op)
			parsed, err := dialect.Parse("c.star", src, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := rewrite(parsed); err != nil {
				t.Fatal(err)
			}
			if j.program, err = starlark.FileProgram(parsed, env.Has); err != nil {
				t.Fatal(err)
			}
			run := j.start(context.Background())
			defer run.end()
			globals, err := j.program.Init(run.thread, env)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := starlark.Call(run.thread, globals["check"], starlark.Tuple{starlark.None, starlark.None}, nil); err != nil {
				t.Fatal(err)
			}
			allocated := int64(after.TotalAlloc - before.TotalAlloc)
			t.Logf("allocated %d, charged %d and %d steps", allocated, memory, steps)
			allowed := 2*memory + 64*steps + 4096
			switch op {
			case "l.append(1)", "l.insert(1, 1)", "add(l, few)":
				allowed += 24 * 10000 // the list moves now, and pays for it with every item
			}
			if allocated > allowed {
				t.Errorf("allocated %d, charged %d and %d steps", allocated, memory, steps)
			}
		})
		for name := range functions {
			used[name] = used[name] || strings.Contains(op, name+"(")
		}
		for name := range methods {
			used[name] = used[name] || strings.Contains(op, "."+name[strings.Index(name, ".")+1:]+"(")
		}
	}
	for name := range functions {
		if !used[name] && name != "fail" {
			t.Errorf("%s is not measured", name)
		}
	}
	for name := range methods {
		if !used[name] && name != "string.elems" {
			t.Errorf("%s is not measured", name)
		}
	}
}
