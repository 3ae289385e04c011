package recipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"retort/internal/kernel"
	"retort/ledger/segment"
	"retort/meter"
	"retort/report"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/train"
	"retort/teach/collect"
	"retort/teach/dataset"
	"retort/teach/verify"
	"retort/workspace"
)

// Options say where and how a recipe runs. Nothing in them decides its result.
type Options struct {
	Workspace *workspace.Workspace
	Progress  *report.Progress
	Threads   int // for training and decoding; 0: all cores
	Getenv    func(string) string
	Log       *slog.Logger
	Version   string // of this program, for passports
}

// Result is what a finished run has to show.
type Result struct {
	Report report.Data
}

// IncompleteError says that fewer examples passed curation than the recipe
// asks for, and why.
type IncompleteError struct {
	Source     string
	Want, Have int
	Asked      int
	Refused    map[string]int
	Why        string
}

// Error implements error.
func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%s: %d of %d examples passed curation, of %d prompts asked: %s (refused: %s)",
		e.Source, e.Have, e.Want, e.Asked, e.Why, report.FormatCounts(e.Refused))
}

// run is a recipe under way.
type run struct {
	*Recipe
	opt  Options
	name string // of the run's directory
	hash string // of the recipe
	dir  string

	store     *segment.Store
	teacher   *teacher
	gate      *gate
	verifiers *verify.Set
	sources   []promptSource
	budget    *meter.Budget
	held      *held              // what the ledger held when the run was opened, or last read
	collector *collect.Collector // nil where nobody is asked
	asker     asker              // of all sources, those included whose answers are given
	pool      *kernel.Pool

	judgements map[judged]judgement
	order      []judged // of the judgements

	// What earlier stages made; loaded from disk where a stage was done before.
	data    *dataset.Dataset
	base    *base.Base   // that the student starts from; nil if from nothing. Without its weights, and closed
	format  *chat.Format // with the student
	student *model.Model
	adapter *model.Adapter // that is merged into the student; nil without one
	before  *model.Model   // the student as it was taught, where it was reinforced then

	rendered []train.Sequence // see taught

	seconds map[string]float64
	report  report.Data
}

// stage is one step of a run. do leaves its result on disk, so that load can
// bring it back in a later process; both leave it in the run as well.
type stage struct {
	name string
	do   func(context.Context) error
	load func(context.Context) error
}

func (r *run) stages() []stage {
	all := []stage{
		{stageCollect, r.collect, nothing},
		{stageDataset, r.makeDataset, r.loadDataset},
		{stageTokenizer, r.makeTokenizer, r.loadTokenizer},
		{stageTrain, r.train, r.train},
		{stageReinforce, r.reinforce, r.reinforce},
		{stageEval, r.evaluate, r.loadEvaluation},
		{stageExport, r.export, r.loadExport},
		{stageReport, r.writeReport, r.loadReport},
	}
	return slices.DeleteFunc(all, func(s stage) bool { return s.name == stageReinforce && r.grpo() == nil })
}

// nothing is the load of a stage whose result is in the ledger.
func nothing(context.Context) error { return nil }

// Run runs a recipe from where it stands in the workspace to its end. It holds
// the run's lock; a second call for the same run fails with
// *workspace.InUseError. Errors that end a run are typed: *meter.OverBudgetError,
// *terms.RefusedError, *IncompleteError, *Error.
func Run(ctx context.Context, rec *Recipe, opt Options) (result *Result, err error) {
	r, err := newRun(ctx, rec, opt)
	if err != nil {
		return nil, err
	}
	lock, err := opt.Workspace.Lock("runs/" + r.name)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for _, s := range r.stages() {
		if err := r.step(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return &Result{Report: r.report}, r.seal(ctx)
}

// seal turns the ledger's finished segments into Parquet, which other tools
// read. Another process that is at it already does as well.
func (r *run) seal(ctx context.Context) error {
	if _, err := r.store.Seal(ctx); err != nil && !errors.Is(err, segment.ErrSealing) {
		return fmt.Errorf("seal the ledger: %w", err)
	}
	return nil
}

func newRun(ctx context.Context, rec *Recipe, opt Options) (*run, error) {
	hash, err := rec.Hash()
	if err != nil {
		return nil, err
	}
	name := rec.runName(hash)
	r := &run{Recipe: rec, opt: opt, name: name, hash: hash, dir: opt.Workspace.Path("runs", name),
		judgements: map[judged]judgement{}, seconds: map[string]float64{}}
	if r.teacher, err = rec.identify(); err != nil {
		return nil, err
	}
	if r.gate, err = rec.newGate(); err != nil {
		return nil, err
	}
	r.gate.note(r.teacher.verdict.Override)
	if r.verifiers, err = rec.makeVerifiers(); err != nil {
		return nil, err
	}
	if r.sources, err = rec.sources(ctx, &place{ws: opt.Workspace, dir: r.dir, keep: true}); err != nil {
		return nil, err
	}
	for _, s := range r.sources {
		if s.given == nil {
			continue
		}
		for _, v := range s.given.verdicts {
			r.gate.note(v.Override)
		}
	}
	if r.Student.Base != "" {
		if err := r.checkBase(); err != nil {
			return nil, err
		}
	}
	return r, r.checkObligations(slices.Concat(r.rows(), r.baseRows()))
}

// open readies what every stage uses: the run's directory, the ledger, the
// teacher, the budget with what this run has spent before.
func (r *run) open(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(r.dir, "stages"), 0o755); err != nil {
		return err
	}
	shown, err := r.keptYAML()
	if err != nil {
		return err
	}
	copied := filepath.Join(r.dir, "recipe.yaml")
	if old, err := os.ReadFile(copied); err != nil || !bytes.Equal(old, shown) {
		if err := workspace.WriteFileAtomic(copied, shown, 0o644); err != nil {
			return err
		}
	}
	file, err := filepath.Abs(r.src.File())
	if err != nil {
		return err
	}
	from, err := json.MarshalIndent(origin{Recipe: file, Rules: r.verifiers.Hash()}, "", "  ")
	if err != nil {
		return err
	}
	if err := workspace.WriteFileAtomic(filepath.Join(r.dir, runFile), from, 0o644); err != nil {
		return err
	}
	if r.store, err = segment.Open(r.opt.Workspace.Path("ledger"), segment.Option{OnDamage: r.damaged}); err != nil {
		return err
	}
	if r.budget, err = r.Recipe.budget(); err != nil {
		return err
	}
	if r.held, err = r.read(ctx, r.store, r.budget.Charge); err != nil {
		return err
	}
	if r.teacher.asked() {
		if err := r.teacher.start(ctx, r.Recipe, r.dir); err != nil {
			return err
		}
		if r.collector, err = r.teacher.collector(r.Recipe, r.store, r.budget, r.held.answers.good(), r.opt.Getenv, r.opt.Log); err != nil {
			return err
		}
		r.asker = r.through(r.collector)
	} else {
		r.asker = r.through(nil)
	}
	r.pool = kernel.NewPool(r.opt.Threads)
	return nil
}

// damaged tells of a place in the ledger that cannot be read. The rest is, and
// what was lost is asked again.
func (r *run) damaged(d segment.Damage) {
	if !d.Unsynced {
		r.opt.Progress.Log("ledger: %s (`retort ledger verify` says more; what is lost is asked again)", d)
	}
}

func (r *run) close() error {
	var errs []error
	if r.collector != nil {
		errs = append(errs, r.collector.Close())
	}
	if r.teacher != nil {
		errs = append(errs, r.teacher.close())
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	if r.pool != nil {
		r.pool.Close()
	}
	return errors.Join(errs...)
}

// stageState is what a finished stage leaves in stages/<name>.json.
type stageState struct {
	Seconds float64 `json:"seconds"`
	// Basis names what decides the stage's result and is not in the run's hash:
	// corrections that came later, what the model is called. A stage with
	// another basis, and all that follow it, are done again.
	Basis string `json:"basis,omitempty"`
}

func (r *run) statePath(name string) string { return filepath.Join(r.dir, "stages", name+".json") }

// step does a stage, or loads it if it was done before. Its time adds up over
// interruptions that gave us the time to note it.
func (r *run) step(ctx context.Context, s stage) error {
	var before stageState
	done, err := readJSON(r.statePath(s.name), &before)
	if err == nil && !done {
		_, err = readJSON(r.statePath(s.name+".part"), &before)
	}
	if err != nil {
		return fmt.Errorf("%w; remove the file to do the stage again", err)
	}
	basis, err := r.basis(s.name)
	if err != nil {
		return err
	}
	if done && before.Basis == basis {
		r.seconds[s.name] = before.Seconds
		return s.load(ctx)
	}
	if done {
		r.opt.Progress.Log("%s: what it rests on has changed since; it and what follows are done again", s.name)
		if err := r.forget(s.name); err != nil {
			return err
		}
		before.Seconds = 0
	}
	start := time.Now()
	err = s.do(ctx)
	r.seconds[s.name] = before.Seconds + time.Since(start).Seconds()
	name := s.name
	if err != nil {
		name += ".part"
	}
	raw, merr := json.Marshal(stageState{Seconds: r.seconds[s.name], Basis: basis})
	if merr != nil {
		return errors.Join(err, merr)
	}
	return errors.Join(err, workspace.WriteFileAtomic(r.statePath(name), raw, 0o644))
}

// basis is stageState.Basis of a stage as things are now.
func (r *run) basis(stage string) (string, error) {
	switch stage {
	case stageCollect:
		return r.collectBasis()
	case stageExport:
		return r.exportBasis()
	}
	return "", nil
}

// forget removes what a stage and those after it have left, last first, so that
// a crash leaves no stage done whose ground is gone.
func (r *run) forget(stage string) error {
	from := slices.Index(stageNames, stage)
	for i := len(stageNames) - 1; i >= from; i-- {
		paths := []string{r.statePath(stageNames[i]), r.statePath(stageNames[i] + ".part")}
		if stageNames[i] == stageTrain {
			paths = append(paths, filepath.Join(r.dir, checkpointsDir))
		} else if stageNames[i] == stageReinforce {
			paths = append(paths, filepath.Join(r.dir, reinforceDir))
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}
