package template

import (
	"strconv"
	"strings"
	"time"
)

// format is format of Python with fields that say which argument they are and
// nothing else.
func format(c *call) any {
	b := builder{run: c.run}
	next := 0
	for s := c.in.(string); s != ""; {
		at := strings.IndexAny(s, "{}")
		if at < 0 {
			b.add(s)
			break
		}
		b.add(s[:at])
		s = s[at:]
		if len(s) > 1 && s[0] == s[1] {
			b.add(s[:1])
			s = s[2:]
			continue
		}
		field, rest, ok := strings.Cut(s[1:], "}")
		if s[0] == '}' || !ok {
			c.fail("a single %q in a format", s[0])
		}
		s = rest
		var value any = absent{}
		if field == "" {
			field = strconv.Itoa(next)
			next++
		}
		if i, err := strconv.Atoi(field); err == nil && 0 <= i && i < len(c.args) {
			value = c.args[i]
		}
		for i, name := range c.names {
			if name == field {
				value = c.named[i]
			}
		}
		if _, ok := value.(absent); ok {
			c.fail("the format field %s is not supported, or no argument of that name is given", excerpt(field))
		}
		b.add(c.str(value))
	}
	return b.String()
}

// directives of strftime of Python in the locale C, as layouts of Go.
var directives = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04",
	'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06",
	'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'e': "_2", 'h': "Jan", 'n': "\n", 't': "\t", '%': "%",
	'f': "000000", 'z': "", 'Z': "",
}

// strftime tells the time in a format; the time has no zone, as in transformers.
func (c *call) strftime(format string) string {
	b := builder{run: c.run}
	for {
		at := strings.IndexByte(format, '%')
		if at < 0 {
			b.add(format)
			return b.String()
		}
		b.add(format[:at])
		format = format[at+1:]
		short := strings.HasPrefix(format, "-") // without leading zeros, in glibc
		format = strings.TrimPrefix(format, "-")
		if format == "" {
			c.fail("strftime_now: the format ends in the middle of a directive")
		}
		layout, ok := directives[format[0]]
		if !ok {
			c.fail("strftime_now: %%%c is not supported", format[0])
		}
		text := c.moment(format[0], layout)
		if short {
			if text = strings.TrimLeft(text, "0 "); text == "" {
				text = "0"
			}
		}
		b.add(text)
		format = format[1:]
	}
}

func (c *call) moment(directive byte, layout string) string {
	switch directive {
	case 'f':
		return time.Unix(0, int64(c.now.Nanosecond())).UTC().Format(".000000")[1:]
	case 'n', 't', '%', 'z', 'Z':
		return layout
	}
	return c.now.Format(layout)
}
