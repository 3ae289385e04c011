package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"retort/internal/text"
)

// fieldsJudge compares named fields of a JSON object with the gold answer's.
type fieldsJudge struct {
	spec FieldsSpec
	read string
}

func newFields(s FieldsSpec) (judge, error) {
	if len(s.Names) == 0 {
		return nil, &SpecError{Path: "names", Msg: "there are no fields to compare; name them as in `fields: [team, urgency]`"}
	}
	for i, name := range s.Names {
		at := fmt.Sprintf("names[%d]", i)
		if strings.TrimSpace(name) == "" {
			return nil, &SpecError{Path: at, Msg: "the name is empty"}
		}
		if slices.Contains(s.Names[:i], name) {
			return nil, &SpecError{Path: at, Msg: fmt.Sprintf("the field %q is named twice", name)}
		}
	}
	read, err := mode(s.Read, readAny)
	return &fieldsJudge{s, read}, err
}

func (j *fieldsJudge) gold() bool { return true }

func (j *fieldsJudge) check(_ context.Context, a *answer) finding {
	gold, none := j.right(a)
	if none != nil && none.outcome == Error {
		return *none
	}
	got, err := a.value(j.read)
	if err != nil {
		if none != nil {
			return *none
		}
		return err.finding()
	}
	if _, ok := got.(map[string]any); !ok {
		if none != nil {
			return *none
		}
		return failed(ReasonNotJSON, "the answer is JSON, but not an object")
	}
	read := j.canonical(got)
	if none != nil {
		return none.reading(rankFields, read)
	}
	var wrong []string
	var details []string
	for _, name := range j.spec.Names {
		x, hasX := lookup(got, name)
		y, hasY := lookup(gold, name)
		if j.spec.Exact && hasX != hasY || !j.equal(x, y) {
			wrong = append(wrong, name)
			details = append(details, fmt.Sprintf("%s: %s, right is %s", name, show(x, hasX), show(y, hasY)))
		}
	}
	if wrong != nil {
		return failed("wrong:"+cut(wrong[0], 60), "%s", strings.Join(details, "; ")).reading(rankFields, read)
	}
	return passed().reading(rankFields, read)
}

// right returns the gold object. A gold answer that is not an object is the
// value of the only field.
func (j *fieldsJudge) right(a *answer) (any, *finding) {
	v, f := a.goldValue(j.spec.Gold)
	if f != nil {
		return nil, f
	}
	if s, ok := v.(string); ok { // an object written as text, as in a CSV
		budget := maxValues
		if o, err := parseJSON(s, &budget); err == nil {
			if _, ok := o.(map[string]any); ok {
				v = o
			}
		}
	}
	if _, ok := v.(map[string]any); ok {
		if j.spec.Gold == "." && !slices.ContainsFunc(j.spec.Names, func(n string) bool { x, _ := lookup(v, n); return x != nil }) {
			none := skipped()
			return nil, &none
		}
		return v, nil
	}
	if len(j.spec.Names) == 1 {
		return map[string]any{j.spec.Names[0]: v}, nil
	}
	b := broken(ReasonBadGold, "the gold answer %s is not a JSON object with the fields %s", show(v, true), list(j.spec.Names, "and"))
	return nil, &b
}

// equal compares two values; both are nil where a field is missing.
func (j *fieldsJudge) equal(x, y any) bool {
	switch x := x.(type) {
	case map[string]any:
		y, ok := y.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range x {
			if w, has := y[k]; j.spec.Exact && !has || !j.equal(v, w) {
				return false
			}
		}
		for k, w := range y {
			if _, has := x[k]; !has && (j.spec.Exact || w != nil) {
				return false
			}
		}
		return true
	case []any:
		y, ok := y.([]any)
		return ok && slices.EqualFunc(x, y, j.equal)
	}
	return j.scalar(x) == j.scalar(y)
}

// scalar writes a value that is no object and no array so that equal ones are
// equal texts.
func (j *fieldsJudge) scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		if r, ok := rational(v); ok {
			return "n" + plain(r)
		}
		return "n" + v.String()
	case string:
		if j.spec.Exact {
			return "s" + v
		}
		if s := strings.TrimSpace(v); numberText(s) {
			return j.scalar(json.Number(s))
		}
		return "s" + text.Normalize(v)
	}
	return fmt.Sprintf("%T", v) // an object or an array, equal to no scalar
}

// numberText reports whether a text is a number and could be nothing else: an
// order number with leading zeros is not one.
func numberText(s string) bool {
	budget := 1
	v, err := parseJSON(s, &budget)
	if s == "" || err != nil {
		return false
	}
	_, ok := v.(json.Number)
	return ok
}

// canonical is what agreement compares: the named fields as they are compared.
func (j *fieldsJudge) canonical(got any) string {
	out := map[string]any{}
	for _, name := range j.spec.Names {
		v, has := lookup(got, name)
		switch {
		case j.spec.Exact && has:
			out[name] = v
		case !j.spec.Exact:
			out[name] = loose(v)
		}
	}
	s, err := canonical(out)
	if err != nil {
		return ""
	}
	return s
}

// loose rewrites a value so that values that are compared as equal are.
func loose(v any) any {
	switch v := v.(type) {
	case string:
		if s := strings.TrimSpace(v); numberText(s) {
			return json.Number(s)
		}
		return text.Normalize(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = loose(e)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e != nil {
				out[k] = loose(e)
			}
		}
		return out
	}
	return v
}

// show writes a value for people.
func show(v any, has bool) string {
	if !has {
		return "missing"
	}
	s, err := canonical(v)
	if err != nil {
		s = fmt.Sprint(v)
	}
	return cut(s, 80)
}
