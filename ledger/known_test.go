package ledger

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestAHeadIsReadAndWhatItDoesNotKnowIsKept holds the quick way of reading a
// head against the standard library's decoder, on objects of all kinds.
func TestAHeadIsReadAndWhatItDoesNotKnowIsKept(t *testing.T) {
	type plain struct {
		A any `json:"a"`
		B any `json:"b"`
	}
	known := map[string]bool{"a": true, "b": true}
	var value func(depth int) *rapid.Generator[any]
	name := rapid.SampledFrom([]string{"a", "b", "c", "", "x,y", `q"`, `\`, "{", "]", ":"})
	value = func(depth int) *rapid.Generator[any] {
		kinds := []*rapid.Generator[any]{
			rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any](1.5), rapid.Map(name, func(s string) any { return s }),
		}
		if depth > 0 {
			kinds = append(kinds,
				rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(l []any) any { return l }),
				rapid.Map(rapid.MapOfN(name, value(depth-1), 0, 3), func(m map[string]any) any { return m }))
		}
		return rapid.OneOf(kinds...)
	}
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.MapOfN(name, value(2), 0, 4).Draw(t, "object")
		marshal := json.Marshal
		if rapid.Bool().Draw(t, "spaced") {
			marshal = func(v any) ([]byte, error) { return json.MarshalIndent(v, " ", "\t") }
		}
		b, err := marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var got plain
		var extra map[string]json.RawMessage
		if err := decodeHead(b, &got, &extra, known); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		var want map[string]any
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, plain{want["a"], want["b"]}) {
			t.Fatalf("%s: read as %v", b, got)
		}
		delete(want, "a")
		delete(want, "b")
		if len(extra) != len(want) {
			t.Fatalf("%s: kept %s", b, extra)
		}
		for name, raw := range extra {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil || !reflect.DeepEqual(v, want[name]) {
				t.Fatalf("%s: kept %s of %q (%v)", b, raw, name, err)
			}
		}
	})
}

// TestAHeadIsReadLeniently: what JSON's fine print forbids is read all the same.
func TestAHeadIsReadLeniently(t *testing.T) {
	for _, c := range []struct {
		head, model string
		extra       int
	}{
		{`{"model":"\ud800"}`, "\ufffd", 0},
		{"{\"model\":\"\xff\"}", "\ufffd", 0},
		{`{"\u006dodel":"m"}`, "m", 0},
		{`{"model":"first","model":"last"}`, "last", 0},
		{`{"model":"first","new":1,"model":"last","new":2}`, "last", 1},
		{`{"model":null}`, "", 0},
	} {
		var h Intent
		if err := h.UnmarshalJSON([]byte(c.head)); err != nil || h.Model != c.model || len(h.Extra) != c.extra {
			t.Errorf("%q: %q, %d kept, %v", c.head, h.Model, len(h.Extra), err)
		}
	}
	var h Intent
	for _, bad := range []string{`{"model":`, `[]`, `{"model":1}`, `{"key":"no key"}`, `{"model":"m"} {}`} {
		if err := h.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
