package constrain

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const arithmetic = `
# Sums and products, as a calculator takes them.
root   ::= expr "="
expr   ::= term (("+" | "-") term)*
term   ::= factor ( [*/] factor )*
factor ::= number
         | "(" expr ")"   # with brackets
number ::= [0-9]{1,3} ("." [0-9]+)?
`

const moves = `
root   ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move   ::= (pawn | piece | castle) [+#]?
piece  ::= [NBKQR] [a-h]? [1-8]? "x"? square
pawn   ::= ([a-h] "x")? square ("=" [NBQR])?
castle ::= "O-O" "-O"?
square ::= [a-h] [1-8]
`

const anyJSON = `
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
`

func TestGBNF(t *testing.T) {
	for _, c := range []struct {
		grammar   string
		good, bad []string
	}{
		{arithmetic, []string{"1+2=", "12*(3-4.5)/6=", "((7))="}, []string{"1+2", "1+=", "(1=", "1234="}},
		{moves, []string{"1. e4 e5\n2. Nf3 Nc6\n", "1. e4 d5\n2. exd5 Qxd5\n10. O-O-O Rae1+\n"}, []string{"1. e4 e5\n", "1. e9 e5\n2. a1 a2\n"}},
		{anyJSON, []string{"{}", `{"a": [1, {"b": null}], "c": "\u00e9"} `, "{\n  \"a\":1}"}, []string{"[]", `{"a"}`, `{"a":1,}`}},
		{`root ::= "é" [α-ω]+ . [^a-z0-9]`, []string{"éαβγxA", "éωé日", "éα\n🙂"}, []string{"eαx!", "éαxz", "éα🙂", "éα\xff!"}},
		{`root ::= "\x41\u00e9\U0001F642\t" [\]\-a\\]`, []string{"Aé🙂\t]", "Aé🙂\t-", "Aé🙂\t\\"}, []string{"Aé🙂\tb"}},
		{"root ::= a a\na ::= \"x\"? | \"y\"", []string{"", "x", "xy", "yy"}, []string{"xyx"}},
		{"root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"", []string{"", "ab", "aabc", strings.Repeat("a", 200) + strings.Repeat("bc", 100)}, []string{"a", "abb"}},
		{"root ::= item | item \",\" root\nitem ::= [a-z]{2,}", []string{"ab", "ab,cd,efg"}, []string{"a", "ab,"}},
		{"a ::= \"x\"\n\nroot ::=\n  a # one\n  | a a\n | (a\n a\n a)", []string{"x", "xx", "xxx"}, []string{"xxxx"}},
	} {
		g, err := GBNF(c.grammar)
		if err != nil {
			t.Errorf("%s: %v", c.grammar, err)
			continue
		}
		for _, text := range c.good {
			if _, ok := reads(t, g, text); !ok {
				t.Errorf("%s refuses %q", c.grammar, text)
			}
		}
		for _, text := range c.bad {
			if _, ok := reads(t, g, text); ok {
				t.Errorf("%s accepts %q", c.grammar, text)
			}
		}
		v, end := vocabularyOf(everyday...)
		con := NewConstraint(g, v)
		rng := rand.New(rand.NewPCG(7, 7))
		for range 20 {
			if text, whole := walk(t, con, end, rng, 20); whole {
				if _, ok := reads(t, g, string(text)); !ok {
					t.Errorf("%s: the walk %q is not accepted", c.grammar, text)
				}
			}
		}
	}
}

func TestBrokenGBNF(t *testing.T) {
	for grammar, says := range map[string]string{
		"":                               "no rule root",
		"a ::= \"x\"":                    "no rule root",
		"root ::= a":                     `line 1: the rule "a" is not defined`,
		"root ::= \"a":                   "line 1: a text does not end",
		"root ::= \"a\n\"":               "does not end",
		"root ::= [a-":                   "a class does not end",
		"root ::= [z-a]":                 "backwards",
		"root ::= (\"a\"":                "a group ends with )",
		"root ::= \"a\")":                "goes on with",
		"root ::= \"a\"\nroot ::= \"b\"": `line 2: the rule "root" is defined twice`,
		"root = \"a\"":                   "comes ::=",
		"root ::= \"a\"{2,1}":            "a count is",
		"root ::= \"a\"{x}":              "a count is",
		"root ::= \"a\"{3":               "a count is",
		"root ::= \"a\"{10001}":          "at most 10000",
		"root ::= \"\\q\"":               "not an escape",
		"root ::= \"\\ud800\"":           "hexadecimal",
		"root ::= <think>":               "tokens",
		"root ::= root \"a\" | \"b\"":    `the rule "root" can begin with itself`,
		"root ::= a\na ::= b? root | \"x\"\nb ::= \"\"": "can begin with itself",
		"root ::= \"a\" root":                           "no text satisfies",
		"?":                                             "begins with its name",
	} {
		if _, err := GBNF(grammar); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", grammar, err, says)
		}
	}
}

// patterns are expressions that Go's own engine judges beside this one.
var patterns = []string{`a`, `abc|ab|b*`, `(?:a|b)+c?`, `[a-c]{2,3}`, `[^a]b*`, `.`, `a.c`, `(?s)a.c`, `(?i)aB|é`, `\d+(\.\d{1,2})?`, `\w*\s?\S`, `a{0}b`, `(a*)*b`,
	`^a|b$`, `^(a|bc)$`, `(^a|b)c`, `(^|b)a(c|$)`, `^$`, `^`, `a$`, `[[:alpha:]]+`, `é{2}`, `[à-ü]`, `(?:)`, `x?y?z?`, `\x61\n`, `[^\n]`}

func TestRegexReadsAsGo(t *testing.T) {
	type both struct {
		whole, within     *Grammar
		asWhole, asWithin *regexp.Regexp
	}
	var all []both
	for _, p := range patterns {
		whole, err := Regex(p)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		alts, err := parseRegex(p, true)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		within, err := compile([]rule{{"pattern", regexExpr(alts, func(r runes) expr { return r })}}, 0)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		all = append(all, both{whole, within, regexp.MustCompile(`\A(?:` + p + `)\z`), regexp.MustCompile(p)})
	}
	parts := []string{"a", "b", "c", "B", "é", "É", "x", "y", "z", "1", ".", "\n", " ", "ü", "日"}
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 5).Draw(rt, "text"), "")
		for i, b := range all {
			if _, ok := reads(t, b.whole, text); ok != b.asWhole.MatchString(text) {
				rt.Fatalf("%s as a whole on %q: %v", patterns[i], text, ok)
			}
			if _, ok := reads(t, b.within, text); ok != b.asWithin.MatchString(text) {
				rt.Fatalf("%s within %q: %v", patterns[i], text, ok)
			}
		}
	})
}

func TestClassesOfCharacters(t *testing.T) {
	edges := []rune{0, 'a', 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF, 0x3FF, 0x400, 0xFFF, 0x1000, 0x12345}
	rapid.Check(t, func(rt *rapid.T) {
		near := rapid.Custom(func(rt *rapid.T) rune {
			return min(max(0, rapid.SampledFrom(edges).Draw(rt, "edge")+rapid.Rune().Draw(rt, "by")%3-1), 0x10FFFF)
		})
		var class runes
		for range rapid.IntRange(1, 4).Draw(rt, "spans") {
			a, b := near.Draw(rt, "a"), near.Draw(rt, "b")
			class = append(class, span{min(a, b), max(a, b)})
		}
		class = class.normal()
		if len(class) == 0 {
			return
		}
		g, err := compile([]rule{{"class", class}}, 0)
		if err != nil {
			rt.Fatal(err)
		}
		for range 20 {
			r := near.Draw(rt, "r")
			if r >= 0xD800 && r < 0xE000 {
				continue
			}
			if _, ok := reads(t, g, string(r)); ok != class.has(r) || ok == anyRune.minus(class).has(r) {
				rt.Fatalf("%x in %x: %v", r, class, ok)
			}
		}
	})
}
