package constrain

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Schema allows the JSON values that a schema describes; see the package
// comment for which keywords there are and what is made of them.
func Schema(schema []byte) (*Grammar, error) {
	root, err := parseJSON(schema)
	if err != nil {
		return nil, fmt.Errorf("JSON schema: %w", err)
	}
	s := &schemas{root: root, byKey: map[string]int{}, checked: map[*node]bool{}}
	g, err := s.compile()
	if err != nil {
		return nil, fmt.Errorf("JSON schema: %w", err)
	}
	return g, nil
}

// node is a value of the schema's document.
type node struct {
	kind    jsontext.Kind // of its first byte; 't' and 'f' are true and false
	text    string        // of a string; of a number as it was written
	members []named       // of an object, in order
	items   []*node       // of an array
	id      int
	up      *node
	key     string // in up
}

type named struct {
	name  string
	value *node
}

// at is where the node is, as a JSON pointer.
func (n *node) at() string {
	if n.up == nil {
		return "#"
	}
	return n.up.at() + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(n.key)
}

func (n *node) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", quotedPointer(n.at()), fmt.Errorf(format, args...))
}

// quotedPointer is a pointer of bearable length.
func quotedPointer(at string) string {
	if len(at) > 200 {
		return "…" + strings.ToValidUTF8(at[len(at)-200:], "")
	}
	return at
}

// get is the value of a member, nil if there is none.
func (n *node) get(name string) *node {
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// parseJSON reads a document.
func parseJSON(text []byte) (*node, error) {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	ids := 0
	var read func(up *node, key string, depth int) (*node, error)
	read = func(up *node, key string, depth int) (*node, error) {
		tok, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		n := &node{kind: tok.Kind(), id: ids, up: up, key: key}
		ids++
		if depth > maxNesting {
			return nil, fmt.Errorf("values are nested more than %d deep", maxNesting)
		}
		switch n.kind {
		case '"', '0':
			n.text = tok.String()
		case '{':
			for d.PeekKind() == '"' {
				tok, err := d.ReadToken()
				if err != nil {
					return nil, err
				}
				name := tok.String()
				value, err := read(n, name, depth+1)
				if err != nil {
					return nil, err
				}
				n.members = append(n.members, named{name, value})
			}
			_, err = d.ReadToken()
		case '[':
			for k := d.PeekKind(); k != ']' && k != 0; k = d.PeekKind() {
				item, err := read(n, strconv.Itoa(len(n.items)), depth+1)
				if err != nil {
					return nil, err
				}
				n.items = append(n.items, item)
			}
			_, err = d.ReadToken()
		}
		return n, err
	}
	root, err := read(nil, "", 0)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("something follows its end")
	}
	return root, nil
}

// written is the value as compact JSON; with canonical so that equal values are
// written alike.
func (n *node) written(canonical bool) string {
	var b strings.Builder
	switch n.kind {
	case '"':
		return quote(n.text)
	case '0':
		if r, ok := rational(n.text); ok && canonical {
			return r.RatString()
		}
		return n.text
	case '{':
		members := n.members
		if canonical {
			members = slices.SortedFunc(slices.Values(members), func(a, b named) int { return cmp.Compare(a.name, b.name) })
		}
		for i, m := range members {
			b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
			b.WriteString(quote(m.name) + ":" + m.value.written(canonical))
		}
		if len(members) == 0 {
			b.WriteByte('{')
		}
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(item.written(canonical))
		}
		b.WriteByte(']')
	default:
		return n.kind.String()
	}
	return b.String()
}

// schemas compiles a document's schemas to rules, one for each that is referred
// to or is a part of another.
type schemas struct {
	jsonRules
	root    *node
	byKey   map[string]int
	queue   []job
	checked map[*node]bool
	spread  int // alternatives so far
}

// job is a rule without its body yet: the schemas that its values satisfy, all
// of them.
type job struct {
	rule int
	of   []*node
}

const (
	maxSchemaRules        = 20_000
	maxSchemaAlternatives = 5_000
)

func (s *schemas) compile() (*Grammar, error) {
	root, err := s.ruleFor([]*node{s.root})
	if err != nil {
		return nil, err
	}
	for len(s.queue) > 0 {
		j := s.queue[0]
		s.queue = s.queue[1:]
		f, err := s.flatten(j.of)
		if err != nil {
			return nil, err
		}
		body, err := s.body(f)
		if err != nil {
			return nil, err
		}
		s.rules[j.rule].body = body
	}
	return compile(s.rules, root)
}

// ruleFor is the rule of the values that satisfy all of those schemas.
func (s *schemas) ruleFor(of []*node) (int, error) {
	var all []*node
	for _, n := range of {
		n, err := s.follow(n)
		if err != nil {
			return 0, err
		}
		if !trivial(n) && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return s.value(), nil
	}
	var key strings.Builder
	for _, n := range all {
		fmt.Fprintf(&key, "%d ", n.id)
	}
	id, ok := s.byKey[key.String()]
	if ok {
		return id, nil
	}
	if len(s.rules) >= maxSchemaRules {
		return 0, all[0].errorf("%w: more than %d schemas and combinations of them", errTooLarge, maxSchemaRules)
	}
	id = s.add("the schema at " + quotedPointer(all[0].at()))
	s.byKey[key.String()] = id
	s.queue = append(s.queue, job{id, all})
	return id, nil
}

// follow goes along references that stand alone.
func (s *schemas) follow(n *node) (*node, error) {
	for range maxNesting {
		if n.kind != '{' {
			return n, nil
		}
		target := n.get("$ref")
		if target == nil || slices.ContainsFunc(n.members, func(m named) bool { return m.name != "$ref" && !describes(m.name) }) {
			return n, nil
		}
		var err error
		if n, err = s.resolve(target); err != nil {
			return nil, err
		}
	}
	return nil, n.errorf("the reference leads to itself")
}

// trivial reports whether every value satisfies the schema.
func trivial(n *node) bool {
	return n.kind == 't' || n.kind == '{' && !slices.ContainsFunc(n.members, func(m named) bool { return !describes(m.name) })
}

// resolve finds what a $ref refers to.
func (s *schemas) resolve(n *node) (*node, error) {
	if n.kind != '"' {
		return nil, n.errorf("$ref must be a string")
	}
	path, ok := strings.CutPrefix(n.text, "#")
	path, err := url.PathUnescape(path)
	if !ok || err != nil || path != "" && path[0] != '/' {
		return nil, n.errorf("$ref %s is not supported: only pointers within the document (#/$defs/NAME)", quoted(n.text))
	}
	at := s.root
	if path == "" {
		return at, nil
	}
	for _, key := range strings.Split(path[1:], "/") {
		key = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
		to := at.get(key)
		if i, err := strconv.Atoi(key); at.kind == '[' && err == nil && i >= 0 && i < len(at.items) {
			to = at.items[i]
		}
		if to == nil {
			return nil, n.errorf("$ref %s: there is nothing of this name in the document", quoted(n.text))
		}
		at = to
	}
	return at, nil
}

// flattened are schemas that hold together: simple ones, without references and
// combinations, and choices, of each of which one more holds.
type flattened struct {
	plain   []*node
	choices []*node // values of anyOf and oneOf
	never   bool    // false is among them
}

func (s *schemas) flatten(of []*node) (flattened, error) {
	var f flattened
	open := map[*node]bool{}
	closed := map[*node]bool{}
	var visit func(n *node) error
	visit = func(n *node) error {
		switch {
		case open[n]:
			return n.errorf("the schema refers to itself for the same value")
		case closed[n] || n.kind == 't':
			return nil
		case n.kind == 'f':
			f.never = true
			return nil
		}
		if err := s.check(n); err != nil {
			return err
		}
		open[n] = true
		f.plain = append(f.plain, n)
		for _, m := range n.members {
			switch m.name {
			case "$ref":
				to, err := s.resolve(m.value)
				if err != nil {
					return err
				}
				if err := visit(to); err != nil {
					return err
				}
			case "allOf":
				for _, part := range m.value.items {
					if err := visit(part); err != nil {
						return err
					}
				}
			case "anyOf", "oneOf":
				f.choices = append(f.choices, m.value)
			}
		}
		open[n], closed[n] = false, true
		return nil
	}
	for _, n := range of {
		if err := visit(n); err != nil {
			return f, err
		}
	}
	return f, nil
}

// and adds one more schema to f.
func (s *schemas) and(f flattened, n *node) (flattened, error) {
	more, err := s.flatten([]*node{n})
	if err != nil {
		return f, err
	}
	out := flattened{plain: slices.Clone(f.plain), choices: append(slices.Clone(f.choices), more.choices...), never: f.never || more.never}
	for _, p := range more.plain {
		if !slices.Contains(out.plain, p) {
			out.plain = append(out.plain, p)
		}
	}
	return out, nil
}

// body is the expression of what satisfies f.
func (s *schemas) body(f flattened) (expr, error) {
	if f.never {
		return choice{}, nil
	}
	if len(f.choices) == 0 {
		sh, err := s.shape(f.plain)
		if err != nil {
			return nil, err
		}
		return s.emit(sh)
	}
	options := f.choices[0]
	rest := flattened{plain: f.plain, choices: f.choices[1:]}
	alone := len(rest.choices) == 0 && !slices.ContainsFunc(f.plain, func(n *node) bool {
		return slices.ContainsFunc(n.members, func(m named) bool { return !combines(m.name) && !describes(m.name) })
	})
	var all choice
	var each []flattened
	for _, o := range options.items {
		if s.spread++; s.spread > maxSchemaAlternatives {
			return nil, options.errorf("%w: anyOf and oneOf make more than %d combinations, or a member is the whole again", errTooLarge, maxSchemaAlternatives)
		}
		with, err := s.and(rest, o)
		if err != nil {
			return nil, err
		}
		each = append(each, with)
		if alone { // so that the rule of a schema that is referred to is shared
			r, err := s.ruleFor([]*node{o})
			if err != nil {
				return nil, err
			}
			all = append(all, ref(r))
			continue
		}
		e, err := s.body(with)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if options.key == "oneOf" {
		for i := range each {
			for j := range i {
				if s.spread++; s.spread > maxSchemaAlternatives {
					return nil, options.errorf("%w: too many members to be held against each other", errTooLarge)
				}
				apart, err := s.exclude(each[j], each[i], 4)
				if err != nil {
					return nil, err
				}
				if !apart {
					return nil, options.errorf("oneOf: its members %d and %d may hold for the same value, as far as can be seen here: write anyOf, or give each a required property with a const of its own", j, i)
				}
			}
		}
	}
	return all, nil
}

// describes reports whether a keyword only describes.
func describes(keyword string) bool {
	switch keyword {
	case "title", "description", "default", "example", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated", "readOnly",
		"writeOnly", "discriminator", "contentEncoding", "contentMediaType":
		return true
	}
	return strings.HasPrefix(keyword, "x-")
}

// combines reports whether a keyword is resolved by flatten.
func combines(keyword string) bool {
	return keyword == "$ref" || keyword == "allOf" || keyword == "anyOf" || keyword == "oneOf"
}

// keywords are those that are supported, with what their values are: 's' a
// schema, 'S' schemas by name, 'L' a list of schemas, 'n' a whole number, 'b'
// any bound, 'A' a list of anything, 'N' a list of names, 't' a type or types,
// '"' a string, '.' anything.
var keywords = map[string]byte{"type": 't', "enum": 'A', "const": '.', "properties": 'S', "required": 'N', "additionalProperties": 's', "items": 's',
	"prefixItems": 'L', "minItems": 'n', "maxItems": 'n', "minLength": 'n', "maxLength": 'n', "pattern": '"', "format": '"', "minimum": 'b', "maximum": 'b',
	"exclusiveMinimum": 'b', "exclusiveMaximum": 'b', "anyOf": 'L', "oneOf": 'L', "allOf": 'L', "$ref": '"'}

// check refuses what is not supported in a schema, but for its subschemas.
func (s *schemas) check(n *node) error {
	if s.checked[n] {
		return nil
	}
	s.checked[n] = true
	if n.kind != '{' {
		return n.errorf("a schema is an object, true or false, not %s", quoted(n.written(false)))
	}
	for _, m := range n.members {
		v := m.value
		bad := func(want string) error { return v.errorf("%s must be %s", m.name, want) }
		want, known := keywords[m.name]
		switch {
		case m.name == "$id" && n.up != nil:
			return v.errorf("$id is supported at the root only")
		case describes(m.name):
			continue
		case !known && (m.name == "uniqueItems" && v.kind == 'f' || m.name == "unevaluatedProperties" && v.kind == 't'):
			continue // asks for nothing
		case !known:
			return v.errorf("the keyword %s is not supported", quoted(m.name))
		case m.name == "items" && v.kind == '[':
			return v.errorf("items as a list is not supported: write prefixItems")
		}
		switch want {
		case 's':
			if v.kind != '{' && v.kind != 't' && v.kind != 'f' {
				return bad("a schema")
			}
		case 'S':
			if v.kind != '{' {
				return bad("an object of schemas")
			}
			for _, p := range v.members {
				if k := p.value.kind; k != '{' && k != 't' && k != 'f' {
					return p.value.errorf("a schema is an object, true or false")
				}
			}
		case 'L', 'A':
			if v.kind != '[' || len(v.items) == 0 {
				return bad("a list, not empty")
			}
		case 'N':
			if v.kind != '[' || slices.ContainsFunc(v.items, func(i *node) bool { return i.kind != '"' }) {
				return bad("a list of names")
			}
		case 'n':
			if c, err := strconv.ParseUint(strings.TrimSuffix(v.text, ".0"), 10, 31); v.kind != '0' || err != nil || c > maxStates {
				return bad(fmt.Sprintf("a whole number from 0 to %d", maxStates))
			}
		case 'b':
			if v.kind != '0' {
				return bad("a number")
			}
			if _, ok := rational(v.text); !ok {
				return bad("a number of bearable size")
			}
		case '"':
			if v.kind != '"' {
				return bad("a string")
			}
		case 't':
			if _, err := typesOf(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// types is a set of JSON types.
type types int

const (
	typeNull types = 1 << iota
	typeBoolean
	typeInteger
	typeNumber // includes integers
	typeString
	typeArray
	typeObject

	allTypes = typeNull | typeBoolean | typeInteger | typeNumber | typeString | typeArray | typeObject
)

var typeNames = map[string]types{"null": typeNull, "boolean": typeBoolean, "integer": typeInteger, "number": typeInteger | typeNumber,
	"string": typeString, "array": typeArray, "object": typeObject}

func typesOf(v *node) (types, error) {
	list := v.items
	if v.kind == '"' {
		list = []*node{v}
	}
	var t types
	for _, i := range list {
		one, ok := typeNames[i.text]
		if i.kind != '"' || !ok {
			return 0, i.errorf("%s is no type; there are null, boolean, integer, number, string, array and object", quoted(i.written(false)))
		}
		t |= one
	}
	if len(list) == 0 {
		return 0, v.errorf("type must be a type or a list of types")
	}
	return t, nil
}

// typeOf is the type of a value.
func typeOf(v *node) types {
	switch v.kind {
	case 'n':
		return typeNull
	case 't', 'f':
		return typeBoolean
	case '"':
		return typeString
	case '[':
		return typeArray
	case '{':
		return typeObject
	}
	if r, ok := rational(v.text); ok && r.IsInt() {
		return typeInteger
	}
	return typeNumber
}
