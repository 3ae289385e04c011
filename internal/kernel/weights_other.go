//go:build !amd64

package kernel

func (w *Weights) panel(m, n, kc int, a []float32, lda, at, j int, c []float32, ldc int, accumulate bool, s *Scratch) {
	w.panelWidened(m, n, kc, a, lda, at, j, c, ldc, accumulate, s)
}

// row leaves all panels to panel.
func (w *Weights) row(_ int, _ []float32, _, p, _ int, _ []float32, _ bool) int { return p }
