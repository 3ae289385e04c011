package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"retort/ledger/segment"
	"retort/prove/expose"
	"retort/prove/identity"
)

func init() { register((*app).identityCommand) }

func (a *app) identityCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "identity",
		Short: "What a model says that it is, and what that is worth",
		Long: "What a model says that it is, and what that is worth: a likelihood ratio against\n" +
			"models that are known, never more than 10, and 1 where fewer than 30 innocent\n" +
			"lineages are known. It is weak evidence: public data is full of other models'\n" +
			"answers. It stands beside the exposure test and is never multiplied with it.",
		Example: "  retort identity ask --url http://127.0.0.1:8000/v1 --model m > said.json",
	}
	c.AddCommand(a.identityAskCommand(), a.identityWeighCommand())
	return c
}

func (a *app) identityAskCommand() *cobra.Command {
	var s expose.Source
	var times int
	var usd float64
	c := &cobra.Command{
		Use:   "ask",
		Short: "Put the questions to a model behind an API",
		Long: "Put the questions to a model behind an API and print what it claims as JSON.\n" +
			"Every answer is kept in the ledger.",
		Example: "  retort identity ask --url http://127.0.0.1:8000/v1 --model m > said.json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if s.BaseURL == "" || s.Model == "" {
				return usageError{errors.New("--url and --model: whom to ask?")}
			}
			return a.identityAsk(c.Context(), s, times, usd)
		},
	}
	c.Flags().StringVar(&s.BaseURL, "url", "", "base `URL` of the API, up to /v1")
	c.Flags().StringVar(&s.Model, "model", "", "the model's name there")
	c.Flags().StringVar(&s.KeyEnv, "api-key-env", "", "the variable that holds the API's key")
	c.Flags().IntVar(&times, "times", 3, "how often each question is put")
	c.Flags().Float64Var(&s.Input, "input-usd", 0, "its price, in USD per million tokens of input")
	c.Flags().Float64Var(&s.Output, "output-usd", 0, "and of output")
	c.Flags().Float64Var(&usd, "budget", 0, "most that it may cost, in US dollars")
	return c
}

func (a *app) identityAsk(ctx context.Context, s expose.Source, times int, usd float64) error {
	ws, err := a.open()
	if err != nil {
		return err
	}
	return recording(ws, func(store *segment.Store) error {
		asker, request, done, err := a.asker(s, usd, store)
		if err != nil {
			return err
		}
		defer done()
		request.Stage = "identity"
		said, err := identity.Interrogate(ctx, asker, request, times)
		if err != nil {
			return err
		}
		return json.NewEncoder(a.stdout).Encode(said)
	})
}

func (a *app) identityWeighCommand() *cobra.Command {
	var makers []string
	c := &cobra.Command{
		Use:   "weigh SAID POPULATION",
		Short: "Weigh what a model said against models that are known",
		Long: "Weigh what a model said (retort identity ask) against models of which it is\n" +
			"known what they learned from. docs/formats/identity.md describes the file.",
		Example: "  retort identity weigh said.json population.json --json > weighed.json",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, list []string) error {
			raw, err := os.ReadFile(list[0])
			if err != nil {
				return err
			}
			var said identity.Interview
			if err := json.Unmarshal(raw, &said); err != nil || said.Asked == 0 {
				return fmt.Errorf("%s is not what `retort identity ask` prints", list[0])
			}
			if raw, err = os.ReadFile(list[1]); err != nil {
				return err
			}
			known, err := identity.ParsePopulation(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", list[1], err)
			}
			found := identity.All(&said, known, makers...)
			return a.show(found, func() error {
				for _, r := range found {
					if _, err := fmt.Fprintf(a.stdout, "%s: likelihood ratio %.3g; %d of %d answers claim it; %s\n", r.Maker, r.LikelihoodRatio, r.Claims, r.Asked, r.Why); err != nil {
						return err
					}
				}
				if len(found) == 0 {
					fmt.Fprintln(a.stdout, "it claims to be of no maker")
				}
				return nil
			})
		},
	}
	c.Flags().StringSliceVar(&makers, "maker", nil, "whose model it might be (default: all that it names)")
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}
