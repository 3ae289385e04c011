package kernel

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

func TestRoomIsGivenOutOnce(t *testing.T) {
	var r Room
	var mu sync.Mutex
	var all [][]byte
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(worker)))
			for i := range 40 {
				b := r.take(1 + rng.IntN(300_000))
				if i == 20 {
					b = r.take(5 << 20) // more than a piece has
				}
				for _, x := range b {
					if x != 0 {
						t.Error("what is given out is not zero")
						break
					}
				}
				for j := range b {
					b[j] = 1
				}
				mu.Lock()
				all = append(all, b)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	at := func(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }
	slices.SortFunc(all, func(a, b []byte) int {
		if at(a) < at(b) {
			return -1
		}
		return 1
	})
	for i, b := range all {
		if at(b)%64 != 0 || cap(b) != len(b) {
			t.Errorf("%d bytes begin at %#x, with room for %d", len(b), at(b), cap(b))
		}
		if i > 0 && at(all[i-1])+uintptr(len(all[i-1])) > at(b) {
			t.Errorf("%d bytes at %#x and %d at %#x overlap", len(all[i-1]), at(all[i-1]), len(b), at(b))
		}
	}
}
