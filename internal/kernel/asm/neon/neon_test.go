package main

import (
	"os"
	"strings"
	"testing"
)

// TestEncodings holds each word against what LLVM's assembler makes of the same
// instruction.
func TestEncodings(t *testing.T) {
	for _, c := range []struct {
		want  string
		write func(t *text)
	}{
		{"WORD $0x4e3fd441 // FADD V1.4S, V2.4S, V31.4S", func(t *text) { t.fadd(1, 2, 31) }},
		{"WORD $0x6e3fd441 // FADDP V1.4S, V2.4S, V31.4S", func(t *text) { t.faddp(1, 2, 31) }},
		{"WORD $0x4ebfd441 // FSUB V1.4S, V2.4S, V31.4S", func(t *text) { t.fsub(1, 2, 31) }},
		{"WORD $0x6e3fdc41 // FMUL V1.4S, V2.4S, V31.4S", func(t *text) { t.fmul(1, 2, 31) }},
		{"WORD $0x6e3ffc41 // FDIV V1.4S, V2.4S, V31.4S", func(t *text) { t.fdiv(1, 2, 31) }},
		{"WORD $0x4e3ff441 // FMAX V1.4S, V2.4S, V31.4S", func(t *text) { t.fmax(1, 2, 31) }},
		{"WORD $0x6e3ff441 // FMAXP V1.4S, V2.4S, V31.4S", func(t *text) { t.fmaxp(1, 2, 31) }},
		{"WORD $0x4ebff441 // FMIN V1.4S, V2.4S, V31.4S", func(t *text) { t.fmin(1, 2, 31) }},
		{"WORD $0x6ebfe441 // FCMGT V1.4S, V2.4S, V31.4S", func(t *text) { t.fcmgt(1, 2, 31) }},
		{"WORD $0x4e7f1c41 // BIC V1.16B, V2.16B, V31.16B", func(t *text) { t.bic(1, 2, 31) }},
		{"WORD $0x6ea0fbe1 // FNEG V1.4S, V31.4S", func(t *text) { t.fneg(1, 31) }},
		{"WORD $0x6ea1fbe1 // FSQRT V1.4S, V31.4S", func(t *text) { t.fsqrt(1, 31) }},
		{"WORD $0x4e218be1 // FRINTN V1.4S, V31.4S", func(t *text) { t.frintn(1, 31) }},
		{"WORD $0x4e21abe1 // FCVTNS V1.4S, V31.4S", func(t *text) { t.fcvtns(1, 31) }},
		{"WORD $0x4f3f07e1 // SSHR V1.4S, V31.4S, #1", func(t *text) { t.half(1, 31) }},
		{"WORD $0x4f9f1041 // FMLA V1.4S, V2.4S, V31.S[0]", func(t *text) { t.fmlaElement(1, 2, 31, 0) }},
		{"WORD $0x4fbf1041 // FMLA V1.4S, V2.4S, V31.S[1]", func(t *text) { t.fmlaElement(1, 2, 31, 1) }},
		{"WORD $0x4f9f1841 // FMLA V1.4S, V2.4S, V31.S[2]", func(t *text) { t.fmlaElement(1, 2, 31, 2) }},
		{"WORD $0x4fbf1841 // FMLA V1.4S, V2.4S, V31.S[3]", func(t *text) { t.fmlaElement(1, 2, 31, 3) }},
	} {
		w := new(text)
		c.write(w)
		if got := strings.TrimSpace(w.asm.String()); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	w := generate()
	for file, want := range map[string]string{"kernels_arm64.s": w.asm.String(), "stubs_arm64.go": w.stubs.String()} {
		got, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the generator writes; run go generate", file)
		}
	}
}
