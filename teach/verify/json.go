package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"

	"retort/exchange"
)

// Where an answer's JSON may stand.
const (
	readWhole = "whole" // the answer is JSON and nothing else
	readBlock = "block" // or stands in its only fenced code block
	readAny   = "any"   // or is the only JSON object in the text
)

// Bounds of what is read as JSON.
const (
	maxDepth    = 128     // levels of nesting
	maxValues   = 100_000 // values, in all that is tried
	maxNumber   = 400     // characters of a number
	maxExponent = 400     // of a number
)

// readError says why there is no JSON to judge.
type readError struct{ reason, detail string }

func (e *readError) Error() string { return e.detail }

func (e *readError) finding() finding { return failed(e.reason, "%s", e.detail) }

// readJSON finds and reads the JSON of an answer. Numbers are json.Number,
// objects map[string]any.
func readJSON(text, where string) (any, *readError) {
	budget := maxValues
	v, whole := parseJSON(text, &budget)
	if whole == nil || where == readWhole || whole.reason != "not_json" {
		if whole != nil && where == readWhole && strings.Contains(text, "```") {
			whole.detail += "; it stands in a code block, which `read: block` accepts"
		}
		return v, whole
	}
	blocks := fenced(text)
	if len(blocks) > 1 {
		return nil, &readError{ReasonNotJSON, fmt.Sprintf("the answer has %d code blocks; it must have one", len(blocks))}
	}
	if len(blocks) == 1 {
		v, err := parseJSON(blocks[0], &budget)
		if err != nil {
			err.detail = "in its code block: " + err.detail
		}
		return v, err
	}
	if where == readAny {
		return onlyObject(text, &budget, whole)
	}
	return nil, whole
}

// fenced returns what stands between pairs of lines that begin with ```.
func fenced(text string) []string {
	var blocks []string
	var block *strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			if block != nil {
				blocks = append(blocks, block.String())
				block = nil
			} else {
				block = &strings.Builder{}
			}
		case block != nil:
			block.WriteString(line)
		}
	}
	if block != nil { // an answer that was cut off, or a forgotten last line
		blocks = append(blocks, block.String())
	}
	return blocks
}

// onlyObject reads the JSON object that stands somewhere in a text.
func onlyObject(text string, budget *int, whole *readError) (any, *readError) {
	var found any
	objects := 0
	// A text of many braces may be read over several times, but not endlessly.
	left := 16*len(text) + 1<<16
	for i := 0; ; {
		next := strings.IndexByte(text[i:], '{')
		if next < 0 {
			break
		}
		i += next
		p := newParser(text[i:], budget)
		v, err := p.value(0)
		if err != nil && err.reason != ReasonNotJSON {
			return nil, err
		}
		if left -= p.read(); left < 0 {
			return nil, &readError{ReasonNotJSON, "the answer has too many braces to find a JSON object among them"}
		}
		if err != nil {
			i++
			continue
		}
		found = v
		objects++
		i += p.end()
	}
	switch objects {
	case 0:
		return nil, whole
	case 1:
		return found, nil
	}
	return nil, &readError{ReasonNotJSON, fmt.Sprintf("the answer has %d JSON objects; it must have one", objects)}
}

// parseJSON reads a text that is one JSON value.
func parseJSON(text string, budget *int) (any, *readError) {
	if strings.TrimSpace(text) == "" {
		return nil, &readError{ReasonNotJSON, "the answer is empty"}
	}
	p := newParser(text, budget)
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, rest := p.dec.Token(); rest != io.EOF {
		return nil, p.errorf(ReasonNotJSON, "something follows the JSON value")
	}
	return v, nil
}

// parser reads one JSON value within bounds.
type parser struct {
	text   string
	in     *strings.Reader
	dec    *json.Decoder
	budget *int
}

func newParser(text string, budget *int) *parser {
	in := strings.NewReader(text)
	dec := json.NewDecoder(in)
	dec.UseNumber()
	return &parser{text, in, dec, budget}
}

// end is where the value that was read ends.
func (p *parser) end() int { return int(p.dec.InputOffset()) }

// read is how much of the text was looked at.
func (p *parser) read() int { return len(p.text) - p.in.Len() }

func (p *parser) errorf(reason, format string, args ...any) *readError {
	at := min(p.end(), len(p.text))
	line := 1 + strings.Count(p.text[:at], "\n")
	column := at - strings.LastIndexByte(p.text[:at], '\n')
	return &readError{reason, fmt.Sprintf("line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))}
}

func (p *parser) token() (json.Token, *readError) {
	t, err := p.dec.Token()
	if err == nil {
		return t, nil
	}
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, p.errorf(ReasonNotJSON, "the JSON ends too early")
	case errors.As(err, &syntax):
		return nil, p.errorf(ReasonNotJSON, "%v", err)
	}
	return nil, p.errorf(ReasonNotJSON, "no JSON: %v", err)
}

func (p *parser) value(depth int) (any, *readError) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	if *p.budget--; *p.budget < 0 {
		return nil, p.errorf(ReasonTooLarge, "the JSON has more than %d values", maxValues)
	}
	switch t := t.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, p.errorf(ReasonTooDeep, "the JSON is nested more than %d levels deep", maxDepth)
		}
		if t == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case json.Number:
		return p.number(t)
	}
	return t, nil
}

func (p *parser) object(depth int) (any, *readError) {
	out := map[string]any{}
	for p.dec.More() {
		k, err := p.token()
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, p.errorf(ReasonNotJSON, "a key must be a string")
		}
		if _, twice := out[key]; twice {
			return nil, p.errorf(ReasonDuplicate, "the key %s stands twice in one object", quote(key))
		}
		if out[key], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.token() // the closing brace
	return out, err
}

func (p *parser) array(depth int) (any, *readError) {
	out := []any{}
	for p.dec.More() {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := p.token() // the closing bracket
	return out, err
}

// number refuses what cannot be compared in reasonable time: 1e999999999 is
// few characters and a number of a billion digits.
func (p *parser) number(n json.Number) (any, *readError) {
	if len(n) > maxNumber {
		return nil, p.errorf(ReasonBadNumber, "a number has %d characters; at most %d are compared", len(n), maxNumber)
	}
	if i := strings.IndexAny(string(n), "eE"); i >= 0 {
		if e, err := strconv.Atoi(string(n[i+1:])); err != nil || e > maxExponent || e < -maxExponent {
			return nil, p.errorf(ReasonBadNumber, "the exponent of %s is beyond the %d that is compared", n, maxExponent)
		}
	}
	return n, nil
}

// rational is a number's exact value.
func rational(n json.Number) (*big.Rat, bool) {
	if len(n) > maxNumber {
		return nil, false
	}
	return new(big.Rat).SetString(string(n))
}

// canonical writes a JSON value so that equal values are equal texts.
func canonical(v any) (string, error) {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	out, err := exchange.CanonicalJSON(raw.Bytes())
	return string(out), err
}

// lookup finds a field by its name, or a.b as the field b of the field a.
func lookup(v any, name string) (any, bool) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	if f, ok := object[name]; ok {
		return f, true
	}
	head, rest, nested := strings.Cut(name, ".")
	if !nested {
		return nil, false
	}
	return lookup(object[head], rest)
}
