package main

import (
	"runtime"
	"runtime/debug"
)

// versionCmd is poe version.
type versionCmd struct{}

// Run prints what this program is, as the Go toolchain recorded it.
func (versionCmd) Run(t terminal) error {
	version, commit := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				commit = " " + s.Value[:12]
			}
		}
	}
	return t.print("poe %s%s %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
