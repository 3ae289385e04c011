package model

import "retort/internal/kernel"

// head is the output head's place in a batch. Logits of a large vocabulary take
// more memory than all else, so they are held for a stretch of loss positions at a
// time, of which loss and gradient are taken before the next one.
type head struct {
	rows     int       // of the longest stretch
	ld       int       // how far apart they lie
	logits   []float32 // [rows, vocab], then their gradient
	from, to int       // loss positions of the current stretch
	step     int       // positions of each stretch of this batch but the last
	all      int       // positions of this batch
}

const (
	// stretchElements is how many logits are held where that is at least
	// stretchRows. Neither depends on the number of threads: sums over tokens are
	// taken stretch by stretch.
	stretchElements = 1 << 21
	stretchRows     = 4 * blockRows
	stretchUnit     = 2 * blockRows // so that two threads share it evenly
)

// stretch is the most rows that the head of a pass works on at once.
func stretch(vocab, maxTokens int) int {
	rows := max(stretchRows, stretchElements/vocab/stretchUnit*stretchUnit)
	return min(rows, blocks(maxTokens)*blockRows)
}

// begin sets the head before the first stretch of so many loss positions, which
// are divided about evenly.
func (h *head) begin(positions int) {
	h.from, h.to, h.all = 0, 0, positions
	if positions > 0 {
		n := (positions + h.rows - 1) / h.rows
		each := (positions + n - 1) / n
		h.step = min(h.rows, (each+stretchUnit-1)/stretchUnit*stretchUnit)
	}
}

// next goes to the next stretch and reports whether there is one.
func (h *head) next() bool {
	h.from, h.to = h.to, min(h.to+h.step, h.all)
	return h.from < h.to
}

func (h *head) blocks() int { return blocks(h.to - h.from) }

// logitsOf computes the logits of a block of the stretch.
func (p *Pass) logitsOf(part, worker int) { p.headBlock(part, worker) }

func (p *Pass) headBlock(part, worker int) (from, to int, logits []float32) {
	d, n, ld := p.ld.d, p.config.Hidden, p.head.ld
	from = p.head.from + part*blockRows
	to = min(from+blockRows, p.head.to)
	for i := from; i < to; i++ {
		x := p.last[int(p.lossAt[i])*d:][:n]
		p.finalRstd[i] = kernel.RMSNorm(p.final[i*d:][:n], x, p.w.norm, float32(p.config.NormEps))
	}
	logits = p.head.logits[(from-p.head.from)*ld:]
	kernel.GemmPackedSerial(to-from, p.final[from*d:], d, p.forward.head, logits, ld, false, p.pool.Scratch(worker))
	return from, to, logits
}

// lossOf replaces the logits of a block by the gradient of the mean loss, and
// keeps the loss.
func (p *Pass) lossOf(part, worker int) { p.lossBlock(part, worker) }

func (p *Pass) lossBlock(part, worker int) (from, to int, grad []float32) {
	from, to, grad = p.headBlock(part, worker)
	weight := 1 / float32(len(p.lossAt))
	for i := from; i < to; i++ {
		target, row := p.batch.Targets[p.lossAt[i]], grad[(i-from)*p.head.ld:][:p.config.VocabSize]
		if p.batch.Weigh == nil {
			p.losses[i] = kernel.CrossEntropy(row, int(target), weight)
			continue
		}
		p.losses[i] = kernel.CrossEntropy(row, int(target), 1)
		kernel.Scale(row, p.batch.Weigh(i, p.losses[i]))
	}
	return from, to, grad
}

// lossGradOf is lossOf that takes the gradient on to the residual stream.
func (p *Pass) lossGradOf(part, worker int) {
	from, to, grad := p.lossBlock(part, worker)
	d, n := p.ld.d, p.config.Hidden
	dxn := p.work[worker].dxn
	kernel.GemmPackedSerial(to-from, grad, p.head.ld, p.backward.head, dxn, d, false, p.pool.Scratch(worker))
	dw := p.finalPart(from / blockRows)
	for i := from; i < to; i++ {
		at := int(p.lossAt[i]) * d
		dx := p.flow.dx[at:][:n]
		p.normGradFrom(dx, dx, dw, dxn[(i-from)*d:][:n], p.last[at:][:n], p.w.norm, p.finalRstd[i])
	}
}

// addHeadGroup plans the gradient of the head over the stretch.
func (p *Pass) addHeadGroup() {
	d, h := p.config.Hidden, &p.head
	p.addGroup(p.g.head, p.config.VocabSize, h.logits, h.ld, d, p.final[h.from*p.ld.d:], p.ld.d, h.to-h.from)
}
