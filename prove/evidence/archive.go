package evidence

import (
	"bytes"
	"fmt"
	"strconv"
)

// The archive is POSIX ustar with every field that is not name, size or checksum at a
// fixed value, so that a file has one form only: whoever reads one writes it anew and
// compares.
const (
	block    = 512
	mostName = 100
	mostPart = 1 << 33 // what eleven octal digits hold
)

// part is one file of a pack.
type part struct {
	name string
	data []byte
}

func header(name string, size int) []byte {
	h := make([]byte, block)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ") // the checksum is taken over spaces
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// archive writes parts.
func archive(parts []part) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		b.Write(header(p.name, len(p.data)))
		b.Write(p.data)
		b.Write(make([]byte, (block-len(p.data)%block)%block))
	}
	b.Write(make([]byte, 2*block))
	return b.Bytes()
}

// unarchive reads parts, and refuses every form but archive's.
func unarchive(file []byte) ([]part, error) {
	var parts []part
	for at := 0; ; {
		if len(file)-at < 2*block {
			return nil, &Failure{"archive", "it ends before its end"}
		}
		h := file[at : at+block]
		if h[0] == 0 {
			if len(file)-at != 2*block || !bytes.Equal(file[at:], make([]byte, 2*block)) {
				return nil, &Failure{"archive", "something follows its end"}
			}
			return parts, nil
		}
		name, _, _ := bytes.Cut(h[:mostName], []byte{0})
		size, err := strconv.ParseUint(string(h[124:135]), 8, 63)
		padded := (size + block - 1) / block * block
		if err != nil || size >= mostPart || padded > uint64(len(file)-at-block) || !bytes.Equal(header(string(name), int(size)), h) {
			return nil, &Failure{"archive", fmt.Sprintf("the header at byte %d is not what it has to be", at)}
		}
		data := file[at+block:][:size]
		if rest := file[at+block:][size:padded]; !bytes.Equal(rest, make([]byte, len(rest))) {
			return nil, &Failure{string(name), "something stands behind its end"}
		}
		parts = append(parts, part{string(name), data})
		at += block + int(padded)
	}
}

// Failure says which part of a pack does not hold, and why.
type Failure struct{ Part, What string }

// Error implements error.
func (f *Failure) Error() string { return f.Part + ": " + f.What }

func failed(part, format string, a ...any) error { return &Failure{part, fmt.Sprintf(format, a...)} }
