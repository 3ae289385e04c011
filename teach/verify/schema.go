package verify

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Bounds of a JSON schema.
const (
	maxSchemaFile = 256 << 10
	maxSchemaWork = 500_000 // units of work of one check; a flat object takes tens
)

// schemaJudge asks that an answer is JSON that a schema accepts.
//
// A schema of a few lines can ask for endless work: each definition twice the
// one before, forty times over. The library cannot be told to stop, so every
// part of a compiled schema counts what looking at a value costs, through the
// one hook that is called before a part calls others, and ends the check when
// the sum is too large. A compiled schema therefore serves one check at a time.
type schemaJudge struct {
	read  string
	ready sync.Pool // of *schema
}

func newSchema(s SchemaSpec, content []byte) (judge, error) {
	read, err := mode(s.Read, readBlock)
	if err != nil {
		return nil, err
	}
	if s.File == "" {
		return nil, &SpecError{Path: "file", Msg: "there is no schema; name its file"}
	}
	first, err := compileSchema(s.File, content)
	if err != nil {
		return nil, &SpecError{Msg: err.Error()}
	}
	j := &schemaJudge{read: read}
	j.ready.New = func() any {
		again, err := compileSchema(s.File, content)
		if err != nil {
			return err // not after it compiled once
		}
		return again
	}
	j.ready.Put(first)
	return j, nil
}

func (j *schemaJudge) gold() bool { return false }

func (j *schemaJudge) check(ctx context.Context, a *answer) finding {
	v, bad := a.value(j.read)
	if bad != nil {
		return bad.finding()
	}
	text, err := canonical(v)
	if err != nil {
		return failed(ReasonNotJSON, "%v", err)
	}
	s, ok := j.ready.Get().(*schema)
	if !ok {
		return broken(ReasonCrash, "the schema does not compile again")
	}
	defer j.ready.Put(s)
	return s.check(ctx, v).reading(rankJSON, text)
}

// schema is a compiled schema that counts its work.
type schema struct {
	*jsonschema.Schema
	work     int
	deadline time.Time
	ctx      context.Context
}

// stopped is what the count panics with, to be caught by check.
type stopped struct{ reason, detail string }

func (s *schema) check(ctx context.Context, v any) (f finding) {
	s.work, s.deadline, s.ctx = 0, time.Now().Add(DefaultTime), ctx
	defer func() {
		s.ctx = nil
		switch p := recover().(type) {
		case nil:
		case stopped:
			f = broken(p.reason, "%s", p.detail)
		default:
			panic(p)
		}
	}()
	err := s.Validate(v)
	if err == nil {
		return passed()
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return broken(ReasonCrash, "%v", err)
	}
	return refused(invalid)
}

// add counts work and ends a check that takes too much.
func (s *schema) add(n int) {
	before := s.work
	if s.work += n; s.work > maxSchemaWork {
		panic(stopped{ReasonSteps, fmt.Sprintf("the schema takes more than %d steps on this answer", maxSchemaWork)})
	}
	if before>>14 != s.work>>14 {
		if s.ctx.Err() != nil {
			panic(stopped{ReasonCancelled, context.Cause(s.ctx).Error()})
		}
		if time.Now().After(s.deadline) {
			panic(stopped{ReasonTime, fmt.Sprintf("the schema takes longer than %v on this answer", DefaultTime)})
		}
	}
}

// refused is the finding of an answer that the schema does not accept: the
// reason is the keyword that is broken, the first by place where there are
// several.
func refused(err *jsonschema.ValidationError) finding {
	type fault struct{ at, keyword, text string }
	var faults []fault
	printer := message.NewPrinter(language.English)
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) > 0 {
			return
		}
		keyword := "false"
		if p := e.ErrorKind.KeywordPath(); len(p) > 0 {
			keyword = p[0]
		}
		if k, ok := e.ErrorKind.(*kind.AdditionalProperties); ok {
			slices.Sort(k.Properties) // in an object's order, which is none
		}
		faults = append(faults, fault{"/" + strings.Join(e.InstanceLocation, "/"), keyword, e.ErrorKind.LocalizedString(printer)})
	}
	walk(err)
	// The library visits an object's fields in no fixed order.
	slices.SortFunc(faults, func(x, y fault) int {
		return strings.Compare(x.at+"\x00"+x.keyword+"\x00"+x.text, y.at+"\x00"+y.keyword+"\x00"+y.text)
	})
	var details []string
	for i, f := range faults {
		if i == 3 {
			details = append(details, fmt.Sprintf("and %d more", len(faults)-i))
			break
		}
		details = append(details, fmt.Sprintf("at %s: %s", f.at, cut(f.text, 120)))
	}
	return failed("schema:"+faults[0].keyword, "%s", strings.Join(details, "; "))
}

// nowhere refuses every reference that leaves the schema.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may refer to nothing outside itself, not to %s; copy the definition into its $defs", url)
}

// self is the schema's own address: a scheme that nothing can load, so that a
// relative reference leads nowhere either.
const self = "retort-schema:///"

func compileSchema(file string, content []byte) (*schema, error) {
	if len(content) > maxSchemaFile {
		return nil, fmt.Errorf("%s has %d bytes; a schema has at most %d", file, len(content), maxSchemaFile)
	}
	budget := maxValues
	doc, bad := parseJSON(string(content), &budget)
	if bad != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.Replace(bad.detail, "the answer is empty", "the file is empty", 1))
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nowhere{})
	c.AssertFormat()
	url := self + "schema.json"
	if err := c.AddResource(url, doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", file, explain(err))
	}
	s := &schema{Schema: compiled}
	meterSchema(s)
	return s, nil
}

// explain is the library's error without the address that only we know.
func explain(err error) string {
	var invalid *jsonschema.SchemaValidationError
	if errors.As(err, &invalid) {
		var v *jsonschema.ValidationError
		if errors.As(invalid.Err, &v) {
			return "is not a valid schema: " + refused(v).detail
		}
	}
	return strings.ReplaceAll(err.Error(), self, "")
}

// meterSchema puts the count into every part of a compiled schema.
func meterSchema(s *schema) {
	seen := map[*jsonschema.Schema]bool{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			walk(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for it := v.MapRange(); it.Next(); {
				walk(it.Value())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Pointer:
			switch v.Type() {
			case reflect.TypeFor[*jsonschema.Schema]():
				part := (*jsonschema.Schema)(v.UnsafePointer())
				if part == nil || seen[part] {
					return
				}
				seen[part] = true
				walk(v.Elem())
				meterPart(s, part)
			case reflect.TypeFor[*jsonschema.DynamicRef]():
				if !v.IsNil() {
					walk(v.Elem())
				}
			}
		}
	}
	walk(reflect.ValueOf(s.Schema))
}
