package recipe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/internal/modelfile"
	"retort/report"
	"retort/student/eval"
	"retort/student/export"
	"retort/student/model"
	"retort/student/serve"
	"retort/teach/task"
	"retort/workspace"
)

// The contestants that a recipe can name.
const (
	againstTeacher   = "teacher"
	againstBase      = report.BaseName
	againstUntrained = "untrained"
	againstTaught    = "taught"
)

// smaller are the contestants that are the student itself, its weights held in a
// smaller format, by their names.
var smaller = map[string]kernel.Format{kernel.FormatBF16.String(): kernel.FormatBF16, kernel.FormatInt8.String(): kernel.FormatInt8}

// narrowed are the contestants that are the student as a GGUF of a type has it, its
// weights rounded.
var narrowed = map[string]modelfile.Type{"f16": modelfile.F16, "q8_0": modelfile.Q8_0, "q4_0": modelfile.Q4_0, "q4_1": modelfile.Q4_1}

// known reports whether a recipe may name the contestant.
func (c Contestant) known() bool {
	_, small := smaller[c.Name]
	_, narrow := narrowed[c.Name]
	return small || narrow || c.Name == againstTeacher || c.Name == againstBase || c.Name == againstUntrained || c.Name == againstTaught
}

// evalSlots is how many answers the student decodes together, as far as what is
// cached of them takes no more than evalCache bytes.
const (
	evalSlots = 64
	evalCache = 256 << 20
)

// evaluate puts the held-out problems to the student, its teacher and whom else
// the recipe names. Without held-out problems it says so.
func (r *run) evaluate(ctx context.Context) error {
	items, found := r.items(), &eval.Report{Student: "student"}
	asked, err := r.besides(ctx)
	if err != nil {
		return err
	}
	if len(items)+asked.count() == 0 {
		return r.keepEvaluation(ctx, found)
	}
	bar := r.opt.Progress.Stage(stageEval, 0, int64(len(items)*(1+len(r.Eval.Against))+2*asked.count()), "answers")
	count := &evalCounter{stage: bar, done: map[string]int{}}
	opt := eval.Options{Seed: r.Seed, OnProgress: count.answered}
	if len(items) > 0 {
		contestants, err := r.contestants(ctx, items, opt)
		if err != nil {
			return err
		}
		if found, err = eval.Run(ctx, items, contestants, opt); err != nil {
			return err
		}
		if err := r.judgeHeldout(ctx); err != nil {
			return err
		}
	}
	if err := r.measureForgotten(ctx, asked, count); err != nil {
		return err
	}
	if err := r.keepEvaluation(ctx, found); err != nil {
		return err
	}
	bar.Done(r.evalSummary())
	return nil
}

// evalCounter shows how many answers there are of all contestants together.
type evalCounter struct {
	stage *report.Stage
	mu    sync.Mutex
	done  map[string]int // by contestant
}

func (c *evalCounter) answered(p eval.Progress) {
	c.set(p.Contestant, p.Done, fmt.Sprintf("%s: %s right", p.Contestant, report.FormatCount(int64(p.Right))))
}

func (c *evalCounter) set(contestant string, done int, note string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[contestant] = max(done, c.done[contestant])
	total := 0
	for _, n := range c.done {
		total += n
	}
	c.stage.Set(int64(total), note)
}

// contestants are the student and whom it is compared with. Models have answered
// by then, one after the other, so that one is in memory at a time.
func (r *run) contestants(ctx context.Context, items []eval.Item, opt eval.Options) ([]eval.Contestant, error) {
	asked, err := r.studentCandidate()
	if err != nil {
		return nil, err
	}
	student, err := r.answers(ctx, "student", asked, items, opt)
	if err != nil {
		return nil, err
	}
	out := []eval.Contestant{student}
	for i, c := range r.Eval.Against {
		var other eval.Contestant
		switch {
		case c.Recipe != "":
			other, err = r.otherRun(i, c.Recipe)
		case c.Name == againstTeacher:
			other = r.teacherContestant()
		case c.Name == againstBase:
			if asked, err = r.baseCandidate(); err == nil {
				other, err = r.answers(ctx, c.Name, asked, items, opt)
			}
		case c.Name == againstUntrained:
			var m *model.Model
			if m, err = r.newStudent(); err == nil {
				other, err = r.answers(ctx, c.Name, inMemory(m, kernel.FormatFP32), items, opt)
			}
		case c.Name == againstTaught:
			other, err = r.answers(ctx, c.Name, inMemory(r.before, kernel.FormatFP32), items, opt)
		case narrowed[c.Name] != "":
			var m *model.Model
			if m, err = export.Narrowed(r.student, narrowed[c.Name], export.Absorbed); err == nil {
				other, err = r.answers(ctx, c.Name, inMemory(m, kernel.FormatFP32), items, opt)
			}
		default:
			other, err = r.answers(ctx, c.Name, inMemory(r.student, smaller[c.Name]), items, opt)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, other)
	}
	return out, nil
}

func (r *run) keepEvaluation(ctx context.Context, found *eval.Report) error {
	raw, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	if err := workspace.WriteFileAtomic(r.evalPath(), raw, 0o644); err != nil {
		return err
	}
	return r.loadEvaluation(ctx)
}

// evalFile is where the evaluation leaves what it found.
const evalFile = "eval.json"

func (r *run) evalPath() string { return filepath.Join(r.dir, evalFile) }

// resultsPath is where a contestant's answers are kept, problem by problem.
func resultsPath(dir, contestant string) string {
	return filepath.Join(dir, "results-"+contestant+".jsonl")
}

func (r *run) items() []eval.Item {
	var out []eval.Item
	for _, s := range r.sources {
		judge := r.verifiers.Task(s.task)
		for _, p := range s.split.Heldout {
			it := eval.Item{Source: s.name, Task: judge, Problem: p, Measure: eval.Agreement}
			if r.known(&s, p) {
				it.Measure = eval.Accuracy
			}
			out = append(out, it)
		}
	}
	return out
}

// known reports whether the recipe's verifiers can say that an answer to a
// problem is right, and not only that it is well formed.
func (r *run) known(s *promptSource, p task.Problem) bool {
	if !r.verifiers.UsesGold() {
		return false
	}
	for _, v := range r.Verify {
		if v.Starlark != nil && v.Starlark.Gold {
			return true
		}
	}
	return s.judged || p.Answer != "" || p.Gold != nil
}

// answers serves a model in this process, puts all items to it, decoding greedily, and
// returns it as a contestant that has answered.
func (r *run) answers(ctx context.Context, name string, c candidate, items []eval.Item, opt eval.Options) (eval.Contestant, error) {
	defer c.done()
	longest, err := r.longestAnswer()
	if err != nil {
		return eval.Contestant{}, err
	}
	e, err := r.engine(name, &c)
	if err != nil {
		return eval.Contestant{}, err
	}
	defer e.Close()
	byName := r.byName()
	return r.answered(ctx, items, respondent{
		engine: e, name: name, endpoint: c.endpoint(), file: resultsPath(r.dir, name), longest: longest,
		reads: func(it eval.Item) []exchange.Message { return byName[it.Source].reads(it.Problem) },
	}, opt)
}

// respondent is a model of this run that is asked.
type respondent struct {
	engine         *serve.Engine
	name, endpoint string
	file           string // of its results
	longest        int    // answer, in tokens
	reads          func(eval.Item) []exchange.Message
}

// answered puts all items to a model, decoding greedily, and returns it as a
// contestant that has answered.
func (r *run) answered(ctx context.Context, items []eval.Item, who respondent, opt eval.Options) (eval.Contestant, error) {
	asked := eval.Contestant{
		Name: who.name, Asker: who.engine, Concurrency: 2 * evalSlots, File: who.file,
		Request: func(it eval.Item) (exchange.Request, error) {
			return exchange.Request{
				Endpoint: who.endpoint, Model: who.name, Messages: who.reads(it),
				Params: json.RawMessage(`{"temperature":0}`), MaxTokens: who.longest, Run: r.name, Stage: stageEval, Family: it.Source, Problem: it.Problem.ID,
			}, nil
		},
	}
	if _, err := eval.Run(ctx, items, []eval.Contestant{asked}, opt); err != nil {
		return eval.Contestant{}, err
	}
	return eval.Contestant{Name: who.name, File: who.file}, nil
}

func (r *run) byName() map[string]*promptSource {
	out := map[string]*promptSource{}
	for i := range r.sources {
		out[r.sources[i].name] = &r.sources[i]
	}
	return out
}

// longestAnswer bounds what a student may write: a quarter more than the
// longest answer that it was taught.
func (r *run) longestAnswer() (int, error) {
	taught, err := r.taught()
	if err != nil {
		return 0, err
	}
	longest := 0
	for _, s := range taught {
		if len(s.Tokens) <= r.Student.Context {
			longest = max(longest, len(s.Tokens)-s.ResponseFrom)
		}
	}
	return longest + longest/4 + 1, nil
}

// teacherContestant asks the teacher, through ledger and budget. Its answers
// were collected with the training prompts.
func (r *run) teacherContestant() eval.Contestant {
	byName := r.byName()
	return eval.Contestant{
		Name: againstTeacher, Teacher: true, Asker: r.asker, Concurrency: r.Teacher.Limits.Concurrent, File: resultsPath(r.dir, againstTeacher),
		Request: func(it eval.Item) (exchange.Request, error) {
			template, err := r.request(r.teacher)
			return r.question(template, byName[it.Source], it.Problem, stageEval, 0).request, err
		},
	}
}

// otherRun is the student of another recipe, known by the answers that its run
// has kept in this workspace.
func (r *run) otherRun(i int, file string) (eval.Contestant, error) {
	path := at("eval.against", i) + ".recipe"
	other, err := Load(r.File(file))
	if err != nil {
		return eval.Contestant{}, r.src.errorf(path, "%v", err)
	}
	name, err := other.RunName()
	if err != nil {
		return eval.Contestant{}, r.src.errorf(path, "%v", err)
	}
	results := resultsPath(r.opt.Workspace.Path("runs", name), "student")
	if _, err := os.Stat(results); err != nil {
		return eval.Contestant{}, r.src.errorf(path, "this workspace has no finished evaluation of %s; run it first: retort run %s", file, r.File(file))
	}
	return eval.Contestant{Name: other.Name, File: results}, nil
}

// loadEvaluation brings back what the evaluation found, in the report's words.
func (r *run) loadEvaluation(context.Context) error {
	raw, err := os.ReadFile(r.evalPath())
	if err != nil {
		return err
	}
	var found eval.Report
	if err := json.Unmarshal(raw, &found); err != nil {
		return fmt.Errorf("%s: %w", r.evalPath(), err)
	}
	d := &r.report
	if _, err := readJSON(filepath.Join(r.dir, heldoutFile), &d.Heldout); err != nil {
		return err
	}
	for _, c := range found.Comparisons {
		rows := make([]report.EvalRow, len(c.Rows))
		for i, row := range c.Rows {
			rows[i] = report.EvalRow{
				Family: row.Family, N: row.N, Excluded: row.Excluded, Measure: string(row.Measure), Student: row.Student, StudentCI: row.StudentCI,
				Teacher: row.Other, TeacherCI: row.OtherCI, Diff: row.Diff, DiffCI: row.DiffCI, P: row.P,
				StudentTokens: row.StudentTokens, TeacherTokens: row.OtherTokens, TeacherUSD: row.OtherUSD,
			}
			if row.Ratio != nil {
				rows[i].Ratio, rows[i].RatioCI = row.Ratio.Value, row.Ratio.CI
			}
		}
		if !c.Teacher {
			d.Beside = append(d.Beside, report.Beside{Name: c.Other, Rows: rows})
			continue
		}
		d.Eval = rows
		for _, s := range c.Samples {
			d.Samples = append(d.Samples, report.Sample{
				Family: s.Source, Prompt: s.Prompt,
				StudentReasoning: s.Student.Reasoning, StudentAnswer: s.Student.Content, StudentRight: s.Outcome == eval.Both || s.Outcome == eval.OnlyStudent,
				TeacherReasoning: s.Other.Reasoning, TeacherAnswer: s.Other.Content, TeacherRight: s.Outcome == eval.Both || s.Outcome == eval.OnlyOther,
			})
		}
	}
	d.Notes = r.notes()
	return r.loadForgotten()
}

// notes are what a reader must know to judge the figures.
func (r *run) notes() []string {
	var out []string
	if len(r.report.Eval) == 0 {
		return []string{"The recipe compares the student with no teacher on held-out problems, so nothing is known about how good it is."}
	}
	for _, row := range r.report.Eval {
		switch {
		case row.Measure == report.Agreement:
			if row.Family != report.Overall {
				out = append(out, fmt.Sprintf("No right answers are known for %s: the figure is how often student and teacher say the same, which is not how often either is right.", row.Family))
			}
		case row.Family == report.Overall && row.Student < 0.5*row.Teacher:
			help := "More examples or more training may help"
			if r.base == nil {
				help += "; for open questions a student of this size, taught from nothing, will not do"
			}
			out = append(out, fmt.Sprintf("The student has learned little: it answers %s of the held-out problems right, less than half of what its teacher does. %s.", report.FormatPercent(row.Student), help))
		}
		if row.Excluded > 0 && row.Family != report.Overall {
			out = append(out, fmt.Sprintf("Left out of the comparison on %s: %d of the held-out problems, to which student or teacher gave no answer, such as where the prompt is longer than the student's context of %d tokens.", row.Family, row.Excluded, r.Student.Context))
		}
		if row.N < 100 && row.Family == report.Overall {
			out = append(out, fmt.Sprintf("Only %d held-out problems: the intervals are wide.", row.N))
		}
	}
	return out
}

// evalSummary is the evaluation in a few words.
func (r *run) evalSummary() string {
	for _, row := range r.report.Eval {
		if row.Family == report.Overall && row.Measure == report.Accuracy {
			return fmt.Sprintf("student %s, teacher %s", report.FormatPercent(row.Student), report.FormatPercent(row.Teacher))
		}
		if row.Family == report.Overall {
			return fmt.Sprintf("%s %s", report.FormatPercent(row.Student), row.Measure)
		}
	}
	return ""
}
