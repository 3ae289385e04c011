package base

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheCardNamesTheLicence(t *testing.T) {
	for card, want := range map[string]string{
		"---\nlicense: apache-2.0\ntags: [x]\n---\n# A model\n":   "apache-2.0",
		"---\r\nlicense: mit\r\n---\r\ntext":                      "mit",
		"---\nlicense: other\nlicense_name: qwen-research\n---\n": "qwen-research",
		"---\nlicense: other\n---\n":                              "other",
		"---\nlicense: [mit, apache-2.0]\n---\n":                  "",
		"---\nlicense: {\n---\n":                                  "",
		"# A model\nlicense: mit\n":                               "",
		"---\nlicense: mit\n":                                     "",
		"":                                                        "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, cardFile), []byte(card), 0o644); err != nil {
			t.Fatal(err)
		}
		var b Base
		if err := b.readCard(dir); err != nil || b.License != want {
			t.Errorf("%q names %q (%v), want %q", card, b.License, err, want)
		}
	}
	var b Base
	if err := b.readCard(t.TempDir()); err != nil || b.License != "" {
		t.Errorf("a directory without a card names %q (%v)", b.License, err)
	}
}
