package trial

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"retort/internal/kernel"
	"retort/student/model"
	"retort/student/train"
)

// Block is what Held says of a block of steps.
type Block struct {
	Seconds float64   `json:"seconds"` // wall clock, from the line read to the last step done
	Tokens  int64     `json:"tokens"`  // read in these steps
	Losses  []float64 `json:"losses"`
	Norms   []float64 `json:"norms"` // of the gradient, before clipping

	// Experts are the routers' choices, if they are asked for: by step, layer
	// and token.
	Experts [][][]int32 `json:"experts,omitempty"`
}

// errEnd ends training when there is nothing more to read.
var errEnd = errors.New("standard input ended")

// Held trains with the product's own loop, which it holds between blocks of steps: a line
// of in is their number, and the callback after the last of them writes a Block to out
// and returns when the next line is there. It ends well when in ends. experts, if not
// nil, looks at each step for the choices of its routers.
func Held(base model.Source, pool *kernel.Pool, data []train.Sequence, opt train.Options, experts func(train.Progress) [][]int32, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	lines, answers := bufio.NewScanner(in), json.NewEncoder(out)
	var (
		left  int
		began time.Time
		from  int64 // tokens read when the block began
		b     Block
	)
	next := func() error {
		if !lines.Scan() {
			return errors.Join(errEnd, lines.Err())
		}
		n, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil || n < 1 {
			return fmt.Errorf("standard input: %q is not a number of steps", lines.Text())
		}
		left, b, began = n, Block{}, time.Now()
		return nil
	}
	if err := next(); err != nil {
		return err
	}
	_, err := train.SFT(ctx, base, pool, data, opt, func(p train.Progress) {
		b.Losses, b.Norms = append(b.Losses, p.Loss), append(b.Norms, p.GradNorm)
		if experts != nil {
			b.Experts = append(b.Experts, experts(p))
		}
		if left--; left > 0 {
			return
		}
		b.Seconds, b.Tokens = time.Since(began).Seconds(), p.Tokens-from
		from = p.Tokens
		err := answers.Encode(b)
		if err == nil {
			err = next()
		}
		if err != nil {
			cancel(err)
		}
	})
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}
