package verify

import (
	"fmt"
	"math"
	"sync/atomic"

	"go.starlark.net/starlark"
)

// Starlark counts steps of its byte code, but a step may be a built-in that
// works through megabytes, and it counts no memory at all. So every check runs
// under a meter, which charges what an operation is about to do before it is
// done: work as further steps, and memory as what all operations together
// allocate. Nothing is ever given back, which makes the sum the same on every
// machine and never less than what is in use.
//
// What is charged are the operations whose cost grows with their operands; the
// program is rewritten (rewrite.go) so that each goes through a guard
// (guard.go). The rest allocates a few dozen bytes a step and is bounded by
// the steps.

// Bounds of one check besides those of its spec.
const (
	maxIntBits   = 1 << 14 // of an integer
	maxDigits    = 5000    // of a text that becomes an integer
	maxNesting   = 100     // levels of a value that is compared, printed or hashed as a whole
	maxKey       = 64      // size of a dictionary's key, in units of weigh
	seededText   = 12      // bytes from which a text's hash is seeded
	maxEqualHash = 32      // keys of one check with the same hash
	chainSteps   = 64      // entries of a dictionary that cost a step of every operation on it
	wordsBytes   = 64      // bytes of text that are one step of work
	maxPrinted   = 1 << 10 // bytes that print may leave behind
	entryBytes   = 128     // a dictionary's entry
	dictBytes    = 512     // an empty dictionary or set
	slotBytes    = 16      // an item of a list
	objectBytes  = 64      // a small object: a bound method, a tuple's head
)

// meter is what a check has used.
type meter struct {
	thread    *starlark.Thread
	maxSteps  uint64
	memory    int64
	maxMemory int64
	stopped   atomic.Pointer[limitError] // why the thread was told to stop
	printed   []byte
	hashes    map[uint32][]starlark.Value // keys that were put into dictionaries and sets
	unbound   int                         // keys of dictionary comprehensions that are not done
}

// limitError ends a check that asks for too much.
type limitError struct{ reason, detail string }

func (e *limitError) Error() string { return e.detail }

const meterKey = "meter"

func meterOf(t *starlark.Thread) *meter { return t.Local(meterKey).(*meter) }

// stop tells the thread to stop. The first reason counts.
func (m *meter) stop(why *limitError) {
	m.stopped.CompareAndSwap(nil, why)
	m.thread.Cancel(why.reason)
}

func (m *meter) tooManySteps() *limitError {
	return &limitError{ReasonSteps, fmt.Sprintf("the check takes more than %d steps", m.maxSteps)}
}

// work charges steps.
func (m *meter) work(n int64) error {
	if why := m.stopped.Load(); why != nil {
		return why
	}
	if n < 0 || uint64(n) > m.maxSteps-min(m.maxSteps, m.thread.Steps) {
		return m.tooManySteps()
	}
	m.thread.Steps += uint64(n)
	return nil
}

// alloc charges memory.
func (m *meter) alloc(n int64) error {
	if n < 0 || n > m.maxMemory-m.memory {
		return &limitError{ReasonMemory, fmt.Sprintf("the check allocates more than %d MiB", m.maxMemory>>20)}
	}
	m.memory += n
	return nil
}

// both charges memory and the work of filling it.
func (m *meter) both(n int64) error {
	if err := m.alloc(n); err != nil {
		return err
	}
	return m.work(n / wordsBytes)
}

// times is a product that does not overflow: too large is too large.
func times(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/4/a {
		return math.MaxInt64 / 4
	}
	return a * b
}

// count is how many items iterating over a value gives, 0 if it cannot be
// iterated over: then the operation itself says so.
func (m *meter) count(v starlark.Value) (int64, error) {
	if n := starlark.Len(v); n >= 0 {
		return int64(n), nil
	}
	iter := starlark.Iterate(v)
	if iter == nil {
		return 0, nil
	}
	defer iter.Done()
	var n int64
	var x starlark.Value
	for iter.Next(&x) {
		if n++; n%64 == 0 {
			if err := m.work(8); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// weigh is the size of a value when it is gone through as a whole, as printing
// and comparing do: what stands in two places counts twice. One unit is a
// value, or 16 bytes of text. It charges the work of finding out, which is that
// of doing it, and stops at limit.
func (m *meter) weigh(v starlark.Value, limit int64) (int64, error) {
	w := weighing{m: m, limit: limit}
	err := w.add(v, 0)
	if w.uncharged > 0 && err == nil {
		err = m.work(w.uncharged)
	}
	return w.units, err
}

type weighing struct {
	m                       *meter
	units, limit, uncharged int64
}

func (w *weighing) add(v starlark.Value, depth int) error {
	n := size(v)
	if starlark.Len(v) < 0 { // a string's codepoints, which know no length
		more, err := w.m.count(v)
		if err != nil {
			return err
		}
		n += more / 4
	}
	w.units += n
	w.uncharged += n
	if w.units >= w.limit {
		return nil
	}
	if w.uncharged > 256 {
		if err := w.m.work(w.uncharged); err != nil {
			return err
		}
		w.uncharged = 0
	}
	if depth == maxNesting {
		return &limitError{ReasonDepth, fmt.Sprintf("the check has a value that is nested more than %d levels deep", maxNesting)}
	}
	switch v := v.(type) {
	case starlark.Tuple:
		for _, e := range v {
			if err := w.next(e, depth); err != nil || w.units >= w.limit {
				return err
			}
		}
	case *starlark.List:
		for i := range v.Len() {
			if err := w.next(v.Index(i), depth); err != nil || w.units >= w.limit {
				return err
			}
		}
	case *starlark.Set:
		for e := range v.Elements() {
			if err := w.next(e, depth); err != nil || w.units >= w.limit {
				return err
			}
		}
	case *starlark.Dict:
		for k, e := range v.Entries() {
			if err := w.next(k, depth); err != nil || w.units >= w.limit {
				return err
			}
			if err := w.next(e, depth); err != nil || w.units >= w.limit {
				return err
			}
		}
	}
	return nil
}

func (w *weighing) next(v starlark.Value, depth int) error { return w.add(v, depth+1) }

// size is that of a value without what it holds, in units of weigh.
func size(v starlark.Value) int64 {
	switch v := v.(type) {
	case starlark.String:
		return 1 + int64(len(v))/16
	case starlark.Bytes:
		return 1 + int64(len(v))/16
	case starlark.Int:
		return 1 + int64(intBits(v))/64
	case starlark.Float:
		return 4 // %f writes some hundreds of digits
	case starlark.Tuple, *starlark.List, *starlark.Dict, *starlark.Set, starlark.Bool, starlark.NoneType, *starlark.Function, *starlark.Builtin:
		return 1
	}
	// A string's elems and codepoints print the string.
	if n := starlark.Len(v); n > 0 && v.Type() != "range" {
		return 1 + int64(n)/16
	}
	return 1
}

const unlimited = math.MaxInt64

// printing charges what printing a value as a whole allocates: each unit of 16
// bytes may be written as escapes of four characters each, or as a number's
// digits, into a buffer that doubles.
func (m *meter) printing(v starlark.Value, copies int64) error {
	if _, ok := v.(starlark.String); ok {
		return m.both(times(copies, 6*int64(len(v.(starlark.String)))+slotBytes))
	}
	units, err := m.weigh(v, unlimited)
	if err != nil {
		return err
	}
	return m.both(times(copies, times(units, 192)))
}

// key charges what hashing and finding a key takes.
func (m *meter) key(v starlark.Value) error {
	switch v := v.(type) {
	case starlark.String:
		return m.work(int64(len(v)) / wordsBytes)
	case starlark.Bool, starlark.NoneType, starlark.Float:
		return nil
	case starlark.Int:
		if intBits(v) <= 64 {
			return nil
		}
	}
	n, err := m.weigh(v, maxKey)
	if err != nil {
		return err
	}
	if n >= maxKey {
		return &limitError{ReasonMemory, fmt.Sprintf("the check uses a %s of more than %d values as a key", v.Type(), maxKey)}
	}
	return nil
}

// entry charges a key that is put into a dictionary or set, and refuses one of
// too many whose hashes are equal: finding one among them means comparing it
// with each. The hash of a long text is seeded by the process and cannot be
// foreseen; that of a small integer is its own.
func (m *meter) entry(v starlark.Value) error {
	if err := m.key(v); err != nil {
		return err
	}
	switch v := v.(type) {
	case starlark.String:
		if len(v) >= seededText {
			return nil
		}
	case starlark.Int:
		if n, ok := v.Int64(); ok && n == int64(int32(n)) {
			return nil
		}
	case starlark.Bool, starlark.NoneType:
		return nil
	}
	h, err := v.Hash()
	if err != nil {
		return nil // the operation says so itself
	}
	same := m.hashes[h]
	for _, o := range same {
		if equal, err := starlark.Equal(o, v); err == nil && equal {
			return nil
		}
	}
	if len(same) == maxEqualHash {
		return &limitError{ReasonSteps, fmt.Sprintf("the check uses more than %d keys with the same hash", maxEqualHash)}
	}
	if m.hashes == nil {
		m.hashes = map[uint32][]starlark.Value{}
	}
	m.hashes[h] = append(same, v)
	return m.alloc(entryBytes)
}

// chain charges finding a key. It goes, at the worst, past all entries there
// are: keys can be made to meet in one bucket. So a dictionary's size is charged with every operation.
func (m *meter) chain(entries int) error { return m.work(int64(entries) / chainSteps) }

// fill charges adding so many entries at once to a dictionary or set.
func (m *meter) fill(have, add int64) error {
	if err := m.work(add + times(add, have+add)/(2*chainSteps)); err != nil {
		return err
	}
	return m.alloc(dictBytes + times(add, entryBytes))
}

// keys charges hashing all items of a value.
func (m *meter) keys(v starlark.Value) error {
	iter := starlark.Iterate(v)
	if iter == nil {
		return nil
	}
	defer iter.Done()
	var x starlark.Value
	for iter.Next(&x) {
		if err := m.entry(x); err != nil {
			return err
		}
		if err := m.work(1); err != nil {
			return err
		}
	}
	return nil
}

// comparing charges comparing two values: no more is looked at than the
// smaller one has.
func (m *meter) comparing(x, y starlark.Value) error {
	if scalarValue(x) && scalarValue(y) {
		return nil
	}
	if s, ok := x.(starlark.String); ok {
		t, ok := y.(starlark.String)
		if !ok {
			return nil
		}
		return m.work(int64(min(len(s), len(t))) / wordsBytes)
	}
	if x.Type() != y.Type() {
		return nil
	}
	n, err := m.weigh(x, unlimited)
	if err == nil {
		_, err = m.weigh(y, n)
	}
	return err
}

func scalarValue(v starlark.Value) bool {
	switch v.(type) {
	case starlark.Int, starlark.Float, starlark.Bool, starlark.NoneType:
		return true
	}
	return false
}
