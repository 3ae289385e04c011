// Command mutants breaks central lines of the program, one at a time, and runs
// the tests of the room: each mutant must be caught. The sources stay as they
// are; the compiler is shown the broken file through an overlay.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// mutant is one line broken.
type mutant struct {
	file, old, broken string
	what              string // what goes wrong
}

var mutants = []mutant{
	{"exchange/money.go", "int64(p>>63) + int64(carry)", "int64(p>>63) - int64(carry)", "a sum of money takes its carry the wrong way"},
	{"exchange/id.go", "part(strconv.Itoa(r.Sample))", "", "two samples of one prompt share a key"},
	{"meter/budget.go", "if sum.Cmp(b.limit) > 0 {", "if b.spent.Cmp(b.limit) > 0 {", "what is in flight does not count against the budget"},
	{"ledger/segment/store.go", "err = d.Sync()", "err = nil", "a directory is not synced"},
	{"ledger/join.go", "e.Cost = e.Worst", "e.Cost = 0", "an attempt that a crash cut off costs nothing"},
	{"teach/task/countdown.go", "sorted := slices.Sorted(slices.Values(c.Numbers))", "sorted := slices.Collect(slices.Values(c.Numbers))", "mirror images are two problems"},
	{"teach/collect/fill.go", "f.Accepted+len(queue) < want", "f.Accepted < want", "more is asked than needed"},
	{"teach/curate/curate.go", "if c.heldout.byID[identity(x.Text)] {", "if len(x.Row) > 1e6 {", "held-out problems are trained on"},
	{"student/model/pass.go", "1 / math.Sqrt(float64(c.qkDim()))", "1 / math.Sqrt(float64(c.NopeDim))", "attention has another scale"},
	{"student/tokenizer/train.go", "return a.count > b.count", "return a.count < b.count", "the rarest pair is merged first"},
	{"internal/kernel/vector_portable.go", "o.keep2*d*d", "o.keep2*d", "AdamW's second moment is a first one"},
	{"internal/stat/paired.go", "p.OnlyA++", "p.OnlyB++", "who was right is mixed up"},
	{"recipe/recipe.go", "c.Budget, c.Teacher.Limits = Budget{}, Limits{}", "c.Teacher.Limits = Limits{}", "raising the budget starts another run"},
}

func main() {
	root, err := filepath.Abs(".")
	if err != nil {
		fail(err)
	}
	caught := 0
	for _, m := range mutants {
		ok, err := catch(root, m)
		if err != nil {
			fail(err)
		}
		mark := "NOT CAUGHT"
		if ok {
			mark = "caught"
			caught++
		}
		fmt.Printf("%-10s %s: %s\n", mark, m.file, m.what)
	}
	fmt.Printf("%d passed, %d failed\n", caught, len(mutants)-caught)
	fmt.Printf("{\"bench\": \"mutants\", \"figures\": {\"caught\": %d, \"of\": %d}, \"spread\": {}}\n", caught, len(mutants))
	if caught < len(mutants) {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mutants:", err)
	os.Exit(1)
}

// catch reports whether the room's tests fail, as opposed to not compiling.
func catch(root string, m mutant) (bool, error) {
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return false, fmt.Errorf("%s has %q %d times, want it once", m.file, m.old, n)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(source), m.old, m.broken, 1)), 0o644); err != nil {
		return false, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		return false, err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		return false, err
	}
	room := "./" + filepath.Dir(m.file)
	if out, err := exec.Command("go", "vet", "-overlay", list, room).CombinedOutput(); err != nil {
		return false, fmt.Errorf("%s: the mutant does not compile:\n%s", m.file, out)
	}
	out, err := exec.Command("go", "test", "-count=1", "-overlay", list, room).CombinedOutput()
	return err != nil && strings.Contains(string(out), "--- FAIL"), nil
}
