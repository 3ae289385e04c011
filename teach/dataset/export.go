package dataset

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retort/workspace"
)

// ExportFormat names a file format of other training tools. All are JSON lines.
type ExportFormat string

// The formats that a dataset can be exported to.
const (
	ExportOpenAI   ExportFormat = "openai"   // messages, as OpenAI's fine-tuning takes them
	ExportShareGPT ExportFormat = "sharegpt" // conversations of from and value: LLaMA-Factory, Axolotl
	ExportAlpaca   ExportFormat = "alpaca"   // instruction, input, output, history
	ExportDPO      ExportFormat = "dpo"      // prompt, chosen, rejected, as TRL takes preference pairs
)

// ExportFormats returns all of them.
func ExportFormats() []ExportFormat {
	return []ExportFormat{ExportOpenAI, ExportShareGPT, ExportAlpaca, ExportDPO}
}

// ParseExportFormat reads the name of a format.
func ParseExportFormat(s string) (ExportFormat, error) {
	if f := ExportFormat(s); slices.Contains(ExportFormats(), f) {
		return f, nil
	}
	return "", fmt.Errorf("export format %q: it is one of %v", s, ExportFormats())
}

// Why an example has no place in a format.
const (
	RefusedEmpty      = "empty"       // a message or an answer without a character
	RefusedRole       = "role"        // a role that the format does not know
	RefusedSystem     = "system"      // a system message that is not the first
	RefusedTurnOrder  = "turn_order"  // turns that do not alternate as the format demands
	RefusedNoUser     = "no_user"     // nothing is asked
	RefusedTools      = "tools"       // the format has no place for tools and their calls
	RefusedMixed      = "mixed_turn"  // text or reasoning and calls of tools in one turn
	RefusedArguments  = "arguments"   // arguments of a call that are no JSON
	RefusedName       = "name"        // a name of a tool that the format does not allow
	RefusedToolCall   = "tool_call"   // a tool's message that answers no call before it
	RefusedThinkTags  = "think_tags"  // text that would read as reasoning
	RefusedNoRejected = "no_rejected" // no answer that is not as good
	RefusedSame       = "same"        // chosen and rejected are equal
)

// What a format does not keep of an example that it takes, or adds to it.
const (
	NoteRowID       = "row_id"        // the row's own id is not in the file
	NoteName        = "name"          // a participant's name is not in the file
	NoteToolCallIDs = "tool_call_ids" // the ids of tool calls are not in the file
	NoteAddedIDs    = "added_ids"     // calls of tools without an id were given one
	NoteSpace       = "space"         // white space between reasoning and answer is not kept
)

// ExportRefusal is an example that was refused.
type ExportRefusal struct {
	Index  int    `json:"index"`
	Row    string `json:"row,omitempty"`
	Detail string `json:"detail"`
}

// ExportReport says what became of a dataset's rows: Rows = Kept + the sum of
// Refused.
type ExportReport struct {
	Format  ExportFormat               `json:"format"`
	Dataset string                     `json:"dataset"` // the hash
	Rows    int                        `json:"rows"`
	Kept    int                        `json:"kept"`
	Refused map[string]int             `json:"refused"`
	Samples map[string][]ExportRefusal `json:"samples"` // the first few of each reason
	Notes   map[string]int             `json:"notes"`   // kept rows that are not in the file as they are in the dataset
	File    File                       `json:"file"`    // ExportFile names it
}

// samplesPerReason is how many refused examples are remembered.
const samplesPerReason = 3

// ErrNothingFits says that a format takes none of a dataset's rows.
var ErrNothingFits = errors.New("none of the rows fits the format")

// Export writes d's rows as lines of JSON in prompt order. Each row is kept
// whole, or refused for the first reason that applies; what a format has no
// field for is counted in the report's notes.
func Export(ctx context.Context, w io.Writer, d *Dataset, f ExportFormat) (ExportReport, error) {
	rep := ExportReport{Format: f, Dataset: d.Hash, Rows: len(d.Examples), Refused: map[string]int{}, Samples: map[string][]ExportRefusal{}, Notes: map[string]int{}}
	layout, ok := layouts[f]
	if !ok {
		_, err := ParseExportFormat(string(f))
		return rep, err
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	for i := range d.Examples {
		if ctx.Err() != nil {
			return rep, ctx.Err()
		}
		e := &d.Examples[i]
		notes := noteSet{}
		line, err := layout(e, notes)
		var no *unfit
		if errors.As(err, &no) {
			rep.refuse(e, no)
			continue
		}
		if err != nil {
			return rep, fmt.Errorf("export example %d: %w", e.Index, err)
		}
		text, err := jsonText(line)
		if err != nil {
			return rep, fmt.Errorf("export example %d: %w", e.Index, err)
		}
		rep.Kept++
		for note := range notes {
			rep.Notes[note]++
		}
		rep.File.Bytes += int64(len(text)) + 1
		if _, err := out.WriteString(text + "\n"); err != nil {
			return rep, fmt.Errorf("export: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return rep, fmt.Errorf("export: %w", err)
	}
	rep.File.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if rep.Kept == 0 {
		return rep, fmt.Errorf("export as %s: %w: %s", f, ErrNothingFits, rep.reasons())
	}
	return rep, nil
}

func (r *ExportReport) refuse(e *Example, no *unfit) {
	r.Refused[no.reason]++
	if len(r.Samples[no.reason]) < samplesPerReason {
		r.Samples[no.reason] = append(r.Samples[no.reason], ExportRefusal{e.Index, e.Row, no.detail})
	}
}

// reasons says why rows were refused, in the reasons' order.
func (r *ExportReport) reasons() string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		s := r.Samples[reason][0]
		parts = append(parts, fmt.Sprintf("%d %s (example %d: %s)", r.Refused[reason], reason, s.Index, s.Detail))
	}
	return strings.Join(parts, ", ")
}

// ExportPassportSuffix is what the name of an exported file's passport has
// besides the file's.
const ExportPassportSuffix = ".passport.json"

// Exported is the member of a passport that lies beside an exported file.
type Exported struct {
	Format  ExportFormat   `json:"format"`
	Rows    int            `json:"rows"` // lines of the file
	Refused map[string]int `json:"refused"`
	Notes   map[string]int `json:"notes,omitempty"`
}

// ExportFile is Export into a file, with the dataset's passport beside it. Both
// appear whole or not at all, the passport last.
func ExportFile(ctx context.Context, path string, d *Dataset, f ExportFormat) (ExportReport, error) {
	out, err := workspace.CreateAtomic(path)
	if err != nil {
		return ExportReport{}, err
	}
	defer out.Abort()
	rep, err := Export(ctx, out, d, f)
	if err != nil {
		return rep, err
	}
	rep.File.Name = filepath.Base(path)
	p := d.Passport
	p.Files = []File{rep.File}
	p.Export = &Exported{Format: f, Rows: rep.Kept, Refused: rep.Refused, Notes: rep.Notes}
	text, err := p.json()
	if err != nil {
		return rep, fmt.Errorf("export %s: passport: %w", path, err)
	}
	if err := out.Commit(); err != nil {
		return rep, err
	}
	return rep, workspace.WriteFileAtomic(path+ExportPassportSuffix, text, 0o644)
}

// ReadExportPassport reads the passport beside an exported file and verifies
// that the file is the one that it speaks of. A file without a passport is
// fs.ErrNotExist.
func ReadExportPassport(path string) (Passport, error) {
	beside := path + ExportPassportSuffix
	raw, err := os.ReadFile(beside)
	if err != nil {
		return Passport{}, err
	}
	var p Passport
	if err := json.Unmarshal(raw, &p); err != nil {
		return Passport{}, fmt.Errorf("%s%s is not a passport: %w", beside, position(raw, err), err)
	}
	if p.Format != PassportFormat || p.Version != PassportVersion || p.Export == nil || len(p.Files) != 1 {
		return Passport{}, fmt.Errorf("%s is not the passport of an exported file that this version reads", beside)
	}
	sum, size, err := hashFile(path)
	switch {
	case err != nil:
		return Passport{}, err
	case size != p.Files[0].Bytes || sum != p.Files[0].SHA256:
		return Passport{}, fmt.Errorf("%s was changed since it was exported, so that the passport beside it does not vouch for it", path)
	}
	return p, nil
}
