package kernel

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Pool is a set of persistent workers that share out the parts of one job at
// a time. The goroutine that calls is worker 0 and takes part. A Pool may be
// used by several goroutines; their jobs run one after the other.
//
// Each worker first runs its own contiguous share of the parts and then helps
// the others, so which worker runs a part is not determined: the worker index
// is good for choosing scratch space and for nothing that a result depends on.
type Pool struct {
	mu      sync.Mutex // one job at a time
	shares  []share    // one for each worker, worker 0 being the caller
	seats   []seat     // seats[i] belongs to worker i+1
	fn      func(part, worker int)
	aborted atomic.Bool
	panics  chan *PartPanic // the first panic of the job
	waiting atomic.Bool     // the caller is parked on done
	done    chan struct{}
	closed  bool
	spin    int
	workers sync.WaitGroup

	scratch []*Scratch
	partial []float32 // partial sums of RMSNormGradRows
	gemm    gemmJob
}

// share is what is left of one worker's parts, on a cache line of its own.
type share struct {
	next atomic.Int64
	end  int64
	_    [48]byte
}

// seat is where the caller offers a job to one worker.
type seat struct {
	state  atomic.Int32
	parked atomic.Bool
	wake   chan struct{}
	_      [48]byte
}

const (
	seatIdle = iota
	seatOffered
	seatTaken
	seatQuit
)

// spinRounds bounds the time that a worker spends looking for the next job
// before it parks: about 50 µs, more than the gaps inside a training step.
const spinRounds = 2000

// PartPanic is what Run panics with when fn panicked.
type PartPanic struct {
	Part  int
	Value any
	Stack []byte
}

// Error names the part and what it panicked with.
func (p *PartPanic) Error() string {
	return fmt.Sprintf("kernel: part %d panicked: %v\n%s", p.Part, p.Value, p.Stack)
}

// NewPool starts a pool of so many threads, the caller's included; 0 or less
// means GOMAXPROCS. It panics with Err's error if RETORT_KERNEL asks for what
// this machine cannot do. Close it to end its goroutines.
func NewPool(threads int) *Pool {
	if err := Err(); err != nil {
		panic(err)
	}
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{
		shares:  make([]share, threads),
		seats:   make([]seat, threads-1),
		panics:  make(chan *PartPanic, 1),
		done:    make(chan struct{}, 1),
		scratch: make([]*Scratch, threads),
	}
	if runtime.GOMAXPROCS(0) >= threads {
		p.spin = spinRounds
	}
	for i := range p.scratch {
		p.scratch[i] = new(Scratch)
	}
	p.gemm.init(p)
	for i := range p.seats {
		p.seats[i].wake = make(chan struct{}, 1)
		p.workers.Add(1)
		go p.work(i + 1)
	}
	return p
}

// Threads is the number of workers, the caller included.
func (p *Pool) Threads() int { return len(p.shares) }

// Scratch is the working memory of one worker, for the serial kernels that fn
// calls inside Run. Outside Run, worker 0's belongs to whoever calls the pool.
func (p *Pool) Scratch(worker int) *Scratch { return p.scratch[worker] }

// Close ends the workers and waits for them. The pool must not be used again.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for i := range p.seats {
		p.offer(&p.seats[i], seatQuit)
	}
	p.workers.Wait()
}

// Run calls fn once for every part in [0, parts) and returns when all have
// returned. Parts must not depend on one another, and fn must not call the
// pool. If fn panics, the parts that have not begun are skipped and Run panics
// with a *PartPanic.
func (p *Pool) Run(parts int, fn func(part, worker int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run(parts, fn)
}

// run is Run with the lock held.
func (p *Pool) run(parts int, fn func(part, worker int)) {
	if p.closed {
		panic("kernel: Run on a closed Pool")
	}
	if parts <= 0 {
		return
	}
	threads := len(p.shares)
	for i := range p.shares {
		p.shares[i].next.Store(int64(i * parts / threads))
		p.shares[i].end = int64((i + 1) * parts / threads)
	}
	p.fn = fn
	p.aborted.Store(false)
	helpers := p.seats[:min(len(p.seats), parts-1)]
	for i := range helpers {
		p.offer(&helpers[i], seatOffered)
	}
	p.share(0)
	for i := range helpers {
		p.await(&helpers[i])
	}
	p.fn = nil
	select {
	case first := <-p.panics:
		panic(first)
	default:
	}
}

// Where one side tells something and then looks at what the other has told, it
// does so by Swap: a Store followed by a Load of something else is ordered by Go
// and by arm64, but not by every emulator of arm64, under which both sides then go
// to sleep. On amd64 they are the same instruction.

func (p *Pool) offer(s *seat, state int32) {
	s.state.Swap(state)
	if s.parked.CompareAndSwap(true, false) {
		s.wake <- struct{}{}
	}
}

// await withdraws the offer if the worker has not taken it up, and otherwise
// waits for the worker to finish.
func (p *Pool) await(s *seat) {
	if s.state.CompareAndSwap(seatOffered, seatIdle) {
		return
	}
	for range p.spin {
		if s.state.Load() == seatIdle {
			return
		}
		pause()
	}
	for s.state.Load() != seatIdle {
		p.waiting.Swap(true)
		if s.state.Load() == seatIdle && p.waiting.CompareAndSwap(true, false) {
			return
		}
		<-p.done
	}
}

func (p *Pool) work(worker int) {
	defer p.workers.Done()
	s := &p.seats[worker-1]
	for {
		switch p.next(s) {
		case seatQuit:
			return
		case seatOffered:
			if !s.state.CompareAndSwap(seatOffered, seatTaken) {
				continue // withdrawn
			}
			p.share(worker)
			s.state.Swap(seatIdle)
			if p.waiting.CompareAndSwap(true, false) {
				p.done <- struct{}{}
			}
		}
	}
}

// next returns what the seat holds once it is not idle: it spins for a while
// and then parks. It may return seatIdle after a withdrawn offer.
func (p *Pool) next(s *seat) int32 {
	for range p.spin {
		if st := s.state.Load(); st != seatIdle {
			return st
		}
		pause()
	}
	s.parked.Swap(true)
	if s.state.Load() != seatIdle && s.parked.CompareAndSwap(true, false) {
		return s.state.Load()
	}
	<-s.wake
	return s.state.Load()
}

// share runs the worker's own parts and then what others have left.
func (p *Pool) share(worker int) {
	part := -1
	defer func() {
		if v := recover(); v != nil {
			p.aborted.Store(true)
			select {
			case p.panics <- &PartPanic{Part: part, Value: v, Stack: debug.Stack()}:
			default:
			}
		}
	}()
	for i := range p.shares {
		from := &p.shares[(worker+i)%len(p.shares)]
		for !p.aborted.Load() {
			n := from.next.Add(1) - 1
			if n >= from.end {
				break
			}
			part = int(n)
			p.fn(part, worker)
		}
	}
}
