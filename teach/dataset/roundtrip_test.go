package dataset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/importer"
	"retort/teach/dataset"
)

// rows are examples of every shape that some format takes.
func rows() []dataset.Example {
	user := func(text string) exchange.Message { return exchange.Message{Role: "user", Content: text} }
	model := func(text string) exchange.Message { return exchange.Message{Role: "assistant", Content: text} }
	call := []exchange.ToolCall{{ID: "call_1", Name: "times", Arguments: `{"a": 12, "b": [1.50, null]}`}}
	tools := `[{"type":"function","function":{"name":"times","description":"multiplies","parameters":{"type":"object","properties":{"a":{"type":"number"}}}}}]`
	all := []dataset.Example{
		{Prompt: []exchange.Message{user("plain")}, Answer: "an answer"},
		{Prompt: []exchange.Message{user("Naïve <b>日本</b> 🙂\n\ttab \"quotes\" \\")}, Answer: "</b>\u2028line\r\n"},
		{Prompt: []exchange.Message{{Role: "system", Content: "Be brief."}, user("with a system")}, Answer: "ok"},
		{Prompt: []exchange.Message{user("with reasoning")}, Reasoning: "first\n\nthen", Answer: "\u00a042"},
		{Prompt: []exchange.Message{user("rounds"), model("first"), user("again"), {Role: "assistant", Content: "second", Reasoning: "thought"}, user("last")}, Reasoning: "r", Answer: "third"},
		{Prompt: []exchange.Message{{Role: "system", Content: "S"}, user("tools"), {Role: "assistant", ToolCalls: call}, {Role: "tool", Content: `{"product": 408}`, ToolCallID: "call_1"}}, Tools: tools, Answer: "408"},
		{Prompt: []exchange.Message{user("the answer is a call")}, Tools: tools, ToolCalls: call},
		{Prompt: []exchange.Message{user("a thoughtful call")}, Tools: tools, Reasoning: "I need it", ToolCalls: call},
		{Prompt: []exchange.Message{user(`{"json": "in the prompt"}`)}, Answer: `{"team": "billing", "urgency": 3}`},
		{Prompt: []exchange.Message{user("[1, 2]")}, Answer: "[]"},
	}
	for i := range all {
		all[i].Index, all[i].RowID, all[i].Rejected = i, fmt.Sprintf("row-%d", i), fmt.Sprintf("worse %d", i)
	}
	return all
}

// What is exported and imported again are the same rows, except for what the
// report says that the format does not keep.
func TestExportedRowsComeBackTheSame(t *testing.T) {
	for _, c := range []struct {
		format dataset.ExportFormat
		read   importer.Format
		kept   int
	}{
		{dataset.ExportOpenAI, importer.Messages, 10}, {dataset.ExportShareGPT, importer.ShareGPT, 9},
		{dataset.ExportAlpaca, importer.Alpaca, 7}, {dataset.ExportDPO, importer.Preference, 10},
	} {
		d := &dataset.Dataset{Hash: "abc", Examples: rows()}
		var file strings.Builder
		rep, err := dataset.Export(t.Context(), &file, d, c.format)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Kept != c.kept {
			t.Errorf("%s: kept %d of %d: %v", c.format, rep.Kept, rep.Rows, rep.Samples)
		}
		var want []dataset.Example
		for _, e := range d.Examples {
			thoughtful := len(e.ToolCalls) > 0 && e.Reasoning != ""
			if c.format == dataset.ExportAlpaca && e.Tools != "" || c.format == dataset.ExportShareGPT && thoughtful {
				continue // refused, as the report says
			}
			want = append(want, kept(e, c.format))
		}
		for _, format := range []importer.Format{c.read, importer.Auto} {
			var got []dataset.Example
			read, err := importer.Read(t.Context(), strings.NewReader(file.String()), importer.Options{Format: format, Name: "f"}, func(it *importer.Item) error {
				got = append(got, imported(it))
				return nil
			})
			if err != nil {
				t.Errorf("%s as %s: %v", c.format, format, err)
				continue
			}
			if read.Kept != int64(c.kept) {
				t.Errorf("%s: the importer refuses %+v", c.format, read.Samples)
			}
			for i := range got {
				got[i].Index = want[i].Index
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s as %s (-exported +imported):\n%s", c.format, format, diff)
			}
		}
	}
}

// kept is what a format holds of an example.
func kept(e dataset.Example, f dataset.ExportFormat) dataset.Example {
	if f == dataset.ExportOpenAI {
		e.RowID = ""
	}
	if f != dataset.ExportDPO {
		e.Rejected = ""
	}
	if f == dataset.ExportShareGPT { // has no ids of calls; arguments are JSON in it, and not text
		e.Prompt = append([]exchange.Message(nil), e.Prompt...)
		for i := range e.Prompt {
			e.Prompt[i].ToolCallID = ""
			e.Prompt[i].ToolCalls = asJSON(e.Prompt[i].ToolCalls)
		}
		e.ToolCalls = asJSON(e.ToolCalls)
	}
	return e
}

func asJSON(calls []exchange.ToolCall) []exchange.ToolCall {
	var out []exchange.ToolCall
	for _, c := range calls {
		c.ID = ""
		var compact bytes.Buffer
		if json.Compact(&compact, []byte(c.Arguments)) == nil {
			c.Arguments = compact.String()
		}
		out = append(out, c)
	}
	return out
}

func imported(it *importer.Item) dataset.Example {
	e := dataset.Example{
		RowID: it.ID, Prompt: it.Messages, Tools: string(it.Tools), Reasoning: it.Answer.Reasoning, Answer: it.Answer.Content, ToolCalls: it.Answer.ToolCalls,
	}
	if it.Rejected != nil {
		e.Rejected = it.Rejected.Content
	}
	if it.Format == importer.ShareGPT {
		e = kept(e, dataset.ExportShareGPT)
		if it.Rejected != nil {
			e.Rejected = it.Rejected.Content
		}
	}
	return e
}
