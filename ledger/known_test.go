package ledger

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// TestAFieldIsFoundUnknownAsTheDecoderFindsIt holds the pass over the bytes
// against the decoder, on objects of all kinds.
func TestAFieldIsFoundUnknownAsTheDecoderFindsIt(t *testing.T) {
	known := map[string]bool{"a": true, "b": true, "": true}
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
		want := true
		for field := range object {
			want = want && known[field]
		}
		if got := allKnown(b, known); got != want {
			t.Fatalf("%s: all known %v, want %v", b, got, want)
		}
	})
	// An escaped name is looked at with care.
	if extra, err := unknownFields([]byte(`{"\u0061":1}`), known); err != nil || extra != nil {
		t.Errorf("an escaped name that is known: %v, %v", extra, err)
	}
	if extra, err := unknownFields([]byte(`{"\u0063":1}`), known); err != nil || string(extra["c"]) != "1" {
		t.Errorf("an escaped name that is not known: %v, %v", extra, err)
	}
}
