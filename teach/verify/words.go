package verify

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDetail bounds what a check says to people.
const maxDetail = 400

// jsonName is the key that a struct's field has in JSON.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// list writes words as people do: a, b and c.
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// short cuts a text to what a check may say.
func short(s string) string { return cut(s, maxDetail) }

// cut shortens a text to n bytes at most, whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// quote writes a text within a sentence, shortened.
func quote(s string) string { return strconv.Quote(cut(s, 80)) }
