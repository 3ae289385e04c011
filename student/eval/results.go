package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"retort/exchange"
	"retort/workspace"
)

// Result is one contestant's answer to one problem, and one line of a results
// file: JSON, UTF-8, in the order of the problems. Fields that a reader does
// not know are to be ignored.
type Result struct {
	Source       string         `json:"source"`
	Family       string         `json:"family"`
	Problem      string         `json:"problem"`           // the problem's identity
	Key          exchange.Key   `json:"key"`               // what was asked of whom
	Exchange     exchange.ID    `json:"exchange,omitzero"` // the attempt that answered
	Correct      bool           `json:"correct"`
	Verdict      string         `json:"verdict"`          // the verifier's reason
	Answer       string         `json:"answer,omitempty"` // as the verifier read it
	Reasoning    string         `json:"reasoning,omitempty"`
	Content      string         `json:"content"`
	FinishReason string         `json:"finish_reason"`
	Usage        exchange.Usage `json:"usage"`
	Cost         exchange.Pico  `json:"cost_pico"` // 10⁻¹² US dollars
}

// ResultsError says which line of a results file cannot be used and why.
type ResultsError struct {
	File string
	Line int
	Err  error
}

// Error implements error.
func (e *ResultsError) Error() string {
	return fmt.Sprintf("%s:%d: %v: the file was changed or damaged; delete it and evaluate again (answers that a ledger holds are not paid for again)", e.File, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *ResultsError) Unwrap() error { return e.Err }

// LoadResults reads a results file.
func LoadResults(path string) ([]Result, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return parseResults(path, raw)
}

func parseResults(path string, raw []byte) ([]Result, error) {
	var out []Result
	for line := 1; len(raw) > 0; line++ {
		text, rest, ended := bytes.Cut(raw, []byte("\n"))
		raw = rest
		var r Result
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, &ResultsError{path, line, err}
		}
		if !ended {
			return nil, &ResultsError{path, line, io.ErrUnexpectedEOF}
		}
		if r.Problem == "" {
			return nil, &ResultsError{path, line, errors.New("it names no problem")}
		}
		out = append(out, r)
	}
	return out, nil
}

// partialSuffix names the file to which results are appended while a contestant
// answers. It need not be durable: what a crash takes is asked again.
const partialSuffix = ".partial"

// store is a contestant's results file.
type store struct {
	path  string
	known map[string]*Result // by key, source and problem
	byID  map[string]*Result // by problem alone, first come
	part  *os.File
	w     *bufio.Writer
}

func storeKey(key exchange.Key, source, problem string) string {
	return key.String() + "\x00" + source + "\x00" + problem
}

// openStore reads what is kept. A file that must be there is an error if it
// is not.
func openStore(path string, required bool) (*store, error) {
	s := &store{path: path, known: map[string]*Result{}, byID: map[string]*Result{}}
	if path == "" {
		return s, nil
	}
	kept, err := LoadResults(path)
	if err != nil && (required || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	partial, err := s.recover()
	if err != nil {
		return nil, err
	}
	for _, r := range append(kept, partial...) {
		s.known[storeKey(r.Key, r.Source, r.Problem)] = &r
		if s.byID[r.Problem] == nil {
			s.byID[r.Problem] = &r
		}
	}
	if required {
		return s, nil
	}
	if s.part, err = os.OpenFile(path+partialSuffix, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("keep results: %w", err)
	}
	s.w = bufio.NewWriter(s.part)
	return s, nil
}

// recover reads what an interrupted evaluation appended, up to the first line
// that is not whole, and cuts the rest off.
func (s *store) recover() ([]Result, error) {
	raw, err := os.ReadFile(s.path + partialSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	var out []Result
	whole := 0
	for {
		end := bytes.IndexByte(raw[whole:], '\n')
		if end < 0 {
			break
		}
		one, err := parseResults(s.path+partialSuffix, raw[whole:whole+end+1])
		if err != nil {
			break
		}
		out = append(out, one...)
		whole += end + 1
	}
	if whole < len(raw) {
		if err := os.Truncate(s.path+partialSuffix, int64(whole)); err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
	}
	return out, nil
}

// lookup returns the kept answer to an item, judged anew, or nil.
func (s *store) lookup(key exchange.Key, it Item) *Result {
	r := s.known[storeKey(key, it.Source, it.Problem.ID)]
	if r != nil {
		r.verify(it)
	}
	return r
}

// answersTo returns the kept answers to items, whatever was asked of whom.
func (s *store) answersTo(items []Item) answers {
	out := make(answers, len(items))
	for i, it := range items {
		if r := s.byID[it.Problem.ID]; r != nil {
			own := *r
			own.verify(it)
			out[i] = &own
		}
	}
	return out
}

// add appends a result; it reaches the file at once, so that only a crash of
// the machine can take it.
func (s *store) add(r *Result) error {
	if s.w == nil {
		return nil
	}
	line, err := encode(r)
	if err == nil {
		_, err = s.w.Write(line)
	}
	if err == nil {
		err = s.w.Flush()
	}
	if err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	return nil
}

// finish replaces the file by the results in their order and drops what was
// appended.
func (s *store) finish(all answers) error {
	if s.w == nil {
		return nil
	}
	var out bytes.Buffer
	for _, r := range all {
		if r == nil {
			continue
		}
		line, err := encode(r)
		if err != nil {
			return fmt.Errorf("keep results: %w", err)
		}
		out.Write(line)
	}
	if err := workspace.WriteFileAtomic(s.path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	if err := os.Remove(s.path + partialSuffix); err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	return nil
}

func (s *store) close() {
	if s.part != nil {
		s.part.Close()
	}
}

// encode makes a line. Text that is not UTF-8 has been made so when the answer
// was parsed.
func encode(r *Result) ([]byte, error) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	return []byte(out.String()), nil
}
