package template

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mostDigits is how many digits an integer may have, as in Python.
const mostDigits = 4300

// number reads the number at the start of s and returns its length.
func (l *lexer) number(s string) (any, int) {
	if len(s) > 2 && s[0] == '0' && strings.IndexByte("bBoOxX", s[1]) >= 0 {
		n := 2
		for n < len(s) && (s[n] == '_' || isHex(s[n])) {
			n++
		}
		i, err := strconv.ParseInt(s[:n], 0, 64)
		if err != nil {
			l.fail("%s is not a number of 64 bits", excerpt(s[:n]))
		}
		return int(i), n
	}
	n := digits(s)
	end, float := n, false
	if afterDot := strings.HasPrefix(s[n:], ".") && digits(s[n+1:]) > 0; afterDot {
		end, float = n+1+digits(s[n+1:]), true
	}
	if end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		e := end + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if d := digits(s[e:]); d > 0 {
			end, float = e+d, true
		}
	}
	text := strings.ReplaceAll(s[:end], "_", "")
	if float && !strings.HasSuffix(l.src[:l.at], ".") { // "a.1.5" is an item of an item
		f, _ := strconv.ParseFloat(text, 64) // out of range is infinite, as in Python
		return f, end
	}
	text = strings.ReplaceAll(s[:n], "_", "")
	if strings.Trim(text, "0") == "" {
		return 0, n
	}
	if text[0] == '0' {
		l.fail("%s: an integer does not begin with 0", excerpt(text))
	}
	v, err := integer(text)
	if err != nil {
		l.fail("%v", err)
	}
	return v, n
}

// integer reads decimal digits: an int, or a *big.Int where that is too small.
func integer(s string) (any, error) {
	if i, err := strconv.Atoi(s); err == nil {
		return i, nil
	}
	if len(s) > mostDigits {
		return nil, fmt.Errorf("an integer has more than %d digits", mostDigits)
	}
	i, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("%s is not a number", excerpt(s))
	}
	return i, nil
}

// digits is the length of the digits at the start of s, possibly with single
// underscores among them.
func digits(s string) int {
	n := 0
	for n < len(s) && ('0' <= s[n] && s[n] <= '9' || s[n] == '_' && n > 0 && s[n-1] != '_' && n+1 < len(s) && '0' <= s[n+1] && s[n+1] <= '9') {
		n++
	}
	return n
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// escapes are Python's, of one character.
var escapes = map[byte]byte{'\\': '\\', '\'': '\'', '"': '"', 'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

// quoted reads the string at the start of s and returns its length. Escapes are
// Python's: an unknown one stands for itself.
func (l *lexer) quoted(s string) (string, int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			return b.String(), i + 1
		case c != '\\' || i+1 == len(s):
			b.WriteByte(c)
		default:
			i++
			switch c := s[i]; {
			case c == '\n':
			case escapes[c] != 0:
				b.WriteByte(escapes[c])
			case '0' <= c && c <= '7':
				n := 1
				for n < 3 && i+n < len(s) && '0' <= s[i+n] && s[i+n] <= '7' {
					n++
				}
				l.escape(&b, s[i:i+n], 8)
				i += n - 1
			case c == 'x' || c == 'u' || c == 'U':
				n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
				if i+n >= len(s) {
					l.fail("an escape of a string is cut off")
				}
				l.escape(&b, s[i+1:i+1+n], 16)
				i += n
			case c == 'N' || c >= utf8.RuneSelf:
				l.fail("an escape of a string is not supported: write the character itself")
			default:
				b.WriteByte('\\')
				b.WriteByte(c)
			}
		}
	}
	l.fail("a string does not end")
	return "", 0
}

func (l *lexer) escape(b *strings.Builder, digits string, base int) {
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune || 0xd800 <= n && n < 0xe000 {
		l.fail("the escape %s of a string is no character", excerpt(digits))
	}
	b.WriteRune(rune(n))
}
