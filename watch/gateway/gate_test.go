package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// event is one event of a generated stream, as bytes.
type event struct {
	text  string
	usage bool // tells the usage alone
	last  bool
}

// streams of a wire: what may come before the last event, and that.
func genStream(t *rapid.T, w *modelWire) []event {
	eol := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "eol")
	space := rapid.SampledFrom([]string{" ", ""}).Draw(t, "space")
	line := func(name, value string) string { return name + ":" + space + value + eol }
	var out []event
	for range rapid.IntRange(0, 12).Draw(t, "events") {
		content := rapid.SampledFrom([]string{"a", "[DONE]", "é中", `\n\ndata: [DONE]\n\n`, "event: message_stop", strings.Repeat("x", 70<<10)}).Draw(t, "content")
		chunk := fmt.Sprintf(`{"id":"c","choices":[{"index":0,"delta":{"content":"%s"}}]}`, content)
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			out = append(out, event{text: ":" + rapid.SampledFrom([]string{"", " OPENROUTER PROCESSING", " data: [DONE]"}).Draw(t, "comment") + eol + eol})
		case 1:
			out = append(out, event{text: line("retry", "3000") + line("id", "7") + line("data", chunk) + eol})
		case 2:
			out = append(out, event{text: line("data", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":"{\"a\":"}}]}}]}`) + eol})
		case 3:
			out = append(out, event{text: line("data", `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`) + eol, usage: true})
		case 4:
			out = append(out, event{text: line("data", `{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`) + eol})
		case 5:
			out = append(out, event{text: line("event", "ping") + line("data", "{}") + eol + eol})
		case 6:
			out = append(out, event{text: line("data", "{") + line("data", `"choices":[]}`) + eol})
		case 7:
			out = append(out, event{text: line("data", `{"error":{"message":"overloaded"}}`) + eol})
		default:
			out = append(out, event{text: line("data", chunk) + eol})
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "cut?") == 0 {
		return append(out, event{text: "data: {\"choices\":[{\"ind"})
	}
	text := line("data", "[DONE]")
	switch w.name {
	case "responses":
		body := line("data", `{"type":"response.completed","response":{"object":"response","output":[]}}`)
		if text = line("event", "response.completed") + body; rapid.Bool().Draw(t, "unnamed") {
			text = body
		}
	case "messages":
		text = line("event", "message_stop") + line("data", `{"type":"message_stop"}`)
	}
	return append(out, event{text: text + eol, last: true})
}

// TestAStreamComesOutAsItWentIn cuts generated streams at any places and holds what
// the gate lets through against what went in.
func TestAStreamComesOutAsItWentIn(t *testing.T) {
	if !testing.Short() {
		checks(t, 1000)
	}
	wires := []*modelWire{wireChat, wireResponses, wireMessages}
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom(wires).Draw(t, "wire")
		strip := w.inject && rapid.Bool().Draw(t, "strip")
		var in, want strings.Builder
		lastAt := -1 // where in want the last event begins to be complete
		for _, ev := range genStream(t, w) {
			in.WriteString(ev.text)
			if ev.usage && strip {
				continue
			}
			want.WriteString(ev.text)
			if ev.last {
				lastAt = want.Len() - len(ev.text)
			}
		}
		step := rapid.SampledFrom([]int{1, 2, 3, 7, 100, 32 << 10}).Draw(t, "step")
		if in.Len() > 100<<10 && step < 100 {
			step = 1000 + step
		}
		g := newGate(w, strip)
		var out bytes.Buffer
		for raw := []byte(in.String()); len(raw) > 0; {
			n := min(step, len(raw))
			out.Write(g.push(raw[:n]))
			raw = raw[n:]
		}
		early := out.Len()
		out.Write(g.rest())
		if got := out.String(); got != want.String() {
			t.Fatalf("came out (%d bytes)\n%.400q\nwant (%d bytes)\n%.400q", len(got), got, want.Len(), want.String())
		}
		if lastAt >= 0 && early >= want.Len() {
			t.Fatalf("the last event was let through: %d of %d bytes", early, want.Len())
		}
		if lastAt >= 0 && w == wireChat && early > lastAt {
			t.Fatalf("%d bytes of [DONE] were let through", early-lastAt)
		}
		if lastAt >= 0 && !g.over {
			t.Fatal("the end was not seen")
		}
	})
}

func TestALongLastEventIsHeldInBoundedMemory(t *testing.T) {
	g := newGate(wireResponses, false)
	head := "event: response.completed\ndata: {\"type\":\"response.completed\",\"x\":\""
	out := len(g.push([]byte(head)))
	for range 100 {
		out += len(g.push(bytes.Repeat([]byte("y"), 32<<10)))
		if n := len(g.buf) - g.out; n > maxHeld+64<<10 {
			t.Fatalf("%d bytes are held", n)
		}
	}
	end := len("\"}\n\n")
	out += len(g.push([]byte("\"}\n\n")))
	if whole := len(head) + 100*32<<10 + end; out > whole-end-1000 {
		t.Errorf("%d of %d bytes were let through: the end is among them", out, whole)
	}
	if !g.over {
		t.Error("the end was not seen")
	}
}

func TestWhatIsNoUsageAloneStays(t *testing.T) {
	for text, want := range map[string]bool{
		`data: {"choices":[],"usage":{"prompt_tokens":1}}`:                true,
		"data: {\"choices\":[],\r\ndata:\"usage\":{\"prompt_tokens\":1}}": true,
		`data: {"choices":[],"usage":null}`:                               false,
		`data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}`:    false,
		`data: {"usage":{"prompt_tokens":1}}`:                             false,
		`data: {"choices":[],"prompt_filter_results":[]}`:                 false,
		`: "usage"`: false,
	} {
		if got := usageOnly([]byte(text)); got != want {
			t.Errorf("usageOnly(%q) = %v", text, got)
		}
	}
}
