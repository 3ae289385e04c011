package curate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"retort/exchange"
	"retort/ledger"
)

// CorrectionRow is a line of a file of corrections.
type CorrectionRow struct {
	Line      int
	Exchange  exchange.ID
	Run       string
	Corrected Corrected
	raw       []byte
}

// CorrectionCount says what became of a file's rows: Rows is the sum of the
// others.
type CorrectionCount struct {
	Rows      int `json:"rows"`
	New       int `json:"new"`       // recorded
	Unchanged int `json:"unchanged"` // the ledger has the same correction already
	Blank     int `json:"blank"`     // nothing was written in the place for it
}

// CorrectionsError says what is wrong with a file of corrections, line by line.
type CorrectionsError struct {
	File     string
	Problems []CorrectionProblem
}

// CorrectionProblem is what is wrong with one line.
type CorrectionProblem struct {
	Line int
	What string
}

// problemsShown is how many lines an error speaks of.
const problemsShown = 10

// Error implements error.
func (e *CorrectionsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of its lines cannot be taken, so nothing was recorded; correct them and import it again:", e.File, len(e.Problems))
	for i, p := range e.Problems {
		if i == problemsShown {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Problems)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s:%d: %s", e.File, p.Line, p.What)
	}
	return b.String()
}

// maxCorrection is the longest line of a file of corrections.
const maxCorrection = 64 << 20

// ReadCorrections reads a file of corrections: the rows that Review wrote, with
// their empty places filled in. Members that it does not need may be missing. A
// file with any line that cannot be read is refused whole, with a
// *CorrectionsError.
func ReadCorrections(name string, r io.Reader) ([]CorrectionRow, error) {
	var rows []CorrectionRow
	bad := &CorrectionsError{File: name}
	seen := map[exchange.ID]int{}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxCorrection)
	line := 0
	for in.Scan() {
		line++
		text := bytes.TrimSpace(bytes.TrimPrefix(in.Bytes(), []byte("\xef\xbb\xbf")))
		if len(text) == 0 {
			continue
		}
		row, err := readCorrection(text)
		if err == nil && seen[row.Exchange] > 0 {
			err = fmt.Errorf("exchange %s is corrected on line %d already", row.Exchange, seen[row.Exchange])
		}
		if err != nil {
			bad.Problems = append(bad.Problems, CorrectionProblem{line, err.Error()})
			continue
		}
		row.Line = line
		seen[row.Exchange] = line
		rows = append(rows, row)
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		bad.Problems = append(bad.Problems, CorrectionProblem{line + 1, fmt.Sprintf("it is longer than %d MiB", maxCorrection>>20)})
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(bad.Problems) > 0 {
		return nil, bad
	}
	return rows, nil
}

func readCorrection(text []byte) (CorrectionRow, error) {
	var row struct {
		Exchange  *exchange.ID `json:"exchange"`
		Run       string       `json:"run"`
		Corrected *Corrected   `json:"corrected"`
	}
	switch err := json.Unmarshal(text, &row); {
	case !utf8.Valid(text):
		return CorrectionRow{}, errors.New("it is not UTF-8")
	case err != nil:
		return CorrectionRow{}, err
	case row.Exchange == nil || row.Exchange.IsZero():
		return CorrectionRow{}, errors.New(`it has no "exchange", which says what it corrects`)
	case row.Corrected == nil:
		return CorrectionRow{}, errors.New(`it has no "corrected", which is to hold "answer" and "reasoning"`)
	case row.Corrected.Answer == "" && row.Corrected.Reasoning != "":
		return CorrectionRow{}, errors.New(`"corrected" has a reasoning and no answer`)
	}
	return CorrectionRow{Exchange: *row.Exchange, Run: row.Run, Corrected: *row.Corrected, raw: bytes.Clone(text)}, nil
}

// Correct makes the ledger records of a file's corrections, in the file's
// order, to be appended in one call. Blank rows are passed over, and so are
// corrections that the ledger holds already, so that a file may be imported
// again. by names who wrote them; it may be empty. Rows that correct what the
// ledger does not hold are a *CorrectionsError.
func Correct(ctx context.Context, r ledger.Reader, name string, rows []CorrectionRow, by string) ([]ledger.Record, CorrectionCount, error) {
	count := CorrectionCount{Rows: len(rows)}
	wanted := map[exchange.ID]*exchange.Exchange{}
	for _, row := range rows {
		wanted[row.Exchange] = nil
	}
	standing, err := ledger.Corrections(ctx, r)
	if err != nil {
		return nil, count, err
	}
	err = ledger.Answers(ctx, r, func(e *exchange.Exchange) error {
		if _, ok := wanted[e.ID]; ok {
			wanted[e.ID] = e
		}
		return nil
	})
	if err != nil {
		return nil, count, fmt.Errorf("read what is corrected: %w", err)
	}
	var recs []ledger.Record
	bad := &CorrectionsError{File: name}
	for _, row := range rows {
		of, last := wanted[row.Exchange], standing[row.Exchange]
		switch {
		case of == nil:
			bad.Problems = append(bad.Problems, CorrectionProblem{row.Line, fmt.Sprintf("this workspace's ledger has no exchange %s", row.Exchange)})
		case row.Corrected == Corrected{}:
			count.Blank++
		case says(last, row.Corrected), says(of, row.Corrected) && of.Origin == exchange.OriginHuman:
			count.Unchanged++
		default:
			_, made, err := ledger.Correct(of, ledger.Correction{
				Run: row.Run, By: by, Answer: row.Corrected.Answer, Reasoning: row.Corrected.Reasoning, Raw: row.raw,
			})
			if err != nil {
				return nil, count, fmt.Errorf("%s:%d: %w", name, row.Line, err)
			}
			count.New++
			recs = append(recs, made...)
		}
	}
	if len(bad.Problems) > 0 {
		return nil, CorrectionCount{Rows: len(rows)}, bad
	}
	return recs, count, nil
}

// says reports whether an exchange holds a correction's very text.
func says(e *exchange.Exchange, c Corrected) bool {
	return e != nil && e.Answer.Content == c.Answer && e.Answer.Reasoning == c.Reasoning
}
