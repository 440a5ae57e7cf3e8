package manifests

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// noOutput are the fields of Settings that change no output: where and how long a model is worked on, and what its proof has to
// say. Which checks ran is remembered with each output.
var noOutput = []string{"Device", "Timeout", "Verify", "Proof", "Overwrite"}

// Fingerprint is a line that differs between rules that may give different outputs. A field that is added to Settings is part
// of it.
func (r *Rule) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Weights=%q", r.Weights)
	settings := reflect.ValueOf(r.Settings)
	for k := range settings.NumField() {
		name := settings.Type().Field(k).Name
		if slices.Contains(noOutput, name) {
			continue
		}
		value := settings.Field(k).Interface()
		if name == "Fold" {
			value = r.Off() // a family that is on by name is as on as the others
		}
		text, err := json.Marshal(value)
		if err != nil {
			text = fmt.Appendf(nil, "%#v", value)
		}
		fmt.Fprintf(&b, " %s=%s", name, text)
	}
	return b.String()
}
