// Package house holds no code: its test reads the real import graph and fails
// on any arrow between rooms that docs/ARCHITECTURE.md does not draw.
package house

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "retort/"

// ground is the vocabulary and the record: it imports itself and internal/.
var ground = []string{"exchange", "openai", "anthropic", "workspace", "ledger", "importer", "meter", "price", "terms"}

// top may import everything, but for the arrow recipe → report, which has no
// way back, and nothing may import top.
var top = []string{"cmd", "recipe", "report", "web"}

// wings import the ground floor, internal/ and themselves.
var wings = []string{"teach", "student", "watch", "prove"}

// arrows are the imports between wings that are allowed.
var arrows = map[string][]string{
	"student/":       {"teach/task", "teach/verify", "teach/dataset"},
	"watch/gateway":  {"prove/commit", "prove/canary"},
	"prove/":         {"student/model", "student/tokenizer"},
	"watch/simulate": {"teach/task", "teach/reference"},
}

// outside are the imports that one room has agreed to do without: exchange is
// a vocabulary of the standard library and ULIDs.
var outside = map[string][]string{"exchange": {"github.com/oklog/ulid/v2"}}

func first(path string) string { return strings.SplitN(path, "/", 2)[0] }

// allowed reports whether package from may import package to, both relative to
// the module.
func allowed(from, to string) bool {
	f, t := first(from), first(to)
	switch {
	case f == "bench":
		return true
	case t == "internal":
		return true
	case f == "internal":
		return false
	case slices.Contains(top, f):
		switch {
		case t == "cmd", f == "report" && (t == "recipe" || t == "web"), f == "recipe" && t == "web":
			return false
		}
		return true
	case slices.Contains(ground, t):
		return true
	case slices.Contains(ground, f) || !slices.Contains(wings, f):
		return false
	case f == t:
		return true
	}
	for prefix, rooms := range arrows {
		if from == prefix || strings.HasPrefix(from+"/", strings.TrimSuffix(prefix, "/")+"/") {
			for _, room := range rooms {
				if to == room || strings.HasPrefix(to, room+"/") {
					return true
				}
			}
		}
	}
	return false
}

type pkg struct {
	ImportPath  string
	Imports     []string
	TestImports []string // of tests inside of the package; external ones are exempt
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports", module+"...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsFollowTheArrows(t *testing.T) {
	all := packages(t)
	if len(all) < 5 {
		t.Fatalf("go list found %d packages: the graph is not being read", len(all))
	}
	for _, p := range all {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range append(p.Imports, p.TestImports...) {
			to, ours := strings.CutPrefix(imp, module)
			if ours && !allowed(from, to) {
				t.Errorf("%s imports %s: no such arrow in docs/ARCHITECTURE.md", from, to)
			}
		}
		if only, ok := outside[from]; ok {
			for _, imp := range p.Imports {
				if strings.Contains(first(imp), ".") && !slices.Contains(only, imp) {
					t.Errorf("%s imports %s: it may use the standard library and %v alone", from, imp, only)
				}
			}
		}
	}
}

func TestTheRulesBite(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"teach/collect", "ledger", true},
		{"teach/collect", "teach/task", true},
		{"teach/collect", "student/model", false},
		{"student/eval", "teach/task", true},
		{"student/train", "teach/dataset", true},
		{"student/train", "teach/collect", false},
		{"student/model", "internal/kernel", true},
		{"internal/kernel", "exchange", false},
		{"ledger/segment", "teach/task", false},
		{"ledger/segment", "internal/text", true},
		{"recipe", "report", true},
		{"report", "recipe", false},
		{"teach/task", "recipe", false},
		{"watch/gateway", "prove/commit", true},
		{"watch/detect", "prove/commit", false},
		{"prove/expose", "student/model", true},
		{"prove/expose", "student/train", false},
		{"cmd/retort", "student/serve", true},
		{"recipe", "cmd/retort", false},
	} {
		if got := allowed(c.from, c.to); got != c.want {
			t.Errorf("%s", fmt.Sprintf("allowed(%s → %s) = %v", c.from, c.to, got))
		}
	}
}
