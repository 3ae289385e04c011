package commit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"retort/ledger"
)

// Origin is the first line of a log's heads, as C2SP tlog-checkpoint has it.
func Origin(log string) string { return "retort/exposure/" + log }

// Checkpoint is what a head says.
type Checkpoint struct {
	Log  string
	Size uint64
	Root []byte
}

// Text is a checkpoint's note text.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", Origin(c.Log), c.Size, base64.StdEncoding.EncodeToString(c.Root))
}

// ParseCheckpoint reads a checkpoint's note text.
func ParseCheckpoint(text string) (Checkpoint, error) {
	bad := errors.New("it is not the head of an exposure log")
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, bad
	}
	log, ok := strings.CutPrefix(lines[0], Origin(""))
	size, err := strconv.ParseUint(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	c := Checkpoint{log, size, root}
	if !ok || err != nil || err2 != nil || len(root) != sha256.Size || c.Text() != text {
		return Checkpoint{}, bad
	}
	return c, nil
}

// OpenNote checks that a note is signed by the given key, and by it alone, and
// returns its text. A note that is not in its only form is refused.
func OpenNote(signed string, key note.Verifier) (string, error) {
	n, err := note.Open([]byte(signed), note.VerifierList(key))
	if err != nil {
		return "", err
	}
	again := n.Text + "\n"
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.Strict().DecodeString(s.Base64)
		if err != nil {
			return "", fmt.Errorf("the signature is not in its only form: %w", err)
		}
		again += "— " + s.Name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
	}
	if again != signed || len(n.Sigs) != 1 {
		return "", errors.New("the note holds more than a text and one signature")
	}
	return n.Text, nil
}

// NewSigningKey makes a pair of keys for notes: the secret one and the public one.
func NewSigningKey(name string) (secret, public string, err error) {
	return note.GenerateKey(rand.Reader, name)
}

// Stamper has a digest stamped by a third party and returns its RFC 3161 response.
type Stamper interface {
	Stamp(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Anchor signs the head of a log as it stands, has it stamped, and appends it to the
// ledger. It may be called while a gateway appends leaves.
func Anchor(ctx context.Context, v *View, signer note.Signer, stamper Stamper, to ledger.Appender) (Head, error) {
	root, err := v.Tree.Root(v.Tree.Size())
	if err != nil {
		return Head{}, err
	}
	if v.Tree.Size() == 0 {
		return Head{}, fmt.Errorf("exposure log %s has no leaf yet: there is nothing to anchor", v.ID)
	}
	return State(ctx, v.ID, WhatHead, Checkpoint{v.ID, v.Tree.Size(), root}.Text(), nil, signer, stamper, to)
}

// State signs a statement about a log, has it stamped if there is a stamper, and
// appends it to the ledger.
func State(ctx context.Context, log, what, text string, body []byte, signer note.Signer, stamper Stamper, to ledger.Appender) (Head, error) {
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return Head{}, fmt.Errorf("sign a %s of exposure log %s: %w", what, log, err)
	}
	h := Head{What: what, Time: time.Now().UnixNano(), Note: string(signed), Body: body}
	if stamper != nil {
		if h.Stamp, err = stamper.Stamp(ctx, sha256.Sum256(signed)); err != nil {
			return Head{}, fmt.Errorf("stamp a %s of exposure log %s: %w", what, log, err)
		}
		if _, err := CheckStamp(h.Stamp, sha256.Sum256(signed), nil); err != nil {
			return Head{}, fmt.Errorf("stamp a %s of exposure log %s: %w", what, log, err)
		}
	}
	rec, err := ledger.NewCommitment(ledger.Commitment{Time: h.Time, Log: log, What: what, Note: h.Note, Stamp: h.Stamp, Body: body})
	if err != nil {
		return Head{}, err
	}
	if err := to.Append(ctx, rec); err != nil {
		return Head{}, fmt.Errorf("record a %s of exposure log %s: %w", what, log, err)
	}
	return h, nil
}

// CheckHead checks a head's signature, and its root against the log's first leaves.
func CheckHead(h *Head, key note.Verifier, log string, tree *Tree) (Checkpoint, error) {
	text, err := OpenNote(h.Note, key)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Log != log {
		return Checkpoint{}, fmt.Errorf("it is the head of log %s, not of %s", c.Log, log)
	}
	root, err := tree.Root(c.Size)
	if err != nil {
		return Checkpoint{}, err
	}
	if !bytes.Equal(root, c.Root) {
		return Checkpoint{}, fmt.Errorf("its first %d leaves are not those that were signed", c.Size)
	}
	return c, nil
}

// NoteDigest is what a stamp about a signed note is about.
func NoteDigest(signed string) [32]byte { return sha256.Sum256([]byte(signed)) }

// NoteText is what a signed note says, whoever signed it.
func NoteText(signed string) string {
	text, _, _ := strings.Cut(signed, "\n\n")
	return text + "\n"
}
