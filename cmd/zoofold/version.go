package main

import (
	"runtime/debug"
	"strings"
)

// released is the version of a release, set by make. Other builds use Go's build information.
var released string

// version is the program's: that of the release, that of go install …@version, or the commit that it was built from.
func version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(released, info)
}

func versionOf(released string, info *debug.BuildInfo) string {
	switch {
	case released != "":
		return released
	case info == nil:
		return "unknown"
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel " + commit + changed
}
