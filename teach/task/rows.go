package task

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// place is a row of a file, for errors.
type place struct {
	path string
	line int
}

// String names the row without the folder, which may differ between machines.
func (at place) String() string { return fmt.Sprintf("%s:%d", filepath.Base(at.path), at.line) }

func (at place) errorf(column int, format string, args ...any) error {
	if column < 1 {
		return fmt.Errorf("%s:%d: %s", at.path, at.line, fmt.Sprintf(format, args...))
	}
	return fmt.Errorf("%s:%d:%d: %s", at.path, at.line, column, fmt.Sprintf(format, args...))
}

// row is one row's fields: their names in the file's order, their raw values
// and the columns (bytes from 1) where the values begin.
type row struct {
	names   []string
	values  map[string]json.RawMessage
	columns map[string]int
}

func (r row) column(name string) int { return r.columns[name] }

// text returns a field that must be a string with something in it.
func (r row) text(at place, name string) (string, error) {
	raw, err := r.field(at, name)
	if err != nil {
		return "", err
	}
	if raw[0] != '"' {
		return "", at.errorf(r.column(name), "%q is not a string", name)
	}
	s, err := decodeString(raw)
	if err != nil {
		return "", at.errorf(r.column(name), "%q: %v", name, err)
	}
	if strings.TrimSpace(s) == "" {
		return "", at.errorf(r.column(name), "%q is empty", name)
	}
	return s, nil
}

// scalar returns a field that is a string, a number or a boolean, as text.
func (r row) scalar(at place, name string) (string, error) {
	raw, err := r.field(at, name)
	if err != nil {
		return "", err
	}
	switch raw[0] {
	case '"':
		s, err := decodeString(raw)
		if err != nil {
			return "", at.errorf(r.column(name), "%q: %v", name, err)
		}
		return s, nil
	case '{', '[', 'n':
		return "", at.errorf(r.column(name), "%q is not a string, number or boolean", name)
	}
	return string(raw), nil
}

func (r row) field(at place, name string) (json.RawMessage, error) {
	if raw, ok := r.values[name]; ok {
		return raw, nil
	}
	msg := fmt.Sprintf("there is no field %q; the row has %s", name, quotedList(r.names))
	if near := nearest(name, r.names); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	return nil, at.errorf(0, "%s", msg)
}

// object returns the row as one JSON object, its fields in the file's order.
func (r row) object() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range r.names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(name))
		b.WriteByte(':')
		b.Write(r.values[name])
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Compact(&out, b.Bytes()); err != nil {
		return b.Bytes() // each value was read as JSON: this cannot be
	}
	return out.Bytes()
}

// decodeString reads a JSON string. Half a surrogate pair, which is no
// character and would become U+FFFD, is refused.
func decodeString(raw json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", err
	}
	if strings.ContainsRune(s, utf8.RuneError) && !bytes.ContainsRune(raw, utf8.RuneError) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return "", errors.New(`an escape such as \ud800 is half a character`)
	}
	return s, nil
}

// maxRow bounds a row, in bytes: what is larger is no prompt but a broken file.
// A variable, so that tests need not write as much.
var maxRow = 64 << 20

var errRowTooLarge = errors.New("the row is larger than any prompt (64 MiB); is a quotation mark or a line end missing?")

// readLine returns the next line with its end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := in.ReadSlice('\n')
		if line = append(line, piece...); len(line) > maxRow {
			return nil, errRowTooLarge
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// ration hands out no more than a row's bytes until it is renewed.
type ration struct {
	r    io.Reader
	left int
}

func (r *ration) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errRowTooLarge
	}
	n, err := r.r.Read(p)
	r.left -= n
	return n, err
}

const byteOrderMark = "\xef\xbb\xbf"

// readJSONL calls take for each line that is not blank.
func readJSONL(path string, take func(place, row) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open prompts: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for at := (place{path: path, line: 1}); ; at.line++ {
		line, err := readLine(in)
		if errors.Is(err, errRowTooLarge) {
			return at.errorf(0, "%v", err)
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s:%d: read: %w", path, at.line, err)
		}
		if at.line == 1 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			r, rowErr := jsonRow(at, line)
			if rowErr == nil {
				rowErr = take(at, r)
			}
			if rowErr != nil {
				return rowErr
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// jsonRow reads one line that holds one JSON object.
func jsonRow(at place, line []byte) (row, error) {
	if i := invalidUTF8(line); i >= 0 {
		return row{}, at.errorf(i+1, "the text is not valid UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(line, &whole); err != nil {
		column := 1
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			column = int(syntax.Offset)
		}
		return row{}, at.errorf(column, "not valid JSON: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	open, err := dec.Token()
	if err != nil {
		return row{}, at.errorf(0, "not valid JSON: %v", err)
	}
	if open != json.Delim('{') {
		return row{}, at.errorf(1, "the line is not a JSON object")
	}
	r := row{values: map[string]json.RawMessage{}, columns: map[string]int{}}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return row{}, at.errorf(0, "not valid JSON: %v", err)
		}
		name := key.(string) // within an object, before a value
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return row{}, at.errorf(0, "not valid JSON: %v", err)
		}
		column := int(dec.InputOffset()) - len(raw) + 1
		if slices.Contains(r.names, name) {
			return row{}, at.errorf(column, "field %q is there twice", name)
		}
		r.names = append(r.names, name)
		r.values[name], r.columns[name] = raw, column
	}
	if _, err := dec.Token(); err != nil {
		return row{}, at.errorf(0, "not valid JSON: %v", err)
	}
	return r, nil
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// readCSV calls take for each record after the header.
func readCSV(path string, take func(place, row) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open prompts: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if start, err := in.Peek(len(byteOrderMark)); err == nil && string(start) == byteOrderMark {
		_, _ = in.Discard(len(byteOrderMark))
	}
	limit := &ration{r: in, left: maxRow}
	records := csv.NewReader(limit)
	records.FieldsPerRecord = -1 // counted here, for a clearer error
	header, err := records.Read()
	if err == io.EOF {
		return fmt.Errorf("%s: is empty; the first row must name the columns", path)
	}
	if err != nil {
		return csvError(path, err)
	}
	header = slices.Clone(header)
	for i, name := range header {
		if slices.Contains(header[:i], name) {
			_, column := records.FieldPos(i)
			return place{path, 1}.errorf(column, "column %q is there twice", name)
		}
	}
	at := place{path: path, line: 1}
	for {
		limit.left = maxRow
		fields, err := records.Read()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, errRowTooLarge) {
			return at.errorf(0, "in the row after this: %v", err)
		}
		if err != nil {
			return csvError(path, err)
		}
		line, _ := records.FieldPos(0)
		at.line = line
		if len(fields) != len(header) {
			return at.errorf(0, "the row has %d fields, the header %d", len(fields), len(header))
		}
		r := row{names: header, values: map[string]json.RawMessage{}, columns: map[string]int{}}
		for i, v := range fields {
			_, column := records.FieldPos(i)
			if bad := invalidUTF8([]byte(v)); bad >= 0 {
				return at.errorf(column+bad, "the text is not valid UTF-8")
			}
			r.values[header[i]], r.columns[header[i]] = encode(v), column
		}
		if err := take(at, r); err != nil {
			return err
		}
	}
}

func csvError(path string, err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return place{path, parse.Line}.errorf(parse.Column, "not valid CSV: %v", parse.Err)
	}
	return fmt.Errorf("%s: read: %w", path, err)
}
