package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the names, lengths and hashes of a file, or of all files of a directory.
func Files(path string) ([]File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("evidence: the suspect's files: %w", err)
	}
	root := path
	if !info.IsDir() {
		root = filepath.Dir(path)
	}
	var out []File
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		out = append(out, File{filepath.ToSlash(name), n, hex.EncodeToString(h.Sum(nil))})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("evidence: the suspect's files: %w", err)
	}
	return out, nil
}
