package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"retort/exchange"
)

// FileOptions say how a user's file of prompts is read, and what the teacher
// is sent for each row.
type FileOptions struct {
	Field string // the field that holds the prompt; default "prompt"
	Gold  string // the field that holds the right answer, a scalar, object or array; "" without gold
	ID    string // the field that holds the row's own id; default "id", where a row has that

	// Messages names the field that holds a conversation instead of a prompt:
	// an array of messages that ends where the teacher is to answer. It excludes
	// Field and Template.
	Messages string

	Template string // the text of a template over the row's fields, such as "{{body}}"; "": the field as it stands
	System   string // the text of a system prompt; a conversation that begins with its own keeps that
	Shots    *Shots // worked examples that stand before every question
	Student  StudentPrompt
}

// What a StudentPrompt may say of each part.
const (
	StudentKeep = "keep" // the student reads what the teacher is sent; the default
	StudentDrop = "drop" // the student does without
)

// StudentPrompt says what the student reads of what the teacher is sent. A
// student that is trained for one job need not be told about it every time.
type StudentPrompt struct {
	System string // StudentKeep or StudentDrop
	Shots  string // StudentKeep or StudentDrop
	// Template is StudentKeep, StudentDrop (the student reads the field as it
	// stands) or the text of a template of its own. Shots are rendered with it
	// too.
	Template string
}

// fileReader turns a file's rows into problems.
type fileReader struct {
	opt      FileOptions
	corpus   *Corpus
	teacher  *template // nil: the field as it stands
	student  *template // nil: the field as it stands; meaningless where sameText
	sameText bool      // the student's question is the teacher's
	same     bool      // and all that stands before it
	shots    []exchange.Message
	studying []exchange.Message // the shots that the student reads
	ids      map[string]place
}

// File reads a user's prompts from JSON lines (.jsonl, .ndjson), CSV with a
// header row (.csv) or Parquet (.parquet). Where a gold field is named, every
// row must have one; Verify accepts an answer that equals it, a scalar up to
// white space and anything else as a JSON value.
//
// A problem's identity is that of what is asked: the last message as rendered
// or, of a conversation, all its messages. System prompt and shots do not
// enter it.
func File(path string, opt FileOptions) (*Corpus, error) {
	f, err := newFileReader(opt)
	if err != nil {
		return nil, err
	}
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".csv":
		err = readCSV(path, f.take)
	case ".jsonl", ".ndjson":
		err = readJSONL(path, f.take)
	case ".parquet":
		err = readParquet(path, f.take)
	default:
		err = fmt.Errorf("%s: cannot tell its format from the ending %q; it must be .jsonl, .ndjson, .csv or .parquet", path, ext)
	}
	return f.corpus.ready(path, err)
}

func newFileReader(opt FileOptions) (*fileReader, error) {
	f := &fileReader{opt: opt, corpus: &Corpus{name: "file", verify: verifyText}, ids: map[string]place{}}
	if opt.Messages != "" {
		switch {
		case opt.Field != "":
			return nil, fmt.Errorf("a prompt is either the field %q or the conversation in %q: name one", opt.Field, opt.Messages)
		case opt.Template != "":
			return nil, fmt.Errorf("a template renders one prompt; with the conversation in %q there is nothing to render: leave it out", opt.Messages)
		}
	}
	if f.opt.Field == "" {
		f.opt.Field = "prompt"
	}
	var err error
	if opt.Template != "" {
		if f.teacher, err = newTemplate("template", opt.Template); err != nil {
			return nil, err
		}
	}
	f.corpus.template = f.teacher
	if err = f.readStudent(); err != nil {
		return nil, err
	}
	if f.shots, err = opt.Shots.render(f.teacher, opt.Gold); err != nil {
		return nil, err
	}
	f.studying = f.shots
	if !f.sameText {
		if f.studying, err = opt.Shots.render(f.student, opt.Gold); err != nil {
			return nil, err
		}
	}
	if opt.Student.Shots == StudentDrop {
		f.studying = nil
	}
	f.same = f.sameText && (opt.System == "" && opt.Messages == "" || opt.Student.System != StudentDrop) && (len(f.shots) == 0 || opt.Student.Shots != StudentDrop)
	return f, nil
}

// readStudent reads the options about what the student reads.
func (f *fileReader) readStudent() error {
	s := f.opt.Student
	for _, o := range []struct{ key, value string }{{"system", s.System}, {"shots", s.Shots}} {
		if o.value != "" && o.value != StudentKeep && o.value != StudentDrop {
			return fmt.Errorf("student prompt: %s is %q, must be %s or %s", o.key, o.value, StudentKeep, StudentDrop)
		}
	}
	switch s.Template {
	case "", StudentKeep:
		f.student, f.sameText = f.teacher, true
		return nil
	case StudentDrop:
		f.sameText = f.teacher == nil
		return nil
	}
	if f.opt.Messages != "" {
		return fmt.Errorf("student prompt: a template renders one prompt; with the conversation in %q there is nothing to render", f.opt.Messages)
	}
	var err error
	f.student, err = newTemplate("student prompt's template", s.Template)
	return err
}

// take makes a row's problem.
func (f *fileReader) take(at place, r row) error {
	p := Problem{Row: at.String(), Fields: r.object()}
	var own, turns []exchange.Message // a conversation's own system prompt, and the rest of it
	var err error
	if f.opt.Messages != "" {
		if own, turns, err = r.conversation(at, f.opt.Messages); err != nil {
			return err
		}
		p.Prompt = lastUser(turns)
	} else {
		if p.Prompt, err = f.question(at, r, f.teacher); err != nil {
			return err
		}
		turns = []exchange.Message{{Role: "user", Content: p.Prompt}}
	}
	if p.RowID, err = f.rowID(at, r); err != nil {
		return err
	}
	if p.Answer, p.Gold, err = f.gold(at, r); err != nil {
		return err
	}
	asked := turns
	system := own
	if system == nil && f.opt.System != "" {
		system = []exchange.Message{{Role: "system", Content: f.opt.System}}
	}
	if f.opt.Messages != "" || system != nil || f.shots != nil {
		p.Messages = slices.Concat(system, f.shots, turns)
	}
	if !f.same {
		if !f.sameText {
			read, err := f.question(at, r, f.student)
			if err != nil {
				return err
			}
			turns = []exchange.Message{{Role: "user", Content: read}}
		}
		if f.opt.Student.System == StudentDrop {
			system = nil
		}
		p.Student = slices.Concat(system, f.studying, turns)
	}
	f.corpus.add(p, asked...)
	return nil
}

// question renders what is asked.
func (f *fileReader) question(at place, r row, t *template) (string, error) {
	if t == nil {
		return r.text(at, f.opt.Field)
	}
	return t.render(at, r)
}

// rowID reads the row's own id. Ids of a field that was named are different
// from each other.
func (f *fileReader) rowID(at place, r row) (string, error) {
	name := f.opt.ID
	if name == "" {
		raw, ok := r.values["id"]
		if !ok || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' {
			return "", nil
		}
		name = "id"
	}
	id, err := r.scalar(at, name)
	if err != nil || f.opt.ID == "" {
		return id, err
	}
	if id == "" {
		return "", at.errorf(r.column(name), "%q is empty; every row needs an id, or name no id field", name)
	}
	if first, twice := f.ids[id]; twice {
		return "", at.errorf(r.column(name), "the id %q is that of row %s already", id, first)
	}
	f.ids[id] = at
	return id, nil
}

// gold reads the right answer: as text and, where it is an object or an array,
// as JSON.
func (f *fileReader) gold(at place, r row) (string, json.RawMessage, error) {
	if f.opt.Gold == "" {
		return "", nil, nil
	}
	raw, err := r.field(at, f.opt.Gold)
	if err != nil {
		return "", nil, err
	}
	if raw[0] == '{' || raw[0] == '[' {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return "", nil, at.errorf(r.column(f.opt.Gold), "%q: %v", f.opt.Gold, err)
		}
		return b.String(), b.Bytes(), nil
	}
	gold, err := r.scalar(at, f.opt.Gold)
	if err != nil {
		return "", nil, err
	}
	if gold = strings.TrimSpace(gold); gold == "" {
		return "", nil, at.errorf(r.column(f.opt.Gold), "%q is empty; every row needs a gold answer, or name no gold field", f.opt.Gold)
	}
	return gold, nil, nil
}

func lastUser(turns []exchange.Message) string {
	for _, m := range slices.Backward(turns) {
		if m.Role == "user" {
			return m.Content
		}
	}
	return ""
}
