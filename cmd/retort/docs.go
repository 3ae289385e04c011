package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"retort/workspace"
)

//go:generate go run . docs markdown ../../docs/cli

// docsName is the hidden command that writes the pages about all others.
const docsName = "docs"

// docsCommand makes docs/cli and the man pages of a release out of the commands
// themselves. It is hidden: users read what it writes.
func (a *app) docsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     docsName,
		Short:   "Write pages about every command",
		Example: "  retort docs man /usr/local/share/man/man1",
		Hidden:  true,
	}
	c.AddCommand(&cobra.Command{
		Use:     "markdown DIR",
		Short:   "Write a Markdown page for each command",
		Example: "  retort docs markdown docs/cli",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			return writePages(list[0], ".md", markdownPages(c.Root()))
		},
	}, &cobra.Command{
		Use:     "man DIR",
		Short:   "Write a man page for each command",
		Example: "  retort docs man /usr/local/share/man/man1",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			pages, err := manPages(c.Root())
			if err != nil {
				return err
			}
			return writePages(list[0], ".1", pages)
		},
	})
	return c
}

// page is one command's page.
type page struct {
	name string // of the command, such as "retort-ledger-show"
	text []byte
}

// writePages writes pages into dir and removes those with the same ending that
// no command has any more.
func writePages(dir, ending string, pages []page) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	current := map[string]bool{}
	for _, p := range pages {
		current[p.name+ending] = true
		if err := workspace.WriteFileAtomic(filepath.Join(dir, p.name+ending), p.text, 0o644); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, "retort*"+ending))
	if err != nil {
		return err
	}
	for _, path := range old {
		if !current[filepath.Base(path)] {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// documented calls fn for each command that users see, parents first.
func documented(c *cobra.Command, fn func(*cobra.Command) error) error {
	c.DisableAutoGenTag = true
	if err := fn(c); err != nil {
		return err
	}
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() && child.Name() != "help" {
			if err := documented(child, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func pageName(path string) string { return strings.ReplaceAll(path, " ", "-") }

// markdownPages makes the pages of docs/cli, and one on environment and exit
// codes.
func markdownPages(root *cobra.Command) []page {
	var pages []page
	link := func(file string) string { return strings.ReplaceAll(file, "_", "-") }
	// Nothing below fails: pages are made in memory.
	_ = documented(root, func(c *cobra.Command) error {
		var b bytes.Buffer
		if err := doc.GenMarkdownCustom(c, &b, link); err != nil {
			return err
		}
		text := strings.TrimRight(b.String(), "\n") + "\n\nExit codes and environment variables: [retort environment](retort-environment.md)\n"
		pages = append(pages, page{pageName(c.CommandPath()), []byte(strings.TrimPrefix(text, "#"))})
		return nil
	})
	text := "# retort environment\n\n```\n" + environmentText() + "\n```\n"
	return append(pages, page{"retort-environment", []byte(text)})
}

// manPages makes a man page for each command. They bear the date that
// SOURCE_DATE_EPOCH gives, so that the same release gives the same bytes.
func manPages(root *cobra.Command) ([]page, error) {
	var pages []page
	header := doc.GenManHeader{Section: "1", Source: "Retort " + buildVersion().Version, Manual: "Retort"}
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		undated := time.Unix(0, 0).UTC()
		header.Date = &undated
	}
	err := documented(root, func(c *cobra.Command) error {
		var b bytes.Buffer
		h := header
		if err := doc.GenMan(c, &h, &b); err != nil {
			return fmt.Errorf("man page of %s: %w", c.CommandPath(), err)
		}
		b.WriteString(manEnd())
		pages = append(pages, page{pageName(c.CommandPath()), b.Bytes()})
		return nil
	})
	return pages, err
}

// manEnd is the sections that every man page has at its end, in roff.
func manEnd() string {
	var b strings.Builder
	b.WriteString("\n.SH EXIT STATUS\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, ".TP\n\\fB%d\\fP\n%s\n", c.code, roff(c.meaning))
	}
	b.WriteString(".SH ENVIRONMENT\n")
	for _, v := range variables {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fP\n%s\n", v.name, roff(v.meaning))
	}
	return b.String()
}

// roff protects what roff would read as a request or as an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}
