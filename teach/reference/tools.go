package reference

import (
	"bytes"
	"encoding/json"
	"regexp"

	"retort/internal/wire"
	"retort/openai"
)

// shape is the form in which an answer is wanted: plain text, JSON that keeps
// to a schema, or the arguments of a tool that has to be called.
type shape struct {
	tool   string // that is called; "" for text
	schema json.RawMessage
}

// shapeOf reads what a request says about the form of its answer.
func shapeOf(req *openai.ChatRequest) shape {
	var tools []struct {
		Function struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	if json.Unmarshal(req.Extra["tools"], &tools) == nil && len(tools) > 0 {
		var word string
		var choice struct {
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		}
		raw := req.Extra["tool_choice"]
		forced := json.Unmarshal(raw, &word) == nil && word == "required"
		if !forced {
			_ = json.Unmarshal(raw, &choice)
		}
		for _, t := range tools {
			if forced || t.Function.Name == choice.Function.Name && choice.Function.Name != "" {
				return shape{tool: t.Function.Name, schema: t.Function.Parameters}
			}
		}
	}
	var format struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	}
	if json.Unmarshal(req.Extra["response_format"], &format) == nil && format.Type == "json_schema" {
		return shape{schema: format.JSONSchema.Schema}
	}
	return shape{}
}

// number is what JSON takes for a number.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// put gives an answer its form: an object is one already, other answers become
// the first property of the schema.
func (s shape) put(answer string) (string, error) {
	if s.tool == "" && len(s.schema) == 0 {
		return answer, nil
	}
	if wire.LooksLikeObject([]byte(answer)) && json.Valid([]byte(answer)) {
		return answer, nil
	}
	name, kind := s.property()
	value := []byte(answer)
	if kind != "integer" && kind != "number" || !number.MatchString(answer) {
		var err error
		if value, err = wire.Encode(answer); err != nil {
			return "", err
		}
	}
	out, err := wire.Encode(map[string]json.RawMessage{name: value})
	return string(out), err
}

// property is the first required property of the schema, else the first one.
func (s shape) property() (name, kind string) {
	var schema struct {
		Properties map[string]struct {
			Type string `json:"type"`
		} `json:"properties"`
		Required []string `json:"required"`
	}
	if json.Unmarshal(s.schema, &schema) != nil || len(schema.Properties) == 0 {
		return "answer", "string"
	}
	name = firstName(s.schema)
	if len(schema.Required) > 0 {
		name = schema.Required[0]
	}
	return name, schema.Properties[name].Type
}

// firstName is the name of the property that the schema lists first.
func firstName(schema json.RawMessage) string {
	var outer struct {
		Properties json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(schema, &outer) != nil {
		return "answer"
	}
	dec := json.NewDecoder(bytes.NewReader(outer.Properties))
	for range 2 { // the brace, then the name
		t, err := dec.Token()
		if err != nil {
			break
		}
		if name, ok := t.(string); ok {
			return name
		}
	}
	return "answer"
}
