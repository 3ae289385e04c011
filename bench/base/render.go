package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"retort/internal/wire"
	"retort/student/template"
)

// task is what template.py wants to see rendered: each input with each template.
type task struct {
	Templates []string `json:"templates"`
	Inputs    []struct {
		Messages            []json.RawMessage          `json:"messages"`
		Tools               []json.RawMessage          `json:"tools"`
		AddGenerationPrompt bool                       `json:"add_generation_prompt"`
		BOS                 string                     `json:"bos_token"`
		EOS                 string                     `json:"eos_token"`
		Extra               map[string]json.RawMessage `json:"extra"`
		Now                 time.Time                  `json:"now"`
	} `json:"inputs"`
}

// rendering is a text or why there is none.
type rendering struct {
	Text   string `json:"text"`
	Error  string `json:"error,omitempty"`
	Raised bool   `json:"raised,omitempty"` // by the template itself
}

// render writes the renderings of the task in a file, a list for each template.
func render(file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var w task
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	all := make([][]rendering, len(w.Templates))
	for i, source := range w.Templates {
		t, parseErr := template.Parse(source)
		for _, in := range w.Inputs {
			var r rendering
			err := parseErr
			if err == nil {
				r.Text, err = t.Render(template.Input(in))
			}
			if err != nil {
				r.Error = err.Error()
				r.Raised = errors.As(err, new(*template.Raised))
			}
			all[i] = append(all[i], r)
		}
	}
	line, err := wire.Encode(all)
	if err != nil {
		return err
	}
	_, err = out.Write(append(line, '\n'))
	return err
}
