package importer

import (
	"context"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"retort/exchange"
)

// One target for each format, so that each gets its own corpus.
func FuzzShareGPT(f *testing.F)   { fuzz(f, ShareGPT) }
func FuzzAlpaca(f *testing.F)     { fuzz(f, Alpaca) }
func FuzzMessages(f *testing.F)   { fuzz(f, Messages) }
func FuzzPreference(f *testing.F) { fuzz(f, Preference) }
func FuzzReasoning(f *testing.F)  { fuzz(f, Reasoning) }
func FuzzBatch(f *testing.F)      { fuzz(f, Batch) }
func FuzzLog(f *testing.F)        { fuzz(f, Log) }

// FuzzAuto lets the file choose its format.
func FuzzAuto(f *testing.F) { fuzz(f, Auto) }

// fuzz reads arbitrary bytes as a format. Whatever they are: each row is in one
// bucket, the bytes may come in any pieces, and what was kept is text that an
// exchange carries.
func fuzz(f *testing.F, format Format) {
	for _, form := range forms {
		if form.format != format && format != Auto {
			continue
		}
		for i := range hostiles {
			h := &hostiles[i]
			if format == Auto && i%6 != 0 {
				continue
			}
			if h.max > 0 || strings.Contains(h.text+h.more+h.main, "0×") { // long ones find nothing
				continue
			}
			row, err := io.ReadAll(form.body(1, firstOf(h.main, form.main), firstOf(h.text, "x"), h.more))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(append(row, '\n'), i%2 == 0)
			f.Add([]byte("["+string(row)+",\n"+string(row)+"]"), i%2 == 1)
		}
	}
	for _, row := range fuzzSeeds[format] {
		f.Add([]byte(row), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, all bool) {
		opt := Options{Format: format, Name: "f", Turns: TurnsLast, MaxRow: 4096, Workers: 1}
		if all {
			opt.Turns = TurnsAll
		}
		rep, items := fuzzRead(t, strings.NewReader(string(data)), opt)
		counted(t, rep)
		if int64(len(items)) != rep.Items || rep.Kept > rep.Items {
			t.Errorf("%d items, the report says %d of %d rows", len(items), rep.Items, rep.Kept)
		}
		again, others := fuzzRead(t, iotest.OneByteReader(strings.NewReader(string(data))), opt)
		if !reflect.DeepEqual(rep, again) || !reflect.DeepEqual(items, others) {
			t.Errorf("in pieces it is read otherwise: %+v, %+v", rep, again)
		}
		for _, it := range items {
			carried(t, it)
		}
	})
}

var fuzzSeeds = map[Format][]string{
	ShareGPT: {`{"conversations":[{"from":"human","value":"q"},{"from":"function_call","value":"<think>r</think>{\"name\":\"f\",\"arguments\":{}}"},{"from":"observation","value":"1"},{"from":"gpt","value":"a"}],"tools":"[{\"name\":\"f\"}]","system":"S"}`},
	Messages: {
		`{"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"1","tool_call_id":"c"},{"role":"assistant","content":"a","weight":0}]}`,
	},
	Alpaca:     {`{"instruction":"i","input":"j","output":"o","history":[["a","b"]],"system":"S"}`},
	Preference: {`{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}`},
	Log: {
		`{"request_body":"{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}","response_body":"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"}`,
		`{"prompt":"q","response":"a","usage":{"prompt_tokens":1}}`,
		`{"request":{"system":[{"type":"text","text":"S"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}],"tools":[{"name":"f","input_schema":{}}]},"response":{"type":"message","content":[{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use"}}`,
		`{"request":{"input":[{"role":"user","content":"q"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"1"}]},"response":{"object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]}]}}`,
	},
	Batch: {`{"custom_id":"r-2","response":{"status_code":200,"body":{"object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]}]}},"error":null}`},
}

func fuzzRead(t *testing.T, r io.Reader, opt Options) (*Report, []*Item) {
	if opt.Format == Batch {
		opt.Requests = strings.NewReader(hostileRequests)
	}
	var items []*Item
	rep, err := Read(context.Background(), r, opt, func(it *Item) error {
		it.Raw, it.RawRequest = slices.Clone(it.Raw), slices.Clone(it.RawRequest)
		items = append(items, it)
		return nil
	})
	if _, ok := err.(*FormatError); err != nil && !ok {
		t.Errorf("%v", err)
	}
	return rep, items
}

// carried fails unless an exchange carries all of an item.
func carried(t *testing.T, it *Item) {
	t.Helper()
	texts := []string{it.Answer.Content, it.Answer.Reasoning, it.ID, it.Model}
	for _, m := range it.Messages {
		texts = append(texts, m.Content, m.Reasoning, m.Name, m.Role)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			t.Errorf("row %d: %q was kept", it.Row, s)
		}
	}
	if len(it.Messages) == 0 {
		t.Errorf("row %d has no prompt", it.Row)
	}
	if it.Extra != nil {
		if _, err := exchange.CanonicalJSON(it.Extra); err != nil && !strings.Contains(err.Error(), "number") {
			t.Errorf("row %d: extra %s: %v", it.Row, it.Extra, err)
		}
	}
	e, err := Exchange(it, RecordOptions{Name: "f"})
	if err != nil {
		t.Errorf("row %d: %v", it.Row, err)
		return
	}
	back, err := FromExchange(context.Background(), e)
	if err != nil {
		t.Errorf("row %d: %v", it.Row, err)
		return
	}
	if !reflect.DeepEqual(it, back) {
		t.Errorf("row %d comes back as %+v and was %+v", it.Row, back, it)
	}
}
