//go:build !linux

package kernel

// tilesPermitted: how to ask for AMX's registers is known for Linux alone.
func tilesPermitted() bool { return false }
