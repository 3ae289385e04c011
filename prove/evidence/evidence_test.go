package evidence_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"retort/prove/evidence"
	"retort/prove/evidence/evidencetest"
	"retort/workspace"
)

func pack(t testing.TB, o evidencetest.Options) ([]byte, *evidencetest.World) {
	t.Helper()
	w, err := evidencetest.Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	file, err := evidence.Build(w.Case)
	if err != nil {
		t.Fatal(err)
	}
	return file, w
}

func TestAPackVerifiesAndSaysWhatWasFound(t *testing.T) {
	for name, c := range map[string]struct {
		o     evidencetest.Options
		found bool
	}{
		"guilty":            {evidencetest.Options{Seed: 1, Coins: 400, Effect: 1, Campaigns: true}, true},
		"innocent":          {evidencetest.Options{Seed: 2, Coins: 300}, false},
		"guilty, text":      {evidencetest.Options{Seed: 3, Coins: 900, Accounts: 2, Effect: 0.7, Text: true}, true},
		"hashed, rotated":   {evidencetest.Options{Seed: 4, Coins: 400, Effect: 1, Disclosure: evidence.DiscloseHashed, Rotated: true}, true},
		"among others":      {evidencetest.Options{Seed: 11, Coins: 400, Effect: 1, Others: 3}, true},
		"more coins follow": {evidencetest.Options{Seed: 5, Coins: 400, Effect: 1, After: 30}, true},
	} {
		t.Run(name, func(t *testing.T) {
			file, w := pack(t, c.o)
			for _, key := range []string{w.First, w.Case.Keys.Public} {
				got, err := evidence.Verify(file, key, nil)
				if err != nil {
					t.Fatal(err)
				}
				r := got.Results
				if r.Findings[0].Found != c.found || !got.Rendered || !r.Stamp.Demonstration {
					t.Errorf("findings %+v, rendered %v, stamp %+v", r.Findings, got.Rendered, r.Stamp)
				}
				if f := r.Findings[0]; r.Examined != c.o.Others+1 || !c.o.Text && f.Subject == "" && math.Abs(f.LogP-math.Min(0, r.Outcomes[0].LogP+math.Log(float64(c.o.Others+1)))) > 1e-12 {
					t.Errorf("%d frames were examined: %+v", r.Examined, f)
				}
				if void := c.o.Coins / 17; r.Coins != c.o.Coins-void || r.Void["failed"] != void {
					t.Errorf("%d coins, void %v", r.Coins, r.Void)
				}
				for _, a := range r.Accounts() {
					fed := c.found && strings.HasSuffix(a.Subject, "0000")
					if fed != (a.LogP < math.Log(1e-4) || a.LogE > math.Log(1e4)) || fed && !a.Named {
						t.Errorf("fed: %v, %+v", fed, a)
					}
				}
				for _, control := range r.Controls(got.Frame) {
					if control.LogP < math.Log(1e-4) || control.LogE > math.Log(1e3) {
						t.Errorf("the control: %+v", control)
					}
				}
			}
			if secret := w.Key; bytes.Contains(file, []byte("PRIVATE")) || secret.Log() == "" {
				t.Error("the pack holds a secret key")
			}
			if c.o.Disclosure == evidence.DiscloseHashed && bytes.Contains(file, []byte("times")) && bytes.Contains(file, []byte("Work out")) {
				t.Error("a hashed pack holds a prompt")
			}
		})
	}
}

func TestAPackIsATarArchive(t *testing.T) {
	file, _ := pack(t, evidencetest.Options{Seed: 6, Coins: 20})
	r := tar.NewReader(bytes.NewReader(file))
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
	}
	if len(names) != 12 || names[0] != "manifest.json" || names[11] != "report.html" {
		t.Errorf("it holds %v", names)
	}
}

// bench/evidence flips 10,000.
func TestAnyFlippedBitIsNoticedAndItsPartNamed(t *testing.T) {
	file, w := pack(t, evidencetest.Options{Seed: 7, Coins: 12, Rotated: true})
	parts := []string{"archive"}
	r := tar.NewReader(bytes.NewReader(file))
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		parts = append(parts, h.Name)
	}
	flip := func(bit int) {
		file[bit/8] ^= 1 << (bit % 8)
		defer func() { file[bit/8] ^= 1 << (bit % 8) }()
		_, err := evidence.Verify(file, w.Case.Keys.Public, nil)
		var f *evidence.Failure
		if !errors.As(err, &f) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		for _, p := range parts {
			if f.Part == p {
				return
			}
		}
		t.Fatalf("bit %d of byte %d: the part is %q", bit%8, bit/8, f.Part)
	}
	n := len(file) * 8
	step := n/1_500 | 1
	for bit := 0; bit < n; bit += step {
		flip(bit)
	}
	for _, cutOff := range []int{0, 1, 511, 512, len(file) / 2, len(file) - 1} {
		if _, err := evidence.Verify(file[:cutOff], w.Case.Keys.Public, nil); err == nil {
			t.Errorf("its first %d bytes verify", cutOff)
		}
	}
	if _, err := evidence.Verify(append(bytes.Clone(file), 0), w.Case.Keys.Public, nil); err == nil {
		t.Error("it verifies with another byte behind it")
	}
}

func TestAnotherKeyDoesNotVerify(t *testing.T) {
	file, _ := pack(t, evidencetest.Options{Seed: 8, Coins: 12})
	_, other := pack(t, evidencetest.Options{Seed: 9, Coins: 12})
	for _, key := range []string{other.Case.Keys.Public, "", "x+1234+y"} {
		if _, err := evidence.Verify(file, key, nil); err == nil {
			t.Errorf("the key %q verifies it", key)
		}
	}
}

func TestKeysAreMadeOnceAndRotated(t *testing.T) {
	ws, err := workspace.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.OpenKeys(ws); err == nil || !strings.Contains(err.Error(), "keygen") {
		t.Errorf("without a key: %v", err)
	}
	a, err := evidence.Keygen(ws, "retort.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.Keygen(ws, "retort.example"); err == nil {
		t.Error("a second key in place of the first")
	}
	for range 2 {
		if _, err := evidence.Rotate(ws); err != nil {
			t.Fatal(err)
		}
	}
	b, err := evidence.OpenKeys(ws)
	if err != nil || b.Public == a.Public || len(b.Rotations) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
	if err := workspace.WriteFileAtomic(ws.Path("evidence.key"), []byte("PRIVATE+KEY+secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.OpenKeys(ws); err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a damaged key: %v", err)
	}
}
