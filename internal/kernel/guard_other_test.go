//go:build !linux

package kernel

import "testing"

// arena is plain memory where pages cannot be protected.
type arena struct{}

func newArena(*testing.T) *arena { return new(arena) }

func (*arena) slice(n int) []float32 { return make([]float32, n) }
