package kernel

import "golang.org/x/sys/unix"

func hugePages(x []byte) {
	if unix.Madvise(x, unix.MADV_HUGEPAGE) == nil {
		_ = unix.Madvise(x, unix.MADV_COLLAPSE) // what was written to before
	}
}
