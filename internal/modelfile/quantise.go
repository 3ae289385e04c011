package modelfile

import (
	"encoding/binary"
	"math"
)

// Values are rounded to blocks as ggml's reference does (quantize_row_q8_0_ref and its
// like in ggml-quants.c), each product and sum to float32: no step is fused with the
// next, so that every machine writes the same bytes.

// encoder encodes blocks of 32 elements, one by one, until one of them says that it
// cannot hold its values.
func encoder(bytes int, one func(b []byte, x []float32) bool) func([]byte, []float32) int {
	return func(b []byte, x []float32) (done int) {
		for ; done < len(x); done, b = done+32, b[bytes:] {
			block := x[done:][:32]
			for _, v := range block {
				if v-v != 0 { // infinite or not a number
					return done
				}
			}
			if !one(b[:bytes], block) {
				return done
			}
		}
		return done
	}
}

// putHalf writes a scale and reports whether it is finite.
func putHalf(b []byte, v float32) bool {
	h := toF16(v)
	binary.LittleEndian.PutUint16(b, h)
	return h&0x7c00 != 0x7c00
}

// inverse is 1/d, and 0 where there is none: of a scale of 0, or of one so small that a
// half has it as 0.
func inverse(d float32) float32 {
	if id := 1 / d; !math.IsInf(float64(id), 0) {
		return id
	}
	return 0
}

// putNibbles writes 32 numbers of four bits: byte i holds numbers i and i+16.
func putNibbles(b []byte, x []float32, number func(v float32) float32) {
	for i := range 16 {
		b[i] = min(15, byte(number(x[i]))) | min(15, byte(number(x[i+16])))<<4
	}
}

// encodeQ8_0: v = d·q with q from -127 to 127.
func encodeQ8_0(b []byte, x []float32) bool {
	var most float32
	for _, v := range x {
		most = max(most, v, -v)
	}
	d := most / 127
	id := inverse(d)
	for i, v := range x {
		b[2+i] = byte(int8(math.Round(float64(v * id))))
	}
	return putHalf(b, d)
}

// encodeQ4_0: v = d·(q-8) with q from 0 to 15; the value farthest from 0, the first of
// equals, gets q = 0.
func encodeQ4_0(b []byte, x []float32) bool {
	var far float32
	for _, v := range x {
		if max(v, -v) > max(far, -far) {
			far = v
		}
	}
	d := far / -8
	id := inverse(d)
	putNibbles(b[2:], x, func(v float32) float32 { return float32(v*id) + 8.5 })
	return putHalf(b, d)
}

// encodeQ4_1: v = d·q + m with q from 0 to 15.
func encodeQ4_1(b []byte, x []float32) bool {
	least, most := x[0], x[0]
	for _, v := range x {
		least, most = min(least, v), max(most, v)
	}
	d := (most - least) / 15
	id := inverse(d)
	putNibbles(b[4:], x, func(v float32) float32 { return float32((v-least)*id) + 0.5 })
	return putHalf(b, d) && putHalf(b[2:], least)
}

func encodeF32(b []byte, x []float32) (done int) {
	for i, v := range x {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return len(x)
}

// encodeF16 refuses what a half would make infinite.
func encodeF16(b []byte, x []float32) (done int) {
	for i, v := range x {
		h := toF16(v)
		if h&0x7fff == 0x7c00 && v-v == 0 {
			return i
		}
		binary.LittleEndian.PutUint16(b[2*i:], h)
	}
	return len(x)
}

func encodeBF16(b []byte, x []float32) (done int) {
	for i, v := range x {
		h := toBF16(v)
		if h&0x7fff == 0x7f80 && v-v == 0 {
			return i
		}
		binary.LittleEndian.PutUint16(b[2*i:], h)
	}
	return len(x)
}
