package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
)

// one is a dataset of rows that need no lineage.
func one(rows ...Example) *Dataset {
	for i := range rows {
		rows[i].Index = i
	}
	return &Dataset{Hash: "abc", Examples: rows}
}

func say(role, text string) exchange.Message { return exchange.Message{Role: role, Content: text} }

// exported returns the lines of an export.
func exported(t *testing.T, d *Dataset, f ExportFormat) ([]string, ExportReport) {
	t.Helper()
	var out strings.Builder
	rep, err := Export(t.Context(), &out, d, f)
	if err != nil && !errors.Is(err, ErrNothingFits) {
		t.Fatal(err)
	}
	if out.Len() != int(rep.File.Bytes) {
		t.Errorf("%d bytes were written, the report says %d", out.Len(), rep.File.Bytes)
	}
	if out.Len() == 0 {
		return nil, rep
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), rep
}

// An agent's row: a system message, an earlier round, tools and their calls.
func agent() Example {
	return Example{
		RowID: "r-1", Tools: `[{"name":"times","parameters":{}}]`,
		Prompt: []exchange.Message{
			say("system", "Be brief."), say("user", "Hi"), {Role: "assistant", Content: "Hello <b>", Reasoning: "greet"}, {Role: "user", Content: "12*34?", Name: "ann"},
			{Role: "assistant", ToolCalls: []exchange.ToolCall{{ID: "c1", Name: "times", Arguments: `{"a": 12, "b": 34}`}}},
			{Role: "tool", Content: "408", ToolCallID: "c1"},
		},
		Reasoning: "the tool says so", Answer: "408", Rejected: "407",
	}
}

func TestEachFormatIsWhatItsOwnersRead(t *testing.T) {
	plainRow := Example{Prompt: []exchange.Message{say("user", "12*34?")}, Reasoning: "so", Answer: "408", Rejected: "407"}
	rounds := Example{RowID: "7", Prompt: []exchange.Message{say("system", "S"), say("user", "a"), say("assistant", "b"), say("user", "c")}, Answer: "d"}
	caller := Example{
		Prompt: []exchange.Message{say("user", "two calls")}, Reasoning: "both",
		ToolCalls: []exchange.ToolCall{{Name: "f", Arguments: "{}"}, {Name: "g", Arguments: `{"n":[1]}`}},
	}
	for _, c := range []struct {
		name   string
		format ExportFormat
		row    Example
		want   string
		notes  map[string]int
	}{
		{"plain", ExportOpenAI, plainRow, `{"messages":[{"role":"user","content":"12*34?"},{"role":"assistant","content":"<think>\nso\n</think>\n\n408"}]}`, map[string]int{}},
		{"agent", ExportOpenAI, agent(), `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},` +
			`{"role":"assistant","content":"<think>\ngreet\n</think>\n\nHello <b>","weight":0},{"role":"user","content":"12*34?","name":"ann"},` +
			`{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"times","arguments":"{\"a\": 12, \"b\": 34}"}}],"weight":0},` +
			`{"role":"tool","content":"408","tool_call_id":"c1"},{"role":"assistant","content":"<think>\nthe tool says so\n</think>\n\n408"}],` +
			`"tools":[{"type":"function","function":{"name":"times","parameters":{}}}]}`, map[string]int{"row_id": 1}},
		{"calls", ExportOpenAI, caller, `{"messages":[{"role":"user","content":"two calls"},{"role":"assistant","content":"<think>\nboth\n</think>\n\n","tool_calls":[` +
			`{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"call_2","type":"function","function":{"name":"g","arguments":"{\"n\":[1]}"}}]}]}`, map[string]int{"added_ids": 1}},
		{"plain", ExportShareGPT, plainRow, `{"conversations":[{"from":"human","value":"12*34?"},{"from":"gpt","value":"<think>\nso\n</think>\n\n408"}]}`, map[string]int{}},
		{"agent", ExportShareGPT, agent(), `{"id":"r-1","conversations":[{"from":"system","value":"Be brief."},{"from":"human","value":"Hi"},` +
			`{"from":"gpt","value":"<think>\ngreet\n</think>\n\nHello <b>"},{"from":"human","value":"12*34?"},` +
			`{"from":"function_call","value":"{\"name\": \"times\", \"arguments\": {\"a\": 12, \"b\": 34}}"},{"from":"observation","value":"408"},` +
			`{"from":"gpt","value":"<think>\nthe tool says so\n</think>\n\n408"}],"tools":"[{\"name\":\"times\",\"parameters\":{}}]"}`, map[string]int{"name": 1, "tool_call_ids": 1}},
		{"calls", ExportShareGPT, withoutReasoning(caller), `{"conversations":[{"from":"human","value":"two calls"},{"from":"function_call","value":"[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {\"n\":[1]}}]"}]}`, map[string]int{}},
		{"plain", ExportAlpaca, plainRow, `{"instruction":"12*34?","input":"","output":"<think>\nso\n</think>\n\n408"}`, map[string]int{}},
		{"rounds", ExportAlpaca, rounds, `{"id":"7","system":"S","instruction":"c","input":"","output":"d","history":[["a","b"]]}`, map[string]int{}},
		{"plain", ExportDPO, plainRow, `{"prompt":[{"role":"user","content":"12*34?"}],"chosen":[{"role":"assistant","content":"<think>\nso\n</think>\n\n408"}],"rejected":[{"role":"assistant","content":"407"}]}`, map[string]int{}},
		{"agent", ExportDPO, agent(), `{"id":"r-1","prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},` +
			`{"role":"assistant","content":"<think>\ngreet\n</think>\n\nHello <b>"},{"role":"user","content":"12*34?","name":"ann"},` +
			`{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"times","arguments":"{\"a\": 12, \"b\": 34}"}}]},` +
			`{"role":"tool","content":"408","tool_call_id":"c1"}],"chosen":[{"role":"assistant","content":"<think>\nthe tool says so\n</think>\n\n408"}],` +
			`"rejected":[{"role":"assistant","content":"407"}],"tools":[{"type":"function","function":{"name":"times","parameters":{}}}]}`, map[string]int{}},
	} {
		lines, rep := exported(t, one(c.row), c.format)
		if len(lines) != 1 {
			t.Errorf("%s as %s: refused: %+v", c.name, c.format, rep.Samples)
			continue
		}
		if diff := cmp.Diff(c.want, lines[0]); diff != "" {
			t.Errorf("%s as %s (-want +got):\n%s", c.name, c.format, diff)
		}
		if diff := cmp.Diff(c.notes, rep.Notes); diff != "" {
			t.Errorf("%s as %s, notes (-want +got):\n%s", c.name, c.format, diff)
		}
	}
}

func withoutReasoning(e Example) Example {
	e.Reasoning = ""
	return e
}

func TestWhatAFormatCannotHoldIsRefusedForItsReason(t *testing.T) {
	user := say("user", "q")
	call := func(name, arguments string) exchange.Message {
		return exchange.Message{Role: "assistant", ToolCalls: []exchange.ToolCall{{ID: "c", Name: name, Arguments: arguments}}}
	}
	result := exchange.Message{Role: "tool", Content: "r", ToolCallID: "c"}
	prompt := func(m ...exchange.Message) Example { return Example{Prompt: m, Answer: "a", Rejected: "b"} }
	rows := map[string]Example{
		"good":             prompt(user),
		"empty answer":     {Prompt: []exchange.Message{user}, Answer: " \n", Rejected: "b"},
		"empty question":   prompt(say("user", " ")),
		"empty system":     prompt(say("system", ""), user),
		"nothing asked":    prompt(say("system", "s")),
		"late system":      prompt(user, say("system", "s"), user),
		"odd role":         prompt(say("developer", "s"), user),
		"two of the model": prompt(user, say("assistant", "x"), say("assistant", "y"), user),
		"begun answer":     prompt(user, say("assistant", "x")),
		"two of the user":  prompt(user, user),
		"think tags":       {Prompt: []exchange.Message{user}, Answer: "<think>no</think> yes", Rejected: "b"},
		"tags in thought":  {Prompt: []exchange.Message{user}, Reasoning: "a</think>b", Answer: "yes", Rejected: "b"},
		"bad arguments":    prompt(user, call("f", "{"), result),
		"odd arguments":    prompt(user, call("f", `"text"`), result),
		"bad name":         prompt(user, call("f f", "{}"), result),
		"no such call":     prompt(user, call("f", "{}"), exchange.Message{Role: "tool", Content: "r", ToolCallID: "d"}),
		"thought and call": {Prompt: []exchange.Message{user}, Reasoning: "r", ToolCalls: call("f", "{}").ToolCalls, Rejected: "b"},
		"no result":        prompt(user, call("f", "{}"), user),
		"late result":      prompt(user, call("f", "{}"), user, say("assistant", "x"), result),
		"text and call":    prompt(user, exchange.Message{Role: "assistant", Content: "wait", ToolCalls: call("f", "{}").ToolCalls}, result),
		"tools":            {Prompt: []exchange.Message{user}, Answer: "a", Rejected: "b", Tools: "[]"},
		"same":             {Prompt: []exchange.Message{user}, Answer: "a", Rejected: "a"},
		"no rejected":      {Prompt: []exchange.Message{user}, Answer: "a"},
	}
	want := map[ExportFormat]map[string]string{
		ExportOpenAI: {"empty answer": "empty", "empty question": "empty", "empty system": "empty", "nothing asked": "no_user", "late system": "system",
			"odd role": "role", "two of the model": "turn_order", "begun answer": "turn_order", "think tags": "think_tags", "tags in thought": "think_tags",
			"bad arguments": "arguments", "bad name": "name", "no such call": "tool_call", "no result": "tool_call", "late result": "tool_call"},
		ExportShareGPT: {"empty answer": "empty", "empty question": "empty", "empty system": "empty", "nothing asked": "no_user", "late system": "system",
			"odd role": "role", "two of the model": "turn_order", "begun answer": "turn_order", "two of the user": "turn_order", "think tags": "think_tags",
			"tags in thought": "think_tags", "bad arguments": "arguments", "odd arguments": "arguments", "no such call": "tool_call", "late result": "tool_call", "text and call": "mixed_turn", "thought and call": "mixed_turn"},
		ExportAlpaca: {"empty answer": "empty", "empty question": "empty", "empty system": "empty", "nothing asked": "no_user", "late system": "system",
			"odd role": "role", "two of the model": "turn_order", "begun answer": "turn_order", "two of the user": "turn_order", "think tags": "think_tags",
			"tags in thought": "think_tags", "bad arguments": "tools", "odd arguments": "tools", "bad name": "tools", "no such call": "tools", "no result": "tools", "late result": "tools", "text and call": "tools", "thought and call": "tools", "tools": "tools"},
		ExportDPO: {"empty answer": "empty", "empty question": "empty", "empty system": "empty", "nothing asked": "no_user", "late system": "system",
			"odd role": "role", "two of the model": "turn_order", "begun answer": "turn_order", "think tags": "think_tags", "tags in thought": "think_tags",
			"bad arguments": "arguments", "bad name": "name", "no such call": "tool_call", "no result": "tool_call", "late result": "tool_call", "same": "same", "no rejected": "no_rejected"},
	}
	for format, reasons := range want {
		for name, row := range rows {
			lines, rep := exported(t, one(row), format)
			got := ""
			for reason := range rep.Refused {
				got = reason
			}
			if got != reasons[name] || len(lines)+len(rep.Refused) != 1 {
				t.Errorf("%s as %s: refused for %q, want %q", name, format, got, reasons[name])
			}
			if s := rep.Samples[got]; got != "" && (len(s) != 1 || s[0].Detail == "") {
				t.Errorf("%s as %s: the refusal has no sample: %+v", name, format, s)
			}
		}
	}
}

// Every kept row of a mixed dataset passes the rules that OpenAI publishes for
// fine-tuning files.
func TestExportedMessagesPassOpenAIsRules(t *testing.T) {
	rows := []Example{agent()}
	for i := range 20 {
		e := Example{Prompt: []exchange.Message{say("user", fmt.Sprintf("question %d", i))}, Answer: strings.Repeat("x", i%4), RowID: fmt.Sprint(i)}
		if i%3 == 0 {
			e.Reasoning = "because\n"
		}
		if i%5 == 0 {
			e.ToolCalls = []exchange.ToolCall{{Name: "f", Arguments: "{}"}}
		}
		rows = append(rows, e)
	}
	lines, rep := exported(t, one(rows...), ExportOpenAI)
	if rep.Kept != len(lines) || rep.Kept < 15 || rep.Rows != rep.Kept+rep.Refused["empty"] || rep.Notes["space"] == 0 {
		t.Fatalf("%+v", rep)
	}
	for i, line := range lines {
		if err := openAIRules([]byte(line)); err != nil {
			t.Errorf("line %d: %v\n%s", i+1, err, line)
		}
	}
	for _, bad := range []string{
		`[]`, `{"messages":[]}`, `{"messages":[{"role":"user","content":"a"}]}`, `{"messages":[{"role":"bot","content":"a"},{"role":"assistant","content":"a"}]}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]}`, `{"messages":[{"role":"user","content":"a","extra":1},{"role":"assistant","content":"b"}]}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"id":"1"}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"b","tool_call_id":"x"},{"role":"assistant","content":"b"}]}`,
	} {
		if openAIRules([]byte(bad)) == nil {
			t.Errorf("the rules let %s pass", bad)
		}
	}
}

// openAIRules are the checks that OpenAI describes for fine-tuning data, for
// messages with tools too: known keys and roles, content, an assistant's message
// at the end, calls of offered or declared shape that their results answer.
func openAIRules(line []byte) error {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(line, &row); err != nil {
		return fmt.Errorf("data_type: %w", err)
	}
	for key := range row {
		if key != "messages" && key != "tools" && key != "parallel_tool_calls" {
			return fmt.Errorf("unrecognized key %q", key)
		}
	}
	var messages []map[string]any
	if json.Unmarshal(row["messages"], &messages) != nil || len(messages) == 0 {
		return errors.New("missing_messages_list")
	}
	open := map[string]bool{}
	for i, m := range messages {
		for key := range m {
			switch key {
			case "role", "content", "name", "tool_calls", "tool_call_id", "weight":
			default:
				return fmt.Errorf("message_unrecognized_key %q", key)
			}
		}
		content, isText := m["content"].(string)
		calls, _ := m["tool_calls"].([]any)
		switch m["role"] {
		case "system", "user":
			if !isText || content == "" {
				return fmt.Errorf("message %d: missing_content", i)
			}
		case "tool":
			id, _ := m["tool_call_id"].(string)
			if !isText || !open[id] {
				return fmt.Errorf("message %d answers no call", i)
			}
			delete(open, id)
		case "assistant":
			if (!isText || content == "") && len(calls) == 0 {
				return fmt.Errorf("message %d: missing_content", i)
			}
			for _, c := range calls {
				c := c.(map[string]any)
				f, _ := c["function"].(map[string]any)
				arguments, ok := f["arguments"].(string)
				id, _ := c["id"].(string)
				if c["type"] != "function" || id == "" || !ok || !json.Valid([]byte(arguments)) || f["name"] == "" {
					return fmt.Errorf("message %d: a call of another shape: %v", i, c)
				}
				open[id] = true
			}
		default:
			return fmt.Errorf("unrecognized_role %v", m["role"])
		}
	}
	if messages[len(messages)-1]["role"] != "assistant" {
		return errors.New("example_missing_assistant_message")
	}
	return nil
}

func TestAnExportedFileHasItsPassportBesideIt(t *testing.T) {
	root := t.TempDir()
	rows := examples()
	rows[0].Rejected = "407"
	hash, err := Write(root, rows, passport())
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(filepath.Join(root, hash))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pairs.jsonl")
	rep, err := ExportFile(t.Context(), path, d, ExportDPO)
	if err != nil {
		t.Fatal(err)
	}
	sum, size, err := hashFile(path)
	if err != nil || rep.File != (File{"pairs.jsonl", size, sum}) {
		t.Errorf("the report names %+v (%v)", rep.File, err)
	}
	raw, err := os.ReadFile(path + ExportPassportSuffix)
	if err != nil {
		t.Fatal(err)
	}
	var p Passport
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	want := d.Passport
	want.Files = []File{rep.File}
	want.Export = &Exported{Format: ExportDPO, Rows: 1, Refused: map[string]int{"no_rejected": 1}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("passport (-want +got):\n%s", diff)
	}
	if read, err := ReadExportPassport(path); err != nil || read.Hash != hash {
		t.Errorf("read by the file's name: %v", err)
	}
	for _, c := range []struct {
		name, file, text string
	}{
		{"changed", path, "{}\n"},
		{"no passport", path + ExportPassportSuffix, "{"},
		{"a dataset's", path + ExportPassportSuffix, `{"format":"retort dataset passport","version":1}`},
	} {
		if err := os.WriteFile(c.file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadExportPassport(path); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := os.Remove(path + ExportPassportSuffix); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadExportPassport(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a passport: %v", err)
	}
}

func TestAnExportOfNothingLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pairs.jsonl")
	_, err := ExportFile(t.Context(), path, one(examples()...), ExportDPO)
	if !errors.Is(err, ErrNothingFits) || !strings.Contains(err.Error(), "no_rejected") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ExportFile(ctx, path, one(agent()), ExportDPO); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := ExportFile(t.Context(), path, one(agent()), "csv"); err == nil || !strings.Contains(err.Error(), "sharegpt") {
		t.Errorf("an unknown format: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}
