package dataset

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"retort/exchange"
)

// whole is two rows that hold what the first version of the hash lacks.
func whole() []Example {
	rows := examples()
	rows[0].RowID, rows[0].Tools, rows[0].Rejected = "r-1", `[{"name":"times"}]`, "407"
	rows[0].Prompt[1].Name = "ann"
	rows[0].Prompt = append(rows[0].Prompt,
		exchange.Message{Role: "assistant", Reasoning: "hm", ToolCalls: []exchange.ToolCall{{ID: "c1", Name: "times", Arguments: `{"a":12,"b":34}`}}},
		exchange.Message{Role: "tool", Content: "408", Name: "times", ToolCallID: "c1"})
	rows[1].ToolCalls = []exchange.ToolCall{{Name: "find", Arguments: "{}"}}
	return rows
}

// The value was computed by a second implementation, from
// docs/formats/dataset.md.
func TestHashOfWholeRowsIsFinal(t *testing.T) {
	const want = "783d4456492bfb6c2ae978dc498c705cd367fc5380e9b2858062ac34ca6f34bf"
	if got := Hash(whole()); got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "dataset.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), want) {
		t.Errorf("docs/formats/dataset.md gives another known answer than %s", want)
	}
}

// testdata/v1 was written by the first version of this room.
func TestADatasetOfTheFirstVersionIsReadAndKeepsItsName(t *testing.T) {
	name := Hash(examples())
	old := filepath.Join("testdata", "v1", name)
	d, err := Open(old)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(examples(), d.Examples); diff != "" {
		t.Errorf("examples (-want +got):\n%s", diff)
	}
	root := t.TempDir()
	if _, err := Write(root, examples(), passport()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(filepath.Join(old, DataFile))
	after, err := os.ReadFile(filepath.Join(root, name, DataFile))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("plain rows are written in other bytes than before (%v)", err)
	}
}

func TestWholeRowsComeBackAsTheyWere(t *testing.T) {
	root := t.TempDir()
	hash, err := Write(root, whole(), passport())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, hash)
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole(), d.Examples); diff != "" {
		t.Errorf("examples changed on the way (-want +got):\n%s", diff)
	}
	f, err := os.Open(filepath.Join(dir, DataFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Stat()
	pf, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range pf.Schema().Fields()[14:] {
		if c.Optional() || c.Repeated() || !c.Leaf() {
			t.Errorf("column %s is not plain", c.Name())
		}
		got = append(got, c.Name())
	}
	if diff := cmp.Diff([]string{"row_id", "tools", "tool_calls", "rejected"}, got); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
}

func TestTheHashOfWholeRowsCoversEveryPart(t *testing.T) {
	seen := map[string]int{Hash(examples()): -2, Hash(whole()): -1}
	for i, change := range []func(*Example){
		func(e *Example) { e.RowID += "x" },
		func(e *Example) { e.RowID = "" },
		func(e *Example) { e.Tools = "[]" },
		func(e *Example) { e.Rejected += "x" },
		func(e *Example) { e.RowID, e.Rejected = e.Rejected, e.RowID },
		func(e *Example) { e.ToolCalls = []exchange.ToolCall{{}} },
		func(e *Example) { e.Prompt[1].Name = "bob" },
		func(e *Example) { e.Prompt[2].ToolCalls = nil },
		func(e *Example) { e.Prompt[2].ToolCalls[0].ID = "" },
		func(e *Example) { e.Prompt[2].ToolCalls[0].Name = "plus" },
		func(e *Example) { e.Prompt[2].ToolCalls[0].Arguments = "{}" },
		func(e *Example) { e.Prompt[3].ToolCallID = "c2" },
		func(e *Example) { e.Answer += "x" },
	} {
		rows := whole()
		change(&rows[0])
		h := Hash(rows)
		if j, ok := seen[h]; ok {
			t.Errorf("changes %d and %d have the same hash", i, j)
		}
		seen[h] = i
	}
	for i, change := range []func(*Example){ // one alone makes the version the second
		func(e *Example) { e.RowID = "x" },
		func(e *Example) { e.Tools = "[]" },
		func(e *Example) { e.Rejected = "x" },
		func(e *Example) { e.ToolCalls = []exchange.ToolCall{{}} },
		func(e *Example) { e.Prompt[0].Name = "x" },
		func(e *Example) { e.Prompt[0].ToolCallID = "x" },
	} {
		rows := examples()
		change(&rows[1])
		h := Hash(rows)
		if j, ok := seen[h]; ok {
			t.Errorf("member %d alone does not move the hash (as %d)", i, j)
		}
		seen[h] = 100 + i
		root := t.TempDir()
		if _, err := Write(root, rows, passport()); err != nil {
			t.Fatal(err)
		}
		d, err := Open(filepath.Join(root, h))
		if err != nil {
			t.Errorf("member %d: %v", i, err)
		} else if diff := cmp.Diff(rows, d.Examples); diff != "" {
			t.Errorf("member %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestWriteRefusesToolsThatCannotBeReadBack(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(*Example)
	}{
		{"tools", func(e *Example) { e.Tools = `{"name":"x"}` }},
		{"tools", func(e *Example) { e.Tools = `[` }},
		{"tool_calls", func(e *Example) { e.ToolCalls[0].Arguments = "\xff" }},
		{"rejected", func(e *Example) { e.Rejected = "\xff" }},
		{"row_id", func(e *Example) { e.RowID = "\xff" }},
		{"messages", func(e *Example) { e.Prompt[0].Name = "\xff" }},
		{"messages", func(e *Example) { e.Prompt[0].ToolCalls = []exchange.ToolCall{{ID: "\xff"}} }},
	} {
		rows := whole()
		c.change(&rows[1])
		var re *RowError
		if _, err := Write(t.TempDir(), rows, passport()); !errors.As(err, &re) || re.Index != 1 || re.Field != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}
