package state_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/format/state"
)

func TestManifestsAndTheirSchemaKnowEveryPreset(t *testing.T) {
	if !slices.Equal(manifests.Presets, state.Presets()) {
		t.Errorf("manifests know %v, there are %v", manifests.Presets, state.Presets())
	}
	for _, name := range state.Presets() {
		if !strings.Contains(string(manifests.Schema()), `"`+name+`"`) {
			t.Errorf("the schema does not know %q", name)
		}
	}
}
