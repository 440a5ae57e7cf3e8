package main

import (
	"runtime/debug"
	"testing"
)

func TestVersion_IsTheReleasesOrFromBuildInfo(t *testing.T) {
	main := func(version string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for k := 0; k < len(settings); k += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[k], Value: settings[k+1]})
		}
		return info
	}
	for _, c := range []struct {
		released string
		info     *debug.BuildInfo
		want     string
	}{
		{"0.1.0", main("v0.2.0"), "0.1.0"}, {"", main("v0.2.0"), "0.2.0"}, {"", nil, "unknown"}, {"", main("(devel)"), "devel"},
		{"", main("", "vcs.revision", "0123456789abcdef", "vcs.modified", "true"), "devel 0123456789ab with changes"},
		{"", main("v0.0.0-20261128093310-0123456789ab"), "0.0.0-20261128093310-0123456789ab"},
	} {
		if got := versionOf(c.released, c.info); got != c.want {
			t.Errorf("%q, %+v: %s, want %s", c.released, c.info, got, c.want)
		}
	}
}
