package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// MaxEvent is the largest event, in bytes, that a stream may hold.
const MaxEvent = 32 << 20

// Event is one server-sent event.
type Event struct {
	Name  string // the event field; "" means "message"
	Data  []byte // the data lines, joined by line feeds; valid until the next Feed or Next
	ID    string
	Retry int // milliseconds; 0 if not sent
}

// EventDecoder splits server-sent events out of bytes that arrive in any
// pieces: lines may end in LF, CRLF or CR, a byte-order mark may lead, comments
// and unknown fields are skipped. Use Feed for each piece and Flush at the end.
type EventDecoder struct {
	line    []byte // the unfinished line
	data    []byte
	hasData bool
	ev      Event
	lastCR  bool // the previous byte was a CR that ended a line
	begun   bool // the byte-order mark has been dealt with
}

// Feed decodes the next piece and calls fn for every event that it completes.
// It stops at the first error of fn.
func (d *EventDecoder) Feed(p []byte, fn func(Event) error) error {
	for len(p) > 0 {
		if d.lastCR && p[0] == '\n' { // the second half of CRLF
			p = p[1:]
			d.lastCR = false
			continue
		}
		d.lastCR = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			i = len(p)
		}
		if len(d.line)+len(d.data)+i > MaxEvent {
			return fmt.Errorf("%w: an event of the stream is larger than %d bytes", ErrMalformed, MaxEvent)
		}
		d.line = append(d.line, p[:i]...)
		if i == len(p) {
			return nil
		}
		d.lastCR = p[i] == '\r'
		p = p[i+1:]
		if err := d.endLine(fn); err != nil {
			return err
		}
	}
	return nil
}

// Flush ends the input. An event whose blank line never came is passed to fn
// with complete false: it may be cut, or the server may have forgotten the
// line.
func (d *EventDecoder) Flush(fn func(ev Event, complete bool) error) error {
	if len(d.line) > 0 {
		if err := d.endLine(func(ev Event) error { return fn(ev, true) }); err != nil {
			return err
		}
	}
	if !d.hasData {
		return nil
	}
	return d.dispatch(func(ev Event) error { return fn(ev, false) })
}

func (d *EventDecoder) endLine(fn func(Event) error) error {
	line := d.line
	d.line = d.line[:0]
	if !d.begun {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		d.begun = true
	}
	if len(line) == 0 {
		if !d.hasData {
			d.ev = Event{ID: d.ev.ID}
			return nil
		}
		return d.dispatch(fn)
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if d.hasData {
			d.data = append(d.data, '\n')
		}
		d.data = append(d.data, value...)
		d.hasData = true
	case "event":
		d.ev.Name = string(value)
	case "id":
		d.ev.ID = string(value)
	case "retry":
		if ms, err := strconv.Atoi(string(value)); err == nil && ms >= 0 {
			d.ev.Retry = ms
		}
	}
	return nil
}

func (d *EventDecoder) dispatch(fn func(Event) error) error {
	ev := d.ev
	ev.Data = d.data
	d.ev = Event{ID: ev.ID}
	d.data, d.hasData = d.data[:0], false
	return fn(ev)
}

// EventReader reads server-sent events from a connection.
type EventReader struct {
	r     io.Reader
	dec   EventDecoder
	buf   []byte
	queue []Event
	err   error
}

// NewEventReader returns a reader of the events in r.
func NewEventReader(r io.Reader) *EventReader {
	return &EventReader{r: r, buf: make([]byte, 16<<10)}
}

// Next returns the next event, or io.EOF. Its data is the caller's to keep.
func (r *EventReader) Next() (Event, error) {
	keep := func(ev Event) error {
		ev.Data = bytes.Clone(ev.Data)
		r.queue = append(r.queue, ev)
		return nil
	}
	for len(r.queue) == 0 {
		if r.err != nil {
			return Event{}, r.err
		}
		n, err := r.r.Read(r.buf)
		if ferr := r.dec.Feed(r.buf[:n], keep); ferr != nil {
			err = ferr
		}
		if errors.Is(err, io.EOF) {
			if ferr := r.dec.Flush(func(ev Event, _ bool) error { return keep(ev) }); ferr != nil {
				err = ferr
			}
		}
		r.err = err
	}
	ev := r.queue[0]
	r.queue = r.queue[1:]
	return ev, nil
}

// LooksLikeObject reports whether a body begins as a JSON object.
func LooksLikeObject(body []byte) bool {
	start := beginning(body)
	return len(start) > 0 && start[0] == '{'
}

// LooksLikeEvents reports whether a body begins as server-sent events do.
func LooksLikeEvents(body []byte) bool {
	start := beginning(body)
	for _, p := range []string{"data:", "event:", "id:", "retry:", ":"} {
		if bytes.HasPrefix(start, []byte(p)) {
			return true
		}
	}
	return false
}

func beginning(body []byte) []byte {
	return bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n")
}
