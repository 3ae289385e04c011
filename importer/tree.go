package importer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// node is one JSON value of a row. A row's nodes stand in the row's order, each
// before what it holds.
type node struct {
	kind            byte  // '{', '[', '"', '0', 't', 'f' or 'n'
	mark            mark  // who has read it
	start, end      int32 // in the row
	name, nameEnd   int32 // its name in the object that holds it, in doc.text
	value, valueEnd int32 // a string's characters, in doc.text
	next            int32 // index of the first node behind it
}

// mark says what of a value a reader took; what none took is Extra.
type mark uint8

const (
	unread mark = iota
	taken       // the whole of it
	opened      // it was looked into: what it holds has marks of its own
)

// doc is a parsed row. Its text is one string, of which messages are parts: it
// outlives the row's bytes.
type doc struct {
	raw   []byte
	text  string
	nodes []node
	nul   bool // one of its strings holds a NUL
}

// parser makes docs, one after the other, out of the same memory.
type parser struct {
	dec   jsontext.Decoder
	in    bytes.Buffer
	nodes []node
	text  strings.Builder
	open  []int32
	nul   bool
}

// refused is why a row is not kept.
type refused struct {
	reason Reason
	detail string
}

// Error implements error.
func (e *refused) Error() string { return e.reason + ": " + e.detail }

func refuse(reason Reason, format string, args ...any) *refused {
	return &refused{reason, fmt.Sprintf(format, args...)}
}

// keepScratch is how much memory a parser keeps between rows.
const keepScratch = 4 << 20

// parse reads one JSON value, strictly: UTF-8, no name twice in an object,
// bounded depth and number. The doc's nodes are valid until the next call.
func (p *parser) parse(raw []byte) (doc, error) {
	if cap(p.nodes)*nodeSize > keepScratch {
		p.nodes = nil
	}
	p.nodes, p.open, p.nul = p.nodes[:0], p.open[:0], false
	p.text = strings.Builder{}   // each row's text is its own
	p.text.Grow(len(raw))        // what strings say is never longer than how they are written
	p.in = *bytes.NewBuffer(raw) // which the decoder reads in place
	p.dec.Reset(&p.in)
	if err := p.value(raw); err != nil {
		return doc{}, p.explain(raw, err)
	}
	if rest := bytes.TrimLeft(raw[p.dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return doc{}, refuse(ReasonBadJSON, "%s follows the end of the value, at byte %d of the row", quote(rest), len(raw)-len(rest)+1)
	}
	text := p.text.String()
	if len(text) < len(raw)/2 { // mostly numbers: not worth the memory
		text = strings.Clone(text)
	}
	return doc{raw, text, p.nodes, p.nul}, nil
}

const nodeSize = 32

// value reads tokens until the first value is complete.
func (p *parser) value(raw []byte) error {
	for {
		kind := p.dec.PeekKind()
		if kind == '"' || kind == '0' {
			if err := p.scalar(raw, kind); err != nil {
				return err
			}
		} else if err := p.token(raw); err != nil {
			return err
		}
		if len(p.open) == 0 {
			return nil
		}
	}
}

// scalar reads a string or a number. A name is not a node: it is kept for the
// node that follows.
func (p *parser) scalar(raw []byte, kind jsontext.Kind) error {
	v, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	end := int32(p.dec.InputOffset())
	start := end - int32(len(v))
	from := int32(p.text.Len())
	if kind == '"' {
		p.nul = unescape(&p.text, v[1:len(v)-1]) || p.nul
		if p.isName() {
			p.pending(from)
			return nil
		}
	}
	return p.add(node{kind: byte(kind), start: start, end: end, value: from, valueEnd: int32(p.text.Len())})
}

// unescape writes the characters of a string that the decoder has accepted: its
// escapes are whole, and its surrogates are pairs. It reports whether a NUL is
// among them. It goes from one escape to the next, which is several times as fast
// as jsontext.AppendUnquote's second look at every byte.
func unescape(out *strings.Builder, s []byte) (nul bool) {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			out.Write(s)
			return nul
		}
		out.Write(s[:i])
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := rune(hex4(s))
			s = s[4:]
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, rune(hex4(s[2:])))
				s = s[6:]
			}
			nul = nul || r == 0
			out.WriteRune(r)
			continue
		}
		out.WriteByte(c) // a quotation mark, a slash and a backslash stand for themselves
	}
}

// hex4 is the number that four hexadecimal digits say.
func hex4(s []byte) (n uint16) {
	for _, c := range s[:4] {
		switch {
		case c <= '9':
			n = n<<4 | uint16(c-'0')
		default:
			n = n<<4 | uint16(c&^0x20-'A'+10)
		}
	}
	return n
}

// isName reports whether the string that was read last is a name.
func (p *parser) isName() bool {
	kind, n := p.dec.StackIndex(p.dec.StackDepth())
	return kind == '{' && n%2 == 1
}

// pending opens a node whose kind is not known yet, to hold a name.
func (p *parser) pending(from int32) {
	p.nodes = append(p.nodes, node{name: from, nameEnd: int32(p.text.Len())})
}

// add completes the pending node, or makes one.
func (p *parser) add(n node) error {
	if len(p.nodes) > MaxValues {
		return refuse(ReasonTooMany, "more than %d JSON values", MaxValues)
	}
	n.next = int32(len(p.nodes)) + 1
	if last := len(p.nodes) - 1; last >= 0 && p.nodes[last].kind == 0 {
		n.name, n.nameEnd, n.next = p.nodes[last].name, p.nodes[last].nameEnd, int32(last)+1
		p.nodes[last] = n
		return nil
	}
	p.nodes = append(p.nodes, n)
	return nil
}

func (p *parser) token(raw []byte) error {
	t, err := p.dec.ReadToken()
	if err != nil {
		return err
	}
	end := int32(p.dec.InputOffset())
	switch kind := t.Kind(); kind {
	case '{', '[':
		if p.dec.StackDepth() > MaxDepth {
			return refuse(ReasonTooDeep, "nested deeper than %d, at byte %d of the row", MaxDepth, end)
		}
		if err := p.add(node{kind: byte(kind), start: end - 1}); err != nil {
			return err
		}
		p.open = append(p.open, int32(len(p.nodes))-1)
	case '}', ']':
		last := len(p.open) - 1
		n := &p.nodes[p.open[last]]
		n.end, n.next = end, int32(len(p.nodes))
		p.open = p.open[:last]
	default: // null, true, false
		width := int32(4)
		if kind == 'f' {
			width = 5
		}
		return p.add(node{kind: byte(kind), start: end - width, end: end})
	}
	return nil
}

// explain turns what the decoder says into a reason that can be counted.
func (p *parser) explain(raw []byte, err error) error {
	var r *refused
	if errors.As(err, &r) {
		return r
	}
	var s *jsontext.SyntacticError
	if !errors.As(err, &s) {
		return refuse(ReasonBadJSON, "%v", err)
	}
	where := fmt.Sprintf("at byte %d of the row", s.ByteOffset+1)
	if s.JSONPointer != "" {
		where += " (" + clip(string(s.JSONPointer)) + ")"
	}
	what := "not JSON"
	if s.Err != nil {
		what = clip(s.Err.Error())
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return refuse(ReasonDuplicateKey, "a name stands twice in one object, %s", where)
	case !utf8.Valid(raw):
		return refuse(ReasonBadUTF8, "not UTF-8, at byte %d of the row", badUTF8(raw)+1)
	case strings.Contains(what, "surrogate"):
		return refuse(ReasonBadUTF8, "half a surrogate pair, %s", where)
	}
	return refuse(ReasonBadJSON, "%s, %s", what, where)
}

// badUTF8 is the offset of the first byte that is not UTF-8.
func badUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// clip shortens text for a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:most], "?") + "…"
}

func quote[T string | []byte](b T) string {
	const most = 24
	if len(b) > most {
		return fmt.Sprintf("%q…", string(b[:most]))
	}
	return fmt.Sprintf("%q", string(b))
}

// root is the index of the row itself.
const root = 0

// str returns a string's characters.
func (d *doc) str(i int32) string { return d.text[d.nodes[i].value:d.nodes[i].valueEnd] }

// name returns a member's name.
func (d *doc) name(i int32) string { return d.text[d.nodes[i].name:d.nodes[i].nameEnd] }

// bytes returns a value as it stands in the row.
func (d *doc) bytes(i int32) []byte { return d.raw[d.nodes[i].start:d.nodes[i].end] }

// first returns the first value in an array or an object, and whether there is one.
func (d *doc) first(i int32) (int32, bool) { return i + 1, d.nodes[i].next > i+1 }

// after returns the value behind i in what holds them both.
func (d *doc) after(holder, i int32) (int32, bool) {
	n := d.nodes[i].next
	return n, n < d.nodes[holder].next
}

// find returns the member of an object by its name, null or not, unmarked.
func (d *doc) find(object int32, name string) (int32, bool) {
	if d.nodes[object].kind != '{' {
		return 0, false
	}
	for i, ok := d.first(object); ok; i, ok = d.after(object, i) {
		if d.name(i) == name {
			return i, true
		}
	}
	return 0, false
}

// has reports whether an object has a member of that name that is not null.
func (d *doc) has(object int32, name string) bool {
	i, ok := d.find(object, name)
	return ok && d.nodes[i].kind != 'n'
}

// take returns the member of an object by its name and marks it as read. A null
// is as good as nothing.
func (d *doc) take(object int32, names ...string) (int32, bool) {
	for _, name := range names {
		if i, ok := d.find(object, name); ok {
			d.nodes[i].mark = taken
			if d.nodes[i].kind != 'n' {
				return i, true
			}
		}
	}
	return 0, false
}

// kindName names a kind for people.
func (d *doc) kindName(i int32) string {
	switch d.nodes[i].kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "text"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}
