package verify

import (
	"encoding/json"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// meterPart makes one part of a schema count what looking at a value costs.
// The library asks for the format of a value right after its type and what it
// may equal, and before it goes on to other parts.
func meterPart(s *schema, part *jsonschema.Schema) {
	cost := newCost(part)
	format := jsonschema.Format{Name: "any"}
	if part.Format != nil {
		format = *part.Format
	}
	validate := format.Validate
	format.Validate = func(v any) error {
		s.add(cost.of(v))
		if validate == nil {
			return nil
		}
		return validate(v)
	}
	part.Format = &format
}

// cost is what one look at a value costs in steps, the looks at what it holds
// not included: these count themselves, except for what they compare before
// they can.
type cost struct {
	part *jsonschema.Schema
	self int // whatever the value
	key  int // further, for each key of an object
	item int // further, for each item of an array

	properties map[string]int // further, for a key of that name
}

func newCost(p *jsonschema.Schema) *cost {
	c := &cost{part: p, properties: make(map[string]int, len(p.Properties))}
	for name, part := range p.Properties {
		c.properties[name] = comparing(part)
	}
	c.self = 1 + len(p.Required) + len(p.Dependencies) + len(p.DependentRequired)
	for _, group := range [][]*jsonschema.Schema{p.AllOf, p.AnyOf, p.OneOf, {p.Ref, p.Not, p.If, p.Then, p.Else, p.RecursiveRef}} {
		for _, part := range group {
			c.self += comparing(part)
		}
	}
	if p.DynamicRef != nil {
		c.self += comparing(p.DynamicRef.Ref)
	}
	for _, needed := range p.DependentRequired {
		c.self += len(needed)
	}
	for _, dep := range p.Dependencies {
		if needed, ok := dep.([]string); ok {
			c.self += len(needed)
		}
	}
	c.key = 1 + comparing(p.PropertyNames) + comparing(p.UnevaluatedProperties) + comparingAny(p.AdditionalProperties)
	for _, part := range p.PatternProperties {
		c.key += 2 + comparing(part)
	}
	c.item = 1 + comparing(p.Contains) + comparing(p.Items2020) + comparing(p.UnevaluatedItems) +
		comparingAny(p.Items) + comparingAny(p.AdditionalItems)
	for _, part := range p.PrefixItems {
		c.self += comparing(part)
	}
	return c
}

func (c *cost) of(v any) int {
	n := c.self
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			n += c.key + c.properties[k] + len(k)/16*len(c.part.PatternProperties)
		}
	case []any:
		n += len(v) * c.item
		if c.part.UniqueItems {
			n += values(v) * min(len(v), 20)
		}
	case string:
		n += len(v) / 64
		if c.part.Pattern != nil {
			n += len(v) / 4
		}
	}
	return n
}

// comparing is what a part compares a value with before it counts.
func comparing(p *jsonschema.Schema) int {
	if p == nil {
		return 0
	}
	n := 1
	if p.Const != nil {
		n += values(*p.Const)
	}
	if p.Enum != nil {
		n += values(p.Enum.Values)
	}
	return n
}

func comparingAny(v any) int {
	switch v := v.(type) {
	case *jsonschema.Schema:
		return comparing(v)
	case []*jsonschema.Schema:
		n := 0
		for _, p := range v {
			n += comparing(p)
		}
		return n
	}
	return 0
}

// values is how many values a JSON value holds, itself included, long texts
// counting for several.
func values(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			n += values(e)
		}
	case map[string]any:
		for _, e := range v {
			n += values(e)
		}
	case string:
		n += len(v) / 64
	case json.Number:
		n += len(v) / 8
	}
	return n
}
