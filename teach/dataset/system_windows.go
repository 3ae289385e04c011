package dataset

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// syncDir does nothing: Windows offers no way to sync a directory, and NTFS
// journals its entries.
func syncDir(string) error { return nil }

// gone reports whether there is certainly no process of that id.
func gone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return errors.Is(err, windows.ERROR_INVALID_PARAMETER)
	}
	_ = p.Release()
	return false
}

// occupied reports whether a rename failed because the directory is there.
func occupied(err error) bool {
	return errors.Is(err, fs.ErrExist) || errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_DIR_NOT_EMPTY)
}
