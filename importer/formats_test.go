package importer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retort/exchange"
)

// read reads s and fails on an error.
func read(t *testing.T, s string, opt Options) (*Report, []*Item) {
	t.Helper()
	rep, items, err := tryRead(s, opt)
	if err != nil {
		t.Fatal(err)
	}
	return rep, items
}

func tryRead(s string, opt Options) (*Report, []*Item, error) {
	var items []*Item
	rep, err := Read(context.Background(), strings.NewReader(s), opt, func(it *Item) error {
		it.Raw, it.RawRequest = slices.Clone(it.Raw), slices.Clone(it.RawRequest)
		items = append(items, it)
		return nil
	})
	return rep, items, err
}

// counted fails unless every row is in one bucket.
func counted(t *testing.T, rep *Report) {
	t.Helper()
	sum := rep.Kept
	for _, n := range rep.Refused {
		sum += n
	}
	if sum != rep.Rows {
		t.Errorf("%d rows, of which %d are in a bucket: %+v", rep.Rows, sum, rep.Refused)
	}
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("RETORT_TESTDATA")
	if dir == "" {
		t.Skip("RETORT_TESTDATA is not set: a folder with formats/" + name)
	}
	return filepath.Join(dir, "formats", name)
}

func TestEveryRowOfTheRealFilesIsCountedOnce(t *testing.T) {
	for _, c := range []struct {
		file                string
		format              Format
		layout              string
		rows, kept, all     int64 // all: items with every turn
		leak                string
		leaks               int64
		tools, calls, think int64 // items with tools, with calls before or in the answer, with reasoning
	}{
		{"alpaca_en_demo.json", Alpaca, "array", 999, 999, 999, "unnamed", 26, 0, 0, 0},
		{"dpo_en_demo.json", Preference, "array", 300, 300, 300, "unnamed", 13, 0, 0, 0},
		{"glaive_toolcall_en_demo.json", ShareGPT, "array", 300, 300, 957, "unnamed", 16, 191, 153, 0},
		{"sharegpt_dummy_conversation.json", ShareGPT, "array", 500, 500, 1000, "lmsys", 500, 0, 0, 0},
		{"v1_sft_demo.jsonl", Messages, "lines", 500, 500, 500, "unnamed", 21, 0, 0, 0},
		{"reason_tool_use_demo_50.jsonl", Messages, "lines", 50, 50, 112, "", 0, 48, 31, 50},
	} {
		t.Run(c.file, func(t *testing.T) {
			path := testdata(t, c.file)
			for _, turns := range []Turns{TurnsLast, TurnsAll} {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				var tools, calls, think, preferred, last int64
				rep, err := Read(context.Background(), f, Options{Name: c.file, Turns: turns}, func(it *Item) error {
					if it.Turn == it.Turns {
						last++
					}
					if it.Tools != nil {
						tools++
					}
					if len(it.Answer.ToolCalls) > 0 || slices.ContainsFunc(it.Messages, func(m exchange.Message) bool { return len(m.ToolCalls) > 0 }) {
						calls++
					}
					if it.Answer.Reasoning != "" {
						think++
					}
					if it.Rejected != nil {
						preferred++
					}
					return nil
				})
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				counted(t, rep)
				want := c.rows
				if turns == TurnsAll {
					want = c.all
				}
				if rep.Format != c.format || !rep.Detected || rep.Layout != c.layout || rep.Rows != c.rows || rep.Kept != c.kept || rep.Items != want || last != c.kept {
					t.Errorf("%s: %+v, %d last items", turns, rep, last)
				}
				if turns == TurnsAll {
					continue
				}
				if tools != c.tools || calls != c.calls || think != c.think || preferred > 0 != (c.format == Preference) {
					t.Errorf("%d with tools, %d with calls, %d with reasoning, %d with a rejected answer", tools, calls, think, preferred)
				}
				if c.leak == "" {
					if len(rep.Leaks) > 0 {
						t.Errorf("leaks %+v", rep.Leaks)
					}
				} else if l := rep.Leaks[0]; l.Pattern != c.leak || l.Count != c.leaks || len(l.Samples) != samples || l.Samples[0].Snippet == "" {
					t.Errorf("leak %+v", l)
				}
			}
		})
	}
}

func TestForeignFilesAreNamed(t *testing.T) {
	for head, want := range map[string]string{
		"\x1f\x8b\x08\x00": "gzip", "PAR1xxxx": "Parquet", "\xff\xfe[\x00": "UTF-16", "PK\x03\x04aa": "ZIP", "": "no rows", " \n\t": "no rows",
		"{\n  \"messages\": [\n  ]\n}\n":    "one row a line",
		`{"turns": ["a"], "category": "b"}`: "turns, category",
		"[1, 2]":                            "no objects",
		"hello\n":                           "neither a JSON array nor JSON lines",
	} {
		_, _, err := tryRead(head, Options{Name: "x.json"})
		var f *FormatError
		if !errors.As(err, &f) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "import x.json: ") {
			t.Errorf("%q: %v, want %q", head, err, want)
		}
	}
}
