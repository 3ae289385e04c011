package verify

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

func TestSpecsAreReadInBothForms(t *testing.T) {
	const in = `
- {task: {}}
- exact: {ignore_case: true}
- numeric: 0.01
- numeric: {relative: 0.05, gold: price}
- regex: '^\d+$'
- regex: {pattern: sorry, not: true}
- json_schema: ticket.json
- json_schema: {file: ticket.json, read: whole}
- fields: [team, urgency]
- fields: {names: [a.b], exact: true}
- starlark: check.star
- starlark: {file: check.star, gold: true, steps: 5}
`
	want := []Spec{
		{Task: &TaskSpec{}},
		{Exact: &ExactSpec{IgnoreCase: true}},
		{Numeric: &NumericSpec{Tolerance: 0.01}},
		{Numeric: &NumericSpec{Relative: 0.05, Gold: "price"}},
		{Regex: &RegexSpec{Pattern: `^\d+$`}},
		{Regex: &RegexSpec{Pattern: "sorry", Not: true}},
		{JSONSchema: &SchemaSpec{File: "ticket.json"}},
		{JSONSchema: &SchemaSpec{File: "ticket.json", Read: "whole"}},
		{Fields: &FieldsSpec{Names: []string{"team", "urgency"}}},
		{Fields: &FieldsSpec{Names: []string{"a.b"}, Exact: true}},
		{Starlark: &StarlarkSpec{File: "check.star"}},
		{Starlark: &StarlarkSpec{File: "check.star", Gold: true, Steps: 5}},
	}
	var got []Spec
	if err := yaml.UnmarshalWithOptions([]byte(in), &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	out, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again []Spec
	if err := yaml.UnmarshalWithOptions(out, &again, yaml.Strict()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if d := cmp.Diff(want, again); d != "" {
		t.Fatalf("what is printed reads differently: %s", d)
	}
}

func TestASpecWithAnUnknownKeyIsRefused(t *testing.T) {
	var got []Spec
	err := yaml.UnmarshalWithOptions([]byte("- fields: {names: [a], exactly: true}\n"), &got, yaml.Strict())
	if err == nil || !strings.Contains(err.Error(), "exactly") {
		t.Fatalf("err = %v", err)
	}
}

func TestTheSchemaOfSpecsDescribesBothForms(t *testing.T) {
	r := jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}
	raw, err := json.Marshal(r.Reflect(&Spec{}))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]struct {
			OneOf []struct {
				Type       string
				Properties map[string]struct{ Description string }
			}
		}
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	for key, short := range map[string]string{"numeric": "number", "regex": "string", "json_schema": "string", "fields": "array", "starlark": "string"} {
		forms := s.Properties[key].OneOf
		if len(forms) != 2 || forms[0].Type != short || forms[1].Type != "object" {
			t.Fatalf("%s has the forms %+v", key, forms)
		}
		for name, p := range forms[1].Properties {
			if p.Description == "" {
				t.Errorf("%s.%s is not described", key, name)
			}
		}
	}
}

func TestASpecSetsExactlyOneVerifier(t *testing.T) {
	if _, err := (Spec{}).kind(); err == nil || !strings.Contains(err.Error(), "exact, numeric") {
		t.Errorf("none: %v", err)
	}
	if _, err := (Spec{Task: &TaskSpec{}, Regex: &RegexSpec{}}).kind(); err == nil || !strings.Contains(err.Error(), "task and regex") {
		t.Errorf("two: %v", err)
	}
	if k, err := (Spec{JSONSchema: &SchemaSpec{File: "a"}}).kind(); err != nil || k != "json_schema" {
		t.Errorf("one: %q, %v", k, err)
	}
}
