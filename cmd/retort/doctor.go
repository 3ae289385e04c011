package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"retort/internal/machine"
	"retort/recipe"
	"retort/report"
	"retort/teach/collect"
	"retort/terms"
	"retort/workspace"
)

func init() { register((*app).doctorCommand) }

// diagnosis is what doctor finds, as --json prints it.
type diagnosis struct {
	Version   version              `json:"version"`
	Processor machine.Processor    `json:"processor"`
	Speed     speed                `json:"gflops"`
	Memory    machine.Space        `json:"memory"`
	Workspace workspaceState       `json:"workspace"`
	Disk      machine.Space        `json:"disk"`
	Writes    machine.Latency      `json:"synced_writes"`
	Keys      []keyState           `json:"keys"`
	Teacher   *recipe.TeacherCheck `json:"teacher,omitempty"`
	Problems  []problem            `json:"problems"`
}

// speed is of float32 matrix products.
type speed struct {
	One float64 `json:"one_thread"`
	All float64 `json:"all_threads"`
}

type workspaceState struct {
	Dir      string                 `json:"dir"`
	Exists   bool                   `json:"exists"`
	Runs     int                    `json:"runs"`
	Datasets int                    `json:"datasets"`
	Models   int                    `json:"models"`
	HeldBy   []workspace.InUseError `json:"held_by"`
}

// keyState says whether a provider's usual variable holds a key.
type keyState struct {
	Provider string `json:"provider"`
	Env      string `json:"env"`
	Set      bool   `json:"set"`
}

// problem is something to put right.
type problem struct {
	What string `json:"what"`
	Next string `json:"next"` // what to do about it
}

func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor [RECIPE]",
		Short: "Check this machine, the workspace, and a recipe's teacher",
		Long: "Check this machine and the workspace: kernels and their speed, memory, disk,\n" +
			"how long a synced write takes, who is using the workspace. With a recipe, check\n" +
			"its teacher too: terms, price, and whether the key works. No answer is paid for.",
		Example: "  retort doctor\n  retort doctor recipes/quickstart.yaml",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			var r *recipe.Recipe
			if len(list) == 1 {
				var err error
				if r, err = recipe.Load(list[0]); err != nil {
					return err
				}
			}
			out := a.stdout
			if a.json {
				out = io.Discard
			}
			d, err := a.examine(c.Context(), out, r)
			if err != nil {
				return err
			}
			if err := a.show(d, func() error { return printProblems(a.stdout, d.Problems) }); err != nil {
				return err
			}
			if d.Teacher != nil && d.Teacher.Err != nil {
				return shownError{d.Teacher.Err}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}

// examine looks at one thing after another and prints each as it is known.
func (a *app) examine(ctx context.Context, w io.Writer, r *recipe.Recipe) (*diagnosis, error) {
	d := &diagnosis{Version: buildVersion(), Processor: machine.CPU(), Keys: []keyState{}, Problems: []problem{}}
	line(w, "program", "retort %s, %s, %s", d.Version.Version, d.Version.Go, d.Version.Platform)
	d.processor(ctx, w)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m, err := machine.Memory(ctx); err != nil {
		line(w, "memory", "unknown: %v", err)
	} else {
		d.Memory = m
		line(w, "memory", "%s, %s free", gib(m.Total), gib(m.Free))
	}
	if err := d.place(ctx, w, a.workspace); err != nil {
		return nil, err
	}
	a.keys(w, d)
	if r != nil {
		a.teacher(ctx, w, d, r)
	}
	return d, ctx.Err()
}

func line(w io.Writer, name, format string, values ...any) {
	fmt.Fprintf(w, "%-10s %s\n", name, fmt.Sprintf(format, values...))
}

func gib(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

func (d *diagnosis) trouble(what, next string) {
	d.Problems = append(d.Problems, problem{what, next})
}

func (d *diagnosis) processor(ctx context.Context, w io.Writer) {
	line(w, "processor", "%s, %d cores, kernels %s", d.Processor.Name, d.Processor.Cores, d.Processor.Kernels)
	if d.Processor.Caveat != "" {
		line(w, "kernels", "%s", d.Processor.Caveat)
	}
	d.Speed.One = machine.Speed(ctx, 1, 100*time.Millisecond)
	d.Speed.All = machine.Speed(ctx, 0, 100*time.Millisecond)
	line(w, "speed", "%.0f GFLOP/s on all cores, %.0f on one (float32 matrix products)", d.Speed.All, d.Speed.One)
	if d.Processor.Kernels == "portable" {
		d.trouble("the kernels are portable Go, many times slower than AVX2 or AVX-512",
			"train on an amd64 machine with AVX2, and leave RETORT_KERNEL unset there")
	}
}

// slowWrite is a median from which collecting waits for the disk.
const slowWrite = 30 * time.Millisecond

// place looks at the workspace and the disk that it is on, and makes neither.
func (d *diagnosis) place(ctx context.Context, w io.Writer, flag string) error {
	dir, err := workspace.Find(flag)
	if err != nil {
		return err
	}
	s := &d.Workspace
	s.Dir, s.HeldBy = dir, []workspace.InUseError{}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		s.Exists = true
		s.Runs, s.Datasets, s.Models = len(subdirectories(filepath.Join(dir, "runs"))), len(subdirectories(filepath.Join(dir, "datasets"))), len(subdirectories(filepath.Join(dir, "models")))
		who, err := (&workspace.Workspace{Dir: dir}).Holders()
		if err != nil {
			d.trouble(err.Error(), "see that the workspace's files are yours")
		}
		s.HeldBy = append(s.HeldBy, who...)
		line(w, "workspace", "%s: %d runs, %d datasets, %d models; %s", dir, s.Runs, s.Datasets, s.Models, holders(s.HeldBy))
	} else {
		line(w, "workspace", "%s, which the first run will make", dir)
	}
	near := nearest(dir)
	if d.Disk, err = machine.Disk(ctx, near); err != nil {
		line(w, "disk", "unknown: %v", err)
	} else {
		line(w, "disk", "%s free of %s", gib(d.Disk.Free), gib(d.Disk.Total))
		if d.Disk.Free < 1<<30 {
			d.trouble("less than 1 GiB is free for the workspace", "make room, or put it elsewhere with --workspace or "+workspace.Variable)
		}
	}
	if d.Writes, err = machine.SyncedWrites(ctx, near, 64, 500*time.Millisecond); err != nil {
		d.trouble(err.Error(), "name a directory that you can write to with --workspace or "+workspace.Variable)
		return nil
	}
	line(w, "writes", "a synced write takes %s, the slowest of %d %s", brief(d.Writes.Median), d.Writes.Writes, brief(d.Writes.Worst))
	if d.Writes.Median > slowWrite {
		d.trouble("synced writes are slow here, and every answer waits for one", "put the workspace on a local disk with --workspace or "+workspace.Variable)
	}
	return nil
}

func brief(t time.Duration) string { return fmt.Sprintf("%.1f ms", t.Seconds()*1e3) }

// nearest is dir, or the closest directory above it that there is.
func nearest(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

func holders(who []workspace.InUseError) string {
	if len(who) == 0 {
		return "nobody is using it"
	}
	var list []string
	for _, h := range who {
		list = append(list, strings.TrimSuffix(h.Error(), ": wait for it, or stop it"))
	}
	return strings.Join(list, "; ")
}

// keys says for which providers a key lies ready. No key is shown.
func (a *app) keys(w io.Writer, d *diagnosis) {
	var set []string
	for _, p := range collect.Providers() {
		if p.KeyEnv == "" {
			continue
		}
		k := keyState{Provider: p.Name, Env: p.KeyEnv, Set: a.getenv(p.KeyEnv) != ""}
		d.Keys = append(d.Keys, k)
		if k.Set {
			set = append(set, k.Env)
		}
	}
	switch {
	case len(set) == 0:
		line(w, "keys", "none of the usual variables holds one; the built-in teacher needs none")
	default:
		line(w, "keys", "%s set; `retort doctor RECIPE` tries the one that a recipe names", strings.Join(set, ", "))
	}
}

// teacher checks the recipe's teacher.
func (a *app) teacher(ctx context.Context, w io.Writer, d *diagnosis, r *recipe.Recipe) {
	if r.Teacher.BaseURL != "" && !a.quiet {
		fmt.Fprintf(a.stderr, "asking %s which models it has …\n", r.Teacher.BaseURL)
	}
	c := r.CheckTeacher(ctx, a.getenv)
	d.Teacher = &c
	line(w, "teacher", "%s, model %s", c.Teacher, c.Model)
	if c.Terms != "" {
		basis := ""
		if c.Basis != "" {
			basis = ", on the basis of: " + c.Basis
		}
		line(w, "terms", "%s: %s%s (%s%s; not legal advice)", c.Terms, c.Decision, basis, c.Document, readOn(c.Read))
	}
	if c.Price != "" {
		line(w, "price", "$%g in and $%g out per million tokens (%s); budget %s", c.Input, c.Output, c.Price, report.FormatUSD(c.Budget))
	}
	switch {
	case c.KeyEnv == "":
		line(w, "key", "the recipe names none")
	case !c.KeySet:
		line(w, "key", "%s is not set", c.KeyEnv)
	case c.Works:
		line(w, "key", "%s works", c.KeyEnv)
	default:
		line(w, "key", "%s is set", c.KeyEnv)
	}
	if c.Err != nil && ctx.Err() == nil {
		d.trouble(c.Err.Error(), remedy(c.Err))
	}
}

// readOn says when a document was read, if anybody has.
func readOn(day string) string {
	if day == "" {
		return ""
	}
	return ", read " + day
}

// remedy says what to do about a teacher that cannot be asked. The error itself
// says what is wrong, and where.
func remedy(err error) string {
	var refused *terms.RefusedError
	var unreachable *collect.UnreachableError
	var mistake *recipe.Error
	switch {
	case errors.As(err, &refused):
		return "choose another teacher, or add an agreement of your own to the recipe"
	case errors.As(err, &unreachable):
		return "start the server, or correct base_url"
	case errors.As(err, &mistake):
		return "correct the recipe or the environment, and run doctor again"
	}
	return "correct base_url, model or key, and run doctor again"
}

func printProblems(w io.Writer, list []problem) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "all well")
		return err
	}
	for _, p := range list {
		if _, err := fmt.Fprintf(w, "problem    %s\n           next: %s\n", p.What, p.Next); err != nil {
			return err
		}
	}
	return nil
}
