package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Listed is a dataset as its passport tells, without its rows being verified.
type Listed struct {
	Dir      string   `json:"dir"`
	Passport Passport `json:"passport"`
	Err      error    `json:"-"` // why the passport cannot be read
}

var hashName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// List reads the passports of the datasets under root, the latest first and
// those without a date last. A root that does not exist holds none.
func List(root string) ([]Listed, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	var out []Listed
	for _, e := range entries {
		if !e.IsDir() || !hashName.MatchString(e.Name()) {
			continue
		}
		l := Listed{Dir: filepath.Join(root, e.Name())}
		l.Passport, l.Err = ReadPassport(l.Dir)
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b Listed) int { return strings.Compare(b.Passport.Created, a.Passport.Created) })
	return out, nil
}

// UnknownError says that no dataset, or more than one, has a name.
type UnknownError struct {
	Name string
	Like []string // the hashes that begin with it
}

// Error implements error.
func (e *UnknownError) Error() string {
	if len(e.Like) > 0 {
		return fmt.Sprintf("dataset %q is the beginning of several hashes: %s", e.Name, strings.Join(e.Like, ", "))
	}
	return fmt.Sprintf("there is no dataset %q: `retort dataset list` names those that there are", e.Name)
}

// Find returns the directory of the dataset under root whose hash is, or alone
// begins with, name; or name itself where it is a dataset's directory. The error
// is an *UnknownError if there is no such dataset.
func Find(root, name string) (string, error) {
	if _, err := os.Stat(filepath.Join(name, PassportFile)); err == nil && name != "" {
		return name, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find dataset %s: %w", name, err)
	}
	var like []string
	for _, e := range entries {
		if e.IsDir() && hashName.MatchString(e.Name()) && strings.HasPrefix(e.Name(), name) && name != "" {
			like = append(like, e.Name())
		}
	}
	if len(like) != 1 {
		return "", &UnknownError{name, like}
	}
	return filepath.Join(root, like[0]), nil
}
