// Package importer reads other people's formats into conversations: ShareGPT,
// Alpaca, OpenAI messages, preference pairs, rows with written-out reasoning,
// OpenAI batch output and plain logs, as a JSON array or as JSON lines.
//
// It streams: a file is split into rows, rows are parsed on every core, and a
// callback receives them in the file's order, in memory that does not grow with
// the file. Every row lands in exactly one bucket of the Report: kept, or
// refused for one countable reason. docs/formats/import.md says which fields of
// which format are read, and every rule by which a row is refused.
//
// It writes nothing. Exchange makes what a ledger keeps of an item, and
// FromExchange reads the item back; Served reads what a gateway recorded. It judges no answer: it counts who a text
// says that it is (Report.Leaks) and leaves the decision to curate.
//
// Sizes are in bytes; rows and lines count from 1.
//
// Errors: *FormatError for a file that is in none of these formats; what the
// reader or the callback returned, wrapped with the row. A bad row is no error.
package importer

import (
	"encoding/json"
	"fmt"
	"io"

	"retort/exchange"
)

// Format names a format.
type Format string

// The formats.
const (
	Auto       Format = "auto"       // look at the first rows
	ShareGPT   Format = "sharegpt"   // conversations of from and value
	Alpaca     Format = "alpaca"     // instruction, input, output
	Messages   Format = "messages"   // OpenAI messages of role and content
	Preference Format = "preference" // a prompt with a chosen and a rejected answer
	Reasoning  Format = "reasoning"  // messages or rows with written-out reasoning in a field of its own
	Batch      Format = "batch"      // the output of OpenAI's batch API, with the requests beside it
	Log        Format = "log"        // prompt and response, or request and response bodies
)

// Formats returns the formats that can be named, Auto first.
func Formats() []Format {
	return []Format{Auto, ShareGPT, Alpaca, Messages, Preference, Reasoning, Batch, Log}
}

// ParseFormat reads the name of a format; "" is Auto.
func ParseFormat(s string) (Format, error) {
	if s == "" {
		return Auto, nil
	}
	for _, f := range Formats() {
		if string(f) == s {
			return f, nil
		}
	}
	return "", fmt.Errorf("import format %q is not known: it is one of %v", s, Formats())
}

// Turns says which assistant turns of a conversation become items.
type Turns string

// The choices of turns.
const (
	TurnsLast Turns = "last" // the last one, with everything before it as its prompt
	TurnsAll  Turns = "all"  // each of them
)

// DefaultMaxRow is the length of the longest row that is read.
const DefaultMaxRow = 64 << 20

// Options say how a file is read. The zero value is usable.
type Options struct {
	Format  Format // "" is Auto
	Name    string // of the source, such as the file's base name; for messages
	Turns   Turns  // "" is TurnsLast
	MaxRow  int64  // bytes; a longer row is refused; 0 is DefaultMaxRow
	Workers int    // how many rows are parsed at a time; 0 is one for each core

	// Requests is the input file of a batch, whose output holds no prompts. An
	// io.ReaderAt with a Size or a Stat is read where it stands, in memory that
	// grows by the number of its rows alone; anything else is held, up to MaxRequests.
	Requests io.Reader
}

// Item is one answer with the conversation that led to it.
type Item struct {
	Format   Format
	Row      int64  // position in the file, from 1
	Line     int64  // on which the row begins, from 1
	Turn     int    // which of its row's answers it is, from 1
	Turns    int    // how many items its row makes
	ID       string // the row's own id; "" if it has none
	Messages []exchange.Message
	Tools    json.RawMessage  // JSON array of the tools that were offered; nil if none
	Answer   exchange.Answer  // what was answered
	Rejected *exchange.Answer // an answer to the same prompt that is not as good; nil if none
	Gold     json.RawMessage  // the right answer, where the row states one beside the answer
	Model    string           // the model that answered, where the row names it
	Usage    exchange.Usage   // as the row reports it, otherwise missing

	// Extra is a JSON object of what the row holds and no field above: fields
	// of the row by their names, those further down by their JSON pointer
	// ("/messages/0/loss_weight"). Nil if there is nothing.
	Extra json.RawMessage

	// Raw is the row as it stood, and RawRequest the batch request that belongs
	// to it. They are valid until the callback returns.
	Raw        []byte
	RawRequest []byte

	choice Turns // by which Turn counts
}

// Reason says why a row was refused.
type Reason = string

// The reasons.
const (
	ReasonBadJSON      Reason = "bad_json"      // not a JSON value
	ReasonBadUTF8      Reason = "bad_utf8"      // not UTF-8, or half a surrogate pair
	ReasonDuplicateKey Reason = "duplicate_key" // an object repeats a name
	ReasonTooDeep      Reason = "too_deep"      // nested deeper than MaxDepth
	ReasonTooLarge     Reason = "too_large"     // longer than Options.MaxRow
	ReasonTooMany      Reason = "too_many"      // more than MaxValues values or MaxTurns turns
	ReasonTruncated    Reason = "truncated"     // the file ends inside it
	ReasonWrongType    Reason = "wrong_type"    // not an object, or a field holds what it should not
	ReasonNUL          Reason = "nul"           // a text holds a NUL character
	ReasonMissing      Reason = "missing_field" // it lacks a field of its format
	ReasonEmpty        Reason = "empty"         // no message, or a prompt without a character
	ReasonNoPrompt     Reason = "no_prompt"     // nothing stands before its answer
	ReasonNoAnswer     Reason = "no_answer"     // no assistant turn, or one without a character
	ReasonRole         Reason = "role"          // a role that is not known
	ReasonRoleOrder    Reason = "role_order"    // two assistant turns in a row, or a tool that nobody called
	ReasonNotText      Reason = "not_text"      // images, audio or files
	ReasonNotWhole     Reason = "not_whole"     // a served request that points to turns or a prompt that it does not hold
	ReasonNotTrained   Reason = "not_trained"   // the row gives its answers the weight 0
	ReasonBadTools     Reason = "bad_tools"     // tools or a call of one that cannot be read
	ReasonFailed       Reason = "failed"        // the request failed: an error stands where the answer should
	ReasonNoRequest    Reason = "no_request"    // batch output whose request is not there
	ReasonDuplicateID  Reason = "duplicate_id"  // a batch's custom_id that stands twice
)

// Limits on a row beside Options.MaxRow.
const (
	MaxDepth    = 128       // of nesting
	MaxValues   = 1 << 20   // JSON values in a row, names not counted
	MaxTurns    = 16_384    // messages of a conversation
	MaxRequests = 256 << 20 // bytes of Options.Requests that are held
)

// Refusal is one row that was refused.
type Refusal struct {
	Row    int64  `json:"row"`
	Line   int64  `json:"line"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail"` // where in the row, and what
}

// Leak counts texts of assistants that say who they are.
type Leak struct {
	Pattern string       `json:"pattern"` // as named by internal/text: "openai", …, "unnamed"
	Count   int64        `json:"count"`   // assistant texts that match
	Samples []LeakSample `json:"samples"`
}

// LeakSample is one such text.
type LeakSample struct {
	Row     int64  `json:"row"`
	Line    int64  `json:"line"`
	Snippet string `json:"snippet"`
}

// Report says what became of a file's rows. Rows = Kept + the sum of Refused.
type Report struct {
	Name     string               `json:"name"`
	Format   Format               `json:"format"`
	Detected bool                 `json:"detected"`      // the format was found by looking
	Why      string               `json:"why,omitempty"` // what it was found by
	Layout   string               `json:"layout"`        // "array" or "lines"
	Rows     int64                `json:"rows"`
	Kept     int64                `json:"kept"`
	Items    int64                `json:"items"`
	Refused  map[Reason]int64     `json:"refused"`
	Samples  map[Reason][]Refusal `json:"samples"` // the first few of each reason
	Notes    map[string]int64     `json:"notes"`   // remarks about rows that were kept; see the constants
	Leaks    []Leak               `json:"leaks"`
	Bytes    int64                `json:"bytes"`
	Damage   string               `json:"damage,omitempty"` // what is wrong with the file beside its rows
}

// The notes.
const (
	NoteUnansweredTail = "unanswered_tail" // turns after the last answer have none, and are left out
	NoteBlankTurns     = "blank_turns"     // assistant turns without a character, which make no item
	NoteUntrainedTurns = "untrained_turns" // assistant turns of weight 0, which make no item
	NoteUnsentRequests = "unused_requests" // batch requests without a row of output
	NoteEmptySystem    = "empty_system"    // a system message without a character is left out
)

// FormatError says that a file is in no format that is read, and what to do.
type FormatError struct {
	Name string
	What string
}

// Error implements error.
func (e *FormatError) Error() string {
	if e.Name == "" {
		return "import: " + e.What
	}
	return "import " + e.Name + ": " + e.What
}
