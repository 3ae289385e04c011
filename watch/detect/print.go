package detect

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"text/tabwriter"

	"retort/internal/page"
)

// Print writes the report for a terminal: at most so many accounts (0: all).
func (r *Report) Print(w io.Writer, most int) error {
	fmt.Fprintf(w, "%s\n", r.Headline())
	if r.Why != "" {
		fmt.Fprintf(w, "%s\n", r.Why)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "%s\n", n)
	}
	if len(r.Accounts) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "\naccount\texchanges\tscore\te-value\tcampaign\tverdict")
		for i, a := range r.Accounts {
			if most > 0 && i >= most {
				break
			}
			of := ""
			if a.Campaign > 0 {
				of = fmt.Sprint(a.Campaign)
			}
			fmt.Fprintf(t, "%.12s\t%d\t%.2f\t%s\t%s\t%s\n", a.Account, a.Exchanges, a.Score, number(a.E), of, r.Verdict(&a))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for i, a := range r.Accounts {
		if most > 0 && i >= most || len(a.Reasons) == 0 || !(a.Alarm || a.Named || i < 3) {
			continue
		}
		fmt.Fprintf(w, "\n%.12s: %s\n", a.Account, a.Means)
		for _, reason := range a.Reasons {
			fmt.Fprintf(w, "  %-24s %s (+%.2f)\n", reason.Signal, reason.Says, reason.Strength)
			for _, p := range reason.Prompts {
				fmt.Fprintf(w, "  %-24s   %q\n", "", p)
			}
		}
		fmt.Fprintf(w, "  innocent if: %s\n  would change it: %s\n", strings.Join(a.Innocent, "; "), strings.Join(a.Change, "; "))
	}
	for i, c := range r.Campaigns {
		if i >= 10 || c.E == 0 && i >= 3 {
			break
		}
		fmt.Fprintf(w, "\ngroup %d: %d accounts, score %.1f, e-value %s, %d named\n  %s\n  prompts that two of them sent: %.1f%%%s\n  innocent if: %s\n",
			c.Number, len(c.Accounts), c.Score, number(c.E), c.Named, c.Means, 100*c.Collide, c.queue(), strings.Join(c.Innocent, "; "))
	}
	c := r.Counts
	_, err := fmt.Fprintf(w, "\n%d exchanges counted, %d failed, %d without text, %d unreadable, %d of no account, %d under way; %d of %d accounts have not reached a first look\n",
		c.Counted, c.Failed, c.NoText, c.Unreadable, c.NoAccount, c.Open, r.Waiting, r.Known)
	return err
}

// queue says whether a group works as one that shares a queue.
func (c *CampaignOf) queue() string {
	if c.Collide < c.Expected {
		return fmt.Sprintf(", where that of other groups is %.1f%%: as from one queue", 100*c.Expected)
	}
	return ""
}

// Headline is the report in one line.
func (r *Report) Headline() string {
	what := ""
	if r.Simulated {
		what = "simulated: "
	}
	if !r.Verdicts {
		return fmt.Sprintf("%sa ranking of %d accounts, without verdicts", what, len(r.Accounts))
	}
	alarms, named := 0, 0
	for _, a := range r.Accounts {
		if a.Alarm {
			alarms++
		}
		if a.Named {
			named++
		}
	}
	text := fmt.Sprintf("%s%d of %d accounts named at a false discovery rate of %g; %d alarms at a lifetime level of %g each", what, named, r.Tested, r.FDR, alarms, r.Level)
	if alone := r.Level * float64(r.Tested); float64(alarms) > 10*(1+alone) {
		text += fmt.Sprintf(". Ordinary accounts alone would raise about %.1f: either many accounts harvest, or there is a kind of use that the calibration has not seen. See what they have in common before anybody is accused", alone)
	}
	return text
}

// Verdict is what the report says of an account, in few words.
func (r *Report) Verdict(a *Account) string {
	switch {
	case a.Named && a.Alarm:
		return "named, alarm"
	case a.Named:
		return "named"
	case a.Alarm:
		return "alarm"
	case a.Withheld != "":
		return a.Withheld
	case !r.Verdicts:
		return "ranked only"
	}
	return "ordinary"
}

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("detect").Funcs(template.FuncMap{
	"style":  page.Style,
	"number": number,
	"short":  func(s string) string { return s[:min(12, len(s))] },
	"score":  func(v float64) string { return fmt.Sprintf("%.2f", v) },
	"p":      func(v float64) string { return fmt.Sprintf("%.2g", v) },
	"join":   func(s []string) string { return strings.Join(s, "; ") },
}).Parse(reportHTML))

// shownRows is how many accounts a page has at most.
const shownRows = 500

// HTML writes the report as one page without outside links.
func (r *Report) HTML(w io.Writer) error {
	type row struct {
		Account
		Verdict string
	}
	v := struct {
		*Report
		Rows   []row
		Hidden int
		Chart  template.HTML
	}{Report: r}
	for i := range r.Accounts {
		if i >= shownRows {
			v.Hidden = len(r.Accounts) - i
			break
		}
		v.Rows = append(v.Rows, row{r.Accounts[i], r.Verdict(&r.Accounts[i])})
	}
	var points []page.XY
	for i, a := range r.Accounts {
		if i%max(1, len(r.Accounts)/300) == 0 {
			points = append(points, page.XY{X: float64(i + 1), Y: a.Score})
		}
	}
	v.Chart = page.Lines("scores of accounts", page.Axis{Label: "accounts, in the order of suspicion", Log: true}, page.Axis{Label: "score"}, page.Series{Name: "score at the latest look", Points: points})
	if err := reportTemplate.Execute(w, v); err != nil {
		return fmt.Errorf("report of detection: %w", err)
	}
	return nil
}
