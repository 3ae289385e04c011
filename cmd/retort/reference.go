package main

import (
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"retort/teach/reference"
)

func init() { register((*app).referenceCommand) }

func (a *app) referenceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "reference",
		Short:   "The built-in reference teacher",
		Example: "  retort reference serve",
	}
	var listen, config, bill, keyEnv string
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Serve the reference teacher over the OpenAI wire",
		Long: "Serve the reference teacher over the OpenAI wire. It solves five kinds of\n" +
			"problem with written-out reasoning, is imperfect on purpose, and can be told\n" +
			"to misbehave: its configuration is what a recipe has under `reference`.",
		Example: "  retort reference serve --listen 127.0.0.1:8081 --bill bill.jsonl",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var cfg reference.Config
			if config != "" {
				raw, err := os.ReadFile(config)
				if err != nil {
					return err
				}
				if err := yaml.UnmarshalWithOptions(raw, &cfg, yaml.Strict()); err != nil {
					return usageError{fmt.Errorf("%s: %w", config, err)}
				}
			}
			if keyEnv != "" {
				key := a.getenv(keyEnv)
				if key == "" {
					return usageError{fmt.Errorf("the environment variable %s is not set; it should hold the key that clients must send", keyEnv)}
				}
				cfg.Keys = append(cfg.Keys, key)
			}
			cfg.BillPath = bill
			t, err := reference.New(cfg)
			if err != nil {
				return err
			}
			server, err := t.Start(c.Context(), listen)
			if err != nil {
				return err
			}
			if !a.quiet {
				fmt.Fprintf(a.stderr, "serving model %q on %s/v1 until Ctrl-C\n", cfg.ModelName(), server.URL)
			}
			<-server.Done()
			return server.Close()
		},
	}
	serve.Flags().StringVar(&listen, "listen", "127.0.0.1:8081", "address to listen on")
	serve.Flags().StringVar(&config, "config", "", "YAML file with the teacher's configuration")
	serve.Flags().StringVar(&bill, "bill", "", "file to append the bill to, a JSON object a line")
	serve.Flags().StringVar(&keyEnv, "api-key-env", "", "environment variable that holds the key that clients must send")
	c.AddCommand(serve)
	return c
}
