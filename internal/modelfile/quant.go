package modelfile

import (
	"encoding/binary"
	"math"
)

// blockType is how a type's elements lie in a file: so many at a time share their
// bytes, as ggml lays them out (ggml-common.h, ggml-quants.c). decode fills dst, whole
// blocks, from their bytes. encode writes the blocks of x and returns how many
// elements it could; a type without it is not written. Products are rounded to float32
// one by one, as there.
type blockType struct {
	elements, bytes int
	decode          func(dst []float32, b []byte)
	encode          func(b []byte, x []float32) (done int)
}

var blockTypes = map[Type]blockType{
	F32:    {1, 4, decodeF32, encodeF32},
	F16:    {1, 2, decodeF16, encodeF16},
	BF16:   {1, 2, decodeBF16, encodeBF16},
	Q4_0:   {32, 18, decoder(32, 18, decodeQ4_0), encoder(18, encodeQ4_0)},
	Q4_1:   {32, 20, decoder(32, 20, decodeQ4_1), encoder(20, encodeQ4_1)},
	"Q5_0": {32, 22, decoder(32, 22, decodeQ5_0), nil},
	"Q5_1": {32, 24, decoder(32, 24, decodeQ5_1), nil},
	Q8_0:   {32, 34, decoder(32, 34, decodeQ8_0), encoder(34, encodeQ8_0)},
	"Q4_K": {256, 144, decoder(256, 144, decodeQ4_K), nil},
	"Q5_K": {256, 176, decoder(256, 176, decodeQ5_K), nil},
	"Q6_K": {256, 210, decoder(256, 210, decodeQ6_K), nil},
}

// decoder decodes block by block.
func decoder(elements, bytes int, one func(dst []float32, b []byte)) func([]float32, []byte) {
	return func(dst []float32, b []byte) {
		for ; len(dst) > 0; dst, b = dst[elements:], b[bytes:] {
			one(dst[:elements], b[:bytes])
		}
	}
}

func decodeF32(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

func decodeF16(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = fromF16(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

func decodeBF16(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16)
	}
}

func half(b []byte) float32 { return fromF16(binary.LittleEndian.Uint16(b)) }

// nibbles sets dst to the values of the halves of 16 bytes: low halves are elements 0 to 15.
func nibbles(dst []float32, qs []byte, value func(q byte, i int) float32) {
	for i, q := range qs[:16] {
		dst[i] = value(q&0xf, i)
		dst[i+16] = value(q>>4, i+16)
	}
}

func decodeQ4_0(dst []float32, b []byte) {
	d := half(b)
	nibbles(dst, b[2:], func(q byte, _ int) float32 { return d * float32(int(q)-8) })
}

func decodeQ4_1(dst []float32, b []byte) {
	d, m := half(b), half(b[2:])
	nibbles(dst, b[4:], func(q byte, _ int) float32 { return float32(d*float32(q)) + m })
}

func decodeQ5_0(dst []float32, b []byte) {
	d, high := half(b), binary.LittleEndian.Uint32(b[2:])
	nibbles(dst, b[6:], func(q byte, i int) float32 { return d * float32(int(q)|int(high>>i&1)<<4-16) })
}

func decodeQ5_1(dst []float32, b []byte) {
	d, m, high := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	nibbles(dst, b[8:], func(q byte, i int) float32 { return float32(d*float32(int(q)|int(high>>i&1)<<4)) + m })
}

func decodeQ8_0(dst []float32, b []byte) {
	d := half(b)
	for i := range dst[:32] {
		dst[i] = d * float32(int8(b[2+i]))
	}
}

// scaleMin unpacks the j-th of 8 six-bit scales and minima from 12 bytes.
func scaleMin(j int, s []byte) (scale, least float32) {
	if j < 4 {
		return float32(s[j] & 63), float32(s[j+4] & 63)
	}
	return float32(s[j+4]&0xf | s[j-4]>>6<<4), float32(s[j+4]>>4 | s[j]>>6<<4)
}

func decodeQ4_K(dst []float32, b []byte) {
	d, least := half(b), half(b[2:])
	for j := range 8 { // 32 elements each, two of them in the halves of the same bytes
		sc, mn := scaleMin(j, b[4:16])
		scale, shift := d*sc, least*mn
		qs := b[16+j/2*32:][:32]
		for i, q := range qs {
			dst[j*32+i] = float32(scale*float32(q>>(4*(j%2))&0xf)) - shift
		}
	}
}

func decodeQ5_K(dst []float32, b []byte) {
	d, least := half(b), half(b[2:])
	high := b[16:48]
	for j := range 8 {
		sc, mn := scaleMin(j, b[4:16])
		scale, shift := d*sc, least*mn
		qs := b[48+j/2*32:][:32]
		for i, q := range qs {
			dst[j*32+i] = float32(scale*float32(q>>(4*(j%2))&0xf|high[i]>>j&1<<4)) - shift
		}
	}
}

func decodeQ6_K(dst []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for j := range 8 { // 32 elements each
		part, k := j/4, j%4 // of 128 elements; of those
		for i := range 32 {
			q := low[part*64+k%2*32+i] >> (4 * (k / 2)) & 0xf
			q |= high[part*32+i] >> (2 * k) & 3 << 4
			scale := float32(int8(scales[part*8+k*2+i/16]))
			dst[j*32+i] = float32(d*scale) * float32(int(q)-32)
		}
	}
}
