// Command smollm asks how fast a quantised base model is read and continued, here and
// by llama.cpp, of the same file, and how near either stays to the numbers that the
// file stands for. See README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"retort/bench/gguf"
	"retort/bench/server"
	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/base"
	"retort/student/model"
)

func main() {
	var b bench
	flag.StringVar(&b.llama, "llama", "", "the directory of llama.cpp's programs")
	flag.StringVar(&b.binary, "binary", "", "the retort binary")
	flag.StringVar(&b.file, "file", "", "a quantised GGUF file")
	flag.StringVar(&b.work, "work", "", "an existing directory for logs")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.StringVar(&b.only, "only", "", "one question: speed, serve or kl")
	flag.StringVar(&b.suffix, "suffix", "", "of the figures' names")
	flag.IntVar(&b.rounds, "rounds", 7, "how many rounds of speed are measured")
	flag.IntVar(&b.load.Rounds, "serve-rounds", 3, "how many rounds of serving are measured")
	flag.IntVar(&b.load.Requests, "requests", 48, "of such a round")
	flag.IntVar(&b.positions, "positions", 400, "at least so many are compared")
	flag.Parse()
	if err := b.run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/smollm:", err)
		os.Exit(1)
	}
}

type bench struct {
	llama, binary, file, work, record, only, suffix string
	rounds, positions                               int
	load                                            server.Load
}

// Of a speed: tokens of the prompt, or of what stands before those that are decoded.
const (
	context = 512
	decoded = 48
)

func (b *bench) run(stdout, stderr io.Writer) error {
	build, err := gguf.LlamaVersion(b.llama)
	if err != nil {
		return err
	}
	m, err := base.Open(b.file)
	if err != nil {
		return err
	}
	defer m.Close()
	if !m.InBlocks() {
		return fmt.Errorf("%s holds no matrix in blocks", b.file)
	}
	report := trial.NewReport("smollm", fmt.Sprintf("%d rounds of %d and %d tokens, %d of %d requests, llama.cpp %s", b.rounds, context, decoded, b.load.Rounds, b.load.Requests, build), b.record)
	for _, part := range []struct {
		name string
		do   func(*trial.Report, *base.Base, io.Writer) error
	}{{"speed", b.speed}, {"serve", b.serve}, {"kl", b.divergence}} {
		if b.only == "" || b.only == part.name {
			if err := part.do(report, m, stderr); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return report.Print(stdout)
}

// scene is one thing whose speed is measured.
type scene struct {
	what    string // prefill or decode
	threads int
}

func (s scene) String() string { return fmt.Sprintf("%s_%dt", s.what, s.threads) }

// attention are llama.cpp's settings that matter: the faster counts.
var attention = []string{"off", "on"}

// speed measures reading a prompt and continuing it, side by side.
func (b *bench) speed(report *trial.Report, m *base.Base, stderr io.Writer) error {
	var scenes []scene
	decoders, best := map[int]*model.Decoder{}, map[scene]string{}
	for _, threads := range []int{1, 2} {
		pool := kernel.NewPool(threads)
		defer pool.Close()
		d, err := model.LoadDecoder(m, pool, model.DecoderOptions{MaxContext: 2 * context, Format: kernel.FormatBlocks})
		if err != nil {
			return err
		}
		decoders[threads] = d
		scenes = append(scenes, scene{"prefill", threads}, scene{"decode", threads})
	}
	for _, s := range scenes {
		most := 0.0
		for _, fa := range attention {
			rate, err := b.theirRate(s, fa, 2)
			if err != nil {
				return err
			}
			if rate > most {
				most, best[s] = rate, fa
			}
		}
		fmt.Fprintf(stderr, "%v: llama.cpp is faster with -fa %s: %.0f tokens/s\n", s, best[s], most)
	}
	ours, theirs, ratios := map[scene][]float64{}, map[scene][]float64{}, map[scene][]float64{}
	for round := range b.rounds {
		for _, s := range scenes {
			measure := []func() error{
				func() error {
					rate, err := ourRate(decoders[s.threads], m.Config().VocabSize, s)
					ours[s] = append(ours[s], rate)
					return err
				},
				func() error {
					rate, err := b.theirRate(s, best[s], 1)
					theirs[s] = append(theirs[s], rate)
					return err
				},
			}
			if round%2 == 1 {
				slices.Reverse(measure)
			}
			for _, f := range measure {
				if err := f(); err != nil {
					return err
				}
			}
			ratios[s] = append(ratios[s], ours[s][round]/theirs[s][round])
			fmt.Fprintf(stderr, "round %d, %v: ours %.0f, llama.cpp %.0f tokens/s\n", round+1, s, ours[s][round], theirs[s][round])
		}
	}
	for _, s := range scenes {
		report.Median(s.String()+b.suffix, fmt.Sprintf("%s, %d threads: ours %.0f, llama.cpp (-fa %s) %.0f tokens/s, ratio", s.what, s.threads,
			trial.Middle(ours[s]), best[s], trial.Middle(theirs[s])), "%.2f", ratios[s])
	}
	for _, what := range []string{"prefill", "decode"} {
		lower := ratios[scene{what, 1}]
		if two := ratios[scene{what, 2}]; trial.Middle(two) < trial.Middle(lower) {
			lower = two
		}
		report.Median(what+b.suffix, what+", the lower of 1 and 2 threads", "%.2f", lower)
	}
	return nil
}

// ourRate is tokens per second of a decoder, the better of two times as llama-bench
// warms up.
func ourRate(d *model.Decoder, vocab int, s scene) (float64, error) {
	prompt := make([]int32, context)
	for i := range prompt {
		prompt[i] = int32((i*i*7 + i) % vocab)
	}
	read := func(n int, chunk func(i int) model.Chunk) (float64, error) {
		began := time.Now()
		for i := range n {
			if _, err := d.Read([]model.Chunk{chunk(i)}); err != nil {
				return 0, err
			}
		}
		return time.Since(began).Seconds(), nil
	}
	whole := func(int) model.Chunk { return model.Chunk{Tokens: prompt, Prompt: true} }
	d.Reset(0)
	if _, err := read(1, whole); err != nil {
		return 0, err
	}
	if s.what == "prefill" {
		d.Reset(0)
		took, err := read(1, whole)
		return context / took, err
	}
	next := func(i int) model.Chunk { return model.Chunk{Tokens: []int32{int32(i * 31 % vocab)}} }
	if _, err := read(1, next); err != nil {
		return 0, err
	}
	took, err := read(decoded, next)
	return decoded / took, err
}

// theirRate is the same of llama-bench.
func (b *bench) theirRate(s scene, fa string, repetitions int) (float64, error) {
	flags := []string{"-p", strconv.Itoa(context), "-n", "0"}
	if s.what == "decode" {
		flags = []string{"-p", "0", "-n", strconv.Itoa(decoded), "-d", strconv.Itoa(context)}
	}
	return gguf.LlamaBench(b.llama, b.file, s.threads, repetitions, append(flags, "-fa", fa)...)
}

// serve measures what eight clients get from both servers.
func (b *bench) serve(report *trial.Report, m *base.Base, stderr io.Writer) error {
	load := b.load
	load.Clients, load.Vocab, load.End = 8, m.Config().VocabSize, m.EOS
	names, commands := load.LlamaServers(b.llama, b.file)
	commands["ours"] = func(port string) *exec.Cmd {
		return exec.Command(b.binary, "serve", b.file, "--slots", "8", "--context", "1024", "--threads", "2", "--listen", "127.0.0.1:"+port)
	}
	found, err := load.Contest(append([]string{"ours"}, names...), commands, b.work, stderr)
	if err != nil {
		return err
	}
	found.Report(report, "ours", "serve8"+b.suffix, "serve8_ttft_p99"+b.suffix)
	return nil
}
