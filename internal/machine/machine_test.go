package machine

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"retort/internal/kernel"
)

func TestWhatTheMachineIsAgreesWithWhatTheProgramUses(t *testing.T) {
	cpu := CPU()
	if cpu.Name == "" || cpu.Cores < 1 || cpu.Kernels != kernel.Active().String() {
		t.Errorf("%+v", cpu)
	}
	m, err := Memory(context.Background())
	if err != nil || m.Total < 16<<20 || m.Free == 0 || m.Free > m.Total {
		t.Errorf("memory %+v, %v", m, err)
	}
	d, err := Disk(context.Background(), t.TempDir())
	if err != nil || d.Total == 0 || d.Free > d.Total {
		t.Errorf("disk %+v, %v", d, err)
	}
	if _, err := Disk(context.Background(), filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("the disk of a directory that there is not was measured")
	}
}

func TestUnmeasuredKernelsSaySo(t *testing.T) {
	for _, c := range []struct {
		arch string
		isa  kernel.ISA
		want string
	}{
		{"amd64", kernel.AVX2, ""},
		{"amd64", kernel.Portable, ""},
		{"arm64", kernel.NEON, "nobody has measured how fast neon kernels are on arm64 yet: they are tested for correctness, under emulation"},
		{"arm64", kernel.Portable, "nobody has measured how fast portable kernels are on arm64 yet: they are tested for correctness, under emulation"},
		{"riscv64", kernel.Portable, "nobody has measured how fast portable kernels are on riscv64, nor tested them there"},
	} {
		if got := caveat(c.arch, c.isa); got != c.want {
			t.Errorf("%s, %v: %q, want %q", c.arch, c.isa, got, c.want)
		}
	}
}

// TestSpeedIsThatOfAProcessor bounds it by what no machine can be: it is no test
// of how fast this one is.
func TestSpeedIsThatOfAProcessor(t *testing.T) {
	if g := Speed(context.Background(), 1, time.Millisecond); g < 0.01 || g > 1e5 {
		t.Errorf("%v GFLOP/s", g)
	}
}

func TestSyncedWritesLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	l, err := SyncedWrites(context.Background(), dir, 3, time.Hour)
	if err != nil || l.Writes != 3 || l.Median <= 0 || l.Worst < l.Median {
		t.Errorf("%+v, %v", l, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("left: %v, %v", files, err)
	}
	if _, err := SyncedWrites(context.Background(), filepath.Join(dir, "nowhere"), 1, 0); err == nil {
		t.Error("wrote into a directory that there is not")
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := SyncedWrites(gone, dir, 3, time.Hour); err == nil {
		t.Error("a cancelled measurement gave a figure")
	}
}
