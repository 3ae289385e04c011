package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"retort/exchange"
)

// Bounds of a Starlark file and of what its function may return.
const (
	maxStarFile = 128 << 10
	maxReason   = 60 // bytes of a reason, which is counted by
	maxRead     = 64 << 10
)

// starJudge asks a user's own function. Each check runs the whole file anew,
// so that no check can leave anything behind for another.
type starJudge struct {
	spec    StarlarkSpec
	program *starlark.Program
	limit   time.Duration
}

func newStarlark(s StarlarkSpec, content []byte) (judge, error) {
	if s.File == "" {
		return nil, &SpecError{Path: "file", Msg: "there is no check; name its file"}
	}
	j := &starJudge{spec: s, limit: DefaultTime}
	if j.spec.Function == "" {
		j.spec.Function = "check"
	}
	if j.spec.Steps == 0 {
		j.spec.Steps = DefaultSteps
	}
	if j.spec.MemoryMB == 0 {
		j.spec.MemoryMB = DefaultMemoryMB
	}
	if s.Steps < 0 {
		return nil, &SpecError{Path: "steps", Msg: fmt.Sprintf("%d is no number of steps", s.Steps)}
	}
	if s.MemoryMB < 0 || s.MemoryMB > 1<<14 {
		return nil, &SpecError{Path: "memory_mb", Msg: fmt.Sprintf("%d MiB cannot be a limit; it must be between 1 and %d", s.MemoryMB, 1<<14)}
	}
	if s.Time != "" {
		d, err := time.ParseDuration(s.Time)
		if err != nil || d <= 0 {
			return nil, &SpecError{Path: "time", Msg: fmt.Sprintf("%q is not a time such as 30s", s.Time)}
		}
		j.limit = d
	}
	if err := j.compile(content); err != nil {
		return nil, &SpecError{Msg: err.Error()}
	}
	return j, nil
}

var dialect = syntax.FileOptions{Set: true}

// compile makes the program, and tries that it defines the function.
func (j *starJudge) compile(content []byte) error {
	name := j.spec.File
	if len(content) > maxStarFile {
		return fmt.Errorf("%s has %d bytes; a check has at most %d", name, len(content), maxStarFile)
	}
	f, err := dialect.Parse(name, content, 0)
	if err == nil {
		err = rewrite(f)
	}
	if err == nil {
		j.program, err = starlark.FileProgram(f, environment.Has)
	}
	if err != nil {
		return errors.New(compileError(err))
	}
	run := j.start(context.Background())
	defer run.end()
	_, err = run.function()
	if bad := (*limitError)(nil); errors.As(err, &bad) {
		return fmt.Errorf("%s: %s before it is asked anything", name, bad.detail)
	}
	return err
}

// compileError is file:line:column and what is wrong there.
func compileError(err error) string {
	var list resolve.ErrorList
	if !errors.As(err, &list) {
		return err.Error()
	}
	slices.SortStableFunc(list, func(x, y resolve.Error) int {
		return int(x.Pos.Line-y.Pos.Line)*1000 + int(x.Pos.Col-y.Pos.Col)
	})
	msg := list[0].Error()
	if n := len(list) - 1; n > 0 {
		msg += fmt.Sprintf(" (and %d more)", n)
	}
	return msg
}

func (j *starJudge) gold() bool { return j.spec.Gold }

func (j *starJudge) check(ctx context.Context, a *answer) finding {
	run := j.start(ctx)
	defer run.end()
	v, err := run.ask(a)
	if err != nil {
		return run.failure(err)
	}
	return run.result(v)
}

// starRun is one check while it runs.
type starRun struct {
	*meter
	judge *starJudge
	stops []func() bool
}

// start makes a thread with its limits. The clock is a backstop: a check that
// ends within its steps ends within the time, except on a machine that stands
// still.
func (j *starJudge) start(ctx context.Context) *starRun {
	m := &meter{maxSteps: uint64(j.spec.Steps), maxMemory: int64(j.spec.MemoryMB) << 20}
	m.thread = &starlark.Thread{Name: j.spec.File, Print: func(_ *starlark.Thread, msg string) {
		if room := maxPrinted - len(m.printed); room > 0 {
			m.printed = append(append(m.printed, cut(msg, room)...), '\n')
		}
	}}
	m.thread.SetLocal(meterKey, m)
	m.thread.SetMaxExecutionSteps(m.maxSteps)
	m.thread.OnMaxSteps = func(*starlark.Thread) { m.stop(m.tooManySteps()) }
	timer := time.AfterFunc(j.limit, func() {
		m.stop(&limitError{ReasonTime, fmt.Sprintf("the check takes longer than %v", j.limit)})
	})
	interrupted := context.AfterFunc(ctx, func() {
		m.stop(&limitError{ReasonCancelled, context.Cause(ctx).Error()})
	})
	return &starRun{m, j, []func() bool{timer.Stop, interrupted}}
}

func (r *starRun) end() {
	for _, stop := range r.stops {
		stop()
	}
}

// function runs the file and returns the function that it defines.
func (r *starRun) function() (*starlark.Function, error) {
	globals, err := r.judge.program.Init(r.thread, environment)
	if err != nil {
		if f := r.failure(err); f.reason != ReasonCrash {
			return nil, &limitError{f.reason, f.detail}
		}
		return nil, errors.New(place(err))
	}
	name := r.judge.spec.Function
	v, ok := globals[name]
	if !ok {
		return nil, fmt.Errorf("%s:1:1: it defines no function %s(answer, problem)", r.judge.spec.File, name)
	}
	fn, ok := v.(*starlark.Function)
	if !ok {
		return nil, fmt.Errorf("%s:1:1: %s is a %s, not a function", r.judge.spec.File, name, v.Type())
	}
	required := fn.NumParams()
	for i := range fn.NumParams() {
		if fn.ParamDefault(i) != nil {
			required--
		}
	}
	if fn.HasVarargs() || fn.HasKwargs() || fn.NumKwonlyParams() > 0 || fn.NumParams() < 2 || required > 2 {
		return nil, fmt.Errorf("%s: %s must take two arguments, the answer and the problem", fn.Position(), name)
	}
	return fn, nil
}

// ask runs the function on an answer.
func (r *starRun) ask(a *answer) (starlark.Value, error) {
	fn, err := r.function()
	if err != nil {
		return nil, err
	}
	in, err := r.arguments(a)
	if err != nil {
		return nil, err
	}
	return starlark.Call(r.thread, fn, in, nil)
}

// failure is the finding of a check that did not return.
func (r *starRun) failure(err error) finding {
	var limit *limitError
	if !errors.As(err, &limit) {
		limit = r.stopped.Load()
	}
	if limit == nil {
		f := broken(ReasonCrash, "%s", place(err))
		f.detail = r.withPrinted(f.detail)
		return f
	}
	detail := limit.detail
	if at := innermost(err); at != "" {
		detail = at + ": " + detail
	}
	return broken(limit.reason, "%s", r.withPrinted(detail))
}

func (r *starRun) withPrinted(detail string) string {
	if out := strings.TrimSpace(string(r.printed)); out != "" {
		detail += "; it printed: " + out
	}
	return short(detail)
}

// place is an error of a program with where in the file it arose.
func place(err error) string {
	msg := err.Error()
	var eval *starlark.EvalError
	if !errors.As(err, &eval) {
		return msg
	}
	if at := innermost(err); at != "" {
		return at + ": " + eval.Msg
	}
	return eval.Msg
}

// innermost is the place in the user's file where an error arose.
func innermost(err error) string {
	var eval *starlark.EvalError
	if !errors.As(err, &eval) {
		return ""
	}
	for i := range eval.CallStack {
		f := eval.CallStack.At(i)
		if f.Pos.Line > 0 && f.Pos.Filename() != "<builtin>" {
			return f.Pos.String()
		}
	}
	return ""
}

// result reads what the function returned.
func (r *starRun) result(v starlark.Value) finding {
	switch v := v.(type) {
	case starlark.NoneType:
		return finding{outcome: Skip, reason: "skipped", detail: "the check had nothing to say"}
	case starlark.Bool:
		if v {
			return passed()
		}
		f := failed("refused", "")
		f.detail = r.withPrinted("the check returned False")
		return f
	case starlark.String:
		return r.refusal(string(v), "")
	case *starlark.Dict:
		return r.resultDict(v)
	}
	return r.badResult("it returned a %s; it must return True, False, a reason, a dict, or None to abstain", v.Type())
}

func (r *starRun) badResult(format string, args ...any) finding {
	f := broken(ReasonBadResult, format, args...)
	f.detail = r.judge.spec.File + ": " + r.withPrinted(f.detail)
	return f
}

// refusal is a failure for a reason of the user's. What is too long to count
// by becomes the detail.
func (r *starRun) refusal(reason, detail string) finding {
	reason = strings.Join(strings.Fields(reason), " ")
	if reason == "" {
		return r.badResult("it returned an empty reason")
	}
	if len(reason) > maxReason && detail == "" {
		detail = reason
	}
	f := failed(cut(reason, maxReason), "")
	f.detail = r.withPrinted(detail)
	return f
}

// resultDict reads {"ok": …, "reason": …, "detail": …, "answer": …}.
func (r *starRun) resultDict(d *starlark.Dict) finding {
	var ok starlark.Value
	texts := map[string]string{}
	for k, v := range d.Entries() {
		key, _ := starlark.AsString(k)
		switch key {
		case "ok":
			ok = v
		case "reason", "detail", "answer":
			s, is := starlark.AsString(v)
			if !is {
				return r.badResult("%q of the dict that it returned is a %s, not a string", key, v.Type())
			}
			texts[key] = s
		default:
			return r.badResult("the dict that it returned has the key %s; there are ok, reason, detail and answer", quote(fmt.Sprint(cut(key, maxReason))))
		}
	}
	var f finding
	switch ok := ok.(type) {
	case starlark.Bool:
		if f = passed(); !ok {
			reason := texts["reason"]
			if reason == "" {
				reason = "refused"
			}
			f = r.refusal(reason, texts["detail"])
		}
	case starlark.NoneType:
		f = finding{outcome: Skip, reason: "skipped", detail: short(texts["detail"])}
	case nil:
		return r.badResult(`the dict that it returned has no "ok"`)
	default:
		return r.badResult(`"ok" of the dict that it returned is a %s; it must be True, False or None`, ok.Type())
	}
	if read := texts["answer"]; read != "" {
		f = f.reading(rankOwn, cut(read, maxRead))
	}
	return f
}

// arguments are the two dicts that the function is given.
func (r *starRun) arguments(a *answer) (starlark.Tuple, error) {
	b := builder{meter: r.meter}
	var parsed starlark.Value = starlark.None
	if v, err := a.value(readAny); err == nil {
		parsed = b.json(v)
	}
	in := b.dict(
		"text", starlark.String(a.Answer.Content),
		"json", parsed,
		"reasoning", starlark.String(a.Answer.Reasoning),
		"finish_reason", starlark.String(a.Answer.FinishReason),
		"tool_calls", b.toolCalls(a.Answer.ToolCalls),
	)
	p := &a.Problem
	messages := a.Messages
	if messages == nil {
		messages = p.TeacherMessages()
	}
	var said []starlark.Value
	for _, m := range messages {
		said = append(said, b.dict("role", starlark.String(m.Role), "content", starlark.String(m.Content)))
	}
	var gold starlark.Value = starlark.None
	if v, none := a.goldValue(""); none == nil {
		gold = b.json(v)
	}
	row := starlark.Value(starlark.NewDict(0))
	if p.Fields != nil {
		budget := maxValues
		v, err := parseJSON(string(p.Fields), &budget)
		if err != nil {
			return nil, fmt.Errorf("the prompt's row: %s", err.detail)
		}
		row = b.json(v)
	}
	id := p.RowID
	if id == "" {
		id = p.ID
	}
	problem := b.dict(
		"id", starlark.String(id),
		"family", starlark.String(p.Family),
		"prompt", starlark.String(p.Prompt),
		"messages", starlark.NewList(said),
		"gold", gold,
		"row", row,
	)
	return starlark.Tuple{in, problem}, b.err
}

// builder makes Starlark values of what is judged, on the check's account.
type builder struct {
	*meter
	err error
}

func (b *builder) charge(n int64) bool {
	if b.err == nil {
		b.err = b.alloc(n)
	}
	return b.err == nil
}

func (b *builder) dict(pairs ...any) starlark.Value {
	d := starlark.NewDict(len(pairs) / 2)
	for i := 0; i < len(pairs); i += 2 {
		v := pairs[i+1].(starlark.Value)
		if !b.charge(entryBytes + joined(v)) {
			return starlark.None
		}
		if err := d.SetKey(starlark.String(pairs[i].(string)), v); err != nil {
			b.err = err
		}
	}
	return d
}

func (b *builder) toolCalls(calls []exchange.ToolCall) starlark.Value {
	var out []starlark.Value
	for _, c := range calls {
		out = append(out, b.dict("name", starlark.String(c.Name), "arguments", starlark.String(c.Arguments)))
	}
	return starlark.NewList(out)
}

// json makes a value of JSON. The keys of an object are in order of their
// names, so that a program that goes through them does the same every time.
func (b *builder) json(v any) starlark.Value {
	if !b.charge(2 * slotBytes) {
		return starlark.None
	}
	switch v := v.(type) {
	case bool:
		return starlark.Bool(v)
	case string:
		b.charge(int64(len(v)))
		return starlark.String(v)
	case json.Number:
		return number(v)
	case []any:
		out := make([]starlark.Value, 0, len(v))
		for _, e := range v {
			out = append(out, b.json(e))
		}
		return starlark.NewList(out)
	case map[string]any:
		b.charge(dictBytes)
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		d := starlark.NewDict(len(keys))
		for _, k := range keys {
			if !b.charge(entryBytes + int64(len(k))) {
				break
			}
			if err := d.SetKey(starlark.String(k), b.json(v[k])); err != nil {
				b.err = err
			}
		}
		return d
	}
	return starlark.None
}

// number is an int where it is written as one, else a float.
func number(n json.Number) starlark.Value {
	if i, ok := new(big.Int).SetString(n.String(), 10); ok {
		return starlark.MakeBigInt(i)
	}
	f, err := n.Float64()
	if err != nil {
		return starlark.String(n) // beyond what a float holds
	}
	return starlark.Float(f)
}
