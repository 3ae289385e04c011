package recipe

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"retort/importer"
	"retort/internal/strict"
	"retort/student/model"
	"retort/teach/collect"
	"retort/teach/task"
	"retort/terms"
)

// NameForm is how a run may be called: it names a directory.
var NameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// validate checks every value after defaults are in.
func (r *Recipe) validate() error {
	bad := r.src.errorf
	if r.Version != Version {
		return bad("retort", "recipe format %d is not known to this program; it reads format %d (write `retort: %d`)", r.Version, Version, Version)
	}
	if !NameForm.MatchString(r.Name) {
		return bad("name", "%q cannot name a directory; use 1 to 64 of a-z, 0-9, '.', '_' and '-'", r.Name)
	}
	for _, check := range []func() error{r.validateTeacher, r.validatePrompts, r.validateVerifiers, r.validateCuration, r.validateStudent, r.validateStudentPrompt, r.validateTerms, r.validateEnd} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recipe) validateTeacher() error {
	t, bad := &r.Teacher, r.src.errorf
	switch {
	case r.asksNobody() && t.Reference == nil && t.BaseURL == "" && t.Model == "":
		return r.validateLimits()
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
	if err := r.validateWire(); err != nil {
		return err
	}
	if p := t.Price; p != nil && (p.Input < 0 || p.Output < 0) {
		return bad("teacher.price", "a price is not negative")
	}
	q := &t.Request
	switch {
	case q.Temperature != nil && (*q.Temperature < 0 || *q.Temperature > 2):
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
	return nil
}

// asksNobody reports whether all answers that the recipe learns from are there
// already.
func (r *Recipe) asksNobody() bool {
	for _, p := range r.Prompts {
		if p.Imported == "" && p.Served == nil {
			return false
		}
	}
	return len(r.Prompts) > 0
}

func (r *Recipe) validateWire() error {
	t, bad := &r.Teacher, r.src.errorf
	if _, err := collect.ParseWire(t.Wire); err != nil {
		return bad("teacher.wire", "%v", err)
	}
	if t.Reference != nil && t.Provider != "" {
		return bad("teacher.provider", "the built-in teacher has no provider; leave it out")
	}
	if _, err := collect.QuirksOf(t.Provider, t.BaseURL); err != nil {
		return bad("teacher.provider", "%v", err)
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
	case p.Served != nil:
		return r.validateServed(p, path)
	case p.Imported != "":
		return r.validateImported(p, path)
	}
	if key := p.importKey(); key != "" {
		return bad(path+"."+key, "%s belongs to imported conversations (`imported: FILE`)", key)
	}
	switch {
	case p.Samples < 0 || p.Samples > 100:
		return bad(path+".samples", "%d is not a number of answers between 1 and 100", p.Samples)
	case slices.Contains(task.Names(), p.Family):
		return r.validateFamily(p, path)
	case p.Family == familyGSM8K:
		if p.File == "" {
			return bad(path+".file", "gsm8k reads the data set's own JSON lines; name its file")
		}
		if key := p.fileKey(); key != "" {
			return bad(path+"."+key, "gsm8k knows its own fields; leave %s out", key)
		}
	case p.Family == "" && p.File != "":
		if err := r.validateFile(p, path); err != nil {
			return err
		}
	case p.Family == "":
		return bad(path, "name a family, a file, imported conversations, or what the gateway served (`served: {}`)")
	default:
		known := append(task.Names(), familyGSM8K)
		msg := fmt.Sprintf("%q is not a family; there are %s", p.Family, strings.Join(known, ", "))
		if near := strict.Nearest(p.Family, known); near != "" {
			msg += "; did you mean " + near + "?"
		}
		return bad(path+".family", "%s", msg)
	}
	if !reflect.ValueOf(p.Params).IsZero() {
		return bad(path, "a file of prompts has no difficulty to set; leave those keys out")
	}
	return nil
}

// fileKey returns the first key that is set and only says how a file of one's
// own is read.
func (p *Prompts) fileKey() string {
	for _, k := range []struct{ key, value string }{
		{"field", p.Field}, {"gold", p.Gold}, {"id", p.ID}, {"messages", p.Messages}, {"system", p.System}, {"template", p.Template},
		{"shots", p.Shots}, {"heldout.expect", p.Heldout.Expect},
	} {
		if k.value != "" {
			return k.key
		}
	}
	return ""
}

// importKey returns the first key that is set and only says how imported
// conversations are read.
func (p *Prompts) importKey() string {
	switch {
	case p.Format != "":
		return "format"
	case p.Turns != "":
		return "turns"
	case p.Terms != "":
		return "terms"
	case p.Consent != nil:
		return "consent"
	}
	return ""
}

func (r *Recipe) validateFile(p *Prompts, path string) error {
	bad := r.src.errorf
	switch {
	case p.Messages != "" && (p.Template != "" || p.Field != ""):
		return bad(path+".messages", "a conversation is asked as it stands; leave template and field out")
	case p.Heldout.Expect != "" && p.Heldout.File == "":
		return bad(path+".heldout.expect", "it says where the held-out file keeps its right answers; name the file too, or write `gold: %s`", p.Heldout.Expect)
	}
	return nil
}

func (r *Recipe) validateImported(p *Prompts, path string) error {
	bad := r.src.errorf
	if key := p.fileKey(); key != "" {
		return bad(path+"."+key, "an imported conversation is taken as it stands; leave %s out", key)
	}
	switch {
	case p.Family != "" || p.File != "":
		return bad(path, "imported, family and file exclude each other")
	case !reflect.ValueOf(p.Params).IsZero():
		return bad(path, "imported conversations have no difficulty to set; leave those keys out")
	case p.Samples != 0:
		return bad(path+".samples", "nothing is asked; an imported conversation has the answers that it has")
	case p.Heldout.File != "":
		return bad(path+".heldout.file", "give the number of conversations that are held out")
	case !slices.Contains(importer.Formats(), importer.Format(p.Format)):
		return bad(path+".format", "%q is none of the formats %s", p.Format, listOf(importer.Formats()))
	case p.Turns != "last" && p.Turns != "all":
		return bad(path+".turns", "%q is neither last nor all", p.Turns)
	case !slices.Contains([]string{terms.ConsentRecorded, terms.ConsentNone, terms.ConsentUnknown}, p.Consent.Consent):
		return bad(path+".consent", "%q is none of recorded, none and unknown", p.Consent.Consent)
	case p.Consent.Consent == terms.ConsentRecorded && p.Consent.Basis == "":
		return bad(path+".consent", "where is it recorded? Write `consent: {consent: recorded, basis: WHERE}`")
	case p.Terms == "":
		return bad(path+".terms", "under which terms were these answers obtained? Name a row, such as `terms: self-hosted`; `retort terms list` shows them, and `terms: {agreements: [FILE]}` adds one of your own")
	}
	return nil
}

func listOf[T ~string](items []T) string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}

// familyGSM8K is the family whose problems come from the data set of that name.
const familyGSM8K = "gsm8k"

func (r *Recipe) validateFamily(p *Prompts, path string) error {
	bad := r.src.errorf
	switch {
	case p.Train == 0:
		return bad(path+".train", "how many examples? A family makes as many as you ask for")
	case p.File != "" || p.fileKey() != "":
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
	switch l := s.LoRA; {
	case s.Context < 32 || s.Context > 32768:
		return bad("student.context", "%d is not between 32 and 32768", s.Context)
	case s.Base != "" && s.Preset != "":
		return bad("student.preset", "a student starts from a base or, by a preset, from nothing; leave one of them out")
	case s.Base != "" && s.Vocabulary != 0:
		return bad("student.vocabulary", "a base brings its own tokenizer; leave vocabulary out")
	case s.Base == "" && l != nil:
		return bad("student.lora", "an adapter is taught to a base; name one (`base: MODEL`)")
	case s.Base == "" && s.Terms != "":
		return bad("student.terms", "a student from nothing is under nobody's licence; leave terms out, or name a base")
	case s.Base == "" && (s.Vocabulary < 300 || s.Vocabulary > 65536):
		return bad("student.vocabulary", "%d is not between 300 (256 bytes, special tokens, some merges) and 65536", s.Vocabulary)
	case l != nil && (l.Rank < 1 || l.Rank > 1024):
		return bad("student.lora.rank", "%d is not between 1 and 1024", l.Rank)
	case l != nil && !(l.Alpha > 0 && l.Alpha <= 1e6):
		return bad("student.lora.alpha", "%v is not a positive number", l.Alpha)
	case l != nil && !(l.Dropout >= 0 && l.Dropout < 1):
		return bad("student.lora.dropout", "%v is not a share from 0 to below 1", l.Dropout)
	}
	if s.Base == "" {
		if _, err := model.Preset(s.Preset, s.Vocabulary); err != nil {
			return bad("student.preset", "%v", err)
		}
	}
	if n := len(r.Train); n < 1 || n > 2 || n == 2 && (r.Train[1].GRPO == nil || r.Train[1].SFT != nil) || r.Train[0].GRPO != nil {
		return bad("train", "want a step of sft and, if at all, one of grpo after it")
	}
	if err := r.validateGRPO(); err != nil {
		return err
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
	case f.Accumulate < 0:
		return bad("train[0].sft.accumulate", "a step cannot be computed in %d parts", f.Accumulate)
	case f.Optimizer != "muon" && f.Optimizer != "adamw":
		return bad("train[0].sft.optimizer", "%q is neither muon nor adamw", f.Optimizer)
	case !slices.Contains([]string{"", "fp32", "bf16", "auto"}, f.Precision):
		return bad("train[0].sft.precision", "%q is none of fp32, bf16 and auto", f.Precision)
	case f.LearningRate <= 0 || f.MuonRate <= 0 || f.EmbedRate < 0 || f.HeadRate < 0 || f.Clip <= 0:
		return bad("train[0].sft", "learning_rate, muon_rate, embedding_rate, head_rate and clip must be above 0")
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
		if c.Recipe == "" && !c.known() {
			return bad(at("eval.against", i), "%q is not known; there are teacher, base, untrained, taught, bf16, int8, f16, q8_0, q4_0, q4_1 and {recipe: FILE}", c.Name)
		}
		if based := r.Student.Base != ""; c.Name == againstBase && !based {
			return bad(at("eval.against", i), "this student starts from nothing; write untrained")
		} else if c.Name == againstUntrained && based {
			return bad(at("eval.against", i), "this student starts from a base; write base")
		} else if c.Name == againstTaught && r.grpo() == nil {
			return bad(at("eval.against", i), "this student is not reinforced after it was taught; leave it out")
		}
	}
	switch w := r.Eval.Weights; {
	case w != "" && w != weightsFP32 && w != weightsBlocks:
		return bad("eval.weights", "%q is neither fp32 nor blocks", w)
	case w == weightsBlocks && r.Student.LoRA == nil:
		return bad("eval.weights", "blocks are a base's, beside which a student is an adapter (student.base, student.lora); the weights of this one are taught")
	}
	if err := r.validateForgotten(); err != nil {
		return err
	}
	ggufs := 0
	for i, f := range r.Export {
		switch {
		case f.Format != formatHuggingFace && f.Format != formatGGUF:
			return bad(at("export", i), "%q is not a format; there are huggingface, gguf and {gguf: TYPE}", f.Format)
		case f.Type != "" && !slices.Contains(ggufTypes, f.Type):
			return bad(at("export", i), "%q is not a type that a GGUF is written in; there are %s", f.Type, strings.Join(ggufTypes, ", "))
		}
		if f.Format == formatGGUF {
			if ggufs++; ggufs > 1 {
				return bad(at("export", i), "one GGUF is written")
			}
		}
	}
	return nil
}

func (r *Recipe) validateForgotten() error {
	bad := r.src.errorf
	if r.Eval.Forgotten == nil {
		return nil
	}
	if r.Student.Base == "" {
		return bad("eval.forgotten", "this student starts from nothing and has nothing to forget; leave it out, or name a base")
	}
	for i, f := range *r.Eval.Forgotten {
		path := at("eval.forgotten", i)
		hasParams := !reflect.ValueOf(f.Params).IsZero()
		switch {
		case f.Count < 1:
			return bad(path+".count", "%d is not a number of questions", f.Count)
		case (f.Family == "") == (f.File == ""):
			return bad(path, "name a family or a file")
		case f.Family != "" && (f.Field != "" || f.Gold != ""):
			return bad(path, "field and gold belong to a file; leave them out")
		case f.File != "" && f.Gold == "":
			return bad(path+".gold", "which field holds the answer?")
		case (f.File != "" || f.Family == familyGeneral) && hasParams:
			return bad(path, "only a family of problems has a difficulty to set; leave those keys out")
		case f.File != "" || f.Family == familyGeneral:
			continue
		}
		if _, err := task.New(f.Family, f.Params); err != nil {
			return bad(path+".family", "%v", err)
		}
	}
	return nil
}

func (r *Recipe) validateStudentPrompt() error {
	s, bad := r.StudentPrompt, r.src.errorf
	if s == nil {
		return nil
	}
	for key, value := range map[string]string{"system": s.System, "shots": s.Shots} {
		if value != keep && value != drop {
			return bad("student_prompt."+key, "%q is neither keep nor drop", value)
		}
	}
	served := false
	for _, p := range r.Prompts {
		if p.Family == "" && p.File != "" {
			return nil
		}
		served = served || p.Served != nil
	}
	switch {
	case !served:
		return bad("student_prompt", "it says what is left out of prompts that come from a file, or that the gateway served; this recipe has none")
	case s.Shots != keep:
		return bad("student_prompt.shots", "examples in a served request cannot be told from what was said; only its system prompt can be dropped")
	case s.Template != keep:
		return bad("student_prompt.template", "a served request has no template; only its system prompt can be dropped")
	}
	return nil
}

func (r *Recipe) validateTerms() error {
	bad := r.src.errorf
	g, err := r.registry()
	if err != nil || r.Terms == nil {
		return err
	}
	for i, o := range r.Terms.Overrides {
		if err := g.Check(o); err != nil {
			return bad(at("terms.overrides", i), "%v", err)
		}
	}
	return nil
}
