package manifests

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
)

//go:embed schema.json.tmpl
var schema string

var schemaTemplate = template.Must(template.New("schema").Funcs(template.FuncMap{"json": asJSON, "members": members}).Parse(schema))

// Schema is the JSON Schema of manifests. Every name in it is from where the program has it: the formats and exporters are
// those that are registered, as they are when a manifest is read.
func Schema() []byte {
	type group struct {
		Name     string
		Settings map[string]any
	}
	var formats []group
	for _, f := range withSettings() {
		g := group{f.Name, map[string]any{}}
		for _, s := range f.Settings {
			description := strings.ToUpper(s.Doc[:1]) + s.Doc[1:] + "."
			g.Settings[s.Key] = map[string]any{"description": description, "enum": s.Words, "default": s.Words[0]}
		}
		formats = append(formats, g)
	}
	shared, families := map[string]any{}, map[string]any{}
	for key := range (&source{}).settings(&Settings{}, &places{}) {
		shared[key] = reference(key)
	}
	for _, family := range fold.Families() {
		families[family] = reference("switch")
	}
	var b bytes.Buffer
	err := schemaTemplate.Execute(&b, map[string]any{
		"Shared": shared, "Families": families, "Formats": formats, "Defaults": Defaults(), "Timeout": strings.TrimSuffix(Defaults().Timeout.String(), "0s"),
		"MaxDuplicate": fmt.Sprintf("%dMiB", Defaults().MaxDuplicateBytes>>20), "Presets": state.Presets(), "Exports": format.Exporters(),
		"Checks": Checks, "ChecksOrNone": checksOrNone, "Proofs": proofs, "Devices": Devices, "Unfoldable": unfoldable, "Overridable": overridable,
		"Norms": Norms, "Latencies": latencies, "MaxIncluded": maxIncluded,
	})
	if err != nil {
		panic(err) // of a template that is part of the program
	}
	return b.Bytes()
}

func reference(name string) any { return map[string]string{"$ref": "#/$defs/" + name} }

func asJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

// members are those of a JSON object, without its braces.
func members(of map[string]any) (string, error) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		text, err := asJSON(of[name])
		if err != nil {
			return "", err
		}
		list = append(list, fmt.Sprintf("%q: %s", name, text))
	}
	return strings.Join(list, ",\n          "), nil
}
