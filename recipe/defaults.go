package recipe

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"retort/student/model"
	"retort/teach/task"
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
	if t.Request.Temperature == nil {
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
	if r.Verify == nil {
		r.Verify = []Verify{{Task: &struct{}{}}}
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
		orDefault(&p.Field, "prompt")
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

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// validate checks every value after defaults are in.
func (r *Recipe) validate() error {
	bad := r.src.errorf
	if r.Version != Version {
		return bad("retort", "recipe format %d is not known to this program; it reads format %d (write `retort: %d`)", r.Version, Version, Version)
	}
	if !nameForm.MatchString(r.Name) {
		return bad("name", "%q cannot name a directory; use 1 to 64 of a-z, 0-9, '.', '_' and '-'", r.Name)
	}
	for _, check := range []func() error{r.validateTeacher, r.validatePrompts, r.validateCuration, r.validateStudent, r.validateEnd} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recipe) validateTeacher() error {
	t, bad := &r.Teacher, r.src.errorf
	switch {
	case t.Reference == nil && t.BaseURL == "":
		return bad("teacher", "name a teacher: `reference: {}` for the built-in one, or base_url and model")
	case t.Reference != nil && t.BaseURL != "":
		return bad("teacher", "reference and base_url exclude each other")
	case t.Reference != nil && t.Model != t.Reference.ModelName():
		return bad("teacher.model", "the built-in teacher calls itself %q here (teacher.reference.model); leave model out", t.Reference.ModelName())
	case t.Model == "":
		return bad("teacher.model", "which model is asked? Give the name that the API knows it by")
	}
	if t.Reference != nil {
		if err := t.Reference.Validate(); err != nil {
			return bad("teacher.reference", "%v", err)
		}
	}
	if p := t.Price; p != nil && (p.Input < 0 || p.Output < 0) {
		return bad("teacher.price", "a price is not negative")
	}
	q := &t.Request
	switch {
	case *q.Temperature < 0 || *q.Temperature > 2:
		return bad("teacher.request.temperature", "%v is not between 0 and 2", *q.Temperature)
	case q.TopP != nil && (*q.TopP <= 0 || *q.TopP > 1):
		return bad("teacher.request.top_p", "%v is not above 0 and at most 1", *q.TopP)
	case q.MaxTokens < 1:
		return bad("teacher.request.max_tokens", "%d is not a length; it must be at least 1", q.MaxTokens)
	case q.Seed != "derived" && q.Seed != "none":
		return bad("teacher.request.seed", "%q is neither derived nor none", q.Seed)
	}
	for _, owned := range []string{"model", "messages", "stream", "stream_options", "n", "seed", "max_tokens", "temperature", "top_p"} {
		if _, ok := q.ExtraBody[owned]; ok {
			return bad("teacher.request.extra_body."+owned, "%s is set elsewhere; it cannot be an extra field", owned)
		}
	}
	return r.validateLimits()
}

func (r *Recipe) validateLimits() error {
	l, bad := &r.Teacher.Limits, r.src.errorf
	switch {
	case l.RPM < 0 || l.TPM < 0:
		return bad("teacher.limits", "a limit is not negative; leave it out for none")
	case l.Concurrent < 1 || l.Concurrent > 1024:
		return bad("teacher.limits.concurrent", "%d is not between 1 and 1024", l.Concurrent)
	case l.Attempts < 1 || l.Attempts > 100:
		return bad("teacher.limits.attempts", "%d is not between 1 and 100", l.Attempts)
	}
	for key, text := range map[string]string{"deadline": l.Deadline, "stall": l.Stall} {
		if d, err := time.ParseDuration(text); err != nil || d <= 0 {
			return bad("teacher.limits."+key, "%q is not a time such as 30s or 2m", text)
		}
	}
	if b := r.Budget.USD; b != nil && *b < 0 {
		return bad("budget.usd", "%v is negative", *b)
	}
	return nil
}

func (r *Recipe) validatePrompts() error {
	bad := r.src.errorf
	if len(r.Prompts) == 0 {
		return bad("prompts", "there is nothing to ask; name at least one family or file")
	}
	for i := range r.Prompts {
		if err := r.validateSource(i); err != nil {
			return err
		}
	}
	for i, v := range r.Verify {
		if v.Task == nil {
			return bad(at("verify", i), "name a verifier; `task: {}` is the family's own")
		}
	}
	return nil
}

func (r *Recipe) validateSource(i int) error {
	p, path := &r.Prompts[i], at("prompts", i)
	bad := r.src.errorf
	if p.Train < 0 {
		return bad(path+".train", "%d examples cannot be collected", p.Train)
	}
	if p.Heldout.Count < 0 {
		return bad(path+".heldout", "%d problems cannot be kept", p.Heldout.Count)
	}
	switch {
	case slices.Contains(task.Names(), p.Family):
		return r.validateFamily(p, path)
	case p.Family == familyGSM8K:
		if p.File == "" {
			return bad(path+".file", "gsm8k reads the data set's own JSON lines; name its file")
		}
		if p.Field != "" || p.Gold != "" {
			return bad(path, "gsm8k knows its own fields; leave field and gold out")
		}
	case p.Family == "" && p.File != "":
	case p.Family == "":
		return bad(path, "name a family or a file")
	default:
		known := append(task.Names(), familyGSM8K)
		msg := fmt.Sprintf("%q is not a family; there are %s", p.Family, strings.Join(known, ", "))
		if near := nearest(p.Family, known); near != "" {
			msg += "; did you mean " + near + "?"
		}
		return bad(path+".family", "%s", msg)
	}
	if !reflect.ValueOf(p.Params).IsZero() {
		return bad(path, "a file of prompts has no difficulty to set; leave those keys out")
	}
	return nil
}

// familyGSM8K is the family whose problems come from the data set of that name.
const familyGSM8K = "gsm8k"

func (r *Recipe) validateFamily(p *Prompts, path string) error {
	bad := r.src.errorf
	switch {
	case p.Train == 0:
		return bad(path+".train", "how many examples? A family makes as many as you ask for")
	case p.File != "" || p.Field != "" || p.Gold != "":
		return bad(path, "%s makes its own problems; leave file, field and gold out", p.Family)
	case p.Heldout.File != "":
		return bad(path+".heldout.file", "a family makes its held-out problems itself; give their number")
	}
	if _, err := task.New(p.Family, p.Params); err != nil {
		return bad(path, "%v", err)
	}
	return nil
}

func (r *Recipe) validateCuration() error {
	c, bad := &r.Curate, r.src.errorf
	switch {
	case c.Keep != "correct" && c.Keep != "all":
		return bad("curate.keep", "%q is neither correct nor all", c.Keep)
	case c.NearDuplicates < 0 || c.NearDuplicates > 1:
		return bad("curate.near_duplicates", "%v is not a similarity between 0 (off) and 1", c.NearDuplicates)
	case c.Decontaminate != "heldout" && c.Decontaminate != "none":
		return bad("curate.decontaminate", "%q is neither heldout nor none", c.Decontaminate)
	case c.Reasoning != "keep" && c.Reasoning != "drop" && c.Reasoning != "require":
		return bad("curate.reasoning", "%q is none of keep, drop and require", c.Reasoning)
	}
	return nil
}

func (r *Recipe) validateStudent() error {
	s, bad := &r.Student, r.src.errorf
	if s.Vocabulary < 300 || s.Vocabulary > 65536 {
		return bad("student.vocabulary", "%d is not between 300 (256 bytes, special tokens, some merges) and 65536", s.Vocabulary)
	}
	if s.Context < 32 || s.Context > 32768 {
		return bad("student.context", "%d is not between 32 and 32768", s.Context)
	}
	if _, err := model.Preset(s.Preset, s.Vocabulary); err != nil {
		return bad("student.preset", "%v", err)
	}
	if len(r.Train) != 1 {
		return bad("train", "want one step of training, found %d", len(r.Train))
	}
	f := r.Train[0].SFT
	switch {
	case f == nil:
		return bad(at("train", 0), "name a step of training: sft")
	case f.Epochs < 0 || f.Tokens < 0:
		return bad("train[0].sft", "training cannot be negative")
	case f.Epochs > 0 && f.Tokens > 0:
		return bad("train[0].sft.tokens", "epochs and tokens exclude each other")
	case f.BatchTokens < s.Context:
		return bad("train[0].sft.batch_tokens", "%d tokens a step cannot hold a sequence of %d, the student's context", f.BatchTokens, s.Context)
	case f.Optimizer != "muon" && f.Optimizer != "adamw":
		return bad("train[0].sft.optimizer", "%q is neither muon nor adamw", f.Optimizer)
	case f.LearningRate <= 0 || f.MuonRate <= 0 || f.Clip <= 0:
		return bad("train[0].sft", "learning_rate, muon_rate and clip must be above 0")
	case f.Warmup < 0 || f.Decay < 0 || f.Warmup+f.Decay > 1:
		return bad("train[0].sft", "warmup and decay are shares of the steps; together at most 1")
	case f.WeightDecay < 0:
		return bad("train[0].sft.weight_decay", "%v is negative", f.WeightDecay)
	}
	return nil
}

func (r *Recipe) validateEnd() error {
	bad := r.src.errorf
	for i, c := range r.Eval.Against {
		if c.Recipe == "" && c.Name != "teacher" && c.Name != "untrained" {
			return bad(at("eval.against", i), "%q is not known; there are teacher, untrained and {recipe: FILE}", c.Name)
		}
	}
	for i, f := range r.Export {
		if f != "huggingface" && f != "gguf" {
			return bad(at("export", i), "%q is not a format; there are huggingface and gguf", f)
		}
	}
	return nil
}
