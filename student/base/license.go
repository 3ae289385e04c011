package base

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// cardFile is a Hugging Face directory's model card; the licence stands in its
// front matter.
const cardFile = "README.md"

// readCard reads the licence that the model card names. A card that is not there,
// or has no front matter, names none.
func (b *Base) readCard(dir string) error {
	data, err := readFile(filepath.Join(dir, cardFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	rest, ok := strings.CutPrefix(text, "---\n")
	matter, _, closed := strings.Cut(rest, "\n---")
	if !ok || !closed {
		return nil
	}
	var card struct {
		License any    `yaml:"license"` // a list, in some cards
		Name    string `yaml:"license_name"`
	}
	if yaml.Unmarshal([]byte(matter), &card) != nil {
		return nil // a card is written for people
	}
	if b.License, _ = card.License.(string); b.License == "other" && card.Name != "" {
		b.License = card.Name
	}
	return nil
}
