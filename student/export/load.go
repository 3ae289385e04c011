package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/model"
	"retort/teach/dataset"
	"retort/workspace"
)

// MismatchError says that a directory's files are not those that its passport
// names.
type MismatchError struct {
	Dir   string
	What  string // "model.safetensors", or "the model's hash"
	Says  string // what the passport says
	Found string
}

// Error implements error.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("model %s: its passport says %s is %s, found %s: it was changed or damaged after it was written; restore it from a copy, or export it again",
		e.Dir, e.What, e.Says, e.Found)
}

// maxPassport bounds what is read before anything is known.
const maxPassport = 16 << 20

// ReadPassport reads the passport of a model's directory, without comparing it
// with the files.
func ReadPassport(dir string) (Passport, error) {
	var p Passport
	data, err := workspace.ReadSmall(filepath.Join(dir, passportFile), maxPassport)
	if errors.Is(err, os.ErrNotExist) {
		return p, fmt.Errorf("%s is not a model of this program: it has no %s (%w)", dir, passportFile, os.ErrNotExist)
	}
	if err != nil {
		return p, fmt.Errorf("model %s: %w", dir, err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("model %s: %s: %w", dir, passportFile, err)
	}
	if p.Format != PassportFormat || p.Version != PassportVersion {
		return p, fmt.Errorf("model %s: %s is %q version %d, want %q version %d", dir, passportFile, p.Format, p.Version, PassportFormat, PassportVersion)
	}
	return p, nil
}

// checkFile compares one file with the passport.
func (p *Passport) checkFile(dir, name string) error {
	i := slices.IndexFunc(p.Files, func(f dataset.File) bool { return f.Name == name })
	if i < 0 {
		return fmt.Errorf("model %s: its passport does not list %s", dir, name)
	}
	want := p.Files[i]
	n, sum, err := hashFile(filepath.Join(dir, filepath.FromSlash(name)), want.Bytes)
	if errors.Is(err, os.ErrNotExist) {
		return &MismatchError{dir, name, fmt.Sprintf("a file of %d bytes", want.Bytes), "no file"}
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", dir, err)
	}
	if n != want.Bytes || sum != want.SHA256 {
		found := fmt.Sprintf("%d bytes with SHA-256 %s", n, sum)
		if n > want.Bytes {
			found = "a longer file"
		}
		return &MismatchError{dir, name, fmt.Sprintf("%d bytes with SHA-256 %s", want.Bytes, want.SHA256), found}
	}
	return nil
}

// hashFile hashes a file, of one that is longer than most only the first most+1 bytes.
func hashFile(path string, most int64) (n int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	if n, err = io.Copy(h, io.LimitReader(f, most+1)); err != nil {
		return 0, "", err
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}

// Verify compares every file that the passport lists with it.
func Verify(dir string) (Passport, error) {
	p, err := ReadPassport(dir)
	if err != nil {
		return p, err
	}
	for _, f := range p.Files {
		if f.Name == "." || !fs.ValidPath(f.Name) || !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return p, fmt.Errorf("model %s: its passport lists %q, which is not a file of the directory", dir, f.Name)
		}
		if err := p.checkFile(dir, f.Name); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Load reads a model, and how one talks with it, from a directory that Write made. A file
// that is damaged, or a model that is not the one the passport names, is
// refused with a *MismatchError.
func Load(dir string) (*model.Model, *chat.Format, error) {
	p, err := ReadPassport(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{configFile, generationFile, weightsFile, tokenizerFile, wordsFile, specialsFile} {
		if err := p.checkFile(dir, name); err != nil {
			return nil, nil, err
		}
	}
	// It would be read in place of the template in tokenizer_config.json.
	if _, err := os.Lstat(filepath.Join(dir, base.JinjaFile)); !errors.Is(err, os.ErrNotExist) {
		return nil, nil, &MismatchError{dir, base.JinjaFile, "no file of it", "one"}
	}
	m, f, err := p.load(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("model %s: %w", dir, err)
	}
	if got := m.Hash(); got != p.Hash {
		return nil, nil, &MismatchError{dir, "the model's hash", p.Hash, got}
	}
	if known, rows := f.Tokenizer().VocabSize(), p.Config.VocabSize; known > rows {
		return nil, nil, fmt.Errorf("model %s: it has %d tokens and its tokenizer %d", dir, rows, known)
	}
	return m, f, nil
}

func (p *Passport) load(dir string) (*model.Model, *chat.Format, error) {
	f, err := base.ReadFormat(dir)
	if err != nil {
		return nil, nil, err
	}
	if own := chat.Own(f.Tokenizer()); p.Config.KVHeads == 0 && reflect.DeepEqual(f.Spec(), own.Spec()) {
		f = own
	}
	m, err := p.loadWeights(dir)
	return m, f, err
}

func (p *Passport) loadWeights(dir string) (*model.Model, error) {
	c := p.Config
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s, err := modelfile.OpenSafetensors(filepath.Join(dir, weightsFile))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	// A configuration that asks for more than the file holds is refused before
	// memory is set aside for it.
	have := modelfile.Values(s.Tensors) + int64(len(p.RopeFactors))
	if want, _ := c.Params(); want != have {
		return nil, fmt.Errorf("%s holds %d parameters, its configuration asks for %d", weightsFile, have, want)
	}
	return model.FromTensors(c, func(name string, shape []int, dst []float32) error {
		if name == model.RopeFactorsName {
			if len(p.RopeFactors) != len(dst) {
				return fmt.Errorf("%s has %d of its values, want %d", passportFile, len(p.RopeFactors), len(dst))
			}
			copy(dst, p.RopeFactors)
			return nil
		}
		if info, ok := s.Lookup(name); ok && !slices.Equal(info.Shape, shape) {
			return fmt.Errorf("its shape is %v, want %v", info.Shape, shape)
		}
		if err := s.Read(name, dst); err != nil {
			return err
		}
		base.Neighbours(c, name, shape, dst)
		return nil
	})
}
