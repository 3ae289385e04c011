package kernel

import "fmt"

// NewBlockWeights packs the right operand of x·Bᵀ, B [n, k] as a file holds it: rows of
// blocks. The elements stay what they are, and rows of A are rounded to 8 bits, with a
// scale for each 32 columns, so that products are sums of integers.
func NewBlockWeights(t BlockType, n, k int, rows []byte) *Weights {
	return new(Room).BlockWeights(t, n, k, rows)
}

// BlockWeights is NewBlockWeights with the panels in the room.
func (r *Room) BlockWeights(t BlockType, n, k int, rows []byte) *Weights {
	size, whole := t.RowBytes(k)
	if !whole || len(rows) != n*size {
		panic(fmt.Sprintf("kernel: %d bytes are no [%d, %d] in %v", len(rows), n, k, t))
	}
	b := &blockTypes[t]
	w := &Weights{n: n, k: k, format: FormatBlocks, kind: b.kind}
	w.step = w.kind.panelBytes(k / blockK32)
	w.blocks = r.take((n + blockRows - 1) / blockRows * w.step)
	read := make([]blockRow, b.elements/blockK32)
	for i := range n {
		panel, row := w.blockPanel(i/blockRows), rows[i*size:(i+1)*size]
		for at := 0; at < k/blockK32; at += len(read) {
			b.read(read, row)
			row = row[b.bytes:]
			for j := range read {
				w.kind.put(panel, at+j, i%blockRows, &read[j])
			}
		}
	}
	return w
}

func (w *Weights) blockPanel(p int) []byte { return w.blocks[p*w.step : (p+1)*w.step] }

// Row sets dst [k] to row i of blocks.
func (w *Weights) Row(dst []float32, i int) {
	if w.format != FormatBlocks {
		panic(fmt.Sprintf("kernel: a row of weights in %v", w.format))
	}
	same(len(dst), w.k)
	w.kind.row(dst, w.blockPanel(i/blockRows), i%blockRows)
}

// multiplyBlocks is Multiply for blocks: of each, products of integers are summed, and
// sums are multiplied with both scales and added, in order.
func (w *Weights) multiplyBlocks(m int, a []float32, lda int, from, to int, c []float32, ldc int, accumulate bool, s *Scratch) {
	blocks := w.k / blockK32
	rows, ld := s.roundRows(m, blocks, a, lda)
	p, whole := from/blockRows, to/blockRows
	if p < whole {
		multiplyBlocks(w.kind, m, whole-p, blocks, rows, ld, w.blocks[p*w.step:whole*w.step], w.step, c[p*blockRows:], ldc, accumulate, s)
	}
	if n := to % blockRows; n > 0 {
		s.edge = grow(s.edge, m*blockRows)
		multiplyBlocks(w.kind, m, 1, blocks, rows, ld, w.blockPanel(whole), w.step, s.edge, blockRows, false, s)
		for i := range m {
			row := c[i*ldc+whole*blockRows:][:n]
			if accumulate {
				Add(row, row, s.edge[i*blockRows:][:n])
			} else {
				copy(row, s.edge[i*blockRows:])
			}
		}
	}
}

// multiplyBlocksPortable sets or adds to C [m, 16·panels] the product of rounded rows,
// lda blocks apart, and panels.
func multiplyBlocksPortable(k blockKind, m, panels, blocks int, a []roundedBlock, lda int, w []byte, step int, c []float32, ldc int, accumulate bool) {
	for p := range panels {
		panel := w[p*step:][:step]
		for i := range m {
			to := c[i*ldc+p*blockRows:][:blockRows]
			for r := range to {
				sum := float32(0)
				for b := range blocks {
					x := &a[i*lda+b]
					at, _ := k.at(b)
					var dot [2]int32
					for j, q := range x.codes {
						dot[j/16] += int32(q) * k.code(panel[at:], r, j)
					}
					scale, shift := k.scales(panel, b, r)
					if blockKinds[k].twice {
						sum += float32(float32(scale[0]*x.scale) * float32(dot[0]))
						sum += float32(float32(scale[1]*x.scale) * float32(dot[1]))
						continue
					}
					sum += float32(float32(scale[0]*x.scale) * float32(dot[0]+dot[1]))
					sum += float32(shift * x.sum)
				}
				if accumulate {
					sum += to[r]
				}
				to[r] = sum
			}
		}
	}
}
