package terms

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// maxAgreement is how large an agreement's file may be: it describes a contract
// and is not the contract.
const maxAgreement = 1 << 20

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

// LoadAgreement reads a user's own agreement, a Row in JSON, and returns it with
// the SHA-256 of the file. Members that a Row does not have are refused.
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
	var row Row
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&row); err != nil {
		return Row{}, "", &AgreementError{Path: path, Msg: err.Error()}
	}
	sum := sha256.Sum256(raw)
	row.SHA256 = hex.EncodeToString(sum[:])
	if err := row.validate(); err != nil {
		return Row{}, "", &AgreementError{Path: path, Msg: err.Error()}
	}
	return row, row.SHA256, nil
}
