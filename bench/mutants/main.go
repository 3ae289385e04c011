// Command mutants breaks central lines of the program, one at a time, and runs
// the tests of the room: each mutant must be caught. So must the loss of any
// call that makes data durable, which it finds by itself. The sources stay as
// they are; the compiler is shown the broken file through an overlay.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one line broken.
type mutant struct {
	file, old, broken string
	what              string // what goes wrong
	source            []byte // the whole broken file, in place of old and broken
}

var mutants = []mutant{
	{file: "exchange/money.go", old: "int64(p>>63) + int64(carry)", broken: "int64(p>>63) - int64(carry)",
		what: "a sum of money takes its carry the wrong way"},
	{file: "exchange/id.go", old: "part(strconv.Itoa(r.Sample))", broken: "",
		what: "two samples of one prompt share a key"},
	{file: "meter/budget.go", old: "if sum.Cmp(b.limit) > 0 {", broken: "if b.spent.Cmp(b.limit) > 0 {",
		what: "what is in flight does not count against the budget"},
	{file: "ledger/segment/store.go", old: "err = d.Sync()", broken: "err = nil",
		what: "a directory is not synced"},
	{file: "ledger/join.go", old: "e.Cost = e.Worst", broken: "e.Cost = 0",
		what: "an attempt that a crash cut off costs nothing"},
	{file: "teach/task/countdown.go", old: "sorted := slices.Sorted(slices.Values(c.Numbers))", broken: "sorted := slices.Collect(slices.Values(c.Numbers))",
		what: "mirror images are two problems"},
	{file: "teach/collect/fill.go", old: "f.Accepted+len(queue) < want", broken: "f.Accepted < want",
		what: "more is asked than needed"},
	{file: "teach/curate/curate.go", old: "if c.heldout.byID[identity(x.Text)] {", broken: "if len(x.Row) > 1e6 {",
		what: "held-out problems are trained on"},
	{file: "student/model/pass.go", old: "1 / math.Sqrt(float64(c.qkDim()))", broken: "1 / math.Sqrt(float64(c.NopeDim))",
		what: "attention has another scale"},
	{file: "student/tokenizer/train.go", old: "return a.count > b.count", broken: "return a.count < b.count",
		what: "the rarest pair is merged first"},
	{file: "internal/kernel/vector_portable.go", old: "o.keep2*d*d", broken: "o.keep2*d",
		what: "AdamW's second moment is a first one"},
	{file: "internal/stat/paired.go", old: "p.OnlyA++", broken: "p.OnlyB++",
		what: "who was right is mixed up"},
	{file: "recipe/recipe.go", old: "c.Budget, c.Teacher.Limits = Budget{}, Limits{}", broken: "c.Teacher.Limits = Limits{}",
		what: "raising the budget starts another run"},
}

func main() {
	root, err := filepath.Abs(".")
	if err != nil {
		fail(err)
	}
	all := mutants
	syncs, err := lostSyncs(root)
	if err != nil {
		fail(err)
	}
	all = append(all, syncs...)
	if rooms := os.Args[1:]; len(rooms) > 0 { // only what is in them
		all = slices.DeleteFunc(all, func(m mutant) bool {
			return !slices.ContainsFunc(rooms, func(room string) bool { return strings.HasPrefix(m.file, room) })
		})
	}
	caught := 0
	for _, m := range all {
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
	fmt.Printf("%d passed, %d failed\n", caught, len(all)-caught)
	fmt.Printf("{\"bench\": \"mutants\", \"figures\": {\"caught\": %d, \"of\": %d, \"syncs\": %d}, \"spread\": {}}\n", caught, len(all), len(syncs))
	if caught < len(all) {
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
	broken := m.source
	if broken == nil {
		if n := bytes.Count(source, []byte(m.old)); n != 1 {
			return false, fmt.Errorf("%s has %q %d times, want it once", m.file, m.old, n)
		}
		broken = bytes.Replace(source, []byte(m.old), []byte(m.broken), 1)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(file, broken, 0o644); err != nil {
		return false, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: file}})
	if err != nil {
		return false, err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		return false, err
	}
	room := "./" + filepath.ToSlash(filepath.Dir(m.file))
	if out, err := exec.Command("go", "vet", "-overlay", list, room).CombinedOutput(); err != nil {
		return false, fmt.Errorf("%s: %s: the mutant does not compile:\n%s", m.file, m.what, out)
	}
	out, err := exec.Command("go", "test", "-count=1", "-timeout=3m", "-overlay", list, room).CombinedOutput()
	failed := strings.Contains(string(out), "--- FAIL") || strings.Contains(string(out), "panic: test timed out")
	return err != nil && failed, nil
}
