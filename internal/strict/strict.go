// Package strict reads YAML files that people write by hand: a key that does not
// exist is refused with its line and column and the nearest one that does, and
// checks that run later can still point at the place of a value.
//
// It knows no file's meaning; recipe and watch/gateway do.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Error is a mistake in a file: where it is and what to do about it.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 if the place is not known
	Path         string // such as prompts[0].digits
	Msg          string
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// position is a place in a file, from 1.
type position struct{ line, column int }

// Source remembers where each value of a file stands, so that a check that runs
// long after parsing can still point at it.
type Source struct {
	file  string
	what  string              // a file of this kind, such as "a recipe"
	root  reflect.Type        // what it is read into
	lines map[string]position // by path
}

// File is the name of the file.
func (s *Source) File() string { return s.file }

// Errorf makes an Error for the value at path, or for the nearest value above
// it that the file really holds.
func (s *Source) Errorf(path, format string, args ...any) *Error {
	e := &Error{File: s.file, Path: path, Msg: fmt.Sprintf(format, args...)}
	for at := path; ; {
		if p, ok := s.lines[at]; ok {
			e.Line, e.Column = p.line, p.column
			return e
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			return e
		}
		at = at[:i]
	}
}

// Decode reads one YAML document into v, a pointer to a struct. A key that v does
// not have is refused with its line and column and the nearest key that would be
// valid; what names such a file for people, such as "a recipe".
func Decode(file, what string, data []byte, v any) (*Source, error) {
	src := &Source{file: file, what: what, root: reflect.TypeOf(v), lines: map[string]position{}}
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, src.yamlError(err)
	}
	if len(doc.Docs) != 1 || doc.Docs[0].Body == nil {
		return nil, &Error{File: file, Msg: fmt.Sprintf("want one YAML document, found %d", nonEmpty(doc.Docs))}
	}
	if err := src.check(doc.Docs[0].Body, reflect.TypeOf(v), ""); err != nil {
		return nil, err
	}
	if err := yaml.NodeToValue(doc.Docs[0].Body, v, yaml.Strict()); err != nil {
		return nil, src.yamlError(err)
	}
	return src, nil
}

func nonEmpty(docs []*ast.DocumentNode) int {
	n := 0
	for _, d := range docs {
		if d.Body != nil {
			n++
		}
	}
	return n
}

// yamlError turns the library's error into ours, keeping its position.
func (s *Source) yamlError(err error) error {
	out := &Error{File: s.file, Msg: err.Error()}
	var e yaml.Error
	if errors.As(err, &e) {
		out.Msg = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			out.Line, out.Column = t.Position.Line, t.Position.Column
		}
	}
	return out
}

// check walks a node beside the type that it will be decoded into, notes
// positions and refuses unknown keys.
func (s *Source) check(n ast.Node, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if tok := n.GetToken(); tok != nil && tok.Position != nil {
		if _, ok := s.lines[path]; !ok {
			s.lines[path] = position{tok.Position.Line, tok.Position.Column}
		}
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return s.checkMapping(n.Values, t, path)
	case *ast.MappingValueNode:
		return s.checkMapping([]*ast.MappingValueNode{n}, t, path)
	case *ast.SequenceNode:
		if t.Kind() != reflect.Slice && t.Kind() != reflect.Array {
			return nil // the decoder says what it wanted
		}
		for i, item := range n.Values {
			if err := s.check(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Source) checkMapping(values []*ast.MappingValueNode, t reflect.Type, path string) error {
	var fields map[string]reflect.Type
	switch t.Kind() {
	case reflect.Struct:
		fields = yamlFields(t)
	case reflect.Map:
	default:
		return nil // a type mismatch: the decoder says so
	}
	for _, kv := range values {
		key := kv.Key.GetToken().Value
		sub := join(path, key)
		pos := kv.Key.GetToken().Position
		s.lines[sub] = position{pos.Line, pos.Column}
		ft := t
		if fields == nil {
			ft = t.Elem()
		} else if f, ok := fields[key]; ok {
			ft = f
		} else {
			return s.unknown(path, key, pos.Line, pos.Column, fields)
		}
		if kv.Value == nil {
			continue
		}
		if err := s.check(kv.Value, ft, sub); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) unknown(path, key string, line, column int, fields map[string]reflect.Type) error {
	where := s.what
	if path != "" {
		where = path
	}
	msg := fmt.Sprintf("%s has no key %q", where, key)
	valid := make([]string, 0, len(fields))
	for f := range fields {
		valid = append(valid, f)
	}
	sort.Strings(valid)
	if near := Nearest(key, valid); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	if elsewhere := findKey(s.root, key, ""); elsewhere != "" {
		msg += fmt.Sprintf(" (%s is a key)", elsewhere)
	}
	msg += " Valid here: " + strings.Join(valid, ", ")
	return &Error{File: s.file, Line: line, Column: column, Msg: msg}
}

// Nearest returns the candidate that is most like key, if any is like it at
// all: at most a third of its letters differ, but two (a swap) always may.
func Nearest(key string, candidates []string) string {
	best, bestDistance := "", max(2, len(key)/3)+1
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(strings.ToLower(key), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// findKey returns the path of the first key of that name anywhere in a file.
func findKey(t reflect.Type, key, path string) string {
	switch t.Kind() {
	case reflect.Pointer:
		return findKey(t.Elem(), key, path)
	case reflect.Slice:
		return findKey(t.Elem(), key, path+"[]")
	case reflect.Struct:
		fields := yamlFields(t)
		names := make([]string, 0, len(fields))
		for f := range fields {
			names = append(names, f)
		}
		sort.Strings(names)
		for _, f := range names {
			if f == key {
				return join(path, f)
			}
		}
		for _, f := range names {
			if p := findKey(fields[f], key, join(path, f)); p != "" {
				return p
			}
		}
	}
	return ""
}

// yamlFields returns the keys that a struct is read from, inlined ones too.
func yamlFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case strings.Contains(options, "inline"):
			ft := f.Type
			for ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			for k, v := range yamlFields(ft) {
				out[k] = v
			}
		case name == "":
			out[strings.ToLower(f.Name)] = f.Type
		default:
			out[name] = f.Type
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
