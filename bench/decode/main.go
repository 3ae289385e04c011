// Command decode asks how fast one sequence is continued, by our decoder and by
// llama.cpp, on the same weights. See README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"retort/bench/gguf"
	"retort/bench/trial"
	"retort/internal/kernel"
	"retort/student/export"
	"retort/student/model"
)

func main() {
	var b bench
	flag.StringVar(&b.llama, "llama", "", "the directory of llama.cpp's programs")
	flag.StringVar(&b.work, "work", "", "an existing directory for model files")
	flag.StringVar(&b.record, "record", "", "a file to append the figures to")
	flag.IntVar(&b.rounds, "rounds", 7, "how many rounds are measured")
	flag.IntVar(&b.tokens, "tokens", 96, "to continue a sequence by, each time")
	only := flag.String("only", "", "one student: mla, moe or quickstart")
	flag.StringVar(&b.suffix, "suffix", "", "of the figures' names")
	flag.Parse()
	if err := b.run(*only, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench/decode:", err)
		os.Exit(1)
	}
}

type bench struct {
	llama, work, record, suffix string
	rounds, tokens              int
}

var (
	contexts = []int{128, 512, 2000}
	threads  = []int{1, 2}
	formats  = []kernel.Format{kernel.FormatFP32, kernel.FormatBF16, kernel.FormatInt8}

	// llamaTypes are the formats of the same size in llama.cpp. Its Q8_0 has a
	// scale for each 32 weights, our int8 one for a row.
	llamaTypes = map[kernel.Format]string{kernel.FormatBF16: "BF16", kernel.FormatInt8: "Q8_0"}

	// settings are llama.cpp's that have to do with attention, and the layout of
	// the file: "legacy" has it cache every head's keys and values. The fastest
	// counts.
	settings = []setting{
		{"absorbed", []string{"-fa", "off"}},
		{"absorbed", []string{"-fa", "on"}},
		{"legacy", []string{"-fa", "off"}},
		{"legacy", []string{"-fa", "on"}},
	}
)

type setting struct {
	layout string
	flags  []string
}

func (s setting) String() string { return s.layout + " " + strings.Join(s.flags, " ") }

// scene is one thing that is measured.
type scene struct {
	format           kernel.Format
	threads, context int
}

func (s scene) String() string {
	return fmt.Sprintf("%v, %d threads, after %d tokens", s.format, s.threads, s.context)
}

func (b *bench) run(only string, stdout, stderr io.Writer) error {
	build, err := gguf.LlamaVersion(b.llama)
	if err != nil {
		return err
	}
	report := trial.NewReport("decode", fmt.Sprintf("%d rounds of %d tokens, llama.cpp %s", b.rounds, b.tokens, build), b.record)
	for _, name := range gguf.Names {
		if only != "" && only != name {
			continue
		}
		if err := b.student(report, name, stderr); err != nil {
			return err
		}
	}
	return report.Print(stdout)
}

func (b *bench) student(report *trial.Report, name string, stderr io.Writer) error {
	m, files, err := b.files(name)
	if err != nil {
		return err
	}
	ratios, ours, theirs := map[scene][]float64{}, map[scene][]float64{}, map[scene][]float64{}
	best := map[scene]int{}
	var scenes []scene
	for _, f := range formats {
		for _, t := range threads {
			for _, ctx := range contexts {
				scenes = append(scenes, scene{f, t, ctx})
			}
		}
	}
	// llama.cpp's fastest setting for each scene.
	for _, s := range scenes {
		rates := make([]float64, len(settings))
		for i := range settings {
			if rates[i], err = b.theirRate(files, s, settings[i], 2); err != nil {
				fmt.Fprintf(stderr, "%s, %v: llama.cpp with %v: %v\n", name, s, settings[i], err)
			}
			if rates[i] > rates[best[s]] {
				best[s] = i
			}
		}
		if rates[best[s]] == 0 {
			return fmt.Errorf("%v: llama.cpp runs with no setting", s)
		}
		fmt.Fprintf(stderr, "%s, %v: llama.cpp is fastest with %v: %.0f tokens/s of %.0f\n", name, s, settings[best[s]], rates[best[s]], rates)
	}
	pools := map[int]*kernel.Pool{}
	for _, t := range threads {
		pools[t] = kernel.NewPool(t)
		defer pools[t].Close()
	}
	for round := range b.rounds {
		for _, s := range scenes {
			measure := []func() error{
				func() error {
					rate, err := b.ourRate(m, pools[s.threads], s)
					ours[s] = append(ours[s], rate)
					return err
				},
				func() error {
					rate, err := b.theirRate(files, s, settings[best[s]], 1)
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
			fmt.Fprintf(stderr, "round %d, %s, %v: ours %.0f, llama.cpp %.0f tokens/s\n", round+1, name, s, ours[s][round], theirs[s][round])
		}
	}
	for _, s := range scenes {
		what := fmt.Sprintf("%s, %v: ours %.0f, llama.cpp (%v) %.0f tokens/s, ratio", name, s, trial.Middle(ours[s]), settings[best[s]], trial.Middle(theirs[s]))
		report.Median(fmt.Sprintf("%s_%v_%dt_ctx%d", name, s.format, s.threads, s.context)+b.suffix, what, "%.2f", ratios[s])
	}
	for _, ctx := range contexts {
		var lowest []float64
		for _, t := range threads {
			if r := ratios[scene{kernel.FormatFP32, t, ctx}]; lowest == nil || trial.Middle(r) < trial.Middle(lowest) {
				lowest = r
			}
		}
		figure := fmt.Sprintf("ctx%d", ctx)
		if name != "mla" {
			figure = name + "_" + figure
		}
		report.Median(figure+b.suffix, fmt.Sprintf("%s after %d tokens, fp32, the lower of 1 and 2 threads", name, ctx), "%.2f", lowest)
	}
	return nil
}

// files exports a student in both layouts and has llama.cpp write it in its other
// formats; they are named by layout and format.
func (b *bench) files(name string) (m *model.Model, files map[string]string, err error) {
	c, err := gguf.Config(name)
	if err != nil {
		return nil, nil, err
	}
	files = map[string]string{}
	for layout, option := range map[string]export.Layout{"absorbed": export.Absorbed, "legacy": export.Legacy} {
		dir := filepath.Join(b.work, name+"-"+layout)
		var whole string
		if m, whole, err = gguf.Write(dir, c, option); err != nil {
			return nil, nil, err
		}
		files[layout+kernel.FormatFP32.String()] = whole
		for f, kind := range llamaTypes {
			file := filepath.Join(dir, kind+".gguf")
			if out, err := exec.Command(filepath.Join(b.llama, "llama-quantize"), whole, file, kind).CombinedOutput(); err != nil {
				return nil, nil, fmt.Errorf("llama-quantize to %s: %w\n%s", kind, err, out)
			}
			files[layout+f.String()] = file
		}
	}
	return m, files, nil
}

// ourRate is tokens per second of a decoder after a context.
func (b *bench) ourRate(m *model.Model, pool *kernel.Pool, s scene) (float64, error) {
	d := model.NewDecoder(m, pool, model.DecoderOptions{Format: s.format})
	vocab := m.Config().VocabSize
	prompt := make([]int32, s.context)
	for i := range prompt {
		prompt[i] = int32((i*i*7 + i) % vocab)
	}
	if _, err := d.Prefill(0, prompt); err != nil {
		return 0, err
	}
	next := []model.Chunk{{Tokens: []int32{0}}}
	if _, err := d.Read(next); err != nil { // as llama-bench warms up
		return 0, err
	}
	began := time.Now()
	for i := range b.tokens {
		next[0].Tokens[0] = int32(i * 31 % vocab)
		if _, err := d.Read(next); err != nil {
			return 0, err
		}
	}
	return float64(b.tokens) / time.Since(began).Seconds(), nil
}

// theirRate is the same of llama-bench.
func (b *bench) theirRate(files map[string]string, s scene, setting setting, repetitions int) (float64, error) {
	if s.format == kernel.FormatInt8 { // without it, it aborts on a latent's up-projection
		setting.flags = append([]string{"--repack", "0"}, setting.flags...)
	}
	return gguf.LlamaBench(b.llama, files[setting.layout+s.format.String()], s.threads, repetitions, append([]string{"-p", "0", "-n", strconv.Itoa(b.tokens), "-d", strconv.Itoa(s.context)}, setting.flags...)...)
}
