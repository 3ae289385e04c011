package recipe

import (
	"fmt"
	"path/filepath"
	"slices"

	"retort/teach/task"
)

// promptSource is one entry of a recipe's prompts: its problems, in order.
type promptSource struct {
	name  string // as reports and datasets call it: the family, or the file's name
	task  task.Task
	split task.Split
	want  int  // examples that must pass curation; -1: all that there are
	gold  bool // whether right answers are known
	all   int  // training problems there are; -1 where a family makes as many as are asked for
}

// sources makes every problem that the recipe speaks of. The same recipe gives
// the same problems in the same order.
func (r *Recipe) sources() ([]promptSource, error) {
	var out []promptSource
	used := map[string]int{}
	for i := range r.Prompts {
		s, err := r.source(i)
		if err != nil {
			return nil, err
		}
		if used[s.name]++; used[s.name] > 1 {
			s.name = fmt.Sprintf("%s-%d", s.name, used[s.name])
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *Recipe) source(i int) (promptSource, error) {
	p := &r.Prompts[i]
	s := promptSource{name: p.Family, want: p.Train, gold: true, all: -1}
	if s.want == 0 {
		s.want = -1
	}
	seed := r.Seed + uint64(i)<<32 // two sources of one family draw different problems
	if !slices.Contains(task.Names(), p.Family) {
		err := r.fromFile(&s, i, seed)
		return s, err
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
	corpus, err := r.readCorpus(p, p.File)
	if err != nil {
		return r.src.errorf(path+".file", "%v", err)
	}
	s.task, s.gold = corpus, corpus.HasGold()
	if s.name == "" {
		s.name = filepath.Base(p.File)
	}
	defer func() {
		s.all = 0
		if s.split.Train != nil {
			for range s.split.Train {
				s.all++
			}
		}
	}()
	if p.Heldout.File == "" {
		if s.split, err = corpus.Split(seed, p.Heldout.Count); err != nil {
			return r.src.errorf(path+".heldout", "%v", err)
		}
		return nil
	}
	other, err := r.readCorpus(p, p.Heldout.File)
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

// total is how many examples the source may come to, for a progress view.
func (s *promptSource) total() int64 {
	if s.want >= 0 {
		return int64(s.want)
	}
	return int64(s.all)
}

func (r *Recipe) readCorpus(p *Prompts, file string) (*task.Corpus, error) {
	if p.Family == familyGSM8K {
		return task.GSM8K(r.File(file))
	}
	return task.File(r.File(file), task.FileOptions{Field: p.Field, Gold: p.Gold})
}
