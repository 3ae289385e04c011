package kernel

import "unsafe"

const hugePage = 2 << 20 // bytes

// HugePages asks the operating system to hold x in pages of 2 MiB, as far as x
// fills them: rows of matrices lie so far apart that with small ones every row
// costs a look into the page tables. It is advice; nothing depends on its being
// taken.
func HugePages[E float32 | byte](x []E) {
	n := len(x) * int(unsafe.Sizeof(*new(E)))
	mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), n)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(x))) % hugePage)
	if whole := (n - skip) / hugePage * hugePage; whole > 0 {
		hugePages(mem[skip:][:whole])
	}
}
