package gateway

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retort/exchange"
	"retort/ledger"
)

// TestAGlanceMissesNothing holds what the gateway sees of a stream without decoding
// its events against what a reader of the whole stream finds.
func TestAGlanceMissesNothing(t *testing.T) {
	wires := map[*modelWire]func() assembler{
		wireChat:      func() assembler { return newOpenAIView().assembler },
		wireResponses: func() assembler { return newResponsesView().assembler },
		wireMessages:  func() assembler { return newMessagesView().assembler },
	}
	rapid.Check(t, func(t *rapid.T) {
		for w, whole := range wires {
			var text strings.Builder
			for _, ev := range genStream(t, w) {
				if !strings.Contains(ev.text, `"error"`) { // which ends the reading of the whole
					text.WriteString(ev.text)
				}
			}
			g := newGate(w, false)
			g.push([]byte(text.String()))
			got := g.view
			all := whole()
			err := all.Feed([]byte(text.String()))
			if err != nil {
				continue
			}
			want := got.result(all)
			if r := got.read(); r.usage != want.usage || r.finish != want.finish || r.model != want.model || r.fingerprint != want.fingerprint || all.Finished() != got.Finished() {
				t.Fatalf("%s: seen %+v, finished %v; there is %+v, %v:\n%s", w.name, r, got.Finished(), want, all.Finished(), text.String())
			}
		}
	})
}

func TestGlance(t *testing.T) {
	for text, want := range map[string]glance{
		`data: {"choices":[{"delta":{"content":"a\"b","x":1},"finish_reason":null}],"usage":null}`: {names: 6, text: 4, choices: true},
		`data: {"choices" : [{"delta":{"content":"choices"},"finish_reason" :  "stop"}]}`:          {names: 4, text: 7, choices: true, tells: true},
		`data: {"type":"response.output_text.delta","delta":"\\"}`:                                 {names: 2, text: 2, typ: []byte("response.output_text.delta")},
		`data: {"a":"\"usage\":{}","b":["usage"]}`:                                                 {names: 2},
		`data: {"a":"cut`: {names: 1},
		`data: [DONE]`:    {},
		`: "a":"b`:        {names: 1},
	} {
		if got := look([]byte(text)); got.names != want.names || got.text != want.text || string(got.typ) != string(want.typ) || got.choices != want.choices || got.tells != want.tells {
			t.Errorf("look(%s) = %+v", text, got)
		}
	}
}

// TestAnAnswerIsReadFromTheLedger asks on every wire; the answer is not in the end
// record and is there for who reads the exchange.
func TestAnAnswerIsReadFromTheLedger(t *testing.T) {
	for path, c := range map[string]struct{ body, answer, want string }{
		"/v1/chat/completions": {chatBody, chatAnswer, "hi"},
		"/v1/completions":      {`{"model":"m","prompt":"a"}`, `{"choices":[{"text":"hi","finish_reason":"stop"}]}`, "hi"},
		"/v1/responses":        {`{"model":"m","input":"a"}`, `{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}`, "hi"},
		"/v1/messages":         {chatBody, `{"content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`, "hi"},
	} {
		r := newRig(t, rigOptions{}, reply(c.answer))
		if status, _, text, err := r.ask(path, c.body); status != 200 || text != c.answer || err != nil {
			t.Fatalf("%s: %d %q %v", path, status, text, err)
		}
		e := r.only()
		if e.Answer.Content != c.want || e.Answer.FinishReason != "stop" {
			t.Errorf("%s: the ledger has %+v", path, e.Answer)
		}
		var light []*exchange.Exchange
		if err := ledger.Answers(t.Context(), r.store, func(e *exchange.Exchange) error { light = append(light, e); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(light) != 1 || light[0].Answer.Content != c.want || light[0].ResponseBody != nil {
			t.Errorf("%s: without bodies the ledger has %+v", path, light)
		}
		if err := r.store.Scan(t.Context(), func(rec ledger.Record) error {
			if rec.Kind == ledger.KindEnd && strings.Contains(string(rec.Head), `"hi"`) {
				t.Errorf("%s: the end holds the answer: %s", path, rec.Head)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnEventLikeTheOneBeforeShowsTheSame holds the short way of looking at an event
// against the long one.
func TestAnEventLikeTheOneBeforeShowsTheSame(t *testing.T) {
	known := 0
	rapid.Check(t, func(t *rapid.T) {
		for _, w := range []*modelWire{wireChat, wireResponses, wireMessages} {
			v := w.stream()
			for _, ev := range genStream(t, w) {
				for _, text := range []string{ev.text, strings.Replace(ev.text, "a", `\"`, 1), strings.Replace(ev.text, `"`, "", 3), ev.text[:len(ev.text)/2], ev.text} {
					got, ok := v.alike([]byte(text))
					if ok {
						known++
						want := look([]byte(text))
						same := string(got.typ) == string(want.typ)
						want.typ, want.at, want.end, got.typ, got.at, got.end = nil, 0, 0, nil, 0, 0
						if !same || !reflect.DeepEqual(got, want) {
							t.Fatalf("after %s: %s shows %+v, not %+v", v.like, text, got, want)
						}
					}
					// What it cannot read is no matter here.
					_ = v.event([]byte(text))
				}
			}
		}
	})
	if known == 0 {
		t.Error("no event was like the one before")
	}
}
