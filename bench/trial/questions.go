package trial

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"retort/exchange"
)

// DataFlag adds the flag that names the folder of Questions.
func DataFlag(dir *string) {
	flag.StringVar(dir, "data", os.Getenv("RETORT_TESTDATA"), "the folder with gsm8k/train.jsonl")
}

// Questions reads grade-school problems and their worked answers, as real text to
// learn from, in which there is more to know than a small student can hold.
func Questions(dir string) ([]Text, error) {
	path := filepath.Join(dir, "gsm8k", "train.jsonl")
	f, err := os.Open(path)
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: RETORT_TESTDATA must name a folder that has GSM8K's train.jsonl (github.com/openai/grade-school-math) in gsm8k/", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var texts []Text
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var q struct{ Question, Answer string }
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, len(texts)+1, err)
		}
		texts = append(texts, Text{Prompt: []exchange.Message{{Role: "user", Content: q.Question}}, Answer: q.Answer})
	}
	return texts, in.Err()
}
