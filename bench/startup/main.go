// Command startup measures how soon the program answers and how soon a run's
// first request leaves it: see README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"retort/internal/machine"
)

// What is promised.
const (
	helpWithin    = 50 * time.Millisecond
	requestWithin = 300 * time.Millisecond
)

// recipe is the quickstart's kind and size, asked of a stub.
const recipe = `retort: 1
name: startup
teacher: {base_url: %q, model: m, terms: self-hosted, price: {input: 1, output: 1}}
budget: {usd: 100}
prompts:
  - {family: multiply, digits: [2, 2], train: 3000, heldout: 500}
  - {family: chain, modulus: 7, steps: [3, 5], train: 3500, heldout: 500}
  - {family: list, length: [4, 6], operations: 3, train: 5500, heldout: 500}
`

// stub is a teacher that notes when it is asked first, and never answers.
type stub struct {
	url   string
	asked chan time.Time
}

func newStub() (*stub, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &stub{url: "http://" + l.Addr().String() + "/v1", asked: make(chan time.Time, 1024)}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // ends with the process
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
			return
		}
		select {
		case s.asked <- time.Now():
		default:
		}
		<-r.Context().Done()
	}))
	return s, nil
}

// contestant is something that is started over and over.
type contestant struct {
	name string
	line []string
	took []time.Duration
}

func main() {
	program := flag.String("program", "", "the retort binary")
	bare := flag.String("bare", "", "a Go program that does nothing")
	python := flag.String("python", "", "a Python interpreter with the openai package")
	rounds := flag.Int("rounds", 40, "how often each is started")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *program, *bare, *python, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "startup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program, bare, python string, rounds int) error {
	dir, err := os.MkdirTemp("", "retort-startup-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	teacher, err := newStub()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "recipe.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, recipe, teacher.url), 0o644); err != nil {
		return err
	}
	client := fmt.Sprintf("from openai import OpenAI\nOpenAI(base_url=%q, api_key='k', max_retries=0).chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'x'}])", teacher.url)

	help := &contestant{name: "retort --help", line: []string{program, "--help"}}
	nothing := &contestant{name: "a Go program that does nothing", line: []string{bare}}
	first := &contestant{name: "first request of retort run"}
	later := &contestant{name: "the same in a workspace of 13,500 exchanges", line: []string{program, "run", "--quiet", "--workspace", filepath.Join(dir, "full"), file}}
	if err := fill(ctx, filepath.Join(dir, "full")); err != nil {
		return err
	}
	theirs := &contestant{name: "first request of the Python openai client", line: []string{python, "-c", client}}
	for i := range rounds {
		for _, c := range []*contestant{help, nothing} {
			if err := c.toEnd(ctx); err != nil {
				return err
			}
		}
		if i%2 == 1 { // the slower pair half as often
			continue
		}
		first.line = []string{program, "run", "--quiet", "--workspace", filepath.Join(dir, fmt.Sprint("ws", i)), file}
		for _, c := range []*contestant{first, later, theirs} {
			if err := c.toRequest(ctx, teacher); err != nil {
				return err
			}
		}
	}
	return report(help, nothing, first, later, theirs)
}

// toEnd times a program from its start to its end.
func (c *contestant) toEnd(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.line[0], c.line[1:]...)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.took = append(c.took, time.Since(start))
	return nil
}

// toRequest times a program from its start to the moment at which the stub has
// its first paid request, and ends it then.
func (c *contestant) toRequest(ctx context.Context, s *stub) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s.drain()
	cmd := exec.CommandContext(ctx, c.line[0], c.line[1:]...)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	var err error
	select {
	case at := <-s.asked:
		c.took = append(c.took, at.Sub(start))
	case <-ctx.Done():
		err = fmt.Errorf("%s: no request came", c.name)
	}
	cancel()
	var exit *exec.ExitError
	if werr := cmd.Wait(); werr != nil && !errors.As(werr, &exit) && err == nil {
		err = werr
	}
	return err
}

// drain forgets what a program had sent beside its first request.
func (s *stub) drain() {
	for {
		select {
		case <-s.asked:
		default:
			return
		}
	}
}

// quantile of the times; they are few, so the nearest one.
func (c *contestant) quantile(q float64) time.Duration {
	slices.Sort(c.took)
	return c.took[int(q*float64(len(c.took)-1)+0.5)]
}

func (c *contestant) ms(q float64) float64 { return float64(c.quantile(q).Microseconds()) / 1e3 }

func report(help, nothing, first, later, theirs *contestant) error {
	cpu := machine.CPU()
	fmt.Printf("%s, %d cores\n", cpu.Name, cpu.Cores)
	for _, c := range []*contestant{help, nothing, first, later, theirs} {
		fmt.Printf("%-44s median %7.1f ms, middle half %.1f to %.1f, worst of %d %.1f\n", c.name, c.ms(0.5), c.ms(0.25), c.ms(0.75), len(c.took), c.ms(1))
	}
	out, err := json.Marshal(map[string]any{"bench": "startup", "figures": map[string]float64{
		"help_ms": help.ms(0.5), "help_ratio": help.ms(0.5) / nothing.ms(0.5), "first_request_ms": first.ms(0.5), "first_request_ratio": first.ms(0.5) / theirs.ms(0.5),
		"first_request_full_ms": later.ms(0.5),
	}, "spread": map[string][2]float64{
		"help_ms": {help.ms(0.25), help.ms(0.75)}, "first_request_ms": {first.ms(0.25), first.ms(0.75)}, "first_request_full_ms": {later.ms(0.25), later.ms(0.75)},
	}})
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", out)
	if help.quantile(0.5) > helpWithin || first.quantile(0.5) > requestWithin {
		return fmt.Errorf("promised are help within %v and a request within %v", helpWithin, requestWithin)
	}
	return nil
}
