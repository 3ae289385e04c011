package recipe

import (
	"fmt"
	"path/filepath"
	"strings"

	"retort/report"
	"retort/student/base"
	"retort/student/model"
	"retort/terms"
)

// checkBase reads what the recipe says that the student starts from, without its
// weights, holds the recipe against it, and asks the gate about it.
func (r *run) checkBase() error {
	b, err := base.Open(r.File(r.Student.Base))
	if err == nil {
		err = b.Close()
	}
	if err != nil {
		return r.src.errorf("student.base", "%v", err)
	}
	r.base = b
	if most := b.Config().MaxPositions; r.Student.Context > most {
		return r.src.errorf("student.context", "%d tokens are more than the %d that the base was made for", r.Student.Context, most)
	}
	if r.Eval.Weights == weightsBlocks && !b.InBlocks() {
		return r.src.errorf("eval.weights", "%s does not lie in blocks, as a quantised GGUF file does", r.Student.Base)
	}
	if r.Student.LoRA != nil {
		if _, err := r.newAdapter(); err != nil {
			return r.src.errorf("student.lora", "%v", err)
		}
	}
	row, err := r.baseRow()
	if err != nil {
		return err
	}
	v, err := r.gate.registry.Decide(row, r.use(), terms.Adapt, r.overrides())
	r.gate.note(v.Override)
	return err
}

// baseRow is the terms row of the base's weights.
func (r *run) baseRow() (terms.Row, error) {
	row, err := r.gate.registry.LookupBase(terms.Base{Row: r.Student.Terms, License: r.base.License})
	if err != nil {
		return row, r.src.errorf("student.terms", "%v", err)
	}
	return row, nil
}

// baseRows are the terms rows that a base brings: one, or none without a base.
func (r *run) baseRows() []terms.Row {
	if r.base == nil {
		return nil
	}
	row, err := r.baseRow()
	if err != nil {
		return nil // checkBase has found none wrong
	}
	return []terms.Row{row}
}

// baseHash names the contents of the base's files.
func (r *Recipe) baseHash() (string, error) {
	if r.baseSum != "" {
		return r.baseSum, nil
	}
	sum, err := base.Hash(r.File(r.Student.Base))
	if err != nil {
		return "", r.src.errorf("student.base", "%v", err)
	}
	r.baseSum = sum
	return sum, nil
}

// baseModelHash names the base's configuration and weights.
func (r *run) baseModelHash() (string, error) {
	b, err := base.Open(r.File(r.Student.Base))
	if err != nil {
		return "", err
	}
	defer b.Close()
	return model.HashOf(b)
}

// newAdapter makes the adapter as it is before training.
func (r *run) newAdapter() (*model.Adapter, error) {
	l := r.Student.LoRA
	return model.NewAdapter(r.base.Config(), model.LoRA{Rank: l.Rank, Alpha: l.Alpha, Dropout: l.Dropout, Targets: l.Targets}, r.Seed)
}

// studentName says what is trained, for the report.
func (r *run) studentName() string {
	c := r.student.Config()
	s := &r.Student
	switch {
	case s.Base != "" && s.LoRA != nil:
		on := "every projection"
		if s.LoRA.Targets != nil {
			on = strings.Join(s.LoRA.Targets, ", ")
		}
		return fmt.Sprintf("%s by an adapter of rank %d on %s", r.baseName(), s.LoRA.Rank, on)
	case s.Base != "":
		return r.baseName() + ", all weights"
	case c.DenseLayers < c.Layers:
		return fmt.Sprintf("%s (%d routed experts, %d of them and %d shared active)", s.Preset, c.RoutedExperts, c.TopK, c.SharedExperts)
	}
	return s.Preset + " (dense)"
}

// baseName says which model the student started from.
func (r *run) baseName() string {
	params, _ := r.base.Config().Params()
	return fmt.Sprintf("%s (%s, %s parameters)", baseTitle(r.Student.Base), r.base.Architecture, report.FormatCount(params))
}

// baseTitle is a base's file name.
func baseTitle(path string) string { return strings.TrimSuffix(filepath.Base(path), ".gguf") }
