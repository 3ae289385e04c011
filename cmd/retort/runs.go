package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"retort/recipe"
	"retort/report"
	"retort/workspace"
)

func init() { register((*app).runsCommand) }

func (a *app) runsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "runs",
		Short:   "List the workspace's runs, or show one",
		Example: "  retort runs list\n  retort runs show quickstart",
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List runs, the latest first",
		Example: "  retort runs list",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			all, err := a.allRuns()
			if err != nil {
				return err
			}
			return a.show(all, func() error { return printRuns(a.stdout, all) })
		},
	}
	show := &cobra.Command{
		Use:   "show RUN",
		Short: "Show how far a run is, and what it has left",
		Long: "Show how far a run is, and what it has left. A run is named by its whole name,\n" +
			"the beginning of it, its hash, or by its recipe's name for the latest of it.",
		Example: "  retort runs show quickstart",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			ws, err := a.existing()
			if err != nil {
				return err
			}
			r, err := recipe.FindRun(ws, list[0])
			if err != nil {
				return err
			}
			return a.show(r, func() error { return printRun(a.stdout, ws, r) })
		},
	}
	for _, sub := range []*cobra.Command{list, show} {
		sub.Flags().BoolVar(&a.json, "json", false, "as JSON")
		c.AddCommand(sub)
	}
	return c
}

// existing opens the workspace, which must be there: what only looks creates
// nothing.
func (a *app) existing() (*workspace.Workspace, error) {
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("there is no workspace at %s: name one with --workspace, or make one: retort run RECIPE", dir)
	}
	return workspace.Open(dir)
}

// allRuns lists the runs; without a workspace there are none.
func (a *app) allRuns() ([]recipe.RunInfo, error) {
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return []recipe.RunInfo{}, nil
	}
	ws, err := workspace.Open(dir)
	if err != nil {
		return nil, err
	}
	all, err := recipe.Runs(ws)
	if all == nil {
		all = []recipe.RunInfo{} // [] in JSON
	}
	return all, err
}

func printRuns(w io.Writer, all []recipe.RunInfo) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "there are no runs in this workspace; make one: retort run RECIPE")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "run\tchanged\tstate\texamples\tcost")
	for _, r := range all {
		examples, cost := "", ""
		if r.Dataset != "" {
			examples = report.FormatCount(int64(r.Examples))
		}
		if r.Page != "" {
			cost = report.FormatUSD(r.USD)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Changed.Local().Format("2006-01-02 15:04"), runState(r), examples, cost)
	}
	return t.Flush()
}

func runState(r recipe.RunInfo) string {
	if r.Finished {
		return "finished"
	}
	return "comes to " + r.Next
}

func printRun(w io.Writer, ws *workspace.Workspace, r recipe.RunInfo) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("run", r.Name)
	row("recipe", filepath.Join(r.Dir, "recipe.yaml"))
	row("state", runState(r))
	row("changed", r.Changed.Local().Format(time.DateTime))
	var took []string
	for _, s := range append(r.Done, r.Next) {
		if seconds, ok := r.Seconds[s]; ok {
			took = append(took, s+" "+report.FormatDuration(time.Duration(seconds*float64(time.Second))))
		}
	}
	row("time", strings.Join(took, ", "))
	if r.Dataset != "" {
		row("dataset", fmt.Sprintf("%s (%s examples)", ws.Path("datasets", r.Dataset), report.FormatCount(int64(r.Examples))))
	}
	if r.Model != "" {
		row("model", ws.Path("models", r.Model))
	}
	if r.Page != "" {
		row("cost", report.FormatUSD(r.USD))
		row("report", r.Page)
	}
	if !r.Finished {
		row("next", "the same `retort run RECIPE` goes on with "+r.Next)
	}
	return t.Flush()
}
