// Command import is our side of the import bench: it writes a ShareGPT file of
// any size, and reads one through the importer. See README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"retort/importer"
)

// result is what one reading measured, on one line of standard output.
type result struct {
	Seconds float64          `json:"seconds"` // wall clock, from open to the last row
	Bytes   int64            `json:"bytes"`
	Rows    int64            `json:"rows"`
	Kept    int64            `json:"kept"`
	Items   int64            `json:"items"`
	Chars   int64            `json:"chars"` // of all messages and answers, so that nothing is left unread
	Leaks   map[string]int64 `json:"leaks"`
	Format  string           `json:"format"`
	PeakKB  int64            `json:"peak_rss_kb"` // VmHWM of this process; 0 where the system does not say
}

func main() {
	gen := flag.Int64("generate", 0, "write a file of about so many bytes to the path, in place of reading it")
	array := flag.Bool("array", false, "write one JSON array in place of JSON lines")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: import [-generate BYTES [-array]] PATH")
		os.Exit(2)
	}
	var err error
	if *gen > 0 {
		err = generate(flag.Arg(0), *gen, *array)
	} else {
		err = read(flag.Arg(0), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/import:", err)
		os.Exit(1)
	}
}

func read(path string, out io.Writer) error {
	start := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var res result
	rep, err := importer.Read(context.Background(), f, importer.Options{Name: path}, func(it *importer.Item) error {
		for i := range it.Messages {
			res.Chars += int64(len(it.Messages[i].Content))
		}
		res.Chars += int64(len(it.Answer.Content) + len(it.Answer.Reasoning))
		return nil
	})
	if err != nil {
		return err
	}
	res.Seconds = time.Since(start).Seconds()
	res.Bytes, res.Rows, res.Kept, res.Items, res.Format = rep.Bytes, rep.Rows, rep.Kept, rep.Items, string(rep.Format)
	res.Leaks = make(map[string]int64)
	for _, l := range rep.Leaks {
		res.Leaks[l.Pattern] = l.Count
	}
	res.PeakKB = peak()
	return json.NewEncoder(out).Encode(res)
}

// peak reads the greatest resident size of this process from Linux.
func peak() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kb int64
			if _, err := fmt.Sscan(rest, &kb); err == nil {
				return kb
			}
		}
	}
	return 0
}

// What a conversation has of each.
const (
	words    = 6000
	shareRow = 3 // percent of rows in another script
	codeTurn = 12
	leakTurn = 0.6 // of an assistant's turns say who they are
	talkTurn = 3   // talk about models and their makers without claiming to be one
)

// generate writes conversations of invented words: prose, lists, code and other
// scripts, of the lengths that ShareGPT has.
func generate(path string, size int64, array bool) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	g := newWriter()
	if array {
		w.WriteString("[\n")
	}
	var line []byte
	for n, row := int64(0), 0; n < size; row++ {
		if array && row > 0 {
			w.WriteString(",\n")
		}
		line = g.row(line[:0], row)
		w.Write(line)
		if !array {
			w.WriteByte('\n')
		}
		n += int64(len(line)) + 2
	}
	if array {
		w.WriteString("\n]\n")
	}
	return w.Flush()
}

type writer struct {
	rng   *rand.Rand
	plain []string
	other []string
	text  strings.Builder
}

func newWriter() *writer {
	g := &writer{rng: rand.New(rand.NewPCG(2023, 4))}
	syllables := strings.Fields("a be ca con de di en er es fo ge he in is ka la le li lo ma me mi mo na ne ni no or pa pe po ra re ri ro sa se si so ta te ti to tra tu un ve vi")
	for range words {
		var b strings.Builder
		for range 1 + g.rng.IntN(4) {
			b.WriteString(syllables[g.rng.IntN(len(syllables))])
		}
		g.plain = append(g.plain, b.String())
		b.Reset()
		for range 1 + g.rng.IntN(3) {
			b.WriteRune(rune(0x4e00 + g.rng.IntN(6000)))
		}
		g.other = append(g.other, b.String())
	}
	return g
}

// word draws from a skewed distribution, as words are.
func (g *writer) word(from []string) string {
	u := g.rng.Float64()
	return from[int(u*u*u*float64(len(from)))]
}

func (g *writer) row(dst []byte, n int) []byte {
	other := g.rng.Float64()*100 < shareRow
	dst = fmt.Appendf(dst, `{"id":"gen_%d","conversations":[`, n)
	for turn := range 1 + g.rng.IntN(6) {
		if turn > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"from":"human","value":`...)
		dst = g.say(dst, 8+g.rng.IntN(60), other, false)
		dst = append(dst, `},{"from":"gpt","value":`...)
		dst = g.say(dst, 60+g.rng.IntN(400), other, true)
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// say writes a text of so many words as JSON.
func (g *writer) say(dst []byte, length int, other, assistant bool) []byte {
	b := &g.text
	b.Reset()
	from := g.plain
	if other {
		from = g.other
	}
	if assistant && g.rng.Float64()*100 < leakTurn {
		b.WriteString([]string{"As an AI language model, I cannot say. ", "I am ChatGPT, a large language model trained by OpenAI. ", "I'm Claude, made by Anthropic. "}[g.rng.IntN(3)])
	}
	code := assistant && g.rng.Float64()*100 < codeTurn
	talk := g.rng.Float64()*100 < talkTurn
	for i := range length {
		switch {
		case i > 0 && i%90 == 0:
			b.WriteString(".\n\n")
		case i > 0 && i%23 == 0:
			b.WriteString(".\n- ")
		case i > 0 && i%11 == 0:
			b.WriteString(", ")
		case i > 0:
			b.WriteByte(' ')
		}
		if talk && i == length/2 {
			b.WriteString("Google and OpenAI build language models")
		}
		if code && i == length/3 {
			fmt.Fprintf(b, "\n\n```python\ndef %s(x):\n\treturn \"%s\" + x[\"%d\"]\n```\n\n", g.word(g.plain), g.word(from), i)
		}
		b.WriteString(g.word(from))
	}
	text, err := json.Marshal(b.String())
	if err != nil {
		return dst // a string is always JSON
	}
	return append(dst, text...)
}
