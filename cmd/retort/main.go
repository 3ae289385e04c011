// Command retort distils a large language model into a small open one that you
// own, through nothing but its API.
//
// This package is flags and wiring only: one file per command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"retort/internal/kernel"
	"retort/ledger/segment"
	"retort/meter"
	"retort/prove/evidence"
	"retort/recipe"
	"retort/report"
	"retort/student/export"
	"retort/teach/dataset"
	"retort/terms"
	"retort/workspace"
)

// app is what every command shares.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	workspace string
	quiet     bool
	json      bool

	began bool // the command's own code: what fails before it is wrong usage
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// shownError is an error that the command has printed already.
type shownError struct{ err error }

func (e shownError) Error() string { return e.err.Error() }
func (e shownError) Unwrap() error { return e.err }

// errDamaged says that a check of stored data failed; the command has printed
// what it found.
var errDamaged = errors.New("verification failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	os.Exit(Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// Main runs one command line and returns its exit code. It is main without the
// process, so that end-to-end tests run what users run.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ran, err := root.ExecuteContextC(ctx)
	if err != nil && !a.began {
		err = usageError{err}
	}
	code := exitCode(ctx, err)
	var usage usageError
	var shown shownError
	switch {
	case err == nil, errors.As(err, &shown):
	case code == exitInterrupted && ran.Name() == "run":
		fmt.Fprintln(stderr, "retort: interrupted; the same command goes on from here")
	case code == exitInterrupted:
		fmt.Fprintln(stderr, "\nretort: interrupted")
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "retort: %v\nSee `%s --help`.\n", err, ran.CommandPath())
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(stderr, "retort: %v\nIs the name right? See `%s --help`.\n", err, ran.CommandPath())
	default:
		fmt.Fprintf(stderr, "retort: %v\n", err)
	}
	return code
}

// exitCode sorts an error into the documented exit codes.
func exitCode(ctx context.Context, err error) int {
	var usage usageError
	var over *meter.OverBudgetError
	var refused *terms.RefusedError
	var unmet *terms.ObligationError
	var incomplete *recipe.IncompleteError
	var inUse *workspace.InUseError
	var mismatch *dataset.MismatchError
	var changed *export.MismatchError
	var mistake *recipe.Error
	var unknown *recipe.UnknownRunError
	var unagreed *recipe.ConsentError
	var unproven *evidence.Failure
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.As(err, &mistake), errors.As(err, &unknown):
		return exitUsage
	case errors.As(err, &over):
		return exitBudget
	case errors.As(err, &refused), errors.As(err, &unmet), errors.As(err, &unagreed):
		return exitTerms
	case errors.As(err, &incomplete):
		return exitIncomplete
	case errors.As(err, &inUse):
		return exitInUse
	case errors.Is(err, errDamaged), errors.As(err, &mismatch), errors.As(err, &changed), errors.As(err, &unproven):
		return exitDamaged
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "retort",
		Short:         "Distil a large language model into a small open one that you own",
		Long:          "Distil a large language model into a small open one, through its API alone.",
		Example:       "  retort init",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&a.workspace, "workspace", "", "`DIR` of your work (RETORT_WORKSPACE, nearest .retort)")
	root.PersistentFlags().BoolVar(&a.quiet, "quiet", false, "no progress, errors only")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if err := kernel.Err(); err != nil {
			return usageError{err}
		}
		return nil
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetUsageFunc(usage)
	a.addCommands(root)
	root.AddCommand(a.docsCommand(), environmentTopic())
	root.SetHelpCommand(helpCommand())
	a.finish(root)
	return root
}

// finish makes what is true of every command so: groups of commands refuse
// words that they do not know, and a command notes that its own code began.
func (a *app) finish(c *cobra.Command) {
	for _, child := range c.Commands() {
		a.finish(child)
	}
	switch {
	case c.HasSubCommands() && c.RunE == nil:
		c.Args, c.RunE = nameOne, help
	case c.RunE != nil:
		run := c.RunE
		c.RunE = func(c *cobra.Command, list []string) error {
			a.began = true
			return run(c, list)
		}
	}
	if complete := a.completion(c.CommandPath()); complete != nil {
		c.ValidArgsFunction = complete
	}
	a.completeFlags(c)
}

// help is what a group of commands does by itself: the program's own help, and
// wrong usage for any other.
func help(c *cobra.Command, _ []string) error {
	if !c.HasParent() {
		return c.Help()
	}
	return usageError{fmt.Errorf("which command of %s? There are %s", c.Name(), commandNames(c))}
}

// nameOne refuses a word that is no command of c.
func nameOne(c *cobra.Command, list []string) error {
	if len(list) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2 // as cobra does itself
	if near := c.SuggestionsFor(list[0]); len(near) > 0 {
		for i := range near {
			near[i] = "`" + c.CommandPath() + " " + near[i] + "`"
		}
		return usageError{fmt.Errorf("there is no command %q; did you mean %s?", list[0], strings.Join(near, " or "))}
	}
	return usageError{fmt.Errorf("there is no command %q; there are %s", list[0], commandNames(c))}
}

func commandNames(c *cobra.Command) string {
	var names []string
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	return strings.Join(names, ", ")
}

// groups are the groups of `retort --help`, and their commands in the order of
// a user's work.
var groups = []struct {
	id, title string
	commands  []string
}{
	{"distil", "Distil:", []string{"init", "run", "import", "dataset", "compare", "serve", "chat"}},
	{"watch", "Watch:", []string{"gateway", "keys", "accounts", "detect", "simulate"}},
	{"prove", "Prove:", []string{"expose", "identity", "evidence"}},
	{"workspace", "Workspace:", []string{"runs", "report", "recipe", "ledger", "terms", "reference", "doctor", "completion", "version"}},
}

// makers make the commands; see register.
var makers []func(*app) *cobra.Command

// register adds a command. The file of each command calls it at init:
//
//	func init() { register((*app).runCommand) }
//
// Its place in the help is where groups names it.
func register(make func(*app) *cobra.Command) { makers = append(makers, make) }

func init() { cobra.EnableCommandSorting = false } // groups has the order

// addCommands puts every registered command into its place.
func (a *app) addCommands(root *cobra.Command) {
	made := map[string]*cobra.Command{}
	for _, make := range makers {
		c := make(a)
		made[c.Name()] = c
	}
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, name := range g.commands {
			if c := made[name]; c != nil {
				c.GroupID = g.id
				root.AddCommand(c)
			}
		}
	}
}

// args wraps cobra's argument checks so that they exit with the usage code.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, list []string) error {
		if err := check(c, list); err != nil {
			return usageError{fmt.Errorf("%w\nUsage: %s", err, c.UseLine())}
		}
		return nil
	}
}

// open finds and opens the workspace.
func (a *app) open() (*workspace.Workspace, error) {
	dir, err := workspace.Find(a.workspace)
	if err != nil {
		return nil, err
	}
	return workspace.Open(dir)
}

// recording opens a workspace's ledger to be written to, and closes it after do.
func recording(ws *workspace.Workspace, do func(*segment.Store) error) (err error) {
	store, err := segment.Open(ws.Path("ledger"), segment.Option{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return do(store)
}

// progress returns the view that fits where stderr goes.
func (a *app) progress() *report.Progress {
	mode := report.ProgressPlain
	if a.quiet {
		mode = report.ProgressQuiet
	} else if a.isTerminal(a.stderr) && a.getenv("TERM") != "dumb" {
		mode = report.ProgressBars
	}
	return report.NewProgress(a.stderr, mode)
}

// color reports whether what goes to w may be coloured.
func (a *app) color(w io.Writer) bool {
	return a.isTerminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// isTerminal reports whether an input or output is a terminal.
func (a *app) isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
