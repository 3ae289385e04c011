package trial

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"retort/internal/kernel"
	"retort/internal/modelfile"
	"retort/student/model"
)

// Study is a bench that trains students of several seeds: what its command line
// says.
type Study struct {
	Bench  string
	Tokens int64 // to train each student on
	Seeds  int
	Record string // a file to append the figures to, or ""
}

// Flags adds the flags of a trial to the command line.
func (t *Trial) Flags() {
	flag.StringVar(&t.Binary, "binary", "", "the retort binary")
	flag.StringVar(&t.Recipe, "recipe", "", "the recipe whose problems are taught")
	flag.StringVar(&t.Work, "work", "", "an existing directory for workspaces")
	t.Stderr = os.Stderr
}

// Main adds the study's flags, with its fields for defaults, reads the command line
// and runs the bench. If that fails it says why and ends the program with 1.
func (s *Study) Main(run func(stdout, stderr io.Writer) error) {
	flag.StringVar(&s.Record, "record", s.Record, "a file to append the figures to")
	flag.Int64Var(&s.Tokens, "tokens", s.Tokens, "to train each student on")
	flag.IntVar(&s.Seeds, "seeds", s.Seeds, "how many of them, at least 2")
	flag.Parse()
	err := kernel.Err()
	if s.Seeds < 2 {
		err = errors.New("an interval needs at least 2 seeds")
	}
	if err == nil {
		err = run(os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/%s: %v\n", s.Bench, err)
		os.Exit(1)
	}
}

// Report begins a report of the study.
func (s *Study) Report() *Report {
	return &Report{bench: s.Bench, what: fmt.Sprintf("%d seeds, %.1f M tokens each", s.Seeds, float64(s.Tokens)/1e6), record: s.Record}
}

// WriteWeights leaves a model's weights in dir as weights.safetensors, under Hugging
// Face's names.
func WriteWeights(dir string, m *model.Model) error {
	var tensors []modelfile.Tensor
	for _, t := range m.Tensors() {
		tensors = append(tensors, modelfile.Tensor{Name: t.Name, Shape: t.Shape, Type: modelfile.F32, Data: t.Data})
	}
	f, err := os.Create(filepath.Join(dir, "weights.safetensors"))
	if err != nil {
		return err
	}
	err = modelfile.WriteSafetensors(f, map[string]string{"format": "pt"}, tensors)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing weights: %w", err)
	}
	return nil
}
