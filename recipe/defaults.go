package recipe

import (
	"retort/teach/collect"
	"retort/teach/task"
	"retort/teach/verify"
	"retort/terms"
)

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// fillDefaults writes every default into the recipe, so that what is shown,
// hashed and run is one and the same.
func (r *Recipe) fillDefaults() {
	orDefault(&r.Seed, 1)
	t := &r.Teacher
	if t.Reference != nil {
		orDefault(&t.Model, t.Reference.ModelName())
	}
	// Newer models behind the messages wire refuse a temperature: none is sent
	// there unless the recipe asks for it.
	if t.Request.Temperature == nil && t.wire() != collect.WireMessages {
		v := 0.7
		t.Request.Temperature = &v
	}
	if t.Request.Stream == nil {
		v := true
		t.Request.Stream = &v
	}
	orDefault(&t.Request.MaxTokens, 512)
	orDefault(&t.Request.Seed, "derived")
	orDefault(&t.Limits.Concurrent, 32)
	orDefault(&t.Limits.Deadline, "2m")
	orDefault(&t.Limits.Stall, "30s")
	orDefault(&t.Limits.Attempts, 8)
	for i := range r.Prompts {
		r.Prompts[i].fillDefaults()
	}
	if s := r.StudentPrompt; s != nil {
		orDefault(&s.System, keep)
		orDefault(&s.Shots, keep)
		orDefault(&s.Template, keep)
	}
	if r.Verify == nil {
		r.Verify = []verify.Spec{{Task: &verify.TaskSpec{}}}
	}
	if r.Accept.FinishReason == nil {
		r.Accept.FinishReason = []string{"stop"}
	}
	orDefault(&r.Curate.Keep, "correct")
	orDefault(&r.Curate.Decontaminate, "heldout")
	orDefault(&r.Curate.Reasoning, "keep")
	r.Student.fillDefaults()
	if r.Train == nil {
		r.Train = []Train{{SFT: &SFT{}}}
	}
	for i := range r.Train {
		if s := r.Train[i].SFT; s != nil {
			s.fillDefaults(r.Student)
		}
		if g := r.Train[i].GRPO; g != nil {
			g.fillDefaults(r.Prompts)
		}
	}
	if r.Eval.Against == nil {
		r.Eval.Against = []Contestant{{Name: againstTeacher}}
		if r.Student.Base != "" {
			r.Eval.Against = append(r.Eval.Against, Contestant{Name: againstBase})
		}
	}
	if r.Student.Base != "" && r.Eval.Forgotten == nil {
		r.Eval.Forgotten = &[]Forgotten{{Family: familyGeneral}}
	}
	if r.Eval.Forgotten != nil {
		for i := range *r.Eval.Forgotten {
			f := &(*r.Eval.Forgotten)[i]
			orDefault(&f.Count, 60)
			if f.File != "" {
				orDefault(&f.Field, "prompt")
			}
			fillParams(f.Family, &f.Params)
		}
	}
	if r.Export == nil {
		r.Export = []ExportFile{{Format: formatHuggingFace}, {Format: formatGGUF}}
	}
}

// What student_prompt says of a part of the teacher's prompt.
const (
	keep = "keep"
	drop = "drop"
)

func (p *Prompts) fillDefaults() {
	fillParams(p.Family, &p.Params)
	if p.Family == "" && p.File != "" && p.Template == "" && p.Messages == "" {
		orDefault(&p.Field, "prompt")
	}
	if p.Imported != "" {
		orDefault(&p.Format, "auto")
		orDefault(&p.Turns, "last")
		if p.Consent == nil {
			p.Consent = &Consent{}
		}
		orDefault(&p.Consent.Consent, terms.ConsentUnknown)
	}
}

// fillParams sets a family's usual difficulty.
func fillParams(family string, p *task.Params) {
	switch family {
	case "multiply":
		if p.Digits == nil {
			p.Digits = []int{2, 2}
		}
	case "chain":
		orDefault(&p.Modulus, 7)
		if p.Steps == nil {
			p.Steps = []int{3, 5}
		}
	case "list":
		if p.Length == nil {
			p.Length = []int{4, 6}
		}
		orDefault(&p.Operations, 3)
	case "countdown":
		orDefault(&p.Numbers, 3)
		orDefault(&p.Max, 20)
	}
}

func (s *Student) fillDefaults() {
	orDefault(&s.Context, 512)
	if s.Base == "" {
		orDefault(&s.Preset, "tiny")
		orDefault(&s.Vocabulary, 1024)
	}
	if l := s.LoRA; l != nil {
		orDefault(&l.Rank, 16)
		orDefault(&l.Alpha, 2*float64(l.Rank))
	}
}

func (s *SFT) fillDefaults(student Student) {
	epochs, optimizer, rate, warmup := 5, "muon", 3e-3, 0.02
	switch {
	case student.LoRA != nil:
		epochs, optimizer, rate, warmup = 3, "adamw", 5e-4, 0.05
	case student.Base != "": // it has much to lose
		epochs, optimizer, rate, warmup = 3, "adamw", 2e-5, 0.05
		orDefault(&s.EmbedRate, rate)
		orDefault(&s.HeadRate, rate)
	}
	if s.Tokens == 0 {
		orDefault(&s.Epochs, epochs)
	}
	orDefault(&s.BatchTokens, 2048)
	if student.Base != "" { // of a step's memory most is by token
		orDefault(&s.Accumulate, max(1, s.BatchTokens/max(512, student.Context)))
	}
	orDefault(&s.Optimizer, optimizer)
	orDefault(&s.LearningRate, rate)
	orDefault(&s.MuonRate, 0.01)
	orDefault(&s.Warmup, warmup)
	orDefault(&s.Decay, 0.7)
	orDefault(&s.Clip, 1)
}
