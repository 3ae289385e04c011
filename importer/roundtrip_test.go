package importer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"retort/exchange"
	"retort/importer"
	"retort/teach/dataset"
)

func say(role, text string) exchange.Message { return exchange.Message{Role: role, Content: text} }

const tools = `[{"type":"function","function":{"name":"times","parameters":{"type":"object","properties":{"b":{},"a":{}}}}}]`

// rows are examples of every kind: rounds, a system message, reasoning, tools,
// rejected answers, odd characters.
func rows() []dataset.Example {
	call := []exchange.ToolCall{{ID: "call_1", Name: "times", Arguments: `{"b": 34, "a": 12}`}}
	all := []dataset.Example{
		{RowID: "1", Prompt: []exchange.Message{say("user", "12*34?")}, Answer: "408", Rejected: "407"},
		{RowID: "2", Prompt: []exchange.Message{say("user", "12*34?")}, Reasoning: "12*34 is 408", Answer: "408", Rejected: "it is 4 or so"},
		{RowID: "3", Prompt: []exchange.Message{say("system", "Be brief."), say("user", "Hi"), say("assistant", "Hello"), say("user", "12*34?")}, Answer: "408", Rejected: "407"},
		{RowID: "4", Prompt: []exchange.Message{say("user", "Hi"), {Role: "assistant", Content: "Hello", Reasoning: "greet"}, say("user", "Bye")}, Answer: "Bye!", Rejected: "no"},
		{RowID: "5", Prompt: []exchange.Message{say("user", "Tab\t, line\n, \"quotes\", \\, </s>, \u2028, é, 漢字, 😀, <b>&amp;")}, Answer: "  kept as it is \n", Rejected: " \u00a0x"},
		{RowID: "6", Prompt: []exchange.Message{say("user", "use it")}, Tools: tools, Reasoning: "a tool does this", ToolCalls: call, Rejected: "no"},
		{RowID: "7", Prompt: []exchange.Message{say("user", "use it"), {Role: "assistant", ToolCalls: call}, {Role: "tool", Content: "408", ToolCallID: "call_1"}}, Tools: tools, Answer: "408", Rejected: "407"},
		{RowID: "8", Prompt: []exchange.Message{say("user", "instruction\ninput")}, Answer: "out", Rejected: "in"},
	}
	for i := range 40 {
		all = append(all, dataset.Example{RowID: fmt.Sprint(100 + i), Prompt: []exchange.Message{say("user", strings.Repeat("x ", i)+"?")}, Answer: strings.Repeat("y", i+1), Rejected: "z"})
	}
	for i := range all {
		all[i].Index = i
	}
	return all
}

// What the exporter writes reads back as the same rows, but for what the format
// has no place for, which the exporter's notes name.
func TestExportedRowsReadBackAsTheSame(t *testing.T) {
	for _, c := range []struct {
		format dataset.ExportFormat
		want   importer.Format
		lossy  func(*dataset.Example) // what the format does not keep
	}{
		{dataset.ExportOpenAI, importer.Messages, func(e *dataset.Example) { e.RowID, e.Rejected = "", "" }},
		{dataset.ExportShareGPT, importer.ShareGPT, func(e *dataset.Example) { e.Rejected = ""; withoutIDs(e) }},
		{dataset.ExportAlpaca, importer.Alpaca, func(e *dataset.Example) { e.Rejected = "" }},
		{dataset.ExportDPO, importer.Preference, func(*dataset.Example) {}},
	} {
		t.Run(string(c.format), func(t *testing.T) {
			all := rows()
			var file bytes.Buffer
			exported, err := dataset.Export(context.Background(), &file, &dataset.Dataset{Hash: "h", Examples: all}, c.format)
			if err != nil {
				t.Fatal(err)
			}
			refused := map[int]bool{}
			for _, samples := range exported.Samples {
				for _, s := range samples {
					refused[s.Index] = true
				}
			}
			if len(refused) != exported.Rows-exported.Kept || exported.Kept < 44 {
				t.Fatalf("kept %d, refused %v", exported.Kept, exported.Refused)
			}
			var want []dataset.Example
			for _, e := range all {
				if !refused[e.Index] {
					c.lossy(&e)
					want = append(want, e)
				}
			}
			var got []dataset.Example
			rep, err := importer.Read(context.Background(), &file, importer.Options{}, func(it *importer.Item) error {
				got = append(got, example(it))
				return nil
			})
			if err != nil || rep.Format != c.want || rep.Kept != int64(exported.Kept) {
				t.Fatalf("%v: %+v", err, rep)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(dataset.Example{}, "Index")); diff != "" {
				t.Errorf("(-written +read)\n%s", diff)
			}
		})
	}
}

func example(it *importer.Item) dataset.Example {
	e := dataset.Example{RowID: it.ID, Prompt: it.Messages, Tools: string(it.Tools), Reasoning: it.Answer.Reasoning, Answer: it.Answer.Content, ToolCalls: it.Answer.ToolCalls}
	if it.Rejected != nil {
		e.Rejected = it.Rejected.Content
	}
	return e
}

func withoutIDs(e *dataset.Example) {
	drop := func(calls []exchange.ToolCall) []exchange.ToolCall {
		var out []exchange.ToolCall
		for _, c := range calls {
			out = append(out, exchange.ToolCall{Name: c.Name, Arguments: c.Arguments})
		}
		return out
	}
	e.ToolCalls = drop(e.ToolCalls)
	prompt := append([]exchange.Message(nil), e.Prompt...)
	for i := range prompt {
		prompt[i].ToolCalls, prompt[i].ToolCallID = drop(prompt[i].ToolCalls), ""
	}
	e.Prompt = prompt
}

func ExampleRead() {
	file := strings.NewReader(`{"prompt": "2+2?", "response": "4"}
{"prompt": "3+3?"}
`)
	rep, err := importer.Read(context.Background(), file, importer.Options{Name: "sums.jsonl"}, func(it *importer.Item) error {
		fmt.Println(it.Messages[0].Content, it.Answer.Content)
		return nil
	})
	refused, _ := json.Marshal(rep.Refused)
	fmt.Println(rep.Format, rep.Rows, rep.Kept, string(refused), err)
	// Output:
	// 2+2? 4
	// log 2 1 {"missing_field":1} <nil>
}
