package kernel

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestRunCallsEveryPartOnce(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, threads := range []int{1, 2, 3, 8} {
		p := NewPool(threads)
		for parts := range 40 {
			counts := make([]atomic.Int32, parts)
			p.Run(parts, func(part, worker int) {
				if worker < 0 || worker >= threads {
					t.Errorf("worker %d of %d", worker, threads)
				}
				counts[part].Add(1)
			})
			for part := range counts {
				if n := counts[part].Load(); n != 1 {
					t.Fatalf("%d threads: part %d of %d ran %d times", threads, part, parts, n)
				}
			}
		}
		p.Close()
		p.Close()
	}
}

// Two parts that wait for each other show that they run at the same time.
func TestPartsRunAtTheSameTime(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	for range 100 {
		var meet sync.WaitGroup
		meet.Add(2)
		p.Run(2, func(int, int) {
			meet.Done()
			meet.Wait()
		})
	}
}

func TestSeveralCallersShareAPool(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 200 {
				sums := make([]int, 10)
				p.Run(len(sums), func(part, _ int) { sums[part] += part })
				for part, sum := range sums {
					if sum != part {
						t.Errorf("part %d gave %d", part, sum)
					}
				}
			}
		})
	}
	callers.Wait()
}

func TestPanicSurfacesOnTheCaller(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := NewPool(2)
	defer p.Close()
	boom := errors.New("boom")
	for bad := range 8 {
		func() {
			defer func() {
				failed, ok := recover().(*PartPanic)
				if !ok || failed.Part != bad || failed.Value != boom || len(failed.Stack) == 0 {
					t.Errorf("recovered %v", failed)
				}
			}()
			p.Run(8, func(part, _ int) {
				if part == bad {
					panic(boom)
				}
			})
		}()
		ran := atomic.Int32{}
		p.Run(8, func(int, int) { ran.Add(1) })
		if ran.Load() != 8 {
			t.Fatalf("%d of 8 parts ran after a panic", ran.Load())
		}
	}
}

func TestClosedPoolPanics(t *testing.T) {
	p := NewPool(2)
	p.Close()
	panics(t, "Run", func() { p.Run(1, func(int, int) {}) })
}
