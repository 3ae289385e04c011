package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"retort/recipe"
	"retort/report"
	"retort/teach/curate"
	"retort/teach/dataset"
	"retort/workspace"
)

func init() { register((*app).datasetCommand) }

func (a *app) datasetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dataset",
		Short: "Look at datasets, correct them, hand them to other trainers",
		Long: "Look at datasets, correct them, hand them to other trainers. A dataset is named\n" +
			"by its hash or the beginning of it, its directory, or the run that made it.",
		Example: "  retort dataset list\n  retort dataset export quickstart --format sharegpt -o train.jsonl",
	}
	c.AddCommand(a.datasetList(), a.datasetShow(), a.datasetStats(), a.datasetExport(), a.datasetReview())
	return c
}

// openDataset opens and verifies the dataset of a name.
func openDataset(ws *workspace.Workspace, name string) (*dataset.Dataset, error) {
	root := ws.Path("datasets")
	dir, err := dataset.Find(root, name)
	var unknown *dataset.UnknownError
	if errors.As(err, &unknown) && len(unknown.Like) == 0 {
		run, runErr := recipe.FindRun(ws, name)
		switch {
		case runErr != nil: // no run either: speak of the dataset
		case run.Dataset == "":
			return nil, fmt.Errorf("run %s has no dataset yet: the same `retort run RECIPE` goes on with %s", run.Name, run.Next)
		default:
			dir, err = dataset.Find(root, run.Dataset)
		}
	}
	if err != nil {
		return nil, err
	}
	return dataset.Open(dir)
}

// required marks flags without which a command cannot run.
func required(c *cobra.Command, names ...string) {
	for _, name := range names {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that the command has not defined
		}
	}
}

func (a *app) datasetList() *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List datasets, the latest first",
		Example: "  retort dataset list",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ws, err := a.existing()
			if err != nil {
				return err
			}
			all, err := dataset.List(ws.Path("datasets"))
			if err != nil {
				return err
			}
			if a.json {
				passports := []dataset.Passport{} // [] in JSON
				for _, l := range all {
					if l.Err != nil {
						fmt.Fprintf(a.stderr, "retort: %v\n", l.Err)
						continue
					}
					passports = append(passports, l.Passport)
				}
				return json.NewEncoder(a.stdout).Encode(passports)
			}
			return printDatasets(a.stdout, a.stderr, all)
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON: their passports")
	return c
}

func printDatasets(w, stderr io.Writer, all []dataset.Listed) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "there are no datasets in this workspace; make one: retort run RECIPE")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "dataset\tcreated\texamples\tcorrected\trecipe\tterms")
	for _, l := range all {
		if l.Err != nil {
			fmt.Fprintf(stderr, "retort: %v\n", l.Err)
			continue
		}
		p := l.Passport
		var terms []string
		for _, row := range p.Terms {
			terms = append(terms, row.ID)
		}
		created := strings.TrimSuffix(strings.Replace(p.Created, "T", " ", 1), "Z")
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Hash[:min(len(p.Hash), 12)], created, report.FormatCount(int64(p.Examples)),
			report.FormatCount(int64(p.Corrections)), p.Recipe.Name, strings.Join(terms, ", "))
	}
	return t.Flush()
}

func (a *app) datasetShow() *cobra.Command {
	limit, first := 3, 0
	c := &cobra.Command{
		Use:     "show DATASET",
		Short:   "Show where a dataset came from, and its first rows",
		Example: "  retort dataset show quickstart --limit 10",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			if limit < 0 || first < 0 {
				return usageError{errors.New("--limit and --from must not be negative")}
			}
			ws, err := a.existing()
			if err != nil {
				return err
			}
			d, err := openDataset(ws, list[0])
			if err != nil {
				return err
			}
			if first >= len(d.Examples) {
				return fmt.Errorf("dataset %.12s has the rows 0 to %d, and none at %d", d.Hash, len(d.Examples)-1, first)
			}
			rows := d.Examples[first:min(len(d.Examples), first+limit)]
			return a.show(struct {
				Dir      string            `json:"dir"`
				Passport dataset.Passport  `json:"passport"`
				Rows     []dataset.Example `json:"rows"`
			}{d.Dir, d.Passport, rows}, func() error { return printDataset(a.stdout, d, rows) })
		},
	}
	c.Flags().IntVar(&limit, "limit", limit, "show so many rows")
	c.Flags().IntVar(&first, "from", first, "show rows from this one on, counted from 0")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON: passport and rows")
	return c
}

func printDataset(w io.Writer, d *dataset.Dataset, rows []dataset.Example) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := &d.Passport
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("dataset", d.Hash)
	row("directory", d.Dir)
	row("created", p.Created)
	row("recipe", p.Recipe.Name)
	row("run", p.Ledger.Run)
	for _, teacher := range p.Teachers {
		row("teacher", teacher.Model+" at "+teacher.Endpoint)
	}
	row("examples", fmt.Sprintf("%s of %s candidates", report.FormatCount(int64(p.Examples)), report.FormatCount(int64(p.Offered))))
	row("refused", report.FormatCounts(p.Refused))
	row("families", report.FormatCounts(p.Families))
	row("origins", report.FormatCounts(p.Origins))
	row("verdicts", report.FormatCounts(p.Verdicts))
	for _, terms := range p.Terms {
		row("terms", fmt.Sprintf("%s: %s examples, %s, %s", terms.ID, report.FormatCount(int64(terms.Examples)), terms.Decision, terms.Basis))
	}
	for _, o := range p.Overrides {
		row("override", fmt.Sprintf("of terms row %s for %s: %s", o.Row, strings.Trim(fmt.Sprint(o.Actions), "[]"), o.Basis))
	}
	for _, people := range p.People {
		row("people", fmt.Sprintf("%s: %s rows, consent %s", people.Source, report.FormatCount(int64(people.Rows)), people.Consent))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range rows {
		printExample(w, &rows[i])
	}
	return nil
}

func printExample(w io.Writer, e *dataset.Example) {
	where := []string{e.Family, string(e.Origin), e.Verdict}
	for _, s := range []string{e.Row, e.RowID} {
		if s != "" {
			where = append(where, s)
		}
	}
	fmt.Fprintf(w, "\n--- row %d: %s ---\n", e.Index, strings.Join(where, ", "))
	for _, m := range e.Prompt {
		fmt.Fprintf(w, "%s: %s\n", m.Role, m.Content)
		for _, call := range m.ToolCalls {
			fmt.Fprintf(w, "%s calls %s %s\n", m.Role, call.Name, call.Arguments)
		}
	}
	if e.Reasoning != "" {
		fmt.Fprintf(w, "reasoning: %s\n", e.Reasoning)
	}
	if e.Answer != "" {
		fmt.Fprintf(w, "answer: %s\n", e.Answer)
	}
	for _, call := range e.ToolCalls {
		fmt.Fprintf(w, "answer calls %s %s\n", call.Name, call.Arguments)
	}
	if e.Rejected != "" {
		fmt.Fprintf(w, "not as good: %s\n", e.Rejected)
	}
}

func (a *app) datasetStats() *cobra.Command {
	c := &cobra.Command{
		Use:     "stats DATASET",
		Short:   "Count and measure a dataset's rows",
		Example: "  retort dataset stats quickstart",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			ws, err := a.existing()
			if err != nil {
				return err
			}
			d, err := openDataset(ws, list[0])
			if err != nil {
				return err
			}
			s := d.Stats()
			return a.show(struct {
				dataset.Stats
				Refused       map[string]int              `json:"refused"`
				Verifiers     map[string]dataset.Outcomes `json:"verifiers,omitempty"`
				IdentityLeaks []dataset.Leak              `json:"identity_leaks"`
			}{s, d.Passport.Refused, d.Passport.Verifiers, d.Passport.IdentityLeaks}, func() error { return printStats(a.stdout, d, s) })
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

func printStats(w io.Writer, d *dataset.Dataset, s dataset.Stats) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	count := func(n int) string { return report.FormatCount(int64(n)) }
	row("examples", count(s.Examples))
	for _, m := range []struct {
		name   string
		counts map[string]int
	}{
		{"sources", s.Sources}, {"families", s.Families}, {"origins", s.Origins}, {"verdicts", s.Verdicts}, {"terms", s.Terms}, {"refused", d.Passport.Refused},
	} {
		row(m.name, report.FormatCounts(m.counts))
	}
	row("with reasoning", count(s.Reasoning))
	if s.Tools+s.ToolCalls > 0 {
		row("with tools", fmt.Sprintf("%s, whose answer calls one: %s", count(s.Tools), count(s.ToolCalls)))
	}
	if s.Rejected > 0 {
		row("with a worse answer", count(s.Rejected))
	}
	if s.CommonRows > 0 {
		row("answers in common", fmt.Sprintf("%s, of %s rows", count(s.CommonAnswers), count(s.CommonRows)))
	}
	for _, leak := range d.Passport.IdentityLeaks {
		row("identity", fmt.Sprintf("%s: %s rows", leak.Pattern, count(leak.Count)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "\nper row\tleast\tmedian\t95%\tmost\tin all")
	for _, l := range []struct {
		name string
		s    dataset.Spread
	}{{"messages", s.Turns}, {"prompt, characters", s.PromptChars}, {"reasoning, characters", s.ReasoningChars}, {"answer, characters", s.AnswerChars}} {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.name, count(l.s.Min), count(l.s.Median), count(l.s.P95), count(l.s.Max), report.FormatCount(l.s.Sum))
	}
	if len(d.Passport.Verifiers) > 0 {
		fmt.Fprintln(t, "\nverifier\tpassed\tfailed\tskipped\tbroke down")
		for _, name := range slices.Sorted(maps.Keys(d.Passport.Verifiers)) {
			o := d.Passport.Verifiers[name]
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, count(o.Pass), count(o.Fail), count(o.Skip), count(o.Error))
		}
	}
	return t.Flush()
}

func (a *app) datasetExport() *cobra.Command {
	var format, out string
	c := &cobra.Command{
		Use:   "export DATASET",
		Short: "Write a dataset in a format of other trainers",
		Long: "Write a dataset in a format of other trainers, as JSON lines, with its passport\n" +
			"beside the file. Formats: openai (messages), sharegpt (LLaMA-Factory, Axolotl),\n" +
			"alpaca, dpo (preference pairs, as TRL reads them). Each row is kept or refused\n" +
			"for a reason that is printed.",
		Example: "  retort dataset export quickstart --format sharegpt -o train.jsonl",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			f, err := dataset.ParseExportFormat(format)
			if err != nil {
				return usageError{err}
			}
			ws, err := a.existing()
			if err != nil {
				return err
			}
			d, err := openDataset(ws, list[0])
			if err != nil {
				return err
			}
			rep, err := dataset.ExportFile(c.Context(), out, d, f)
			if err != nil {
				return err
			}
			return a.show(rep, func() error { return printExport(a.stdout, out, rep) })
		},
	}
	c.Flags().StringVar(&format, "format", "", "openai, sharegpt, alpaca or dpo")
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write")
	c.Flags().BoolVar(&a.json, "json", false, "end with one JSON object: what became of the rows")
	required(c, "format", "output")
	return c
}

func printExport(w io.Writer, path string, rep dataset.ExportReport) error {
	fmt.Fprintf(w, "%s of %s rows in %s; %s beside it says where they came from\n",
		report.FormatCount(int64(rep.Kept)), report.FormatCount(int64(rep.Rows)), path, path+dataset.ExportPassportSuffix)
	for _, reason := range slices.Sorted(maps.Keys(rep.Refused)) {
		s := rep.Samples[reason][0]
		fmt.Fprintf(w, "refused, %s: %s rows, such as row %d: %s\n", reason, report.FormatCount(int64(rep.Refused[reason])), s.Index, s.Detail)
	}
	if len(rep.Notes) > 0 {
		_, err := fmt.Fprintf(w, "not as in the dataset: %s\n", report.FormatCounts(rep.Notes))
		return err
	}
	return nil
}

func (a *app) datasetReview() *cobra.Command {
	var refused bool
	var run, out string
	limit := 0
	c := &cobra.Command{
		Use:   "review [DATASET]",
		Short: "Write rows to correct by hand",
		Long: "Write rows to correct by hand, as JSON lines: with --refused the answers that\n" +
			"verifiers refused, of every run or of one, else the rows of a dataset. Fill in\n" +
			"\"corrected\" and take the file back with `retort import --corrections FILE`.",
		Example: "  retort dataset review --refused --run tickets -o refused.jsonl",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			switch {
			case refused == (len(list) == 1):
				return usageError{errors.New("name a dataset, or say --refused: one of the two")}
			case run != "" && !refused:
				return usageError{errors.New("--run goes with --refused")}
			case limit < 0:
				return usageError{errors.New("--limit must not be negative")}
			}
			ws, err := a.existing()
			if err != nil {
				return err
			}
			file, err := workspace.CreateAtomic(out)
			if err != nil {
				return err
			}
			defer file.Abort()
			w := &reviewWriter{out: json.NewEncoder(file), limit: limit}
			w.out.SetEscapeHTML(false)
			count := curate.ReviewCount{}
			if refused {
				count, err = a.reviewRefused(c, ws, run, w)
			} else {
				err = reviewExamples(ws, list[0], w)
				count.Rows = w.n
			}
			if err != nil {
				return err
			}
			count.Rows = min(count.Rows, w.n)
			if count.Rows == 0 {
				return a.show(count, func() error { return printReview(a.stdout, "", run, count) })
			}
			if err := file.Commit(); err != nil {
				return err
			}
			return a.show(count, func() error { return printReview(a.stdout, out, run, count) })
		},
	}
	c.Flags().BoolVar(&refused, "refused", false, "answers that verifiers refused and nobody has corrected")
	c.Flags().StringVar(&run, "run", "", "only of this run")
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write")
	c.Flags().IntVar(&limit, "limit", limit, "write at most so many (0: all)")
	c.Flags().BoolVar(&a.json, "json", false, "end with one JSON object: the counts")
	required(c, "output")
	return c
}

// reviewWriter writes the first rows of a review.
type reviewWriter struct {
	out   *json.Encoder
	limit int
	n     int
}

func (w *reviewWriter) write(row curate.Review) error {
	if w.limit > 0 && w.n == w.limit {
		return nil
	}
	w.n++
	return w.out.Encode(row)
}

func (a *app) reviewRefused(c *cobra.Command, ws *workspace.Workspace, run string, w *reviewWriter) (curate.ReviewCount, error) {
	name := ""
	if run != "" {
		info, err := recipe.FindRun(ws, run)
		if err != nil {
			return curate.ReviewCount{}, err
		}
		name = info.Name
	}
	r, err := a.reader()
	if err != nil {
		return curate.ReviewCount{}, err
	}
	return curate.ReviewRefused(c.Context(), r, name, w.write)
}

func reviewExamples(ws *workspace.Workspace, name string, w *reviewWriter) error {
	d, err := openDataset(ws, name)
	if err != nil {
		return err
	}
	return curate.ReviewExamples(d, w.write)
}

func printReview(w io.Writer, path, run string, n curate.ReviewCount) error {
	switch {
	case path == "" && run != "":
		fmt.Fprintln(w, "there is nothing of that run to correct, so no file was written; answers that it shares with an earlier run are that one's: leave --run out to see all")
	case path == "":
		fmt.Fprintln(w, "there is nothing to correct, so no file was written")
	default:
		fmt.Fprintf(w, "%s rows in %s: fill in \"corrected\", then retort import --corrections %s\n", report.FormatCount(int64(n.Rows)), path, path)
	}
	if n.Corrected > 0 {
		fmt.Fprintf(w, "left out: %s that a person has corrected before\n", report.FormatCount(int64(n.Corrected)))
	}
	if n.Heldout > 0 {
		fmt.Fprintf(w, "left out: %s of held-out problems, which never become examples\n", report.FormatCount(int64(n.Heldout)))
	}
	return nil
}
