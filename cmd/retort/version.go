package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"retort/internal/kernel"
)

// release and revision are set by the linker in release builds; elsewhere the
// module and version control tell, as far as they know.
var release, revision string

// version is what this binary was built from.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Kernel   string `json:"kernel"`
}

func buildVersion() version {
	v := version{Version: "devel", Revision: revision, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Kernel: kernel.Active().String()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && v.Revision == "" {
				v.Revision = s.Value
			}
		}
	}
	if release != "" {
		v.Version = release
	}
	return v
}

func init() { register((*app).versionCommand) }

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "What this binary was built from and the kernels that it uses",
		Example: "  retort version --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			if a.json {
				return json.NewEncoder(a.stdout).Encode(v)
			}
			name := v.Version
			if v.Revision != "" {
				name += " " + v.Revision
			}
			_, err := fmt.Fprintf(a.stdout, "retort %s (%s, %s, kernels %s)\n", name, v.Go, v.Platform, v.Kernel)
			return err
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "as JSON")
	return c
}
