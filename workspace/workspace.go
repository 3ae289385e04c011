// Package workspace is the directory that holds a user's work: where it is,
// how it is laid out, who is using a part of it, how files appear in it whole
// or not at all, and the key under which accounts are hashed.
//
// The layout is ledger/, datasets/, runs/ and models/; locks/ holds the locks,
// and account.key the account key, once it is needed. What is in the four
// directories is the business of the rooms that write them.
//
// Errors name the path and what was being done to it. ErrInUse, with an
// *InUseError that names the holder, is the one that callers decide on.
package workspace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// DirName is the directory that a workspace has by default.
	DirName = ".retort"
	// Variable is the environment variable that names the workspace.
	Variable = "RETORT_WORKSPACE"

	keyFile = "account.key"
	keySize = 32
)

var layout = []string{"ledger", "datasets", "runs", "models"}

// Workspace is an open workspace.
type Workspace struct {
	Dir string // absolute
}

// Find says where the workspace is: at flag if it is not empty, else where
// RETORT_WORKSPACE says, else in the nearest parent directory that has a
// .retort, else in .retort here. It need not exist.
func Find(flag string) (string, error) {
	for _, dir := range []string{flag, os.Getenv(Variable)} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the workspace: %w", err)
	}
	for dir := here; ; {
		candidate := filepath.Join(dir, DirName)
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return filepath.Join(here, DirName), nil
		}
		dir = parent
	}
}

// Open opens the workspace at dir and creates what is missing of it.
func Open(dir string) (*Workspace, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open workspace %s: %w", dir, err)
	}
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("open workspace %s: it is a file; name a directory with --workspace or %s", abs, Variable)
	}
	for _, sub := range layout {
		if err := mkdirAll(disk{}, filepath.Join(abs, sub)); err != nil {
			return nil, fmt.Errorf("open workspace %s: %w", abs, err)
		}
	}
	return &Workspace{Dir: abs}, nil
}

// Path joins elements to the workspace's directory.
func (w *Workspace) Path(elem ...string) string {
	return filepath.Join(append([]string{w.Dir}, elem...)...)
}

// AccountKey returns the 32 bytes under which accounts are hashed, and makes
// them when they are first asked for. They never leave the workspace.
func (w *Workspace) AccountKey() ([]byte, error) {
	path := w.Path(keyFile)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, keySize)
	rand.Read(key) // never fails
	f, err := createAtomic(disk{}, path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create account key: %w", err)
	}
	defer f.Abort()
	if _, err := f.Write(key); err != nil {
		return nil, fmt.Errorf("create account key: %w", err)
	}
	// Of two processes that make a key at the same time one wins, and both
	// use its key.
	if err := f.commitNew(); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create account key: %w", err)
	}
	return readKey(path)
}

func readKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read account key: %w", err)
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("account key %s has %d bytes, want %d: restore it from a backup, since hashes of accounts depend on it", path, len(key), keySize)
	}
	return key, nil
}
