package simulate

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed corpus
var excerpts embed.FS

// World holds what calls are made of. It is read only and safe for concurrent use.
type World struct {
	chat      []string  // what people ask a chat model
	tasks     []string  // instructions, some with an input
	questions []string  // with one right answer
	code      lengths   // of a service for code
	talk      lengths   // of a service for conversations
	gaps      []float64 // between requests, in seconds
	meanGap   float64
	text      *grammar

	// Real says which of the real sets it has whole, for people to read.
	Real []string
}

// lengths are tokens in and out of real requests.
type lengths []struct{ in, out float64 }

func (l lengths) draw(rng *rand.Rand) (in, out float64) {
	v := l[rng.IntN(len(l))]
	// Between the trace's own values, so that no two thousand accounts share them.
	return v.in * lognormal(rng, 0, 0.1), v.out * lognormal(rng, 0, 0.1)
}

// Load reads the real sets from a folder that is laid out as docs/formats/simulate.md
// says; without one, dir "", it has the excerpts that are part of the program.
// Files of the user's own, one prompt a line, are added to what people ask.
func Load(dir string, own ...string) (*World, error) {
	w := &World{text: newGrammar()}
	sub, err := fs.Sub(excerpts, "corpus")
	if err != nil {
		return nil, err
	}
	from := sub
	if dir != "" {
		from = os.DirFS(dir)
	}
	for _, s := range []struct {
		name string
		read func(*World, []byte) error
	}{
		{"prompts/mt_bench.jsonl", (*World).turns}, {"prompts/vicuna_bench.jsonl", (*World).turns},
		{"prompts/self_instruct_user_oriented.jsonl", (*World).instructions}, {"prompts/self_instruct_seed_tasks.jsonl", (*World).instructions},
		{"gsm8k/train.jsonl", (*World).asked},
		{"traces/azure_conv.csv", func(w *World, b []byte) error { return w.trace(b, &w.talk) }},
		{"traces/azure_code.csv", func(w *World, b []byte) error { return w.trace(b, &w.code) }},
	} {
		b, err := fs.ReadFile(from, s.name)
		switch {
		case err == nil && dir != "":
			w.Real = append(w.Real, s.name)
		case err != nil:
			if b, err = fs.ReadFile(sub, s.name); err != nil {
				return nil, fmt.Errorf("simulate: %w", err)
			}
		}
		if err := s.read(w, b); err != nil {
			return nil, fmt.Errorf("simulate: %s: %w", filepath.Join(dir, s.name), err)
		}
	}
	for _, g := range w.gaps {
		w.meanGap += g / float64(len(w.gaps))
	}
	for _, name := range own {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("simulate: %w", err)
		}
		n := len(w.chat)
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" {
				w.chat = append(w.chat, line)
			}
		}
		if len(w.chat) == n {
			return nil, fmt.Errorf("simulate: %s holds no prompt: it needs one a line", name)
		}
	}
	return w, nil
}

// rows calls fn with each line that is a JSON object.
func rows[T any](b []byte, fn func(T)) error {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 16<<20)
	for n := 1; s.Scan(); n++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		fn(v)
	}
	return s.Err()
}

func (w *World) turns(b []byte) error {
	return rows(b, func(v struct {
		Turns []string `json:"turns"`
		Text  string   `json:"text"`
	}) {
		w.chat = append(w.chat, v.Turns...)
		if v.Text != "" {
			w.chat = append(w.chat, v.Text)
		}
	})
}

func (w *World) instructions(b []byte) error {
	return rows(b, func(v struct {
		Instruction string `json:"instruction"`
		Instances   []struct {
			Input string `json:"input"`
		} `json:"instances"`
	}) {
		text := v.Instruction
		if len(v.Instances) > 0 && v.Instances[0].Input != "" && len(v.Instances[0].Input) < 800 {
			text += "\n\n" + v.Instances[0].Input
		}
		if text != "" {
			w.tasks = append(w.tasks, text)
		}
	})
}

func (w *World) asked(b []byte) error {
	return rows(b, func(v struct {
		Question string `json:"question"`
	}) {
		if v.Question != "" {
			w.questions = append(w.questions, v.Question)
		}
	})
}

// trace reads arrivals and lengths as Azure publishes them.
func (w *World) trace(b []byte, into *lengths) error {
	var before time.Time
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Split(strings.TrimSpace(line), ",")
		if i == 0 || len(f) != 3 {
			continue
		}
		at, err := time.Parse("2006-01-02 15:04:05.9999999", f[0])
		in, err1 := strconv.ParseFloat(f[1], 64)
		out, err2 := strconv.ParseFloat(f[2], 64)
		if err != nil || err1 != nil || err2 != nil {
			return fmt.Errorf("line %d: %q is not a time and two numbers of tokens", i+1, line)
		}
		*into = append(*into, struct{ in, out float64 }{in, max(out, 1)})
		if gap := at.Sub(before).Seconds(); !before.IsZero() && gap > 0 && gap < 60 {
			w.gaps = append(w.gaps, gap)
		}
		before = at
	}
	if len(*into) == 0 {
		return fmt.Errorf("it holds no request")
	}
	return nil
}

// gap draws a time between two calls of a machine, with the burstiness of the
// trace and about the given mean, in seconds.
func (w *World) gap(rng *rand.Rand, mean float64) float64 {
	return w.gaps[rng.IntN(len(w.gaps))] / w.meanGap * mean * lognormal(rng, 0, 0.2)
}

func lognormal(rng *rand.Rand, mu, sigma float64) float64 {
	return math.Exp(mu + sigma*rng.NormFloat64())
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func between(rng *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }
