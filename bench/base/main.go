// Command base compares the logits of base models, as student/base reads them, with
// those that transformers has left beside them. See README.md.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/base"
	"retort/student/model"
)

// most is the largest difference of logits that counts as the same model.
const most = 1e-2

func main() {
	work := flag.String("work", "", "the folder that peer.py has filled")
	record := flag.String("record", "", "a file to append the figures to")
	templates := flag.String("render", "", "a file of chat templates and conversations that template.py has written: print the renderings instead")
	encoded := flag.String("encode", "", "a base: print the tokens of the JSON strings on standard input instead")
	flag.Parse()
	var err error
	switch {
	case *templates != "":
		err = render(*templates, os.Stdout)
	case *encoded != "":
		err = encode(*encoded, os.Stdin, os.Stdout)
	default:
		err = run(*work, *record, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/base:", err)
		os.Exit(1)
	}
}

// peer is what transformers says of a model.
type peer struct {
	Path   string    `json:"path"`
	Tokens [][]int32 `json:"tokens"`
	Vocab  int       `json:"vocab"`
}

func run(work, record string, out io.Writer) error {
	files, err := filepath.Glob(filepath.Join(work, "*.json"))
	if err != nil {
		return err
	}
	pool := kernel.NewPool(0)
	defer pool.Close()
	r := trial.NewReport("base", fmt.Sprintf("%d models", len(files)), record)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		pass, decode, b, err := compare(strings.TrimSuffix(file, ".json"), pool)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n, _ := b.Model.Config().Params()
		r.Line("%s (%s, %.2f M parameters): logits differ by at most %.1e in the training pass, %.1e in decoding", name, b.Architecture, float64(n)/1e6, pass, decode)
		r.Figure(name, max(pass, decode))
		if !(max(pass, decode) < most) {
			err = fmt.Errorf("%s: logits differ by %g, more than %g", name, max(pass, decode), most)
			fmt.Fprintln(out, err)
			return err
		}
	}
	return r.Print(out)
}

// compare returns the largest differences of the training pass and of decoding.
func compare(stem string, pool *kernel.Pool) (pass, decode float64, b *base.Base, err error) {
	text, err := os.ReadFile(stem + ".json")
	if err != nil {
		return 0, 0, nil, err
	}
	var p peer
	if err := json.Unmarshal(text, &p); err != nil {
		return 0, 0, nil, err
	}
	raw, err := os.ReadFile(stem + ".logits")
	if err != nil {
		return 0, 0, nil, err
	}
	if b, err = base.Read(p.Path); err != nil {
		return 0, 0, nil, err
	}
	if v := b.Model.Config().VocabSize; v != p.Vocab {
		return 0, 0, nil, fmt.Errorf("the vocabulary has %d tokens here and %d there", v, p.Vocab)
	}
	worst := func(got []float32, at int) (d float64) {
		for i, v := range got {
			want := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*(at+i):]))
			d = max(d, math.Abs(float64(v-want)))
		}
		return d
	}
	length := len(p.Tokens[0])
	trained := model.NewPass(b.Model, pool, length)
	decoder := model.NewDecoder(b.Model, pool, model.DecoderOptions{MaxContext: length})
	for i, tokens := range p.Tokens {
		at := i * length * p.Vocab
		logits, err := trained.Logits(model.Batch{Tokens: tokens, Targets: make([]int32, length), Starts: []int{0}})
		if err != nil {
			return 0, 0, nil, err
		}
		pass = max(pass, worst(logits, at))
		decoder.Reset(0)
		half := length / 2 // read at once, and the rest token by token
		if logits, err = decoder.Prefill(0, tokens[:half]); err != nil {
			return 0, 0, nil, err
		}
		for j := half; ; j++ {
			decode = max(decode, worst(logits, at+(j-1)*p.Vocab))
			if j == length {
				break
			}
			if logits, err = decoder.Read([]model.Chunk{{Tokens: tokens[j : j+1]}}); err != nil {
				return 0, 0, nil, err
			}
		}
	}
	return pass, decode, b, nil
}
