package commit

import (
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Tree is the RFC 6962 Merkle tree over the log's leaves. Its zero value is empty.
type Tree struct {
	levels [][][]byte // hashes of perfect subtrees, leaves first
}

// Append adds a leaf's bytes.
func (t *Tree) Append(leaf []byte) {
	hash := rfc6962.DefaultHasher.HashLeaf(leaf)
	for level := 0; ; level++ {
		if level == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[level] = append(t.levels[level], hash)
		n := len(t.levels[level])
		if n%2 == 1 {
			return
		}
		hash = rfc6962.DefaultHasher.HashChildren(t.levels[level][n-2], hash)
	}
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 {
	if len(t.levels) == 0 {
		return 0
	}
	return uint64(len(t.levels[0]))
}

// Root returns the root of the tree's first size leaves.
func (t *Tree) Root(size uint64) ([]byte, error) {
	if size > t.Size() {
		return nil, fmt.Errorf("the log has %d leaves, not %d", t.Size(), size)
	}
	if size == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	hashes := t.nodes(compact.RangeNodes(0, size, nil))
	root := hashes[len(hashes)-1]
	for i := len(hashes) - 2; i >= 0; i-- {
		root = rfc6962.DefaultHasher.HashChildren(hashes[i], root)
	}
	return root, nil
}

// Inclusion proves that a leaf is among the first size ones.
func (t *Tree) Inclusion(index, size uint64) ([][]byte, error) {
	if index >= size || size > t.Size() {
		return nil, fmt.Errorf("leaf %d of %d: the log has %d leaves", index, size, t.Size())
	}
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("inclusion proof: %w", err)
	}
	return nodes.Rehash(t.nodes(nodes.IDs), rfc6962.DefaultHasher.HashChildren)
}

// Consistency proves that the first small leaves are those of the first large ones.
func (t *Tree) Consistency(small, large uint64) ([][]byte, error) {
	if small > large || large > t.Size() {
		return nil, fmt.Errorf("consistency of %d and %d leaves: the log has %d", small, large, t.Size())
	}
	nodes, err := proof.Consistency(small, large)
	if err != nil {
		return nil, fmt.Errorf("consistency proof: %w", err)
	}
	return nodes.Rehash(t.nodes(nodes.IDs), rfc6962.DefaultHasher.HashChildren)
}

func (t *Tree) nodes(ids []compact.NodeID) [][]byte {
	out := make([][]byte, len(ids))
	for i, id := range ids {
		out[i] = t.levels[id.Level][id.Index]
	}
	return out
}

// CheckInclusion checks what Inclusion proves against the root of size leaves.
func CheckInclusion(leaf []byte, index, size uint64, path [][]byte, root []byte) error {
	return proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, rfc6962.DefaultHasher.HashLeaf(leaf), path, root)
}

// CheckConsistency checks what Consistency proves against both roots.
func CheckConsistency(small, large uint64, path [][]byte, rootSmall, rootLarge []byte) error {
	return proof.VerifyConsistency(rfc6962.DefaultHasher, small, large, path, rootSmall, rootLarge)
}
