package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/report"
	"retort/workspace"
)

func init() { register((*app).ledgerCommand) }

func (a *app) ledgerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "ledger",
		Short:   "Look at what was asked, answered and paid for",
		Example: "  retort ledger show --status failed\n  retort ledger verify",
	}
	c.AddCommand(a.ledgerShow(), a.ledgerVerify(), a.ledgerExport(), a.ledgerSeal())
	return c
}

// filterFlags select exchanges on the command line.
type filterFlags struct {
	f                ledger.Filter
	minUSD, maxUSD   float64
	since, until, id string
}

func (x *filterFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&x.f.Run, "run", "", "only this run")
	fl.StringVar(&x.f.Stage, "stage", "", "only this stage")
	fl.StringVar(&x.f.Family, "family", "", "only this family or prompt source")
	fl.StringVar(&x.f.Model, "model", "", "only this model")
	fl.StringVar(&x.f.Status, "status", "", "ok, failed, an error class such as rate_limited, or an HTTP status such as 429 or 5xx")
	fl.Float64Var(&x.minUSD, "min-cost", 0, "at least so many US dollars")
	fl.Float64Var(&x.maxUSD, "max-cost", 0, "at most so many US dollars (0: no bound)")
	fl.StringVar(&x.since, "since", "", "asked at or after this time, such as 2026-11-25 or 2026-11-25T10:00:00Z")
	fl.StringVar(&x.until, "until", "", "asked before this time")
}

// used reports whether any filter was given.
func (x *filterFlags) used(c *cobra.Command) bool {
	for _, name := range []string{"run", "stage", "family", "model", "status", "min-cost", "max-cost", "since", "until"} {
		if c.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// filter reads the flags.
func (x *filterFlags) filter() (ledger.Filter, error) {
	f := x.f
	var err error
	if f.MinCost, err = exchange.Dollars(x.minUSD); err != nil {
		return f, usageError{fmt.Errorf("--min-cost: %w", err)}
	}
	if f.MaxCost, err = exchange.Dollars(x.maxUSD); err != nil {
		return f, usageError{fmt.Errorf("--max-cost: %w", err)}
	}
	if f.Since, err = parseTime("--since", x.since); err != nil {
		return f, err
	}
	if f.Until, err = parseTime("--until", x.until); err != nil {
		return f, err
	}
	if x.id != "" {
		if f.ID, err = exchange.ParseID(x.id); err != nil {
			return f, usageError{err}
		}
	}
	if err := f.Validate(); err != nil {
		return f, usageError{err}
	}
	return f, nil
}

func parseTime(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, usageError{fmt.Errorf("%s: %q is not a time such as 2026-11-25 or 2026-11-25T10:00:00Z", flag, text)}
}

// reader opens the workspace's ledger for reading. Damage is told on stderr,
// and the rest is read.
func (a *app) reader() (*segment.Reader, error) {
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "ledger")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no ledger in %s: name a workspace with --workspace, or run a recipe first", dir)
	}
	return segment.OpenReader(path, segment.Option{OnDamage: func(d segment.Damage) { fmt.Fprintf(a.stderr, "retort: ledger: %s\n", d) }})
}

func (a *app) ledgerShow() *cobra.Command {
	var x filterFlags
	limit := 50
	c := &cobra.Command{
		Use:     "show [EXCHANGE]",
		Short:   "List exchanges, or show one whole with its raw bytes",
		Example: "  retort ledger show --family chain --status failed\n  retort ledger show 01K9ZV3T8Q4M2R6N0B5C7D1E9F",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if len(list) == 1 {
				x.id = list[0]
				if x.used(c) {
					return usageError{fmt.Errorf("name an exchange, or filter: not both")}
				}
			}
			f, err := x.filter()
			if err != nil {
				return err
			}
			r, err := a.reader()
			if err != nil {
				return err
			}
			switch {
			case a.json && len(list) == 1:
				ok, err := ledger.WriteExchange(c.Context(), a.stdout, r, f.ID)
				if err == nil && !ok {
					err = noExchange(f.ID)
				}
				return err
			case a.json:
				_, err := ledger.WriteJSONL(c.Context(), a.stdout, r, f)
				return err
			case len(list) == 1:
				return a.showExchange(c.Context(), r, f.ID)
			}
			return a.listExchanges(c.Context(), r, f, limit)
		},
	}
	x.add(c)
	c.Flags().IntVar(&limit, "limit", limit, "list at most so many (0: all)")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON lines, all of them, whole")
	return c
}

// listExchanges prints a line an exchange, a sum over all that match, and what
// is recorded about sources and terms.
func (a *app) listExchanges(ctx context.Context, r ledger.Reader, f ledger.Filter, limit int) error {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "exchange\tasked\tfamily\tmodel\tstatus\ttokens in\tout\tcost")
	n := 0
	var cost exchange.PicoSum
	var about []string
	see := func(rec ledger.Record) error {
		line, err := aboutSources(rec, f.Run)
		if line != "" {
			about = append(about, line)
		}
		return err
	}
	err := ledger.Exchanges(ctx, ledger.Watch(r, see), func(e *exchange.Exchange) error {
		if !f.Match(e) {
			return nil
		}
		n++
		cost.Add(e.Cost)
		if limit > 0 && n > limit {
			return nil
		}
		status := fmt.Sprint(e.Status)
		if e.ErrorClass != "" {
			status += " " + string(e.ErrorClass)
		}
		if e.Origin != exchange.OriginAPI {
			status += " " + string(e.Origin)
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", e.ID, utc(e.Times.Queued),
			e.Family, e.ModelAsked, status, e.Usage.Input, e.Usage.Output, report.FormatUSD(e.Cost.USD()))
		return err
	})
	if err != nil {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	more := ""
	if limit > 0 && n > limit {
		more = fmt.Sprintf(" (the first %d are shown)", limit)
	}
	if _, err := fmt.Fprintf(a.stdout, "%s exchanges, %s%s\n", report.FormatCount(int64(n)), cost, more); err != nil {
		return err
	}
	for _, line := range about {
		fmt.Fprintln(a.stdout, line)
	}
	return nil
}

// aboutSources is a line about a record of an override or of consent; "" for
// other records, and for overrides of other runs than the one asked for.
func aboutSources(rec ledger.Record, run string) (string, error) {
	switch rec.Kind {
	case ledger.KindOverride:
		o, err := ledger.ParseOverride(rec)
		if err != nil || run != "" && o.Run != run {
			return "", err
		}
		line := fmt.Sprintf("override %s of terms row %s for %s: %s", utc(o.Time), o.Row, strings.Join(o.Actions, ", "), o.Basis)
		if o.By != "" {
			line += " (by " + o.By + ")"
		}
		return line, nil
	case ledger.KindConsent:
		c, err := ledger.ParseConsent(rec)
		if err != nil {
			return "", err
		}
		line := fmt.Sprintf("people behind %s: consent %s", c.Source, c.Consent)
		if c.Basis != "" {
			line += ", " + c.Basis
		}
		if c.People != "" {
			line += " (" + c.People + ")"
		}
		return line, nil
	}
	return "", nil
}

func noExchange(id exchange.ID) error {
	return fmt.Errorf("the ledger has no exchange %s: `retort ledger show` lists them", id)
}

// showExchange prints one exchange whole, with what was said about it since.
func (a *app) showExchange(ctx context.Context, r ledger.Reader, id exchange.ID) error {
	var found *exchange.Exchange
	var verdicts []ledger.Verdict
	var corrections []ledger.Correction
	human := map[exchange.ID]exchange.Answer{}
	see := func(rec ledger.Record) error {
		if rec.Exchange != id {
			return nil
		}
		switch rec.Kind {
		case ledger.KindVerdict:
			v, err := ledger.ParseVerdict(rec)
			verdicts = append(verdicts, v)
			return err
		case ledger.KindCorrection:
			c, err := ledger.ParseCorrection(rec)
			corrections = append(corrections, c)
			return err
		}
		return nil
	}
	if err := ledger.Exchanges(ctx, ledger.Watch(r, see), func(e *exchange.Exchange) error {
		if e.ID == id {
			found = e
		}
		if e.Parent == id && e.Origin == exchange.OriginHuman {
			human[e.ID] = e.Answer
		}
		return nil
	}); err != nil {
		return err
	}
	if found == nil {
		return noExchange(id)
	}
	head, err := json.MarshalIndent(struct {
		*exchange.Exchange
		RequestBody, ResponseBody *struct{} `json:",omitempty"` // shown below as they are
	}{Exchange: found}, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s\n", head)
	for _, v := range verdicts {
		if err := printVerdict(a.stdout, v); err != nil {
			return err
		}
	}
	for _, c := range corrections {
		printCorrection(a.stdout, c, human[c.Human])
	}
	fmt.Fprintf(a.stdout, "\n--- request, %d bytes ---\n", len(found.RequestBody))
	if err := writeRaw(a.stdout, found.RequestBody); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n--- response, %d bytes ---\n", len(found.ResponseBody))
	return writeRaw(a.stdout, found.ResponseBody)
}

func printVerdict(w io.Writer, v ledger.Verdict) error {
	said := "correct"
	if !v.Correct {
		said = v.Reason
	}
	fmt.Fprintf(w, "\n--- verdict %s: %s (rules %.12s", utc(v.Time), said, v.Rules)
	if v.Run != "" {
		fmt.Fprintf(w, ", run %s", v.Run)
	}
	fmt.Fprintln(w, ") ---")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range v.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Verifier, c.Outcome, c.Reason, c.Detail)
	}
	return t.Flush()
}

func printCorrection(w io.Writer, c ledger.Correction, answer exchange.Answer) {
	by := ""
	if c.By != "" {
		by = " by " + c.By
	}
	fmt.Fprintf(w, "\n--- corrected %s%s: exchange %s stands in its place ---\n", utc(c.Time), by, c.Human)
	if answer.Reasoning != "" {
		fmt.Fprintf(w, "reasoning: %s\n", answer.Reasoning)
	}
	fmt.Fprintf(w, "answer: %s\n", answer.Content)
}

func utc(t int64) string { return time.Unix(0, t).UTC().Format(time.DateTime) }

// writeRaw writes bytes as they are, and ends the line if they did not.
func writeRaw(w io.Writer, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	if !bytes.HasSuffix(b, []byte("\n")) {
		_, err := fmt.Fprintln(w)
		return err
	}
	return nil
}

func (a *app) ledgerVerify() *cobra.Command {
	c := &cobra.Command{
		Use:     "verify",
		Short:   "Check every frame and every link of the chain",
		Example: "  retort ledger verify",
		Long:    "Check every frame and every link of the chain. Exits with 7 if anything that was\never acknowledged is missing or changed.",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := workspace.Find(a.workspace)
			if err != nil {
				return err
			}
			v, err := segment.Verify(c.Context(), filepath.Join(dir, "ledger"), segment.Option{})
			if err != nil {
				return err
			}
			if err := a.show(v, func() error { return printVerify(a.stdout, v) }); err != nil {
				return err
			}
			if !v.OK() {
				return errDamaged
			}
			return nil
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

func printVerify(w io.Writer, v segment.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "segment\trecords\tbytes\tstate")
	for _, s := range v.Segments {
		state := "closed"
		switch {
		case s.Sealed:
			state = "sealed"
		case !s.Closed && s.Torn > 0:
			state = fmt.Sprintf("open, %d bytes of an unfinished write at its end", s.Torn)
		case !s.Closed:
			state = "open"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.File, report.FormatCount(int64(s.Records)), report.FormatCount(s.Bytes), state)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, d := range v.Damage {
		fmt.Fprintf(w, "damage: %s\n", d)
	}
	_, err := fmt.Fprintf(w, "%s records, %d places damaged\n", report.FormatCount(int64(v.Records)), len(v.Damage))
	return err
}

func (a *app) ledgerExport() *cobra.Command {
	var x filterFlags
	c := &cobra.Command{
		Use:     "export FILE",
		Short:   "Write exchanges to FILE.jsonl or FILE.parquet, for other tools",
		Example: "  retort ledger export exchanges.parquet --run quickstart-0123456789ab",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			f, err := x.filter()
			if err != nil {
				return err
			}
			write := ledger.WriteJSONL
			switch ext := strings.ToLower(filepath.Ext(list[0])); ext {
			case ".jsonl":
			case ".parquet":
				write = ledger.WriteParquet
			default:
				return usageError{fmt.Errorf("%s: the name must end in .jsonl or .parquet, which says what is written", list[0])}
			}
			r, err := a.reader()
			if err != nil {
				return err
			}
			out, err := workspace.CreateAtomic(list[0])
			if err != nil {
				return err
			}
			defer out.Abort()
			n, err := write(c.Context(), out, r, f)
			if err != nil {
				return err
			}
			if err := out.Commit(); err != nil {
				return err
			}
			if !a.quiet {
				fmt.Fprintf(a.stderr, "%s exchanges in %s\n", report.FormatCount(int64(n)), list[0])
			}
			return nil
		},
	}
	x.add(c)
	return c
}

func (a *app) ledgerSeal() *cobra.Command {
	return &cobra.Command{
		Use:     "seal",
		Short:   "Turn finished log segments into Parquet archives",
		Example: "  retort ledger seal",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ws, err := a.open()
			if err != nil {
				return err
			}
			s, err := segment.Open(ws.Path("ledger"), segment.Option{OnDamage: func(segment.Damage) {}})
			if err != nil {
				return err
			}
			sealed, err := s.Seal(c.Context())
			if closeErr := s.Close(); err == nil {
				err = closeErr
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%d segments with %s records sealed\n", sealed.Segments, report.FormatCount(int64(sealed.Records)))
			for _, kept := range sealed.Kept {
				fmt.Fprintf(a.stdout, "left as it is: %s\n", kept)
			}
			return nil
		},
	}
}
