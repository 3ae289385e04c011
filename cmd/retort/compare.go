package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"retort/recipe"
)

func init() { register((*app).compareCommand) }

func (a *app) compareCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "compare A B",
		Short: "Compare two runs' students on the same held-out problems",
		Long: "Compare two runs on the held-out problems that both answered: paired, family by\n" +
			"family, with p-values corrected for there being several families (Holm). Where\n" +
			"the runs' verifiers differ, both are judged by those of B.\n\n" +
			"Exit code: 0, whatever the outcome; with --check, 7 if B's student is worse than\n" +
			"A's beyond chance (5%, corrected) in any family or overall.",
		Example: "  retort compare tickets tickets-v2\n  retort compare --check tickets-1f3a tickets-9c20",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, list []string) error {
			ws, err := a.existing()
			if err != nil {
				return err
			}
			found, err := recipe.Compare(ws, list[0], list[1])
			if err != nil {
				return err
			}
			if err := a.show(found, func() error { return found.Print(a.stdout) }); err != nil {
				return err
			}
			if check && len(found.Worse) > 0 {
				return fmt.Errorf("%w: the student of %s is worse than that of %s: %s", errDamaged, found.B.Name, found.A.Name, strings.Join(found.Worse, ", "))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "exit with 7 if B's student is worse beyond chance")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}
