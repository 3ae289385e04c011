package openai

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestPlainChunksAreReadAsAllOthersAre holds the one-pass reading against the types
// that know every form: what it reads, it reads alike.
func TestPlainChunksAreReadAsAllOthersAre(t *testing.T) {
	text := rapid.Custom(func(t *rapid.T) any {
		return rapid.SampledFrom([]any{nil, "", "a", "<think>b", "é\n\"", 3, []any{}, map[string]any{"a": 1}, map[string]any{"prompt_tokens": 1, "completion_tokens": 2}}).Draw(t, "text")
	})
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		delta, choice, chunk := map[string]any{}, map[string]any{"index": rapid.IntRange(0, 2).Draw(t, "index")}, map[string]any{"id": "c", "created": 1}
		for _, f := range []struct {
			in   map[string]any
			name string
		}{{delta, "content"}, {delta, "reasoning"}, {delta, "reasoning_content"}, {delta, "refusal"}, {delta, "tool_calls"}, {delta, "other"},
			{choice, "finish_reason"}, {choice, "text"}, {choice, "message"}, {choice, "logprobs"}, {chunk, "usage"}, {chunk, "error"}, {chunk, "model"}, {chunk, "system_fingerprint"}} {
			if rapid.IntRange(0, 3).Draw(t, f.name+"?") == 0 {
				f.in[f.name] = text.Draw(t, f.name)
			}
		}
		choice["delta"] = delta
		chunk["choices"] = []any{choice}
		data, err := json.Marshal(chunk)
		if err != nil {
			t.Fatal(err)
		}
		var plain, full ChatChunk
		if !readPlain(data, &plain) {
			return
		}
		read++
		if err := json.Unmarshal(data, &full); err != nil || full.Error != nil {
			t.Fatalf("%s is read as plain, and otherwise %v", data, err)
		}
		a, b := NewStream(), NewStream()
		a.chunk(&plain)
		b.chunk(&full)
		answerA, usageA, metaA := a.Result()
		answerB, usageB, metaB := b.Result()
		if diff := cmp.Diff(answerB, answerA) + cmp.Diff(usageB, usageA) + cmp.Diff(metaB, metaA); diff != "" {
			t.Fatalf("%s (-all forms +plain):\n%s", data, diff)
		}
	})
	if read == 0 {
		t.Error("no chunk was plain")
	}
	for _, bad := range []string{`{"id":"a","id":"b"}`, "{\"id\":\"\xff\"}", `{"id":"a"} x`, `{"error":"x"}`, `{"choices":[{"delta":{"tool_calls":[]}}]}`, `{"choices":3}`} {
		if readPlain([]byte(bad), new(ChatChunk)) {
			t.Errorf("%s was read as a plain chunk", bad)
		}
	}
}

func TestPlainResponsesAreReadAsAllOthersAre(t *testing.T) {
	for body, plain := range map[string]bool{
		`{"id":"c","model":"m","system_fingerprint":"f","choices":[{"index":1,"message":{"role":"assistant","content":"b"},"finish_reason":"stop"},{"index":0,"message":{"content":"a\u00e9","reasoning_content":"r","refusal":null},"finish_reason":null}],"usage":{"prompt_tokens":1,"completion_tokens":2,"x":{}}}`: true,
		`{"choices":[{"message":{"content":"<think>a</think>b"}}],"usage":{"prompt_tokens":-1}}`:                        true,
		`{"choices":[{"message":{"content":"a"}}],"usage":[]}`:                                                          true,
		`{"choices":[{"message":{"content":"a"}}]}`:                                                                     true,
		`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"t","function":{"name":"f","arguments":"{}"}}]}}]}`: false,
		`{"choices":[{"message":{"content":[{"type":"text","text":"a"}]}}]}`:                                            false,
		`{"choices":[{"text":"a","finish_reason":"stop"}]}`:                                                             false,
		`{"choices":[],"error":{"message":"x"}}`:                                                                        false,
		`{"choices":[{"message":{"content":"a"}}],"id":"a","id":"b"}`:                                                   false,
	} {
		var got, want ChatResponse
		if readPlainResponse([]byte(body), &got) != plain {
			t.Errorf("plain: %v, want %v: %s", !plain, plain, body)
			continue
		}
		if !plain {
			continue
		}
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatal(err)
		}
		want.Extra, want.Object, want.Created = nil, "", 0
		for i := range want.Choices {
			want.Choices[i].Extra, want.Choices[i].Message.Extra = nil, nil
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Content{}), cmp.AllowUnexported(Usage{})); diff != "" {
			t.Errorf("%s (-all forms +plain):\n%s", body, diff)
		}
	}
}
