package evidence

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"retort/internal/page"
	"retort/prove/expose"
)

//go:embed report.html
var reportText string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"p": FormatP, "e": FormatE, "figure": func(f Finding) string { return f.Figure() },
	"time":  func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05 UTC") },
	"short": func(s string) string { return s[:min(12, len(s))] },
	"plus":  func(i int) int { return i + 1 },
}).Parse(reportText))

// render makes the report of a pack: one page that stands alone, a function of what
// the pack holds.
func render(m *Manifest, f *expose.Frame, r *Results) ([]byte, error) {
	void := []string{}
	for _, why := range slices.Sorted(maps.Keys(r.Void)) {
		void = append(void, fmt.Sprintf("%d %s", r.Void[why], why))
	}
	var b bytes.Buffer
	err := reportPage.Execute(&b, map[string]any{
		"Style": page.Style(), "M": m, "F": f, "R": r, "Void": strings.Join(void, ", "), "Text": f.Suspect.Kind == expose.KindText,
		"Controls": r.Controls(f), "Accounts": r.Accounts(), "Examined": len(f.Campaigns) + len(f.Windows),
	})
	return b.Bytes(), err
}
