package importer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"retort/exchange"
)

// The files under testdata/rows hold rows and what becomes of them; -rewrite
// writes what does become of them.
func TestRows(t *testing.T) {
	datadriven.Walk(t, "testdata/rows", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var opt Options
			var requests string
			if d.HasArg("turns") {
				d.ScanArgs(t, "turns", (*string)(&opt.Turns))
			}
			if d.HasArg("format") {
				d.ScanArgs(t, "format", (*string)(&opt.Format))
			}
			if d.HasArg("max") {
				d.ScanArgs(t, "max", &opt.MaxRow)
			}
			input := d.Input
			if before, after, ok := strings.Cut(input, "\n=requests=\n"); ok {
				input, requests = before, after
				opt.Requests = strings.NewReader(requests)
			}
			opt.Name = "x"
			rep, items, err := tryRead(input, opt)
			counted(t, rep)
			return show(rep, items, err)
		})
	})
}

// show writes down what was read, one fact a line.
func show(rep *Report, items []*Item, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	if rep.Detected {
		fmt.Fprintf(&b, "found: %s by %s, %s\n", rep.Format, rep.Why, rep.Layout)
	}
	text := func(v any) string {
		var s strings.Builder
		enc := json.NewEncoder(&s)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err.Error()
		}
		return strings.TrimSpace(s.String())
	}
	for _, it := range items {
		fmt.Fprintf(&b, "row %d line %d", it.Row, it.Line)
		if it.Turns > 1 {
			fmt.Fprintf(&b, " answer %d/%d", it.Turn, it.Turns)
		}
		for _, f := range [][2]string{{"id", it.ID}, {"model", it.Model}, {"tools", string(it.Tools)}, {"gold", string(it.Gold)}, {"extra", string(it.Extra)}} {
			if f[1] != "" {
				fmt.Fprintf(&b, " %s=%s", f[0], f[1])
			}
		}
		if it.Usage.Source != exchange.UsageMissing {
			fmt.Fprintf(&b, " usage=%d+%d", it.Usage.Input, it.Usage.Output)
		}
		b.WriteByte('\n')
		for _, m := range it.Messages {
			fmt.Fprintf(&b, "  %s\n", text(m))
		}
		fmt.Fprintf(&b, "  > %s\n", text(it.Answer))
		if it.Rejected != nil {
			fmt.Fprintf(&b, "  < %s\n", text(it.Rejected))
		}
	}
	var refusals []Refusal
	for _, s := range rep.Samples {
		refusals = append(refusals, s...)
	}
	slices.SortFunc(refusals, func(a, b Refusal) int { return int(a.Row - b.Row) })
	for _, r := range refusals {
		fmt.Fprintf(&b, "row %d line %d refused: %s: %s\n", r.Row, r.Line, r.Reason, r.Detail)
	}
	if len(rep.Refused) > 1 {
		fmt.Fprintf(&b, "refused: %v\n", rep.Refused)
	}
	if len(rep.Notes) > 0 {
		fmt.Fprintf(&b, "notes: %v\n", rep.Notes)
	}
	for _, l := range rep.Leaks {
		fmt.Fprintf(&b, "leak: %s %d: %s\n", l.Pattern, l.Count, l.Samples[0].Snippet)
	}
	if rep.Damage != "" {
		fmt.Fprintf(&b, "damage: %s\n", rep.Damage)
	}
	return b.String()
}
