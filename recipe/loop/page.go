package loop

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"retort/internal/page"
	"retort/prove/evidence"
	"retort/prove/expose"
	"retort/report"
	"retort/workspace"
)

//go:embed loop.html
var pageHTML string

var pageTemplate = template.Must(template.New("loop").Funcs(template.FuncMap{
	"style": page.Style, "figure": func(o any) string {
		switch o := o.(type) {
		case *expose.Outcome:
			return Figure(o)
		case expose.Outcome:
			return Figure(&o)
		}
		return ""
	}, "formatE": evidence.FormatE, "percent": report.FormatPercent,
	"bare": func(o *expose.Outcome) string {
		if _, figure, ok := strings.Cut(Figure(o), " = "); ok {
			return figure
		}
		return Figure(o)
	},
	"short":    func(hash string) string { return fmt.Sprintf("%.12s", hash) },
	"count":    func(n int) string { return report.FormatCount(int64(n)) },
	"duration": func(s float64) string { return report.FormatDuration(time.Duration(s * float64(time.Second))) },
}).Parse(pageHTML))

// view is what the page's template reads.
type view struct {
	*Result
	Proven   bool
	Level    float64
	Found    *expose.Outcome // the suspect's, over the coins of the accounts that were detected
	Cleared  *expose.Outcome // and the innocent student's
	Said     *expose.Outcome // the suspect's behind its API
	Accounts []expose.Outcome
	Theirs   map[string]bool
	Total    float64
	Links    map[string]string
	Finished time.Time
	Tool     string
}

// report writes the page.
func (r *run) report(context.Context) error {
	res := &r.state.Result
	theirs, err := r.truth()
	if err != nil {
		return err
	}
	v := view{
		Result: res, Proven: res.proven(r.Expose.Level), Level: r.Expose.Level, Found: res.Weights.campaign(suspectName), Cleared: res.Weights.campaign(innocentName),
		Said: res.API.Of(suspectName), Theirs: theirs, Finished: time.Now().UTC(), Tool: r.opt.Version, Links: map[string]string{},
	}
	for _, o := range res.Weights.Outcomes {
		if o.Model == suspectName && o.Scope == expose.ScopeAccount {
			v.Accounts = append(v.Accounts, o)
		}
	}
	slices.SortStableFunc(v.Accounts, func(a, b expose.Outcome) int {
		switch {
		case a.LogP < b.LogP:
			return -1
		case a.LogP > b.LogP:
			return 1
		}
		return 0
	})
	for _, s := range r.state.Seconds {
		v.Total += s
	}
	for name, file := range map[string]string{"detection": res.Detection.Page, "case": r.path(stranger, "case.html"), "suspect": res.Suspect.Report, "innocent": res.Innocent.Report} {
		if v.Links[name], err = filepath.Rel(r.dir, file); err != nil {
			return err
		}
	}
	res.Page = r.path("report.html")
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return err
	}
	return workspace.WriteFileAtomic(res.Page, b.Bytes(), 0o644)
}

// Print prints the result for people.
func (r *Result) Print(w io.Writer) error {
	total := 0.0
	for _, s := range r.Seconds {
		total += s
	}
	d := r.Detection
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	fmt.Fprintln(t, "A demonstration on one machine: accounts are simulated, time is compressed, the witness is no third party.")
	fmt.Fprintln(t)
	line("served", "%s exchanges to %s ordinary accounts and %d of a campaign (%s exchanges); %s", report.FormatCount(int64(r.Exchanges)), report.FormatCount(int64(r.OrdinaryAccounts)), r.CampaignAccounts, report.FormatCount(int64(r.CampaignExchanges)), r.Stamp)
	for _, e := range r.Suspect.Eval {
		if e.Family == report.Overall {
			line("stolen", "a student at %s of held-out problems; its teacher %s", report.FormatPercent(e.Student), report.FormatPercent(e.Teacher))
		}
	}
	line("detected", "%s", d.String())
	line("weights", "suspect %s, over %d coins; innocent student %s", Figure(r.Weights.campaign(suspectName)), coinsOf(r.Weights.campaign(suspectName)), Figure(r.Weights.campaign(innocentName)))
	line("accounts", "%d named, of which %d are the campaign's; %d bystanders tested", r.Weights.Named, r.Weights.Campaign, r.Weights.Others)
	if o := r.API.Of(suspectName); o != nil {
		line("API", "%s from text alone, %d coins", Figure(o), o.Coins)
	}
	for _, v := range r.Verified {
		line("pack", "%s", v)
	}
	line("took", "%s", report.FormatDuration(time.Duration(total*float64(time.Second))))
	line("report", "%s", r.Page)
	return t.Flush()
}

func coinsOf(o *expose.Outcome) int {
	if o == nil {
		return 0
	}
	return o.Coins
}
