// Package manifests reads the manifest: which models of a zoo are folded, how, and what proves each one.
//
// A manifest is strict YAML. An unknown key, a wrong type, a glob that matches nothing or two models that write one file
// is an error with file, line, column, the line itself and a caret. Schema describes it for editors. The formats that a manifest
// may name are those that the program has registered.
package manifests

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Manifest is a manifest that was read and checked.
type Manifest struct {
	Path string // of the manifest file
	Zoo  string // folder of the models, absolute
	Out  string // folder of the folded models, absolute

	Rules []Rule // the first that matches a file wins

	file    *source
	folder  string // of the manifest
	zooSpot spot
	outSpot spot
	readDir func(string) ([]fs.DirEntry, error) // os.ReadDir, except in tests
}

// Rule says what is done with the files that it matches. Defaults are filled in.
type Rule struct {
	Match    []string // globs over paths relative to the zoo
	Exclude  []string
	Optional bool   // matching nothing is no error
	Output   string // template of the output's path: {dir}, {stem}, {name}, {ext}
	Weights  string // template of a second file that the model needs; "" for none

	Settings

	file    *source
	match   []glob
	exclude []glob
	output  spot
	weights spot
	places
}

// places are the places of settings that are set.
type places struct {
	verify  spot // in the rule or in the defaults
	keep    []glob
	formats map[string]spot // in the rule: the settings of each format
	export  spot            // in the rule
	state   spot            // in the rule
	graph   spot            // in the rule or in the defaults
}

// Keep is a glob over names of nodes, with its place.
type Keep struct {
	Pattern string
	Place   string // path:line:column
}

// KeepPlaces are the globs of Keep with their places.
func (r *Rule) KeepPlaces() []Keep {
	var list []Keep
	for _, g := range r.keep {
		list = append(list, Keep{g.pattern, r.file.place(g.spot)})
	}
	return list
}

// Settings are what both a rule and the defaults can say.
type Settings struct {
	Verify            []string // of Checks; empty: none
	Proof             string   // of Proofs; "" if it is not given: see Required
	Overwrite         bool     // a file in the output folder that zoofold did not make may be replaced
	Device            string   // of Devices
	Timeout           time.Duration
	Tolerance         float64           // of predictions, relative; 0: the jitter rule
	Unfoldable        string            // "copy" or "skip" a model with nothing to fold
	Overridable       string            // "leave" initializers that callers may override, or take them as "constant"
	MaxDuplicateBytes int64             // a shared weight larger than this is not copied
	Keep              []string          // globs over names of nodes that are left alone
	Fold              map[string]bool   // operator families switched on or off
	Export            []string          // of format.Exporters: forms that are written beside the folded model
	Formats           map[string]string // format.Options.Settings
	Latency           string            // of Latencies: whether a model that folding makes slower is copied instead of folded
	Norms             string            // of Norms: whether batch normalisations are folded or neutralized
	State             State             // where the graph of checkpoints is from
}

// State says where the graph of checkpoints is from, which store only tensors: another file, or pairs and presets of pairs.
type State struct {
	Graph   string // template of the path of an exported program or model; "" for none
	Presets []string
	Pairs   []Pair
	Epsilon float64 // of pairs without one of their own, and of presets in place of theirs; 0: not given
	Untie   bool    // the head of a language model may get a weight of its own where it shares the embedding's
}

// Pair names a linear operator and its batch normalisation.
type Pair struct {
	Linear     string // a regular expression
	Norm       string // $1 is what its first group matched
	First      bool   // the normalisation comes first
	Transposed bool   // the operator is a transposed convolution
	Epsilon    float64
}

// Required says whether a check that cannot run fails the model. Checks that are named explicitly are relied on. So this is
// the default if the rule or the defaults have verify, or if named says that the checks were named elsewhere.
func (r *Rule) Required(named bool) bool {
	if r.Proof != "" {
		return r.Proof == "require"
	}
	return named || r.verify != (spot{})
}

// The words that a manifest may use, besides those of formats and exporters, state.Presets and fold.Families. The first is the
// default.
var (
	Checks  = outcome.CheckNames
	Devices = []string{"auto", "cpu", "cuda"}
	Norms   = []string{"remove", "neutralize"}

	checksOrNone = append(slices.Clone(Checks), "none")
	proofs       = []string{"require", "try"}
	unfoldable   = []string{"copy", "skip"}
	overridable  = []string{"leave", "constant"}
	latencies    = []string{"off", "gate"}
)

// Defaults are the settings of a rule that says nothing.
func Defaults() Settings {
	return Settings{
		Verify: Checks, Device: Devices[0], Timeout: 10 * time.Minute, Unfoldable: unfoldable[0], Overridable: overridable[0],
		MaxDuplicateBytes: fold.DefaultMaxDuplicateBytes, Fold: map[string]bool{}, Formats: map[string]string{}, Norms: Norms[0], Latency: latencies[0],
	}
}

// Folding is what the settings say of folding itself.
func (s *Settings) Folding() fold.Options {
	return fold.Options{
		Overridable: s.Overridable == "constant", Keep: s.Keep, MaxDuplicateBytes: s.MaxDuplicateBytes, Off: s.off(),
		Neutralize: s.Norms == "neutralize",
	}
}

// off are the operator families that are switched off.
func (s *Settings) off() map[string]bool {
	off := map[string]bool{}
	for family, on := range s.Fold {
		if !on {
			off[family] = true
		}
	}
	return off
}

// Load reads and checks a manifest file. Its errors are *Error, several of them joined.
func Load(path string) (*Manifest, error) {
	data, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no such %w: zoofold init FOLDER writes one", path, ErrManifest)
	} else if errors.Is(err, ErrManifest) {
		return nil, fmt.Errorf("%s: %w", path, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return Parse(path, data)
}

// read reads a file of moderate size.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSize || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file of at most %d bytes", ErrManifest, maxSize)
	}
	return os.ReadFile(path)
}

// Read reads and checks a manifest from standard input. Paths in it are relative to the current folder.
func Read(standardInput io.Reader) (*Manifest, error) {
	data, err := io.ReadAll(io.LimitReader(standardInput, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("standard input: %w: %w", ErrManifest, err)
	}
	return Parse("standard input", data)
}

// Parse checks a manifest's text. Paths in it are relative to path's folder.
func Parse(path string, data []byte) (*Manifest, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, ErrManifest, maxSize)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	m := &Manifest{Path: path, folder: folder, readDir: os.ReadDir, file: newSource(path, data, &faults{})}
	m.decode(trimMark(data))
	if err := m.file.err(); err != nil {
		return nil, err
	}
	m.Zoo, m.Out = below(folder, m.Zoo), below(folder, m.Out)
	m.checkFolders()
	return m, m.file.err()
}

func below(folder, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(folder, path)
}
