package base

import (
	"retort/internal/kernel"
	"retort/internal/modelfile"
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

// blockType is that of a matrix, or of matrices side by side, that lie in blocks that
// kernels compute with. Whole blocks make up their rows (modelfile).
func blockType(info modelfile.Info) kernel.BlockType {
	if t, ok := kernel.ParseBlockType(string(info.Type)); ok && len(info.Shape) >= 2 {
		return t
	}
	return 0
}

// BlockType implements blockFiles.
func (s ggufSource) BlockType(name string) kernel.BlockType {
	info, _ := s.Lookup(ggufName(name))
	return blockType(info)
}

// Blocks implements blockFiles.
func (s ggufSource) Blocks(name string) ([]byte, error) {
	info, _ := s.Lookup(ggufName(name))
	rows := make([]byte, info.Size)
	return rows, s.ReadBytes(info.Name, 0, rows)
}

// BlockType implements blockFiles. The latent's up-projection is multiplied with in both
// directions, for which blocks are no help.
func (s latentSource) BlockType(name string) kernel.BlockType {
	if _, _, parted := s.upProjection(name); parted {
		return 0
	}
	file, _ := s.place(name)
	info, _ := s.Lookup(file)
	return blockType(info)
}

// Blocks implements blockFiles.
func (s latentSource) Blocks(name string) ([]byte, error) {
	file, expert := s.place(name)
	info, _ := s.Lookup(file)
	if expert < 0 {
		rows := make([]byte, info.Size)
		return rows, s.ReadBytes(file, 0, rows)
	}
	rows := make([]byte, info.Size/int64(s.config.RoutedExperts))
	return rows, s.ReadBytes(file, int64(expert*len(rows)), rows)
}
