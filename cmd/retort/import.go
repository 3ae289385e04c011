package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/importer"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/report"
	"retort/teach/curate"
	"retort/teach/dataset"
	"retort/terms"
	"retort/workspace"
)

func init() { register((*app).importCommand) }

// importFlags are what an import is asked for.
type importFlags struct {
	terms                   termsFlags
	format, name, turns     string
	row, requests           string
	consent, basis, people  string
	corrections, correctsBy string
}

func (a *app) importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take other people's conversations, or corrections, into the ledger",
		Long: "Take a file of conversations into the ledger: ShareGPT, Alpaca, OpenAI messages,\n" +
			"preference pairs, reasoning, batch output, logs. Each row is kept or refused for\n" +
			"a reason that is printed; a file may be imported again. The terms under which\n" +
			"its answers were obtained must be named (see `retort terms list`), unless a\n" +
			"passport lies beside the file. With --corrections, take back rows that\n" +
			"`retort dataset review` wrote, with \"corrected\" filled in.",
		Example: "  retort import chats.jsonl --terms self-hosted --consent unknown\n  retort import --corrections refused.jsonl --by Ann",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if (f.corrections != "") == (len(list) == 1) {
				return usageError{errors.New("name a file to import, or one of corrections with --corrections: one of the two")}
			}
			for _, flag := range []string{"format", "name", "turns", "terms", "agreement", "requests", "consent", "basis", "people"} {
				if f.corrections != "" && c.Flags().Changed(flag) {
					return usageError{fmt.Errorf("--%s does not go with --corrections: corrections have what they correct", flag)}
				}
			}
			if f.corrections == "" && f.correctsBy != "" {
				return usageError{errors.New("--by goes with --corrections")}
			}
			if f.corrections != "" {
				return a.importCorrections(c.Context(), f)
			}
			return a.importFile(c.Context(), list[0], f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.format, "format", string(importer.Auto), "auto, sharegpt, alpaca, messages, preference, reasoning, batch or log")
	fl.StringVar(&f.name, "name", "", "name of the source (default: the file's)")
	fl.StringVar(&f.turns, "turns", string(importer.TurnsLast), "last or all: which answers of a conversation to take")
	fl.StringVar(&f.requests, "requests", "", "`FILE` with the requests of a batch")
	fl.StringVar(&f.row, "terms", "", "terms `ROW` that its answers were obtained under")
	f.terms.add(c, false)
	fl.StringVar(&f.consent, "consent", ledger.ConsentUnknown, "of the people whose prompts it holds: recorded, none or unknown")
	fl.StringVar(&f.basis, "basis", "", "where that consent is recorded")
	fl.StringVar(&f.people, "people", "", "who they are, such as \"support customers\"")
	fl.StringVar(&f.corrections, "corrections", "", "`FILE` of corrected rows to take back")
	fl.StringVar(&f.correctsBy, "by", "", "who corrected them")
	fl.BoolVar(&a.json, "json", false, "as JSON")
	return c
}

// importReport is what became of a file.
type importReport struct {
	*importer.Report
	New     int    `json:"new"`     // exchanges that are recorded now
	Already int    `json:"already"` // that the ledger held before
	Terms   string `json:"terms"`
	Consent string `json:"consent"`
}

func (a *app) importFile(ctx context.Context, path string, f importFlags) error {
	opt, record, consent, err := f.options(path)
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer in.Close()
	if f.requests != "" {
		requests, err := os.Open(f.requests)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer requests.Close()
		opt.Requests = requests
	}
	store, err := a.writer()
	if err != nil {
		return err
	}
	rep := importReport{Terms: record.TermsID, Consent: consent.Consent}
	progress := a.progress()
	defer progress.Close()
	into := &recorder{ctx: ctx, to: store, rep: &rep, bar: progress.Stage("import", 0, 0, "exchanges")}
	err = into.knows(store, importer.EndpointPrefix+record.Name)
	if err == nil {
		rep.Report, err = importer.Read(ctx, in, opt, func(it *importer.Item) error {
			e, err := importer.Exchange(it, record)
			if err != nil {
				return err
			}
			return into.add(e)
		})
	}
	if err == nil && rep.Kept > 0 {
		err = into.finish(consent)
	}
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	into.bar.Done(report.FormatCount(int64(rep.New)) + " new exchanges")
	progress.Close()
	if err := a.show(rep, func() error { return printImport(a.stdout, rep) }); err != nil {
		return err
	}
	if rep.Kept == 0 {
		return fmt.Errorf("import %s: none of its %s rows could be taken", path, report.FormatCount(rep.Rows))
	}
	return nil
}

// options turns flags into what the importer and the ledger need.
func (f *importFlags) options(path string) (importer.Options, importer.RecordOptions, ledger.Consent, error) {
	opt := importer.Options{Name: f.name, Turns: importer.Turns(f.turns)}
	if opt.Name == "" {
		opt.Name = filepath.Base(path)
	}
	record := importer.RecordOptions{Name: opt.Name, Stage: "import", Family: opt.Name}
	consent := ledger.Consent{Source: importer.EndpointPrefix + opt.Name, Consent: f.consent, Basis: f.basis, People: f.people}
	var err error
	if opt.Format, err = importer.ParseFormat(f.format); err != nil {
		return opt, record, consent, usageError{err}
	}
	if opt.Turns != importer.TurnsLast && opt.Turns != importer.TurnsAll {
		return opt, record, consent, usageError{fmt.Errorf("--turns %q is neither last nor all", f.turns)}
	}
	if _, err := ledger.NewConsent(consent); err != nil {
		return opt, record, consent, usageError{err}
	}
	g, err := f.terms.registry()
	if err != nil {
		return opt, record, consent, err
	}
	id := f.row
	if id == "" {
		if id, err = passportTerms(path); err != nil {
			return opt, record, consent, err
		}
	}
	row, err := g.Row(id)
	if err != nil {
		return opt, record, consent, usageError{fmt.Errorf("--terms %s: %w: it is one of %s", id, err, strings.Join(g.IDs(), ", "))}
	}
	record.TermsID, record.TermsBasis = row.ID, terms.Gate(row, terms.Use{}, terms.Curate).Basis
	return opt, record, consent, nil
}

// passportTerms reads under which terms an exported file's answers were
// obtained from the passport beside it.
func passportTerms(path string) (string, error) {
	p, err := dataset.ReadExportPassport(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", usageError{errors.New("say under which terms its answers were obtained: --terms ROW (`retort terms list` shows the rows), or --agreement FILE and --terms with its id")}
	case err != nil:
		return "", fmt.Errorf("import: %w: name the terms with --terms", err)
	case len(p.Terms) != 1:
		ids := make([]string, len(p.Terms))
		for i, t := range p.Terms {
			ids[i] = t.ID
		}
		return "", usageError{fmt.Errorf("its passport names several terms (%s), and not which rows are under which: name the strictest with --terms", strings.Join(ids, ", "))}
	}
	return p.Terms[0].ID, nil
}

// writer opens the workspace's ledger for writing. Damage is told on stderr.
func (a *app) writer() (*segment.Store, error) {
	ws, err := a.open()
	if err != nil {
		return nil, err
	}
	return openStore(a.stderr, ws)
}

func openStore(stderr io.Writer, ws *workspace.Workspace) (*segment.Store, error) {
	return segment.Open(ws.Path("ledger"), segment.Option{OnDamage: func(d segment.Damage) { fmt.Fprintf(stderr, "retort: ledger: %s\n", d) }})
}

// How many records, and bytes of them, are made durable together.
const (
	recordsAtOnce = 512
	bytesAtOnce   = 16 << 20
)

// recorder appends imported exchanges that the ledger lacks.
type recorder struct {
	ctx  context.Context
	to   *segment.Store
	rep  *importReport
	bar  *report.Stage
	keys map[exchange.Key]bool
	said ledger.Consent // what is recorded of the people behind the source
	recs []ledger.Record
	size int // bytes of their bodies
}

// knows reads what the ledger holds of a source.
func (r *recorder) knows(from ledger.Reader, endpoint string) error {
	r.keys = map[exchange.Key]bool{}
	return from.Scan(r.ctx, func(rec ledger.Record) error {
		switch rec.Kind {
		case ledger.KindIntent:
			var head ledger.Intent
			if err := json.Unmarshal(rec.Head, &head); err != nil {
				return fmt.Errorf("ledger: intent record of exchange %s: %w", rec.Exchange, err)
			}
			if head.Endpoint == endpoint && head.Origin == exchange.OriginImport {
				r.keys[head.Key] = true
			}
		case ledger.KindConsent:
			c, err := ledger.ParseConsent(rec)
			if err != nil {
				return err
			}
			if c.Source == endpoint {
				r.said = c // the last one counts
			}
		}
		return nil
	})
}

func (r *recorder) add(e *exchange.Exchange) error {
	r.bar.Set(int64(r.rep.New+r.rep.Already)+1, "")
	if r.keys[e.Key] {
		r.rep.Already++
		return nil
	}
	r.keys[e.Key] = true
	r.rep.New++
	recs, err := ledger.Records(e)
	if err != nil {
		return err
	}
	r.recs = append(r.recs, recs...)
	r.size += len(e.RequestBody) + len(e.ResponseBody)
	if len(r.recs) < recordsAtOnce && r.size < bytesAtOnce {
		return nil
	}
	return r.flush()
}

func (r *recorder) flush() error {
	if len(r.recs) == 0 {
		return nil
	}
	err := r.to.Append(r.ctx, r.recs...)
	r.recs, r.size = r.recs[:0], 0
	return err
}

// finish records what is known of the people, unless it is recorded already.
func (r *recorder) finish(c ledger.Consent) error {
	if r.said.Consent != c.Consent || r.said.Basis != c.Basis || r.said.People != c.People {
		rec, err := ledger.NewConsent(c)
		if err != nil {
			return err
		}
		r.recs = append(r.recs, rec)
	}
	return r.flush()
}

func printImport(w io.Writer, rep importReport) error {
	how := ""
	if rep.Detected {
		how = " (" + rep.Why + ")"
	}
	fmt.Fprintf(w, "%s: %s%s\n", rep.Name, rep.Format, how)
	fmt.Fprintf(w, "%s rows: %s kept, %s refused\n", report.FormatCount(rep.Rows), report.FormatCount(rep.Kept), report.FormatCount(rep.Rows-rep.Kept))
	for _, reason := range slices.Sorted(maps.Keys(rep.Refused)) {
		fmt.Fprintf(w, "refused, %s: %s rows", reason, report.FormatCount(rep.Refused[reason]))
		if s := rep.Samples[reason]; len(s) > 0 {
			fmt.Fprintf(w, ", such as on line %d: %s", s[0].Line, s[0].Detail)
		}
		fmt.Fprintln(w)
	}
	if len(rep.Notes) > 0 {
		notes := map[string]int{}
		for name, n := range rep.Notes {
			notes[name] = int(n)
		}
		fmt.Fprintf(w, "kept, with a remark: %s\n", report.FormatCounts(notes))
	}
	for _, leak := range rep.Leaks {
		fmt.Fprintf(w, "says who it is, %s: %s answers", leak.Pattern, report.FormatCount(leak.Count))
		if len(leak.Samples) > 0 {
			fmt.Fprintf(w, ", such as on line %d: %q", leak.Samples[0].Line, leak.Samples[0].Snippet)
		}
		fmt.Fprintln(w)
	}
	if rep.Damage != "" {
		fmt.Fprintf(w, "damage: %s\n", rep.Damage)
	}
	_, err := fmt.Fprintf(w, "%s exchanges recorded, %s were in the ledger before; terms %s, consent %s\n",
		report.FormatCount(int64(rep.New)), report.FormatCount(int64(rep.Already)), rep.Terms, rep.Consent)
	return err
}

// importCorrections takes corrected rows back.
func (a *app) importCorrections(ctx context.Context, f importFlags) error {
	in, err := os.Open(f.corrections)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer in.Close()
	rows, err := curate.ReadCorrections(f.corrections, in)
	if err != nil {
		return err
	}
	ws, err := a.existing()
	if err != nil {
		return err
	}
	store, err := openStore(a.stderr, ws)
	if err != nil {
		return err
	}
	recs, count, err := curate.Correct(ctx, store, f.corrections, rows, f.correctsBy)
	if err == nil && len(recs) > 0 {
		err = store.Append(ctx, recs...)
	}
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return a.show(count, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s rows: %s corrections recorded, %s were in the ledger before, %s left blank\nrun the recipe again to curate with them; it costs nothing\n",
			report.FormatCount(int64(count.Rows)), report.FormatCount(int64(count.New)), report.FormatCount(int64(count.Unchanged)), report.FormatCount(int64(count.Blank)))
		return err
	})
}
