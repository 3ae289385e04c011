package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"

	"retort/exchange"
)

// What is hashed first. Changing what the hash covers means a new version:
// datasets that exist keep their names, and so do those that hold nothing which
// the first version lacks.
const (
	hashVersion1 = "retort dataset 1"
	hashVersion2 = "retort dataset 2"
)

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
// Where any row has a row id, tools, tool calls or a rejected answer, or any
// message is more than text, all rows are encoded as
//
//	dataset = str("retort dataset 2") u64(rows) row…
//	row     = as above, str(row_id) str(tools) u64(calls) call… str(rejected)
//	message = as above, str(name) u64(calls) call… str(tool_call_id)
//	call    = str(id) str(name) str(arguments)
//
// Every part is length-prefixed, so no two different datasets encode alike.
func Hash(rows []Example) string {
	e := encoder{h: sha256.New(), whole: !plain(rows)}
	if e.whole {
		e.str(hashVersion2)
	} else {
		e.str(hashVersion1)
	}
	e.u64(len(rows))
	for i := range rows {
		e.row(&rows[i])
	}
	return hex.EncodeToString(e.h.Sum(nil))
}

// plain reports whether no row holds anything that the first version lacks.
func plain(rows []Example) bool {
	for i := range rows {
		e := &rows[i]
		if e.RowID != "" || e.Tools != "" || len(e.ToolCalls) > 0 || e.Rejected != "" {
			return false
		}
		for j := range e.Prompt {
			if !e.Prompt[j].Plain() {
				return false
			}
		}
	}
	return true
}

type encoder struct {
	h     hash.Hash
	whole bool // as the second version says
}

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
		if e.whole {
			e.str(m.Name)
			e.calls(m.ToolCalls)
			e.str(m.ToolCallID)
		}
	}
	e.str(x.Reasoning)
	e.str(x.Answer)
	e.str(string(x.Origin))
	e.str(x.TermsID)
	e.str(x.Verdict)
	if e.whole {
		e.str(x.RowID)
		e.str(x.Tools)
		e.calls(x.ToolCalls)
		e.str(x.Rejected)
	}
}

func (e encoder) calls(calls []exchange.ToolCall) {
	e.u64(len(calls))
	for _, c := range calls {
		e.str(c.ID)
		e.str(c.Name)
		e.str(c.Arguments)
	}
}
