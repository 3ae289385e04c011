package verify

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// attacks are checks that ask for more than there is: each is one function
// body, and the reasons with which it may be stopped.
var attacks = []struct {
	name, body string
	reasons    string
}{
	// Time.
	{"endless loop", "for i in range(1 << 60):\n    pass", "steps"},
	{"nested loops", "for i in range(100000):\n    for j in range(100000):\n      pass", "steps"},
	{"recursion", "def f(n):\n    return f(n + 1)\n  return f(0)", "crash"},
	{"recursion through a table", "t = {}\n  def f(n):\n    return t['f'](n + 1)\n  t['f'] = f\n  return f(0)", "crash"},
	{"recursion through a key", "t = []\n  def f(x):\n    return sorted([1, 2], key = t[0])[0]\n  t.append(f)\n  return f(0)", "crash"},
	{"all of a range", "return all(range(1, 1 << 40))", "steps"},
	{"any of a range", "return any([0] * 100000 + [0]) or any(range(0, -(1 << 40), -1)) or all(range(1, 1 << 40))", "steps"},
	{"search a list", "x = list(range(100000))\n  for i in range(100000):\n    x.index(99999)", "steps"},
	{"in a list", "x = ['a' * 1000] * 100000\n  for i in range(100000):\n    ('a' * 1000 + 'b') in x", "steps memory"},
	{"search a text", "x = 'a' * 10000000\n  for i in range(1000000):\n    x.find('ab')", "steps"},
	{"in a text", "x = 'a' * 10000000\n  for i in range(1000000):\n    'ab' in x", "steps"},
	{"compare texts", "x = 'a' * 10000000\n  y = 'a' * 9999999 + 'a'\n  for i in range(1000000):\n    x == y", "steps"},
	{"unpack a range", "a, b = range(1 << 40)", "crash"},
	{"sort", "x = ['a' * 10000 + str(i) for i in range(2000)]\n  for i in range(1000000):\n    sorted(x)", "steps memory"},
	{"insert at the front", "x = list(range(100000))\n  for i in range(10000000):\n    x.insert(0, 1)\n    x.pop(0)", "steps memory"},
	{"compare what is shared", "x = [1] * 1000\n  y = [1] * 1000\n  for i in range(8):\n    x = [x] * 1000\n    y = [y] * 1000\n  return x == y", "steps depth memory"},
	{"hash what is shared", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  return {x: 1}", "steps depth memory"},
	{"hash what is shared, into a set", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  return set([x])", "steps depth memory"},
	{"hash what is shared, by item", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  d = {}\n  d[x] = 1", "steps depth memory"},
	{"hash what is shared, unpacked", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  d = {}\n  d[x], y = 1, 2", "steps depth memory"},
	{"hash what is shared, by method", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  return {}.get(x)", "steps depth memory"},
	{"hash what is shared, in pairs", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  return dict([(x, 1)])", "steps depth memory"},
	{"hash what is shared, looked for", "x = (1,)\n  for i in range(60):\n    x = (x, x)\n  return x in {1: 2}", "steps depth memory"},
	{"colliding keys", "return set([i << 64 for i in range(200000)])", "steps memory"},
	{"colliding keys, one by one", "d = {}\n  for i in range(1000000):\n    d[i << 64] = 1", "steps memory"},
	{"keys of one bucket, one by one", "d = {}\n  for i in range(1000000):\n    d[i << 16] = 1", "steps memory"},
	{"colliding keys, comprehended", "return {i << 64: 1 for i in range(1000000)}", "steps memory"},
	{"colliding keys, looked up", "d = {i << 64: 1 for i in range(5000)}\n  for i in range(1000000):\n    d.get(i << 64)", "steps memory"},
	{"colliding keys, indexed", "d = {i << 64: 1 for i in range(5000)}\n  for i in range(1000000):\n    d[4999 << 64]", "steps memory"},
	{"colliding keys, in", "d = {i << 64: 1 for i in range(5000)}\n  for i in range(1000000):\n    (i << 64) in d", "steps memory"},
	{"colliding keys, added", "d = set()\n  for i in range(1000000):\n    d.add(i << 64)", "steps memory"},
	{"colliding keys, updated", "d = {}\n  for i in range(1000000):\n    d.update([(i << 64, 1)])", "steps memory"},
	{"colliding keys, copied", "d = {i << 64: 1 for i in range(20000)}\n  for i in range(100):\n    e = d | d", "steps memory"},
	{"large colliding keys", "x = tuple(range(10000))\n  return set([(x, i << 64) for i in range(3000)])", "steps memory"},

	// Memory.
	{"repeat a text", "x = 'a' * (1 << 29)", "memory"},
	{"repeat a text beyond all", "x = 'a' * (1 << 100)", "memory crash"},
	{"double a text", "x = 'a'\n  for i in range(60):\n    x += x", "memory"},
	{"double a text by +", "x = 'a'\n  for i in range(60):\n    x = x + x", "memory"},
	{"double a text in a list", "x = ['a']\n  for i in range(60):\n    x[0] += x[0]", "memory"},
	{"double a text by format", "x = 'a'\n  for i in range(60):\n    x = '{}{}'.format(x, x)", "memory"},
	{"many of one by format", "x = 'a' * 1000000\n  return ('{0}' * 100000).format(x)", "memory"},
	{"many of one by name", "x = 'a' * 1000000\n  return ('{x}' * 100000).format(x = x)", "memory"},
	{"double a text by %", "x = 'a'\n  for i in range(60):\n    x = '%s%s' % (x, x)", "memory"},
	{"many of one by % and name", "x = 'a' * 1000000\n  return ('%(x)s' * 100000) % {'x': x}", "memory"},
	{"double a text by %=", "x = '%s' * 100000\n  x %= tuple(['a' * 100000] * 100000)", "memory steps"},
	{"join", "x = 'a' * 1000000\n  return x.join(['b'] * 100000)", "memory"},
	{"join the long", "x = 'a' * 1000000\n  return ''.join([x] * 100000)", "memory"},
	{"replace", "x = 'a' * 1000000\n  return x.replace('a', x)", "memory"},
	{"replace nothing", "x = 'a' * 1000000\n  return x.replace('', x)", "memory"},
	{"split", "x = 'a,' * 10000000\n  return [x.split(',') for i in range(100)]", "memory"},
	{"split at blanks", "x = 'a ' * 10000000\n  return [x.split() for i in range(100)]", "memory"},
	{"split lines", "x = '\\n' * 10000000\n  return [x.splitlines() for i in range(100)]", "memory"},
	{"split from the end into very many", "return 'x y'.rsplit(None, 2147483646)", "memory"},
	{"keep upper case", "x = 'a' * 1000000\n  return [x.upper() for i in range(10000)]", "memory"},
	{"double a list", "x = [1]\n  for i in range(60):\n    x += x", "memory steps"},
	{"double a list by +", "x = [1]\n  for i in range(60):\n    x = x + x", "memory"},
	{"double a tuple", "x = (1,)\n  for i in range(60):\n    x = x + x", "memory"},
	{"repeat a list", "x = [1] * (1 << 29)", "memory"},
	{"repeat a tuple", "x = (1,) * (1 << 29)", "memory"},
	{"extend", "x = [1]\n  for i in range(60):\n    x.extend(x)", "memory steps"},
	{"list of a range", "x = list(range(1 << 30))", "memory steps"},
	{"tuple of a range", "x = tuple(range(1 << 30))", "memory steps"},
	{"sorted range", "x = sorted(range(1 << 30))", "memory steps"},
	{"reversed range", "x = reversed(range(1 << 30))", "memory steps"},
	{"enumerated range", "x = enumerate(range(1 << 30))", "memory steps"},
	{"zipped ranges", "x = zip(range(1 << 30), range(1 << 30))", "memory steps"},
	{"bytes of a range", "x = bytes(range(0, 1, 1)) + bytes(list(range(200)) * 1000000)", "memory steps"},
	{"spread a range", "f = lambda *a: len(a)\n  return f(*range(1 << 30))", "memory steps"},
	{"spread a dictionary", "f = lambda **a: len(a)\n  d = {str(i): i for i in range(10000)}\n  return [f(**d) for i in range(10000)]", "memory steps"},
	{"codepoints", "x = ('a' * 10000000).codepoints()\n  return [list(x) for i in range(100)]", "memory steps"},
	{"elems", "x = ('a' * 10000000).elems()\n  return [list(x) for i in range(100)]", "memory steps"},
	{"slices", "x = [1] * 100000\n  return [x[1:] for i in range(100000)]", "memory"},
	{"slices of a text in steps", "x = 'a' * 1000000\n  return [x[::2] for i in range(100000)]", "memory"},
	{"comprehension", "x = [[i] * 100 for i in range(1 << 40)]", "memory steps"},
	{"comprehension of texts", "x = [str(i) * 1000 for i in range(1 << 40)]", "memory steps"},
	{"dictionaries", "x = [{} for i in range(1 << 40)]", "memory steps"},
	{"a large dictionary", "x = {i: i for i in range(1 << 40)}", "memory steps"},
	{"a large set", "x = set()\n  for i in range(1 << 40):\n    x.add(i)", "memory steps"},
	{"closures", "x = [lambda: i for i in range(1 << 40)]", "memory steps"},
	{"methods", "x = []\n  for i in range(1 << 40):\n    x.append(x.append)", "memory steps"},
	{"items", "d = {i: i for i in range(10000)}\n  return [d.items() for i in range(100000)]", "memory steps"},
	{"values", "d = {i: i for i in range(10000)}\n  return [d.values() for i in range(100000)]", "memory steps"},
	{"merged dictionaries", "d = {i: i for i in range(10000)}\n  return [d | d for i in range(100000)]", "memory steps"},
	{"print what is shared", "x = [1] * 1000\n  for i in range(20):\n    x = [x] * 1000\n  print(x)", "steps memory depth"},
	{"str of what is shared", "x = (1,)\n  for i in range(90):\n    x = (x, x)\n  return str(x)", "steps memory depth"},
	{"% of what is shared", "x = (1,)\n  for i in range(90):\n    x = (x, x)\n  return '%r' % [x]", "steps memory depth"},
	{"fail with what is shared", "x = (1,)\n  for i in range(90):\n    x = (x, x)\n  fail(x)", "steps memory depth"},
	{"a missing key of what is shared", "x = (1,)\n  for i in range(90):\n    x = (x, x)\n  return {}[x]", "steps memory depth"},
	{"deep nesting, printed", "x = []\n  for i in range(100000):\n    x = [x]\n  return str(x)", "depth"},
	{"deep nesting, compared", "x = []\n  y = []\n  for i in range(100000):\n    x = [x]\n    y = [y]\n  return x == y", "depth crash"},
	{"deep nesting, hashed", "x = ()\n  for i in range(100000):\n    x = (x,)\n  return {x: 1}", "depth memory"},
	{"a list in itself", "x = []\n  x.append(x)\n  return str(x)", "depth"},
	{"square an integer", "x = 3\n  for i in range(60):\n    x *= x", "memory"},
	{"power by products", "x = 1\n  for i in range(1000000):\n    x = x * 1000000007", "memory"},
	{"shift an integer", "x = 1\n  for i in range(1000000):\n    x = x << 511", "memory"},
	{"shift an integer in place", "x = 1\n  for i in range(1000000):\n    x <<= 511", "memory"},
	{"integer of a text", "x = int('9' * 10000000)", "memory"},
	{"float of a text", "x = float('9' * 10000000)", "memory"},
	{"large integers kept", "y = 1 << 500\n  for i in range(4):\n    y = y * y\n  x = [y + i for i in range(1 << 40)]", "memory steps"},
	{"negated integers kept", "y = 1 << 500\n  for i in range(4):\n    y = y * y\n  x = [-y for i in range(1 << 40)]", "memory steps"},
	{"calls of a function that needs much room", "def f():\n    return 1 or [" + strings.Repeat("0,", 50000) + "]\n  for i in range(1 << 40):\n    f()", "steps"},
	{"calls of a lambda that needs much room", "f = lambda: 1 or [" + strings.Repeat("0,", 50000) + "]\n  for i in range(1 << 40):\n    f()", "steps"},
	{"printing", "for i in range(1 << 40):\n    print('a' * 10000)", "memory steps"},
	{"a long reason", "return 'a' * 1000000", "a"},
}

const attackSource = "def check(answer, problem):\n  %s\n  return True\n"

// TestAttacksAreStopped measures all that a check allocates, garbage included,
// which is more than it ever holds at once.
func TestAttacksAreStopped(t *testing.T) {
	const most = 4 * DefaultMemoryMB << 20
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			s := star(t, fmt.Sprintf(attackSource, a.body))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			c := ask(s, "x")
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			allocated := after.TotalAlloc - before.TotalAlloc
			t.Logf("%s in %v, %d MiB: %s", c.Reason, took.Round(time.Millisecond), allocated>>20, cut(c.Detail, 100))
			if c.Outcome == Pass || !slices.Contains(strings.Fields(a.reasons), strings.TrimRight(c.Reason, "a…")+strings.Repeat("a", min(1, strings.Count(c.Reason, "aa")))) {
				t.Errorf("got %+v", c)
			}
			if allocated > most {
				t.Errorf("allocated %d MiB", allocated>>20)
			}
		})
	}
}
