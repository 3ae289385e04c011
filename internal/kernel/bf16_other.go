//go:build !amd64

package kernel

// Without instructions for bfloat16 its products are those of rounded float32,
// and nothing of the following is called.

func convertRows([]uint16, int, []float32, int, int, int) { panic("kernel: no bfloat16") }
func pairRows([]uint32, int, []float32, int, int, int)    { panic("kernel: no bfloat16") }
func transpose([]uint32, int, []uint32, int, int, int)    { panic("kernel: no bfloat16") }

func multiplyPairs(m, n, k2 int, a []uint16, lda int, b []uint16, c []float32, ldc int, accumulate bool) {
	panic("kernel: no bfloat16")
}

func multiplyTiles(blocks, panels int, c *chainBF16, from, to []float32, ldc int) {
	panic("kernel: no bfloat16")
}
