package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// template is text with places for a row's fields: {{body}}, {{customer.name}},
// {{items.0.title}}. {{note?}} may be missing or null and is nothing then.
// \{{ stands for two braces that begin no field.
type template struct {
	source string
	parts  []templatePart
}

// templatePart is a piece of text, or a field if name is set.
type templatePart struct {
	text     string
	name     string
	optional bool
	at       int // where the field stands in the source, in bytes
}

// newTemplate reads a template. What says whose it is, for errors.
func newTemplate(what, source string) (*template, error) {
	t := &template{source: source}
	fail := func(at int, format string, args ...any) (*template, error) {
		line, column := position(source, at)
		return nil, fmt.Errorf("%s:%d:%d: %s", what, line, column, fmt.Sprintf(format, args...))
	}
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t.parts = append(t.parts, templatePart{text: text.String()})
			text.Reset()
		}
	}
	fields := 0
	for at := 0; at < len(source); {
		rest := source[at:]
		switch {
		case strings.HasPrefix(rest, `\{{`):
			text.WriteString("{{")
			at += 3
		case strings.HasPrefix(rest, "{{"):
			inside, _, ok := strings.Cut(rest[2:], "}}")
			if !ok || strings.Contains(inside, "{{") {
				return fail(at, `"{{" is not closed by "}}"; write \{{ for two braces that begin no field`)
			}
			flush()
			name, optional := strings.CutSuffix(strings.TrimSpace(inside), "?")
			name = strings.TrimSpace(name)
			if name == "" {
				return fail(at, "{{%s}} names no field", inside)
			}
			t.parts = append(t.parts, templatePart{name: name, optional: optional, at: at})
			at += len(inside) + 4
			fields++
		default:
			text.WriteByte(source[at])
			at++
		}
	}
	flush()
	if fields == 0 {
		return fail(0, "it names no field, so that every prompt would be the same; write {{field}} where a row's text goes")
	}
	return t, nil
}

// position returns the line and column, from 1, of a place in a text; the
// column counts characters.
func position(text string, at int) (line, column int) {
	before := text[:at]
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// render puts a row's fields in.
func (t *template) render(at place, r row) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		raw, err := t.lookup(at, r, p)
		if err != nil {
			return "", err
		}
		s, err := templateText(raw)
		if err != nil {
			return "", at.errorf(r.column(topField(r, p.name)), "{{%s}}: %v", p.name, err)
		}
		b.WriteString(s)
	}
	if strings.TrimSpace(b.String()) == "" {
		return "", at.errorf(0, "the template gives an empty prompt here")
	}
	return b.String(), nil
}

// has reports whether the row has every field that the template cannot do
// without.
func (t *template) has(r row) bool {
	for _, p := range t.parts {
		if p.name == "" || p.optional {
			continue
		}
		if raw, _, _ := find(r, p.name); raw == nil {
			return false
		}
	}
	return true
}

// lookup returns a field's raw value; nil is nothing at all.
func (t *template) lookup(at place, r row, p templatePart) (json.RawMessage, error) {
	raw, known, within := find(r, p.name)
	if raw != nil && !bytes.Equal(raw, []byte("null")) || p.optional {
		return raw, nil
	}
	line, column := position(t.source, p.at)
	if raw != nil {
		return nil, at.errorf(r.column(topField(r, p.name)), "the template wants {{%s}} (its line %d, column %d), which is null here; write {{%s?}} if it may be",
			p.name, line, column, p.name)
	}
	msg := fmt.Sprintf("the template wants {{%s}} (its line %d, column %d), which the row does not have; %s has %s", p.name, line, column, within, quotedList(known))
	if near := nearest(p.name, known); near != "" {
		msg += fmt.Sprintf("; did you mean {{%s}}?", near)
	}
	return nil, at.errorf(0, "%s", msg)
}

// find looks a field up: by its whole name, else by the names between its dots.
// Where there is none, it returns the full names that there are at the place
// where the search ended, and what that place is called.
func find(r row, name string) (raw json.RawMessage, known []string, within string) {
	if raw, ok := r.values[name]; ok {
		return raw, nil, ""
	}
	within, known = "it", r.names
	rest := name
	top := topField(r, name)
	if top == "" {
		return nil, known, within
	}
	raw, path := r.values[top], top
	rest = rest[len(top)+1:]
	for step := range strings.SplitSeq(rest, ".") {
		within, known = fmt.Sprintf("%q", path), nil
		var object map[string]json.RawMessage
		var array []json.RawMessage
		switch {
		case json.Unmarshal(raw, &object) == nil && object != nil:
			for _, k := range keys(raw) {
				known = append(known, path+"."+k)
			}
			raw = object[step]
		case json.Unmarshal(raw, &array) == nil && array != nil:
			for i := range array {
				known = append(known, path+"."+strconv.Itoa(i))
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(array) {
				return nil, known, within
			}
			raw = array[i]
		default:
			return nil, nil, within
		}
		if raw == nil {
			return nil, known, within
		}
		path += "." + step
	}
	return raw, nil, ""
}

// topField returns the row's longest field that a dotted name begins with, or
// the name itself if it is one.
func topField(r row, name string) string {
	if _, ok := r.values[name]; ok {
		return name
	}
	for head := name; ; {
		i := strings.LastIndexByte(head, '.')
		if i < 0 {
			return ""
		}
		if head = head[:i]; r.values[head] != nil {
			return head
		}
	}
}

// keys returns an object's keys in their order.
func keys(raw json.RawMessage) []string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	var out []string
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		var skip json.RawMessage
		if err != nil || !ok || dec.Decode(&skip) != nil {
			return out
		}
		out = append(out, name)
	}
	return out
}

// templateText is how a value stands in a prompt: a string as it is, anything
// else as JSON.
func templateText(raw json.RawMessage) (string, error) {
	switch {
	case raw == nil || bytes.Equal(raw, []byte("null")):
		return "", nil
	case raw[0] == '"':
		return decodeString(raw)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return "", err
	}
	return b.String(), nil
}

// particular cuts the template's own text out of a prompt that it rendered and
// returns what the fields gave, a line each. It fails on other prompts.
func (t *template) particular(prompt string) (string, bool) {
	var fields []string
	rest, open := prompt, false
	for k, p := range t.parts {
		if p.name != "" {
			open = true
			continue
		}
		i := strings.Index(rest, p.text)
		if k == len(t.parts)-1 {
			i = strings.LastIndex(rest, p.text)
		}
		if i < 0 || i > 0 && !open {
			return "", false
		}
		if open {
			fields = append(fields, rest[:i])
		}
		rest, open = rest[i+len(p.text):], false
	}
	if open {
		fields = append(fields, rest)
	} else if rest != "" {
		return "", false
	}
	return strings.Join(fields, "\n"), true
}

// nearest returns the known name that a mistyped one is most likely meant to
// be, or "".
func nearest(name string, known []string) string {
	best, dist := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	return best
}

func quotedList(names []string) string {
	if len(names) == 0 {
		return "no fields"
	}
	const most = 20
	quoted := make([]string, 0, len(names))
	for i, n := range names {
		if i == most {
			quoted = append(quoted, fmt.Sprintf("and %d more", len(names)-most))
			break
		}
		quoted = append(quoted, fmt.Sprintf("%q", n))
	}
	return strings.Join(quoted, ", ")
}
