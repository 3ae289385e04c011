package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"retort/student/base"
	"retort/terms"
)

// askBase asks which model is taught, and under which licence it is where its files
// do not tell.
func (f *initFlags) askBase(ctx context.Context, q *interview) error {
	license := ""
	err := q.ask(ctx, question{
		flag: "base", text: "Which model is taught? A Hugging Face directory or GGUF file (none: a small one, from nothing)", def: none,
		check: func(s string) (err error) {
			if f.base = s; s == none {
				f.base = ""
				return nil
			}
			license, err = tryBase(s)
			return err
		},
	}, f.base)
	if err != nil || f.base == "" {
		return err
	}
	decide := func(row string) error {
		r, err := terms.Default().LookupBase(terms.Base{Row: row, License: license})
		if err == nil {
			_, err = terms.Require(r, terms.Use{Purpose: f.purpose, Distributed: f.distributed}, terms.Adapt)
		}
		return err
	}
	var refused *terms.RefusedError
	if err := decide(f.baseRow); err == nil || !errors.As(err, &refused) || f.baseRow != "" || license != "" {
		return err
	}
	return q.ask(ctx, question{
		flag: "base-terms", text: "Its files name no licence. Which terms row is it under: " + strings.Join(terms.IDs(), ", "),
		check: func(s string) error {
			f.baseRow = s
			return decide(s)
		},
	}, f.baseRow)
}

// tryBase opens a base as a run does, and says which licence its files name.
func tryBase(path string) (license string, err error) {
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	b, err := base.Open(path)
	if err != nil {
		return "", err
	}
	defer b.Close()
	if _, err := b.Format(); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return b.License, nil
}
