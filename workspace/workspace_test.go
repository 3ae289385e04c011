package workspace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestFindPrefersFlagThenVariableThenNearestParent(t *testing.T) {
	root := t.TempDir()
	if r, err := filepath.EvalSymlinks(root); err == nil {
		root = r
	}
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	t.Setenv(Variable, "")
	check := func(flag, want string) {
		t.Helper()
		if got, err := Find(flag); err != nil || got != want {
			t.Errorf("Find(%q) = %s, %v, want %s", flag, got, err, want)
		}
	}
	check("", filepath.Join(deep, ".retort"))
	if err := os.Mkdir(filepath.Join(root, ".retort"), 0o755); err != nil {
		t.Fatal(err)
	}
	check("", filepath.Join(root, ".retort"))
	if err := os.WriteFile(filepath.Join(root, "a", ".retort"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check("", filepath.Join(root, ".retort")) // a file of that name is no workspace
	t.Setenv(Variable, filepath.Join(root, "env"))
	check("", filepath.Join(root, "env"))
	check("flag", filepath.Join(deep, "flag"))
}

func TestOpenCreatesTheLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "y")
	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range layout {
		if info, err := os.Stat(w.Path(sub)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v", sub, err)
		}
	}
	if _, err := Open(dir); err != nil {
		t.Errorf("opening it again: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file was opened as a workspace, or not named: %v", err)
	}
}

func TestAccountKeyIsMadeOnceAndKeptSecret(t *testing.T) {
	w, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			key, err := w.AccountKey()
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	group.Wait()
	for _, k := range keys {
		if len(k) != keySize || !bytes.Equal(k, keys[0]) {
			t.Fatalf("concurrent callers got different keys or wrong lengths")
		}
	}
	if info, err := os.Stat(w.Path(keyFile)); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("account key has mode %v, %v", info.Mode(), err)
	}
	noTemporaries(t, w.Dir)
	if err := os.WriteFile(w.Path(keyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AccountKey(); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a damaged key was accepted, or its bytes are in the error: %v", err)
	}
}

func TestAtomicFileAppearsWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFileAtomic(path, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := CreateAtomic(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "two")
	if got, _ := os.ReadFile(path); string(got) != "one" {
		t.Errorf("before Commit the file holds %q", got)
	}
	f.Abort()
	noTemporaries(t, filepath.Dir(path))
	if err := f.Commit(); err == nil {
		t.Error("an aborted file was committed")
	}
	if f, err = CreateAtomic(path); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "three")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if got, _ := os.ReadFile(path); string(got) != "three" {
		t.Errorf("after Commit the file holds %q", got)
	}
	noTemporaries(t, filepath.Dir(path))
}

func TestANewFileReplacesNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.json")
	if err := WriteFileNew(path, []byte("first"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileNew(path, []byte("second"), 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there was written again: %v", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || string(raw) != "first" {
		t.Errorf("%q, %v", raw, err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 1 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestReplaceDirPublishesAndReplaces(t *testing.T) {
	root := t.TempDir()
	final := filepath.Join(root, "final")
	for _, text := range []string{"one", "two"} {
		tmp := filepath.Join(root, "tmp")
		if err := os.MkdirAll(filepath.Join(tmp, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tmp, "sub", "f"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := ReplaceDir(tmp, final); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(final, "sub", "f")); err != nil || string(got) != text {
			t.Errorf("published directory holds %q, %v, want %q", got, err, text)
		}
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// recorder does what disk does, writes down what was asked of it, and fails
// the nth call.
type recorder struct {
	disk
	calls  []string
	failAt int
}

var errInjected = errors.New("injected")

func (r *recorder) call(op, path string) error {
	r.calls = append(r.calls, op+" "+strings.TrimRight(filepath.Base(path), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
	if r.failAt == len(r.calls) {
		return errInjected
	}
	return nil
}

func (r *recorder) Create(path string, perm fs.FileMode) (file, error) {
	if err := r.call("create", strings.TrimSuffix(path, ".tmp")); err != nil {
		return nil, err
	}
	f, err := r.disk.Create(path, perm)
	return &recordedFile{f, r}, err
}

func (r *recorder) Rename(from, to string) error {
	if err := r.call("rename to", to); err != nil {
		return err
	}
	return r.disk.Rename(from, to)
}

func (r *recorder) Mkdir(path string) error {
	if err := r.call("mkdir", path); err != nil {
		return err
	}
	return r.disk.Mkdir(path)
}

func (r *recorder) SyncFile(path string) error {
	if err := r.call("sync file", path); err != nil {
		return err
	}
	return r.disk.SyncFile(path)
}

func (r *recorder) SyncDir(path string) error {
	if err := r.call("sync dir", path); err != nil {
		return err
	}
	return r.disk.SyncDir(path)
}

type recordedFile struct {
	file
	r *recorder
}

func (f *recordedFile) Write(p []byte) (int, error) {
	if err := f.r.call("write", ""); err != nil {
		return 0, err
	}
	return f.file.Write(p)
}

func (f *recordedFile) Sync() error {
	if err := f.r.call("sync", ""); err != nil {
		return err
	}
	return f.file.Sync()
}

func TestEverySyncHappensInItsPlace(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	r := &recorder{}
	check := func(what string, want ...string) {
		t.Helper()
		if got := strings.Join(r.calls, ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s:\ngot  %s\nwant %s", what, got, strings.Join(want, ", "))
		}
		r.calls = nil
	}
	if err := mkdirAll(r, filepath.Join(root, "tmp", "sub")); err != nil {
		t.Fatal(err)
	}
	r.calls[1] = "sync dir" // the test's own temporary directory
	check("making directories", "mkdir root", "sync dir", "mkdir tmp", "sync dir root", "mkdir sub", "sync dir tmp")
	if err := writeFileAtomic(r, filepath.Join(root, "tmp", "sub", "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("writing a file", "create f.", "write .", "sync .", "rename to f", "sync dir sub")
	if err := replaceDir(r, filepath.Join(root, "tmp"), filepath.Join(root, "final")); err != nil {
		t.Fatal(err)
	}
	check("publishing a directory", "sync file f", "sync dir sub", "sync dir tmp",
		"rename to final.old", "rename to final", "sync dir root")
}

func TestPublishingANewDirectorySyncsAllOfItAndItsParent(t *testing.T) {
	root := t.TempDir()
	r := &recorder{}
	err := publishDir(r, filepath.Join(root, "all", "final"), func(tmp string) error {
		if err := os.Mkdir(filepath.Join(tmp, "sub"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, "sub", "f"), []byte("x"), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, "g"), nil, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, call := range r.calls { // names that differ from run to run
		if strings.Contains(call, ".tmp-final-") {
			r.calls[i] = call[:strings.Index(call, ".tmp-")] + "TMP"
		}
	}
	r.calls[1] = "sync dir ROOT"
	got := strings.Join(r.calls, ", ")
	if want := "mkdir all, sync dir ROOT, mkdir TMP, sync file g, sync file f, sync dir sub, sync dir TMP, rename to final, sync dir all"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAFailedPublishLeavesNothing(t *testing.T) {
	write := func(tmp string) error { return os.WriteFile(filepath.Join(tmp, "f"), nil, 0o644) }
	for failAt := 1; failAt <= 4; failAt++ { // mkdir, sync file, sync dir, rename
		root := t.TempDir()
		err := publishDir(&recorder{failAt: failAt}, filepath.Join(root, "final"), write)
		if !errors.Is(err, errInjected) || !strings.Contains(err.Error(), "final") {
			t.Errorf("failure of call %d: %v", failAt, err)
		}
		if entries, _ := os.ReadDir(root); len(entries) != 0 {
			t.Errorf("failure of call %d left %v", failAt, entries)
		}
	}
	root := t.TempDir()
	if err := publishDir(&recorder{failAt: 5}, filepath.Join(root, "final"), write); !errors.Is(err, errInjected) {
		t.Errorf("a parent that cannot be synced: %v", err)
	}
	if err := PublishDir(filepath.Join(root, "other"), func(tmp string) error {
		return errors.Join(write(tmp), errInjected)
	}); !errors.Is(err, errInjected) {
		t.Errorf("a directory that could not be filled: %v", err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestADirectoryThatIsThereIsNotReplaced(t *testing.T) {
	final := filepath.Join(t.TempDir(), "final")
	put := func(text string) error {
		return PublishDir(final, func(tmp string) error { return os.WriteFile(filepath.Join(tmp, "f"), []byte(text), 0o644) })
	}
	if err := put("one"); err != nil {
		t.Fatal(err)
	}
	if err := put("two"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("publishing again: %v", err)
	}
	// Another process is faster while this one is still writing.
	if err := os.RemoveAll(final); err != nil {
		t.Fatal(err)
	}
	err := PublishDir(final, func(tmp string) error {
		return errors.Join(os.WriteFile(filepath.Join(tmp, "f"), []byte("slow"), 0o644), put("fast"))
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("another was faster: %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(final, "f")); string(got) != "fast" {
		t.Errorf("the directory holds %q", got)
	}
	if entries, _ := os.ReadDir(filepath.Dir(final)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestWhatAKilledPublisherLeftIsCleared(t *testing.T) {
	dead := exec.Command(os.Args[0], "-test.run=^$")
	if err := dead.Run(); err != nil {
		t.Skip("no way to make a dead process: ", err)
	}
	final := filepath.Join(t.TempDir(), "final")
	left := filepath.Join(filepath.Dir(final), fmt.Sprintf("%s%d-X", unfinished(final), dead.Process.Pid))
	alive := filepath.Join(filepath.Dir(final), fmt.Sprintf("%s%d-X", unfinished(final), os.Getppid()))
	for _, dir := range []string{left, alive} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := PublishDir(final, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dead process's directory is still there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("a living process's directory was removed: %v", err)
	}
}

func TestAFailedWriteLeavesTheOldFileAndNoTemporary(t *testing.T) {
	for failAt := 1; failAt <= 4; failAt++ { // create, write, sync, rename
		path := filepath.Join(t.TempDir(), "f")
		if err := WriteFileAtomic(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := writeFileAtomic(&recorder{failAt: failAt}, path, []byte("new"), 0o644)
		if !errors.Is(err, errInjected) || !strings.Contains(err.Error(), path) {
			t.Errorf("failure of call %d: %v", failAt, err)
		}
		if got, _ := os.ReadFile(path); string(got) != "old" {
			t.Errorf("after failure of call %d the file holds %q", failAt, got)
		}
		noTemporaries(t, filepath.Dir(path))
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	w, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestHoldLock$")
	cmd.Env = append(os.Environ(), "RETORT_TEST_HOLD="+w.Dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = w.Lock("runs/a")
	var inUse *InUseError
	if !errors.As(err, &inUse) || !errors.Is(err, ErrInUse) {
		t.Fatalf("a lock that another process holds: %v", err)
	}
	if inUse.Holder.PID != cmd.Process.Pid || inUse.Holder.Since.IsZero() || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("the holder is %d, the error says: %v", cmd.Process.Pid, err)
	}
	if other, err := w.Lock("runs/b"); err != nil {
		t.Errorf("another name is locked too: %v", err)
	} else {
		other.Unlock()
	}
	cmd.Process.Kill() // the lock must not outlive its process
	stdin.Close()
	cmd.Wait()
	l, err := w.Lock("runs/a")
	if err != nil {
		t.Fatalf("after its holder was killed: %v", err)
	}
	if _, err := w.Lock("runs/a"); !errors.Is(err, ErrInUse) {
		t.Errorf("locked twice in one process: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
	if err := l.Unlock(); err != nil {
		t.Errorf("a second Unlock: %v", err)
	}
}

// TestHoldLock is the other process of TestLockNamesItsHolder.
func TestHoldLock(t *testing.T) {
	dir := os.Getenv("RETORT_TEST_HOLD")
	if dir == "" {
		t.Skip("runs only as another test's other process")
	}
	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Lock("runs/a"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestOnlyOneOfManyHoldsALock(t *testing.T) {
	w, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var holders, most int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				l, err := w.Lock("x")
				if errors.Is(err, ErrInUse) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				holders++
				most = max(most, holders)
				mu.Unlock()
				runtime.Gosched()
				mu.Lock()
				holders--
				mu.Unlock()
				l.Unlock()
			}
		})
	}
	group.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
}

func noTemporaries(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
