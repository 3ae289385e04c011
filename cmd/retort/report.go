package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"retort/recipe"
	"retort/report"
)

func init() { register((*app).reportCommand) }

func (a *app) reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "report RUN",
		Short: "Show a finished run again, and write its report.html anew",
		Long: "Show a finished run again, and write its report.html anew from what the run\n" +
			"kept. Nothing is asked, trained or paid for.",
		Example: "  retort report quickstart",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			ws, err := a.existing()
			if err != nil {
				return err
			}
			d, err := recipe.Rewrite(c.Context(), ws, list[0])
			if err != nil {
				return err
			}
			if !a.quiet {
				fmt.Fprintf(a.stderr, "written: %s\n", d.Page)
			}
			return a.show((&recipe.Result{Report: *d}).Summary(), func() error {
				return report.Terminal(a.stdout, d, report.TerminalOptions{Color: a.color(a.stdout)})
			})
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON, as `retort run --json` prints it")
	return c
}
