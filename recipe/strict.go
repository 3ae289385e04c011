package recipe

import (
	"fmt"

	"retort/internal/strict"
)

// Error is a mistake in a recipe: where it is and what to do about it.
type Error = strict.Error

// source remembers where each value of a recipe stands.
type source struct{ *strict.Source }

// errorf makes an Error for the value at path.
func (s *source) errorf(path, format string, args ...any) *Error {
	return s.Errorf(path, format, args...)
}

// at is the path of an element of a list.
func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
