// Package dataset keeps training examples as immutable directories that are
// named by what they hold, each with a passport that says where it came from.
//
// A dataset is a directory <root>/<hash>/ with two files: data.parquet, one
// row an example in prompt order, and passport.json, its lineage. The hash
// covers the canonical logical rows (see Hash) and neither Parquet bytes nor
// exchange ids, prompt keys, times or costs, so that the same recipe and
// ledger give the same name on every machine. docs/formats/dataset.md and
// docs/formats/passport.md describe both files to the byte.
//
// It decides nothing about which examples are good: that is curate's.
//
// Errors: *RowError for an example that cannot be stored, *MismatchError for a
// directory whose rows, name and passport do not agree, ErrEmpty for no rows.
package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unicode/utf8"

	"retort/exchange"
	"retort/workspace"
)

// The files of a dataset.
const (
	DataFile     = "data.parquet"
	PassportFile = "passport.json"
)

// Example is one training item; in JSON its members are named as the columns of
// the file. Everything but Index, ExchangeID and Key is
// part of the dataset's hash.
type Example struct {
	Index     int                `json:"index"`               // position in the dataset, from 0; Write sets it
	Source    string             `json:"source"`              // which of the recipe's prompt sources it came from
	Family    string             `json:"family"`              // task family
	Problem   string             `json:"problem"`             // canonical identity of the problem in its family
	Row       string             `json:"row,omitempty"`       // where in the source it stood, such as a file's line; may be empty
	Prompt    []exchange.Message `json:"messages"`            // what the student reads
	Reasoning string             `json:"reasoning,omitempty"` // what the teacher wrote before it answered; empty if none or dropped
	Answer    string             `json:"answer"`              // what the teacher answered
	Origin    exchange.Origin    `json:"origin"`              // how the exchange behind it was obtained
	TermsID   string             `json:"terms_id"`            // the terms row that it was obtained under
	Verdict   string             `json:"verdict"`             // "correct", "unverified", or why it is wrong where wrong answers are kept

	// What a builder's own data hold besides; datasets without any of it hash
	// as if these did not exist.
	RowID     string              `json:"row_id,omitempty"`     // the row's own id in its source
	Tools     string              `json:"tools,omitempty"`      // JSON array of the tools that were offered; empty if none
	ToolCalls []exchange.ToolCall `json:"tool_calls,omitempty"` // that the answer makes
	Rejected  string              `json:"rejected,omitempty"`   // an answer to the same prompt that is not as good, for preference training

	ExchangeID exchange.ID  `json:"exchange_id,omitzero"` // the exchange in the ledger that it came from
	Key        exchange.Key `json:"key,omitzero"`         // that exchange's prompt key
}

// UserText returns the last user message, "" if there is none.
func (e *Example) UserText() string {
	for i := len(e.Prompt) - 1; i >= 0; i-- {
		if e.Prompt[i].Role == "user" {
			return e.Prompt[i].Content
		}
	}
	return ""
}

// Dataset is a dataset as read and verified by Open.
type Dataset struct {
	Dir      string
	Hash     string
	Passport Passport
	Examples []Example
}

// ErrEmpty is returned by Write for no examples at all.
var ErrEmpty = errors.New("a dataset needs at least one example")

// RowError says which example cannot be stored and why.
type RowError struct {
	Index int    // position of the example
	Field string // as named in the file
	What  string
}

// Error implements error.
func (e *RowError) Error() string {
	return fmt.Sprintf("example %d, %s: %s", e.Index, e.Field, e.What)
}

// Write stores rows under root in a directory named by their hash, which it
// returns. Of the passport it fills in what follows from the rows (format,
// hash, counts, files) and keeps what only the caller knows. The directory
// appears whole or not at all. If it is there already it is verified and
// reused, its first passport included.
func Write(root string, rows []Example, p Passport) (hash string, err error) {
	if len(rows) == 0 {
		return "", fmt.Errorf("write dataset: %w", ErrEmpty)
	}
	for i := range rows {
		if err := check(i, &rows[i]); err != nil {
			return "", fmt.Errorf("write dataset: %w", err)
		}
	}
	hash = Hash(rows)
	if err := p.fill(hash, rows); err != nil {
		return "", fmt.Errorf("write dataset %s: %w", hash, err)
	}
	final := filepath.Join(root, hash)
	err = workspace.PublishDir(final, func(tmp string) error { return fillDir(tmp, rows, p) })
	switch {
	case errors.Is(err, fs.ErrExist):
		if _, err := Open(final); err != nil {
			return "", fmt.Errorf("reuse dataset: %w", err)
		}
	case err != nil:
		return "", fmt.Errorf("write dataset %s: %w", hash, err)
	}
	return hash, nil
}

// Open reads the dataset in dir and verifies that its rows hash to the
// directory's name and that its passport agrees with both.
func Open(dir string) (*Dataset, error) {
	dir = filepath.Clean(dir)
	p, err := readPassport(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, DataFile)
	sum, size, err := hashFile(path)
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", dir, err)
	}
	bytesDiffer := p.checkFile(dir, DataFile, sum, size)
	rows, err := readParquet(path)
	switch {
	case err != nil && bytesDiffer != nil:
		return nil, fmt.Errorf("%w (reading it fails with: %v)", bytesDiffer, err)
	case err != nil:
		return nil, fmt.Errorf("dataset %s: read %s: %w", dir, DataFile, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", dir, err)
	}
	hash := Hash(rows)
	if name := filepath.Base(abs); name != hash {
		return nil, &MismatchError{Dir: dir, Field: "directory name", Says: name, Rows: hash}
	}
	if err := p.checkRows(dir, hash, rows); err != nil {
		return nil, err
	}
	if bytesDiffer != nil { // what the hash does not cover, such as an exchange id
		return nil, bytesDiffer
	}
	return &Dataset{Dir: dir, Hash: hash, Passport: p, Examples: rows}, nil
}

// check refuses what a reader of the file could not read back.
func check(i int, e *Example) error {
	if len(e.Prompt) == 0 {
		return &RowError{i, "messages", "a prompt has at least one message"}
	}
	fields := []struct{ name, value string }{
		{"source", e.Source}, {"family", e.Family}, {"problem", e.Problem}, {"row", e.Row},
		{"reasoning", e.Reasoning}, {"answer", e.Answer}, {"origin", string(e.Origin)},
		{"terms_id", e.TermsID}, {"verdict", e.Verdict},
		{"row_id", e.RowID}, {"tools", e.Tools}, {"rejected", e.Rejected},
	}
	add := func(name string, values ...string) {
		for _, v := range values {
			fields = append(fields, struct{ name, value string }{name, v})
		}
	}
	for _, c := range e.ToolCalls {
		add("tool_calls", c.ID, c.Name, c.Arguments)
	}
	for _, m := range e.Prompt {
		add("messages", m.Role, m.Content, m.Reasoning, m.Name, m.ToolCallID)
		for _, c := range m.ToolCalls {
			add("messages", c.ID, c.Name, c.Arguments)
		}
	}
	for _, f := range fields {
		if !utf8.ValidString(f.value) {
			return &RowError{i, f.name, fmt.Sprintf("is not valid UTF-8: %.60q", f.value)}
		}
	}
	for _, f := range []struct{ name, value string }{{"family", e.Family}, {"origin", string(e.Origin)}, {"terms_id", e.TermsID}} {
		if f.value == "" {
			return &RowError{i, f.name, "must not be empty"}
		}
	}
	var tools []json.RawMessage
	if e.Tools != "" && json.Unmarshal([]byte(e.Tools), &tools) != nil {
		return &RowError{i, "tools", fmt.Sprintf("is not a JSON array: %.60q", e.Tools)}
	}
	return nil
}
