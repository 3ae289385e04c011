package constrain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// reads reports how far a grammar follows a text: to its end or not, and whether
// it may end there.
func reads(t testing.TB, g *Grammar, text string) (all, complete bool) {
	t.Helper()
	a := newAutomaton(g.prog)
	c := a.start
	for i := range len(text) {
		a.work = firstWork
		var err error
		if c, err = a.step(c, g.prog.class[text[i]]); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if c == dead {
			return false, false
		}
	}
	return true, c.accept
}

// vocabularyOf makes a vocabulary of all bytes, then those texts, then an end.
func vocabularyOf(texts ...string) (v *Vocabulary, end int32) {
	end = int32(256 + len(texts))
	return NewVocabulary(int(end)+1, func(id int32) []byte {
		switch {
		case id < 256:
			return []byte{byte(id)}
		case id < end:
			return []byte(texts[id-256])
		}
		return []byte("<|im_end|>")
	}, []int32{end}), end
}

// everyday has tokens as tokenizers make them, across the borders of JSON's
// parts, and parts of characters.
var everyday = strings.Split(`{"|":|": "|","|", "|"}|"},|{"a|true|false|null|tru|als|e,|[[|]]|],[|{}|[]|\"|\\|\u|\n|00|12|123|0.|-1|e+|e5|the| the|and|ab|abc|name|id|a@b.|2024-|-0|é|è|🙂|日本|`+
	"\xf0\x9f|\xa9|\xe6\x97|\n|\n  |  |    |\": [|\": {\"|<think>|</think>|</|think>|>\n", "|")

func mustSchema(t testing.TB, schema string) *Grammar {
	t.Helper()
	g, err := Schema([]byte(schema))
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	return g
}

// validator is an independent judge of values.
func validator(t testing.TB, schema string) func(text string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
}

// walk writes a text by choosing among allowed tokens at random, and ends it
// when it can once it is long. It fails the test at a dead end.
func walk(t testing.TB, c *Constraint, end int32, rng *rand.Rand, long int) (text []byte, whole bool) {
	t.Helper()
	m := c.NewMatcher()
	mask := make([]uint64, c.v.MaskLen())
	// Bytes that close something are chosen more often as the text grows.
	for step := 0; !m.Done(); step++ {
		if step > 40*long {
			return text, false
		}
		if err := m.Allowed(mask); err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		var ids []int32
		for w, word := range mask {
			for ; word != 0; word &= word - 1 {
				ids = append(ids, int32(w*64+bits.TrailingZeros64(word)))
			}
		}
		id := ids[rng.IntN(len(ids))]
		if step > long || rng.IntN(8) == 0 {
			for _, close := range []string{"\"", "}", "]", "0"} {
				if slices.Contains(ids, int32(close[0])) && rng.IntN(4) > 0 {
					id = int32(close[0])
					break
				}
			}
			if slices.Contains(ids, end) {
				id = end
			}
		}
		if id < 256 && id >= 0x80 && rng.IntN(4) > 0 {
			continue // fewer characters spelled by single bytes
		}
		if err := m.Accept(id); err != nil {
			t.Fatalf("after %q token %d was allowed but: %v", text, id, err)
		}
		if id != end {
			text = append(text, c.v.tokens[id]...)
		}
	}
	return text, true
}

// A schema, values in the form that this package writes that satisfy it, and
// values that do not (or that are not in that form).
var schemaCases = []struct {
	name, schema string
	good, bad    []string
}{
	{"anything", `true`, []string{`1`, `"a"`, `[]`, `{}`, `{"a":[1,{"b":null}]}`, `-0.5e+10`, `""`, `[[],[[]]]`}, []string{``, `{`, `01`, `"\x"`, `{a:1}`, `[1,]`, `nul`, "\"\n\"", `"\ud800"`}},
	{"types", `{"type":["string","null"]}`, []string{`"x"`, `null`}, []string{`1`, `{}`, `true`}},
	{"integer", `{"type":"integer"}`, []string{`0`, `-1`, `123456789012345678`}, []string{`-0`, `01`, `1.0`, `1234567890123456789`, `+1`}},
	{"number", `{"type":"number"}`, []string{`0`, `-0.25`, `1e5`, `3.14E-2`}, []string{`.5`, `1.`, `1e`, `0x1`}},
	{"boolean", `{"type":"boolean","title":"t","description":"d","default":true,"examples":[false]}`, []string{`true`, `false`}, []string{`null`, `"true"`}},
	{"range", `{"type":"integer","minimum":-12,"maximum":345}`, []string{`-12`, `-9`, `0`, `9`, `10`, `99`, `100`, `345`, `300`}, []string{`-13`, `346`, `1000`, `-0`, `400`, `-20`}},
	{"range above", `{"type":"integer","exclusiveMinimum":99.5}`, []string{`100`, `101`, `999`, `1000`}, []string{`99`, `0`, `-100`}},
	{"range below", `{"type":"integer","exclusiveMaximum":-5}`, []string{`-6`, `-10`, `-99`}, []string{`-5`, `-1`, `0`, `7`}},
	{"unit interval", `{"type":"number","minimum":0,"maximum":1}`, []string{`0`, `0.5`, `1`, `1.0`, `0.000`}, []string{`1.01`, `-0.1`, `2`, `10`, `1e0`}},
	{"open interval", `{"type":"number","exclusiveMinimum":-2,"exclusiveMaximum":3}`, []string{`-1.999`, `-1`, `-0.5`, `0`, `2`, `2.99`}, []string{`-2`, `-2.0`, `3`, `3.0`, `4`}},
	{"above zero", `{"type":"number","exclusiveMinimum":0}`, []string{`0.001`, `5`, `123.4`}, []string{`0`, `0.0`, `-1`}},
	{"enum", `{"enum":["red","a \"b\"\n",1,1.5,null,true,[1,{"a":2}],{"k":"v"}]}`, []string{`"red"`, `"a \"b\"\n"`, `1`, `1.5`, `null`, `true`, `[1,{"a":2}]`, `{"k":"v"}`}, []string{`"re"`, `"blue"`, `2`, `[1]`}},
	{"enum and type", `{"type":"integer","enum":[1,2,30,"x"],"minimum":2}`, []string{`2`, `30`}, []string{`1`, `"x"`}},
	{"enum and pattern", `{"enum":["ab","b","a1"],"pattern":"^a","minLength":2}`, []string{`"ab"`, `"a1"`}, []string{`"b"`}},
	{"const", `{"const":{"a":"é"}}`, []string{`{"a":"é"}`}, []string{`{}`, `{"a":"e"}`}},
	{"length", `{"type":"string","minLength":2,"maxLength":4}`, []string{`"ab"`, `"é🙂"`, `"日本日本"`, `"\u00e9\ud83d\ude00"`, `"\n\\"`}, []string{`"a"`, `"abcde"`, `"🙂"`, `"\ud83d\ude00"`}},
	{"pattern", `{"type":"string","pattern":"^[a-z]+-\\d{2}$"}`, []string{`"a-12"`, `"abc-00"`}, []string{`"A-12"`, `"a-1"`, `"a-123"`, `""`}},
	{"pattern inside", `{"type":"string","pattern":"b+"}`, []string{`"b"`, `"abc"`, `"\"b\\"`}, []string{`"ac"`, `""`}},
	{"pattern of two ends", `{"type":"string","pattern":"^a|z$"}`, []string{`"a"`, `"abc"`, `"xz"`, `"z"`}, []string{`"ba"`, `"zb"`, `""`}},
	{"pattern and length", `{"type":"string","pattern":"^x[a-z]*$","minLength":3,"maxLength":5}`, []string{`"xab"`, `"xabcd"`}, []string{`"xa"`, `"xabcde"`, `"abc"`}},
	{"pattern with quotes", `{"type":"string","pattern":"^[\"\\\\\n]{2}.$"}`, []string{`"\"\\a"`, `"\n\n\t"`}, []string{`"ab"`, `"\""`}},
	{"date", `{"type":"string","format":"date"}`, []string{`"2024-02-29"`, `"2023-12-31"`, `"2000-02-29"`}, []string{`"2023-02-29"`, `"1900-02-29"`, `"2024-13-01"`, `"2024-04-31"`}},
	{"date-time", `{"type":"string","format":"date-time"}`, []string{`"2024-02-29T23:59:59Z"`, `"2024-01-01T00:00:00.5+05:30"`}, []string{`"2024-02-29"`, `"2024-01-01T24:00:00Z"`}},
	{"time", `{"format":"time","type":"string"}`, []string{`"12:00:00Z"`}, []string{`"12:00"`}},
	{"uuid", `{"type":"string","format":"uuid"}`, []string{`"123e4567-e89b-12d3-a456-426614174000"`}, []string{`"123e4567"`}},
	{"email", `{"type":"string","format":"email"}`, []string{`"a.b@example.org"`}, []string{`"a@b"`, `"a.@b.c"`, `"@b.c"`}},
	{"hostname", `{"type":"string","format":"hostname"}`, []string{`"example.org"`, `"a"`}, []string{`"-a"`, `"a..b"`}},
	{"ipv4", `{"type":"string","format":"ipv4"}`, []string{`"127.0.0.1"`, `"255.255.255.255"`}, []string{`"256.0.0.1"`, `"01.2.3.4"`}},
	{"ipv6", `{"type":"string","format":"ipv6"}`, []string{`"::1"`, `"::"`, `"2001:db8::8:800:200c:417a"`, `"1:2:3:4:5:6:7:8"`}, []string{`"1:2"`, `"1::2::3"`, `"12345::"`}},
	{"duration", `{"type":"string","format":"duration"}`, []string{`"P3D"`, `"PT1H30M"`, `"P2W"`, `"P1DT12H"`}, []string{`"P"`, `"3D"`}},
	{"object", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"null"}},"required":["b"]}`,
		[]string{`{"b":"x"}`, `{"a":1,"b":"x"}`, `{"a":1,"b":"","c":null}`, `{"b":"x","c":null}`, `{"a": 1, "b": "x"}`, "{\n  \"b\": \"x\"\n}"}, []string{`{}`, `{"a":1}`, `{"b":"x","a":1}`, `{"b":"x","d":1}`, `{"b":"x",}`, `{,"b":"x"}`, `{  "b":"x"}`}},
	{"optional only", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"additionalProperties":false}`,
		[]string{`{}`, `{"a":1}`, `{"b":1}`, `{"a":1,"b":2}`, `{ }`}, []string{`{"b":1,"a":1}`, `{"c":1}`, `{"a":1,}`}},
	{"any object", `{"type":"object"}`, []string{`{}`, `{"x":{}}`, `{"x":1,"y":[2]}`}, []string{`[]`, `1`}},
	{"map", `{"type":"object","additionalProperties":{"type":"integer"}}`, []string{`{}`, `{"x":1}`, `{"x":1,"y":-2}`}, []string{`{"x":"y"}`}},
	{"others after", `{"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"null"}},"required":["a"],"additionalProperties":{"type":"string"}}`,
		[]string{`{"a":1}`, `{"a":1,"b":"x"}`, `{"a":1,"abc":"x","":"y"}`, `{"a":1,"ab":null,"z":"x"}`, `{"a":1,"é\"":"x"}`}, []string{`{"a":"x"}`, `{"b":"x"}`, `{"a":1,"ab":"x"}`, `{"a":1,"a":"x"}`, `{"a":1,"b":2}`, `{"a":1,"\u0061b":"x"}`}},
	{"required alone", `{"type":"object","required":["x","y"]}`, []string{`{"x":1,"y":2}`, `{"x":null,"y":{},"z":0}`}, []string{`{}`, `{"x":1}`}},
	{"array", `{"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3}`, []string{`[1]`, `[1,2,3]`, `[1, 2]`, "[\n  1,\n  2\n]"}, []string{`[]`, `[1,2,3,4]`, `["a"]`, `[1,]`}},
	{"array from two", `{"type":"array","items":{"type":"boolean"},"minItems":2}`, []string{`[true,false]`, `[true,true,true,true]`}, []string{`[]`, `[true]`}},
	{"empty array", `{"type":"array","maxItems":0}`, []string{`[]`}, []string{`[1]`}},
	{"array without items", `{"type":"array"}`, []string{`[]`, `[1,"a",[]]`}, []string{`{}`}},
	{"tuple", `{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"minItems":2}`, []string{`[1,"a"]`}, []string{`[1]`, `["a",1]`, `[1,"a",2]`}},
	{"tuple and more", `{"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"}}`, []string{`[]`, `[1]`, `[1,null,null]`}, []string{`[null]`, `[1,2]`}},
	{"anyOf", `{"anyOf":[{"type":"integer"},{"type":"string","maxLength":1},{"const":"long"}]}`, []string{`5`, `"a"`, `"long"`}, []string{`"lo"`, `null`}},
	{"anyOf beside others", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"anyOf":[{"required":["a"]},{"required":["b"]}]}`, []string{`{"a":1}`, `{"b":1}`, `{"a":1,"b":1}`}, []string{`{}`}},
	{"oneOf by const", `{"oneOf":[{"type":"object","properties":{"kind":{"const":"cat"},"lives":{"type":"integer"}},"required":["kind","lives"]},{"type":"object","properties":{"kind":{"const":"dog"},"name":{"type":"string"}},"required":["kind"]}],"discriminator":{"propertyName":"kind"}}`,
		[]string{`{"kind":"cat","lives":9}`, `{"kind":"dog"}`, `{"kind":"dog","name":"Rex"}`}, []string{`{"kind":"cat"}`, `{"kind":"cow"}`, `{"kind":"dog","lives":1}`}},
	{"oneOf by type", `{"oneOf":[{"type":"integer","maximum":4},{"type":"number","minimum":10},{"type":"array","items":{"type":"null"}}]}`, []string{`3`, `10.5`, `[null]`}, []string{`7`, `[1]`}},
	{"oneOf by refusal", `{"oneOf":[{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":false},{"type":"object","properties":{"b":{}},"required":["b"],"additionalProperties":false}]}`, []string{`{"a":1}`, `{"b":[]}`}, []string{`{"a":1,"b":1}`, `{}`}},
	{"allOf", `{"allOf":[{"type":"object","properties":{"a":{"type":"number"}},"required":["a"]},{"properties":{"a":{"type":"integer","minimum":3},"b":{"type":"string"}}}]}`, []string{`{"a":3}`, `{"a":4,"b":"x"}`}, []string{`{"a":2}`, `{"a":3.5}`, `{"b":"x"}`}},
	{"ref", `{"$defs":{"point":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]},"a/b":{"type":"null"}},"type":"array","items":{"anyOf":[{"$ref":"#/$defs/point"},{"$ref":"#/$defs/a~1b"}]}}`, []string{`[]`, `[{"x":1},null]`}, []string{`[{"y":1}]`}},
	{"ref with siblings", `{"$defs":{"n":{"type":"integer"}},"$ref":"#/$defs/n","minimum":5,"description":"five"}`, []string{`5`}, []string{`4`}},
	{"tree", `{"type":"object","properties":{"value":{"type":"integer"},"children":{"type":"array","items":{"$ref":"#"}}},"required":["value"],"additionalProperties":false}`, []string{`{"value":1}`, `{"value":1,"children":[{"value":2,"children":[]}]}`}, []string{`{"children":[]}`, `{"value":1,"children":[1]}`}},
	{"expression", `{"$defs":{"e":{"anyOf":[{"type":"number"},{"type":"object","properties":{"op":{"enum":["+","-"]},"args":{"type":"array","items":{"$ref":"#/$defs/e"},"minItems":2,"maxItems":2}},"required":["op","args"]}]}},"$ref":"#/$defs/e"}`, []string{`1`, `{"op":"+","args":[1,{"op":"-","args":[2,3]}]}`}, []string{`{"op":"*","args":[1,2]}`, `{"op":"+","args":[1]}`}},
	{"without type", `{"properties":{"a":{"minLength":1}},"required":["a"]}`, []string{`{"a":"x"}`}, []string{`{"a":""}`, `"x"`}},
	{"impossible member", `{"type":"object","properties":{"a":{"type":"integer"},"b":false}}`, []string{`{}`, `{"a":1}`}, []string{`{"b":1}`}},
	{"names to escape", `{"type":"object","properties":{"a\"b\\\n":{"type":"null"},"<é>":{"type":"null"}},"required":["a\"b\\\n","<é>"]}`, []string{`{"a\"b\\\n":null,"<é>":null}`}, []string{`{}`}},
}

func TestSchemas(t *testing.T) {
	for _, c := range schemaCases {
		t.Run(c.name, func(t *testing.T) {
			g, valid := mustSchema(t, c.schema), validator(t, c.schema)
			for _, text := range c.good {
				if _, complete := reads(t, g, text); !complete {
					t.Errorf("%s is refused", text)
				}
				if err := valid(text); err != nil {
					t.Errorf("%s should not be among the good: %v", text, err)
				}
			}
			for _, text := range c.bad {
				if _, complete := reads(t, g, text); complete {
					t.Errorf("%s is accepted", text)
				}
			}
			v, end := vocabularyOf(everyday...)
			con := NewConstraint(g, v)
			rng := rand.New(rand.NewPCG(1, 2))
			finished := 0
			for range 60 {
				text, whole := walk(t, con, end, rng, 1+rng.IntN(40))
				if !whole {
					continue
				}
				finished++
				if !utf8.Valid(text) {
					t.Fatalf("%q is not UTF-8", text)
				}
				if err := valid(string(text)); err != nil {
					t.Fatalf("%s was allowed: %v", text, err)
				}
				var any any
				if err := json.Unmarshal(text, &any); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			if finished == 0 {
				t.Error("no walk came to an end")
			}
		})
	}
}

func TestWhatASchemaCannotAskFor(t *testing.T) {
	for _, c := range []struct{ schema, place, says string }{
		{`{"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}}`, "#/properties/a/uniqueItems", "uniqueItems"},
		{`{"properties":{"a":{"not":{}}}}`, "#/properties/a/not", "not"},
		{`{"if":{},"then":{}}`, "#/if", "if"},
		{`{"patternProperties":{"a":{}}}`, "#/patternProperties", "patternProperties"},
		{`{"type":"integer","multipleOf":2}`, "#/multipleOf", "multipleOf"},
		{`{"type":"number","minimum":0.5}`, "#/minimum", "whole"},
		{`{"type":"integer","minimum":1e30}`, "#/minimum", "18 digits"},
		{`{"type":"string","format":"uri"}`, "#/format", `"uri" is not supported; there are date`},
		{`{"type":"string","pattern":"(?=a)b"}`, "#/pattern", "invalid"},
		{`{"type":"string","pattern":"a\\b"}`, "#/pattern", `\b`},
		{`{"type":"string","pattern":"a^b"}`, "#/pattern", "anchor"},
		{`{"type":"string","pattern":"a","maxLength":5}`, "#/pattern", "length"},
		{`{"type":"string","pattern":"a","format":"date"}`, "#/pattern", "format"},
		{`{"allOf":[{"pattern":"a"},{"pattern":"b"}]}`, "#/allOf/1/pattern", "two different"},
		{`{"oneOf":[{"type":"integer"},{"type":"number"}]}`, "#/oneOf", "members 0 and 1"},
		{`{"oneOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}`, "#/oneOf", "anyOf"},
		{`{"$ref":"other.json#/a"}`, "#/$ref", "within the document"},
		{`{"$ref":"#/$defs/a"}`, "#/$ref", "nothing of this name"},
		{`{"$ref":"#"}`, "#", "itself"},
		{`{"allOf":[{"$ref":"#"}]}`, "#", "itself"},
		{`{"anyOf":[{"$ref":"#"},{"type":"null"}]}`, "#", "itself"},
		{`{"type":"object","anyOf":[{"$ref":"#"},{"type":"object"}]}`, "#/anyOf", "combinations"},
		{`{"type":"strin"}`, "#/type", "no type"},
		{`{"type":[]}`, "#/type", "list"},
		{`{"items":[{}]}`, "#/items", "prefixItems"},
		{`{"properties":{"a":{"$id":"b","type":"null"}}}`, "#/properties/a/$id", "root"},
		{`{"propertis":{}}`, "#/propertis", "not supported"},
		{`{"minLength":-1}`, "#/minLength", "whole"},
		{`{"minimum":1e99999999}`, "#/minimum", "bearable"},
		{`{"enum":[]}`, "#/enum", "not empty"},
		{`{"enum":[{}],"required":["a"]}`, "#/enum/0", "keywords about its parts"},
		{`{"properties":{"a":1}}`, "#/properties/a", "schema"},
		{`{"type":"string","maxLength":60000}`, "", "repeated up to 60000"},
		{`{"type":"object","properties":{"a":false},"required":["a"]}`, "", "no text satisfies"},
		{`{"type":"string","minLength":3,"maxLength":2}`, "", "no text satisfies"},
		{`false`, "", "no text satisfies"},
		{`7`, "#", "a schema is"},
		{`{"a":1,"a":2}`, "", "duplicate"},
		{`{} {}`, "", "follows"},
		{`{`, "", "not JSON"},
		{``, "", "not JSON"},
		{strings.Repeat(`{"not":`, 300) + `{}` + strings.Repeat(`}`, 300), "", "nested"},
	} {
		_, err := Schema([]byte(c.schema))
		if err == nil || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.80s: %v, want %q at %q", c.schema, err, c.says, c.place)
		}
	}
}

func TestEveryRangeOfIntegers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		low, high := rng.Int64N(4000)-2000, rng.Int64N(4000)-2000
		if low > high {
			low, high = high, low
		}
		g, err := compile([]rule{{"integers", integersFrom(low, high)}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := int64(-2300); n < 2300; n += 1 + rng.Int64N(7) {
			if _, ok := reads(t, g, fmt.Sprint(n)); ok != (low <= n && n <= high) {
				t.Fatalf("%d in %d..%d: %v", n, low, high, ok)
			}
		}
		for _, n := range []int64{low - 1, low, low + 1, high - 1, high, high + 1} {
			if _, ok := reads(t, g, fmt.Sprint(n)); ok != (low <= n && n <= high) {
				t.Fatalf("%d in %d..%d: %v", n, low, high, ok)
			}
		}
	}
}

func TestRangesOfNumbers(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		low, high := rng.Int64N(40)-20, rng.Int64N(40)-20
		if low > high {
			low, high = high, low
		}
		keys := [2]string{"minimum", "maximum"}
		lowOpen, highOpen := rng.IntN(2) == 0, rng.IntN(2) == 0
		if lowOpen {
			keys[0] = "exclusiveMinimum"
		}
		if highOpen {
			keys[1] = "exclusiveMaximum"
		}
		if low == high && (lowOpen || highOpen) {
			continue
		}
		g := mustSchema(t, fmt.Sprintf(`{"type":"number","%s":%d,"%s":%d}`, keys[0], low, keys[1], high))
		for n := -2200; n <= 2200; n += 5 {
			v := float64(n) / 100
			in := (v > float64(low) || v == float64(low) && !lowOpen) && (v < float64(high) || v == float64(high) && !highOpen)
			if _, ok := reads(t, g, fmt.Sprintf("%.2f", v)); ok != in {
				t.Fatalf("%.2f in %d..%d (%v): %v", v, low, high, keys, ok)
			}
		}
	}
}

func TestJSONObject(t *testing.T) {
	g := JSONObject()
	for text, want := range map[string]bool{`{}`: true, `{"a":[1,2,{"b":"c"}]}`: true, `[]`: false, `{"a":}`: false, `1`: false, "{\n\t\"a\": 1,\n\t\"b\": 2\n}": true, ` {}`: false} {
		if _, ok := reads(t, g, text); ok != want {
			t.Errorf("%s: %v", text, ok)
		}
	}
	if _, whole := walk(t, NewConstraint(g, first(vocabularyOf(everyday...))), 256+int32(len(everyday)), rand.New(rand.NewPCG(1, 1)), 300); !whole {
		t.Error("a long walk did not end")
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestChoice(t *testing.T) {
	g, err := Choice([]string{"yes", "no", "not sure"})
	if err != nil {
		t.Fatal(err)
	}
	v, end := vocabularyOf("not", "no", " sure", "yes!", "ye")
	m := NewConstraint(g, v).NewMatcher()
	mask := make([]uint64, v.MaskLen())
	allowed := func() string {
		t.Helper()
		if err := m.Allowed(mask); err != nil {
			t.Fatal(err)
		}
		var out []string
		for id := range end + 1 {
			if mask[id>>6]>>(id&63)&1 == 1 {
				if id == end {
					out = append(out, "END")
				} else {
					out = append(out, string(v.tokens[id]))
				}
			}
		}
		return strings.Join(out, "|")
	}
	if got := allowed(); got != "n|y|not|no|ye" {
		t.Errorf("at first: %s", got)
	}
	if err := m.Accept(257); err != nil {
		t.Fatal(err)
	}
	if got := allowed(); got != "t|END" || m.Done() {
		t.Errorf("after no: %s, done %v", got, m.Done())
	}
	if err := m.Accept('x'); err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("x: %v", err)
	}
	if err := m.Accept('t'); err != nil {
		t.Fatal(err)
	}
	if err := m.Accept(end); err == nil || !strings.Contains(err.Error(), "not complete") {
		t.Errorf("an early end: %v", err)
	}
	if err := m.Accept(258); err != nil || !m.Done() {
		t.Errorf("after not sure: %v, done %v", err, m.Done())
	}
	if got := allowed(); got != "END" {
		t.Errorf("at last: %s", got)
	}
	if err := m.Accept(end); err != nil || !m.Done() {
		t.Errorf("the end: %v", err)
	}
	if err := m.Accept(end); err == nil {
		t.Error("two ends")
	}
	if err := m.Allowed(mask); !errors.Is(err, ErrNoToken) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := Choice(nil); err == nil {
		t.Error("a choice of nothing")
	}
}

func TestAVocabularyThatCannotSpellIt(t *testing.T) {
	g, err := Choice([]string{"abc"})
	if err != nil {
		t.Fatal(err)
	}
	v := NewVocabulary(2, func(id int32) []byte { return []byte{"ab"[id]} }, nil)
	m := NewConstraint(g, v).NewMatcher()
	mask := make([]uint64, 1)
	for id := range int32(2) {
		if err := m.Allowed(mask); err != nil || mask[0] != 1<<id {
			t.Fatalf("%b, %v", mask[0], err)
		}
		if err := m.Accept(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Allowed(mask); !errors.Is(err, ErrNoToken) || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("without c: %v", err)
	}
}

func TestAfterAPassage(t *testing.T) {
	g, err := Choice([]string{"yes", "no"})
	if err != nil {
		t.Fatal(err)
	}
	if g, err = g.After("<think>", "</think>"); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"yes": true, "<think></think>no": true, "<think>a < b</think>yes": true, "<think>é</thin</</think>\n\nyes": true, "<think><</think>yes": true,
		"<think></think></think>yes": false, "<think>yes": false, "<think></think>": false, "maybe": false, "<think></think>\n\n\nyes": false, "</think>yes": false,
	} {
		if _, ok := reads(t, g, text); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

func TestUntilFindsItsText(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for range 300 {
		word := func(n int) string {
			b := make([]byte, n)
			for i := range b {
				b[i] = "ab"[rng.IntN(2)]
			}
			return string(b)
		}
		end := word(1 + rng.IntN(5))
		g, err := compile([]rule{{"until", until(end)}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			text := word(rng.IntN(12))
			if _, ok := reads(t, g, text); ok != (strings.Index(text, end) == len(text)-len(end) && strings.HasSuffix(text, end)) {
				t.Fatalf("%q until %q: %v", text, end, ok)
			}
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	// Every depth of brackets is a configuration of its own.
	g := mustSchema(t, `{"type":"array","items":{"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"string","maxLength":500}]}}`)
	v, _ := vocabularyOf(everyday...)
	c := NewConstraint(g, v)
	m := c.NewMatcher()
	mask := make([]uint64, v.MaskLen())
	ages := c.auto.age
	text := strings.Repeat(`["`+strings.Repeat("a", 200)+`",[`, 150)
	for _, b := range []byte(text) {
		if err := m.Allowed(mask); err != nil {
			t.Fatal(err)
		}
		if mask[b>>6]>>(b&63)&1 == 0 {
			t.Fatalf("%q is not allowed", b)
		}
		if err := m.Accept(int32(b)); err != nil {
			t.Fatal(err)
		}
		if c.auto.size > 2*cacheSize {
			t.Fatalf("the cache holds %d bytes", c.auto.size)
		}
	}
	if c.auto.age == ages {
		t.Error("the cache was never emptied: the test shows nothing")
	}
	for _, b := range []byte(strings.Repeat("]", 300)) {
		if err := m.Accept(int32(b)); err != nil {
			t.Fatal(err)
		}
	}
	if !m.Done() {
		t.Error("all brackets are closed and it is not done")
	}
}

func TestHostileGrammarsEnd(t *testing.T) {
	deep := strings.Repeat("(", 5000) + "a" + strings.Repeat(")", 5000)
	for name, compiled := range map[string]func() (*Grammar, error){
		"nested counts":  func() (*Grammar, error) { return GBNF(`root ::= ((("a"{9999}){9999}){9999}){9999}`) },
		"nested empties": func() (*Grammar, error) { return GBNF(`root ::= ((((""{9999}){9999}){9999}){9999}){9999}`) },
		"optional chain": func() (*Grammar, error) { return GBNF(`root ::= (("a"? "b"?){50} "c"?){2000}`) },
		"many optionals": func() (*Grammar, error) { return Regex(`(a?b?c?d?e?f?g?){1000}`) },
		"deep groups":    func() (*Grammar, error) { return GBNF("root ::= " + deep) },
		"deep regex":     func() (*Grammar, error) { return Regex(deep) },
		"count":          func() (*Grammar, error) { return GBNF(`root ::= "a"{0,100000}`) },
		"huge count":     func() (*Grammar, error) { return GBNF(`root ::= "a"{99999999999999999999}`) },
		"regex blow-up":  func() (*Grammar, error) { return Regex(`(.*a.{900}){3}`) },
		"many combinations": func() (*Grammar, error) {
			return Schema([]byte(`{"allOf":[` + strings.Repeat(`{"anyOf":[{"minimum":1},{"minimum":2},{"minimum":3}]},`, 30) + `true]}`))
		},
		"huge items": func() (*Grammar, error) {
			return Schema([]byte(`{"type":"array","items":{"type":"array","minItems":9000},"minItems":9000}`))
		},
		"ambiguous":      func() (*Grammar, error) { return GBNF(`root ::= "a" root root | "a" root | "a"`) },
		"crossing calls": func() (*Grammar, error) { return GBNF(crossing(400)) },
	} {
		t.Run(name, func(t *testing.T) {
			g, err := compiled()
			if err != nil {
				t.Log(err)
				return
			}
			v, _ := vocabularyOf(everyday...)
			m := NewConstraint(g, v).NewMatcher()
			mask := make([]uint64, v.MaskLen())
			for range 300 {
				if err := m.Allowed(mask); err != nil {
					t.Log(err)
					return
				}
				if mask['a'>>6]>>('a'&63)&1 == 0 {
					return
				}
				if err := m.Accept('a'); err != nil {
					t.Log(err)
					return
				}
			}
		})
	}
}

// crossing is a grammar whose rules call each other in all ways at one place.
func crossing(n int) string {
	var b strings.Builder
	b.WriteString("root ::= ")
	for i := range n {
		if i > 0 {
			b.WriteString(" | ")
		}
		fmt.Fprintf(&b, `x "%d"`, i)
	}
	b.WriteString("\nx ::= ")
	for i := range n {
		if i > 0 {
			b.WriteString(" | ")
		}
		fmt.Fprintf(&b, `y%d`, i)
	}
	for i := range n {
		fmt.Fprintf(&b, "\ny%d ::= \"a\" | \"a\" root", i)
	}
	return b.String()
}

func TestMatchersShareAConstraint(t *testing.T) {
	g := JSONObject()
	v, end := vocabularyOf(everyday...)
	c := NewConstraint(g, v)
	done := make(chan []byte)
	for i := range 4 {
		go func() {
			text, _ := walk(t, c, end, rand.New(rand.NewPCG(uint64(i%2), 7)), 60)
			done <- text
		}()
	}
	var all [][]byte
	for range 4 {
		all = append(all, <-done)
	}
	slices.SortFunc(all, bytes.Compare)
	if !bytes.Equal(all[0], all[1]) || !bytes.Equal(all[2], all[3]) {
		t.Error("what one sequence may say depends on the others")
	}
}

func TestSensibleSchemasStayFarFromTheLimits(t *testing.T) {
	v := large()
	var many strings.Builder
	many.WriteString(`{"type":"object","properties":{`)
	for i := range 60 {
		fmt.Fprintf(&many, `"field%d":{"anyOf":[{"type":"string","maxLength":50},{"type":"array","items":{"$ref":"#"}},{"enum":["a","b","c%d"]}]},`, i, i)
	}
	many.WriteString(`"last":{"type":"string","pattern":"^[A-Z][a-z]+( [A-Z][a-z]+)*$"}},"additionalProperties":{"type":"string"}}`)
	any, err := JSONObject().After("<think>", "</think>")
	if err != nil {
		t.Fatal(err)
	}
	for name, g := range map[string]*Grammar{"any object": any, "person": mustSchema(t, person), "many": mustSchema(t, many.String())} {
		c := NewConstraint(g, v)
		for seed := range uint64(3) {
			m := c.NewMatcher()
			rng := rand.New(rand.NewPCG(seed, 5))
			mask := make([]uint64, v.MaskLen())
			least := m.work
			for range 100 {
				if m.Done() {
					break
				}
				if err := m.Allowed(mask); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				id := rng.IntN(len(v.tokens))
				for mask[id>>6]>>(id&63)&1 == 0 {
					id = (id + 1) % len(v.tokens)
				}
				if err := m.Accept(int32(id)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				least = min(least, m.work)
			}
			if least < firstWork/2 {
				t.Errorf("%s: only %d of %d of the work was left", name, least, firstWork)
			}
		}
	}
}
