package recipe

import (
	"retort/internal/kernel"
	"retort/student/base"
	"retort/student/model"
	"retort/student/serve"
)

// What eval.weights can say.
const (
	weightsFP32   = "fp32"
	weightsBlocks = "blocks"
)

// candidate is a model that is to answer: its weights, what they are held in, and an
// adapter beside them or none.
type candidate struct {
	model.Source
	hash    string
	format  kernel.Format
	adapter *model.Adapter
	done    func() // closes the source
}

// inMemory is a model as a candidate.
func inMemory(m *model.Model, f kernel.Format) candidate {
	return candidate{Source: m, hash: m.Hash(), format: f, done: func() {}}
}

// baseCandidate is what the student started from, if that is a base.
func (r *run) baseCandidate() (candidate, error) {
	b, err := base.Open(r.File(r.Student.Base))
	if err != nil {
		return candidate{}, err
	}
	c := candidate{Source: b, done: func() { b.Close() }}
	if r.Eval.Weights == weightsBlocks {
		c.format = kernel.FormatBlocks
	}
	if c.hash, err = model.HashOf(b); err != nil {
		c.done()
	}
	return c, err
}

// studentCandidate is the student: merged, or beside its base's blocks.
func (r *run) studentCandidate() (candidate, error) {
	if r.Eval.Weights != weightsBlocks {
		return inMemory(r.student, kernel.FormatFP32), nil
	}
	c, err := r.baseCandidate()
	c.hash, c.adapter = r.student.Hash(), r.adapter
	return c, err
}

// engine serves a candidate by a name.
func (r *run) engine(name string, c *candidate) (*serve.Engine, error) {
	context := min(r.Student.Context, c.Config().MaxPositions)
	room := max(context, min(evalSlots*context, evalCache/(4*c.Config().CacheValues())))
	opt := serve.Options{Model: name, Slots: evalSlots, MaxContext: context, CacheTokens: room, Weights: c.format}
	if c.adapter != nil {
		opt.Model, opt.Adapters = "the base of "+name, []serve.Adapter{{Name: name, Weights: c.adapter}}
	}
	return serve.NewEngine(c.Source, r.format, r.pool, opt)
}

// endpoint names a candidate in what it is asked.
func (c *candidate) endpoint() string {
	if c.format == kernel.FormatFP32 {
		return "student:" + c.hash
	}
	return "student:" + c.hash + ":" + c.format.String()
}
