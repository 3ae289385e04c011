package train

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// energy reads the running sum that the processor keeps of the energy that its
// packages use (Intel RAPL, as Linux shows it). Whatever else runs on the
// machine is in it. Where it cannot be read, and in most virtual machines it
// cannot, nothing is reported.
type energy struct {
	packages []counter
	buf      [32]byte
}

// counter is one package's file; the number in it, in microjoules, wraps at span.
type counter struct {
	file       *os.File
	span, last uint64
}

// raplRoot is where Linux shows the counters.
const raplRoot = "/sys/class/powercap"

// openEnergy opens all packages' counters below root, or none.
func openEnergy(root string) *energy {
	e := new(energy)
	dirs, _ := filepath.Glob(filepath.Join(root, "intel-rapl:[0-9]*"))
	for _, dir := range dirs {
		if strings.Count(filepath.Base(dir), ":") != 1 {
			continue // a part of a package, counted in it
		}
		text, err := os.ReadFile(filepath.Join(dir, "max_energy_range_uj"))
		if err != nil {
			continue
		}
		span, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			continue
		}
		f, err := os.Open(filepath.Join(dir, "energy_uj"))
		if err != nil {
			continue // readable by root alone on many systems
		}
		e.packages = append(e.packages, counter{file: f, span: span})
	}
	e.joules()
	return e
}

// joules returns what was used since the last call; 0 if it is not known.
func (e *energy) joules() float64 {
	sum := 0.0
	for i := range e.packages {
		c := &e.packages[i]
		n, _ := c.file.ReadAt(e.buf[:], 0)
		if n == 0 {
			continue
		}
		now := uint64(0)
		for _, d := range e.buf[:n] {
			if d < '0' || d > '9' {
				break
			}
			now = now*10 + uint64(d-'0')
		}
		used := now - c.last
		if now < c.last {
			used += c.span
		}
		c.last = now
		sum += float64(used) * 1e-6
	}
	return sum
}

func (e *energy) close() {
	for _, c := range e.packages {
		c.file.Close()
	}
}
