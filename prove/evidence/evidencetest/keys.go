package evidencetest

import (
	"encoding/json"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"retort/exchange"
	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/workspace"
)

type keyPair struct {
	signer note.Signer
	public string
}

// signers makes a workspace's keys: those in use, and the first ones.
func signers(rotated bool) (*evidence.Keys, keyPair, error) {
	dir, err := os.MkdirTemp("", "retort-evidencetest")
	if err != nil {
		return nil, keyPair{}, err
	}
	defer os.RemoveAll(dir)
	ws, err := workspace.Open(dir)
	if err != nil {
		return nil, keyPair{}, err
	}
	keys, err := evidence.Keygen(ws, "retort.example")
	if err != nil {
		return nil, keyPair{}, err
	}
	first := keyPair{keys.Signer, keys.Public}
	if rotated {
		if keys, err = evidence.Rotate(ws); err != nil {
			return nil, keyPair{}, err
		}
	}
	return keys, first, nil
}

// headSize is how many leaves a signed head covers, 0 if it is none.
func headSize(h commit.Head) uint64 {
	text, _, _ := strings.Cut(h.Note, "\n\n")
	c, err := commit.ParseCheckpoint(text + "\n")
	if err != nil {
		return 0
	}
	return c.Size
}

func mustJSON(msgs []exchange.Message) []byte {
	b, err := json.Marshal(msgs)
	if err != nil {
		panic(err)
	}
	return b
}

// Keys makes signing keys that no workspace holds.
func Keys() (*evidence.Keys, error) {
	keys, _, err := signers(false)
	return keys, err
}
