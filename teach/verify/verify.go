package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"retort/exchange"
	"retort/teach/task"
)

// MaxAnswer is how many bytes of an answer a verifier reads. A longer answer
// fails every verifier.
const MaxAnswer = 1 << 20

// Outcome is what one verifier says.
type Outcome = string

// The outcomes.
const (
	Pass  Outcome = "pass"
	Fail  Outcome = "fail"
	Skip  Outcome = "skip"  // it has nothing to compare with
	Error Outcome = "error" // the verifier could not judge; the run goes on
)

// Reasons, beside those of task.Verdict, by which checks are counted. Further
// ones are "wrong:FIELD" of fields, "schema:KEYWORD" of json_schema, and what
// a Starlark function returns.
const (
	ReasonTooLong   = "too_long"      // longer than MaxAnswer
	ReasonNoMatch   = "no_match"      // regex: the pattern is not found
	ReasonMatch     = "match"         // regex with not: the pattern is found
	ReasonNotJSON   = "not_json"      // no JSON, or not where it may stand
	ReasonTooDeep   = "too_deep"      // JSON nested too deeply
	ReasonTooLarge  = "too_large"     // JSON of too many values
	ReasonDuplicate = "duplicate_key" // a key stands twice in one object
	ReasonBadNumber = "bad_number"    // a number beyond what is compared
	ReasonNoField   = "no_field"      // a field that must be there is missing

	ReasonSteps     = "steps"      // error: a check took too many steps
	ReasonMemory    = "memory"     // error: a check allocated too much
	ReasonTime      = "time"       // error: a check took too long
	ReasonDepth     = "depth"      // error: a check's value is nested too deeply
	ReasonCrash     = "crash"      // error: the check itself failed
	ReasonBadResult = "bad_result" // error: the check returned what it may not
	ReasonBadGold   = "bad_gold"   // error: the gold answer cannot be read
	ReasonCancelled = "cancelled"  // error: the run was interrupted
)

// In is one answer to be judged.
type In struct {
	Task     task.Task // the source of the problem; nil if there is none
	Problem  task.Problem
	Messages []exchange.Message // what was asked; nil: the problem's own
	Answer   exchange.Answer
}

// Check is what one verifier said about one answer.
type Check struct {
	Verifier string  `json:"verifier"` // as in Set.Names
	Outcome  Outcome `json:"outcome"`
	Reason   string  `json:"reason,omitempty"` // a word or two, for counting; "" where it passed
	Detail   string  `json:"detail,omitempty"` // for people
}

// Result is what all verifiers of a set said about one answer.
type Result struct {
	Verdict task.Verdict
	Checks  []Check // one for each verifier, in their order
}

// Set is the verifiers of a recipe, ready to judge. It is safe for concurrent
// use.
type Set struct {
	judges []judge
	names  []string
	hash   string
}

// judge is one verifier.
type judge interface {
	check(ctx context.Context, a *answer) finding
	// gold reports whether passing means that the answer is right.
	gold() bool
}

// finding is a judge's outcome, and the answer as it read it.
type finding struct {
	outcome        Outcome
	reason, detail string
	read           string // what agreement compares; "" leaves it to others
	rank           int    // of read: the highest counts
}

// Ranks of what judges read: the more a verifier knows of what matters in an
// answer, the more its reading counts.
const (
	rankJSON = iota + 1
	rankGroup
	rankText
	rankTask
	rankFields
	rankOwn // a Starlark function that says so
)

func passed() finding { return finding{outcome: Pass} }

func failed(reason, format string, args ...any) finding {
	return finding{outcome: Fail, reason: reason, detail: short(fmt.Sprintf(format, args...))}
}

func skipped() finding {
	return finding{outcome: Skip, reason: task.ReasonNoGold, detail: "the problem has no right answer to compare with"}
}

func broken(reason, format string, args ...any) finding {
	return finding{outcome: Error, reason: reason, detail: short(fmt.Sprintf(format, args...))}
}

func (f finding) reading(rank int, read string) finding {
	f.rank, f.read = rank, read
	return f
}

// New makes verifiers ready. It reads the files that they name by read, and
// refuses what cannot work with a *SpecError.
func New(specs []Spec, read func(name string) ([]byte, error)) (*Set, error) {
	s := &Set{}
	h := sha256.New()
	fmt.Fprintf(h, "retort verify 1\n")
	used := map[string]int{}
	for i, spec := range specs {
		kind, err := spec.kind()
		if err != nil {
			return nil, &SpecError{i, "", err.Error()}
		}
		var content []byte
		if name := spec.File(); name != "" {
			if content, err = read(name); err != nil {
				return nil, &SpecError{i, kind, fmt.Sprintf("read %s: %v", name, err)}
			}
		}
		j, err := spec.judge(content)
		if err != nil {
			if at := (*SpecError)(nil); errors.As(err, &at) {
				at.Index, at.Path = i, strings.TrimSuffix(kind+"."+at.Path, ".")
				return nil, at
			}
			return nil, &SpecError{i, kind, err.Error()}
		}
		raw, err := json.Marshal(spec)
		if err == nil {
			raw, err = exchange.CanonicalJSON(raw)
		}
		if err != nil {
			return nil, &SpecError{i, kind, err.Error()}
		}
		fmt.Fprintf(h, "%d\n%s\n%x\n", len(raw), raw, sha256.Sum256(content))
		name := kind
		if file := spec.File(); file != "" {
			name += ":" + path.Base(filepath.ToSlash(file))
		}
		if used[name]++; used[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, used[name])
		}
		s.judges, s.names = append(s.judges, j), append(s.names, name)
	}
	s.hash = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// judge makes the verifier that a spec names.
func (s Spec) judge(content []byte) (judge, error) {
	switch {
	case s.Task != nil:
		return taskJudge{}, nil
	case s.Exact != nil:
		return newExact(*s.Exact)
	case s.Numeric != nil:
		return newNumeric(*s.Numeric)
	case s.Regex != nil:
		return newRegex(*s.Regex)
	case s.JSONSchema != nil:
		return newSchema(*s.JSONSchema, content)
	case s.Fields != nil:
		return newFields(*s.Fields)
	}
	return newStarlark(*s.Starlark, content)
}

// Hash is the SHA-256, in hexadecimal, of the verifiers and of what is in the
// files that they name. Equal hashes give equal verdicts.
func (s *Set) Hash() string { return s.hash }

// Names returns the verifiers' names, such as "fields" or
// "starlark:check.star", in their order and none twice.
func (s *Set) Names() []string { return append([]string(nil), s.names...) }

// UsesGold reports whether some verifier tells right answers from wrong ones,
// rather than well-formed answers from others.
func (s *Set) UsesGold() bool {
	for _, j := range s.judges {
		if j.gold() {
			return true
		}
	}
	return false
}

// Judge runs all verifiers. The verdict has the reason of the first one that
// did not pass; an answer that fails none is correct if one that knows the
// right answer passed it, and else nobody knows (task.ReasonNoGold).
func (s *Set) Judge(ctx context.Context, in In) Result {
	a := &answer{In: in}
	r := Result{Checks: make([]Check, len(s.judges))}
	var knows bool
	var read finding
	var first *Check
	for i, j := range s.judges {
		f := s.run(ctx, j, a)
		c := &r.Checks[i]
		*c = Check{s.names[i], f.outcome, f.reason, f.detail}
		if f.read != "" && f.rank > read.rank {
			read = f
		}
		switch f.outcome {
		case Pass:
			c.Reason = ""
			knows = knows || j.gold()
		case Fail, Error:
			if first == nil {
				first = c
			}
		}
	}
	r.Verdict.Answer = read.read
	if read.rank == 0 && len(in.Answer.Content) <= MaxAnswer {
		r.Verdict.Answer = strings.TrimSpace(in.Answer.Content)
	}
	switch {
	case first != nil && first.Outcome == Error:
		r.Verdict.Reason = "error:" + first.Reason
	case first != nil:
		r.Verdict.Reason = cmp.Or(first.Reason, task.ReasonWrong)
	case knows:
		r.Verdict.Correct, r.Verdict.Reason = true, task.ReasonCorrect
	default:
		r.Verdict.Reason = task.ReasonNoGold
	}
	return r
}

// run keeps a verifier that breaks from stopping anything else.
func (s *Set) run(ctx context.Context, j judge, a *answer) (f finding) {
	defer func() {
		if p := recover(); p != nil {
			f = broken(ReasonCrash, "the verifier broke down: %v", p)
		}
	}()
	if n := len(a.Answer.Content); n > MaxAnswer {
		return failed(ReasonTooLong, "the answer has %d bytes; verifiers read at most %d", n, MaxAnswer)
	}
	if ctx.Err() != nil {
		return broken(ReasonCancelled, "%v", context.Cause(ctx))
	}
	return j.check(ctx, a)
}

// Task returns a task that judges by the set and is otherwise base. Where no
// verifier can know what is right, its verdict is task.ReasonNoGold whatever
// the answer, so that an evaluation reports agreement; Judge says more.
func (s *Set) Task(base task.Task) task.Task { return judged{base, s} }

type judged struct {
	task.Task
	set *Set
}

// Verify implements task.Task.
func (t judged) Verify(p task.Problem, content string) task.Verdict {
	r := t.set.Judge(context.Background(), In{Task: t.Task, Problem: p, Answer: exchange.Answer{Content: content}})
	for i, c := range r.Checks {
		// A verifier of right answers that did not skip knows what is right.
		if t.set.judges[i].gold() && c.Outcome != Skip {
			return r.Verdict
		}
	}
	return task.Verdict{Reason: task.ReasonNoGold, Answer: r.Verdict.Answer}
}

// taskJudge judges by the source of problems itself.
type taskJudge struct{}

func (taskJudge) gold() bool { return true }

func (taskJudge) check(_ context.Context, a *answer) finding {
	if a.Task == nil {
		return broken(ReasonCrash, "the problem comes from nowhere that could judge it")
	}
	v := a.Task.Verify(a.Problem, a.Answer.Content)
	switch {
	case v.Correct:
		return passed().reading(rankTask, v.Answer)
	case v.Reason == task.ReasonNoGold:
		return skipped().reading(rankTask, v.Answer)
	}
	f := failed(cmp.Or(v.Reason, task.ReasonWrong), "")
	if v.Answer != "" {
		f.detail = short(fmt.Sprintf("it says %s", quote(v.Answer)))
	}
	return f.reading(rankTask, v.Answer)
}

// answer is an answer while it is judged, with what several verifiers need of
// it, worked out once.
type answer struct {
	In
	json map[string]*reading // by where JSON may stand
}

// value reads the JSON of the answer, which may stand where read says.
func (a *answer) value(where string) (any, *readError) {
	if r := a.json[where]; r != nil {
		return r.value, r.err
	}
	r := &reading{}
	r.value, r.err = readJSON(a.Answer.Content, where)
	if a.json == nil {
		a.json = map[string]*reading{}
	}
	a.json[where] = r
	return r.value, r.err
}

type reading struct {
	value any
	err   *readError
}
