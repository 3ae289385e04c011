package kernel

import (
	"sync"
	"unsafe"
)

// Room is memory for block weights that are read together, from front to end for each
// token: they lie next to each other, in huge pages where the system has them. The zero
// value is ready, and may be used concurrently.
type Room struct {
	mu   sync.Mutex
	free []byte
	size int // of the last piece
}

// Pieces are taken from the heap one after the other, each twice as large as the last.
const (
	firstPiece = hugePage
	lastPiece  = 64 << 20
)

// take returns n zeros that begin with a cache line.
func (r *Room) take(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole := (n + 63) &^ 63
	if len(r.free) < whole {
		r.size = min(max(firstPiece, 2*r.size), lastPiece)
		r.free = newPiece(max(r.size, whole))
	}
	b := r.free[:n:n]
	r.free = r.free[whole:]
	return b
}

// newPiece makes at least n zeros, from the beginning of a huge page on.
func newPiece(n int) []byte {
	n = (n + hugePage - 1) &^ (hugePage - 1)
	b := make([]byte, n+hugePage)
	b = b[-uintptr(unsafe.Pointer(&b[0]))%hugePage:][:n]
	HugePages(b)
	return b
}
