package recipe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"retort/report"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/model"
	"retort/student/tokenizer"
	"retort/student/train"
	"retort/teach/dataset"
	"retort/teach/task"
	"retort/workspace"
)

// makeTokenizer learns the student's vocabulary from the dataset; a base has its
// own.
func (r *run) makeTokenizer(ctx context.Context) error {
	if r.base != nil {
		return r.loadTokenizer(ctx)
	}
	bar := r.opt.Progress.Stage(stageTokenizer, 0, int64(len(r.data.Examples)), "examples")
	texts := func(yield func(string) bool) {
		for _, e := range r.data.Examples {
			for piece := range chat.Texts(lesson(e)) {
				if !yield(piece) {
					return
				}
			}
		}
	}
	t, err := tokenizer.Train(texts, tokenizer.Options{VocabSize: r.Student.Vocabulary})
	if err != nil {
		return err
	}
	if err := workspace.WriteFileAtomic(r.tokenizerPath(), t.JSON(), 0o644); err != nil {
		return err
	}
	r.format = chat.Own(t)
	bar.Done(fmt.Sprintf("%s tokens", report.FormatCount(int64(t.VocabSize()))))
	return nil
}

func (r *run) tokenizerPath() string { return filepath.Join(r.dir, "tokenizer.json") }

func (r *run) loadTokenizer(context.Context) (err error) {
	if r.base != nil {
		r.format, err = r.base.Format()
		return err
	}
	raw, err := os.ReadFile(r.tokenizerPath())
	if err != nil {
		return err
	}
	t, err := tokenizer.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", r.tokenizerPath(), err)
	}
	r.format = chat.Own(t)
	return nil
}

// newStudent makes the student as it is before training.
func (r *run) newStudent() (*model.Model, error) {
	if r.base != nil {
		b, err := base.Read(r.File(r.Student.Base))
		if err != nil {
			return nil, err
		}
		return b.Model, nil
	}
	c, err := model.Preset(r.Student.Preset, r.format.Tokenizer().VocabSize())
	if err != nil {
		return nil, err
	}
	c.MaxPositions = r.Student.Context
	return model.New(c, r.Seed)
}

// sequences renders examples as the student reads them.
func (r *run) sequences(rows []dataset.Example) ([]train.Sequence, error) {
	out := make([]train.Sequence, len(rows))
	for i, e := range rows {
		ids, from, err := r.format.Example(lesson(e))
		if err != nil {
			return nil, fmt.Errorf("example %d, of %s: %w", i+1, e.Source, err)
		}
		out[i] = train.Sequence{Tokens: ids, ResponseFrom: from}
	}
	return out, nil
}

// taught is the dataset as the student reads it.
func (r *run) taught() (_ []train.Sequence, err error) {
	if r.rendered == nil {
		r.rendered, err = r.sequences(r.data.Examples)
	}
	return r.rendered, err
}

// watched bounds the held-out answers whose loss is watched while training, and
// watchedBased those of a student with a base, which takes longer to read them.
const watched, watchedBased = 128, 24

// heldoutSequences renders the teacher's right answers to some held-out
// problems, at most so many, evenly over the sources.
func (r *run) heldoutSequences(ctx context.Context, most int) ([]train.Sequence, error) {
	template, err := r.request(r.teacher)
	if err != nil {
		return nil, err
	}
	var rows []dataset.Example
	for i := range r.sources {
		s := &r.sources[i]
		for _, p := range s.split.Heldout[:min(len(s.split.Heldout), max(1, most/len(r.sources)))] {
			x, err := r.asker.Ask(ctx, r.question(template, s, p, stageEval, 0).request)
			if err != nil && !r.refusable(ctx, err) {
				return nil, err
			}
			if err != nil {
				continue
			}
			if v := r.judge(ctx, s, p, x).verdict; !v.Correct && v.Reason != task.ReasonNoGold {
				continue
			}
			reasoning := x.Answer.Reasoning
			if r.Curate.Reasoning == "drop" {
				reasoning = ""
			}
			rows = append(rows, dataset.Example{Prompt: s.reads(p), Reasoning: reasoning, Answer: x.Answer.Content, ToolCalls: x.Answer.ToolCalls})
		}
	}
	return r.sequences(rows)
}

// train teaches the student. Its checkpoints are in the run's directory; where
// the last of them is there already, it is read and nothing is trained.
func (r *run) train(ctx context.Context) error {
	most := watched
	if r.base != nil {
		most = watchedBased
	}
	held, err := r.heldoutSequences(ctx, most)
	if err != nil {
		return err
	}
	taught, err := r.taught()
	if err != nil {
		return err
	}
	dir := filepath.Join(r.dir, checkpointsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	opt := r.trainOptions()
	opt.Heldout, opt.Dir = held, dir
	var bar *report.Stage
	result, err := r.teach(ctx, taught, opt, func(p train.Progress) {
		if bar == nil {
			bar = r.opt.Progress.Stage(stageTrain, p.Tokens, p.TotalTokens, "tokens")
		}
		bar.Set(p.Tokens, fmt.Sprintf("loss %.3f", p.Loss))
	})
	for _, name := range result.Damaged {
		r.opt.Progress.Log("checkpoint %s is damaged; went on from the one before it", name)
	}
	if err != nil {
		return err
	}
	if err := r.saveTraining(result); err != nil {
		return err
	}
	if bar != nil {
		bar.Done(fmt.Sprintf("loss %.3f after %s tokens", result.Loss, report.FormatCount(result.Tokens)))
	}
	return nil
}

// trainOptions are what the recipe says of training.
func (r *run) trainOptions() train.Options {
	f := r.Train[0].SFT
	every := 0 // the usual
	if r.Student.LoRA != nil {
		every = 20 // its steps are long, and what is kept of them is small
	}
	return train.Options{
		CheckpointEvery: every,
		Context:         r.Student.Context,
		Epochs:          f.Epochs, Tokens: f.Tokens, BatchTokens: f.BatchTokens, Accumulate: f.Accumulate, Optimizer: f.Optimizer, Precision: cmp.Or(f.Precision, "auto"), LR: f.LearningRate, MuonLR: f.MuonRate, EmbedLR: f.EmbedRate, HeadLR: f.HeadRate,
		WarmupShare: offIfZero(f.Warmup), DecayShare: offIfZero(f.Decay), ClipNorm: f.Clip, WeightDecay: f.WeightDecay,
		Seed: r.Seed,
	}
}

// teach trains all weights of the student, or an adapter beside its base, which is
// merged at the end.
func (r *run) teach(ctx context.Context, data []train.Sequence, opt train.Options, on func(train.Progress)) (train.Result, error) {
	if r.Student.LoRA == nil {
		m, err := r.newStudent()
		if err != nil {
			return train.Result{}, err
		}
		r.student = m
		return train.SFT(ctx, m, r.pool, data, opt, on)
	}
	var err error
	if r.adapter, err = r.newAdapter(); err != nil {
		return train.Result{}, err
	}
	opt.Adapter = r.adapter
	source, err := base.Open(r.File(r.Student.Base))
	if err != nil {
		return train.Result{}, err
	}
	defer source.Close()
	result, err := train.SFT(ctx, source, r.pool, data, opt, on)
	if err != nil {
		return result, err
	}
	if r.student, err = r.newStudent(); err != nil {
		return result, err
	}
	return result, r.adapter.Merge(r.student)
}

// offIfZero is how a share of the recipe, where 0 means none, is said to
// train.Options, where 0 means the default.
func offIfZero(share float64) float64 {
	if share == 0 {
		return -1
	}
	return share
}

// checkpointsDir is where training keeps its checkpoints and metrics.
const checkpointsDir = "checkpoints"

// trainingFile is where the stage leaves what it came to.
const trainingFile = "training.json"

// trained is what later stages and the report need to know of training.
type trained struct {
	Steps     int     `json:"steps"`
	Tokens    int64   `json:"tokens"`
	Seconds   float64 `json:"seconds"`
	Loss      float64 `json:"loss"`
	Hash      string  `json:"hash"` // of what was trained
	Precision string  `json:"precision"`
	TooLong   int     `json:"too_long"`
	Sequences int     `json:"sequences"`
	Joules    float64 `json:"joules,omitempty"`
}

func (r *run) saveTraining(result train.Result) error {
	raw, err := json.MarshalIndent(trained{
		Steps: result.Steps, Tokens: result.Tokens, Seconds: result.Seconds, Loss: result.Loss, Hash: result.Hash, Precision: result.Precision,
		TooLong: result.TooLong, Sequences: result.Sequences, Joules: result.Joules,
	}, "", "  ")
	if err != nil {
		return err
	}
	return workspace.WriteFileAtomic(filepath.Join(r.dir, trainingFile), raw, 0o644)
}

func (r *run) training() (trained, error) {
	var t trained
	path := filepath.Join(r.dir, trainingFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// curve reads the training's metrics, thinned out for a chart.
func (r *run) curve() (loss, heldout []report.Point, err error) {
	const most = 300
	path := filepath.Join(r.dir, checkpointsDir, train.MetricsFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	type metric struct {
		Tokens  int64    `json:"tokens"`
		Loss    float64  `json:"loss"`
		Heldout *float64 `json:"heldout_loss"`
	}
	var all []metric
	for dec := json.NewDecoder(bytes.NewReader(raw)); dec.More(); {
		var m metric
		if err := dec.Decode(&m); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, m)
	}
	every := max(1, len(all)/most)
	var sum float64
	for i, m := range all {
		sum += m.Loss
		if (i+1)%every == 0 {
			loss = append(loss, report.Point{Tokens: m.Tokens, Value: sum / float64(every)})
			sum = 0
		}
		if m.Heldout != nil {
			heldout = append(heldout, report.Point{Tokens: m.Tokens, Value: *m.Heldout})
		}
	}
	return loss, heldout, nil
}
