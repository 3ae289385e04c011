package loop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const student = "retort: 1\nname: s\nteacher: {reference: {}, request: {temperature: 1, seed: none}}\nbudget: {usd: 1}\nprompts: [{family: chain, modulus: 7, steps: [3, 3], train: 20, heldout: 2}]\nstudent: {preset: tiny}\n"

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAFileIsCheckedWithPlaces(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "student.yaml"), student)
	write(t, filepath.Join(dir, "greedy.yaml"), strings.Replace(student, "temperature: 1", "temperature: 0", 1))
	good := "loop: 1\nname: x\ncampaign: {accounts: 2, recipe: student.yaml}\n"
	file := filepath.Join(dir, "loop.yaml")
	if l, err := Load(write(t, file, good)); err != nil || l.Coins != 0.15 || l.Ordinary.Before.Size != 3 {
		t.Fatalf("%+v %v", l, err)
	}
	if !Is(file) || Is(filepath.Join(dir, "student.yaml")) || Is(filepath.Join(dir, "none.yaml")) {
		t.Error("a loop is not told from a recipe")
	}
	for text, want := range map[string]string{
		strings.Replace(good, "loop: 1", "loop: 2", 1):                                   "1:1: loop: format 2",
		strings.Replace(good, "student.yaml", "greedy.yaml", 1):                          "3:25: campaign.recipe: greedy.yaml asks for answers that are no fresh draws",
		strings.Replace(good, "accounts: 2", "acounts: 2", 1):                            `did you mean "accounts"`,
		good + "coins: 1.5\n":                                                            "4:1: coins: 1.5",
		good + "innocent: {seed: 0}\n":                                                   "4:12: innocent.seed",
		good + "ordinary: {beside: {organisations: 0}}\n":                                "ordinary.beside: organisations",
		strings.Replace(good, "campaign: {accounts: 2, recipe: student.yaml}\n", "", 1):  "campaign",
		strings.Replace(good, "accounts: 2, recipe: student.yaml", "recipe: no.yaml", 1): "no.yaml",
	} {
		if _, err := Load(write(t, file, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestTheLoopThatComesWithTheProgramIsRight(t *testing.T) {
	l, err := Load("../../recipes/closed-loop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.path(l.Verifier)); err != nil {
		t.Error(err)
	}
}

func TestTheNameCoversWhatDecides(t *testing.T) {
	dir := t.TempDir()
	s := write(t, filepath.Join(dir, "student.yaml"), student)
	file := write(t, filepath.Join(dir, "loop.yaml"), "loop: 1\nname: x\ncampaign: {accounts: 2, recipe: student.yaml}\n")
	name := func() string {
		l, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		n, err := l.RunName()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := name()
	if name() != first {
		t.Error("the same loop has two names")
	}
	write(t, s, strings.Replace(student, "train: 20", "train: 21", 1))
	if name() == first {
		t.Error("another recipe of the campaign's leaves the name")
	}
}
