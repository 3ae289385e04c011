package main

import (
	"fmt"
	"strings"
)

// text collects assembly and declarations.
type text struct {
	asm, stubs strings.Builder
	params     map[string]int // offsets of the current function's
	next       vec            // the vector register that free gives out next
}

func (t *text) line(format string, args ...any) { fmt.Fprintf(&t.asm, format+"\n", args...) }

// op writes an instruction.
func (t *text) op(format string, args ...any) { t.line("\t"+format, args...) }

func (t *text) label(name string) { t.line("%s:", name) }

// function begins a function. Its parameters are pointers, ints and float32, its
// result, if any, a float32.
func (t *text) function(name, params, result, doc string) {
	var signature []string
	t.params = map[string]int{}
	size := 0
	place := func(name, kind string) {
		width := 8
		if kind == "float32" {
			width = 4
		}
		size = (size + width - 1) / width * width
		t.params[name] = size
		size += width
	}
	var names []string
	for field := range strings.SplitSeq(params, ", ") {
		name, kind, typed := strings.Cut(field, " ")
		names = append(names, name)
		if !typed {
			continue
		}
		for _, name := range names {
			signature = append(signature, name+" "+kind)
			place(name, kind)
		}
		names = nil
	}
	if result != "" {
		size = (size + 7) &^ 7 // where results begin
		place("ret", result)
		result = " " + result
	}
	declared := fmt.Sprintf("func %sNEON(%s)%s", name, strings.Join(signature, ", "), result)
	fmt.Fprintf(&t.stubs, "\n// %sNEON %s\n//\n//go:noescape\n%s\n", name, doc, declared)
	t.line("\n// %s", declared)
	t.line("TEXT ·%sNEON(SB), NOSPLIT, $0-%d", name, size)
	t.next = 0
}

// at is where a parameter lies.
func (t *text) at(param string) string {
	offset, ok := t.params[param]
	if !ok {
		panic("no parameter " + param)
	}
	return fmt.Sprintf("%s+%d(FP)", param, offset)
}

// general loads parameters of pointer or integer type into R0, R1 and so on.
func (t *text) general(params ...string) []gp {
	var all []gp
	for i, name := range params {
		t.op("MOVD %s, %v", t.at(name), gp(i))
		all = append(all, gp(i))
	}
	return all
}

// broadcast fills a vector with a float32 parameter.
func (t *text) broadcast(param string) vec {
	x := t.free()
	t.op("FMOVS %s, F%d", t.at(param), x)
	t.op("VDUP %v.S[0], %v.S4", x, x)
	return x
}

// free is a vector register that nothing uses yet.
func (t *text) free() vec {
	if t.next > 31 {
		panic("no vector register is left")
	}
	t.next++
	return t.next - 1
}

func (t *text) zeros(n int) []vec {
	var all []vec
	for range n {
		x := t.free()
		t.zero(x)
		all = append(all, x)
	}
	return all
}

// turn is one round of a loop over vectors: u-th of an unrolled body, or a lone
// element of the tail.
type turn struct {
	*text
	u    int
	tail bool
}

// load reads the vector that ptr has come to. Of the tail it reads one element,
// and the other lanes are 0.
func (t turn) load(ptr gp) vec {
	x := t.free()
	t.loadInto(x, ptr)
	return x
}

func (t turn) loadInto(x vec, ptr gp) {
	if t.tail {
		t.op("FMOVS (%v), F%d", ptr, x)
		return
	}
	t.op("FMOVQ %d(%v), F%d", 16*t.u, ptr, x)
}

func (t turn) store(x vec, ptr gp) {
	if t.tail {
		t.op("FMOVS F%d, (%v)", x, ptr)
		return
	}
	t.op("FMOVQ F%d, %d(%v)", x, 16*t.u, ptr)
}

// only clears the lanes of x that do not count.
func (t turn) only(x vec) {
	if t.tail { // a move of one lane clears the others
		t.op("FMOVS F%d, F%d", x, x)
	}
}

// loop runs body over n elements, moving ptrs along: unroll vectors at a time,
// then one at a time, then element by element.
func (t *text) loop(n gp, unroll int, ptrs []gp, body func(turn)) {
	first := t.next
	round := func(name, end string, vectors int, tail bool) {
		t.label(name)
		elements := 4 * vectors
		if tail {
			elements = 1
		}
		t.op("CMP $%d, %v", elements, n)
		t.op("BLT %s", end)
		t.next = first
		for u := range vectors {
			body(turn{t, u, tail})
		}
		for _, p := range ptrs {
			t.op("ADD $%d, %v", 4*elements, p)
		}
		t.op("SUB $%d, %v", elements, n)
		t.op("B %s", name)
	}
	if unroll > 1 {
		round("many", "one", unroll, false)
	}
	round("one", "tail", 1, false)
	round("tail", "end", 1, true)
	t.label("end")
}

// reduce folds the accumulators into the first and then neighbouring lanes, by op
// and its pairwise form, always in the same order, and stores the function's
// result.
func (t *text) reduce(acc []vec, op, pairwise func(d, n, m vec)) {
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			op(acc[i], acc[i], acc[i+n/2])
		}
	}
	pairwise(acc[0], acc[0], acc[0])
	pairwise(acc[0], acc[0], acc[0])
	t.op("FMOVS F%d, %s", acc[0], t.at("ret"))
}
