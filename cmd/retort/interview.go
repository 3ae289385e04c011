package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// lines reads lines from an input that cannot be interrupted, so that waiting
// for one can be. Its goroutine ends with the input, or with the process.
type lines struct {
	next chan string
	err  error // set before next is closed
}

func newLines(r io.Reader) *lines {
	l := &lines{next: make(chan string)}
	go func() {
		defer close(l.next)
		in := bufio.NewScanner(r)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			l.next <- in.Text()
		}
		l.err = in.Err()
	}()
	return l
}

// read returns the next line without white space around it; io.EOF after the
// last.
func (l *lines) read(ctx context.Context) (string, error) {
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case line, ok := <-l.next:
		if !ok {
			if l.err != nil {
				return "", l.err
			}
			return "", io.EOF
		}
		return strings.TrimSpace(line), nil
	}
}

// question is one question. check takes the answer, or says what is expected.
type question struct {
	flag  string // that answers it beforehand
	text  string
	def   string // "": there is no answer that fits everybody
	check func(string) error
}

// interview asks questions of a person, or of a script.
type interview struct {
	lines  *lines
	out    io.Writer
	given  func(flag string) bool
	yes    bool // take defaults
	person bool // at a terminal, who may try again
}

func (q *interview) say(format string, values ...any) { fmt.Fprintf(q.out, format+"\n", values...) }

// ask takes the answer from the flag, from the default, or from the input. What
// a flag or a script answers wrongly ends the interview; a person tries again.
func (q *interview) ask(ctx context.Context, question question, flagged string) error {
	if q.given(question.flag) {
		if err := question.check(flagged); err != nil {
			return wrongAnswer("--"+question.flag, flagged, err)
		}
		return nil
	}
	if q.yes {
		if question.def == "" {
			return usageError{fmt.Errorf("there is no default for --%s: %s?", question.flag, question.text)}
		}
		if err := question.check(question.def); err != nil {
			return wrongAnswer("--"+question.flag, question.def, err)
		}
		return nil
	}
	for {
		def := ""
		if question.def != "" {
			def = " [" + question.def + "]"
		}
		fmt.Fprintf(q.out, "%s%s: ", question.text, def)
		answer, err := q.lines.read(ctx)
		switch {
		case errors.Is(err, io.EOF):
			q.say("")
			return usageError{fmt.Errorf("the input ended before an answer: give --%s, or --yes to take every default", question.flag)}
		case err != nil:
			q.say("")
			return err
		}
		if !q.person {
			q.say("%s", answer)
		}
		if answer == "" {
			answer = question.def
		}
		err = errors.New("an answer is needed")
		if answer != "" {
			err = question.check(answer)
		}
		switch {
		case err == nil:
			return nil
		case !q.person:
			return wrongAnswer("--"+question.flag, answer, err)
		}
		q.say("  %v", err)
	}
}

// wrongAnswer keeps a refusal of the terms gate what it is.
func wrongAnswer(flag, answer string, err error) error {
	if exitCode(context.Background(), err) == exitTerms {
		return err
	}
	return usageError{fmt.Errorf("%s %q: %w", flag, answer, err)}
}
