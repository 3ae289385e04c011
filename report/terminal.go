package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// TerminalOptions say what the terminal can show.
type TerminalOptions struct {
	Color bool
}

// Terminal writes the closing summary of a run: one screen.
func Terminal(w io.Writer, d *Data, opt TerminalOptions) error {
	bold := func(s string) string {
		if opt.Color {
			return "\x1b[1m" + s + "\x1b[0m"
		}
		return s
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n%s\n\n", bold(Wrap(headline(d)+".")), Wrap(lead(d)))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "held-out\tn\tstudent\tteacher\tdiff\t95%% interval\tof teacher's\t%s\t\n", besideNames(d))
	for i, r := range d.Eval {
		other := ""
		for _, c := range d.Beside {
			if i < len(c.Rows) {
				other += FormatPercent(c.Rows[i].Teacher) + "\t"
			}
		}
		if r.Measure == Accuracy {
			ratio := "-"
			if r.Ratio > 0 {
				ratio = FormatPercent(r.Ratio)
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Family, r.N, FormatPercent(r.Student), FormatPercent(r.Teacher), FormatPoints(r.Diff), FormatInterval(r.DiffCI), ratio, other)
		} else {
			fmt.Fprintf(t, "%s\t%d\t%s\t(%s)\t\t\t\t%s\n", r.Family, r.N, FormatPercent(r.Student), r.Measure, other)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "\n%s\n", Wrap(n))
	}
	b.WriteByte('\n')
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	if base := d.Untaught(); base != nil {
		for _, r := range base.Rows {
			if r.Family == Overall {
				row("taught", "%s, its base %s: %s (%s)", FormatPercent(r.Student), FormatPercent(r.Teacher), FormatPoints(r.Diff), FormatInterval(r.DiffCI))
			}
		}
	}
	for _, t := range d.Taught {
		row("", "%s", t)
	}
	for i, f := range d.Forgotten {
		row([]string{"forgot", ""}[min(i, 1)], "%s", f)
	}
	asked := 0
	for _, s := range d.Sources {
		asked += s.Asked
	}
	row("prompts", "%s asked, %s examples kept; refused: %s", FormatCount(int64(asked)), FormatCount(int64(d.Dataset.Examples)), FormatCounts(d.Total()))
	if len(d.Verifiers) > 1 || len(d.Verifiers) == 1 && d.Verifiers[0].Name != "task" {
		var found []string
		for _, v := range d.Verifiers {
			found = append(found, v.Name+" "+v.Counts())
		}
		row("verifiers", "%s", strings.Join(found, "\n          "))
	}
	if d.Corrections > 0 {
		row("", "%s examples hold an answer that a person wrote", FormatCount(int64(d.Corrections)))
	}
	row("cost", "%s charged of a budget of %s, %s exchanges", FormatUSD(d.Spend.USD), FormatUSD(d.Spend.Budget), FormatCount(d.Spend.Exchanges))
	row("", "%s by reported usage, at most %s elsewhere", d.Spend.Reported, d.Spend.UpperBound)
	if d.Spend.Bill != "" {
		row("", "%s on the teacher's own bill: %s", d.Spend.Bill, d.Spend.BillAgrees)
	}
	row("dataset", "%s", d.Dataset.Path)
	row("model", "%s (%s parameters)", d.Model.Path, formatParams(d.Model.Params))
	row("terms", "%s: %s", d.Teacher.TermsID, d.Teacher.Decision)
	for _, o := range d.Overrides {
		row("override", "%s (%s): %s", o.Row, o.Actions, o.Basis)
	}
	var stages []string
	for _, s := range d.Stages {
		stages = append(stages, s+" "+FormatDuration(time.Duration(d.Seconds[s]*float64(time.Second))))
	}
	row("time", "%s", strings.Join(stages, ", "))
	row("next", "retort chat %s", d.Model.Path)
	_, err := io.WriteString(w, b.String())
	return err
}

func besideNames(d *Data) string {
	var names []string
	for _, c := range d.Beside {
		names = append(names, c.Name)
	}
	return strings.Join(names, "\t")
}

// Wrap breaks a sentence into lines of at most 96 characters.
func Wrap(s string) string {
	const most = 96
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+n > most:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
