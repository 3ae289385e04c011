package recipe

import (
	"encoding/json"
	"strings"

	"github.com/invopop/jsonschema"

	"retort/teach/task"
)

// Schema returns a JSON schema of the recipe format, for editors.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		DoNotReference:             true,
		Anonymous:                  true,
	}
	s := r.Reflect(&Recipe{})
	s.Title = "Retort recipe"
	s.Required = []string{"retort", "name", "prompts"} // imports alone need no teacher
	return json.MarshalIndent(s, "", "  ")
}

// JSONSchema describes both forms of Heldout.
func (Heldout) JSONSchema() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set("count", &jsonschema.Schema{Type: "integer", Description: "how many"})
	props.Set("file", &jsonschema.Schema{Type: "string", Description: "a file of their own"})
	props.Set("expect", &jsonschema.Schema{Type: "string", Description: "the field of that file that holds the right answer; default: as gold says"})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "integer"},
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema},
	}}
}

// JSONSchema describes both forms of ExportFile.
func (ExportFile) JSONSchema() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set(formatGGUF, &jsonschema.Schema{Type: "string", Pattern: "^(?i:" + strings.Join(ggufTypes, "|") + ")$", Description: "the type of its matrices: " + strings.Join(ggufTypes, ", ")})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Enum: []any{formatHuggingFace, formatGGUF}},
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema, Required: []string{formatGGUF}},
	}}
}

// JSONSchema describes both forms of Contestant.
func (Contestant) JSONSchema() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set("recipe", &jsonschema.Schema{Type: "string", Description: "another recipe whose run is in this workspace"})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Enum: []any{"teacher", "base", "untrained", "bf16", "int8", "f16", "q8_0", "q4_0", "q4_1"}},
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema, Required: []string{"recipe"}},
	}}
}

// JSONSchema describes both forms of Forgotten.
func (Forgotten) JSONSchema() *jsonschema.Schema {
	type plain Forgotten
	families := []any{familyGeneral}
	for _, name := range task.Names() {
		families = append(families, name)
	}
	s := (&jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}).Reflect(plain{})
	s.Version = ""
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", Enum: families}, s}}
}

// JSONSchema describes both forms of Words.
func (Words) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}}}}
}

// JSONSchema describes both forms of Consent.
func (Consent) JSONSchema() *jsonschema.Schema {
	words := &jsonschema.Schema{Type: "string", Enum: []any{"recorded", "none", "unknown"}}
	props := jsonschema.NewProperties()
	props.Set("consent", words)
	props.Set("basis", &jsonschema.Schema{Type: "string", Description: "where it is recorded, so that another person can look it up"})
	props.Set("people", &jsonschema.Schema{Type: "string", Description: "who they are; no names"})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		words,
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema, Required: []string{"consent"}},
	}}
}

// JSONSchema describes both forms of Text.
func (Text) JSONSchema() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set("text", &jsonschema.Schema{Type: "string", Description: "the text itself"})
	props.Set("file", &jsonschema.Schema{Type: "string", Description: "the file that holds it"})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string"},
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema},
	}}
}
