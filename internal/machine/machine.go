// Package machine measures the computer that a program runs on: processor and
// kernels, speed of matrix products, memory, disk, and how long a synced write
// takes.
//
// It is for telling people what to expect, and not a benchmark: each measurement
// takes a fraction of a second and knows nothing of what else runs. Sizes are
// bytes, speeds 10⁹ floating-point operations a second (a multiply-add is two).
// What a system does not tell is zero.
package machine

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	"retort/internal/kernel"
)

// Processor is what computes.
type Processor struct {
	Name    string `json:"name"` // as it calls itself
	Cores   int    `json:"cores"`
	Kernels string `json:"kernels"` // the instruction set in use

	// Caveat says what nobody has tried of these kernels; empty where they are
	// measured.
	Caveat string `json:"caveat,omitempty"`
}

// CPU describes the processor.
func CPU() Processor {
	name := cpuid.CPU.BrandName
	if name == "" {
		name = "a " + runtime.GOARCH + " processor"
	}
	isa := kernel.Active()
	return Processor{Name: name, Cores: runtime.NumCPU(), Kernels: isa.String(), Caveat: caveat(runtime.GOARCH, isa)}
}

func caveat(arch string, isa kernel.ISA) string {
	switch arch {
	case "amd64":
		return ""
	case "arm64":
		return fmt.Sprintf("nobody has measured how fast %v kernels are on arm64 yet: they are tested for correctness, under emulation", isa)
	}
	return fmt.Sprintf("nobody has measured how fast %v kernels are on %s, nor tested them there", isa, arch)
}

// side is the order of the matrices that Speed multiplies: large enough to leave
// the caches nearest to a core, small enough for portable kernels.
const side = 512

// Speed measures the product of two square float32 matrices on so many threads
// (0: all cores), for about the given time, and returns the best in GFLOP/s.
func Speed(ctx context.Context, threads int, about time.Duration) float64 {
	pool := kernel.NewPool(threads)
	defer pool.Close()
	a, b, c := matrix(), matrix(), make([]float32, side*side)
	best := math.Inf(1)
	for start := time.Now(); time.Since(start) < about && ctx.Err() == nil; {
		began := time.Now()
		pool.Gemm(kernel.NN, side, side, side, a, side, b, side, c, side, false)
		best = min(best, time.Since(began).Seconds())
	}
	return 2 * side * side * side / best / 1e9
}

// matrix is ordinary numbers: neither denormal nor zero.
func matrix() []float32 {
	m := make([]float32, side*side)
	for i := range m {
		m[i] = float32(i%17)/17 - 0.4
	}
	return m
}

// Space is how much there is of something, and how much is free.
type Space struct {
	Total uint64 `json:"total_bytes"`
	Free  uint64 `json:"free_bytes"` // what a program may still take
}

// Memory says how much memory there is.
func Memory(ctx context.Context) (Space, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return Space{}, fmt.Errorf("memory: %w", err)
	}
	return Space{Total: m.Total, Free: m.Available}, nil
}

// Disk says how much room the file system at dir has. dir must exist.
func Disk(ctx context.Context, dir string) (Space, error) {
	d, err := disk.UsageWithContext(ctx, dir)
	if err != nil {
		return Space{}, fmt.Errorf("disk at %s: %w", dir, err)
	}
	return Space{Total: d.Total, Free: d.Free}, nil
}

// Latency is how long synced writes took.
type Latency struct {
	Writes int           `json:"writes"`
	Median time.Duration `json:"median_ns"`
	Worst  time.Duration `json:"worst_ns"`
}

// writeSize is a typical record of a ledger.
const writeSize = 4 << 10

// SyncedWrites appends records to a file in dir and syncs after each, at most so
// many and for about the given time. The file is removed. dir must exist.
func SyncedWrites(ctx context.Context, dir string, writes int, about time.Duration) (l Latency, err error) {
	f, err := os.CreateTemp(dir, ".retort-latency-*")
	if err != nil {
		return Latency{}, fmt.Errorf("write to %s: %w", filepath.Clean(dir), err)
	}
	defer func() {
		f.Close() // it holds nothing that is wanted
		if rerr := os.Remove(f.Name()); err == nil {
			err = rerr
		}
	}()
	record := make([]byte, writeSize)
	var took []time.Duration
	for start := time.Now(); len(took) < writes && (len(took) == 0 || time.Since(start) < about) && ctx.Err() == nil; {
		began := time.Now()
		if _, err := f.Write(record); err != nil {
			return Latency{}, fmt.Errorf("write to %s: %w", dir, err)
		}
		if err := f.Sync(); err != nil {
			return Latency{}, fmt.Errorf("sync in %s: %w", dir, err)
		}
		took = append(took, time.Since(began))
	}
	if len(took) == 0 {
		return Latency{}, context.Cause(ctx)
	}
	slices.Sort(took)
	return Latency{Writes: len(took), Median: took[len(took)/2], Worst: took[len(took)-1]}, nil
}
