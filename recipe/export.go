package recipe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"retort/internal/modelfile"
	"retort/report"
	"retort/student/export"
	"retort/teach/dataset"
	"retort/terms"
)

// The formats that a recipe can name, and the types of a GGUF's matrices.
const (
	formatHuggingFace = string(export.HuggingFace)
	formatGGUF        = string(export.GGUF)
)

var ggufTypes = []string{string(modelfile.F32), string(modelfile.F16), string(modelfile.Q8_0), string(modelfile.Q4_0), string(modelfile.Q4_1)}

// export writes the student for other people's programs, after the terms gate
// has let it pass.
func (r *run) export(ctx context.Context) error {
	if err := r.gateDataset(ctx); err != nil {
		return err
	}
	hash := r.student.Hash()
	dir := r.modelDir(hash)
	bar := r.opt.Progress.Stage(stageExport, 0, 0, "files")
	lineage, err := r.lineage()
	if err != nil {
		return err
	}
	opt := export.Options{Adapter: r.adapter, Lineage: lineage}
	for _, f := range r.Recipe.Export {
		opt.Formats = append(opt.Formats, export.Format(f.Format))
		opt.GGUFType = modelfile.Type(f.Type)
	}
	m, err := export.Write(ctx, dir, r.student, r.format, opt)
	if err != nil {
		return err
	}
	r.report.Model = report.Model{Hash: m.Hash, Path: m.Dir, Params: m.Params, Active: m.ActivePars}
	bar.Done(m.Dir)
	return r.loadExport(ctx)
}

func (r *run) modelDir(hash string) string { return r.opt.Workspace.Path("models", hash) }

// gateDataset asks the gate about every terms row in the dataset, and whether
// the model shows what they ask for.
func (r *run) gateDataset(ctx context.Context) error {
	var errs []error
	var rows []terms.Row
	for _, t := range r.data.Passport.Terms {
		_, err := r.gate.ask(t.ID, terms.Export)
		errs = append(errs, err)
		if row, err := r.gate.registry.Row(t.ID); err == nil {
			rows = append(rows, row)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := r.checkObligations(slices.Concat(rows, r.baseRows())); err != nil {
		return err
	}
	return r.recordOverrides(ctx)
}

// exportBasis names what decides the exported files beside the run itself.
func (r *run) exportBasis() (string, error) {
	if r.Model == nil && r.Terms == nil {
		return "", nil
	}
	shown, err := r.shown(nil)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal([]any{shown, r.overrides()})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

func (r *run) lineage() (export.Lineage, error) {
	t, err := r.training()
	if err != nil {
		return export.Lineage{}, err
	}
	shown, err := r.shown(nil)
	if err != nil {
		return export.Lineage{}, err
	}
	p := r.data.Passport
	l := export.Lineage{
		Name: shown.Name, License: shown.License, Notices: shown.Notices, Created: time.Now().UTC().Format(time.RFC3339),
		Tool:     dataset.Tool{Name: "retort", Version: r.opt.Version},
		Recipe:   dataset.Recipe{Name: r.Name, Hash: r.hash},
		Dataset:  export.DatasetRef{Hash: r.data.Hash, Examples: len(r.data.Examples), Families: p.Families, Origins: p.Origins},
		Teachers: p.Teachers, Terms: p.Terms, Use: r.use(), Overrides: r.allOverrides(p), People: p.People,
		Training: export.Training{Tokens: t.Tokens, Steps: int64(t.Steps), Loss: t.Loss, Seconds: t.Seconds, Seed: r.Seed},
		Limits:   r.report.Notes,
	}
	if r.base != nil {
		hash, err := r.baseModelHash()
		if err != nil {
			return l, err
		}
		l.Base = &export.BaseRef{Name: baseTitle(r.Student.Base), Architecture: r.base.Architecture, Hash: hash, License: r.base.License}
	}
	for _, e := range r.report.Eval {
		l.Eval = append(l.Eval, export.Result{
			Family: e.Family, N: e.N, Student: e.Student, Teacher: e.Teacher, Diff: e.Diff, CI95: e.DiffCI, Agreement: e.Measure == report.Agreement,
		})
	}
	return l, nil
}

// allOverrides are those that let something pass on the way to the dataset, as
// its passport says, and those that did in this go.
func (r *run) allOverrides(p dataset.Passport) []terms.Override {
	out := slices.Clone(r.gate.used)
	for _, o := range p.Overrides {
		if !slices.ContainsFunc(out, func(u terms.Override) bool { return sameOverride(u, o) }) {
			out = append(out, o)
		}
	}
	return out
}

// loadExport reads what the exported directory holds, and verifies it: a
// model's directory may have been changed since.
func (r *run) loadExport(context.Context) error {
	dir := r.modelDir(r.student.Hash())
	p, err := export.Verify(dir)
	if err != nil {
		return err
	}
	r.report.Model = report.Model{Hash: p.Hash, Path: dir, Params: p.Params, Active: p.ActiveParams}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		r.report.Model.Files = append(r.report.Model.Files, report.File{Name: e.Name(), Bytes: info.Size()})
	}
	slices.SortFunc(r.report.Model.Files, func(a, b report.File) int { return int(b.Bytes - a.Bytes) })
	if rel, err := filepath.Rel(".", dir); err == nil && len(rel) < len(dir) {
		r.report.Model.Path = rel // shorter to type
	}
	return nil
}
