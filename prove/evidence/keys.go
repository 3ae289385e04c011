package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"retort/prove/commit"
	"retort/workspace"
)

const (
	keyFile       = "evidence.key"       // the signing key and its public half
	publicFile    = "evidence.pub"       // the public half, to be given away
	rotationsFile = "evidence.rotations" // notes by which keys vouch for their successors
)

// Keys are a workspace's signing keys: the one in use, and how it came to be in place
// of earlier ones.
type Keys struct {
	Signer    note.Signer
	Public    string
	Rotations []string // signed notes, oldest first
}

// Keygen makes the workspace's signing key. It refuses where there is one.
func Keygen(ws *workspace.Workspace, name string) (*Keys, error) {
	if _, err := os.Stat(ws.Path(keyFile)); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, fmt.Errorf("evidence key: %w", err)
		}
		return nil, fmt.Errorf("%s is there already: rotate it, so that what it signed goes on to hold", ws.Path(keyFile))
	}
	secret, public, err := commit.NewSigningKey(name)
	if err != nil {
		return nil, fmt.Errorf("evidence key: %w", err)
	}
	return keep(ws, secret, public)
}

// keep puts both halves of a key in place at once.
func keep(ws *workspace.Workspace, secret, public string) (*Keys, error) {
	if err := workspace.WriteFileAtomic(ws.Path(keyFile), []byte(secret+"\n"+public+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("evidence key: %w", err)
	}
	if err := workspace.WriteFileAtomic(ws.Path(publicFile), []byte(public+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("evidence key: %w", err)
	}
	return OpenKeys(ws)
}

// OpenKeys reads the workspace's signing keys.
func OpenKeys(ws *workspace.Workspace) (*Keys, error) {
	raw, err := os.ReadFile(ws.Path(keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no key to sign with: make one with `retort evidence keygen`")
	}
	if err != nil {
		return nil, fmt.Errorf("evidence key: %w", err)
	}
	secret, public, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
	k := &Keys{Public: public}
	// What these return would show the key.
	signer, errS := note.NewSigner(secret)
	v, errV := note.NewVerifier(public)
	if errS != nil || errV != nil || v.KeyHash() != signer.KeyHash() || v.Name() != signer.Name() {
		return nil, fmt.Errorf("%s does not hold a signing key and its public half: restore it from a backup", ws.Path(keyFile))
	}
	k.Signer = signer
	raw, err = os.ReadFile(ws.Path(rotationsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("evidence key: %w", err)
	}
	k.Rotations = splitNotes(raw)
	return k, nil
}

// separator stands between the notes of a file.
const separator = "\n---\n"

func splitNotes(raw []byte) []string {
	if len(raw) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(raw), separator), separator)
}

// Rotate puts a new key in place of the one in use. Both sign that: whoever trusts one
// of them can go on to the other.
func Rotate(ws *workspace.Workspace) (*Keys, error) {
	old, err := OpenKeys(ws)
	if err != nil {
		return nil, err
	}
	secret, public, err := commit.NewSigningKey(old.Signer.Name())
	if err != nil {
		return nil, fmt.Errorf("rotate the evidence key: %w", err)
	}
	next, err := note.NewSigner(secret)
	if err != nil {
		return nil, errors.New("rotate the evidence key: the new one cannot sign")
	}
	signed, err := note.Sign(&note.Note{Text: rotationText(old.Public, public)}, old.Signer, next)
	if err != nil {
		return nil, fmt.Errorf("rotate the evidence key: %w", err)
	}
	var all bytes.Buffer
	for _, n := range append(old.Rotations, string(signed)) {
		all.WriteString(n + separator)
	}
	if err := workspace.WriteFileAtomic(ws.Path(rotationsFile), all.Bytes(), 0o644); err != nil {
		return nil, fmt.Errorf("rotate the evidence key: %w", err)
	}
	raw, err := os.ReadFile(ws.Path(keyFile))
	if err == nil {
		err = workspace.WriteFileAtomic(fmt.Sprintf("%s.%08x", ws.Path(keyFile), old.Signer.KeyHash()), raw, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("rotate the evidence key: %w", err)
	}
	return keep(ws, secret, public)
}

func rotationText(from, to string) string {
	return "retort/key-rotation\n" + from + "\n" + to + "\n"
}

// trusted are the keys that a trusted one leads to by rotations.
func trusted(key string, rotations []string) (map[string]note.Verifier, error) {
	all := map[string]note.Verifier{}
	add := func(k string) error {
		v, err := note.NewVerifier(k)
		if err == nil {
			all[k] = v
		}
		return err
	}
	if err := add(key); err != nil {
		return nil, fmt.Errorf("the key to trust is no public key: %w", err)
	}
	for again := true; again; {
		again = false
		for i, signed := range rotations {
			from, to, err := openRotation(signed)
			if err != nil {
				return nil, failed(partKeys, "rotation %d: %v", i+1, err)
			}
			if (all[from] == nil) == (all[to] == nil) {
				continue
			}
			if err := errors.Join(add(from), add(to)); err != nil {
				return nil, failed(partKeys, "rotation %d: %v", i+1, err)
			}
			again = true
		}
	}
	return all, nil
}

// openRotation checks that both keys of a rotation signed it, and that it is in its
// only form.
func openRotation(signed string) (from, to string, err error) {
	lines := strings.Split(signed, "\n")
	if len(lines) < 3 {
		return "", "", errors.New("it is no rotation")
	}
	from, to = lines[1], lines[2]
	a, errA := note.NewVerifier(from)
	b, errB := note.NewVerifier(to)
	if err := errors.Join(errA, errB); err != nil {
		return "", "", err
	}
	n, err := note.Open([]byte(signed), note.VerifierList(a, b))
	if err != nil {
		return "", "", err
	}
	if n.Text != rotationText(from, to) || len(n.Sigs) != 2 || len(n.UnverifiedSigs) != 0 {
		return "", "", errors.New("it is not signed by both keys")
	}
	again := n.Text + "\n"
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return "", "", err
		}
		again += "— " + s.Name + " " + s.Base64 + "\n"
	}
	if again != signed {
		return "", "", errors.New("it is not in its only form")
	}
	return from, to, nil
}

// openByAny opens a note that is signed by one of the keys.
func openByAny(signed string, keys map[string]note.Verifier) (text string, err error) {
	err = errors.New("no key is trusted")
	for _, k := range keys {
		if text, err = commit.OpenNote(signed, k); err == nil {
			return text, nil
		}
	}
	return "", err
}
