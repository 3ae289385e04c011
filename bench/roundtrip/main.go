// Command roundtrip makes a dataset of every shape of row, and compares what a
// tool made of its export with the dataset:
//
//	roundtrip make WORKSPACE ROWS          prints the dataset's hash
//	roundtrip compare DATASET FILE FORMAT [WITHOUT…]
//	                                       prints how many rows of FILE are the same
//	roundtrip summary RESULTS [RECORD]     prints the bench's last line
//
// FORMAT is an export format. WITHOUT names what the tool's form has no place
// for: ids (of rows), callids (of tools' calls), arguments (as text); and rows
// that the tool has none for: rows:tools, rows:system, rows:rounds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"retort/exchange"
	"retort/importer"
	"retort/teach/dataset"
	"retort/workspace"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "roundtrip:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "make":
		n, err := strconv.Atoi(args[2])
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of rows", args[2])
		}
		return makeDataset(args[1], n)
	case len(args) >= 4 && args[0] == "compare":
		return compare(args[1], args[2], dataset.ExportFormat(args[3]), args[4:])
	}
	if len(args) >= 2 && args[0] == "summary" {
		return summary(args[1], args[2:])
	}
	return errors.New("usage: roundtrip make WORKSPACE ROWS | compare DATASET FILE FORMAT [WITHOUT...]")
}

func makeDataset(dir string, n int) error {
	ws, err := workspace.Open(dir)
	if err != nil {
		return err
	}
	rows := make([]dataset.Example, n)
	for i := range rows {
		rows[i] = example(i)
	}
	hash, err := dataset.Write(ws.Path("datasets"), rows, dataset.Passport{
		Tool: dataset.Tool{Name: "bench/roundtrip"}, Recipe: dataset.Recipe{Name: "roundtrip"}, Terms: []dataset.Terms{{ID: "self-hosted"}},
	})
	if err != nil {
		return err
	}
	fmt.Println(hash)
	return nil
}

// words are what texts are made of: what other formats and tools stumble over
// is among them.
var words = []string{
	"ticket", "order 1042", "Grüße", "日本語", "🙂", "\"quoted\"", "back\\slash", "line\nbreak", "tab\there", "<b>", "&amp;", "{{name}}", "{\"json\": [1, null]}",
	"<|im_start|>", "[INST]", "### Response:", "1e309", "0.10", "\u2028", "naïve", "\u00a0", "~", "null", "True",
}

func text(r *rand.Rand, most int) string {
	parts := make([]string, 1+r.IntN(most))
	for i := range parts {
		parts[i] = words[r.IntN(len(words))]
	}
	return "Text " + strings.Join(parts, " ") + "."
}

// example is row i: its shape goes by i, its texts are drawn.
func example(i int) dataset.Example {
	r := rand.New(rand.NewPCG(1, uint64(i)))
	e := dataset.Example{
		Source: "rows", Family: "file", Problem: fmt.Sprint(i), Row: fmt.Sprintf("rows:%d", i+1), RowID: fmt.Sprintf("row-%04d", i),
		Answer: text(r, 8), Rejected: text(r, 8) + " Worse.", Origin: exchange.OriginAPI, TermsID: "self-hosted", Verdict: "correct",
	}
	if i%2 == 1 {
		e.Prompt = append(e.Prompt, exchange.Message{Role: "system", Content: text(r, 4)})
	}
	for range (i / 2) % 3 { // earlier rounds
		e.Prompt = append(e.Prompt, exchange.Message{Role: "user", Content: text(r, 5)}, exchange.Message{Role: "assistant", Content: text(r, 5)})
	}
	e.Prompt = append(e.Prompt, exchange.Message{Role: "user", Content: text(r, 12)})
	if i%5 < 2 {
		e.Reasoning = text(r, 20)
	}
	if i%4 == 3 {
		tools(r, i, &e)
	}
	return e
}

// tools gives a row tools, a call of one and its result, or a call as its
// answer.
func tools(r *rand.Rand, i int, e *dataset.Example) {
	name := fmt.Sprintf("find_%c", 'a'+i%3)
	e.Tools = fmt.Sprintf(`[{"type":"function","function":{"name":%q,"description":"looks up","parameters":{"type":"object","properties":{"field_%d":{"type":"string"}},"required":[]}}}]`, name, i%4)
	query, _ := json.Marshal(text(r, 3))
	call := []exchange.ToolCall{{ID: fmt.Sprintf("call_%d", i), Name: name, Arguments: fmt.Sprintf(`{"field_%d":%s,"limit":1.50}`, i%4, query)}}
	if i%8 == 3 {
		e.Answer, e.Reasoning, e.ToolCalls = "", "", call
		return
	}
	e.Prompt = append(e.Prompt, exchange.Message{Role: "assistant", ToolCalls: call},
		exchange.Message{Role: "tool", Content: `{"found": ` + string(query) + `}`, ToolCallID: call[0].ID})
}

// formats are by which format of the importer a file is read back.
var formats = map[dataset.ExportFormat]importer.Format{
	dataset.ExportOpenAI: importer.Messages, dataset.ExportShareGPT: importer.ShareGPT,
	dataset.ExportAlpaca: importer.Alpaca, dataset.ExportDPO: importer.Preference,
}

// compare reads a file and says how many of its rows are the dataset's.
func compare(dir, file string, format dataset.ExportFormat, without []string) error {
	d, err := dataset.Open(dir)
	if err != nil {
		return err
	}
	var want []row // the rows that the format takes, in their order
	for _, e := range d.Examples {
		if leftOut(&e, without) {
			continue
		}
		_, err := dataset.Export(context.Background(), io.Discard, &dataset.Dataset{Examples: []dataset.Example{e}}, format)
		if errors.Is(err, dataset.ErrNothingFits) {
			continue
		}
		if err != nil {
			return err
		}
		one := row{
			ID: e.RowID, Messages: slices.Clone(e.Prompt), Tools: canonical(e.Tools),
			Answer: exchange.Answer{Reasoning: e.Reasoning, Content: e.Answer, ToolCalls: e.ToolCalls},
		}
		if format == dataset.ExportDPO {
			one.Rejected = e.Rejected
		}
		one.strip(without)
		want = append(want, one)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := read(f, format, without)
	if err != nil {
		return err
	}
	same := 0
	var different []string
	for i := range min(len(got), len(want)) {
		if reflect.DeepEqual(got[i], want[i]) {
			same++
		} else if len(different) < 2 {
			different = append(different, fmt.Sprintf("row %d:\n  exported %+v\n  read     %+v", i, want[i], got[i]))
		}
	}
	for _, text := range different {
		fmt.Fprintln(os.Stderr, text)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"file": filepath.Base(file), "dataset": len(d.Examples), "exported": len(want), "read": len(got), "same": same,
	})
}

// result is a line that compare printed, with the tool between.
type result struct {
	Tool     string `json:"tool"`
	File     string `json:"file"`
	Exported int    `json:"exported"` // rows that the tool was to read
	Read     int    `json:"read"`
	Same     int    `json:"same"`
	Missing  bool   `json:"missing"`
}

// summary prints shares of rows that came back the same, and fails unless all
// did.
func summary(path string, record []string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	figures := map[string]float64{}
	var text strings.Builder
	bad := 0
	for line := range strings.Lines(string(raw)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return err
		}
		if r.Missing {
			bad++
			fmt.Fprintf(&text, "- %s does not install or run here\n", r.Tool)
			continue
		}
		format := strings.TrimPrefix(strings.TrimSuffix(r.File, ".jsonl"), r.Tool+".")
		if r.Same != r.Exported || r.Read != r.Exported {
			bad++
		}
		figures[r.Tool+"_"+format] = float64(r.Same) / float64(max(r.Exported, r.Read))
		fmt.Fprintf(&text, "- %s, %s: %d of %d rows the same\n", r.Tool, format, r.Same, max(r.Exported, r.Read))
	}
	fmt.Print(text.String())
	for _, file := range record {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f, "\n## roundtrip\n\n%s", text.String()); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	line, err := json.Marshal(map[string]any{"bench": "roundtrip", "figures": figures, "spread": map[string][2]float64{}})
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", line)
	if bad > 0 {
		return fmt.Errorf("%d of the comparisons are not whole", bad)
	}
	return nil
}

// leftOut reports whether a tool has no place for a row.
func leftOut(e *dataset.Example, without []string) bool {
	rounds := 0
	for _, m := range e.Prompt {
		if m.Role == "user" {
			rounds++
		}
	}
	return slices.Contains(without, "rows:tools") && e.Tools != "" ||
		slices.Contains(without, "rows:system") && e.Prompt[0].Role == "system" ||
		slices.Contains(without, "rows:rounds") && rounds > 1
}

// row is what is compared.
type row struct {
	ID       string
	Messages []exchange.Message
	Tools    string
	Answer   exchange.Answer
	Rejected string
}

func read(r io.Reader, format dataset.ExportFormat, without []string) ([]row, error) {
	var rows []row
	rep, err := importer.Read(context.Background(), r, importer.Options{Format: formats[format], Name: "file"}, func(it *importer.Item) error {
		one := row{ID: it.ID, Messages: slices.Clone(it.Messages), Answer: it.Answer}
		if it.Rejected != nil {
			one.Rejected = it.Rejected.Content
		}
		one.Tools = canonical(string(it.Tools))
		one.Answer.FinishReason = ""
		one.strip(without)
		rows = append(rows, one)
		return nil
	})
	if err == nil && rep.Kept != rep.Rows {
		err = fmt.Errorf("the importer refuses %d of %d rows: %v", rep.Rows-rep.Kept, rep.Rows, rep.Samples)
	}
	return rows, err
}

// canonical is JSON in which spaces and the order of members say nothing.
func canonical(text string) string {
	if c, err := exchange.CanonicalJSON([]byte(text)); err == nil {
		return string(c)
	}
	return text
}

// strip takes out what a tool's form has no place for.
func (r *row) strip(without []string) {
	calls := func(list []exchange.ToolCall) []exchange.ToolCall {
		list = slices.Clone(list)
		for i := range list {
			if slices.Contains(without, "callids") {
				list[i].ID = ""
			}
			if slices.Contains(without, "arguments") {
				list[i].Arguments = canonical(list[i].Arguments)
			}
		}
		return list
	}
	if slices.Contains(without, "ids") {
		r.ID = ""
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		m.ToolCalls = calls(m.ToolCalls)
		if slices.Contains(without, "callids") {
			m.ToolCallID = ""
		}
	}
	r.Answer.ToolCalls = calls(r.Answer.ToolCalls)
}
