package page

import (
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

// wellFormed fails unless s is balanced markup.
func wellFormed(t *testing.T, s string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader("<r>" + s + "</r>"))
	for {
		if _, err := dec.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%v in:\n%s", err, s)
		}
	}
}

func TestLinesDrawsEveryPointInsideOfTheFrame(t *testing.T) {
	s := string(Lines(`a <b> "title"`, Axis{Label: "tokens"}, Axis{Label: "loss", Log: true},
		Series{Name: "train & more", Points: []XY{{0, 5}, {1e6, 0.5}, {2e6, 0}, {3e6, math.NaN()}, {6e6, 0.08}}},
		Series{Name: "held out", Points: []XY{{6e6, 0.1}}, Dashed: true}))
	wellFormed(t, s)
	i := strings.Index(s, `points="`)
	points := strings.Fields(s[i+8 : i+8+strings.Index(s[i+8:], `"`)])
	if len(points) != 3 {
		t.Errorf("want the 3 drawable points of the first series, got %v", points)
	}
	if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, `"title"`) {
		t.Errorf("not drawable, or not escaped:\n%s", s)
	}
}

func TestNothingToDrawIsNoChart(t *testing.T) {
	if s := Lines("t", Axis{}, Axis{Log: true}, Series{Points: []XY{{1, 0}}}); s != "" {
		t.Errorf("drew %s", s)
	}
	if s := Intervals("t", nil, nil); s != "" {
		t.Errorf("drew %s", s)
	}
}

func TestIntervalsPlaceAPointWithinItsInterval(t *testing.T) {
	s := string(Intervals("accuracy", []string{"student", "teacher"}, []IntervalRow{
		{"chain", []Interval{{0.98, 0.96, 0.99}, {1, 0.99, 1}}},
	}))
	wellFormed(t, s)
	for _, want := range []string{"student: 98.0% (96.0 to 99.0)", "teacher: 100.0% (99.0 to 100.0)", "chain"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in:\n%s", want, s)
		}
	}
}

func TestTicksAreFewAndRound(t *testing.T) {
	for _, hi := range []float64{0.03, 1, 7, 99, 12345, 6e6} {
		got := scale{lo: 0, hi: hi, to: 1}.ticks()
		if len(got) < 3 || len(got) > 8 {
			t.Errorf("%d ticks up to %v: %v", len(got), hi, got)
		}
	}
}

func TestStyleHasNoOutsideLink(t *testing.T) {
	if s := string(Style()); strings.Contains(s, "url(") || strings.Contains(s, "@import") || !strings.Contains(s, "prefers-color-scheme: dark") {
		t.Error("the style sheet must stand alone and know the dark")
	}
}
