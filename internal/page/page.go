// Package page holds the HTML and SVG building blocks that reports share: one
// style sheet for light and dark, and small charts that take their colours
// from it. Everything it makes stands alone: no script, no outside link.
//
// It knows nothing of runs or evidence; callers bring numbers and words.
package page

import (
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

//go:embed style.css
var style string

// Style is the style sheet, to be put inside of a style element.
func Style() template.CSS { return template.CSS(style) }

// Series is one line of a chart.
type Series struct {
	Name   string
	Points []XY // in order of X
	Dashed bool
}

// XY is a point of a chart.
type XY struct{ X, Y float64 }

// Axis says how one axis of a chart reads.
type Axis struct {
	Label  string
	Format func(float64) string
	Log    bool // base 10; values that are not positive are left out
}

// The drawing area in user units; the SVG scales to the width that it is given.
const (
	width, height          = 640.0, 280.0
	left, right, top, base = 56.0, 16.0, 16.0, 44.0
)

// scale maps the values of one axis to its place in the drawing.
type scale struct {
	lo, hi, from, to float64
	log              bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = math.Log10(v)
	}
	return s.from + (v-s.lo)/(s.hi-s.lo)*(s.to-s.from)
}

// ticks are round values between the scale's ends.
func (s scale) ticks() []float64 {
	if s.log {
		return s.logTicks()
	}
	step := math.Pow(10, math.Floor(math.Log10((s.hi-s.lo)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (s.hi-s.lo)/(step*m) <= 6 {
			step *= m
			break
		}
	}
	var out []float64
	for v := math.Ceil(s.lo/step) * step; v <= s.hi+step*1e-9; v += step {
		out = append(out, v)
	}
	return out
}

func (s scale) logTicks() []float64 {
	var out []float64
	for e := math.Floor(s.lo); e <= s.hi; e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if l := math.Log10(v); l >= s.lo-1e-9 && l <= s.hi+1e-9 {
				out = append(out, v)
			}
		}
	}
	return out
}

// fit makes the scale that holds all values.
func fit(values []float64, log bool, from, to float64) (scale, bool) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if log {
			v = math.Log10(v)
		}
		lo, hi = math.Min(lo, v), math.Max(hi, v)
	}
	if math.IsInf(lo, 0) || math.IsInf(hi, 0) || math.IsNaN(lo) {
		return scale{}, false
	}
	if hi-lo < 1e-12 {
		lo, hi = lo-0.5, hi+0.5
	}
	if !log {
		lo = math.Min(lo, 0)
	}
	return scale{lo, hi, from, to, log}, true
}

// Lines draws series over a common axis. It returns an empty string if there
// is nothing to draw.
func Lines(title string, x, y Axis, series ...Series) template.HTML {
	var xs, ys []float64
	for i, s := range series {
		series[i].Points = drawable(s.Points, x.Log, y.Log)
		for _, p := range series[i].Points {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	sx, ok1 := fit(xs, x.Log, left, width-right)
	sy, ok2 := fit(ys, y.Log, height-base, top)
	if !ok1 || !ok2 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<figure class="chart"><svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, html.EscapeString(title))
	grid(&b, sx, sy, x, y)
	for i, s := range series {
		dash := ""
		if s.Dashed {
			dash = ` stroke-dasharray="5 4"`
		}
		fmt.Fprintf(&b, `<polyline class="s%d"%s points="`, i%4, dash)
		for _, p := range s.Points {
			fmt.Fprintf(&b, "%.1f,%.1f ", sx.at(p.X), sy.at(p.Y))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString(`</svg><figcaption>`)
	for i, s := range series {
		fmt.Fprintf(&b, `<span class="key k%d">%s</span> `, i%4, html.EscapeString(s.Name))
	}
	b.WriteString(`</figcaption></figure>`)
	return template.HTML(b.String())
}

// drawable leaves out what has no place on the axes.
func drawable(points []XY, logX, logY bool) []XY {
	var out []XY
	for _, p := range points {
		if math.IsNaN(p.X+p.Y) || math.IsInf(p.X+p.Y, 0) || logX && p.X <= 0 || logY && p.Y <= 0 {
			continue
		}
		out = append(out, p)
	}
	return out
}

func grid(b *strings.Builder, sx, sy scale, x, y Axis) {
	for _, v := range sy.ticks() {
		at := sy.at(v)
		fmt.Fprintf(b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`,
			left, width-right, at, at, left-8, at+4, html.EscapeString(y.format(v)))
	}
	for _, v := range sx.ticks() {
		fmt.Fprintf(b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, sx.at(v), height-base+18, html.EscapeString(x.format(v)))
	}
	fmt.Fprintf(b, `<text class="label" x="%g" y="%g" text-anchor="end">%s</text>`, width-right, height-6, html.EscapeString(x.Label))
	fmt.Fprintf(b, `<text class="label" x="%g" y="%g">%s</text>`, left, top-4, html.EscapeString(y.Label))
}

func (a Axis) format(v float64) string {
	if a.Format != nil {
		return a.Format(v)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// Interval is one measured share with its interval, all between 0 and 1.
type Interval struct {
	Value, Lo, Hi float64
}

// IntervalRow is a line of an interval chart: the same thing measured of
// several contestants.
type IntervalRow struct {
	Name   string
	Values []Interval // in the order of the chart's names
}

// Intervals draws shares as points with their intervals, one band a row.
func Intervals(title string, names []string, rows []IntervalRow) template.HTML {
	if len(rows) == 0 {
		return ""
	}
	const nameWidth, line, gap = 110.0, 16.0, 14.0
	lo := 1.0
	tall := 8.0
	for _, r := range rows {
		tall += gap + line*float64(len(r.Values))
		for _, v := range r.Values {
			lo = math.Min(lo, v.Lo)
		}
	}
	lo = math.Max(0, math.Floor(lo*10-0.5)/10)
	sx := scale{lo, 1, nameWidth, width - 24, false}
	var b strings.Builder
	fmt.Fprintf(&b, `<figure class="chart"><svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, tall+24, html.EscapeString(title))
	for _, v := range sx.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="4" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="middle">%.0f%%</text>`,
			sx.at(v), sx.at(v), tall, sx.at(v), tall+18, 100*v)
	}
	y := 8.0
	for _, r := range rows {
		y += gap
		fmt.Fprintf(&b, `<text class="name" x="%g" y="%.1f" text-anchor="end">%s</text>`, nameWidth-10, y+line*float64(len(r.Values))/2, html.EscapeString(r.Name))
		for i, v := range r.Values {
			at := y + line*float64(i) + line/2 - 4
			fmt.Fprintf(&b, `<g class="s%d"><line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><circle cx="%.1f" cy="%.1f" r="4.5"/><title>%s: %.1f%% (%.1f to %.1f)</title></g>`,
				i%4, sx.at(v.Lo), sx.at(v.Hi), at, at, sx.at(v.Value), at, html.EscapeString(names[i]), 100*v.Value, 100*v.Lo, 100*v.Hi)
		}
		y += line * float64(len(r.Values))
	}
	b.WriteString(`</svg><figcaption>`)
	for i, n := range names {
		fmt.Fprintf(&b, `<span class="key k%d">%s</span> `, i%4, html.EscapeString(n))
	}
	b.WriteString(`</figcaption></figure>`)
	return template.HTML(b.String())
}
