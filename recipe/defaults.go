package recipe

import (
	"retort/teach/collect"
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
	orDefault(&r.Student.Preset, "tiny")
	orDefault(&r.Student.Vocabulary, 1024)
	orDefault(&r.Student.Context, 512)
	if r.Train == nil {
		r.Train = []Train{{SFT: &SFT{}}}
	}
	for i := range r.Train {
		if s := r.Train[i].SFT; s != nil {
			s.fillDefaults()
		}
	}
	if r.Eval.Against == nil {
		r.Eval.Against = []Contestant{{Name: "teacher"}}
	}
	if r.Export == nil {
		r.Export = []string{"huggingface", "gguf"}
	}
}

// What student_prompt says of a part of the teacher's prompt.
const (
	keep = "keep"
	drop = "drop"
)

func (p *Prompts) fillDefaults() {
	switch p.Family {
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
	case "":
		if p.File != "" && p.Template == "" && p.Messages == "" {
			orDefault(&p.Field, "prompt")
		}
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

func (s *SFT) fillDefaults() {
	if s.Tokens == 0 {
		orDefault(&s.Epochs, 5)
	}
	orDefault(&s.BatchTokens, 2048)
	orDefault(&s.Optimizer, "muon")
	orDefault(&s.LearningRate, 3e-3)
	orDefault(&s.MuonRate, 0.01)
	orDefault(&s.Warmup, 0.02)
	orDefault(&s.Decay, 0.7)
	orDefault(&s.Clip, 1)
}
