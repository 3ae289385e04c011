package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"retort/recipe"
	"retort/student/export"
	"retort/teach/dataset"
	"retort/terms"
	"retort/workspace"
)

func init() { register((*app).termsCommand) }

// termsFlags are what the subcommands of terms are asked for.
type termsFlags struct {
	agreements []string
	purpose    string
	distribute bool
}

func (f *termsFlags) add(c *cobra.Command, use bool) {
	c.Flags().StringArrayVar(&f.agreements, "agreement", nil, "`FILE` with an agreement of your own; may be given several times")
	if use {
		c.Flags().StringVar(&f.purpose, "purpose", "", "what the model is for, such as extract or classify")
		c.Flags().BoolVar(&f.distribute, "distributed", false, "the model goes to others")
	}
}

func (f *termsFlags) use() terms.Use {
	return terms.Use{Purpose: f.purpose, Distributed: f.distribute}
}

// registry is the program's rows with the agreements that were named.
func (f *termsFlags) registry() (*terms.Registry, error) {
	g := terms.Default()
	for _, path := range f.agreements {
		row, _, err := terms.LoadAgreement(path)
		if err != nil {
			return nil, usageError{err}
		}
		if g, err = g.With(row); err != nil {
			return nil, usageError{fmt.Errorf("agreement %s: %w", path, err)}
		}
	}
	return g, nil
}

func (a *app) termsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "terms",
		Short: "What providers' terms and models' licences allow",
		Long: "What providers' terms and models' licences allow to be done with answers. A row\n" +
			"describes a document as it was read on a day. It is not legal advice.",
		Example: "  retort terms list --purpose classify\n  retort terms explain quickstart",
	}
	for _, sub := range []*cobra.Command{a.termsListCommand(), a.termsShowCommand(), a.termsExplainCommand(), a.termsCheckCommand()} {
		sub.Flags().BoolVar(&a.json, "json", false, "as JSON")
		c.AddCommand(sub)
	}
	return c
}

func (a *app) termsListCommand() *cobra.Command {
	var f termsFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the rows, and what each decides for a use",
		Long: "List the rows, and what each decides for a use: whether answers may be\n" +
			"collected, made into training examples, and a model trained on them exported.",
		Example: "  retort terms list --purpose extract --distributed",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			g, err := f.registry()
			if err != nil {
				return err
			}
			return a.show(struct {
				Use  terms.Use   `json:"use"`
				Rows []listedRow `json:"rows"`
				Note string      `json:"note"`
			}{f.use(), listRows(g, f.use()), terms.Disclaimer}, func() error { return printTerms(a.stdout, g, f.use()) })
		},
	}
	f.add(c, true)
	return c
}

// listedRow is a row with what it decides.
type listedRow struct {
	terms.Row
	Decisions map[terms.Action]terms.Decision `json:"decisions"`
}

func listRows(g *terms.Registry, use terms.Use) []listedRow {
	var out []listedRow
	for _, row := range g.Rows() {
		l := listedRow{row, map[terms.Action]terms.Decision{}}
		for _, action := range terms.Actions {
			l.Decisions[action] = terms.Gate(row, use, action).Decision
		}
		out = append(out, l)
	}
	return out
}

func printTerms(w io.Writer, g *terms.Registry, use terms.Use) error {
	fmt.Fprintf(w, "What each row decides for a model built %s:\n\n", use)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "row\tcollect\tcurate\texport\tdocument")
	for _, l := range listRows(g, use) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.ID, l.Decisions[terms.Collect], l.Decisions[terms.Curate], l.Decisions[terms.Export], l.Document)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n`retort terms show ROW` says when and how each was read, and why it decides so.\n%s\n", terms.Disclaimer)
	return err
}

func (a *app) termsShowCommand() *cobra.Command {
	var f termsFlags
	c := &cobra.Command{
		Use:     "show ROW",
		Short:   "Show a row: its document, when and how it was read, what follows",
		Example: "  retort terms show llama-3.1",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			g, err := f.registry()
			if err != nil {
				return err
			}
			row, err := g.Row(list[0])
			if err != nil {
				return usageError{err}
			}
			return a.showRow(row)
		},
	}
	f.add(c, false)
	return c
}

func (a *app) showRow(row terms.Row) error {
	return a.show(struct {
		terms.Row
		Note string `json:"note"`
	}{row, terms.Disclaimer}, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s\n%s\n", row, terms.Disclaimer)
		return err
	})
}

func (a *app) termsCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a file that describes an agreement of your own, and show it",
		Long: "Check a file that describes an agreement of your own, and show it as a row.\n" +
			"A recipe names such files under `terms: {agreements: [FILE]}`.",
		Example: "  retort terms check acme-2026.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			f := termsFlags{agreements: list}
			g, err := f.registry()
			if err != nil {
				return err
			}
			rows := g.Rows()
			return a.showRow(rows[len(rows)-1])
		},
	}
	return c
}

func (a *app) termsExplainCommand() *cobra.Command {
	var f termsFlags
	c := &cobra.Command{
		Use:   "explain DATASET|MODEL",
		Short: "Say which document decides over a dataset or a model",
		Long: "Say which documents the rows of a dataset, or of what a model was trained on,\n" +
			"are under, and which of them decides what may be done. It is named by its\n" +
			"directory, its hash or the beginning of it; a dataset also by its run. The\n" +
			"use is what the model's passport says, unless flags say another.",
		Example: "  retort terms explain quickstart\n  retort terms explain 8d2c --purpose extract --distributed",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			l, err := a.lineageOf(list[0])
			if err != nil {
				return err
			}
			if l.Use == nil || c.Flags().Changed("purpose") || c.Flags().Changed("distributed") {
				use := f.use()
				l.Use = &use
			}
			g, err := f.registry()
			if err != nil {
				return err
			}
			if g, err = l.complete(g); err != nil {
				return err
			}
			explained := explanation{What: l.What, Explanation: terms.Explain(g, l.Counted, *l.Use, l.Overrides...), Overrides: l.Overrides, People: l.People}
			return a.show(explained, func() error { return explained.print(a.stdout) })
		},
	}
	f.add(c, true)
	return c
}

// explanation is what explain prints.
type explanation struct {
	What string `json:"what"`
	terms.Explanation
	Overrides []terms.Override `json:"overrides"`
	People    []terms.People   `json:"people"`
}

func (e explanation) print(w io.Writer) error {
	text, note := strings.TrimSuffix(e.String(), e.Note+"\n"), e.Note
	fmt.Fprintf(w, "%s\n%s", e.What, text)
	if len(e.People) > 0 {
		fmt.Fprintln(w, "People whose words the rows hold:")
		for _, p := range e.People {
			basis := ""
			if p.Basis != "" {
				basis = " (" + p.Basis + ")"
			}
			fmt.Fprintf(w, "  %d rows from %s: consent %s%s\n", p.Rows, p.Source, p.Consent, basis)
		}
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintln(w, note)
	return err
}

// lineage is what explain needs to know of a dataset or a model.
type lineage struct {
	What      string
	Use       *terms.Use // nil where the passport does not say
	Counted   []terms.Counted
	Terms     []dataset.Terms
	Overrides []terms.Override
	People    []terms.People
}

// complete adds rows that only the passport describes, such as an agreement
// whose file was not given.
func (l *lineage) complete(g *terms.Registry) (*terms.Registry, error) {
	for _, t := range l.Terms {
		if _, err := g.Row(t.ID); err == nil || t.Decision == "" {
			continue
		}
		more, err := g.With(terms.Row{
			ID: t.ID, Provider: t.Provider, Document: t.Document, Read: t.Read, Via: "the passport alone; give the agreement's file with --agreement",
			Basis: cmp.Or(t.Basis, "as the passport records it"), Default: terms.Decision(t.Decision),
			Reason: "the passport records that decision", Obligations: t.Obligations,
		})
		if err != nil {
			return nil, fmt.Errorf("terms row %q of the passport: %w", t.ID, err)
		}
		g = more
	}
	return g, nil
}

// lineageOf finds a dataset or a model by its directory, by its hash or the
// beginning of it, or a dataset by its run.
func (a *app) lineageOf(name string) (*lineage, error) {
	if _, err := os.Stat(filepath.Join(name, dataset.PassportFile)); err == nil {
		return readLineage(name, nil)
	}
	ws, err := a.existing()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, kind := range []string{"datasets", "models"} {
		for _, sub := range subdirectories(ws.Path(kind)) {
			if strings.HasPrefix(sub, strings.ToLower(name)) {
				found = append(found, ws.Path(kind, sub))
			}
		}
	}
	switch {
	case len(found) == 1:
		return readLineage(found[0], ws)
	case len(found) > 1:
		return nil, usageError{fmt.Errorf("%s could be any of %s; give more of the hash", name, strings.Join(found, ", "))}
	}
	r, err := recipe.FindRun(ws, name)
	if err != nil {
		return nil, usageError{fmt.Errorf("there is no dataset or model %s, nor a run of that name: %w", name, err)}
	}
	if r.Dataset == "" {
		return nil, usageError{fmt.Errorf("run %s has no dataset yet; finish it: retort run RECIPE", r.Name)}
	}
	l, err := readLineage(ws.Path("datasets", r.Dataset), ws)
	if err == nil && r.Model != "" {
		if p, err := export.ReadPassport(ws.Path("models", r.Model)); err == nil {
			l.Use = &p.Use // what the run's recipe said; before export there is no passport
		}
	}
	return l, err
}

// readLineage reads a passport, and the rows of the dataset where it is at
// hand: only they say what each source is under. ws may be nil.
func readLineage(dir string, ws *workspace.Workspace) (*lineage, error) {
	kind, err := passportKind(dir)
	if err != nil {
		return nil, err
	}
	if kind == dataset.PassportFormat {
		d, err := dataset.Open(dir)
		if err != nil {
			return nil, err
		}
		p := d.Passport
		return &lineage{What: "dataset " + d.Hash, Counted: counted(d.Examples), Terms: p.Terms, Overrides: p.Overrides, People: p.People}, nil
	}
	p, err := export.ReadPassport(dir)
	if err != nil {
		return nil, err
	}
	l := &lineage{What: fmt.Sprintf("model %s (%s)", p.Name, p.Hash), Use: &p.Use, Terms: p.Terms, Overrides: p.Overrides, People: p.People}
	if ws != nil && p.Dataset.Hash != "" {
		d, err := dataset.Open(ws.Path("datasets", p.Dataset.Hash))
		if err == nil {
			l.Counted = counted(d.Examples)
			return l, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	for _, t := range p.Terms {
		l.Counted = append(l.Counted, terms.Counted{ID: t.ID, Rows: t.Examples})
	}
	return l, nil
}

func passportKind(dir string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, dataset.PassportFile))
	if err != nil {
		return "", err
	}
	var p struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(dir, dataset.PassportFile), err)
	}
	if p.Format != dataset.PassportFormat && p.Format != export.PassportFormat {
		return "", fmt.Errorf("%s is neither a dataset nor a model of this program: its format is %q", dir, p.Format)
	}
	return p.Format, nil
}

// counted counts rows by terms row and source, in the order in which they
// first appear.
func counted(rows []dataset.Example) []terms.Counted {
	var out []terms.Counted
	at := map[[2]string]int{}
	for _, r := range rows {
		key := [2]string{r.TermsID, r.Source}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, terms.Counted{ID: r.TermsID, Source: r.Source})
		}
		out[i].Rows++
	}
	slices.SortStableFunc(out, func(a, b terms.Counted) int { return cmp.Compare(b.Rows, a.Rows) })
	return out
}
