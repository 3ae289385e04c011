package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"retort/student/base"
)

// encode writes the tokens of each JSON string on in, a line each.
func encode(path string, in io.Reader, out io.Writer) error {
	b, err := base.Open(path)
	if err != nil {
		return err
	}
	defer b.Close()
	w := bufio.NewWriter(out)
	dec := json.NewDecoder(bufio.NewReaderSize(in, 1<<20))
	for {
		var text string
		if err := dec.Decode(&text); errors.Is(err, io.EOF) {
			return w.Flush()
		} else if err != nil {
			return fmt.Errorf("reading strings: %w", err)
		}
		ids := b.Tokenizer.Encode(text)
		if ids == nil {
			ids = []int32{}
		}
		line, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		w.Write(append(line, '\n')) // Flush tells of errors
	}
}
