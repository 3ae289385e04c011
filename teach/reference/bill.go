package reference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"retort/exchange"
)

// BillLine is one line of the bill: an answer that was generated and is
// charged, whether or not the client received all of it.
type BillLine struct {
	Attempt string        `json:"attempt"` // the client's id of the attempt, "" if it sent none
	Time    int64         `json:"time"`    // UTC nanoseconds since 1970
	Model   string        `json:"model"`
	Usage   BillUsage     `json:"usage"`
	Cost    exchange.Pico `json:"cost_pico"`       // pico-dollars
	Status  int           `json:"status"`          // of the reply
	Fault   string        `json:"fault,omitempty"` // what was then made to go wrong
}

// BillUsage counts what is charged, in the teacher's own tokens.
type BillUsage struct {
	Input     int64 `json:"prompt_tokens"`
	Output    int64 `json:"completion_tokens"` // reasoning included
	Reasoning int64 `json:"reasoning_tokens"`

	// Parts of Input, where a prompt was to be cached.
	CachedInput    int64 `json:"cached_tokens,omitempty"`           // read from the cache
	CacheWrite     int64 `json:"cache_write_tokens,omitempty"`      // written to it for five minutes
	CacheWriteLong int64 `json:"cache_write_long_tokens,omitempty"` // written to it for an hour
}

func (u BillUsage) exchange() exchange.Usage {
	return exchange.Usage{
		Source: exchange.UsageReported, Input: u.Input, CachedInput: u.CachedInput, CacheWrite: u.CacheWrite, CacheWriteLong: u.CacheWriteLong,
		Output: u.Output, Reasoning: u.Reasoning,
	}
}

// ReadBill reads a bill. A last line that was cut off by a crash is left out:
// no reply had begun for it.
func ReadBill(path string) ([]BillLine, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read bill: %w", err)
	}
	var out []BillLine
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(raw, []byte("\n"))
		if !whole {
			return out, nil
		}
		var b BillLine
		if err := json.Unmarshal(line, &b); err != nil {
			return nil, fmt.Errorf("%s:%d: not a line of a bill: %w", path, n, err)
		}
		out, raw = append(out, b), rest
	}
}

// billFile is the part of a file that a bill needs.
type billFile interface {
	io.Writer
	Sync() error
	Close() error
}

// bill appends lines to a file. Lines of requests that arrive together are
// written and synced together: the first of them does it for all that are
// waiting when it begins.
type bill struct {
	mu      sync.Mutex
	done    sync.Cond // signalled when synced or err changes
	file    billFile
	pending []byte
	added   uint64 // lines so far
	synced  uint64 // of them on disk
	syncing bool
	err     error
}

// openBill opens a bill for appending and cuts off a line that a crash left
// incomplete. syncDir makes its name durable.
func openBill(path string, syncDir func(dir string) error) (*bill, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open bill: %w", err)
	}
	fail := func(err error) (*bill, error) {
		return nil, errors.Join(fmt.Errorf("open bill %s: %w", path, err), f.Close())
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return fail(err)
	}
	whole := int64(bytes.LastIndexByte(raw, '\n') + 1)
	if whole < int64(len(raw)) {
		if err := f.Truncate(whole); err != nil {
			return fail(err)
		}
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return fail(err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fail(err)
	}
	return newBill(f), nil
}

func newBill(f billFile) *bill {
	b := &bill{file: f}
	b.done.L = &b.mu
	return b
}

// syncDir makes a new file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// add returns when the line is on disk.
func (b *bill) add(line BillLine) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("write bill: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(append(b.pending, raw...), '\n')
	b.added++
	mine := b.added
	for b.err == nil && b.synced < mine {
		if b.syncing {
			b.done.Wait()
			continue
		}
		b.syncPending()
	}
	// Once a write has failed, what is in the file is not known: nothing more
	// is answered.
	if b.err != nil && b.synced < mine {
		return fmt.Errorf("write bill: %w", b.err)
	}
	return nil
}

// syncPending writes and syncs all pending lines. It is called with the lock
// held and gives it up meanwhile.
func (b *bill) syncPending() {
	batch, upTo := b.pending, b.added
	b.pending, b.syncing = nil, true
	b.mu.Unlock()
	_, err := b.file.Write(batch)
	if err == nil {
		err = b.file.Sync()
	}
	b.mu.Lock()
	b.syncing = false
	if err != nil {
		b.err = err
	} else {
		b.synced = upTo
	}
	b.done.Broadcast()
}

func (b *bill) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.syncing {
		b.done.Wait()
	}
	if b.err == nil {
		b.err = os.ErrClosed
	}
	return b.file.Close()
}
