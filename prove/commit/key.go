package commit

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"retort/exchange"
	"retort/workspace"
)

const (
	keySize = 32
	keyFile = "exposure.key"
)

// Key is the secret under which coins are derived. It never comes from a recipe's
// seed, and it never leaves the workspace: what is opened are seeds.
type Key struct{ secret []byte }

// NewKey makes a key of given bytes, 32 of them.
func NewKey(secret []byte) (Key, error) {
	if len(secret) != keySize {
		return Key{}, fmt.Errorf("an exposure key has %d bytes, not %d", keySize, len(secret))
	}
	return Key{append([]byte(nil), secret...)}, nil
}

// OpenKey returns the workspace's exposure key, and makes it when it is first asked
// for.
func OpenKey(ws *workspace.Workspace) (Key, error) {
	path := ws.Path(keyFile)
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(ws, path); err == nil {
			secret, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return Key{}, fmt.Errorf("exposure key: %w", err)
	}
	k, err := NewKey(secret)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w: restore it from a backup, since the coins of the log hang on it", path, err)
	}
	return k, nil
}

func makeKey(ws *workspace.Workspace, path string) error {
	lock, err := ws.Lock("exposure-key")
	if err != nil {
		return err
	}
	defer lock.Unlock() // the process holds nothing else by it
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	secret := make([]byte, keySize)
	rand.Read(secret) // never fails
	return workspace.WriteFileAtomic(path, secret, 0o600)
}

// String hides the key from whoever prints it.
func (Key) String() string { return "exposure key" }

// Log is the id of the log whose coins hang on the key.
func (k Key) Log() string { return KeyCommitment(k.secret)[:16] }

// seed is the secret of the coin of an account and a prompt.
func (k Key) seed(account string, messages []exchange.Message) Seed {
	return Seed(derive(k.secret, "seed", []byte(account), normal(messages)))
}

// tag knows account and prompt again, without saying them.
func (k Key) tag(account string, messages []exchange.Message) string {
	d := derive(k.secret, "tag", []byte(account), normal(messages))
	return hex.EncodeToString(d[:16])
}

// sampled reports whether the prompt is of the share that carries coins.
func (k Key) sampled(account string, messages []exchange.Message, share float64) bool {
	d := derive(k.secret, "sample", []byte(account), normal(messages))
	u := 0.0
	for i := 6; i >= 0; i-- { // 56 bits
		u = (u + float64(d[i])) / 256
	}
	return u < share
}
