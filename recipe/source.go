package recipe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"retort/exchange"
	"retort/teach/task"
)

// promptSource is one entry of a recipe's prompts: its problems, in order.
type promptSource struct {
	name    string // as reports and datasets call it: the family, or the file's name
	task    task.Task
	split   task.Split
	want    int    // examples that must pass curation; -1: all that there are
	samples int    // answers that are asked for each training problem
	judged  bool   // whether right answers are known to the task itself
	all     int    // training problems there are; -1 where a family makes as many as are asked for
	given   *given // whose answers are there already; nil: they are asked for
}

// question is one sample of one problem on its way to an asker.
type question struct {
	source  *promptSource
	problem task.Problem
	request exchange.Request
}

// Request implements what collect.Fill needs of an item.
func (q question) Request() exchange.Request { return q.request }

// sources makes every problem that the recipe speaks of. The same recipe gives
// the same problems in the same order; what a gateway recorded is read at the
// place of the run, which otherwise may be nil.
func (r *Recipe) sources(ctx context.Context, where *place) ([]promptSource, error) {
	var out []promptSource
	used := map[string]int{}
	for i := range r.Prompts {
		s, err := r.source(ctx, where, i)
		if err != nil {
			return nil, err
		}
		if used[s.name]++; used[s.name] > 1 {
			s.name = fmt.Sprintf("%s-%d", s.name, used[s.name])
		}
		out = append(out, s)
	}
	if err := where.store(); errors.Is(err, fs.ErrExist) { // another process was faster: its times count
		return r.sources(ctx, &place{ws: where.ws, dir: where.dir, keep: where.keep})
	} else if err != nil {
		return nil, err
	}
	return out, nil
}

func (r *Recipe) source(ctx context.Context, where *place, i int) (promptSource, error) {
	p := &r.Prompts[i]
	s := promptSource{name: p.Family, want: p.Train, samples: max(1, p.Samples), judged: true, all: -1}
	if s.want == 0 {
		s.want = -1
	}
	seed := r.Seed + uint64(i)<<32 // two sources of one family draw different problems
	switch {
	case p.Imported != "":
		return s, r.fromImport(ctx, &s, i, seed)
	case p.Served != nil:
		return s, r.fromServed(ctx, where, &s, i, seed)
	case !slices.Contains(task.Names(), p.Family):
		return s, r.fromFile(&s, i, seed)
	}
	family, err := task.New(p.Family, p.Params)
	if err != nil {
		return s, r.src.errorf(at("prompts", i), "%v", err)
	}
	s.task = family
	if s.split, err = task.NewSplit(family, seed, p.Heldout.Count); err != nil {
		return s, r.src.errorf(at("prompts", i)+".heldout", "%v", err)
	}
	return s, nil
}

// fromFile reads a source's problems from its file and holds some out: a file
// of their own, or a number of the rows.
func (r *Recipe) fromFile(s *promptSource, i int, seed uint64) error {
	p, path := &r.Prompts[i], at("prompts", i)
	corpus, err := r.readCorpus(i, p.File, p.Gold)
	if err != nil {
		return r.src.errorf(path+".file", "%v", err)
	}
	s.task, s.judged = corpus, false
	if s.name == "" {
		s.name = filepath.Base(p.File)
	}
	defer func() { s.all = s.count() }()
	if p.Heldout.File == "" {
		if s.split, err = corpus.Split(seed, p.Heldout.Count); err != nil {
			return r.src.errorf(path+".heldout", "%v", err)
		}
		return nil
	}
	gold := p.Gold
	if p.Heldout.Expect != "" {
		gold = p.Heldout.Expect
	}
	other, err := r.readCorpus(i, p.Heldout.File, gold)
	if err != nil {
		return r.src.errorf(path+".heldout.file", "%v", err)
	}
	s.split = corpus.SplitFrom(other)
	if n := p.Heldout.Count; n > 0 {
		some, err := other.Split(seed, n)
		if err != nil {
			return r.src.errorf(path+".heldout.count", "%v", err)
		}
		s.split.Heldout = some.Heldout
	}
	return nil
}

// count counts the training problems of a source that comes from a file.
func (s *promptSource) count() int {
	n := 0
	if s.split.Train != nil {
		for range s.split.Train {
			n++
		}
	}
	return n
}

// total is how many examples the source may come to, for a progress view.
func (s *promptSource) total() int64 {
	if s.want >= 0 {
		return int64(s.want)
	}
	return int64(s.all * s.samples)
}

// readCorpus reads a file of problems of source i.
func (r *Recipe) readCorpus(i int, file, gold string) (*task.Corpus, error) {
	p := &r.Prompts[i]
	if p.Family == familyGSM8K {
		return task.GSM8K(r.File(file))
	}
	opt := task.FileOptions{Field: p.Field, Gold: gold, ID: p.ID, Messages: p.Messages, Template: p.Template}
	if p.System != "" {
		raw, err := os.ReadFile(r.File(p.System))
		if err != nil {
			return nil, r.src.errorf(at("prompts", i)+".system", "%v", err)
		}
		opt.System = string(raw)
	}
	if p.Shots != "" {
		var err error
		if opt.Shots, err = task.ReadShots(r.File(p.Shots)); err != nil {
			return nil, r.src.errorf(at("prompts", i)+".shots", "%v", err)
		}
	}
	if s := r.StudentPrompt; s != nil {
		opt.Student = task.StudentPrompt{System: s.System, Shots: s.Shots, Template: s.Template}
	}
	return task.File(r.File(file), opt)
}

// question makes the request for the n-th sample of a problem.
func (r *run) question(template exchange.Request, s *promptSource, p task.Problem, stage string, n int) question {
	q := template
	if s.given != nil {
		q.Endpoint, q.Model = s.given.endpoint, ""
	}
	q.Messages, q.Sample = p.TeacherMessages(), n
	q.Run, q.Stage, q.Family, q.Problem = r.name, stage, s.name, p.ID
	return question{source: s, problem: p, request: q}
}

// questions yields everything that a source may ask for training, in order.
func (r *run) questions(template exchange.Request, s *promptSource) func(yield func(question) bool) {
	return func(yield func(question) bool) {
		for p := range s.split.Train {
			for n := range s.samples {
				if !yield(r.question(template, s, p, stageCollect, n)) {
					return
				}
			}
		}
	}
}
