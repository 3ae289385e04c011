package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// detectRows is how many rows are looked at.
const detectRows = 32

// Detect names the format of a file by its first bytes and says what it was
// found by. The bytes should hold at least one whole row.
func Detect(head []byte) (Format, string, error) {
	s := newSplitter(bytes.NewReader(head), int64(max(len(head), 1)))
	if err := s.begin(); err != nil {
		return "", "", err
	}
	b, err := s.next(context.Background(), nil)
	if err != nil {
		return "", "", err
	}
	if b != nil && len(b.rows) > 1 { // the last may be cut off
		b.rows = b.rows[:len(b.rows)-1]
	}
	return detect(b, s.layout)
}

// detect looks at the first rows of a batch. The format that most of them have
// is the file's; of equals the one that stands first.
func detect(b *batch, layout string) (Format, string, error) {
	if b == nil {
		return "", "", &FormatError{What: "it holds no rows"}
	}
	var p parser
	votes := make(map[Format]int)
	why := make(map[Format]string)
	best, parsed := Format(""), 0
	var fields string
	var broken error
	for _, sp := range b.rows[:min(len(b.rows), detectRows)] {
		if sp.fault != nil {
			broken = errors.Join(broken, sp.fault)
			continue
		}
		d, err := p.parse(b.data[sp.start:sp.end])
		if err != nil {
			if broken == nil {
				broken = fmt.Errorf("line %d: %w", sp.line, err)
			}
			continue
		}
		parsed++
		if d.nodes[root].kind != '{' {
			continue
		}
		f, what := d.shape()
		if fields == "" {
			fields = d.fieldNames()
		}
		if f == "" {
			continue
		}
		if votes[f]++; votes[f] == 1 {
			why[f] = what
		}
		if best == "" || votes[f] > votes[best] {
			best = f
		}
	}
	switch {
	case best != "":
		return best, why[best], nil
	case parsed == 0 && layout == layoutLines && bytes.HasPrefix(bytes.TrimLeft(b.data, "\xef\xbb\xbf \t\r\n"), []byte("{")):
		return "", "", &FormatError{What: fmt.Sprintf("its lines are no JSON of their own (%v): write one row a line, for instance with jq -c . or, where the rows are a list in one object, jq -c '.data[]'", broken)}
	case parsed == 0:
		return "", "", &FormatError{What: fmt.Sprintf("it is neither a JSON array nor JSON lines: %v", broken)}
	case fields == "":
		return "", "", &FormatError{What: "its rows are no objects"}
	}
	return "", "", &FormatError{What: fmt.Sprintf("rows with the fields %s are in none of the formats %v: rename them, or name the format that they are close to", fields, Formats()[1:])}
}

func (d *doc) fieldNames() string {
	var names []string
	for i, ok := d.first(root); ok && len(names) < 12; i, ok = d.after(root, i) {
		names = append(names, clip(d.name(i)))
	}
	return strings.Join(names, ", ")
}

// shape names the format of one row by the fields that it has.
func (d *doc) shape() (Format, string) {
	has := func(names ...string) bool {
		_, ok := d.anyOf(root, names)
		return ok
	}
	_, customID := d.find(root, "custom_id")
	_, response := d.find(root, "response")
	_, failure := d.find(root, "error")
	list, conversation := d.anyOf(root, conversationFields)
	switch {
	case customID && (response || failure):
		return Batch, "custom_id and response"
	case has("chosen") && has("rejected"):
		return Preference, "chosen and rejected"
	case has("preferred_output") && has("non_preferred_output"):
		return Preference, "preferred_output and non_preferred_output"
	case has(requestFields...) && has(responseFields...):
		return Log, "request and response"
	case has("choices"):
		return Log, "choices"
	case conversation && has(answerFields...):
		return Log, "messages and an answer beside them"
	case conversation:
		return d.conversationShape(list)
	case has("instruction") && has(answerFields...):
		if has(reasoningFields...) {
			return Reasoning, "instruction, reasoning and an answer"
		}
		return Alpaca, "instruction and an answer"
	case has(promptFields...) && has(answerFields...):
		if has(reasoningFields...) {
			return Reasoning, "a prompt, reasoning and an answer"
		}
		return Log, "a prompt and an answer"
	}
	return "", ""
}

// conversationShape tells the two ways of writing messages apart, and those
// that write reasoning in a field of its own.
func (d *doc) conversationShape(list int32) (Format, string) {
	if d.nodes[list].kind != '[' {
		return "", ""
	}
	format, why := Format(""), ""
	for i, ok := d.first(list); ok; i, ok = d.after(list, i) {
		switch {
		case d.has(i, "from") && format == "":
			format, why = ShareGPT, d.name(list)+" of from and value"
		case d.has(i, "role") && format == "":
			format, why = Messages, d.name(list)+" of role and content"
		}
		if format != Messages {
			continue
		}
		if k, ok := d.anyOf(i, []string{"reasoning_content", "reasoning", "thinking"}); ok {
			return Reasoning, d.name(list) + " with " + d.name(k)
		}
	}
	return format, why
}
