package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"sort"
	"time"

	"retort/internal/page"
	"retort/student/eval"
)

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"style":    page.Style,
	"count":    func(n any) string { return FormatCount(toInt64(n)) },
	"usd":      FormatUSD,
	"percent":  FormatPercent,
	"points":   FormatPoints,
	"interval": FormatInterval,
	"duration": func(s float64) string { return FormatDuration(time.Duration(s * float64(time.Second))) },
	"bytes":    formatBytes,
	"rounded":  func(v float64) int64 { return int64(math.Round(v)) },
	"counts":   sortedCounts,
	"share":    func(n, of int) string { return fmt.Sprintf("%.2f%%", 100*float64(n)/float64(max(1, of))) },
	"pvalue":   FormatP,
}).Parse(reportHTML))

func toInt64(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// htmlView is what the template reads: the data, the charts and the words.
type htmlView struct {
	*Data
	Headline string
	Lead     string
	Accuracy template.HTML
	Loss     template.HTML
	// Reinforced is the chart of reinforcement, where there was any.
	Reinforced template.HTML
	Overall    *EvalRow
	Asked      int
	Kept       int
	Refused    map[string]int
}

// HTML writes the report as one page without outside links.
func HTML(w io.Writer, d *Data) error {
	v := htmlView{Data: d, Headline: headline(d), Lead: lead(d), Accuracy: accuracyChart(d), Loss: lossChart(d), Reinforced: reinforcementChart(d.Reinforcement), Refused: d.Total()}
	for i := range d.Eval {
		if d.Eval[i].Family == Overall {
			v.Overall = &d.Eval[i]
		}
	}
	for _, s := range d.Sources {
		v.Asked += s.Asked
		v.Kept += s.Kept
	}
	return reportTemplate.Execute(w, v)
}

// Overall is the Family of the row that pools all of them.
const Overall = eval.Overall

// headline is the page's first sentence: what came out, in one line.
func headline(d *Data) string {
	size := formatParams(d.Model.Params)
	for _, r := range d.Eval {
		if r.Family != Overall {
			continue
		}
		if r.Measure != Accuracy {
			return fmt.Sprintf("A %s-parameter student that agrees with its teacher on %s of held-out prompts", size, FormatPercent(r.Student))
		}
		return fmt.Sprintf("A %s-parameter student that answers %s of held-out problems right; its teacher, %s", size, FormatPercent(r.Student), FormatPercent(r.Teacher))
	}
	return fmt.Sprintf("A %s-parameter student of %s", size, d.Teacher.Name)
}

// Measures of an evaluation.
const (
	Accuracy  = string(eval.Accuracy)
	Agreement = string(eval.Agreement)

	Perplexity = "perplexity" // of given answers
)

func lead(d *Data) string {
	active := ""
	if d.Model.Active != d.Model.Params {
		active = fmt.Sprintf(" (%s of them active for a token)", formatParams(d.Model.Active))
	}
	from := "Distilled from " + d.Teacher.Name + " over its API"
	if d.Teacher.Model == "" { // nobody was asked
		from = "Learned from " + d.Teacher.Name
	}
	return fmt.Sprintf("%s: %s examples, %s spent, %s of training on %s. The model has %s parameters%s, and it is yours.",
		from, FormatCount(int64(d.Dataset.Examples)), FormatUSD(d.Spend.USD),
		FormatDuration(time.Duration(d.Seconds["train"]*float64(time.Second))), d.Machine.CPU, formatParams(d.Model.Params), active)
}

func accuracyChart(d *Data) template.HTML {
	names := []string{"student", "teacher"}
	for _, b := range d.Beside {
		names = append(names, b.Name)
	}
	var rows []page.IntervalRow
	for i, r := range d.Eval {
		if r.Measure != Accuracy {
			continue
		}
		row := page.IntervalRow{Name: r.Family, Values: []page.Interval{
			{Value: r.Student, Lo: r.StudentCI[0], Hi: r.StudentCI[1]},
			{Value: r.Teacher, Lo: r.TeacherCI[0], Hi: r.TeacherCI[1]},
		}}
		for _, b := range d.Beside {
			if i < len(b.Rows) {
				c := b.Rows[i]
				row.Values = append(row.Values, page.Interval{Value: c.Teacher, Lo: c.TeacherCI[0], Hi: c.TeacherCI[1]})
			}
		}
		rows = append(rows, row)
	}
	return page.Intervals("Accuracy on held-out problems with 95% intervals", names, rows)
}

func xy(points []Point) []page.XY {
	out := make([]page.XY, len(points))
	for i, p := range points {
		out[i] = page.XY{X: float64(p.Tokens), Y: p.Value}
	}
	return out
}

func reinforcementChart(r *Reinforcement) template.HTML {
	if r == nil {
		return ""
	}
	series := []page.Series{{Name: "drawn", Points: xy(r.Drawn)}}
	if len(r.Looks) > 0 {
		series = append(series, page.Series{Name: "watched, likeliest", Points: xy(r.Looks), Dashed: true})
	}
	return page.Lines("Right answers while it was reinforced", page.Axis{Label: "steps", Format: func(v float64) string { return fmt.Sprintf("%g", v) }},
		page.Axis{Label: "share of answers", Format: func(v float64) string { return fmt.Sprintf("%g%%", math.Round(1000*v)/10) }}, series...)
}

func lossChart(d *Data) template.HTML {
	millions := func(v float64) string {
		if v == 0 {
			return "0"
		}
		return fmt.Sprintf("%gM", float64(int(v/1e4+0.5))/100)
	}
	series := []page.Series{{Name: "training", Points: xy(d.Training.Loss)}}
	if len(d.Training.Heldout) > 0 {
		series = append(series, page.Series{Name: "held out", Points: xy(d.Training.Heldout), Dashed: true})
	}
	return page.Lines("Loss while training", page.Axis{Label: "tokens trained", Format: millions}, page.Axis{Label: "loss (nats per token)", Log: true}, series...)
}

func formatBytes(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

func formatParams(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f B", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f M", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0f k", float64(n)/1e3)
}

// counted is one bucket for the template, which cannot sort a map by value.
type counted struct {
	Name  string
	Count int
}

func sortedCounts(m map[string]int) []counted {
	var out []counted
	for k, n := range m {
		out = append(out, counted{k, n})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Count != out[j].Count {
			return out[i].Count > out[j].Count
		}
		return out[i].Name < out[j].Name
	})
	return out
}
