package kernel

import "math/bits"

// Dropout sets dst to x with each element replaced by 0 with a chance of share/65,536,
// and the others multiplied by the inverse of the chance that they stay, so that the
// mean is x (Srivastava et al., JMLR 15, 2014, section 10: "inverted"). What is dropped is
// a function of key, share and the element's place alone. share is below 65,536.
func Dropout(dst, x []float32, share uint16, key uint64) {
	same(len(dst), len(x))
	const whole = 1 << 16
	stay := float32(whole / float64(whole-int(share)))
	for i := 0; i < len(x); i += 4 {
		draw := mix(key, uint64(i)) // four draws of 16 bits
		for j := i; j < min(i+4, len(x)); j++ {
			v := x[j] * stay
			if uint16(draw) < share {
				v = 0
			}
			dst[j] = v
			draw >>= 16
		}
	}
}

// mix hashes two numbers by wyhash's step of two multiplications
// (github.com/wangyi-fudan/wyhash, wyhash64).
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	hi, lo = bits.Mul64(hi^0x8ebc6af09c88c6e3, lo^0x589965cc75374cc3)
	return hi ^ lo
}

// DropoutKey names the draws of one row from those of all: numbers that tell it apart.
func DropoutKey(parts ...uint64) uint64 {
	var key uint64
	for _, p := range parts {
		key = mix(key+1, p)
	}
	return key
}
