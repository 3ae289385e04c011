package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retort/internal/kernel"
	"retort/internal/machine"
	"retort/workspace"
)

func TestDoctorTellsOfMachineAndWorkspace(t *testing.T) {
	ws := filepath.Join(t.TempDir(), "w")
	r := retort(t, ws, "doctor")
	for _, want := range []string{kernel.Active().String(), "GFLOP/s", "memory", "disk", "synced write", ws, "which the first run will make", "all well"} {
		if r.code != exitDone || !strings.Contains(r.stdout, want) {
			t.Errorf("code %d, no %q:\n%s%s", r.code, want, r.stdout, r.stderr)
		}
	}
	if _, err := os.Stat(ws); err == nil {
		t.Error("looking made a workspace")
	}

	w, err := workspace.Open(ws)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := w.Lock("runs/mini-1")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	var d diagnosis
	r = retort(t, ws, "doctor", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || r.code != exitDone {
		t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	if len(d.Workspace.HeldBy) != 1 || d.Workspace.HeldBy[0].Holder.PID != os.Getpid() || d.Speed.All <= 0 || d.Memory.Total == 0 || d.Writes.Median <= 0 {
		t.Errorf("%+v", d)
	}
}

func TestDoctorPassesOnWhatNobodyMeasured(t *testing.T) {
	for _, caveat := range []string{"", "nobody has measured how fast these are"} {
		var out strings.Builder
		d := diagnosis{Processor: machine.Processor{Kernels: "neon", Caveat: caveat}}
		d.processor(t.Context(), &out)
		if got, want := strings.Contains(out.String(), "kernels    "+caveat), caveat != ""; got != want {
			t.Errorf("caveat %q:\n%s", caveat, &out)
		}
	}
}

// provider is a stub of a provider that lists one model and wants a key.
func provider(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Header.Get("Authorization") != "Bearer sesame":
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{"error":{"message":"wrong key","type":"invalid_request_error","code":"invalid_api_key"}}`))
		case r.URL.Path == "/v1/models":
			w.Write([]byte(`{"object":"list","data":[{"id":"m","object":"model"}]}`))
		default:
			t.Errorf("doctor sent %s %s, which may cost something", r.Method, r.URL.Path)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

func TestDoctorTriesTheKeyOfARecipesTeacher(t *testing.T) {
	base := provider(t)
	for _, c := range []struct {
		name, key string
		replace   []string
		code      int
		want      []string
	}{
		{"right key", "sesame", nil, exitDone, []string{"KEY works", "$1 in and $2 out", "self-hosted: allow", "all well"}},
		{"wrong key", "open", nil, exitFailed, []string{"wrong key", "next: correct"}},
		{"no key", "", nil, exitUsage, []string{"KEY is not set", "next: "}},
		{"another model", "sesame", []string{"model: m\n", "model: mm\n"}, exitFailed, []string{"mm", "next: "}},
		{"nobody there", "sesame", []string{base, "http://127.0.0.1:1/v1"}, exitFailed, []string{"127.0.0.1:1", "next: start the server"}},
		{"forbidden but for a decision", "sesame", []string{"model: m\n", "model: llama-2-7b\n", "  terms: self-hosted\n", "", "budget:", "terms: {overrides: [{row: llama-2, actions: [collect], basis: Contract 7}]}\nbudget:"}, exitFailed, []string{"llama-2: allow, on the basis of: override: Contract 7"}},
		{"forbidden", "sesame", []string{base, "https://api.openai.com/v1", "  terms: self-hosted\n", ""}, exitTerms, []string{"openai: block", "next: choose another teacher"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(teacherAt, "BASE", base, 1)
			text = strings.Replace(text, "  model: m\n", "  model: m\n  api_key_env: KEY\n", 1)
			file := write(t, text, c.replace...)
			r := withEnv(t, map[string]string{"KEY": c.key}, "--workspace", t.TempDir(), "doctor", file)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d: %s", r.code, c.code, r.stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("no %q:\n%s%s", want, r.stdout, r.stderr)
				}
			}
			if strings.Contains(r.stdout+r.stderr, "sesame") {
				t.Error("the key is shown")
			}
		})
	}
	if r := retort(t, t.TempDir(), "doctor", "../../recipes/quickstart.yaml"); r.code != exitDone || !strings.Contains(r.stdout, "built-in reference teacher") {
		t.Errorf("the built-in teacher: code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
