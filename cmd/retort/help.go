package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// screenWidth is how wide help is, so that it fits any terminal.
const screenWidth = 80

// helpCommand is `retort help COMMAND`.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Explain a command",
		Example: "  retort help run\n  retort help environment",
		GroupID: groups[len(groups)-1].id,
		RunE: func(c *cobra.Command, list []string) error {
			found, rest, err := c.Root().Find(list)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("there is no help on %q; there is on %s and environment", strings.Join(list, " "), commandNames(c.Root()))}
			}
			return found.Help()
		},
	}
}

// usage writes how a command is called: lines, example, commands, flags, and
// where exit codes and variables are explained.
func usage(c *cobra.Command) error {
	w := c.OutOrStderr()
	fmt.Fprint(w, "Usage:")
	switch {
	case !c.HasParent(): // there is much to list
		fmt.Fprintf(w, " %s COMMAND, such as%s", c.CommandPath(), c.Example)
	case c.HasAvailableSubCommands():
		if strings.Contains(c.Use, " ") { // it does something by itself
			fmt.Fprintf(w, "\n  %s", c.UseLine())
		}
		fmt.Fprintf(w, "\n  %s COMMAND", c.CommandPath())
	default:
		fmt.Fprintf(w, "\n  %s", c.UseLine())
	}
	if c.HasExample() && c.HasParent() {
		fmt.Fprintf(w, "\n\nExamples:\n%s", c.Example)
	}
	usageCommands(w, c)
	if !c.HasParent() { // its own are -h alone
		flags(w, "Flags of every command", c.PersistentFlags())
	} else {
		flags(w, "Flags", c.LocalNonPersistentFlags())
		fmt.Fprintf(w, "\n\nFlags of every command: %s", inheritedFlags(c))
	}
	_, err := fmt.Fprint(w, "\n\nExit codes and environment variables: retort help environment\n")
	return err
}

// usageCommands lists a command's own commands, in their groups.
func usageCommands(w io.Writer, c *cobra.Command) {
	listed := false
	list := func(title, group string) {
		begun := false
		for _, sub := range c.Commands() {
			if sub.GroupID != group || !sub.IsAvailableCommand() {
				continue
			}
			if !begun {
				if !listed || c.HasParent() {
					fmt.Fprintln(w)
				}
				fmt.Fprintf(w, "\n%s", title)
				begun, listed = true, true
			}
			fmt.Fprintf(w, "\n  %-*s %s", c.NamePadding(), sub.Name(), sub.Short)
		}
	}
	for _, g := range c.Groups() {
		list(g.Title, g.ID)
	}
	list("Commands:", "")
}

func flags(w io.Writer, title string, set *pflag.FlagSet) {
	if set.HasAvailableFlags() {
		fmt.Fprintf(w, "\n\n%s:\n%s", title, strings.TrimRight(set.FlagUsagesWrapped(screenWidth), "\n"))
	}
}

// inheritedFlags names the flags that a command takes over from its parents.
func inheritedFlags(c *cobra.Command) string {
	var names []string
	c.InheritedFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return strings.Join(names, ", ")
}
