package modelfile

import "fmt"

// ReadBytes returns a tensor's bytes as they lie in the file.
func (g *GGUF) ReadBytes(name string) ([]byte, error) {
	info, ok := g.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("there is no tensor %s in the file", name)
	}
	b := make([]byte, info.Size)
	if _, err := g.r.ReadAt(b, info.Offset); err != nil {
		return nil, fmt.Errorf("tensor %s: %w", name, err)
	}
	return b, nil
}
