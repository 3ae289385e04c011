package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSmallRefusesWhatIsLarger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadSmall(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("a file of the bound gives %q, %v", data, err)
	}
	if _, err := ReadSmall(path, 4); err == nil || !strings.Contains(err.Error(), "larger than 4 bytes") {
		t.Errorf("a larger file gives %v", err)
	}
	if _, err := ReadSmall(path+"x", 4); !os.IsNotExist(err) {
		t.Errorf("an absent file gives %v", err)
	}
}
