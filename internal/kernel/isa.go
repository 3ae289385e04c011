package kernel

import (
	"fmt"
	"os"
	"strings"
)

// NEON's assembly is generated on every platform: its generator is text alone.
//go:generate go run ./asm/neon

// ISA is an instruction set that kernels are written for.
type ISA uint8

// The instruction sets of a processor, from slow to fast.
const (
	Portable   ISA = iota // plain Go, on every machine
	NEON                  // arm64's vectors of 128 bits
	AVX2                  // AVX2, FMA and F16C
	AVXVNNI               // the same, and products of bytes by AVX-VNNI
	AVX512                // AVX-512 F, VL, BW and DQ
	AVX512VNNI            // the same, and products of bytes by AVX512-VNNI
	AVX512BF16            // the same, and products of bfloat16 by AVX512-BF16
	AMX                   // the same, and products of bfloat16 and of bytes by AMX tiles
)

// String is the name that RETORT_KERNEL uses.
func (i ISA) String() string {
	switch i {
	case Portable:
		return "portable"
	case NEON:
		return "neon"
	case AVX2:
		return "avx2"
	case AVXVNNI:
		return "avxvnni"
	case AVX512:
		return "avx512"
	case AVX512VNNI:
		return "avx512vnni"
	case AVX512BF16:
		return "avx512bf16"
	case AMX:
		return "amx"
	}
	return fmt.Sprintf("ISA(%d)", uint8(i))
}

// EnvVar names the environment variable that forces an instruction set.
const EnvVar = "RETORT_KERNEL"

var (
	active  ISA
	vectors ISA // what everything but products of bfloat16 and of bytes is done with
	tile    tiling
	envErr  error
)

func init() {
	use(best())
	if name := os.Getenv(EnvVar); name != "" {
		isa, err := Parse(name)
		if err == nil {
			err = Use(isa)
		}
		if err != nil {
			envErr = fmt.Errorf("environment variable %s: %w", EnvVar, err)
		}
	}
}

// Err is not nil if RETORT_KERNEL names an instruction set that does not exist
// or that this machine lacks. Programs check it before they make a Pool.
func Err() error { return envErr }

// Active is the instruction set in use.
func Active() ISA { return active }

// FastBF16 reports whether products of bfloat16 are faster than those of float32
// with the instruction set in use. Elsewhere they are done with operands that
// are rounded, by the kernels for float32.
func FastBF16() bool { return active >= AVX512BF16 }

// Available lists the instruction sets that this machine supports, slowest
// first.
func Available() []ISA {
	all := make([]ISA, 0, 7)
	for isa := Portable; isa <= AMX; isa++ {
		if supported(isa) {
			all = append(all, isa)
		}
	}
	return all
}

// Parse turns a name as String gives it into an instruction set.
func Parse(name string) (ISA, error) {
	for isa := Portable; isa <= AMX; isa++ {
		if name == isa.String() {
			return isa, nil
		}
	}
	return 0, fmt.Errorf("there is no kernel %q; this machine has %s", name, names())
}

// Use switches to an instruction set. It is meant for tests and benchmarks:
// no kernel may be running, and what PackB made before cannot be used after.
func Use(isa ISA) error {
	if !supported(isa) {
		return fmt.Errorf("this machine does not support the kernel %q; it has %s", isa, names())
	}
	use(isa)
	return nil
}

func use(isa ISA) {
	active, vectors = isa, min(isa, AVX512)
	if isa == AVXVNNI {
		vectors = AVX2
	}
	tile = tilings[vectors]
}

func best() ISA {
	all := Available()
	return all[len(all)-1]
}

func names() string {
	var all []string
	for _, isa := range Available() {
		all = append(all, isa.String())
	}
	return strings.Join(all, ", ")
}
