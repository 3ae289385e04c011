package template

import (
	"fmt"
	"time"
)

// Bounds of a rendering: of work, in units of about 10 ns, and of memory, in bytes
// that are made in all. What is made is paid before it is made. Both grow with the
// input: some templates look through all messages at each, or write by adding to
// what they have.
const (
	mostWork     = 8 << 20
	workPerByte  = 1 << 10
	mostBytes    = 16 << 20
	bytesPerByte = 256
	mostText     = 4 << 20 // bytes of one text
	textPerByte  = 4

	mostDepth  = 200 // of values in values
	mostMacros = 200 // that call one another

	operatorCost = 64
	argumentCost = 16
	loopCost     = 320 // an iteration
	itemBytes    = 32  // an item of a list
)

// run is one rendering.
type run struct {
	work    int // that is left
	bytes   int // that are left
	longest int // bytes that a text may have
	written int // bytes, in all
	depth   int // of values
	macros  int // that are being called
	line    int // of the operator that is being evaluated
	now     time.Time
}

// failure is panicked and caught by Parse and Render: gonja would let some errors
// pass, and describes every node on the way of others.
type failure struct{ err error }

func (r *run) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func syntax(line int, format string, args ...any) {
	panic(failure{fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, args...))})
}

// catch turns a panic into an error.
func catch(err *error, r *run) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = fmt.Errorf("template: %w", p.err)
		if r != nil {
			*err = fmt.Errorf("template: line %d: %w", r.line, p.err)
		}
	default: // gonja's own, or a mistake of ours: a template must not end the program
		*err = fmt.Errorf("template: it cannot be rendered: %v", p)
	}
}

// spend pays for work that is about to be done.
func (r *run) spend(n int) {
	if r.work -= n; r.work < 0 || n < 0 {
		r.work = 0
		r.fail("the template does more work than a conversation of this length needs")
	}
}

// alloc pays for bytes that are about to be made.
func (r *run) alloc(n int) {
	r.spend(n / 8)
	if r.bytes -= n; r.bytes < 0 {
		r.bytes = 0
		r.fail("the template makes more text and lists than a conversation of this length needs")
	}
}

// hold pays for items of lists.
func (r *run) hold(n int) { r.alloc(itemBytes * n) }

// scan pays for bytes that are looked through.
func (r *run) scan(n int) { r.spend(n / 16) }

// grow pays for n bytes that are added to a text of a given length.
func (r *run) grow(length, n int) {
	if n > r.longest-length {
		r.fail("the template makes a text of more than %d bytes", r.longest)
	}
	r.alloc(n)
}

// enter goes into a value within a value, and leave comes out.
func (r *run) enter() {
	r.spend(4)
	if r.depth++; r.depth > mostDepth {
		r.fail("values are nested deeper than %d", mostDepth)
	}
}

func (r *run) leave() { r.depth-- }
