package recipe

import (
	"encoding/json"

	"github.com/invopop/jsonschema"
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
	s.Required = []string{"retort", "name", "teacher", "prompts"}
	return json.MarshalIndent(s, "", "  ")
}

// JSONSchema describes both forms of Heldout.
func (Heldout) JSONSchema() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set("count", &jsonschema.Schema{Type: "integer", Description: "how many"})
	props.Set("file", &jsonschema.Schema{Type: "string", Description: "a file of their own"})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "integer"},
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema},
	}}
}

// JSONSchema describes both forms of Contestant.
func (Contestant) JSONSchema() *jsonschema.Schema {
	props := jsonschema.NewProperties()
	props.Set("recipe", &jsonschema.Schema{Type: "string", Description: "another recipe whose run is in this workspace"})
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Enum: []any{"teacher", "untrained"}},
		{Type: "object", Properties: props, AdditionalProperties: jsonschema.FalseSchema, Required: []string{"recipe"}},
	}}
}
