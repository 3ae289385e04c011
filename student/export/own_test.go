package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/internal/modelfile"
)

// testdata/own.json are the SHA-256 of what was written of small students of our own
// when there was no other kind: their files stay as they are, since people compare
// them by hash.
func TestFilesOfOurOwnStudentsStayAsTheyAre(t *testing.T) {
	const golden = "testdata/own.json"
	got := map[string]string{}
	for name := range configs(0) {
		for kind, opt := range map[string]Options{
			"":        {Formats: []Format{GGUF}, Lineage: lineage()},
			"-f16":    {Formats: []Format{GGUF}, GGUFType: modelfile.F16},
			"-legacy": {Formats: []Format{GGUF}, GGUFLayout: Legacy},
		} {
			dir, _, _ := write(t, name, opt)
			for file, data := range readAll(t, dir) {
				sum := sha256.Sum256([]byte(data))
				got[name+kind+"/"+file] = hex.EncodeToString(sum[:])
			}
		}
	}
	if os.Getenv("RETORT_REWRITE") != "" {
		text, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files differ:\n%s", d)
	}
}
