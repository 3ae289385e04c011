// Command parity is this program's side of bench/parity: it makes small models,
// and says what our own tokenizer, template and engine make of inputs, in files
// and lines that the Python side compares with what other programs say.
//
//	parity make DIR               random dense and mixture models in DIR
//	parity check MODELDIR         the passport against the files
//	parity reference MODELDIR OUT [N]
//	                              N prompts (64), greedy continuations and logits
//	parity encode MODELDIR        JSON strings on stdin → token ids
//	parity decode MODELDIR        JSON arrays of ids on stdin → JSON strings
//	parity render MODELDIR        JSON conversations on stdin → text and ids
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/internal/modelfile"
	"retort/student/chat"
	"retort/student/export"
	"retort/student/model"
	"retort/student/tokenizer"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: parity make|check|reference|encode|decode|render DIR [OUT]")
	}
	if args[0] == "make" {
		return makeModels(args[1])
	}
	if args[0] == "check" {
		_, err := export.Verify(args[1])
		return err
	}
	m, format, err := export.Load(args[1])
	if err != nil {
		return err
	}
	tok := format.Tokenizer()
	switch {
	case args[0] == "reference" && len(args) >= 3:
		n := prompts
		if len(args) > 3 {
			if n, err = strconv.Atoi(args[3]); err != nil || n < 1 || n > prompts {
				return fmt.Errorf("%q prompts, want 1 to %d", args[3], prompts)
			}
		}
		return reference(m, format, args[2], n)
	case args[0] == "encode":
		return lines(func(text string) any {
			return map[string][]int32{"ids": tok.Encode(text), "ordinary": tok.EncodeOrdinary(text)}
		})
	case args[0] == "decode":
		return lines(func(ids []int32) any {
			s := tok.NewStream()
			streamed := ""
			for _, id := range ids {
				streamed += s.Next(id)
			}
			return map[string]string{"text": tok.Decode(ids), "streamed": streamed + s.Flush()}
		})
	case args[0] == "render":
		return lines(func(c conversation) any {
			ids, err := format.Prompt(c.Messages)
			if err != nil {
				return map[string]any{"error": err.Error()}
			}
			return map[string]any{"text": chat.Render(c.Messages, c.Generate), "prompt": ids}
		})
	}
	return fmt.Errorf("unknown command %q", args)
}

type conversation struct {
	Messages []exchange.Message `json:"messages"`
	Generate bool               `json:"generate"`
}

// lines answers each JSON value on stdin with a line of JSON on stdout.
func lines[T any](answer func(T) any) error {
	in := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for {
		var v T
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return out.Flush()
		} else if err != nil {
			return err
		}
		if err := enc.Encode(answer(v)); err != nil {
			return err
		}
	}
}

// makeModels exports a dense model, a mixture with a query latent whose sizes
// are no powers of two, one of them with tied embeddings, each with a GGUF in
// both layouts, one in half precision and one in blocks.
func makeModels(dir string) error {
	tok, err := tokenizer.Train(slices.Values(trainingTexts()), tokenizer.Options{VocabSize: 640})
	if err != nil {
		return err
	}
	dense, err := model.Preset("tiny-dense", tok.VocabSize())
	if err != nil {
		return err
	}
	moe, err := model.Preset("tiny-moe", tok.VocabSize())
	if err != nil {
		return err
	}
	odd := model.Config{
		VocabSize: tok.VocabSize(), Hidden: 120, Layers: 3, Heads: 3, NopeDim: 24, RopeDim: 16, VDim: 20, KVLoraRank: 40, QLoraRank: 36,
		Intermediate: 200, MoEIntermediate: 72, RoutedExperts: 6, SharedExperts: 2, TopK: 3, DenseLayers: 1,
		RopeTheta: 10000, NormEps: 1e-5, MaxPositions: 512, RoutedScale: 1.5, TieEmbeddings: true,
	}
	for i, c := range []struct {
		name   string
		config model.Config
	}{{"dense", dense}, {"moe", moe}, {"odd", odd}} {
		m, err := model.New(c.config, uint64(i+1))
		if err != nil {
			return err
		}
		biasRouters(m, uint64(i+1))
		opt := export.Options{Formats: []export.Format{export.HuggingFace, export.GGUF}, Lineage: export.Lineage{Name: "parity " + c.name}}
		for suffix, change := range map[string]func(*export.Options){
			"":        func(*export.Options) {},
			"-legacy": func(o *export.Options) { o.GGUFLayout = export.Legacy },
			"-f16":    func(o *export.Options) { o.GGUFType = modelfile.F16 },
			"-q8_0":   func(o *export.Options) { o.GGUFType = modelfile.Q8_0 },
		} {
			o := opt
			change(&o)
			if _, err := export.Write(context.Background(), filepath.Join(dir, c.name+suffix), m, chat.Own(tok), o); err != nil {
				return err
			}
		}
	}
	return nil
}

// biasRouters gives the routers' selection biases, which start at 0, values, so
// that a reader that weighs experts with them is found out. Norms too.
func biasRouters(m *model.Model, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 99))
	for _, t := range m.Tensors() {
		if len(t.Shape) == 1 {
			for i := range t.Data {
				t.Data[i] += float32(0.2 * rng.NormFloat64())
			}
		}
	}
}

func trainingTexts() []string {
	rng := rand.New(rand.NewPCG(3, 4))
	var texts []string
	for range 400 {
		a, b := rng.IntN(90)+10, rng.IntN(90)+10
		texts = append(texts,
			fmt.Sprintf("user\nWhat is %d times %d? Write your working down, then the answer.", a, b),
			fmt.Sprintf("%d*%d: %d*%d=%d, carry %d. So the answer is %d.\n", a, b, a, b%10, a*(b%10), a/10, a*b))
	}
	return append(texts, "assistant\n", "system\nYou are brief. Don't explain; we'll see.",
		"naïve café — “quoted” 東京 東京 日本語 日本語 Привет, Привет мир! мир! 😀😀👩‍👩‍👧 नमस्ते नमस्ते\n\n\n\t\tx\r\n  y   z")
}

const (
	prompts = 64
	steps   = 64
)

// reference writes, for n prompts: the tokens, 64 greedy ones after them, the
// decoder's logits for each of these, and the training pass's logits at the same
// positions, as little-endian float32 [prompt, step, vocab].
func reference(m *model.Model, format *chat.Format, out string, n int) error {
	c := m.Config()
	if c.MaxPositions < 2*steps {
		return fmt.Errorf("the model takes %d tokens, want at least %d", c.MaxPositions, 2*steps)
	}
	pool := kernel.NewPool(0)
	defer pool.Close()
	decoder := model.NewDecoder(m, pool, model.DecoderOptions{MaxContext: 2 * steps})
	pass := model.NewPass(m, pool, 2*steps)
	var decoded, passed []float32
	ids, err := promptIDs(format, format.Tokenizer().VocabSize())
	if err != nil {
		return err
	}
	ids = ids[:n]
	greedy := make([][]int32, n)
	for i, prompt := range ids {
		decoder.Reset(0)
		logits, err := decoder.Prefill(0, prompt)
		for j := 0; err == nil; j++ {
			decoded = append(decoded, logits...)
			next := argmax(logits)
			greedy[i] = append(greedy[i], next)
			if j+1 == steps {
				break
			}
			logits, err = decoder.Read([]model.Chunk{{Tokens: []int32{next}}})
		}
		if err != nil {
			return err
		}
		batch := model.Batch{Tokens: slices.Concat(prompt, greedy[i][:steps-1]), Starts: []int{0}}
		batch.Targets = make([]int32, len(batch.Tokens))
		for j := range batch.Targets {
			batch.Targets[j] = -1
			if j >= len(prompt)-1 {
				batch.Targets[j] = greedy[i][j-len(prompt)+1]
			}
		}
		logits, err = pass.Logits(batch)
		if err != nil {
			return err
		}
		passed = append(passed, logits...)
	}
	data, err := json.Marshal(map[string]any{"prompts": ids, "greedy": greedy, "vocab": c.VocabSize})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "reference.json"), data, 0o644); err != nil {
		return err
	}
	for name, x := range map[string][]float32{"decoder.f32": decoded, "pass.f32": passed} {
		b := make([]byte, 0, 4*len(x))
		for _, v := range x {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		if err := os.WriteFile(filepath.Join(out, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// promptIDs are 64 prompts of up to 64 tokens: conversations, and tokens drawn
// at random.
func promptIDs(format *chat.Format, vocab int) ([][]int32, error) {
	rng := rand.New(rand.NewPCG(11, 12))
	out := make([][]int32, prompts)
	for i := range out {
		if i%2 == 0 {
			ids, err := format.Prompt([]exchange.Message{{Role: "user", Content: fmt.Sprintf("What is %d times %d?", rng.IntN(100), rng.IntN(100))}})
			if err != nil {
				return nil, err
			}
			out[i] = ids[max(0, len(ids)-steps):]
			continue
		}
		for range 2 + rng.IntN(steps-2) {
			out[i] = append(out[i], int32(rng.IntN(vocab)))
		}
	}
	return out, nil
}
