// Command merged is our side of bench/merged: it teaches bases that others made by an
// adapter of random numbers, merges it into the weights and exports them. See README.md.
//
//	merged OUT BASE TYPE...
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"retort/internal/kernel"
	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/export"
	"retort/student/model"
)

func main() {
	err := kernel.Err()
	if len(os.Args) < 3 {
		err = errors.New("usage: merged OUT BASE TYPE [TYPE …]")
	}
	if err == nil {
		err = teach(os.Args[1], os.Args[2], os.Args[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/merged:", err)
		os.Exit(1)
	}
}

// teach exports to out/NAME what a base and an adapter make, and to out/NAME-TYPE the
// same with a GGUF of another type than F32.
func teach(out, path string, types []string) error {
	b, err := base.Read(path)
	if err != nil {
		return err
	}
	format, err := b.Format()
	if err != nil {
		return err
	}
	a, err := model.NewAdapter(b.Model.Config(), model.LoRA{Rank: 8, Alpha: 16}, 1)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, t := range a.Tensors() {
		for i := range t.Data {
			t.Data[i] += 0.01 * float32(rng.NormFloat64())
		}
	}
	name := strings.TrimSuffix(filepath.Base(path), ".gguf")
	opt := export.Options{Formats: []export.Format{export.GGUF}, Adapter: a, Lineage: export.Lineage{
		Name: name, Base: &export.BaseRef{Name: name, Architecture: b.Architecture, Hash: b.Model.Hash(), License: b.License},
	}}
	if err := a.Merge(b.Model); err != nil {
		return err
	}
	dir := filepath.Join(out, name)
	if _, err := export.Write(context.Background(), dir, b.Model, format, opt); err != nil {
		return err
	}
	opt.Adapter = nil
	for _, typ := range types {
		opt.GGUFType = modelfile.Type(typ)
		if _, err := export.Write(context.Background(), dir+"-"+typ, b.Model, format, opt); err != nil {
			return err
		}
	}
	return nil
}
