package recipe

import (
	"fmt"
	"io"
	"maps"
	"text/tabwriter"
	"time"

	"retort/ledger"
	"retort/report"
)

// PlanServed is what a gateway recorded, as a plan shows it. Since and Until are
// resolved, and kept for the run.
type PlanServed struct {
	Since         *time.Time     `json:"since,omitempty"`
	Until         time.Time      `json:"until"`
	Resolved      time.Time      `json:"resolved"`
	Exchanges     int            `json:"exchanges"` // in the span, of the accounts and models that are asked for
	Others        int            `json:"others"`    // in the span, of others
	Conversations int            `json:"conversations"`
	Repeated      int            `json:"repeated"` // exchanges whose conversation was asked before
	Accounts      []PlanAccount  `json:"accounts"` // whoever asked most first
	Refused       map[string]int `json:"refused"`  // exchanges that are not learned from, by reason
}

// PlanAccount is an account that asked in the span.
type PlanAccount struct {
	Account   string `json:"account"` // the first 12 digits of its hash
	Exchanges int    `json:"exchanges"`
	Consent   string `json:"consent"` // recorded, none, unknown; "" if nothing is recorded
}

// plan is the source as a plan shows it; nil if it is none.
func (g *given) plan() *PlanServed {
	in := g.served
	if in == nil {
		return nil
	}
	out := &PlanServed{
		Since: in.span.Since, Until: in.span.Until, Resolved: in.resolved, Exchanges: in.exchanges, Others: in.others,
		Conversations: in.conversations, Repeated: in.repeated, Refused: maps.Clone(in.refused), Accounts: []PlanAccount{},
	}
	for _, a := range in.accounts {
		out.Accounts = append(out.Accounts, PlanAccount{Account: fmt.Sprintf("%.12s", a.hash), Exchanges: a.exchanges, Consent: a.consent})
	}
	return out
}

// shownAccounts is how many accounts a plan lists for people.
const shownAccounts = 20

// print writes it for people.
func (p *PlanServed) print(w io.Writer, name string) {
	during := span{Since: p.Since, Until: p.Until}
	fmt.Fprintf(w, "\n%s: %s exchanges %s, in %s conversations\n", name, report.FormatCount(int64(p.Exchanges)), &during, report.FormatCount(int64(p.Conversations)))
	fmt.Fprintf(w, "  times as of %s, and kept for this run: newer exchanges come under another name, since or until\n", when(p.Resolved))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, a := range p.Accounts[:min(len(p.Accounts), shownAccounts)] {
		says := "has agreed"
		switch a.Consent {
		case ledger.ConsentRecorded:
		case "":
			says = "has not agreed, and is left out; if it does: retort accounts consent " + a.Account + " --basis FILE"
		default:
			says = "is left out: its consent is recorded as " + a.Consent
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", a.Account, report.FormatCount(int64(a.Exchanges)), says)
	}
	t.Flush()
	if n := len(p.Accounts) - shownAccounts; n > 0 {
		agreed := 0
		for _, a := range p.Accounts[shownAccounts:] {
			if a.Consent == ledger.ConsentRecorded {
				agreed++
			}
		}
		fmt.Fprintf(w, "  and %d accounts more, of which %d have agreed\n", n, agreed)
	}
	if len(p.Refused) > 0 {
		fmt.Fprintf(w, "  not used: %s\n", report.FormatCounts(p.Refused))
	}
	if p.Repeated > 0 {
		fmt.Fprintf(w, "  asked before: %s\n", report.FormatCount(int64(p.Repeated)))
	}
	if p.Others > 0 {
		fmt.Fprintf(w, "  of other accounts or models: %s\n", report.FormatCount(int64(p.Others)))
	}
}
