package recipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"retort/openai"
	"retort/report"
	"retort/student/train"
	"retort/teach/task"
	"retort/workspace"
)

// GRPO is reinforcement by problems whose answers can be judged: the student draws
// several answers to each and learns from those that earn more than the others.
type GRPO struct {
	Family string `yaml:"family,omitempty" json:"family,omitempty" jsonschema_description:"problems of this family, none of them held out for the evaluation; without it the recipe's own training prompts, judged by its verifiers"`

	Params *task.Params `yaml:"params,omitempty" json:"params,omitempty" jsonschema_description:"the family's difficulty; default: as in the recipe's prompts of that family"`

	Train int `yaml:"train,omitempty" json:"train,omitempty" jsonschema_description:"different problems of the family; 4000"`
	Watch int `yaml:"watch" json:"watch" jsonschema_description:"further problems that are looked at while it learns, of which the best look's weights are kept; 200"`

	Steps     int `yaml:"steps" json:"steps" jsonschema_description:"rounds of drawing and learning; 200"`
	Problems  int `yaml:"problems" json:"problems" jsonschema_description:"problems that a step learns from; 32"`
	Group     int `yaml:"group" json:"group" jsonschema_description:"answers that are drawn to each; 8"`
	MaxTokens int `yaml:"max_tokens,omitempty" json:"max_tokens,omitempty" jsonschema_description:"longest answer in the student's tokens; default: a quarter more than the longest that it was taught"`
	Redraws   int `yaml:"redraws" json:"redraws" jsonschema_description:"problems are drawn up to so many times as often as they are learned from, in place of those whose answers all earn the same; 3"`

	LearningRate float64  `yaml:"learning_rate" json:"learning_rate" jsonschema_description:"AdamW's step size; 0.0001"`
	MuonRate     float64  `yaml:"muon_rate" json:"muon_rate" jsonschema_description:"Muon's step size for matrices; 0.001"`
	Optimizer    string   `yaml:"optimizer" json:"optimizer" jsonschema_description:"adamw or muon"`
	Updates      int      `yaml:"updates" json:"updates" jsonschema_description:"optimiser steps that a step's answers are divided among; 1"`
	ClipLow      float64  `yaml:"clip_low" json:"clip_low" jsonschema_description:"how far a token's probability may fall in a step before it no longer counts, as a share; 0.2"`
	ClipHigh     float64  `yaml:"clip_high" json:"clip_high" jsonschema_description:"how far it may rise; 0.28"`
	KL           float64  `yaml:"kl" json:"kl" jsonschema_description:"weight of the divergence from the student as it was taught; 0"`
	FormReward   *float64 `yaml:"form_reward,omitempty" json:"form_reward,omitempty" jsonschema_description:"what an answer of the right form earns, beside 1 for a right one; 0.1"`
	Deviation    bool     `yaml:"divide_by_deviation" json:"divide_by_deviation" jsonschema_description:"whether advantages are divided by the standard deviation of their group"`
	Curriculum   *bool    `yaml:"curriculum,omitempty" json:"curriculum,omitempty" jsonschema_description:"whether problems whose outcome is unsure are drawn more often, once all have been seen; true"`
	Patience     int      `yaml:"patience" json:"patience" jsonschema_description:"looks at the watched problems without improvement after which it ends; 0: never"`
}

func (g *GRPO) fillDefaults(prompts []Prompts) {
	if g.Family != "" {
		orDefault(&g.Train, 4000)
		if i := slices.IndexFunc(prompts, func(p Prompts) bool { return p.Family == g.Family }); g.Params == nil && i >= 0 {
			params := prompts[i].Params
			g.Params = &params
		}
		if g.Params == nil {
			g.Params = new(task.Params)
		}
	}
	orDefault(&g.Watch, 200)
	orDefault(&g.Steps, 200)
	orDefault(&g.Problems, 32)
	orDefault(&g.Group, 8)
	orDefault(&g.Redraws, 3)
	orDefault(&g.LearningRate, 1e-4)
	orDefault(&g.MuonRate, 1e-3)
	orDefault(&g.Optimizer, "adamw")
	orDefault(&g.Updates, 1)
	orDefault(&g.ClipLow, 0.2)
	orDefault(&g.ClipHigh, 0.28)
	if g.FormReward == nil {
		v := 0.1
		g.FormReward = &v
	}
	if g.Curriculum == nil {
		on := true
		g.Curriculum = &on
	}
}

// grpo is the recipe's step of reinforcement, or nil.
func (r *Recipe) grpo() *GRPO {
	if len(r.Train) < 2 {
		return nil
	}
	return r.Train[1].GRPO
}

func (r *Recipe) validateGRPO() error {
	const path = "train[1].grpo"
	g := r.grpo()
	if g == nil {
		return nil
	}
	bad := func(key, format string, args ...any) error { return r.src.errorf(path+key, format, args...) }
	switch {
	case r.Student.LoRA != nil:
		return bad("", "all of a student's weights are reinforced, and this recipe teaches an adapter; leave student.lora out, or grpo")
	case g.Family == "" && (g.Train != 0 || g.Params != nil):
		return bad("", "train and params are of a family's problems, and the recipe's own training prompts are all used; name a family to have others")
	case g.Train < 0 || g.Family != "" && g.Train < g.Problems:
		return bad(".train", "%d different problems are fewer than the %d of a step", g.Train, g.Problems)
	case g.Watch < 1 || g.Patience < 0:
		return bad(".watch", "%d problems to look at, %d looks without improvement: want at least one problem, and no negative number", g.Watch, g.Patience)
	case g.Steps < 1 || g.Problems < 1 || g.Redraws < 1 || g.Updates < 1:
		return bad("", "steps, problems, redraws and updates must be at least 1")
	case g.Group < 2:
		return bad(".group", "%d answers have no better and no worse among them; want at least 2", g.Group)
	case g.MaxTokens < 0 || g.MaxTokens >= r.Student.Context:
		return bad(".max_tokens", "%d tokens do not fit beside a prompt into the student's context of %d", g.MaxTokens, r.Student.Context)
	case g.Optimizer != "muon" && g.Optimizer != "adamw":
		return bad(".optimizer", "%q is neither muon nor adamw", g.Optimizer)
	case g.LearningRate <= 0 || g.MuonRate <= 0:
		return bad("", "learning_rate and muon_rate must be above 0")
	case g.ClipLow <= 0 || g.ClipLow >= 1 || g.ClipHigh <= 0:
		return bad(".clip_low", "clip_low lies between 0 and 1 and clip_high above 0, without them")
	case g.Updates > g.Problems:
		return bad(".updates", "%d problems cannot be divided among %d updates", g.Problems, g.Updates)
	case g.KL < 0:
		return bad(".kl", "%v is negative", g.KL)
	case *g.FormReward < 0 || *g.FormReward > 1:
		return bad(".form_reward", "%v is not between 0 and 1, which a right answer earns", *g.FormReward)
	case g.Family == "":
		return nil
	}
	if _, err := task.New(g.Family, *g.Params); err != nil {
		return bad(".family", "%v", err)
	}
	return nil
}

// reinforceDir is where reinforcement keeps its checkpoints and metrics, and
// reinforcedFile where it leaves what it came to.
const (
	reinforceDir   = "reinforcement"
	reinforcedFile = "reinforcement.json"
)

// trial is a problem that the student is reinforced on, with its judge.
type trial struct {
	problem task.Problem
	task    task.Task
	prompt  []int32
}

// reinforce goes on from what training left. Its checkpoints are in the run's directory;
// where the last of them is there already, it is read and nothing is drawn.
func (r *run) reinforce(ctx context.Context) error {
	g := r.grpo()
	trials, watched, err := r.trials(g)
	if err != nil {
		return err
	}
	opt, err := r.grpoOptions(g)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
		return err
	}
	r.before = r.student.Clone()
	problems := train.Problems{
		Ends: r.format.Ends,
		Judge: func(heldout bool, i int, a train.Answer) train.Judgement {
			all := trials
			if heldout {
				all = watched
			}
			return r.judgeDrawn(&all[i], a)
		},
	}
	for _, t := range trials {
		problems.Train = append(problems.Train, t.prompt)
	}
	for _, t := range watched {
		problems.Heldout = append(problems.Heldout, t.prompt)
	}
	var bar *report.Stage
	result, err := train.GRPO(ctx, r.student, r.pool, problems, opt, func(p train.GRPOProgress) {
		if bar == nil {
			bar = r.opt.Progress.Stage(stageReinforce, int64(p.Step-1), int64(p.Steps), "steps")
		}
		bar.Set(int64(p.Step), fmt.Sprintf("%s right", report.FormatPercent(p.Right)))
		for _, a := range p.Alarms {
			r.opt.Progress.Log("step %d: %s", a.Step, alarmText(a))
		}
	})
	for _, name := range result.Damaged {
		r.opt.Progress.Log("checkpoint %s is damaged; went on from the one before it", name)
	}
	if errors.Is(err, train.ErrOtherRun) {
		return fmt.Errorf("%w (%s)", err, opt.Dir)
	}
	if err != nil {
		return err
	}
	if err := r.saveReinforced(result); err != nil {
		return err
	}
	if bar != nil {
		bar.Done(fmt.Sprintf("watched problems: %s, %s at the start", share(result.Best), share(result.Start)))
	}
	return nil
}

// share is a share in words; NaN where nobody looked.
func share(v float64) string {
	if v != v {
		return "not looked at"
	}
	return report.FormatPercent(v)
}

func (r *run) grpoOptions(g *GRPO) (train.GRPOOptions, error) {
	longest := g.MaxTokens
	if longest == 0 {
		var err error
		if longest, err = r.longestAnswer(); err != nil {
			return train.GRPOOptions{}, err
		}
	}
	return train.GRPOOptions{
		Steps: g.Steps, Problems: g.Problems, Group: g.Group, MaxTokens: longest, Redraws: g.Redraws, Updates: g.Updates,
		ClipLow: g.ClipLow, ClipHigh: g.ClipHigh, KL: g.KL, DivideByDeviation: g.Deviation, FormReward: *g.FormReward, Curriculum: *g.Curriculum,
		Optimizer: g.Optimizer, LR: g.LearningRate, MuonLR: g.MuonRate, Seed: r.Seed, Patience: g.Patience,
		Dir: filepath.Join(r.dir, reinforceDir),
	}, nil
}

// trials are the problems to learn from and those to be looked at: of a family, none that
// is held out for the evaluation; of the recipe's own, the first of each source are looked at.
func (r *run) trials(g *GRPO) (learn, watch []trial, err error) {
	held := map[string]bool{}
	for i := range r.sources {
		for _, p := range r.sources[i].split.Heldout {
			held[p.ID] = true
		}
	}
	if g.Family != "" {
		family, err := task.New(g.Family, *g.Params)
		if err != nil {
			return nil, nil, err
		}
		split, err := task.NewSplit(family, r.Seed^0x7265696e66, 0)
		if err != nil {
			return nil, nil, err
		}
		for p := range split.Train {
			if held[p.ID] {
				continue
			}
			t := trial{problem: p, task: family}
			if t.prompt, err = r.format.Prompt(p.StudentMessages()); err != nil {
				return nil, nil, fmt.Errorf("problem %s: %w", p.ID, err)
			}
			if len(watch) < g.Watch {
				watch = append(watch, t)
				continue
			}
			if learn = append(learn, t); len(learn) == g.Train {
				return learn, watch, nil
			}
		}
		if len(learn) < g.Problems {
			return nil, nil, r.src.errorf("train[1].grpo.family", "the family has only %d problems beside the %d that are watched and those held out; a step takes %d", len(learn), len(watch), g.Problems)
		}
		return learn, watch, nil
	}
	for i := range r.sources {
		s := &r.sources[i]
		judge, n := r.verifiers.Task(s.task), int64(0)
		for p := range s.split.Train {
			if n == s.total() {
				break
			}
			n++
			if !r.known(s, p) {
				continue
			}
			t := trial{problem: p, task: judge}
			if t.prompt, err = r.format.Prompt(s.reads(p)); err != nil {
				return nil, nil, fmt.Errorf("problem %s: %w", p.ID, err)
			}
			if len(t.prompt) >= r.Student.Context {
				continue
			}
			if n <= int64(g.Watch/len(r.sources)) {
				watch = append(watch, t)
				continue
			}
			learn = append(learn, t)
		}
	}
	if len(learn) < g.Problems {
		return nil, nil, r.src.errorf("train[1].grpo", "%d of the recipe's training prompts have answers that can be judged, and a step takes %d problems; name a family", len(learn), g.Problems)
	}
	return learn, watch, nil
}

// judgeDrawn judges what the student drew.
func (r *run) judgeDrawn(t *trial, a train.Answer) train.Judgement {
	said := a.Tokens
	if a.Ended {
		said = said[:len(said)-1]
	}
	reasoning, content := openai.SplitThink(r.format.Tokenizer().Decode(said))
	return train.Judgement{
		Right:    a.Ended && t.task.Verify(t.problem, content).Correct,
		Formed:   a.Ended && content != "" && (reasoning != "" || r.Curate.Reasoning == "drop"),
		Reasoned: reasoning != "" || r.Curate.Reasoning == "drop",
		Repeats:  repeats(said),
	}
}

// repeats reports whether more than half of a text of some length has stood in it
// before, eight tokens at a time.
func repeats(tokens []int32) bool {
	const n = 8
	if len(tokens) < 4*n {
		return false
	}
	seen, again := map[[n]int32]bool{}, 0
	for i := range len(tokens) - n + 1 {
		piece := [n]int32(tokens[i:])
		if seen[piece] {
			again++
		}
		seen[piece] = true
	}
	return 2*again > len(tokens)-n+1
}

func alarmText(a train.Alarm) string {
	if a.Kind == train.AlarmEntropy {
		return fmt.Sprintf("%s: %.3f nats a token, %.3f in the first steps; what it draws is nearly always the same, and nothing is left to learn from", a.Kind, a.Now, a.Before)
	}
	return fmt.Sprintf("%s: %s of answers, %s in the first steps; read some before you trust what it earns", a.Kind, report.FormatPercent(a.Now), report.FormatPercent(a.Before))
}

// reinforced is what later stages and the report need to know of reinforcement.
type reinforced struct {
	Steps    int           `json:"steps"`
	Tokens   int64         `json:"tokens"`
	Seconds  float64       `json:"seconds"`
	Start    *float64      `json:"start"` // null: nobody looked
	Best     *float64      `json:"best"`
	BestStep int           `json:"best_step"`
	Stopped  bool          `json:"stopped"`
	Hash     string        `json:"hash"`
	Alarms   []train.Alarm `json:"alarms"`
}

func (r *run) saveReinforced(x train.GRPOResult) error {
	known := func(v float64) *float64 {
		if v != v {
			return nil
		}
		return &v
	}
	raw, err := json.MarshalIndent(reinforced{
		Steps: x.Steps, Tokens: x.Tokens, Seconds: x.Seconds, Start: known(x.Start), Best: known(x.Best), BestStep: x.BestStep,
		Stopped: x.Stopped, Hash: x.Hash, Alarms: x.Alarms,
	}, "", "  ")
	if err != nil {
		return err
	}
	return workspace.WriteFileAtomic(filepath.Join(r.dir, reinforcedFile), raw, 0o644)
}

// reportReinforcement tells how the student was reinforced, if it was.
func (r *run) reportReinforcement() error {
	g := r.grpo()
	if g == nil {
		return nil
	}
	var x reinforced
	path := filepath.Join(r.dir, reinforcedFile)
	if found, err := readJSON(path, &x); err != nil || !found {
		return errors.Join(err, fmt.Errorf("%s is missing", path))
	}
	of := g.Family
	if of == "" {
		of = "the recipe's prompts"
	}
	out := &report.Reinforcement{
		Problems: of, Watched: g.Watch, Steps: x.Steps, Tokens: x.Tokens, Seconds: x.Seconds, Start: x.Start, Best: x.Best, BestStep: x.BestStep, Stopped: x.Stopped,
	}
	for _, a := range x.Alarms {
		out.Alarms = append(out.Alarms, fmt.Sprintf("Step %d, %s.", a.Step, alarmText(a)))
	}
	raw, err := os.ReadFile(filepath.Join(r.dir, reinforceDir, train.MetricsFile))
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(bytes.NewReader(raw)); dec.More(); {
		var m struct {
			Step    int      `json:"step"`
			Right   float64  `json:"right"`
			Heldout *float64 `json:"heldout"`
		}
		if err := dec.Decode(&m); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out.Drawn = append(out.Drawn, report.Point{Tokens: int64(m.Step), Value: m.Right})
		if m.Heldout != nil {
			out.Looks = append(out.Looks, report.Point{Tokens: int64(m.Step), Value: *m.Heldout})
		}
	}
	r.report.Reinforcement = out
	return nil
}
