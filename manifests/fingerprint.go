package manifests

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// noOutput are the fields of Settings on which the bytes of outputs do not depend: the device, the time, and the checks.
// The ledger records which checks each output passed.
var noOutput = []string{"Device", "Timeout", "Verify", "Proof", "Overwrite"}

// Fingerprint is a line that differs between rules that may give different outputs. New fields of Settings become a part of
// it.
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
			value = r.Off() // a family that is switched on explicitly is no different from the others
		}
		text, err := json.Marshal(value)
		if err != nil {
			text = fmt.Appendf(nil, "%#v", value)
		}
		fmt.Fprintf(&b, " %s=%s", name, text)
	}
	return b.String()
}
