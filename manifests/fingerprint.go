package manifests

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
)

// noOutput are the fields of Settings on which the bytes of outputs do not depend: the device, the time, and the checks.
// The ledger records which checks each output passed.
var noOutput = []string{"Device", "Timeout", "Verify", "Proof", "Overwrite"}

// Fingerprint is a line that differs between rules that may give different outputs. A field that is added to Settings is part
// of it; of a format's settings those that are not the default, so that one that is added later makes nothing anew.
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
		switch name {
		case "Fold":
			value = r.off() // a family that is switched on explicitly is no different from the others
		case "Formats":
			value = r.unusual()
		}
		text, err := json.Marshal(value)
		if err != nil {
			text = fmt.Appendf(nil, "%#v", value)
		}
		fmt.Fprintf(&b, " %s=%s", name, text)
	}
	return b.String()
}

// unusual are the settings of formats that are not the default.
func (r *Rule) unusual() map[string]string {
	unusual := maps.Clone(r.Formats)
	for name, s := range format.Settings() {
		if unusual[name] == s.Words[0] {
			delete(unusual, name)
		}
	}
	return unusual
}
