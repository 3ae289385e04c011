package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// answer is what is typed once the terminal shows a text.
type answer struct{ at, text string }

// interrupt, as an answer's text, is Ctrl-C.
const interrupt = "\x03"

// played is what came of one command in a terminal.
type played struct {
	screen  string // all that was written, without what moves the cursor or colours
	raw     string // with it
	code    int
	took    time.Duration
	silence time.Duration // the longest time without anything new on the screen
	quiet   string        // the last line before it
}

// control are the sequences by which a program moves the cursor and colours.
var control = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]`)

// play runs a command in a terminal of its own and types the answers, each once
// its text has appeared behind the one before.
func play(ctx context.Context, dir string, env, line []string, answers []answer) (played, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir, cmd.Env = dir, env
	start := time.Now()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 100})
	if err != nil {
		return played{}, fmt.Errorf("start %s in a terminal: %w", strings.Join(line, " "), err)
	}
	defer tty.Close()
	out := make(chan []byte)
	go func() { // ends with the terminal
		defer close(out)
		for {
			buf := make([]byte, 64<<10)
			n, err := tty.Read(buf)
			if n > 0 {
				out <- buf[:n]
			}
			if err != nil { // EIO once the program has ended
				return
			}
		}
	}()
	p, err := watch(out, tty, start, answers)
	for range out { // so that the reader ends, whatever went wrong
	}
	werr := cmd.Wait()
	p.took = time.Since(start)
	p.code = cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return p, fmt.Errorf("%s did not end: %w", strings.Join(line, " "), ctx.Err())
	case err != nil:
		return p, err
	case werr != nil && !errors.As(werr, &exit):
		return p, werr
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return p, fmt.Errorf("%s was ended by %s", strings.Join(line, " "), status.Signal())
	}
	return p, nil
}

// watch reads the terminal to its end. A redrawn line is no news.
func watch(out <-chan []byte, tty *os.File, start time.Time, answers []answer) (p played, err error) {
	var text, raw strings.Builder
	seen := map[string]bool{}
	from, last, line := 0, start, "(start)"
	quiet := func(now time.Time) {
		if gap := now.Sub(last); gap > p.silence {
			p.silence, p.quiet = gap, line
		}
	}
	for chunk := range out {
		now := time.Now()
		plain := control.ReplaceAllString(string(chunk), "")
		raw.Write(chunk)
		text.WriteString(plain)
		for _, l := range strings.FieldsFunc(plain, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if l = strings.TrimSpace(l); l != "" && !seen[l] {
				seen[l] = true
				quiet(now)
				last, line = now, l
			}
		}
		for len(answers) > 0 {
			i := strings.Index(text.String()[from:], answers[0].at)
			if i < 0 {
				break
			}
			from += i + len(answers[0].at)
			send := answers[0].text
			if send != interrupt {
				send += "\n"
			}
			if _, err = tty.WriteString(send); err != nil {
				return p, fmt.Errorf("type %q: %w", answers[0].text, err)
			}
			answers = answers[1:]
		}
	}
	quiet(time.Now())
	p.raw = raw.String()
	p.screen = strings.ReplaceAll(text.String(), "\r\n", "\n")
	if len(answers) > 0 {
		return p, fmt.Errorf("the terminal never showed %q", answers[0].at)
	}
	return p, nil
}
