package expose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"retort/prove/commit"
	"retort/workspace"
)

// Source says where a model of a frame is to be found. It is the operator's own
// business and enters no statement.
type Source struct {
	Name    string  `json:"name"`
	Path    string  `json:"path,omitempty"` // of weights
	BaseURL string  `json:"base_url,omitempty"`
	Model   string  `json:"model,omitempty"` // behind the URL
	KeyEnv  string  `json:"api_key_env,omitempty"`
	Prefill bool    `json:"prefill,omitempty"`
	Think   bool    `json:"think,omitempty"`
	Input   float64 `json:"input,omitempty"` // USD per million tokens
	Output  float64 `json:"output,omitempty"`
}

// Case is a frame and what belongs to it, in a directory of the workspace.
type Case struct {
	Dir     string
	Frame   *Frame
	Sources []Source
}

const (
	casesDir    = "cases"
	caseFrame   = "frame.json"
	caseSources = "models.json"
	caseScores  = "scores.jsonl"
)

// NewCase makes the directory of a frame's case. It refuses a second one of the same
// frame.
func NewCase(ws *workspace.Workspace, f *Frame, sources []Source) (*Case, error) {
	c := &Case{Dir: ws.Path(casesDir, f.Hash()[:16]), Frame: f, Sources: sources}
	err := workspace.PublishDir(c.Dir, func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, caseFrame), f.Encode(), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, caseSources), commit.JSON(sources), 0o600)
	})
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("case %s is there already", c.ID())
	}
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.ID(), err)
	}
	return c, nil
}

// OpenCase reads a case by its id, or the beginning of it.
func OpenCase(ws *workspace.Workspace, id string) (*Case, error) {
	if id == "" || filepath.Base(id) != id {
		return nil, fmt.Errorf("%q is not the id of a case", id)
	}
	found, err := filepath.Glob(ws.Path(casesDir, id+"*"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%q is the beginning of %d cases: name one as `retort expose frame` printed it", id, len(found))
	}
	c := &Case{Dir: found[0]}
	raw, err := os.ReadFile(filepath.Join(c.Dir, caseFrame))
	if err == nil {
		c.Frame, err = ParseFrame(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.ID(), err)
	}
	if raw, err = os.ReadFile(filepath.Join(c.Dir, caseSources)); err == nil {
		err = decodeInto(raw, &c.Sources)
	}
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.ID(), err)
	}
	return c, nil
}

// ID names the case.
func (c *Case) ID() string { return filepath.Base(c.Dir) }

// Source is where a model is to be found.
func (c *Case) Source(name string) (Source, error) {
	for _, s := range c.Sources {
		if s.Name == name {
			return s, nil
		}
	}
	return Source{}, fmt.Errorf("case %s does not say where %s is", c.ID(), name)
}

// Scores reads the case's scores.
func (c *Case) Scores() ([]Line, error) {
	raw, err := os.ReadFile(filepath.Join(c.Dir, caseScores))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("case %s has not been scored yet: retort expose score %s", c.ID(), c.ID())
	}
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.ID(), err)
	}
	return ParseLines(raw)
}

// KeepScores writes the case's scores, once: what was stated cannot be changed.
func (c *Case) KeepScores(lines []Line) error {
	path := filepath.Join(c.Dir, caseScores)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("case %s has scores already: a test is made once; another frame is another test, and counts beside this one", c.ID())
	}
	if err := workspace.WriteFileAtomic(path, EncodeLines(lines), 0o644); err != nil {
		return fmt.Errorf("case %s: %w", c.ID(), err)
	}
	return nil
}
