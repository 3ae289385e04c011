package terms

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/goccy/go-yaml"
)

// today stands in for the day on which the gate is asked.
var today = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// TestTheGateByExample runs the files in testdata, each of which says what it
// shows. Run with -rewrite after a row has changed, and read the difference.
//
//	agreement NAME           adds the agreement that follows to the registry
//	matrix                   a line a source: what each use may collect, curate and export
//	decide row=… [purpose=…] [distributed]
//	                         the gate with the overrides that follow, for each action
//	refused row=… [action=…] [purpose=…] [distributed]
//	                         what a refusal tells people
//	show row=…               the row for people
//	explain [purpose=…] [distributed]
//	                         which document decides over the sources that follow; a
//	                         line that begins with override is one, in YAML
//	obligations row=… [distributed]
//	                         whether the model that follows may be exported
func TestTheGateByExample(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		g := Default()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "agreement":
				return addAgreement(t, &g, d)
			case "matrix":
				return matrix(t, g, d.Input)
			case "decide":
				return decide(t, g, d)
			case "refused":
				action := Collect
				d.MaybeScanArgs(t, "action", (*string)(&action))
				row := unknown(Source{BaseURL: "https://host.example/v1", Model: "m"})
				if d.HasArg("row") {
					row = theRow(t, g, d)
				}
				if _, err := Require(row, use(t, d), action); err != nil {
					return err.Error()
				}
				return "passes"
			case "show":
				return theRow(t, g, d).String()
			case "explain":
				return explain(t, g, d)
			case "obligations":
				return obligations(t, g, d)
			}
			d.Fatalf(t, "no command %q", d.Cmd)
			return ""
		})
	})
}

func addAgreement(t *testing.T, g **Registry, d *datadriven.TestData) string {
	name := d.CmdArgs[0].Key
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(d.Input), 0o644); err != nil {
		t.Fatal(err)
	}
	row, sum, err := LoadAgreement(path)
	if err != nil {
		return strings.ReplaceAll(err.Error(), path, name)
	}
	more, err := (*g).With(row)
	if err != nil {
		return err.Error()
	}
	*g = more
	return fmt.Sprintf("%s, sha256 %s…", row.ID, sum[:12])
}

var uses = []struct {
	name string
	use  Use
}{
	{"general", Use{}},
	{"extract", Use{Purpose: "extract"}},
	{"classify", Use{Purpose: "classify"}},
	{"general+", Use{Distributed: true}},
	{"extract+", Use{Purpose: "extract", Distributed: true}},
	{"classify+", Use{Purpose: "Classify", Distributed: true}},
}

// matrix prints the decisions on collect, curate and export as their first
// letters. A plus says that the model is distributed.
func matrix(t *testing.T, g *Registry, input string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "source\trow")
	for _, u := range uses {
		fmt.Fprint(w, "\t", u.name)
	}
	fmt.Fprintln(w)
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		var s Source
		for _, word := range strings.Fields(line) {
			key, value, _ := strings.Cut(word, "=")
			at, ok := map[string]*string{"base": &s.BaseURL, "model": &s.Model, "row": &s.Row, "provider": &s.Provider}[key]
			if !ok {
				t.Fatalf("%q: no key %q", line, key)
			}
			*at = value
		}
		row, err := g.Lookup(s)
		if err != nil {
			fmt.Fprintf(w, "%s\t%v\n", line, err)
			continue
		}
		fmt.Fprintf(w, "%s\t%s", line, row.ID)
		for _, u := range uses {
			var cell []byte
			for _, a := range Actions {
				cell = append(cell, strings.ToUpper(string(GateAt(row, u.use, a, today).Decision))[0])
			}
			fmt.Fprintf(w, "\t%s", cell)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}

func use(t *testing.T, d *datadriven.TestData) Use {
	u := Use{Distributed: d.HasArg("distributed")}
	d.MaybeScanArgs(t, "purpose", &u.Purpose)
	return u
}

func theRow(t *testing.T, g *Registry, d *datadriven.TestData) Row {
	var id string
	d.ScanArgs(t, "row", &id)
	row, err := g.Row(id)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return row
}

func decide(t *testing.T, g *Registry, d *datadriven.TestData) string {
	var overrides []Override
	if err := yaml.UnmarshalWithOptions([]byte(d.Input), &overrides, yaml.Strict()); err != nil {
		d.Fatalf(t, "%v", err)
	}
	row := theRow(t, g, d)
	var b strings.Builder
	for _, a := range Actions {
		v, err := g.Decide(row, use(t, d), a, overrides)
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			fmt.Fprintf(&b, "%s: %s\n", a, v.Decision)
		case err != nil:
			fmt.Fprintf(&b, "%s: %v\n", a, err)
		default:
			fmt.Fprintf(&b, "%s: %s\n  basis: %s\n", a, v.Decision, v.Basis)
		}
		if v.Override != nil {
			fmt.Fprintf(&b, "  said: %s\n  reason: %s\n", v.Override.Said, v.Reason)
		}
	}
	return b.String()
}

func explain(t *testing.T, g *Registry, d *datadriven.TestData) string {
	var counted []Counted
	var overrides []Override
	for line := range strings.Lines(d.Input) {
		if text, ok := strings.CutPrefix(line, "override "); ok {
			var o Override
			if err := yaml.UnmarshalWithOptions([]byte(text), &o, yaml.Strict()); err != nil {
				d.Fatalf(t, "%v", err)
			}
			overrides = append(overrides, o)
			continue
		}
		var c Counted
		if _, err := fmt.Sscan(line, &c.Rows, &c.ID, &c.Source); err != nil {
			d.Fatalf(t, "%q: %v", line, err)
		}
		counted = append(counted, c)
	}
	return Explain(g, counted, use(t, d), overrides...).String()
}

func obligations(t *testing.T, g *Registry, d *datadriven.TestData) string {
	var m struct {
		Name     string
		Notices  []string
		Teachers []string
		Copy     string // the title of a licence that a long enough notice holds
	}
	if err := yaml.UnmarshalWithOptions([]byte(d.Input), &m, yaml.Strict()); err != nil {
		d.Fatalf(t, "%v", err)
	}
	if m.Copy != "" {
		m.Notices = append(m.Notices, m.Copy+strings.Repeat("\nAnd so on, at the length of a licence.", 40))
	}
	due := Due(theRow(t, g, d).Obligations, use(t, d))
	if err := CheckObligations(due, Model{Name: m.Name, Notices: slices.Clone(m.Notices), Teachers: m.Teachers}); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("met: %d due", len(due))
}
