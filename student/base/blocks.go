package base

import (
	"retort/internal/kernel"
	"retort/student/model"
)

var _ model.BlockSource = (*Base)(nil)

// blockFiles are files that may hold matrices in blocks.
type blockFiles interface {
	source
	// Blocks are a tensor's bytes if it lies in blocks that kernels compute with.
	Blocks(name string) (kernel.BlockType, []byte, error)
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
	t, rows, err := files.Blocks(name)
	if t != 0 && b.halves && rotated(name) {
		interleave(rows, b.config.RopeDim, len(rows)/shape[0])
	}
	return t, rows, err
}

// Blocks are those of a matrix; whole blocks make up its rows (modelfile).
func (s ggufSource) Blocks(name string) (kernel.BlockType, []byte, error) {
	info, _ := s.Lookup(ggufName(name))
	t, ok := kernel.ParseBlockType(string(info.Type))
	if !ok || len(info.Shape) != 2 {
		return 0, nil, nil
	}
	rows, err := s.ReadBytes(info.Name)
	if err != nil {
		return 0, nil, err
	}
	return t, rows, nil
}
