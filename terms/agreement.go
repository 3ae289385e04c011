package terms

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// An agreement's file describes a contract and is not the contract. What is
// nested deeper than any row exhausts the parser.
const (
	maxAgreement = 64 << 10 // bytes
	maxBrackets  = 1000     // in the file
	maxDashes    = 100      // in a line
)

// AgreementError says what is wrong with a file that should hold an agreement.
type AgreementError struct {
	Path         string
	Line, Column int // from 1; 0 if unknown
	Msg          string
}

// Error implements error.
func (e *AgreementError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("agreement %s:%d:%d: %s", e.Path, e.Line, e.Column, e.Msg)
	}
	return fmt.Sprintf("agreement %s: %s", e.Path, e.Msg)
}

// LoadAgreement reads a user's own agreement, a Row in YAML or JSON, and returns
// it with the SHA-256 of the file, which the row's basis goes on to name. A key
// that a Row does not have is refused with its place.
func LoadAgreement(path string) (Row, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return Row{}, "", fmt.Errorf("agreement: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxAgreement+1))
	if err != nil {
		return Row{}, "", fmt.Errorf("agreement %s: %w", path, err)
	}
	if len(raw) > maxAgreement {
		return Row{}, "", &AgreementError{Path: path, Msg: fmt.Sprintf("the file has more than %d bytes; it should describe the contract, not hold it", maxAgreement)}
	}
	row, err := parseAgreement(raw)
	if err != nil {
		return Row{}, "", agreementError(path, err)
	}
	sum := sha256.Sum256(raw)
	row.SHA256 = hex.EncodeToString(sum[:])
	return row, row.SHA256, nil
}

func parseAgreement(raw []byte) (Row, error) {
	if !utf8.Valid(raw) || bytes.IndexByte(raw, 0) >= 0 {
		return Row{}, errors.New("the file is not text in UTF-8")
	}
	if bytes.Count(raw, []byte("["))+bytes.Count(raw, []byte("{")) > maxBrackets {
		return Row{}, fmt.Errorf("the file has more than %d brackets", maxBrackets)
	}
	for line := range bytes.Lines(raw) {
		if bytes.Count(line, []byte("- ")) > maxDashes {
			return Row{}, fmt.Errorf("a line of the file has more than %d dashes", maxDashes)
		}
	}
	var row Row
	d := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	if err := d.Decode(&row); err != nil {
		if errors.Is(err, io.EOF) {
			return Row{}, errors.New("the file is empty")
		}
		return Row{}, err
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return Row{}, errors.New("the file holds more than one document; an agreement is one")
	}
	for _, x := range []struct{ key, value string }{
		{"id", row.ID}, {"document", row.Document}, {"read", row.Read}, {"says", row.Says}, {"default", string(row.Default)}, {"reason", row.Reason},
	} {
		if x.value == "" {
			return Row{}, fmt.Errorf("%s is missing; docs/formats/terms.md shows an agreement", x.key)
		}
	}
	row.Basis = cmp.Or(row.Basis, "own agreement")
	return row, row.validate()
}

// agreementError gives an error its place in the file, if the library knows it.
func agreementError(path string, err error) error {
	e := &AgreementError{Path: path, Msg: err.Error()}
	var y yaml.Error
	if errors.As(err, &y) {
		e.Msg = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
	}
	return e
}
