package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/recipe"
	"retort/student/base"
	"retort/student/chat"
	"retort/student/export"
	"retort/student/model"
	"retort/student/serve"
)

// modelFlags are what serve and chat have in common.
type modelFlags struct {
	threads, slots, context, cache int
	weights                        string
	adapters                       []string // NAME=DIR
}

func (f *modelFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.threads, "threads", 0, "threads (default: all cores)")
	c.Flags().IntVar(&f.context, "context", 0, "longest prompt and answer together, in tokens (default: the model's)")
	c.Flags().StringVar(&f.weights, "weights", "", "`FORMAT` of weights: fp32, bf16, int8, blocks\n(default: a quantised GGUF's blocks, else fp32)")
}

// modelPath is where the model is that a word means: a directory, a GGUF file, the
// beginning of a model's hash, or a run by its name.
func (a *app) modelPath(word string) (string, error) {
	if info, err := os.Stat(word); err == nil && (info.IsDir() || strings.EqualFold(filepath.Ext(word), ".gguf")) {
		return word, nil
	}
	ws, err := a.existing()
	if err != nil {
		return "", fmt.Errorf("there is no model directory %s, and %w", word, err)
	}
	var like []string
	for _, hash := range subdirectories(ws.Path("models")) {
		if strings.HasPrefix(hash, word) {
			like = append(like, ws.Path("models", hash))
		}
	}
	if len(like) == 1 {
		return like[0], nil
	}
	r, err := recipe.FindRun(ws, word)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q is no model directory, nor the beginning of one model's hash, nor a run: %w", word, err)
	case r.Model == "" || r.Next == "export":
		return "", fmt.Errorf("run %s has no model yet: %s", r.Name, runState(r))
	}
	return ws.Path("models", r.Model), nil
}

// loadModel reads a model of ours, which is held against its passport, or opens one
// that others made; done closes it.
func loadModel(path string) (m model.Source, format *chat.Format, done func(), err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		m, format, err := export.Load(path)
		if !errors.Is(err, os.ErrNotExist) { // it has a passport
			return m, format, func() {}, err
		}
	}
	b, err := base.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	if format, err = b.Format(); err != nil {
		b.Close()
		return nil, nil, nil, err
	}
	return b, format, func() { b.Close() }, nil
}

// readModel is loadModel with all weights in memory.
func readModel(path string) (*model.Model, *chat.Format, error) {
	src, format, done, err := loadModel(path)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	if m, ok := src.(*model.Model); ok {
		return m, format, nil
	}
	m, err := model.FromTensors(src.Config(), src.Load)
	return m, format, err
}

// format is what a model's weights are to be held in.
func (f *modelFlags) format(m model.Source) (kernel.Format, error) {
	b, ok := m.(*base.Base)
	inBlocks := ok && b.InBlocks()
	if f.weights == "" {
		if inBlocks {
			return kernel.FormatBlocks, nil
		}
		return kernel.FormatFP32, nil
	}
	weights, err := kernel.ParseFormat(f.weights)
	if err == nil && weights == kernel.FormatBlocks && !inBlocks {
		err = errors.New("the model does not lie in blocks, as a quantised GGUF file does; there are fp32, bf16 and int8")
	}
	if err != nil {
		return 0, usageError{fmt.Errorf("--weights: %w", err)}
	}
	return weights, nil
}

// engine loads a model and starts an engine on it.
func (f *modelFlags) engine(a *app, word string, opt serve.Options) (*serve.Engine, func(), error) {
	if f.weights != "" { // before anything is read
		if _, err := kernel.ParseFormat(f.weights); err != nil {
			return nil, nil, usageError{fmt.Errorf("--weights: %w", err)}
		}
	}
	path, err := a.modelPath(word)
	if err != nil {
		return nil, nil, err
	}
	m, format, done, err := loadModel(path)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	weights, err := f.format(m)
	if err != nil {
		return nil, nil, err
	}
	for _, said := range f.adapters {
		name, dir, ok := strings.Cut(said, "=")
		if !ok || name == "" {
			return nil, nil, usageError{fmt.Errorf("--adapter %q is not NAME=DIR", said)}
		}
		a, err := base.ReadAdapter(dir, m)
		if err != nil {
			return nil, nil, err
		}
		opt.Adapters = append(opt.Adapters, serve.Adapter{Name: name, Weights: a})
	}
	pool := kernel.NewPool(f.threads)
	opt.Slots, opt.MaxContext, opt.CacheTokens, opt.Weights = f.slots, f.context, f.cache, weights
	e, err := serve.NewEngine(m, format, pool, opt)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return e, func() { e.Close(); pool.Close() }, nil
}

func init() {
	register((*app).serveCommand)
	register((*app).chatCommand)
}

func (a *app) serveCommand() *cobra.Command {
	var f modelFlags
	var listen, name, keyEnv string
	var inline bool
	var queue int
	c := &cobra.Command{
		Use:   "serve MODEL",
		Short: "Serve a model over the OpenAI wire",
		Long: "Serve a model over the OpenAI wire: chat completions and completions, streamed\n" +
			"and not, and models. MODEL is its directory, the beginning of its hash, or the\n" +
			"name of the run that made it; or a Llama, Qwen2 or Qwen3 of others (Hugging\n" +
			"Face directory, GGUF). It listens on loopback unless told, and then wants a key.\n" +
			"GET /health wants none; GET /metrics counts, in Prometheus' text format.\n\n" +
			"Completions continue a prompt as it stands, text or token ids. With echo and\n" +
			"logprobs they judge its own tokens, as lm-evaluation-harness asks for.\n\n" +
			"Answers can be kept to a form: response_format (json_object, json_schema),\n" +
			"vLLM's guided_json, _regex, _choice and _grammar, llama.cpp's json_schema and\n" +
			"grammar. In a chat it begins after the reasoning.",
		Example: "  retort serve quickstart --listen 127.0.0.1:8080",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if queue < 1 {
				return usageError{fmt.Errorf("--queue is %d, must be at least 1", queue)}
			}
			opt := serve.Options{Model: name, InlineReasoning: inline, Queue: queue}
			if keyEnv != "" {
				key := a.getenv(keyEnv)
				if key == "" {
					return usageError{fmt.Errorf("the environment variable %s is not set; it should hold the key that clients must send", keyEnv)}
				}
				opt.APIKeys = []string{key}
			}
			e, done, err := f.engine(a, list[0], opt)
			if err != nil {
				return err
			}
			defer done()
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("listen on %s: %w; is another server using it? Choose another address with --listen", listen, err)
			}
			if !a.quiet {
				fmt.Fprintf(a.stderr, "serving %s on http://%s/v1 until Ctrl-C\n", strings.Join(e.Models(), ", "), l.Addr())
			}
			return e.Serve(c.Context(), l)
		},
	}
	f.add(c)
	c.Flags().IntVar(&f.slots, "slots", 16, "sequences decoded together")
	c.Flags().StringArrayVar(&f.adapters, "adapter", nil, "a PEFT adapter `NAME=DIR`, served by that name")
	c.Flags().IntVar(&queue, "queue", 256, "sequences that may wait before 429")
	c.Flags().IntVar(&f.cache, "cache-tokens", 0, "tokens of the cache (default: slots · context)")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address to listen on")
	c.Flags().StringVar(&name, "name", "student", "the name that clients ask for")
	c.Flags().StringVar(&keyEnv, "api-key-env", "", "`VARIABLE` that holds the key of clients")
	c.Flags().BoolVar(&inline, "inline-reasoning", false, "leave <think>…</think> in the content")
	return c
}

func (a *app) chatCommand() *cobra.Command {
	var f modelFlags
	var maxTokens int
	var temperature float64
	c := &cobra.Command{
		Use:     "chat MODEL",
		Short:   "Talk to a model in the terminal",
		Long:    "Talk to a model in the terminal. MODEL is its directory, the beginning of its\nhash, or the name of the run that made it; or a Hugging Face directory or GGUF\nfile of others. Each line is a prompt of its own,\nsince small students are taught single turns. An empty line or Ctrl-D ends.",
		Example: "  retort chat quickstart",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			e, done, err := f.engine(a, list[0], serve.Options{})
			if err != nil {
				return err
			}
			defer done()
			return a.chat(c.Context(), e, maxTokens, temperature)
		},
	}
	f.add(c)
	f.slots = 1
	c.Flags().IntVar(&maxTokens, "max-tokens", 256, "longest answer")
	c.Flags().Float64Var(&temperature, "temperature", 0, "sampling temperature; 0 is greedy")
	return c
}

// chat answers line by line.
func (a *app) chat(ctx context.Context, e *serve.Engine, maxTokens int, temperature float64) error {
	in := newLines(a.stdin)
	for {
		fmt.Fprint(a.stderr, "> ")
		line, err := in.read(ctx)
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(a.stderr)
			return nil
		}
		if err != nil {
			return err
		}
		// A newline cannot be typed in one line: \n stands for it.
		line = strings.ReplaceAll(line, `\n`, "\n")
		if line == "" {
			return nil
		}
		x, err := e.Ask(ctx, exchange.Request{
			Model: "student", Messages: []exchange.Message{{Role: "user", Content: line}}, MaxTokens: maxTokens,
			Params: fmt.Appendf(nil, `{"temperature":%g}`, temperature),
		})
		var failed *exchange.Error
		switch {
		case errors.As(err, &failed) && failed.Class == exchange.ClassInvalid:
			fmt.Fprintln(a.stderr, err)
			continue
		case err != nil:
			return err
		}
		a.printAnswer(a.stdout, x.Answer)
	}
}

// printAnswer prints reasoning, dimmed where the terminal can, and the answer.
func (a *app) printAnswer(w io.Writer, answer exchange.Answer) {
	if answer.Reasoning != "" {
		dim, plain := "", ""
		if a.color(w) {
			dim, plain = "\x1b[2m", "\x1b[0m"
		}
		fmt.Fprintf(w, "%s%s%s\n", dim, answer.Reasoning, plain)
	}
	fmt.Fprintln(w, answer.Content)
	if answer.FinishReason == "length" {
		fmt.Fprintln(a.stderr, "(the answer was cut at --max-tokens)")
	}
}
