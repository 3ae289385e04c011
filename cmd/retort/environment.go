package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"retort/internal/kernel"
	"retort/teach/collect"
	"retort/workspace"
)

// Exit codes; exitCodes documents them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitBudget      = 3
	exitTerms       = 4
	exitIncomplete  = 5
	exitInUse       = 6
	exitDamaged     = 7
	exitInterrupted = 130
)

// exitCodes says what each code means, for help and man pages.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed, for a reason that no other code names"},
	{exitUsage, "wrong usage: a command line or a recipe that cannot be understood"},
	{exitBudget, "the budget does not hold what is still to be asked"},
	{exitTerms, "terms do not allow it"},
	{exitIncomplete, "incomplete count: fewer examples passed curation than asked for"},
	{exitInUse, "workspace in use: another process is at the same run"},
	{exitDamaged, "verification failed: stored data is missing or changed"},
	{exitInterrupted, "interrupted; the same command goes on"},
}

// variables says what each environment variable does. A name in capitals and
// one here are the same thing; a test compares them with the code.
var variables = []struct{ name, meaning string }{
	{workspace.Variable, "directory that holds your work, where --workspace is not given; without either, the nearest .retort in this directory or above"},
	{kernel.EnvVar, "amx, avx512bf16, avx512vnni, avx512, avxvnni, avx2, neon or portable: forces the matrix kernels"},
	{"NO_COLOR", "any value: no colour"},
	{"TERM", "dumb: no colour and no live progress bars"},
	{"RETORT_TESTDATA", "directory of real prompts and traces, for simulated accounts and tests"},
	{"XDG_CACHE_HOME", "where benches keep what they install (default ~/.cache)"},
	{"SOURCE_DATE_EPOCH", "date of generated man pages, in seconds since 1970"},
}

// environmentTopic is the help page on variables and exit codes.
func environmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Environment variables and exit codes",
		Long:  environmentText(),
	}
}

func environmentText() string {
	var b strings.Builder
	b.WriteString("Environment variables:\n")
	for _, v := range variables {
		hanging(&b, v.name, 21, v.meaning)
	}
	b.WriteString("\nA recipe's api_key_env names the variable that holds a teacher's key. Usual are\n" + keyNames() + ".\n\nExit codes (any other means failure):\n")
	for _, c := range exitCodes {
		hanging(&b, fmt.Sprint(c.code), 7, c.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// keyNames are the variables that usually hold providers' keys.
func keyNames() string {
	var b strings.Builder
	width := 0
	for _, p := range collect.Providers() {
		switch {
		case p.KeyEnv == "":
			continue
		case width == 0:
		case width+len(p.KeyEnv)+2 > screenWidth-1:
			b.WriteString(",\n")
			width = 0
		default:
			b.WriteString(", ")
			width += 2
		}
		b.WriteString(p.KeyEnv)
		width += len(p.KeyEnv)
	}
	return b.String()
}

// hanging writes a term and, beside it, its meaning wrapped to the screen.
func hanging(b *strings.Builder, term string, indent int, meaning string) {
	line := fmt.Sprintf("  %-*s", indent-3, term)
	for _, word := range strings.Fields(meaning) {
		if len(line)+1+len(word) > screenWidth {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", indent-1)
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
