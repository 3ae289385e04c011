package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"retort/ledger"
)

// Store is what the harness needs of an open store.
type Store interface {
	ledger.Appender
	ledger.Reader
	Seal(ctx context.Context) error // archives what is finished; a store without archives does nothing
	Close() error
}

// Subject is a store under test. It keeps everything on the given file system.
// For the harness to be sharp, its segments should hold a few tens of
// kilobytes, so that there are many of them.
type Subject struct {
	Open   func(fs vfs.FS) (Store, error)
	Verify func(fs vfs.FS) error // the store's own check of everything that is there
}

// Run runs the whole harness.
func Run(t *testing.T, s Subject) {
	t.Run("CrashAtEveryOperation", s.crashEverywhere)
	t.Run("CrashUnderConcurrentAppends", s.crashConcurrent)
	t.Run("FailEveryOperation", s.failEverywhere)
}

// script is one appender's fixed work: two lives of a store, several segments,
// calls that reach from one segment into the next, and seals between.
func (s Subject) script(fs vfs.FS, j *journal) error {
	ctx := context.Background()
	a := j.appender(0, 1)
	for life := range 2 {
		store, err := s.Open(fs)
		if err != nil {
			return err
		}
		err = func() error {
			for step := range 9 {
				n := 1
				if step%3 == 2 {
					n = 6
				}
				if err := a.append(ctx, store, n); err != nil {
					return err
				}
				if step == 4 && life == 1 {
					if err := store.Seal(ctx); err != nil {
						return err
					}
				}
			}
			return nil
		}()
		if err != nil {
			// Whatever failed: nothing may be acknowledged from now on.
			if j.failed {
				_ = a.append(ctx, store, 1)
			}
			_ = store.Close()
			return err
		}
		if err := store.Close(); err != nil {
			return err
		}
	}
	return nil
}

// recovered checks a disk after a crash: what must be there is, and, for some
// seeds since it takes time, the store goes on working on it, can seal it, and
// stands another crash.
func (s Subject) recovered(disk *Disk, j *journal, acked map[mark]bool, seed uint64) error {
	ctx := context.Background()
	store, err := s.Open(disk)
	if err != nil {
		return fmt.Errorf("open after the crash: %w", err)
	}
	defer store.Close()
	if err := j.check(ctx, store, acked); err != nil {
		return fmt.Errorf("after the crash: %w", err)
	}
	if err := s.Verify(disk); err != nil {
		return fmt.Errorf("verify after the crash: %w", err)
	}
	if seed%5 != 0 {
		return nil
	}
	more := newJournal()
	more.asked = j.asked
	for m := range acked {
		more.acked[m] = true
	}
	a := more.appender(1_000_000+int(seed), seed)
	for range 2 {
		if err := a.append(ctx, store, 1); err != nil {
			return fmt.Errorf("append after the crash: %w", err)
		}
	}
	if err := store.Seal(ctx); err != nil {
		return fmt.Errorf("seal after the crash: %w", err)
	}
	disk = disk.Crash(0, rand.New(rand.NewPCG(seed, 3)))
	reader, err := s.Open(disk)
	if err != nil {
		return fmt.Errorf("open after the seal and another crash: %w", err)
	}
	defer reader.Close()
	if err := more.check(ctx, reader, more.acked); err != nil {
		return fmt.Errorf("after the seal and another crash: %w", err)
	}
	if err := s.Verify(disk); err != nil {
		return fmt.Errorf("verify after the seal and another crash: %w", err)
	}
	return nil
}

// crashEverywhere runs the script once and crashes before each of its
// operations, each time with nothing, some and most of what was not synced.
func (s Subject) crashEverywhere(t *testing.T) {
	type crash struct {
		disk  *Disk
		acked map[mark]bool
		what  string
		seed  uint64
	}
	var crashes []crash
	disk, j := NewDisk(), newJournal()
	take := func(what string) {
		for i, percent := range []int{0, 40, 90} {
			seed := uint64(10*len(crashes) + i)
			crashes = append(crashes, crash{disk.Crash(percent, rand.New(rand.NewPCG(seed, 7))), j.snapshot(), fmt.Sprintf("%s, %d%% of what was not synced survives", what, percent), seed})
		}
	}
	var mu sync.Mutex
	n := 0
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			n++
			take(fmt.Sprintf("crash before write operation %d (kind %d on %s)", n, op.Kind, op.Path))
		}
		return nil
	}))
	if err := s.script(fs, j); err != nil {
		t.Fatalf("the script fails without a crash: %v", err)
	}
	take("crash after the end")
	if n < 20 {
		t.Fatalf("the script made %d operations: the store does not use the file system that it is given", n)
	}
	for _, c := range crashes {
		if err := s.recovered(c.disk, j, c.acked, c.seed); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
	}
}

// crashConcurrent crashes at random operations of concurrent appenders, and
// again and again on what the crash before has left.
func (s Subject) crashConcurrent(t *testing.T) {
	const lives, appenders = 5, 4
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 11))
		disk, j := NewDisk(), newJournal()
		for life := range lives {
			crashed, acked, err := s.live(disk, j, appenders, life, rng)
			if err != nil {
				t.Fatalf("round %d, life %d: %v", round, life, err)
			}
			j.acked = acked // what was acknowledged after the crash has not happened
			if err := s.recovered(crashed.Crash(0, rng), j, acked, uint64(100*round+life)); err != nil {
				t.Fatalf("round %d, life %d: %v", round, life, err)
			}
			disk = crashed
		}
	}
}

// live lets appenders work on a store while it is sealed, and crashes in the
// middle. It returns the crashed disk and what was acknowledged before.
func (s Subject) live(disk *Disk, j *journal, appenders, life int, rng *rand.Rand) (*Disk, map[mark]bool, error) {
	var crashed *Disk
	var acked map[mark]bool
	var ops atomic.Int64
	var once sync.Once
	at, percent, seed := int64(5+rng.IntN(80)), rng.IntN(100), rng.Uint64()
	crash := func() {
		once.Do(func() {
			acked = j.snapshot()
			crashed = disk.Crash(percent, rand.New(rand.NewPCG(seed, 5)))
		})
	}
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && ops.Add(1) == at {
			crash()
		}
		return nil
	}))
	store, err := s.Open(fs)
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	errs := make(chan error, appenders+1)
	var group sync.WaitGroup
	for id := range appenders {
		a := j.appender(life*appenders+id, seed)
		group.Go(func() {
			for range 12 {
				if err := a.append(ctx, store, 1+a.rng.IntN(3)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Go(func() {
		for range 3 {
			if err := store.Seal(ctx); err != nil {
				errs <- err
				return
			}
		}
	})
	group.Wait()
	close(errs)
	for err := range errs {
		store.Close()
		return nil, nil, err
	}
	if err := store.Close(); err != nil {
		return nil, nil, err
	}
	crash() // if the work was shorter than that
	return crashed, acked, nil
}

// failEverywhere runs the script again and again and fails one operation more
// each time, reads included.
func (s Subject) failEverywhere(t *testing.T) {
	for at := int64(1); ; at++ {
		disk, j := NewDisk(), newJournal()
		var n atomic.Int64
		var what string
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if n.Add(1) != at {
				return nil
			}
			what = fmt.Sprintf("operation %d (kind %d on %s) fails", at, op.Kind, op.Path)
			return errorfs.ErrInjected
		}))
		err := s.script(fs, j)
		if n.Load() < at {
			if err != nil {
				t.Fatalf("the script fails without an injected error: %v", err)
			}
			if at < 20 {
				t.Fatalf("the script made %d operations: the store does not use the file system that it is given", at-1)
			}
			return
		}
		if err != nil && !errors.Is(err, errorfs.ErrInjected) {
			t.Fatalf("%s: the script fails with another error: %v", what, err)
		}
		if len(j.errs) > 0 {
			t.Fatalf("%s: %s", what, j.errs[0])
		}
		acked := j.snapshot()
		crashed := disk.Crash(60*int(at%2), rand.New(rand.NewPCG(uint64(at), 9)))
		if err := s.recovered(crashed, j, acked, uint64(at)); err != nil {
			t.Fatalf("%s, then a crash: %v", what, err)
		}
	}
}
