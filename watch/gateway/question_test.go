package gateway

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFieldsAreThoseOfTheObject holds the one pass over a request against a decoder.
func TestFieldsAreThoseOfTheObject(t *testing.T) {
	value := rapid.Deferred(func() *rapid.Generator[any] { return genValue(3) })
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.MapOf(rapid.SampledFrom([]string{"model", "n", "", "a\"b", "\\", "é\u2028", "x:y", "{"}), value).Draw(t, "object")
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "indented") {
			if raw, err = json.MarshalIndent(object, " ", "\t"); err != nil {
				t.Fatal(err)
			}
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		seen := 0
		err = eachField(raw, func(name string, value []byte) error {
			seen++
			if string(want[name]) != string(value) {
				t.Fatalf("%s: field %q is %s, want %s", raw, name, value, want[name])
			}
			return nil
		})
		if err != nil || seen != len(want) {
			t.Fatalf("%s: %d of %d fields, %v", raw, seen, len(want), err)
		}
	})
}

func genValue(depth int) *rapid.Generator[any] {
	plain := rapid.SampledFrom([]any{nil, true, 1.5e9, "", "a\"}],\\", "[", 0, -3})
	if depth == 0 {
		return plain
	}
	return rapid.OneOf(plain,
		rapid.Map(rapid.SliceOfN(genValue(depth-1), 0, 3), func(v []any) any { return v }),
		rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b\"", "]"}), genValue(depth-1), 0, 3), func(v map[string]any) any { return v }))
}

func TestQuestionsThatAreRefused(t *testing.T) {
	for body, want := range map[string]string{
		`[]`:                                "not a JSON object",
		`"a"`:                               "not a JSON object",
		`{}`:                                "model",
		`{"model":3}`:                       "model is not",
		`{"model":"m","stream":"yes"}`:      "stream is not",
		`{"model":"m","max_tokens":-1}`:     "max_tokens is not",
		`{"model":"m","n":1.5}`:             "n is not",
		`{"model":"m","n":1e30}`:            "n is not",
		`{"model":"m","\u006dodel":"dear"}`: "not valid",
		`{"model":"m"} {}`:                  "not valid",
		"{\"model\":\"\xff\"}":              "not valid",
		`{"model":"m","a":{"b":1,"b":2}}`:   "not valid",
		`{"model":"m","stream_options":3,"stream":true}`:                                "stream_options",
		`{"model":"m","stream_options":{"include_usage":3},"stream":true}`:              "include_usage",
		`{"model":"m","a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`: "not valid",
	} {
		if q, err := ask(wireChat, []byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %+v, %v; want %s", body, q, err, want)
		}
	}
	q, err := ask(wireCompletions, []byte(`{"model":"m","prompt":["a","b"],"n":3,"best_of":null,"max_tokens":5,"max_completion_tokens":7}`))
	if err != nil || q.answers != 6 || q.maxTokens != 7 {
		t.Errorf("%+v %v", q, err)
	}
}

func TestRequestsThatReferToWhatTheyDoNotHold(t *testing.T) {
	for body, want := range map[string]bool{
		`{"messages":[{"content":[{"type":"image_url","image_url":{"url":"u"}}]}]}`: true,
		`{"messages":[{"content":[{"type" : "input_file"}]}]}`:                      true,
		`{"previous_response_id":null}`:                                             true,
		`{"messages":[{"content":"an \"image_url\" is a field"}]}`:                  false,
		`{"messages":[{"content":"image_url \\\\"},"file_idea"]}`:                   false,
		`{"messages":[{"content":"\\","file_id":"x"}]}`:                             true,
		`{"n":[1,2,3]}`: false,
	} {
		if got := refers([]byte(body)); got != want {
			t.Errorf("refers(%s) = %v", body, got)
		}
	}
}
