package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"retort/exchange"
	"retort/terms"
)

// PassportFormat and PassportVersion open every dataset passport.
const (
	PassportFormat  = "retort dataset passport"
	PassportVersion = 1
)

// Passport is a dataset's lineage as a machine reads it. Write fills in the
// first group and the counts; the caller says the rest. Members that a reader
// does not know are to be ignored.
type Passport struct {
	Format   string `json:"format"`
	Version  int    `json:"version"`
	Hash     string `json:"hash"`
	Examples int    `json:"examples"`

	Created string `json:"created,omitempty"` // RFC 3339, when it was written
	Tool    Tool   `json:"tool"`
	Recipe  Recipe `json:"recipe"`
	Ledger  Ledger `json:"ledger"`

	Teachers []Teacher      `json:"teachers"`
	Families map[string]int `json:"families"` // examples of each
	Sources  map[string]int `json:"sources"`
	Origins  map[string]int `json:"origins"`
	Verdicts map[string]int `json:"verdicts"`
	// Reasoning counts the examples that carry the teacher's reasoning.
	Reasoning int `json:"reasoning"`
	// Corrections counts the examples whose answer a person wrote.
	Corrections int     `json:"corrections,omitempty"`
	Terms       []Terms `json:"terms"`
	// Overrides are what let answers pass that their terms alone would hold back.
	Overrides []Override `json:"overrides,omitempty"`
	// People are those whose prompts served or imported conversations hold.
	People []People `json:"people,omitempty"`

	// Offered is how many candidates were judged, each of which is either an
	// example or counted under one reason in Refused.
	Offered int            `json:"offered"`
	Refused map[string]int `json:"refused"`
	// Verifiers counts what each verifier found, over all candidates that were
	// judged.
	Verifiers map[string]Outcomes `json:"verifiers,omitempty"`
	// IdentityLeaks counts the examples in which the teacher names itself,
	// by pattern. They are counted, not removed.
	IdentityLeaks []Leak `json:"identity_leaks"`
	// Curation is the rules that decided, as the recipe states them.
	Curation json.RawMessage `json:"curation,omitempty"`

	Files []File `json:"files"`
	// Export is set in the passport beside an exported file, whose Files name
	// that file.
	Export *Exported `json:"export,omitempty"`
}

// Tool is the program that wrote a dataset.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Recipe is the recipe that a dataset came from.
type Recipe struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
}

// Ledger says where the exchanges behind a dataset are recorded.
type Ledger struct {
	Run       string `json:"run,omitempty"`  // the run that collected them
	Head      string `json:"head,omitempty"` // the ledger's chain hash at the time, if known
	Exchanges int64  `json:"exchanges"`      // attempts of that run until then
	CostPico  string `json:"cost_pico"`      // what they cost: an integer of 10⁻¹² US dollars, as text
}

// Teacher is a model whose answers are in the dataset.
type Teacher struct {
	Provider string   `json:"provider,omitempty"`
	Endpoint string   `json:"endpoint"`
	Model    string   `json:"model"`              // as asked
	Answered []string `json:"answered,omitempty"` // as its responses name it
}

// Terms is a terms row that examples were obtained under, and what follows.
type Terms struct {
	ID          string             `json:"id"`
	Provider    string             `json:"provider,omitempty"`
	Document    string             `json:"document,omitempty"` // title or address of what was read
	Read        string             `json:"read,omitempty"`     // when it was read, as a date
	Decision    string             `json:"decision,omitempty"` // the gate's, at curation
	Basis       string             `json:"basis,omitempty"`
	Obligations []terms.Obligation `json:"obligations,omitempty"`
	Examples    int                `json:"examples"`
}

// Override is what let answers pass that their terms alone would hold back.
type Override = terms.Override

// People are the people behind a source of conversations.
type People = terms.People

// Outcomes counts a verifier's findings.
type Outcomes struct {
	Pass  int `json:"pass"`
	Fail  int `json:"fail"`
	Skip  int `json:"skip,omitempty"`  // it could not judge, such as without a right answer
	Error int `json:"error,omitempty"` // it broke down
}

// Leak counts a pattern by which a model says who it is.
type Leak struct {
	Pattern string   `json:"pattern"`
	Count   int      `json:"count"`
	Samples []string `json:"samples,omitempty"`
}

// File is a file of the dataset other than the passport.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// MismatchError says that a dataset is not what it claims to be: which field
// disagrees, what is claimed and what the rows give.
type MismatchError struct {
	Dir   string
	Field string // a member of passport.json by its path, or "directory name"
	Says  string // what the passport or the name claims
	Rows  string // what the data give
}

// Error implements error.
func (e *MismatchError) Error() string {
	who := "its passport says " + e.Field + " is"
	if e.Field == "directory name" {
		who = "its directory is named"
	}
	return fmt.Sprintf("dataset %s: %s %s, its data give %s: it was changed or damaged after it was written; "+
		"restore it from a copy, or delete that directory and run the recipe again (curating again reads the ledger and costs nothing)",
		e.Dir, who, e.Says, e.Rows)
}

// counts are what a passport says that follows from the rows.
type counts struct {
	families, sources, origins, verdicts, terms map[string]int
	reasoning, corrections                      int
}

func countRows(rows []Example) counts {
	c := counts{map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, 0, 0}
	for i := range rows {
		r := &rows[i]
		c.families[r.Family]++
		c.sources[r.Source]++
		c.origins[string(r.Origin)]++
		c.verdicts[r.Verdict]++
		c.terms[r.TermsID]++
		if r.Reasoning != "" {
			c.reasoning++
		}
		if r.Origin == exchange.OriginHuman {
			c.corrections++
		}
	}
	return c
}

// fill sets what follows from the rows and refuses what contradicts them.
func (p *Passport) fill(hash string, rows []Example) error {
	c := countRows(rows)
	p.Format, p.Version = PassportFormat, PassportVersion
	p.Hash, p.Examples = hash, len(rows)
	p.Families, p.Sources, p.Origins, p.Verdicts, p.Reasoning = c.families, c.sources, c.origins, c.verdicts, c.reasoning
	p.Corrections = c.corrections
	terms := slices.Clone(p.Terms)
	for i := range terms {
		terms[i].Examples = c.terms[terms[i].ID]
		delete(c.terms, terms[i].ID)
	}
	for id := range c.terms {
		return fmt.Errorf("passport: %d examples were obtained under terms %q, which it does not describe", c.terms[id], id)
	}
	p.Terms = slices.DeleteFunc(terms, func(t Terms) bool { return t.Examples == 0 })
	if p.Offered == 0 && len(p.Refused) == 0 {
		p.Offered = len(rows)
	}
	if n := p.accounted(); n != p.Offered {
		return fmt.Errorf("passport: %d candidates were offered, but examples and refusals add up to %d", p.Offered, n)
	}
	if p.Refused == nil {
		p.Refused = map[string]int{}
	}
	if p.Teachers == nil {
		p.Teachers = []Teacher{}
	}
	if p.IdentityLeaks == nil {
		p.IdentityLeaks = []Leak{}
	}
	if p.Ledger.CostPico == "" {
		p.Ledger.CostPico = "0"
	}
	return nil
}

func (p *Passport) accounted() int {
	n := p.Examples
	for _, k := range p.Refused {
		n += k
	}
	return n
}

// checkRows compares the passport with what the rows give.
func (p *Passport) checkRows(dir, hash string, rows []Example) error {
	c := countRows(rows)
	terms := map[string]int{}
	for _, t := range p.Terms {
		terms[t.ID] += t.Examples
	}
	for _, f := range []struct {
		name      string
		says, got string
	}{
		{"hash", p.Hash, hash},
		{"examples", strconv.Itoa(p.Examples), strconv.Itoa(len(rows))},
		{"reasoning", strconv.Itoa(p.Reasoning), strconv.Itoa(c.reasoning)},
		{"corrections", strconv.Itoa(p.Corrections), strconv.Itoa(c.corrections)},
		{"offered", strconv.Itoa(p.Offered), strconv.Itoa(p.accounted())},
	} {
		if f.says != f.got {
			return &MismatchError{dir, f.name, f.says, f.got}
		}
	}
	for _, m := range []struct {
		name      string
		says, got map[string]int
	}{
		{"families", p.Families, c.families}, {"sources", p.Sources, c.sources}, {"origins", p.Origins, c.origins},
		{"verdicts", p.Verdicts, c.verdicts}, {"terms", terms, c.terms},
	} {
		if key, differ := firstDifference(m.says, m.got); differ {
			return &MismatchError{dir, m.name + "." + key, strconv.Itoa(m.says[key]), strconv.Itoa(m.got[key])}
		}
	}
	return nil
}

// firstDifference returns the first key, in order, whose counts differ.
func firstDifference(a, b map[string]int) (string, bool) {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if a[k] != b[k] {
			return k, true
		}
	}
	return "", false
}

// checkFile compares one file's bytes with what the passport says of them.
func (p *Passport) checkFile(dir, name, sum string, size int64) error {
	i := slices.IndexFunc(p.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return &MismatchError{dir, "files", "without " + name, "a file " + name}
	}
	f := p.Files[i]
	switch {
	case f.Bytes != size:
		return &MismatchError{dir, "files." + name + ".bytes", strconv.FormatInt(f.Bytes, 10), strconv.FormatInt(size, 10)}
	case f.SHA256 != sum:
		return &MismatchError{dir, "files." + name + ".sha256", f.SHA256, sum}
	}
	return nil
}

// ReadPassport reads a dataset's passport alone, without verifying the rows
// that it speaks of.
func ReadPassport(dir string) (Passport, error) { return readPassport(filepath.Clean(dir)) }

func readPassport(dir string) (Passport, error) {
	raw, err := os.ReadFile(filepath.Join(dir, PassportFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(dir); statErr == nil {
			return Passport{}, fmt.Errorf("dataset %s: it has no %s, so nothing says what it is: this is not a dataset directory, or its passport was removed: %w", dir, PassportFile, err)
		}
	}
	if err != nil {
		return Passport{}, fmt.Errorf("dataset %s: %w", dir, err)
	}
	var p Passport
	if err := json.Unmarshal(raw, &p); err != nil {
		return Passport{}, fmt.Errorf("dataset %s: %s%s is not a passport: %w", dir, PassportFile, position(raw, err), err)
	}
	if p.Format != PassportFormat {
		return Passport{}, &MismatchError{dir, "format", strconv.Quote(p.Format), strconv.Quote(PassportFormat)}
	}
	if p.Version != PassportVersion {
		return Passport{}, fmt.Errorf("dataset %s: its passport has version %d and this program reads version %d: use the version of the program that wrote it (%s %s)",
			dir, p.Version, PassportVersion, p.Tool.Name, p.Tool.Version)
	}
	return p, nil
}

// position turns the offset of a JSON error into a line.
func position(raw []byte, err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	offset := int64(-1)
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	} else if errors.As(err, &kind) {
		offset = kind.Offset
	}
	if offset < 0 || offset > int64(len(raw)) {
		return ""
	}
	return ":" + strconv.Itoa(1+bytes.Count(raw[:offset], []byte("\n")))
}

func (p *Passport) json() ([]byte, error) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, err
	}
	return []byte(out.String()), nil
}
