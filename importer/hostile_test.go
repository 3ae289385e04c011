package importer

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// form is a format's plainest row: T stands for a text, V for what follows the
// last field, M for the value of the field that makes it this format's.
type form struct {
	format Format
	row    string
	main   string // the value that M stands for
}

var forms = []form{
	{ShareGPT, `{"conversations":M V}`, `[{"from":"human","value":"T"},{"from":"gpt","value":"a"}]`},
	{Alpaca, `{"input":"","output":"a","instruction":M V}`, `"T"`},
	{Messages, `{"messages":M V}`, `[{"role":"user","content":"T"},{"role":"assistant","content":"a"}]`},
	{Preference, `{"prompt":"q","rejected":"b","chosen":M V}`, `"T"`},
	{Reasoning, `{"question":"q","reasoning":"r","answer":M V}`, `"T"`},
	{Batch, `{"custom_id":"r-N","response":M V}`, `{"status_code":200,"body":{"choices":[{"index":0,"message":{"role":"assistant","content":"T"},"finish_reason":"stop"}]}}`},
	{Log, `{"response":"a","prompt":M V}`, `"T"`},
}

const hostileRequests = `{"custom_id":"r-1","body":{"messages":[{"role":"user","content":"q"}]}}
{"custom_id":"r-2","body":{"messages":[{"role":"user","content":"q"}]}}
{"custom_id":"r-3","body":{"messages":[{"role":"user","content":"q"}]}}
`

// body makes the nth row of a file.
func (f form) body(n int, main, text, more string) io.Reader {
	row := strings.Replace(f.row, "M", main, 1)
	row = strings.Replace(row, "r-N", fmt.Sprintf("r-%d", n), 1)
	var parts []io.Reader
	for len(row) > 0 {
		i := strings.IndexAny(row, "TV")
		if i < 0 {
			parts = append(parts, strings.NewReader(row))
			break
		}
		parts = append(parts, strings.NewReader(row[:i]))
		if row[i] == 'T' {
			parts = append(parts, expand(text))
		} else if more != "" {
			parts = append(parts, expand(more))
		}
		row = row[i+1:]
	}
	return io.MultiReader(parts...)
}

// expand writes "…⟪n×piece⟫…" out without holding it.
func expand(s string) io.Reader {
	before, rest, ok := strings.Cut(s, "⟪")
	if !ok {
		return strings.NewReader(s)
	}
	what, after, _ := strings.Cut(rest, "⟫")
	var n int
	count, piece, _ := strings.Cut(what, "×")
	if _, err := fmt.Sscan(count, &n); err != nil {
		panic(err)
	}
	times, total := max(1, 8192/len(piece)), n*len(piece)
	return io.MultiReader(strings.NewReader(before), &repeat{piece: strings.Repeat(piece, times), left: total}, expand(after))
}

// repeat reads a piece over and over.
type repeat struct {
	piece string
	at    int
	left  int
}

func (r *repeat) Read(p []byte) (n int, err error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	for n < len(p) && r.left > 0 {
		k := copy(p[n:], r.piece[r.at:min(len(r.piece), r.at+r.left)])
		n, r.left, r.at = n+k, r.left-k, (r.at+k)%len(r.piece)
	}
	return n, nil
}

// hostile is a body and what must become of it: "kept", or the reasons for one
// of which it must be refused.
type hostile struct {
	name string
	main string // in place of the main field's value; "" leaves it
	text string // in place of the text; "" is "x"
	more string // behind the last field
	want string
	raw  string // in place of the whole row
	tail bool   // it takes what follows in an array with it
	max  int64
}

var hostiles = []hostile{
	{name: "plain", want: "kept"},
	{name: "deep lists", more: `,"x":⟪100000×[⟫⟪100000×]⟫`, want: "too_deep"},
	{name: "deep objects", more: `,"x":⟪20000×{"a":⟫1⟪20000×}⟫`, want: "too_deep"},
	{name: "deep and never closed", more: `,"x":⟪100000×[⟫`, want: "too_deep", tail: true},
	{name: "just deep enough", more: `,"x":⟪127×[⟫⟪127×]⟫`, want: "kept"},
	{name: "one too deep", more: `,"x":⟪128×[⟫⟪128×]⟫`, want: "too_deep"},
	{name: "deep main field", main: `⟪1000×[⟫⟪1000×]⟫`, want: "too_deep"},
	{name: "deep tools in a text", more: `,"tools":"⟪5000×[⟫⟪5000×]⟫"`, want: "bad_tools"},
	{name: "2 MB string", text: `⟪2097152×y⟫`, max: 1 << 20, want: "too_large"},
	{name: "2 MB of backslashes", text: `⟪2097152×\\⟫`, max: 1 << 20, want: "too_large"},
	{name: "2 MB of spaces in the row", more: `⟪2097152× ⟫`, max: 1 << 20, want: "too_large"},
	{name: "2 MB of nothing that is known", more: `,"x":"⟪2097152×\"⟫"`, max: 1 << 20, want: "too_large"},
	{name: "2 MB key", more: `,"⟪2097152×k⟫":1`, max: 1 << 20, want: "too_large"},
	{name: "1 MB string", text: `⟪1048576×y⟫`, want: "kept"},
	{name: "1 MB of escapes", text: `⟪174762×\u00e9⟫`, want: "kept"},
	{name: "raw tab in a string", text: "a\tb", want: "bad_json"},
	{name: "raw escape in a string", text: "a\x1bb", want: "bad_json"},
	{name: "string without an end", more: `,"x":"y`, want: "bad_json", tail: true},
	{name: "unknown escape", text: `\q`, want: "bad_json"},
	{name: "short escape", text: `\u12`, want: "bad_json"},
	{name: "escape of no digits", text: `\uZZZZ`, want: "bad_json"},
	{name: "high surrogate alone", text: `\ud83d`, want: "bad_utf8"},
	{name: "low surrogate alone", text: `\ude00`, want: "bad_utf8"},
	{name: "surrogates in the wrong order", text: `\ude00\ud83d`, want: "bad_utf8"},
	{name: "surrogates", text: `\ud83d\ude00`, want: "kept"},
	{name: "NUL in a text", text: `a\u0000b`, want: "nul"},
	{name: "raw NUL in a text", text: "a\x00b", want: "bad_json"},
	{name: "raw NUL between fields", more: ",\x00\"x\":1", want: "bad_json"},
	{name: "NUL in what is not read", more: `,"x":"\u0000"`, want: "kept"},
	{name: "byte that is never UTF-8", text: "a\xffb", want: "bad_utf8"},
	{name: "overlong slash", text: "\xc0\xaf", want: "bad_utf8"},
	{name: "overlong NUL", text: "\xc0\x80", want: "bad_utf8"},
	{name: "surrogate in UTF-8", text: "\xed\xa0\x80", want: "bad_utf8"},
	{name: "half a character", text: "\xe2\x82", want: "bad_utf8"},
	{name: "beyond Unicode", text: "\xf4\x90\x80\x80", want: "bad_utf8"},
	{name: "bad UTF-8 in a key", more: ",\"\xff\":1", want: "bad_utf8"},
	{name: "bad UTF-8 in what is not read", more: ",\"x\":\"\xfe\"", want: "bad_utf8"},
	{name: "byte-order mark in a text", text: "\xef\xbb\xbfa", want: "kept"},
	{name: "noncharacter", text: "\xef\xbf\xbf", want: "kept"},
	{name: "right-to-left override", text: "\u202eabc", want: "kept"},
	{name: "key twice", more: `,"x":1,"x":1`, want: "duplicate_key"},
	{name: "key twice by an escape", more: `,"x":1,"\u0078":1`, want: "duplicate_key"},
	{name: "key twice further down", more: `,"x":[{"y":{"z":1,"z":2}}]`, want: "duplicate_key"},
	{name: "main field twice", more: `,"messages":1,"conversations":1,"instruction":1,"prompt":1,"question":1,"response":1,"chosen":1,"answer":1`, want: "duplicate_key"},
	{name: "empty key twice", more: `,"":1,"":2`, want: "duplicate_key"},
	{name: "keys that differ by case", more: `,"x":1,"X":2`, want: "kept"},
	{name: "last of many keys twice", more: `,"k":0⟪1×,"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"a8":1,"a9":1,"b1":1,"b2":1,"b3":1,"b4":1,"b5":1,"b6":1,"b7":1,"b8":1,"b9":1,"c1":1,"c2":1⟫,"c2":2`, want: "duplicate_key"},
	{name: "number out of range", more: `,"x":1e999999`, want: "kept"},
	{name: "number of 100,000 digits", more: `,"x":⟪100000×9⟫`, want: "kept"},
	{name: "number with a leading zero", more: `,"x":01`, want: "bad_json"},
	{name: "NaN", more: `,"x":NaN`, want: "bad_json"},
	{name: "Infinity", more: `,"x":-Infinity`, want: "bad_json"},
	{name: "minus alone", more: `,"x":-`, want: "bad_json"},
	{name: "hexadecimal", more: `,"x":0x10`, want: "bad_json"},
	{name: "single quotes", more: `,'x':1`, want: "bad_json"},
	{name: "key without quotes", more: `,x:1`, want: "bad_json"},
	{name: "comment", more: `/* x */`, want: "bad_json"},
	{name: "trailing comma", more: `,`, want: "bad_json"},
	{name: "no colon", more: `,"x" 1`, want: "bad_json"},
	{name: "no value", more: `,"x":`, want: "bad_json"},
	{name: "bracket of the wrong kind", more: `,"x":[1}`, want: "bad_json"},
	{name: "bracket that is never closed", more: `,"x":[1`, want: "bad_json", tail: true},
	{name: "closed too often", more: `}`, want: "bad_json"},
	{name: "Python's literals", more: `,"x":None,"y":True`, want: "bad_json"},
	{name: "a million values", more: `,"x":[0⟪1048576×,0⟫]`, want: "too_many"},
	{name: "fifty thousand objects", more: `,"x":[{}⟪50000×,{}⟫]`, want: "kept"},
	{name: "twenty thousand messages", main: `[{"role":"user","content":"x"}⟪20000×,{"role":"user","content":"x"}⟫]`, want: "too_many wrong_type missing_field"},
	{name: "null main field", main: `null`, want: "missing_field no_prompt empty no_answer"},
	{name: "number for the main field", main: `3`, want: "wrong_type missing_field"},
	{name: "boolean for the main field", main: `true`, want: "wrong_type missing_field"},
	{name: "empty text for the main field", main: `""`, want: "wrong_type empty no_answer missing_field"},
	{name: "empty list for the main field", main: `[]`, want: "wrong_type empty no_answer missing_field no_prompt"},
	{name: "empty object for the main field", main: `{}`, want: "wrong_type missing_field"},
	{name: "list of null for the main field", main: `[null]`, want: "wrong_type missing_field"},
	{name: "list of lists for the main field", main: `[[[]]]`, want: "wrong_type missing_field"},
	{name: "object of itself for the main field", main: `{"messages":{"messages":[]}}`, want: "wrong_type missing_field"},
	{name: "tools that are a number", more: `,"tools":7`, want: "bad_tools"},
	{name: "tools that are broken JSON", more: `,"tools":"[{\"name\":"`, want: "bad_tools"},
	{name: "tools with a key twice", more: `,"tools":"[{\"a\":1,\"a\":2}]"`, want: "bad_tools"},
	{name: "system that is a list", more: `,"system":[1]`, want: "wrong_type"},
	{name: "id that is an object", more: `,"id":{"a":1},"model":[1],"gold":{"a":[]}`, want: "kept"},
	{name: "row that is null", raw: `null`, want: "wrong_type"},
	{name: "row that is a number", raw: `1`, want: "wrong_type"},
	{name: "row that is a text", raw: `"x"`, want: "wrong_type"},
	{name: "row that is a list", raw: `[{"role":"user","content":"x"}]`, want: "wrong_type"},
	{name: "row that is empty", raw: `{}`, want: "missing_field"},
	{name: "row that is a word", raw: `xyzzy`, want: "bad_json"},
	{name: "row that is a NUL", raw: "\x00", want: "bad_json"},
	{name: "row that is binary", raw: "\x89PNG\x1a\xff\xd8", want: "bad_json bad_utf8"},
	{name: "row with a key of 100,000 escapes", more: `,"⟪100000×\u0041⟫":1`, want: "kept"},
}

// Every hostile body of every format stands between two good rows, in both
// layouts. It is kept or refused by its rule, and the rows around it are kept.
func TestHostileBodiesAreRefusedOrKeptByRule(t *testing.T) {
	bodies := 0
	for k, f := range forms {
		for i := range hostiles {
			h := &hostiles[i]
			for l, layout := range []string{layoutLines, layoutArray} {
				if h.long() && (k+l)%2 == 1 { // in one layout is enough
					continue
				}
				bodies++
				if problem := f.between(h, layout); problem != "" {
					t.Errorf("%s, %s, %s: %s", f.format, h.name, layout, problem)
				}
			}
		}
	}
	if bodies < 300 {
		t.Errorf("%d bodies", bodies)
	}
}

// long reports whether a body has a megabyte or more.
func (h *hostile) long() bool {
	return h.max > 0 || strings.Contains(h.text+h.more, "⟪1048576×") || strings.Contains(h.text, "⟪174762×")
}

func (f form) between(h *hostile, layout string) string {
	good := func(n int) io.Reader { return f.body(n, f.main, "x", "") }
	bad := f.body(2, firstOf(h.main, f.main), firstOf(h.text, "x"), h.more)
	if strings.Contains(h.main, "⟪") {
		before, after, _ := strings.Cut(strings.NewReplacer("r-N", "r-2", "V", "").Replace(f.row), "M")
		bad = io.MultiReader(strings.NewReader(before), expand(h.main), strings.NewReader(after))
	}
	if h.raw != "" {
		bad = strings.NewReader(h.raw)
	}
	open, sep, end := "", "\n", "\n"
	if layout == layoutArray {
		open, sep, end = "[", ",", "]"
	}
	file := io.MultiReader(strings.NewReader(open), good(1), strings.NewReader(sep), bad, strings.NewReader(sep), good(3), strings.NewReader(end))
	opt := Options{Format: f.format, MaxRow: h.max}
	if f.format == Batch {
		opt.Requests = strings.NewReader(hostileRequests)
	}
	var kept []int64
	rep, err := Read(context.Background(), file, opt, func(it *Item) error {
		kept = append(kept, it.Row)
		return nil
	})
	if err != nil {
		return err.Error()
	}
	got := "kept"
	for reason, n := range rep.Refused {
		if n != 1 || got != "kept" || len(rep.Samples[reason]) != 1 || rep.Samples[reason][0].Row != 2 {
			return fmt.Sprintf("refused %v: %v", rep.Refused, rep.Samples)
		}
		got = reason
	}
	if layout == layoutArray && h.tail {
		if rep.Rows != 2 || rep.Kept != 1 || rep.Damage == "" {
			return fmt.Sprintf("%d rows, %d kept, damage %q: a row that never ends takes the rest with it", rep.Rows, rep.Kept, rep.Damage)
		}
		return ""
	}
	want := []int64{1, 3}
	if got == "kept" {
		want = []int64{1, 2, 3}
	}
	if rep.Rows != 3 || rep.Kept != int64(len(want)) || !slices.Equal(kept, want) {
		return fmt.Sprintf("%d rows, kept %v, refused %v (%v)", rep.Rows, kept, rep.Refused, rep.Samples)
	}
	if !slices.Contains(strings.Fields(h.want), got) {
		return fmt.Sprintf("%s (%v), want %s", got, rep.Samples[got], h.want)
	}
	return ""
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// A text of 100 MB is longer than a row may be. It is passed over without being
// held, and so is an array without an end.
func TestHundredMegabytesAreNotHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 400 MB")
	}
	var before, after runtime.MemStats
	for name, file := range map[string]string{
		"lines":      `{"prompt":"q","response":"⟪100000000×y⟫"}` + "\n" + `{"prompt":"q","response":"a"}`,
		"array":      `[{"prompt":"q","response":"⟪50000000×\"⟫"},{"prompt":"q","response":"a"}]`,
		"open array": `[{"prompt":"q","response":"a"},{"x":⟪100000000×[⟫`,
		"spaces":     `[⟪100000000× ⟫{"prompt":"q","response":"a"}]`,
	} {
		runtime.GC()
		runtime.ReadMemStats(&before)
		rep, err := Read(context.Background(), expand(file), Options{Format: Log, MaxRow: 16 << 20}, func(*Item) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		counted(t, rep)
		if rep.Kept != 1 || rep.Bytes < 100_000_000 {
			t.Errorf("%s: %+v", name, rep)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Errorf("%s: %d MB were allocated", name, took>>20)
		}
	}
}
