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
	"time"

	"retort/internal/kernel"
	"retort/ledger/segment"
	"retort/meter"
	"retort/report"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/student/train"
	"retort/teach/collect"
	"retort/teach/dataset"
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
	sources   []promptSource
	budget    *meter.Budget
	collector *collect.Collector
	pool      *kernel.Pool

	// What earlier stages made; loaded from disk where a stage was done before.
	data    *dataset.Dataset
	tokens  *tokenizer.Tokenizer
	student *model.Model

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
	return []stage{
		{stageCollect, r.collect, nothing},
		{"dataset", r.makeDataset, r.loadDataset},
		{"tokenizer", r.trainTokenizer, r.loadTokenizer},
		{"train", r.train, r.train},
		{stageEval, r.evaluate, r.loadEvaluation},
		{"export", r.export, r.loadExport},
		{"report", r.writeReport, r.loadReport},
	}
}

// nothing is the load of a stage whose result is in the ledger.
func nothing(context.Context) error { return nil }

// Run runs a recipe from where it stands in the workspace to its end. It holds
// the run's lock; a second call for the same run fails with
// *workspace.InUseError. Errors that end a run are typed: *meter.OverBudgetError,
// *terms.RefusedError, *IncompleteError, *Error.
func Run(ctx context.Context, rec *Recipe, opt Options) (result *Result, err error) {
	r, err := newRun(rec, opt)
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

func newRun(rec *Recipe, opt Options) (*run, error) {
	hash, err := rec.Hash()
	if err != nil {
		return nil, err
	}
	name := rec.runName(hash)
	r := &run{Recipe: rec, opt: opt, name: name, hash: hash, dir: opt.Workspace.Path("runs", name), seconds: map[string]float64{}}
	if r.teacher, err = rec.identify(); err != nil {
		return nil, err
	}
	if r.sources, err = rec.sources(); err != nil {
		return nil, err
	}
	return r, nil
}

// open readies what every stage uses: the run's directory, the ledger, the
// teacher, the budget with what this run has spent before.
func (r *run) open(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(r.dir, "stages"), 0o755); err != nil {
		return err
	}
	shown, err := r.YAML()
	if err != nil {
		return err
	}
	copied := filepath.Join(r.dir, "recipe.yaml")
	if old, err := os.ReadFile(copied); err != nil || !bytes.Equal(old, shown) {
		if err := workspace.WriteFileAtomic(copied, shown, 0o644); err != nil {
			return err
		}
	}
	if r.store, err = segment.Open(r.opt.Workspace.Path("ledger"), segment.Option{OnDamage: r.damaged}); err != nil {
		return err
	}
	if r.budget, err = r.Recipe.budget(); err != nil {
		return err
	}
	answers, _, err := r.read(ctx, r.store, r.budget.Charge)
	if err != nil {
		return err
	}
	if err := r.teacher.start(ctx, r.Recipe, r.dir); err != nil {
		return err
	}
	if r.collector, err = r.teacher.collector(r.Recipe, r.store, r.budget, answers.good(), r.opt.Getenv, r.opt.Log); err != nil {
		return err
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
}

func (r *run) statePath(name string) string { return filepath.Join(r.dir, "stages", name+".json") }

// step does a stage, or loads it if it was done before. Its time adds up over
// interruptions that gave us the time to note it.
func (r *run) step(ctx context.Context, s stage) error {
	var before stageState
	for _, path := range []string{r.statePath(s.name), r.statePath(s.name + ".part")} {
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &before); err != nil {
			return fmt.Errorf("%s: %w; remove the file to do the stage again", path, err)
		}
		if path == r.statePath(s.name) {
			r.seconds[s.name] = before.Seconds
			return s.load(ctx)
		}
	}
	start := time.Now()
	err := s.do(ctx)
	r.seconds[s.name] = before.Seconds + time.Since(start).Seconds()
	name := s.name
	if err != nil {
		name += ".part"
	}
	raw, merr := json.Marshal(stageState{Seconds: r.seconds[s.name]})
	if merr != nil {
		return errors.Join(err, merr)
	}
	return errors.Join(err, workspace.WriteFileAtomic(r.statePath(name), raw, 0o644))
}
