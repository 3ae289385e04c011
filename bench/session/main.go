// Command session plays a newcomer's first quarter of an hour in a terminal: see
// README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"retort/internal/machine"
)

// What a newcomer is promised.
const (
	longestSilence = 2 * time.Second
	longestSession = 3 * time.Minute
)

// step is one line that the newcomer types.
type step struct {
	name    string
	line    []string // without the program's name
	answers []answer
	code    int
	want    []string // on the screen
	without []string // not on the screen, escape sequences included
	env     []string // beside the session's
	prepare func(s *session) error
}

// session is a newcomer's directory and what has happened in it.
type session struct {
	dir, program string
	env          []string
	verbose      bool

	steps, refusals int
	took            time.Duration
	silence         time.Duration
	quietStep       string
	failures        []string
}

func main() {
	program := flag.String("program", "", "the retort binary")
	verbose := flag.Bool("v", false, "show every screen")
	only := flag.String("only", "", "a regular expression: play only the steps with such names")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *program, *verbose, *only); err != nil {
		fmt.Fprintln(os.Stderr, "session:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program string, verbose bool, only string) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "retort-session-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &session{dir: dir, program: program, verbose: verbose, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TERM=xterm-256color", "LANG=C.UTF-8", "RETORT_KERNEL=" + os.Getenv("RETORT_KERNEL"),
	}}
	cpu := machine.CPU()
	fmt.Printf("%s, %d cores, kernels %s\n\n", cpu.Name, cpu.Cores, cpu.Kernels)
	for _, step := range append(journey(), refusals()...) {
		if !chosen.MatchString(step.name) {
			continue
		}
		if err := s.play(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return s.conclude()
}

// play plays one step and notes what is wrong with it.
func (s *session) play(ctx context.Context, t step) error {
	if t.prepare != nil {
		if err := t.prepare(s); err != nil {
			return err
		}
	}
	p, err := play(ctx, s.dir, append(slices.Clone(s.env), t.env...), append([]string{s.program}, t.line...), t.answers)
	if s.verbose || err != nil {
		fmt.Printf("$ retort %s\n%s\n", strings.Join(t.line, " "), p.screen)
	}
	if err != nil {
		return err
	}
	s.steps++
	s.took += p.took
	if t.code != 0 {
		s.refusals++
	}
	if p.silence > s.silence {
		s.silence, s.quietStep = p.silence, t.name
	}
	fmt.Printf("%-26s %6.2f s, at most %.2f s without news, exit code %d\n", t.name, p.took.Seconds(), p.silence.Seconds(), p.code)
	fail := func(format string, values ...any) {
		s.failures = append(s.failures, t.name+": "+fmt.Sprintf(format, values...))
	}
	if p.code != t.code {
		fail("exit code %d, want %d:\n%s", p.code, t.code, p.screen)
	}
	if p.silence > longestSilence {
		fail("%.1f s without anything new, after %q", p.silence.Seconds(), p.quiet)
	}
	for _, want := range t.want {
		if !strings.Contains(p.screen, want) {
			fail("the screen has no %q:\n%s", want, p.screen)
		}
	}
	for _, unwanted := range t.without {
		if strings.Contains(p.raw, unwanted) {
			fail("the terminal was sent %q", unwanted)
		}
	}
	return nil
}

// conclude prints the figures, and fails if a promise was broken.
func (s *session) conclude() error {
	if s.took > longestSession {
		s.failures = append(s.failures, fmt.Sprintf("the session took %.0f s, more than %.0f", s.took.Seconds(), longestSession.Seconds()))
	}
	for _, f := range s.failures {
		fmt.Println("FAILED", f)
	}
	fmt.Printf("\n%d commands in %.1f s, %d of them refused; at most %.2f s without news (%s)\n", s.steps, s.took.Seconds(), s.refusals, s.silence.Seconds(), s.quietStep)
	out, err := json.Marshal(map[string]any{"bench": "session", "figures": map[string]float64{
		"seconds": s.took.Seconds(), "longest_silence_seconds": s.silence.Seconds(), "commands": float64(s.steps), "refusals": float64(s.refusals), "failures": float64(len(s.failures)),
	}, "spread": map[string]any{}})
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", out)
	if len(s.failures) > 0 {
		return errors.New("a promise was broken")
	}
	return nil
}

// write puts a file into the newcomer's directory.
func (s *session) write(name, text string) error {
	return os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644)
}

// edit replaces text in a file of the newcomer's.
func (s *session) edit(from, to string, replace ...string) error {
	raw, err := os.ReadFile(filepath.Join(s.dir, from))
	if err != nil {
		return err
	}
	text := string(raw)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			return fmt.Errorf("%s has no %q to replace:\n%s", from, replace[i], text)
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	return s.write(to, text)
}
