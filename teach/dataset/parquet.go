package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"retort/exchange"
)

// row is an example as data.parquet holds it: plain, required columns that
// any reader of Parquet understands.
type row struct {
	Index      int64  `parquet:"index,zstd"`
	Source     string `parquet:"source,dict,zstd"`
	Family     string `parquet:"family,dict,zstd"`
	Problem    string `parquet:"problem,zstd"`
	Row        string `parquet:"row,zstd"`
	Messages   string `parquet:"messages,zstd"` // JSON array of {role, content, reasoning?}
	Prompt     string `parquet:"prompt,zstd"`   // the last user message, for people
	Reasoning  string `parquet:"reasoning,zstd"`
	Answer     string `parquet:"answer,zstd"`
	Origin     string `parquet:"origin,dict,zstd"`
	TermsID    string `parquet:"terms_id,dict,zstd"`
	Verdict    string `parquet:"verdict,dict,zstd"`
	ExchangeID string `parquet:"exchange_id,zstd"`
	Key        string `parquet:"key,zstd"`
}

// wholeRow is a row of a dataset that holds what the first version of the hash
// lacks; a file of plain rows is written without these columns.
type wholeRow struct {
	row
	RowID     string `parquet:"row_id,zstd"`
	Tools     string `parquet:"tools,zstd"`      // JSON array, or ""
	ToolCalls string `parquet:"tool_calls,zstd"` // JSON array of {id?, name, arguments}, or ""
	Rejected  string `parquet:"rejected,zstd"`
}

// rowsPerGroup bounds the memory that writing takes.
const rowsPerGroup = 1 << 16

func writeParquet(w io.Writer, examples []Example) error {
	if plain(examples) {
		return writeRows(w, examples, func(i int, e *Example) (row, error) { return plainRow(i, e) })
	}
	return writeRows(w, examples, func(i int, e *Example) (wholeRow, error) {
		r, err := plainRow(i, e)
		if err != nil {
			return wholeRow{}, err
		}
		out := wholeRow{row: r, RowID: e.RowID, Tools: e.Tools, Rejected: e.Rejected}
		if len(e.ToolCalls) > 0 {
			if out.ToolCalls, err = jsonText(e.ToolCalls); err != nil {
				return out, &RowError{i, "tool_calls", err.Error()}
			}
		}
		return out, nil
	})
}

func writeRows[R any](w io.Writer, examples []Example, convert func(int, *Example) (R, error)) error {
	pw := parquet.NewGenericWriter[R](w, parquet.MaxRowsPerRowGroup(rowsPerGroup), parquet.CreatedBy("retort", "1", ""))
	batch := make([]R, 0, 1024)
	for i := range examples {
		r, err := convert(i, &examples[i])
		if err != nil {
			return err
		}
		if batch = append(batch, r); len(batch) < cap(batch) && i+1 < len(examples) {
			continue
		}
		if _, err := pw.Write(batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return pw.Close()
}

func plainRow(i int, e *Example) (row, error) {
	messages, err := jsonText(e.Prompt)
	if err != nil {
		return row{}, &RowError{i, "messages", err.Error()}
	}
	r := row{
		Index: int64(i), Source: e.Source, Family: e.Family, Problem: e.Problem, Row: e.Row,
		Messages: messages, Prompt: e.UserText(), Reasoning: e.Reasoning, Answer: e.Answer,
		Origin: string(e.Origin), TermsID: e.TermsID, Verdict: e.Verdict, ExchangeID: e.ExchangeID.String(),
	}
	if !e.Key.IsZero() {
		r.Key = e.Key.String()
	}
	return r, nil
}

// jsonText is compact JSON in which text stays readable.
func jsonText(v any) (string, error) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

func readParquet(path string) (examples []Example, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// The reader trusts offsets and lengths that a damaged file gets wrong.
	defer func() {
		if r := recover(); r != nil {
			examples, err = nil, fmt.Errorf("damaged Parquet file: %v", r)
		}
	}()
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return nil, err
	}
	want := parquet.SchemaOf(row{})
	for _, c := range want.Columns() {
		if _, ok := file.Schema().Lookup(c...); !ok {
			return nil, fmt.Errorf("it has no column %q", strings.Join(c, "."))
		}
	}
	// Columns that the file lacks are read as empty.
	pr := parquet.NewGenericReader[wholeRow](file)
	defer pr.Close()
	batch := make([]wholeRow, 1024)
	for {
		n, err := pr.Read(batch)
		for i := range batch[:n] {
			e, convErr := batch[i].example(len(examples))
			if convErr != nil {
				return nil, convErr
			}
			examples = append(examples, e)
		}
		if errors.Is(err, io.EOF) {
			return examples, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *wholeRow) example(i int) (Example, error) {
	e := Example{
		Index: i, Source: strings.Clone(r.Source), Family: strings.Clone(r.Family), Problem: strings.Clone(r.Problem), Row: strings.Clone(r.Row),
		Reasoning: strings.Clone(r.Reasoning), Answer: strings.Clone(r.Answer),
		Origin: exchange.Origin(strings.Clone(r.Origin)), TermsID: strings.Clone(r.TermsID), Verdict: strings.Clone(r.Verdict),
		RowID: strings.Clone(r.RowID), Tools: strings.Clone(r.Tools), Rejected: strings.Clone(r.Rejected),
	}
	if r.Index != int64(i) {
		return e, &RowError{i, "index", "is " + strconv.FormatInt(r.Index, 10)}
	}
	dec := json.NewDecoder(strings.NewReader(r.Messages))
	if err := dec.Decode(&e.Prompt); err != nil {
		return e, &RowError{i, "messages", err.Error()}
	}
	if r.ToolCalls != "" {
		if err := json.Unmarshal([]byte(r.ToolCalls), &e.ToolCalls); err != nil {
			return e, &RowError{i, "tool_calls", err.Error()}
		}
	}
	if err := e.ExchangeID.UnmarshalText([]byte(r.ExchangeID)); err != nil {
		return e, &RowError{i, "exchange_id", err.Error()}
	}
	if r.Key != "" {
		if err := e.Key.UnmarshalText([]byte(r.Key)); err != nil {
			return e, &RowError{i, "key", err.Error()}
		}
	}
	if got := e.UserText(); got != r.Prompt {
		return e, &RowError{i, "prompt", "is not the last user message of its messages"}
	}
	return e, nil
}

func hashFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// fillDir writes the dataset's files into a directory that is to be published.
func fillDir(dir string, rows []Example, p Passport) error {
	data := filepath.Join(dir, DataFile)
	f, err := os.Create(data)
	if err != nil {
		return err
	}
	err = writeParquet(f, rows)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	sum, size, err := hashFile(data)
	if err != nil {
		return err
	}
	p.Files = []File{{DataFile, size, sum}}
	text, err := p.json()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, PassportFile), text, 0o644)
}
