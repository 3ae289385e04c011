// Package constrain keeps a model's output to a form: a JSON Schema, any JSON
// object, a regular expression, one of some texts, or a grammar in llama.cpp's
// GBNF.
//
// Each is compiled to a Grammar, a pushdown recogniser over bytes. A Vocabulary
// is built once from a tokenizer's tokens; a Constraint joins the two and a
// Matcher follows one sequence: Allowed says which tokens may come next, Accept
// takes the one that did.
//
//	g, err := constrain.Schema(schema)
//	c := constrain.NewConstraint(g, vocabulary)
//	m := c.NewMatcher() // one for each sequence
//	for !m.Done() {
//		err := m.Allowed(mask)
//		... choose a token whose bit is set in mask ...
//		err = m.Accept(token)
//	}
//
// There are no dead ends: rules that lead nowhere are cut when a grammar is
// compiled, so that whatever has been allowed can be completed, given a
// vocabulary that has a token for every byte.
//
// # JSON Schema
//
// What a schema allows is generated soundly: all that is let through is valid.
// Not all that is valid is let through:
//
//   - Properties come in the order of "properties", others after them; of two
//     places that declare a name, the first counts.
//   - An object that declares properties and says nothing of others has no
//     others, and an array with prefixItems has no further items, unless
//     minItems asks for them (OpenAI's strict mode).
//   - A schema without "type" has the types that its keywords are about.
//   - Between the parts of an object or array stands nothing, a space, or a line
//     break and up to 20 spaces or 10 tabs, so that a model cannot go on with
//     white space for ever; after a colon nothing or a space.
//   - Integers are written without fraction or exponent and have up to 18
//     digits; numbers have up to 18 digits before and after the point and an
//     exponent of up to two, none where there are bounds.
//   - Where a pattern or a list of values says what a string is, each character
//     is written plainly if JSON allows it.
//
// Names of properties that the schema does not declare may come twice.
//
// Keywords: type, enum, const, properties, required, additionalProperties,
// items, prefixItems, minItems, maxItems, minLength, maxLength, pattern (in Go's
// syntax, anywhere in the string unless anchored), format (date, time,
// date-time, duration, uuid, email, hostname, ipv4, ipv6), minimum, maximum and
// their exclusive forms (whole numbers, except for integers), anyOf, oneOf (if
// its members can be seen to exclude each other), allOf, $ref within the
// document. What only describes is passed over. Everything else is refused with
// its place, as a JSON pointer.
//
// # Limits
//
// Grammars, schemas and expressions may come from strangers. What they compile
// to is bounded, and so are the memory that following them takes and the work
// that they cause for each token.
package constrain

import (
	"errors"
	"fmt"
)

const (
	maxStates  = 1 << 16 // of a compiled grammar
	maxEdges   = 1 << 18 // transitions and calls of all its states
	maxWork    = 1 << 19 // expressions visited while it is compiled
	maxRepeat  = 10_000  // copies of an expression that a count may ask for
	maxNesting = 256     // of brackets in a grammar, or of values in a schema
)

// Grammar is a compiled form of output. It does not change and is safe for
// concurrent use.
type Grammar struct {
	rules []rule
	root  int
	prog  *program
}

// rule is a named expression that others can refer to, itself included.
type rule struct {
	name string
	body expr
}

// compile makes a grammar of rules. The caller does not change them afterwards.
func compile(rules []rule, root int) (*Grammar, error) {
	prog, err := assemble(rules, root)
	if err != nil {
		return nil, err
	}
	if a := newAutomaton(prog); a.work < 0 {
		return nil, errWork
	}
	return &Grammar{rules: rules, root: root, prog: prog}, nil
}

// Choice allows exactly one of the texts.
func Choice(texts []string) (*Grammar, error) {
	if len(texts) == 0 {
		return nil, errors.New("choice: there is nothing to choose from: give at least one text")
	}
	var all choice
	for i, t := range texts {
		if t == "" {
			return nil, fmt.Errorf("choice: text %d is empty", i)
		}
		all = append(all, literal(t))
	}
	g, err := compile([]rule{{"choice", all}}, 0)
	if err != nil {
		return nil, fmt.Errorf("choice: %w", err)
	}
	return g, nil
}

// After allows what g does, at once or after a passage that begins with open and
// goes on to the first closing: a model's reasoning before its answer. Up to two
// line breaks may stand between.
func (g *Grammar) After(open, closing string) (*Grammar, error) {
	rules := append([]rule(nil), g.rules...)
	gap := repeat{body: literal("\n"), max: 2}
	rules = append(rules, rule{"passage", sequence{optional(sequence{literal(open), until(closing), gap}), ref(g.root)}})
	return compile(rules, len(rules)-1)
}
