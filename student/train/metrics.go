package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
)

// MetricsFile is the name of the metrics inside Options.Dir: one JSON object
// a line and step, with the fields step, epoch, tokens, loss, lr, grad_norm,
// tokens_per_s, seconds, and where they were measured heldout_loss, joules and
// expert_load (by layer, the share of each expert).
const MetricsFile = "metrics.jsonl"

// metrics appends lines to a file. A nil *metrics writes nothing.
type metrics struct {
	file interface {
		io.WriteCloser
		Sync() error
	}
	line []byte // reused
}

// openMetrics opens the file for appending and cuts away what a run that goes
// on from step would write again: later steps, and a last line that a crash
// left incomplete.
func openMetrics(path string, step int) (*metrics, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("training metrics: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("training metrics: %w", err)
	}
	keep := wholeLines(old, step)
	if err = f.Truncate(int64(keep)); err == nil {
		_, err = f.Seek(int64(keep), io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("training metrics %s: cutting back to step %d: %w", path, step, err)
	}
	return &metrics{file: f, line: make([]byte, 0, 4096)}, nil
}

// wholeLines returns how many bytes hold complete lines of steps up to step.
func wholeLines(data []byte, step int) int {
	at := 0
	for {
		n := bytes.IndexByte(data[at:], '\n')
		if n < 0 {
			return at
		}
		var line struct{ Step int }
		if err := json.Unmarshal(data[at:at+n], &line); err != nil || line.Step > step || line.Step == 0 {
			return at
		}
		at += n + 1
	}
}

// write appends the line of a step. It allocates nothing once the line has
// found its length.
func (l *metrics) write(p Progress) error {
	if l == nil {
		return nil
	}
	b := l.begin(p.Step)
	b = append(b, `,"epoch":`...)
	b = strconv.AppendInt(b, int64(p.Epoch), 10)
	b = append(b, `,"tokens":`...)
	b = strconv.AppendInt(b, p.Tokens, 10)
	b = appendNumber(b, "loss", p.Loss, 6)
	b = appendNumber(b, "lr", p.LR, 6)
	b = appendNumber(b, "grad_norm", p.GradNorm, 6)
	if !math.IsNaN(p.HeldoutLoss) {
		b = appendNumber(b, "heldout_loss", p.HeldoutLoss, 6)
	}
	b = appendNumber(b, "tokens_per_s", p.TokensPerSecond, 6)
	b = appendNumber(b, "seconds", p.Seconds, 4)
	if p.Joules > 0 {
		b = appendNumber(b, "joules", p.Joules, 4)
	}
	if len(p.ExpertLoad) > 0 {
		b = append(b, `,"expert_load":`...)
		for i, layer := range p.ExpertLoad {
			b = append(b, "[,"[min(i, 1)])
			for j, share := range layer {
				b = append(b, "[,"[min(j, 1)])
				b = strconv.AppendFloat(b, share, 'g', 4, 64)
			}
			b = append(b, ']')
		}
		b = append(b, ']')
	}
	return l.end(b)
}

func (l *metrics) begin(step int) []byte {
	return strconv.AppendInt(append(l.line[:0], `{"step":`...), int64(step), 10)
}

func (l *metrics) end(b []byte) error {
	l.line = append(b, '}', '\n')
	if _, err := l.file.Write(l.line); err != nil {
		return fmt.Errorf("training metrics: %w", err)
	}
	return nil
}

func appendNumber(b []byte, name string, v float64, digits int) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendFloat(b, v, 'g', digits, 64)
}

// sync makes the lines durable, so that a checkpoint never stands before the
// metrics that lead to it.
func (l *metrics) sync() error {
	if l == nil {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("training metrics: %w", err)
	}
	return nil
}

func (l *metrics) close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
