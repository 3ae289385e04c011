package dataset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

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
		kept   int
	}{{dataset.ExportOpenAI, 10}, {dataset.ExportShareGPT, 9}, {dataset.ExportAlpaca, 7}, {dataset.ExportDPO, 10}} {
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
		for _, format := range []importer.Format{readAs[c.format], importer.Auto} {
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

// Whatever a row holds, it is refused or comes back the same; what the report's
// notes speak of may differ.
func TestAnyExportedRowComesBackTheSame(t *testing.T) {
	text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("ab \n\t\"\\<>{}[]:,1")), rapid.RuneFrom(nil, unicode.L, unicode.S, unicode.Z)))
	seldom := rapid.OneOf(rapid.Just(""), rapid.Just(""), text)
	tags := rapid.OneOf(text, rapid.SampledFrom([]string{"<think>", "</think>", "<think>a</think>b", " ", "\n", "ok"}))
	calls := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) exchange.ToolCall {
		return exchange.ToolCall{
			ID: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "id"), Name: rapid.SampledFrom([]string{"f", "g_1", "no name"}).Draw(t, "name"),
			Arguments: rapid.SampledFrom([]string{"{}", `{"a": "b"}`, `{"a":[1.0]}`, "{", `"text"`}).Draw(t, "arguments"),
		}
	}), 0, 2)
	message := rapid.Custom(func(t *rapid.T) exchange.Message {
		m := exchange.Message{Role: rapid.SampledFrom([]string{"user", "user", "assistant", "assistant", "tool", "system"}).Draw(t, "role"), Content: tags.Draw(t, "content")}
		switch m.Role {
		case "assistant":
			m.Reasoning = seldom.Draw(t, "reasoning")
			if rapid.IntRange(0, 3).Draw(t, "has calls") == 0 {
				m.Content, m.ToolCalls = seldom.Draw(t, "beside calls"), calls.Draw(t, "calls")
			}
		case "tool":
			m.ToolCallID = rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "answers")
		}
		return m
	})
	rapid.Check(t, func(t *rapid.T) {
		e := dataset.Example{
			Prompt: rapid.SliceOfN(message, 1, 5).Draw(t, "prompt"), Reasoning: seldom.Draw(t, "reasoning"), Answer: tags.Draw(t, "answer"),
			Rejected: rapid.OneOf(tags, rapid.Just("worse")).Draw(t, "rejected"), RowID: rapid.SampledFrom([]string{"", "r-1"}).Draw(t, "row id"),
		}
		if rapid.IntRange(0, 4).Draw(t, "answer calls") == 0 {
			e.ToolCalls = calls.Draw(t, "answer's calls")
			e.Answer = seldom.Draw(t, "answer beside calls")
		}
		for _, format := range dataset.ExportFormats() {
			var file strings.Builder
			rep, err := dataset.Export(context.Background(), &file, &dataset.Dataset{Examples: []dataset.Example{e}}, format)
			if errors.Is(err, dataset.ErrNothingFits) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []dataset.Example
			read, err := importer.Read(context.Background(), strings.NewReader(file.String()), importer.Options{Format: readAs[format], Name: "f"}, func(it *importer.Item) error {
				got = append(got, imported(it))
				return nil
			})
			if err != nil || len(got) != 1 {
				t.Fatalf("%s: %v, %+v\n%s", format, err, read.Samples, file.String())
			}
			want := kept(e, format)
			if rep.Notes["space"]+rep.Notes["added_ids"] > 0 {
				want, got[0] = loose(want), loose(got[0])
			}
			if diff := cmp.Diff(want, got[0], cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s (-exported +imported):\n%s\n%s", format, diff, file.String())
			}
		}
	})
}

var readAs = map[dataset.ExportFormat]importer.Format{
	dataset.ExportOpenAI: importer.Messages, dataset.ExportShareGPT: importer.ShareGPT,
	dataset.ExportAlpaca: importer.Alpaca, dataset.ExportDPO: importer.Preference,
}

// loose is a row without the white space around texts and the ids of calls.
func loose(e dataset.Example) dataset.Example {
	rejected := e.Rejected
	e = kept(e, dataset.ExportShareGPT)
	e.Rejected = rejected
	e.Reasoning, e.Answer = strings.TrimSpace(e.Reasoning), strings.TrimSpace(e.Answer)
	for i := range e.Prompt {
		m := &e.Prompt[i]
		m.Reasoning, m.Content = strings.TrimSpace(m.Reasoning), strings.TrimSpace(m.Content)
	}
	return e
}
