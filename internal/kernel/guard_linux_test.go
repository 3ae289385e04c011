package kernel

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arena hands out slices that touch memory which must not be touched: each
// ends (or begins) at a page without access, so that a kernel which reads or
// writes one element too many faults. It has room for so many at a time and
// then reuses the oldest.
type arena struct {
	regions [][]float32
	turn    int
}

const arenaRegion = 2 << 20 // bytes

func newArena(t *testing.T) *arena {
	t.Helper()
	page := unix.Getpagesize()
	a := new(arena)
	for range 28 {
		mem, err := unix.Mmap(-1, 0, arenaRegion+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			t.Fatalf("mapping guarded memory: %v", err)
		}
		t.Cleanup(func() { unix.Munmap(mem) })
		for _, edge := range [][]byte{mem[:page], mem[page+arenaRegion:]} {
			if err := unix.Mprotect(edge, unix.PROT_NONE); err != nil {
				t.Fatalf("protecting a guard page: %v", err)
			}
		}
		a.regions = append(a.regions, unsafe.Slice((*float32)(unsafe.Pointer(&mem[page])), arenaRegion/4))
	}
	return a
}

// slice returns n elements of undefined content.
func (a *arena) slice(n int) []float32 {
	r := a.regions[a.turn%len(a.regions)]
	a.turn++
	if a.turn%5 == 0 {
		return r[:n:n] // behind the leading guard
	}
	return r[len(r)-n:]
}
