// Package loop runs the closed loop on one machine: a teacher is served through a
// recording gateway to ordinary accounts and to one campaign, which distils a student
// from it by the main job's own pipeline; detection looks for the campaign; the
// exposure test is made on the student's weights and on its API; an innocent student
// goes through the same; and what was found is packed and checked by a stranger.
//
// Everybody has a workspace of their own, and what they do are the program's own
// commands, which are shown: whoever has a real gateway does the same by hand. The
// package starts the servers, plays the ordinary clients, calls the commands in their
// order, and compares what they found with the truth, which it alone knows.
//
// Ordinary accounts are simulated and their answers come from a stand-in; time is
// compressed. Every figure that comes of it is simulated and is called so. The stamps
// are those of a local witness: a demonstration.
package loop

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"retort/internal/strict"
	"retort/recipe"
	"retort/teach/reference"
)

// Version is the format that this program reads.
const Version = 1

// Loop is a loop's file with every default filled in.
type Loop struct {
	Version  int              `yaml:"loop"`
	Name     string           `yaml:"name"`
	Seed     uint64           `yaml:"seed"`
	Teacher  reference.Config `yaml:"teacher"` // the built-in teacher, behind the gateway
	Coins    float64          `yaml:"coins"`   // share of prompts that carry an exposure coin
	Ordinary Ordinary         `yaml:"ordinary"`
	Campaign Campaign         `yaml:"campaign"`
	Innocent Innocent         `yaml:"innocent"`
	Detect   Detect           `yaml:"detect"`
	Expose   Expose           `yaml:"expose"`
	Verifier string           `yaml:"second_verifier"` // a Python program that checks packs, too

	file    string
	src     *strict.Source
	student *recipe.Recipe
}

// Ordinary are the simulated accounts: some before, from which detection learns what
// is ordinary, and others beside the campaign.
type Ordinary struct {
	Before  Crowd   `yaml:"before"`
	Beside  Crowd   `yaml:"beside"`
	Unknown float64 `yaml:"unknown"` // share of the organisations beside it that are not known to be innocent
	AtOnce  int     `yaml:"at_once"` // requests
}

// Crowd are accounts of all ten kinds of ordinary use.
type Crowd struct {
	Organisations int `yaml:"organisations"` // of each kind
	Size          int `yaml:"size"`          // accounts of each, about
	Calls         int `yaml:"calls"`         // of each account
}

// Campaign is who distils.
type Campaign struct {
	Accounts int    `yaml:"accounts"`
	Recipe   string `yaml:"recipe"` // a recipe; its teacher is the gateway here
}

// Innocent is a student of another teacher, which is asked the campaign's prompts.
type Innocent struct {
	Seed uint64 `yaml:"seed"` // of its teacher
}

// Detect are detection's error rates.
type Detect struct {
	Level float64 `yaml:"level"` // of a lifetime alarm, for one ordinary account
	FDR   float64 `yaml:"fdr"`   // of the list of accounts
	Teach float64 `yaml:"teach"` // share of the organisations before that the score learns from
}

// Expose says what the exposure test is to reach.
type Expose struct {
	Level      float64 `yaml:"level"`      // on weights
	TextLevel  float64 `yaml:"text_level"` // on text alone, where it may stop
	FDR        float64 `yaml:"fdr"`        // of the accounts that it names
	Bystanders int     `yaml:"bystanders"` // ordinary accounts that are tested beside the campaign's
}

// Is reports whether a file is a loop's rather than a recipe.
func Is(path string) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var head struct {
		Loop *int `yaml:"loop"`
	}
	return yaml.Unmarshal(data, &head) == nil && head.Loop != nil
}

// Load reads a loop's file and the recipe that it names, and checks every value. Its
// errors are *strict.Error, or the recipe's.
func Load(path string) (*Loop, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loop: %w", err)
	}
	l := &Loop{
		Seed: 1, Coins: 0.15, file: path,
		Ordinary: Ordinary{Before: Crowd{120, 3, 30}, Beside: Crowd{34, 3, 40}, Unknown: 0.1, AtOnce: 32},
		Campaign: Campaign{Accounts: 8}, Innocent: Innocent{Seed: 1001},
		Detect: Detect{Level: 1e-3, FDR: 0.05, Teach: 0.15}, Expose: Expose{Level: 1e-6, TextLevel: 1e-3, FDR: 0.05, Bystanders: 8},
	}
	if l.src, err = strict.Decode(path, "a loop", data, l); err != nil {
		return nil, err
	}
	if err := l.validate(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Loop) validate() error {
	bad := l.src.Errorf
	probability := func(path string, v float64) error {
		if !(v > 0 && v < 1) {
			return bad(path, "%v does not lie between 0 and 1", v)
		}
		return nil
	}
	switch {
	case l.Version != Version:
		return bad("loop", "format %d is not known to this program; it reads format %d (write `loop: %d`)", l.Version, Version, Version)
	case !recipe.NameForm.MatchString(l.Name):
		return bad("name", "%q cannot name a directory; use 1 to 64 of a-z, 0-9, '.', '_' and '-'", l.Name)
	case l.Campaign.Accounts < 1 || l.Campaign.Accounts > 1000:
		return bad("campaign.accounts", "%d: from 1 to 1000", l.Campaign.Accounts)
	case l.Campaign.Recipe == "":
		return bad("campaign.recipe", "which recipe does the campaign follow? Name its file")
	case l.Ordinary.AtOnce < 1 || l.Ordinary.AtOnce > 512:
		return bad("ordinary.at_once", "%d: from 1 to 512", l.Ordinary.AtOnce)
	case l.Expose.Bystanders < 0:
		return bad("expose.bystanders", "%d is negative", l.Expose.Bystanders)
	case l.Innocent.Seed == l.Teacher.Seed:
		return bad("innocent.seed", "%d is the seed of the teacher behind the gateway: an innocent student has another teacher", l.Innocent.Seed)
	}
	for path, c := range map[string]Crowd{"ordinary.before": l.Ordinary.Before, "ordinary.beside": l.Ordinary.Beside} {
		if c.Organisations < 1 || c.Size < 1 || c.Calls < 1 {
			return bad(path, "organisations, size and calls have to be at least 1")
		}
	}
	for path, v := range map[string]float64{
		"coins": l.Coins, "ordinary.unknown": l.Ordinary.Unknown, "detect.level": l.Detect.Level, "detect.fdr": l.Detect.FDR, "detect.teach": l.Detect.Teach,
		"expose.level": l.Expose.Level, "expose.text_level": l.Expose.TextLevel, "expose.fdr": l.Expose.FDR,
	} {
		if err := probability(path, v); err != nil {
			return err
		}
	}
	if err := l.Teacher.Validate(); err != nil {
		return bad("teacher", "%v", err)
	}
	var err error
	if l.student, err = recipe.Load(l.path(l.Campaign.Recipe)); err != nil {
		return err
	}
	switch r := l.student; {
	case len(r.Files()) > 0:
		return bad("campaign.recipe", "%s names files (%v): a loop's recipe takes its prompts from families", l.Campaign.Recipe, r.Files())
	case r.Teacher.Request.Seed != "none" || r.Teacher.Request.Temperature != nil && *r.Teacher.Request.Temperature == 0:
		return bad("campaign.recipe", "%s asks for answers that are no fresh draws, and those carry no coin: it needs `request: {seed: none}` and a temperature above 0", l.Campaign.Recipe)
	case r.Student.Base != "":
		return bad("campaign.recipe", "%s starts from a base: a loop's students start from nothing", l.Campaign.Recipe)
	}
	return nil
}

// path is where a file lies that the loop's names.
func (l *Loop) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.file), name)
}

// RunName names the loop's directory: it covers all that decides its results.
func (l *Loop) RunName() (string, error) {
	student, err := l.student.Hash()
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(struct {
		Loop    Loop
		Student string
	}{*l, student})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return l.Name + "-" + hex.EncodeToString(sum[:6]), nil
}
