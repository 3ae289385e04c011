package kernel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestMain lets the test binary report, as a child, what it chose at start-up.
func TestMain(m *testing.M) {
	if os.Getenv("KERNEL_TEST_REPORT") != "" {
		fmt.Printf("%v|%v", Active(), Err())
		return
	}
	os.Exit(m.Run())
}

func chosen(t *testing.T, env string) (isa, err string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KERNEL_TEST_REPORT=1", EnvVar+"="+env)
	out, fail := cmd.Output()
	if fail != nil {
		t.Fatalf("running %s: %v", os.Args[0], fail)
	}
	isa, err, _ = strings.Cut(string(out), "|")
	return isa, err
}

func TestEnvironmentForcesAnISA(t *testing.T) {
	all := Available()
	if isa, err := chosen(t, ""); isa != all[len(all)-1].String() || err != "<nil>" {
		t.Errorf("without %s: %s, %s", EnvVar, isa, err)
	}
	for _, want := range all {
		if isa, err := chosen(t, want.String()); isa != want.String() || err != "<nil>" {
			t.Errorf("%s=%v: %s, %s", EnvVar, want, isa, err)
		}
	}
	if _, err := chosen(t, "sse9"); !strings.Contains(err, EnvVar) || !strings.Contains(err, "sse9") || !strings.Contains(err, "portable") {
		t.Errorf("%s=sse9: the error is %q", EnvVar, err)
	}
}

func TestUnsupportedISAIsRefused(t *testing.T) {
	was := Active()
	if err := Use(ISA(9)); err == nil || Active() != was {
		t.Errorf("Use(9): %v, now %v", err, Active())
	}
}

func TestPoolRefusesAnImpossibleChoice(t *testing.T) {
	envErr = fmt.Errorf("no such kernel")
	defer func() { envErr = nil }()
	panics(t, "NewPool", func() { NewPool(1) })
}

// TestGeneratedFilesAreCurrent runs the generator as go generate does.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generator")
	}
	dir := t.TempDir()
	generator := filepath.Join(dir, "asm")
	if runtime.GOOS == "windows" {
		generator += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", generator, "./asm").CombinedOutput(); err != nil {
		t.Fatalf("building the generator: %v\n%s", err, out)
	}
	files := []string{"kernels_amd64.s", "stubs_amd64.go", "bf16_amd64.s", "bf16_stubs_amd64.go", "blocks_amd64.s", "blocks_stubs_amd64.go"}
	cmd := exec.Command(generator, "-out", files[0], "-stubs", files[1], "-pkg", "kernel")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generating: %v\n%s", err, out)
	}
	for _, file := range files {
		want, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator writes; run go generate", file)
		}
	}
}
