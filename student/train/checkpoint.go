package train

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retort/student/model"
	"retort/workspace"
)

var (
	// ErrDamaged means that a checkpoint is not what was written.
	ErrDamaged = errors.New("checkpoint is damaged")
	// ErrOtherRun means that a checkpoint was written by a run with another
	// model, other data or other options.
	ErrOtherRun = errors.New("checkpoint belongs to another run")
)

// The checkpoint format is described in docs/formats/checkpoint.md.
const (
	checkpointMagic  = "RETCKPT1"
	checkpointSuffix = ".ckpt"
	maxHeader        = 64 << 20
	damagedSuffix    = ".damaged"
)

// header is what precedes the tensors.
type header struct {
	Identity string          `json:"identity"`
	Step     int             `json:"step"`
	Tokens   int64           `json:"tokens"`
	Loss     float64         `json:"loss"`
	Heldout  *float64        `json:"heldout_loss"` // null: never measured
	Seconds  float64         `json:"seconds"`
	Joules   float64         `json:"joules"`
	More     json.RawMessage `json:"more,omitempty"` // of a kind of training, beside the tensors
	Tensors  []tensorEntry   `json:"tensors"`
}

type tensorEntry struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}

// tensors are all numbers that a run needs to go on, in the order of the file:
// the weights, and what the optimiser remembers.
func (r *trainer) tensors() []model.Tensor {
	var all []model.Tensor
	for _, t := range r.taught.Tensors() {
		all = append(all, model.Tensor{Name: "weights/" + t.Name, Shape: t.Shape, Data: t.Data})
	}
	for i := range r.optim.params {
		p := &r.optim.params[i]
		if p.muon {
			all = append(all, model.Tensor{Name: "muon.momentum/" + p.name, Shape: p.shape, Data: p.m})
			continue
		}
		all = append(all, model.Tensor{Name: "adamw.m/" + p.name, Shape: p.shape, Data: p.m},
			model.Tensor{Name: "adamw.v/" + p.name, Shape: p.shape, Data: p.v})
	}
	return append(all, r.extra...)
}

func entries(tensors []model.Tensor) []tensorEntry {
	var out []tensorEntry
	for _, t := range tensors {
		out = append(out, tensorEntry{Name: t.Name, Shape: t.Shape})
	}
	return out
}

// save writes a checkpoint of the current step and removes all but the one
// before it. Without Options.Dir, and where the step has one, it does nothing.
func (r *trainer) save() error {
	if r.dir == "" || r.saved == r.state.step {
		return nil
	}
	if err := r.metrics.sync(); err != nil {
		return err
	}
	path := filepath.Join(r.dir, checkpointName(r.state.step))
	if err := r.write(path); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, err)
	}
	r.saved = r.state.step
	steps, err := checkpoints(r.dir)
	if err != nil {
		return err
	}
	for len(steps) > 0 && steps[len(steps)-1] > r.state.step {
		steps = steps[:len(steps)-1]
	}
	for _, old := range steps[:max(0, len(steps)-2)] {
		if err := os.Remove(filepath.Join(r.dir, checkpointName(old))); err != nil {
			return fmt.Errorf("remove an old checkpoint: %w", err)
		}
	}
	return nil
}

func (r *trainer) write(path string) error {
	f, err := workspace.CreateAtomic(path)
	if err != nil {
		return err
	}
	defer f.Abort() // does nothing after Commit
	tensors := r.tensors()
	h := header{Identity: r.identity, Step: r.state.step, Tokens: r.state.tokens, Loss: r.state.loss,
		Seconds: r.state.seconds, Joules: r.state.joules, Tensors: entries(tensors)}
	if !math.IsNaN(r.state.heldout) {
		h.Heldout = &r.state.heldout
	}
	if r.more != nil {
		if h.More, err = json.Marshal(r.more); err != nil {
			return err
		}
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<16)
	w.WriteString(checkpointMagic)
	binary.Write(w, binary.LittleEndian, uint32(len(text)))
	w.Write(text)
	for _, t := range tensors {
		for _, v := range t.Data {
			w.Write(binary.LittleEndian.AppendUint32(w.AvailableBuffer(), math.Float32bits(v)))
		}
	}
	if err := w.Flush(); err != nil { // the first error of all the writes
		return err
	}
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return f.Commit()
}

// restore brings the run to the newest whole checkpoint of its directory, if
// there is any, and opens the metrics there. A damaged one is noted in the
// result, renamed so that nobody mistakes it for a good one, and passed over in
// favour of the one before it.
func (r *trainer) restore() error {
	if r.dir == "" {
		return nil
	}
	steps, err := checkpoints(r.dir)
	if err != nil {
		return err
	}
	var damage error
	for i := len(steps) - 1; i >= 0 && r.result.Resumed == 0; i-- {
		path := filepath.Join(r.dir, checkpointName(steps[i]))
		err := r.read(path)
		switch {
		case errors.Is(err, ErrDamaged):
			damage = errors.Join(damage, err)
			r.result.Damaged = append(r.result.Damaged, path)
		case err != nil:
			return err
		default:
			r.result.Resumed, r.saved = r.state.step, r.state.step
		}
	}
	if damage != nil && r.result.Resumed == 0 {
		return fmt.Errorf("%w: no whole checkpoint is left; remove %s to train from the start", damage, strings.Join(r.result.Damaged, " and "))
	}
	for _, path := range r.result.Damaged {
		if err := os.Rename(path, path+damagedSuffix); err != nil {
			return fmt.Errorf("put a damaged checkpoint aside: %w", err)
		}
	}
	r.metrics, err = openMetrics(filepath.Join(r.dir, MetricsFile), r.state.step)
	return err
}

// read loads one checkpoint. Nothing of the run changes unless all of it is
// whole and the run's own.
func (r *trainer) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open checkpoint: %w", err)
	}
	defer f.Close()
	if err := verify(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	in := bufio.NewReaderSize(f, 1<<16)
	h, err := readHeader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	tensors := r.tensors()
	if h.Identity != r.identity || !slices.EqualFunc(h.Tensors, entries(tensors), func(a, b tensorEntry) bool {
		return a.Name == b.Name && slices.Equal(a.Shape, b.Shape)
	}) {
		return fmt.Errorf("%s: %w: its model, data or options differ; use another directory, or remove it to train from the start", path, ErrOtherRun)
	}
	if r.more != nil {
		if err := json.Unmarshal(h.More, r.more); err != nil {
			return fmt.Errorf("%s: %w: its header does not say where its training stood: %v", path, ErrDamaged, err)
		}
	}
	var word [4]byte
	for _, t := range tensors {
		for i := range t.Data {
			if _, err := io.ReadFull(in, word[:]); err != nil {
				return fmt.Errorf("%s: read %s: %w", path, t.Name, err)
			}
			t.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(word[:]))
		}
	}
	r.state = state{step: h.Step, tokens: h.Tokens, loss: h.Loss, heldout: math.NaN(), seconds: h.Seconds, joules: h.Joules}
	if h.Heldout != nil {
		r.state.heldout = *h.Heldout
	}
	return nil
}

// verify checks a file's length against its header and its bytes against their
// checksum, and returns to its start.
func verify(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	n := info.Size() - sha256.Size
	if n < int64(len(checkpointMagic))+4 {
		return fmt.Errorf("%w: it is only %d bytes long", ErrDamaged, info.Size())
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, n); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("%w: its checksum does not match its content", ErrDamaged)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	in := bufio.NewReader(f)
	h, err := readHeader(in)
	if err != nil {
		return err
	}
	size := int64(len(checkpointMagic)) + 4 + int64(h.length)
	for _, t := range h.Tensors {
		elements := int64(1)
		for _, d := range t.Shape {
			if d < 0 || d > 0 && elements > n/int64(d) {
				return fmt.Errorf("%w: tensor %s has shape %d", ErrDamaged, t.Name, t.Shape)
			}
			elements *= int64(d)
		}
		size += 4 * elements
	}
	if size != n {
		return fmt.Errorf("%w: its header speaks of %d bytes and it has %d", ErrDamaged, size, n)
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// sizedHeader is a header and its length in the file.
type sizedHeader struct {
	header
	length int
}

func readHeader(in *bufio.Reader) (h sizedHeader, err error) {
	var start [len(checkpointMagic) + 4]byte
	if _, err := io.ReadFull(in, start[:]); err != nil {
		return h, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if string(start[:len(checkpointMagic)]) != checkpointMagic {
		return h, fmt.Errorf("%w: it does not begin with %s", ErrDamaged, checkpointMagic)
	}
	n := binary.LittleEndian.Uint32(start[len(checkpointMagic):])
	if n > maxHeader {
		return h, fmt.Errorf("%w: its header claims %d bytes", ErrDamaged, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return h, fmt.Errorf("%w: its header is cut off", ErrDamaged)
	}
	h.length = len(text)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h.header); err != nil {
		return h, fmt.Errorf("%w: its header does not parse: %v", ErrDamaged, err)
	}
	if h.Step < 1 {
		return h, fmt.Errorf("%w: it is of step %d", ErrDamaged, h.Step)
	}
	return h, nil
}

func checkpointName(step int) string {
	return fmt.Sprintf("checkpoint-%09d%s", step, checkpointSuffix)
}

// checkpoints lists the steps of the checkpoints in a directory, ascending.
func checkpoints(dir string) ([]int, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for checkpoints: %w", err)
	}
	var steps []int
	for _, f := range files {
		var step int
		if _, err := fmt.Sscanf(f.Name(), "checkpoint-%d", &step); err == nil && f.Type().IsRegular() && f.Name() == checkpointName(step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// identity hashes all that decides the weights: the model before the first
// step, by its hash, the data and the options.
func identity(base string, data []Sequence, o Options) string {
	h := sha256.New()
	fmt.Fprintf(h, "retort training 2\nmodel %s\nepochs %d tokens %d batch %d optimizer %s precision %s\n", base, o.Epochs, o.Tokens, o.BatchTokens, o.Optimizer, o.Precision)
	fmt.Fprintf(h, "rates %x %x %x %x shares %x %x clip %x decay %x seed %d\n", o.LR, o.MuonLR, o.EmbedLR, o.HeadLR, o.WarmupShare, o.DecayShare, o.ClipNorm, o.WeightDecay, o.Seed)
	if o.Adapter != nil {
		fmt.Fprintf(h, "adapter %s\n", o.Adapter.Hash())
	}
	if o.Accumulate > 1 { // as the format was before there was a choice
		fmt.Fprintf(h, "accumulate %d\n", o.Accumulate)
	}
	var buf []byte
	for _, s := range data {
		buf = binary.LittleEndian.AppendUint64(buf[:0], uint64(len(s.Tokens)))
		buf = binary.LittleEndian.AppendUint64(buf, uint64(s.ResponseFrom))
		for _, t := range s.Tokens {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(t))
		}
		h.Write(buf)
	}
	return hex.EncodeToString(h.Sum(nil))
}
