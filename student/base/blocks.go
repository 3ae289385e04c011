package base

import (
	"retort/internal/kernel"
	"retort/student/model"
)

var _ model.BlockSource = (*Base)(nil)

// blockFiles are files that may hold matrices in blocks.
type blockFiles interface {
	source
	// BlockType is that of a matrix that lies in blocks that kernels compute with, or 0.
	BlockType(name string) kernel.BlockType
	// Blocks are such a matrix's bytes.
	Blocks(name string) ([]byte, error)
}

// InBlocks reports whether matrices lie in blocks that kernels compute with, as those
// of a quantised GGUF file do.
func (b *Base) InBlocks() bool {
	files, ok := b.files.(blockFiles)
	if !ok || b.Model != nil {
		return false
	}
	for _, t := range b.config.Tensors() {
		if files.BlockType(t.Name) != 0 {
			return true
		}
	}
	return false
}

// Blocks implements model.BlockSource. What was read whole (Read) has become numbers.
func (b *Base) Blocks(name string, shape []int) (kernel.BlockType, []byte, error) {
	files, ok := b.files.(blockFiles)
	if !ok || b.Model != nil {
		return 0, nil, nil
	}
	if err := b.has(name, shape); err != nil {
		return 0, nil, err
	}
	t := files.BlockType(name)
	if t == 0 {
		return 0, nil, nil
	}
	rows, err := files.Blocks(name)
	if err == nil && b.halves && rotated(name) {
		interleave(rows, b.config.RopeDim, len(rows)/shape[0])
	}
	return t, rows, err
}

// BlockType implements blockFiles. Whole blocks make up a matrix's rows (modelfile).
func (s ggufSource) BlockType(name string) kernel.BlockType {
	info, _ := s.Lookup(ggufName(name))
	if t, ok := kernel.ParseBlockType(string(info.Type)); ok && len(info.Shape) == 2 {
		return t
	}
	return 0
}

// Blocks implements blockFiles.
func (s ggufSource) Blocks(name string) ([]byte, error) { return s.ReadBytes(ggufName(name)) }
