package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"retort/recipe"
	"retort/recipe/loop"
	"retort/report"
)

func init() { register((*app).runCommand) }

func (a *app) runCommand() *cobra.Command {
	var plan bool
	var threads, sample int
	c := &cobra.Command{
		Use:   "run RECIPE",
		Short: "Run a recipe: collect, curate, train, evaluate, export, report",
		Long: "Run a recipe from the teacher's API to a student that you own. The same\n" +
			"command resumes a run that was interrupted; nothing is paid for twice.\n\n" +
			"--plan says what would be sent and what it can cost, and sends nothing. --sample\n" +
			"pays for some prompts first, shows them as rendered with answers and verdicts,\n" +
			"says what the rest can be expected to cost, and stops; a run reuses the answers.",
		Example: "  retort run --sample 20 recipes/quickstart.yaml\n  retort run recipes/quickstart.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if loop.Is(list[0]) {
				if plan || c.Flags().Changed("sample") {
					return usageError{errors.New("a closed loop asks simulated accounts and the built-in teacher alone: there is no --plan and no --sample of it")}
				}
				return a.runLoop(c.Context(), list[0], threads)
			}
			r, err := recipe.Load(list[0])
			if err != nil {
				return err
			}
			ws, err := a.open()
			if err != nil {
				return err
			}
			switch {
			case sample < 0 || c.Flags().Changed("sample") && sample == 0:
				return usageError{fmt.Errorf("--sample %d: how many prompts are to be asked first? At least 1", sample)}
			case plan && sample > 0:
				return usageError{errors.New("--plan spends nothing and --sample does: give one of them")}
			}
			progress := a.progress()
			opt := recipe.Options{
				Workspace: ws,
				Progress:  progress,
				Threads:   threads,
				Getenv:    a.getenv,
				Log:       slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
				Version:   buildVersion().Version,
			}
			if plan {
				p, err := recipe.MakePlan(c.Context(), r, ws, progress)
				progress.Close()
				if err != nil {
					return err
				}
				return a.show(p, func() error { return p.Print(a.stdout) })
			}
			if sample > 0 {
				s, err := recipe.Sample(c.Context(), r, opt, sample)
				progress.Close()
				if err != nil {
					return err
				}
				return a.show(s, func() error { return s.Print(a.stdout) })
			}
			result, err := recipe.Run(c.Context(), r, opt)
			progress.Close()
			if err != nil {
				return err
			}
			return a.show(result.Summary(), func() error {
				return report.Terminal(a.stdout, &result.Report, report.TerminalOptions{Color: a.color(a.stdout)})
			})
		},
	}
	c.Flags().BoolVar(&plan, "plan", false, "print what would be sent, its cost and its time, and spend nothing")
	c.Flags().IntVar(&sample, "sample", 0, "ask so many prompts first, show what comes of them, and stop")
	c.Flags().BoolVar(&a.json, "json", false, "end with one JSON object on stdout")
	c.Flags().IntVar(&threads, "threads", 0, "threads for training and decoding (default: all cores); results do not depend on it")
	return c
}

// show prints data as JSON where asked for, and for people otherwise.
func (a *app) show(data any, people func() error) error {
	if a.json {
		return json.NewEncoder(a.stdout).Encode(data)
	}
	return people()
}
