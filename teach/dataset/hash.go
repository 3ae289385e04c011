package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
)

// hashVersion is hashed first. Changing what the hash covers means a new
// version: datasets that exist keep their names.
const hashVersion = "retort dataset 1"

// Hash names a dataset: SHA-256, in lower-case hexadecimal, over the canonical
// encoding of its logical rows in order,
//
//	dataset = str("retort dataset 1") u64(rows) row…
//	row     = str(source) str(family) str(problem) str(row)
//	          u64(messages) message… str(reasoning) str(answer)
//	          str(origin) str(terms_id) str(verdict)
//	message = str(role) str(content) str(reasoning)
//	str(s)  = u64(length of s in bytes) s, in UTF-8
//	u64(n)  = 8 bytes, little-endian
//
// Every part is length-prefixed, so no two different datasets encode alike.
func Hash(rows []Example) string {
	e := encoder{h: sha256.New()}
	e.str(hashVersion)
	e.u64(len(rows))
	for i := range rows {
		e.row(&rows[i])
	}
	return hex.EncodeToString(e.h.Sum(nil))
}

type encoder struct{ h hash.Hash }

func (e encoder) u64(n int) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	e.h.Write(b[:])
}

func (e encoder) str(s string) {
	e.u64(len(s))
	io.WriteString(e.h, s)
}

func (e encoder) row(x *Example) {
	e.str(x.Source)
	e.str(x.Family)
	e.str(x.Problem)
	e.str(x.Row)
	e.u64(len(x.Prompt))
	for _, m := range x.Prompt {
		e.str(m.Role)
		e.str(m.Content)
		e.str(m.Reasoning)
	}
	e.str(x.Reasoning)
	e.str(x.Answer)
	e.str(string(x.Origin))
	e.str(x.TermsID)
	e.str(x.Verdict)
}
