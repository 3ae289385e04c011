package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"retort/exchange"
	"retort/teach/task"
)

func schemaSet(t testing.TB, schema string) *Set {
	t.Helper()
	s, err := New([]Spec{{JSONSchema: &SchemaSpec{File: "s.json"}}}, files(map[string]string{"s.json": schema}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASchemaReachesNeitherFilesNorNetwork(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, `{"type": "string"}`)
	}))
	defer server.Close()
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte(`{"enum": ["secret"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", server.Listener.Addr().String()); err != nil {
		t.Fatal(err) // there is something to be reached
	}
	refs := []string{
		server.URL + "/s.json", "file://" + secret, secret, "other.json", "../../" + filepath.Base(secret), "//" + server.Listener.Addr().String() + "/s",
		"https://example.com/s.json", "ftp://example.com/s.json", "data:application/json,{}",
	}
	for _, keyword := range []string{"$ref", "$dynamicRef", "$schema", "$recursiveRef"} {
		for _, ref := range refs {
			raw, err := json.Marshal(map[string]any{keyword: ref})
			if err != nil {
				t.Fatal(err)
			}
			_, err = New([]Spec{{JSONSchema: &SchemaSpec{File: "s.json"}}}, files(map[string]string{"s.json": string(raw)}))
			if keyword == "$recursiveRef" && err == nil {
				continue // not a keyword of this draft
			}
			if err == nil || !strings.Contains(err.Error(), "s.json: ") || strings.Contains(err.Error(), "secret\"") {
				t.Errorf("%s: %v", raw, err)
			}
		}
	}
	// An $id may say that the schema lives elsewhere; what is relative to it
	// is elsewhere too.
	for _, schema := range []string{
		fmt.Sprintf(`{"$id": %q, "$ref": "s.json"}`, server.URL+"/root.json"),
		fmt.Sprintf(`{"$id": %q, "properties": {"a": {"$ref": "secret.json"}}}`, "file://"+filepath.Dir(secret)+"/root.json"),
	} {
		_, err := New([]Spec{{JSONSchema: &SchemaSpec{File: "s.json"}}}, files(map[string]string{"s.json": schema}))
		if err == nil || !strings.Contains(err.Error(), "nothing outside itself") {
			t.Errorf("%s: %v", schema, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server was asked %d times", n)
	}
	// References within the schema work, also by an $id of its own.
	s := schemaSet(t, `{"$id": "https://example.com/t.json", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "b.json"}, "b": {"$id": "b.json", "type": "string"}}}`)
	if c := ask(s, `"x"`); c.Outcome != Pass {
		t.Errorf("%+v", c)
	}
}

func TestASchemaThatAsksForEndlessWorkIsStopped(t *testing.T) {
	// doubling is a schema each of whose parts asks for the next one twice.
	doubling := func(how, leaf string) string {
		var defs []string
		for i := range 60 {
			next := fmt.Sprintf(`{"$ref": "#/$defs/d%d"}`, i+1)
			defs = append(defs, fmt.Sprintf(`"d%d": `+how, i, next, next))
		}
		return fmt.Sprintf(`{"$ref": "#/$defs/d0", "$defs": {%s, "d60": %s}}`, strings.Join(defs, ", "), leaf)
	}
	big := "[" + strings.TrimSuffix(strings.Repeat("[1,2,3],", 8000), ",") + "]"
	for _, c := range []struct{ name, schema, content string }{
		{"allOf", doubling(`{"allOf": [%s, %s]}`, `{"type": "string"}`), `"x"`},
		{"allOf, refused", doubling(`{"allOf": [%s, %s]}`, `{"type": "number"}`), `"x"`},
		{"anyOf, refused", doubling(`{"anyOf": [%s, %s]}`, `{"type": "number"}`), `"x"`},
		{"anyOf, within not", strings.Replace(doubling(`{"anyOf": [%s, %s]}`, `{"type": "number"}`), `{"$ref"`, `{"not": {"$ref": "#/$defs/d0"}, "$comment"`, 1), `"x"`},
		{"oneOf", doubling(`{"oneOf": [%s, %s]}`, `{"const": 1}`), `1`},
		{"if and then", doubling(`{"if": %s, "then": %s}`, `true`), `1`},
		{"properties", strings.ReplaceAll(doubling(`{"properties": {"a": %s}, "patternProperties": {"^a$": %s}}`, `{}`), "d60", "d60"), nested(`{"a":`, "1", "}", 60)},
		{"every item, again and again", `{"allOf": [` + strings.TrimSuffix(strings.Repeat(`{"items": {"items": {"type": "integer"}}},`, 200), ",") + `]}`, big},
		{"equal to something large, often", `{"$defs": {"c": {"const": ` + big + `}}, "allOf": [` + strings.TrimSuffix(strings.Repeat(`{"$ref": "#/$defs/c"},`, 1000), ",") + `]}`, big},
		{"many patterns", `{"patternProperties": {` + strings.TrimSuffix(strings.Repeat(`"a%d": {},`, 1), ",") + manyPatterns(2000) + `}}`, manyKeys(5000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := ask(schemaSet(t, c.schema), c.content)
			runtime.ReadMemStats(&after)
			if got.Outcome != Error || got.Reason != ReasonSteps {
				t.Errorf("%+v", got)
			}
			n := (after.TotalAlloc - before.TotalAlloc) >> 20
			t.Logf("%d MiB: %s", n, got.Detail)
			if n > 256 {
				t.Errorf("allocated %d MiB", n)
			}
		})
	}
	for _, c := range []struct{ name, schema, content, outcome string }{
		{"a schema that is itself", `{"$ref": "#"}`, `1`, Fail},
		{"a tree", `{"type": "object", "properties": {"a": {"$ref": "#"}}}`, nested(`{"a":`, "{}", "}", 100), Pass},
		{"unique items", `{"uniqueItems": true}`, "[" + strings.TrimSuffix(strings.Repeat("0,", 10000), ",") + "]", Fail},
		{"a pattern that would blow up elsewhere", `{"pattern": "^(a+)+$"}`, `"` + strings.Repeat("a", 100000) + `!"`, Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ask(schemaSet(t, c.schema), c.content); got.Outcome != c.outcome {
				t.Errorf("%+v", got)
			}
		})
	}
}

func nested(open, middle, end string, n int) string {
	return strings.Repeat(open, n) + middle + strings.Repeat(end, n)
}

func manyPatterns(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `, "^x%d.*y$": {}`, i)
	}
	return b.String()
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"key number %d": %d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestASchemaFileThatIsHostileIsRefused(t *testing.T) {
	for _, c := range []struct{ name, schema, want string }{
		{"deep", nested(`{"not":`, "{}", "}", 5000), "levels deep"},
		{"large", `{"enum": ["` + strings.Repeat("a", 300000) + `"]}`, "at most 262144"},
		{"huge number", `{"maximum": 1e999999999}`, "exponent"},
		{"duplicate", `{"type": "object", "type": "array"}`, `the key "type" stands twice`},
		{"bad pattern", `{"pattern": "(?=x)"}`, "regex"},
		{"unknown definition", `{"$ref": "#/$defs/none"}`, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New([]Spec{{JSONSchema: &SchemaSpec{File: "s.json"}}}, files(map[string]string{"s.json": c.schema}))
			if err == nil || !strings.Contains(err.Error(), "s.json") || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
				t.Errorf("%v", err)
			}
		})
	}
}

// Hostile answers meet every verifier; the run goes on with a good one.
func TestHostileAnswersAreRefusedAndTheRunGoesOn(t *testing.T) {
	s, err := New([]Spec{
		{JSONSchema: &SchemaSpec{File: "t.json", Read: "any"}}, {Fields: &FieldsSpec{Names: []string{"team"}}}, {Exact: &ExactSpec{Extract: "team.*"}},
		{Numeric: &NumericSpec{}}, {Regex: &RegexSpec{Pattern: `^(([a-z{}":,\[\] 0-9])*)*$`}},
		{Starlark: &StarlarkSpec{File: "c.star"}},
	}, files(map[string]string{"t.json": ticketSchema, "c.star": "def check(a, p):\n  for w in a['text'].split():\n    if w == 'never':\n      return False\n  return a['json'] != None\n"}))
	if err != nil {
		t.Fatal(err)
	}
	judge := func(content string) Result {
		return s.Judge(context.Background(), In{Problem: task.Problem{Answer: `{"team": "sales"}`}, Answer: exchange.Answer{Content: content}})
	}
	for _, c := range []struct{ name, content, reason string }{
		{"10 MB of text", strings.Repeat("words and ", 1<<20), ReasonTooLong},
		{"10 MB of JSON", `{"team": "` + strings.Repeat("a", 10<<20) + `"}`, ReasonTooLong},
		{"10 MB of brackets", strings.Repeat("[", 10<<20), ReasonTooLong},
		{"1 MB of text", strings.Repeat("words ", MaxAnswer/6), ReasonNotJSON},
		{"1 MB of values", "[" + strings.Repeat("0,", MaxAnswer/2-10) + "0]", ReasonTooLarge},
		{"deep arrays", nested("[", "", "]", 1<<18), ReasonTooDeep},
		{"deep objects", nested(`{"team":`, "1", "}", 1<<15), ReasonTooDeep},
		{"open brackets", strings.Repeat("[", 1<<18), ReasonTooDeep},
		{"open braces", strings.Repeat("{", 1<<18), ReasonNotJSON},
		{"open objects", strings.Repeat(`{"a":`, 1<<16), ReasonTooDeep},
		{"braces and long texts", strings.Repeat(`{"a `, 1<<16), ReasonNotJSON},
		{"objects that end badly", strings.Repeat(`{"a":[1,2,3,4,5,6,7,8,9,x `, 1<<14), ReasonTooLarge},
		{"a text that never ends", `{"` + strings.Repeat("{ ", 1<<17), ReasonNotJSON},
		{"invalid UTF-8", "{\"team\": \"\xff\xfe\"}", "schema:required"},
		{"NUL", "{\"team\": \"\x00\"}", ReasonNotJSON},
		{"a lone surrogate", `{"team": "\ud800"}`, "schema:required"},
		{"a number of a billion digits", `{"team": 1e1000000000}`, ReasonBadNumber},
		{"a number of a megabyte", `{"team": ` + strings.Repeat("9", 1<<19) + `}`, ReasonBadNumber},
		{"numbers", strings.Repeat("1,000.5e9 -", 1<<15), ReasonNotJSON},
		{"a key twice", `{"team": "sales", "team": "x"}`, ReasonDuplicate},
		{"code blocks", strings.Repeat("```\n", 1<<16), ReasonNotJSON},
		{"nothing", "", ReasonNotJSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := judge(c.content)
			if r.Verdict.Correct || r.Verdict.Reason != c.reason {
				t.Errorf("%+v", short(fmt.Sprintf("%+v", r.Verdict)))
			}
			for _, check := range r.Checks {
				if len(check.Detail) > 500 || check.Outcome == Error && check.Reason == ReasonTime {
					t.Errorf("%+v", check)
				}
			}
		})
	}
	r := judge(`{"team": "sales", "urgency": 3}`)
	for i, want := range []string{Pass, Pass, Fail, Error, Pass, Pass} {
		if r.Checks[i].Outcome != want {
			t.Errorf("afterwards: %+v", r.Checks[i])
		}
	}
}

// Go's regular expressions take time linear in the text. Patterns that take
// backtracking engines longer than the universe lasts are done at once here;
// the test would not end otherwise.
func TestNoRegularExpressionIsCatastrophic(t *testing.T) {
	content := strings.Repeat("a", 200_000) + "!"
	for _, p := range []string{
		`^(a+)+$`, `^(a|aa)+$`, `^(a*)*b$`, `^([a-z]+)*\d$`, `^(.*a){20}$`, `(x+x+)+y`, `^(a?){50}a{50}$`, `^(([a-z])+.)+[A-Z]([a-z])+$`, `\b(a+)+\b$`,
	} {
		s := set(t, Spec{Regex: &RegexSpec{Pattern: p}})
		if got := ask(s, content); got.Outcome != Fail && got.Outcome != Pass {
			t.Errorf("%s: %+v", p, got)
		}
	}
	// What would be slow in RE2 too is refused before it starts.
	for _, p := range []string{`(a{1000}){1000}`, `a{1001}`, strings.Repeat("(", 2000) + strings.Repeat(")", 2000)} {
		if _, err := New([]Spec{{Regex: &RegexSpec{Pattern: p}}}, nil); err == nil {
			t.Errorf("%s is taken", cut(p, 40))
		}
	}
}
