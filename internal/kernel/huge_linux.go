package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20 // bytes

func hugePages(x []float32) {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	end := (start + 4*uintptr(len(x))) &^ (hugePage - 1)
	from := (start + hugePage - 1) &^ (hugePage - 1)
	if from >= end {
		return
	}
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&x[(from-start)/4])), end-from)
	if unix.Madvise(mem, unix.MADV_HUGEPAGE) == nil {
		_ = unix.Madvise(mem, unix.MADV_COLLAPSE) // what was written to before
	}
}
