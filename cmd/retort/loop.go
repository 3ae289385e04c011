package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"retort/recipe/loop"
)

// runLoop runs a closed loop.
func (a *app) runLoop(ctx context.Context, file string, threads int) error {
	l, err := loop.Load(file)
	if err != nil {
		return err
	}
	ws, err := a.open()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) {
		if !a.quiet {
			fmt.Fprintf(a.stderr, format+"\n", args...)
		}
	}
	res, err := loop.Run(ctx, l, loop.Options{Workspace: ws, Command: a.call, Say: say, Getenv: a.getenv, Threads: threads, Version: buildVersion().Version})
	if err != nil {
		return err
	}
	return a.show(res, func() error { return res.Print(a.stdout) })
}

// call runs another of the program's commands in this process.
func (a *app) call(ctx context.Context, c loop.Command) (stdout string, err error) {
	var out strings.Builder
	b := &app{stdin: strings.NewReader(""), stdout: &out, stderr: io.Discard, getenv: func(name string) string {
		if v, ok := c.Env[name]; ok {
			return v
		}
		return a.getenv(name)
	}}
	if !a.quiet {
		b.stderr = a.stderr
	}
	root := b.root()
	root.SetArgs(append([]string{"--workspace", c.Workspace}, c.Words...))
	root.SetIn(b.stdin)
	root.SetOut(b.stdout)
	root.SetErr(b.stderr)
	err = root.ExecuteContext(ctx)
	return out.String(), err
}
