package kernel

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Linux gives a process the tiles' large register state when it asks for it.
// Constants: Documentation/arch/x86/xstate.rst of the kernel.
const (
	archReqXcompPerm = 0x1023
	xfeatureTileData = 18
)

// tilesPermitted asks the operating system for AMX's registers.
var tilesPermitted = sync.OnceValue(func() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, archReqXcompPerm, xfeatureTileData, 0)
	return errno == 0
})
