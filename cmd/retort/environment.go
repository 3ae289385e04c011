package main

import "github.com/spf13/cobra"

// environmentTopic is the help page on variables and exit codes.
func environmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Environment variables and exit codes",
		Long: `Environment variables:
  RETORT_WORKSPACE  directory that holds your work, where --workspace is not given;
                    without either, the nearest .retort in this directory or above
  RETORT_KERNEL     avx512, avx2 or portable: forces the matrix kernels
  NO_COLOR          any value: no colour
  XDG_CACHE_HOME    where benches keep what they install (default ~/.cache)
  a recipe's api_key_env names the variable that holds a teacher's key

Exit codes:
  0 done   1 failed   2 wrong usage   3 budget   4 terms   5 incomplete count
  6 workspace in use   7 verification failed   130 interrupted; unknown means failure`,
	}
}
