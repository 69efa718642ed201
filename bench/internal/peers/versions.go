package peers

import (
	"runtime"
	"runtime/debug"
)

func goVersion() string { return runtime.Version()[len("go"):] }

// Module is the version of a module that this program is built with.
func Module(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
