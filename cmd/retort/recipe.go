package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"retort/recipe"
	"retort/recipe/loop"
	"retort/workspace"
)

func init() { register((*app).recipeCommand) }

func (a *app) recipeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "recipe",
		Short:   "Look at recipes",
		Example: "  retort recipe show recipes/quickstart.yaml",
	}
	c.AddCommand(a.recipePreviewCommand())
	c.AddCommand(&cobra.Command{
		Use:     "show FILE",
		Short:   "Print a recipe with every default written out",
		Example: "  retort recipe show recipes/quickstart.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			r, err := recipe.Load(list[0])
			if err != nil {
				return err
			}
			out, err := r.YAML()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(out)
			return err
		},
	}, &cobra.Command{
		Use:     "check FILE...",
		Short:   "Check recipes without running them",
		Example: "  retort recipe check recipes/*.yaml",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			for _, file := range list {
				if loop.Is(file) {
					l, err := loop.Load(file)
					if err != nil {
						return err
					}
					name, err := l.RunName()
					if err != nil {
						return err
					}
					fmt.Fprintf(a.stdout, "%s: a closed loop; its directory is %s\n", file, name)
					continue
				}
				r, err := recipe.Load(file)
				if err != nil {
					return err
				}
				name, err := r.RunName()
				if err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%s: a recipe; its run is %s\n", file, name)
			}
			return nil
		},
	}, &cobra.Command{
		Use:     "schema",
		Short:   "Print a JSON schema of the recipe format, for editors",
		Example: "  retort recipe schema > recipe.schema.json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			out, err := recipe.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n", out)
			return err
		},
	})
	return c
}

func (a *app) recipePreviewCommand() *cobra.Command {
	var rows int
	c := &cobra.Command{
		Use:   "preview FILE",
		Short: "Show the first requests as they would be sent",
		Long: "Show the first requests of each source as they would be sent, and what the\n" +
			"student would read where that differs. Nothing is asked.",
		Example: "  retort recipe preview --rows 2 recipes/tickets.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			r, err := recipe.Load(list[0])
			if err != nil {
				return err
			}
			if rows < 1 {
				return usageError{fmt.Errorf("--rows %d: how many of each source are to be shown? At least 1", rows)}
			}
			var ws *workspace.Workspace
			if r.ReadsLedger() {
				if ws, err = a.open(); err != nil {
					return err
				}
			}
			p, err := recipe.MakePreview(c.Context(), r, ws, rows)
			if err != nil {
				return err
			}
			return a.show(p, func() error { return p.Print(a.stdout) })
		},
	}
	c.Flags().IntVar(&rows, "rows", 1, "training prompts of each source")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}
