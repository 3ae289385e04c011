// Package verify holds the verifiers that a recipe can name: an exact text, a
// number within a tolerance, a regular expression, a JSON schema, named fields
// against a gold answer, a function in Starlark, or the task family's own.
//
// New makes a Set of them, and Set.Judge runs all of them on one answer: each
// passes, fails, skips (it has no right answer to compare with) or errs, with
// a reason to count by, and the verdict sums them up. Nothing that an answer
// or a verifier's file holds stops a run: a check that crashes, or that takes
// too many steps or too much memory, is an outcome like any other. The same
// verifiers give the same answer the same verdict on every machine; only a
// check's time limit, a backstop behind its steps, looks at a clock.
//
// The package asks nobody anything: no verifier reads a file once New has
// returned, and none ever reaches the network. It does not decide what becomes
// of an answer (curate does) and keeps no record (ledger does). Sizes are in
// bytes. The only errors are New's, of type *SpecError.
package verify

import (
	"fmt"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"
)

// Spec is one verifier as a recipe names it. Exactly one of its fields is set.
type Spec struct {
	Task       *TaskSpec     `yaml:"task,omitempty" json:"task,omitempty" jsonschema_description:"the task family's own verifier, or the file's gold answer"`
	Exact      *ExactSpec    `yaml:"exact,omitempty" json:"exact,omitempty" jsonschema_description:"the answer equals the gold answer up to white space"`
	Numeric    *NumericSpec  `yaml:"numeric,omitempty" json:"numeric,omitempty" jsonschema_description:"the answer's number equals the gold number within a tolerance; a bare number is the tolerance"`
	Regex      *RegexSpec    `yaml:"regex,omitempty" json:"regex,omitempty" jsonschema_description:"the answer matches a regular expression (RE2); bare text is the pattern"`
	JSONSchema *SchemaSpec   `yaml:"json_schema,omitempty" json:"json_schema,omitempty" jsonschema_description:"the answer is JSON that a JSON schema accepts; bare text is the schema's file"`
	Fields     *FieldsSpec   `yaml:"fields,omitempty" json:"fields,omitempty" jsonschema_description:"named fields of the answer's JSON object equal those of the gold answer; a list is their names"`
	Starlark   *StarlarkSpec `yaml:"starlark,omitempty" json:"starlark,omitempty" jsonschema_description:"a function of your own in Starlark, a small Python; bare text is its file"`
}

// TaskSpec is the verifier of the source of problems itself.
type TaskSpec struct{}

// ExactSpec compares an answer with the gold answer as text.
type ExactSpec struct {
	Gold       string `yaml:"gold,omitempty" json:"gold,omitempty" jsonschema_description:"field of the prompt's row that holds the right answer; default: the problem's gold answer"`
	Extract    string `yaml:"extract,omitempty" json:"extract,omitempty" jsonschema_description:"regular expression that finds what is compared: its first group, or all that it matches; the last match counts"`
	IgnoreCase bool   `yaml:"ignore_case,omitempty" json:"ignore_case,omitempty" jsonschema_description:"whether upper and lower case are equal"`
}

// NumericSpec compares an answer's number with the gold number by value.
type NumericSpec struct {
	Tolerance float64 `yaml:"tolerance,omitempty" json:"tolerance,omitempty" jsonschema_description:"largest difference; default 0"`
	Relative  float64 `yaml:"relative,omitempty" json:"relative,omitempty" jsonschema_description:"largest difference as a share of the gold number; the wider of the two counts"`
	Gold      string  `yaml:"gold,omitempty" json:"gold,omitempty" jsonschema_description:"field of the prompt's row that holds the right number; default: the problem's gold answer"`
	Extract   string  `yaml:"extract,omitempty" json:"extract,omitempty" jsonschema_description:"regular expression that finds the number: its first group, or all that it matches; the last match counts"`
}

// RegexSpec asks that an answer matches a pattern, or that it does not.
type RegexSpec struct {
	Pattern string `yaml:"pattern,omitempty" json:"pattern,omitempty" jsonschema_description:"regular expression in RE2's syntax, found anywhere unless anchored with ^ and $"`
	Not     bool   `yaml:"not,omitempty" json:"not,omitempty" jsonschema_description:"the answer must not match"`
	Field   string `yaml:"field,omitempty" json:"field,omitempty" jsonschema_description:"look only at this field of the answer's JSON object"`
}

// SchemaSpec asks that an answer is JSON of a given form.
type SchemaSpec struct {
	File string `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"JSON schema, draft 4 to 2020-12; it may refer to nothing outside itself"`
	Read string `yaml:"read,omitempty" json:"read,omitempty" jsonschema:"enum=whole,enum=block,enum=any" jsonschema_description:"whole: the answer is JSON and nothing else; block (default): or stands in its only code block; any: or is the only JSON object in the text"`
}

// FieldsSpec compares named fields of an answer's JSON object with those of
// the gold answer.
type FieldsSpec struct {
	Names []string `yaml:"names,omitempty,flow" json:"names,omitempty" jsonschema_description:"fields to compare; a.b is the field b of the field a"`
	Exact bool     `yaml:"exact,omitempty" json:"exact,omitempty" jsonschema_description:"values must be equal as JSON; by default text is compared up to case and white space, a number may stand as text, and null equals a missing field"`
	Gold  string   `yaml:"gold,omitempty" json:"gold,omitempty" jsonschema_description:"field of the prompt's row that holds the right object, or . for the row itself; default: the problem's gold answer"`
	Read  string   `yaml:"read,omitempty" json:"read,omitempty" jsonschema:"enum=whole,enum=block,enum=any" jsonschema_description:"where the object may stand: whole, block, or any (default); as in json_schema"`
}

// StarlarkSpec judges by a user's own function.
type StarlarkSpec struct {
	File     string `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"Starlark file that defines the function"`
	Function string `yaml:"function,omitempty" json:"function,omitempty" jsonschema_description:"the function's name; default check"`
	Gold     bool   `yaml:"gold,omitempty" json:"gold,omitempty" jsonschema_description:"the function knows what is right: an answer that it passes is correct, not merely well formed"`
	Steps    int64  `yaml:"steps,omitempty" json:"steps,omitempty" jsonschema_description:"most steps of one check; default 2000000"`
	MemoryMB int    `yaml:"memory_mb,omitempty" json:"memory_mb,omitempty" jsonschema_description:"most memory that one check may allocate, in MiB; default 64"`
	Time     string `yaml:"time,omitempty" json:"time,omitempty" jsonschema_description:"longest time of one check, a backstop behind steps; default 1m"`
}

// Defaults of a Starlark check's limits.
const (
	DefaultSteps    = 2_000_000
	DefaultMemoryMB = 64
	DefaultTime     = time.Minute
)

// SpecError is a verifier that cannot be used: which one, where in it, and why.
type SpecError struct {
	Index int    // in the list of verifiers, from 0
	Path  string // below the verifier, such as "fields.names[1]"; may be ""
	Msg   string
}

// Error implements error.
func (e *SpecError) Error() string {
	at := fmt.Sprintf("verify[%d]", e.Index)
	if e.Path != "" {
		at += "." + e.Path
	}
	return at + ": " + e.Msg
}

// File returns the file that the verifier names, "" if it names none. What is
// in it decides verdicts, so it belongs in whatever names a result.
func (s Spec) File() string {
	switch {
	case s.JSONSchema != nil:
		return s.JSONSchema.File
	case s.Starlark != nil:
		return s.Starlark.File
	}
	return ""
}

// kind is the key of the field that is set; it fails unless exactly one is.
func (s Spec) kind() (string, error) {
	var found []string
	v := reflect.ValueOf(s)
	var all []string
	for i := range v.NumField() {
		key := jsonName(v.Type().Field(i))
		all = append(all, key)
		if !v.Field(i).IsNil() {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("names no verifier; there are %s (`task: {}` is the family's own)", list(all, "and"))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("names %s at once; give each an entry of its own", list(found, "and"))
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: `numeric: 0.01` is short
// for `numeric: {tolerance: 0.01}`.
func (s *NumericSpec) UnmarshalYAML(decode func(any) error) error {
	var t float64
	if err := decode(&t); err == nil {
		*s = NumericSpec{Tolerance: t}
		return nil
	}
	type plain NumericSpec
	return decode((*plain)(s))
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: `regex: '^\d+$'` is
// short for `regex: {pattern: '^\d+$'}`.
func (s *RegexSpec) UnmarshalYAML(decode func(any) error) error {
	var pattern string
	if err := decode(&pattern); err == nil {
		*s = RegexSpec{Pattern: pattern}
		return nil
	}
	type plain RegexSpec
	return decode((*plain)(s))
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: `json_schema: FILE` is
// short for `json_schema: {file: FILE}`.
func (s *SchemaSpec) UnmarshalYAML(decode func(any) error) error {
	var file string
	if err := decode(&file); err == nil {
		*s = SchemaSpec{File: file}
		return nil
	}
	type plain SchemaSpec
	return decode((*plain)(s))
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: `fields: [a, b]` is
// short for `fields: {names: [a, b]}`.
func (s *FieldsSpec) UnmarshalYAML(decode func(any) error) error {
	var names []string
	if err := decode(&names); err == nil {
		*s = FieldsSpec{Names: names}
		return nil
	}
	type plain FieldsSpec
	return decode((*plain)(s))
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: `starlark: FILE` is
// short for `starlark: {file: FILE}`.
func (s *StarlarkSpec) UnmarshalYAML(decode func(any) error) error {
	var file string
	if err := decode(&file); err == nil {
		*s = StarlarkSpec{File: file}
		return nil
	}
	type plain StarlarkSpec
	return decode((*plain)(s))
}

// JSONSchema describes both forms of NumericSpec.
func (NumericSpec) JSONSchema() *jsonschema.Schema {
	type plain NumericSpec
	return either(&jsonschema.Schema{Type: "number"}, plain{})
}

// JSONSchema describes both forms of RegexSpec.
func (RegexSpec) JSONSchema() *jsonschema.Schema {
	type plain RegexSpec
	return either(&jsonschema.Schema{Type: "string"}, plain{}, "pattern")
}

// JSONSchema describes both forms of SchemaSpec.
func (SchemaSpec) JSONSchema() *jsonschema.Schema {
	type plain SchemaSpec
	return either(&jsonschema.Schema{Type: "string"}, plain{}, "file")
}

// JSONSchema describes both forms of FieldsSpec.
func (FieldsSpec) JSONSchema() *jsonschema.Schema {
	type plain FieldsSpec
	return either(&jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string"}}, plain{}, "names")
}

// JSONSchema describes both forms of StarlarkSpec.
func (StarlarkSpec) JSONSchema() *jsonschema.Schema {
	type plain StarlarkSpec
	return either(&jsonschema.Schema{Type: "string"}, plain{}, "file")
}

// either is the schema of a short form and of the object that it is short for.
func either(short *jsonschema.Schema, long any, required ...string) *jsonschema.Schema {
	r := jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}
	object := r.Reflect(long)
	object.Version, object.Required = "", required
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{short, object}}
}
