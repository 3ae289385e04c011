package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"retort/student/export"
	"retort/teach/collect"
	"retort/teach/dataset"
	"retort/teach/reference"
	"retort/terms"
	"retort/workspace"
)

func init() { register((*app).completionCommand) }

// shells are those that completions can be made for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the script that completes commands in your shell",
		Long: "Print the script that completes commands, flags, and the names of runs,\n" +
			"datasets, models and terms rows in bash, zsh, fish or powershell.",
		Example: "  source <(retort completion bash)                   # in this shell\n" +
			"  retort completion zsh > \"${fpath[1]}/_retort\"      # from the next on\n" +
			"  retort completion fish > ~/.config/fish/completions/retort.fish\n" +
			"  retort completion powershell | Out-String | Invoke-Expression",
		Args:      args(cobra.ExactArgs(1)),
		ValidArgs: shells,
		RunE: func(c *cobra.Command, list []string) error {
			root := c.Root()
			switch list[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return usageError{fmt.Errorf("there are no completions for %q; there are for %s", list[0], strings.Join(shells, ", "))}
		},
	}
}

// completion returns what completes the arguments of a command, or nil where
// the shell's own completion of files is right.
func (a *app) completion(path string) cobra.CompletionFunc {
	switch path {
	case "retort gateway", "retort gateway check":
		return recipes
	case "retort run", "retort doctor", "retort recipe show", "retort recipe check", "retort recipe preview":
		return recipes
	case "retort runs show", "retort report":
		return upTo(1, a.runs)
	case "retort compare":
		return upTo(2, a.runs)
	case "retort dataset show", "retort dataset stats", "retort dataset export", "retort dataset review":
		return upTo(1, a.datasets)
	case "retort serve", "retort chat":
		return upTo(1, func() []cobra.Completion { return append(a.runs(), a.models()...) })
	case "retort terms show":
		return upTo(1, termsRows)
	case "retort terms explain":
		return upTo(1, func() []cobra.Completion { return append(a.datasets(), a.models()...) })
	}
	return nil
}

// completeFlags completes the values of flags that name something.
func (a *app) completeFlags(c *cobra.Command) {
	for flag, names := range map[string]func() []cobra.Completion{
		"run": a.runs, "terms": termsRows, "teacher": teachers,
		"consent": words("recorded", "none", "unknown"), "turns": words("last", "all"),
	} {
		if f := c.Flags().Lookup(flag); f != nil && f.Value.Type() == "string" {
			// It fails only where the flag is not there, or completed already.
			_ = c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return names(), cobra.ShellCompDirectiveNoFileComp
			})
		}
	}
}

func words(list ...string) func() []cobra.Completion {
	return func() []cobra.Completion { return list }
}

func teachers() []cobra.Completion {
	out := []cobra.Completion{cobra.CompletionWithDesc(reference.Provider, "the built-in teacher")}
	for _, p := range collect.Providers() {
		out = append(out, cobra.CompletionWithDesc(p.Name, p.Title))
	}
	return append(out, otherTeacher)
}

// upTo completes the first n arguments with names that were not given yet.
func upTo(n int, names func() []cobra.Completion) cobra.CompletionFunc {
	return func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list := slices.DeleteFunc(names(), func(c cobra.Completion) bool {
			name, _, _ := strings.Cut(c, "\t")
			return slices.Contains(given, name)
		})
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// recipes leaves YAML files to the shell.
func recipes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

func termsRows() []cobra.Completion {
	var out []cobra.Completion
	for _, row := range terms.Default().Rows() {
		out = append(out, cobra.CompletionWithDesc(row.ID, row.Document))
	}
	return out
}

// runs names the workspace's runs. What cannot be read is not completed.
func (a *app) runs() []cobra.Completion { return a.inside("runs", func(string) string { return "" }) }

func (a *app) datasets() []cobra.Completion {
	return a.inside("datasets", func(dir string) string {
		p, err := dataset.ReadPassport(dir)
		if err != nil {
			return ""
		}
		return "dataset of " + p.Recipe.Name
	})
}

// models are completed as paths, which is how commands take them.
func (a *app) models() []cobra.Completion {
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil
	}
	var out []cobra.Completion
	for _, name := range subdirectories(filepath.Join(dir, "models")) {
		path, what := filepath.Join(dir, "models", name), "model"
		if p, err := export.ReadPassport(path); err == nil {
			what = "model of " + p.Lineage.Recipe.Name
		}
		if here, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) {
				path = rel
			}
		}
		out = append(out, cobra.CompletionWithDesc(path, what))
	}
	return out
}

// inside names the directories in one of the workspace's own.
func (a *app) inside(kind string, describe func(dir string) string) []cobra.Completion {
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil
	}
	var out []cobra.Completion
	for _, name := range subdirectories(filepath.Join(dir, kind)) {
		out = append(out, cobra.CompletionWithDesc(name, describe(filepath.Join(dir, kind, name))))
	}
	return out
}

// subdirectories names the directories in dir, none if it cannot be read.
func subdirectories(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out
}
