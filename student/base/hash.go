package base

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Hash names the contents of a base's files: SHA-256, in hexadecimal, of a GGUF
// file, or of the names and hashes of all files of a Hugging Face directory that
// can decide what the model is (JSON, safetensors, templates).
func Hash(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.IsDir() {
		return hashFile(path)
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return "", err
	}
	all := sha256.New()
	for _, e := range entries {
		if e.IsDir() || !slices.Contains([]string{".json", ".safetensors", ".jinja"}, strings.ToLower(filepath.Ext(e.Name()))) {
			continue
		}
		sum, err := hashFile(filepath.Join(path, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(all, "%s %s\n", sum, e.Name())
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
