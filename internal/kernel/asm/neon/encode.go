package main

import "fmt"

// gp is a general register by its number. R18 and R27 to R30 belong to the
// operating system, the assembler and the runtime.
type gp int

func (r gp) String() string { return fmt.Sprintf("R%d", int(r)) }

// vec is a vector register by its number; as a scalar or as a whole it is called
// F in loads, stores and moves.
type vec int

func (v vec) String() string { return fmt.Sprintf("V%d", int(v)) }

// The instructions that Go's assembler does not know, with d, n and m as the
// manual has them: d is the destination. Encodings: Arm Architecture Reference
// Manual for A-profile, sections C4.1 (advanced SIMD) and C7.2, for 4 lanes of
// 32 bits.
var opcodes = map[string]uint32{
	"FADD":   0x4e20d400,
	"FADDP":  0x6e20d400,
	"FSUB":   0x4ea0d400,
	"FMUL":   0x6e20dc00,
	"FDIV":   0x6e20fc00,
	"FMAX":   0x4e20f400,
	"FMAXP":  0x6e20f400,
	"FMIN":   0x4ea0f400,
	"FCMGT":  0x6ea0e400,
	"BIC":    0x4e601c00,
	"FNEG":   0x6ea0f800,
	"FSQRT":  0x6ea1f800,
	"FRINTN": 0x4e218800,
	"FCVTNS": 0x4e21a800,
	"SSHR1":  0x4f3f0400, // by one bit
	"FMLAE":  0x4f801000, // by an element
}

func (t *text) word(code uint32, format string, args ...any) {
	t.op("WORD $0x%08x // %s", code, fmt.Sprintf(format, args...))
}

// three is an instruction of two sources.
func (t *text) three(name string, d, n, m vec) {
	lanes := "4S"
	if name == "BIC" {
		lanes = "16B"
	}
	t.word(opcodes[name]|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s %[3]v.%[2]s, %[4]v.%[2]s, %[5]v.%[2]s", name, lanes, d, n, m)
}

// two is an instruction of one source.
func (t *text) two(name string, d, n vec) {
	t.word(opcodes[name]|uint32(n)<<5|uint32(d), "%s %v.4S, %v.4S", name, d, n)
}

func (t *text) fadd(d, n, m vec)  { t.three("FADD", d, n, m) }
func (t *text) faddp(d, n, m vec) { t.three("FADDP", d, n, m) } // sums of neighbours
func (t *text) fsub(d, n, m vec)  { t.three("FSUB", d, n, m) }
func (t *text) fmul(d, n, m vec)  { t.three("FMUL", d, n, m) }
func (t *text) fdiv(d, n, m vec)  { t.three("FDIV", d, n, m) }
func (t *text) fmax(d, n, m vec)  { t.three("FMAX", d, n, m) } // a NaN stays, here and in the next two
func (t *text) fmaxp(d, n, m vec) { t.three("FMAXP", d, n, m) }
func (t *text) fmin(d, n, m vec)  { t.three("FMIN", d, n, m) }
func (t *text) fcmgt(d, n, m vec) { t.three("FCMGT", d, n, m) } // all ones where n > m
func (t *text) bic(d, n, m vec)   { t.three("BIC", d, n, m) }   // n and not m
func (t *text) fneg(d, n vec)     { t.two("FNEG", d, n) }
func (t *text) fsqrt(d, n vec)    { t.two("FSQRT", d, n) }
func (t *text) frintn(d, n vec)   { t.two("FRINTN", d, n) } // to the nearest whole number
func (t *text) fcvtns(d, n vec)   { t.two("FCVTNS", d, n) } // the same as an integer

// half halves integers, rounding down.
func (t *text) half(d, n vec) {
	t.word(opcodes["SSHR1"]|uint32(n)<<5|uint32(d), "SSHR %v.4S, %v.4S, #1", d, n)
}

// fmlaElement adds to d the products of n with one lane of m.
func (t *text) fmlaElement(d, n, m vec, lane int) {
	high, low := uint32(lane>>1), uint32(lane&1)
	t.word(opcodes["FMLAE"]|low<<21|uint32(m)<<16|high<<11|uint32(n)<<5|uint32(d), "FMLA %v.4S, %v.4S, %v.S[%d]", d, n, m, lane)
}

// The others, in the manual's order too.

func (t *text) zero(x vec)       { t.op("VEOR %v.B16, %v.B16, %v.B16", x, x, x) }
func (t *text) fmla(d, n, m vec) { t.op("VFMLA %v.S4, %v.S4, %v.S4", m, n, d) } // d + n·m
func (t *text) fmls(d, n, m vec) { t.op("VFMLS %v.S4, %v.S4, %v.S4", m, n, d) } // d - n·m
func (t *text) addInt(d, n, m vec) {
	t.op("VADD %v.S4, %v.S4, %v.S4", m, n, d)
}
func (t *text) subInt(d, n, m vec) {
	t.op("VSUB %v.S4, %v.S4, %v.S4", m, n, d)
}
func (t *text) shiftLeft(d, n vec, by int) { t.op("VSHL $%d, %v.S4, %v.S4", by, n, d) }
