package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/model"
	"retort/teach/dataset"
)

// writer writes files into one directory and remembers their hashes. Its first
// error sticks.
type writer struct {
	ctx   context.Context
	dir   string
	files []dataset.File
	err   error
}

func (w *writer) all(s *student) {
	w.json(configFile, s.hfConfig())
	w.json(generationFile, s.words.generation())
	w.file(weightsFile, func(out io.Writer) error { return writeWeights(out, s.config, s.Tensors()) })
	w.file(tokenizerFile, func(out io.Writer) error {
		_, err := out.Write(s.words.tok.JSON())
		return err
	})
	w.json(wordsFile, s.words.tokenizerConfig(s.config.MaxPositions))
	w.json(specialsFile, s.words.specialTokens())
	if s.opt.gguf() {
		w.file(ggufFile, func(out io.Writer) error { return s.writeGGUF(out) })
		w.file("Modelfile", func(out io.Writer) error {
			_, err := io.WriteString(out, s.ollamaModelfile())
			return err
		})
	}
	w.adapter(s.opt)
	if notices := s.opt.Lineage.Notices; len(notices) > 0 {
		w.file(noticeFile, func(out io.Writer) error { return writeNotices(out, notices) })
	}
	listed := slices.Clone(w.files)
	w.file(cardFile, func(out io.Writer) error { return s.writeCard(out) })
	w.json(passportFile, s.passport(listed))
	w.files = listed
}

// adapter writes an adapter's files, which PEFT wants in a directory of their own.
func (w *writer) adapter(opt Options) {
	if opt.Adapter == nil || w.err != nil {
		return
	}
	dir := filepath.Join(w.dir, adapterDir)
	if w.err = os.Mkdir(dir, 0o755); w.err != nil {
		return
	}
	if w.err = base.WriteAdapter(dir, opt.Lineage.Base.Name, opt.Lineage.Base.Hash, opt.Adapter); w.err != nil {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.err = err
		return
	}
	for _, e := range entries {
		f := dataset.File{Name: adapterDir + "/" + e.Name()}
		if f.Bytes, f.SHA256, w.err = hashFile(filepath.Join(dir, e.Name()), math.MaxInt64-1); w.err != nil {
			return
		}
		w.files = append(w.files, f)
	}
}

func (w *writer) json(name string, v any) {
	w.file(name, func(out io.Writer) error {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}

func (w *writer) file(name string, fill func(io.Writer) error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		return
	}
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		w.err = err
		return
	}
	sum := sha256.New()
	counted := &counter{ctx: w.ctx, w: io.MultiWriter(f, sum)}
	err = fill(counted)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		w.err = fmt.Errorf("%s: %w", name, err)
		return
	}
	w.files = append(w.files, dataset.File{Name: name, Bytes: counted.n, SHA256: hex.EncodeToString(sum.Sum(nil))})
}

// counter counts bytes and stops when its context is done.
type counter struct {
	ctx context.Context
	w   io.Writer
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// writeWeights writes tensors as transformers has them: heads in halves, and no factors
// of rotary frequencies, which it computes itself.
func writeWeights(out io.Writer, c model.Config, all []model.Tensor) error {
	var tensors []modelfile.Tensor
	for _, t := range all {
		if t.Name != model.RopeFactorsName {
			tensors = append(tensors, modelfile.Tensor{Name: t.Name, Shape: t.Shape, Type: modelfile.F32, Data: base.Halves(c, t)})
		}
	}
	return modelfile.WriteSafetensors(out, map[string]string{"format": "pt"}, tensors)
}
