// Package format is the interface and the registry of model file formats: each format is a package that registers itself
// here. A format opens files as a model.Model whose constants stay on disk, and writes an edited model.Model.
package format

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Errors that callers test for with errors.Is.
var (
	ErrUnknown = errors.New("no format is known for this file")
	ErrCorrupt = errors.New("corrupt model")              // the file breaks its format's own rules
	ErrLimit   = errors.New("limit exceeded")             // a well-formed file that exceeds one of the program's bounds
	ErrOutside = errors.New("outside the model's folder") // external data that points elsewhere
	ErrForeign = errors.New("nothing of the model can be written with ONNX operators")
	ErrUnread  = errors.New("not supported") // a well-formed file, of a kind that its format's package does not read
)

// Format opens one kind of model file.
type Format struct {
	Name       string   // "onnx"
	Extensions []string // with the dot, lower case: ".onnx"
	Version    int      // raised when the same plan is written differently: outputs of another version are made anew
	Bare       bool     // files hold tensors without a graph: Options.State says where the graph is from
	Settings   []Setting
	Open       func(ctx context.Context, path string, o Options) (File, error)
	// Files implements the function Files for the format; nil if a model is always one file.
	Files func(ctx context.Context, path string, o Options) ([]string, error)
}

// Setting is a choice between words that the format's files do not make, and that the user has to. The declaration is all
// that is needed: manifests and their schema have it as a key, darknet: {epsilon: opencv}, and subcommands that open models
// as a flag, -epsilon opencv.
type Setting struct {
	Key   string   // in lower case; no two formats have the same, since flags do not name formats
	Words []string // the choices, the default first
	Doc   string   // its meaning, and that of the words: half a sentence in lower case, without a full stop
}

// Options say what a model file alone does not tell.
type Options struct {
	Weights  string            // path of the file with the weights; "": the one beside the model file that has its name
	Settings map[string]string // by the names of format and setting: "darknet.epsilon"; Format.Open finds missing ones filled in with their defaults
	State    State             // where the structure of a checkpoint is from
}

// State says where the graph of a checkpoint, a file that stores only tensors with names, is from: from another file, or
// from pairs and presets of pairs. Without either it is from a config.json that names the architecture of a language model.
type State struct {
	Graph   string   // path of an exported program or model whose parameters have the tensors' names; "": none
	Presets []string // names of presets
	Pairs   []Pair
	Epsilon float64                          // of pairs without one of their own; 0: none is given
	Tensors func(name string) (Stored, bool) // when a program is opened as a checkpoint's graph: the checkpoint's tensors, which replace the program's parameters
	Untie   bool                             // the head of a language model may get a weight of its own where it shares the embedding's
	Config  string                           // path of the config.json that names the architecture; "": the one beside the model file
}

// Pair names a linear operator and the batch normalisation beside it, by what their tensors' names begin with: "conv1" for
// "conv1.weight". One pair may stand for many.
type Pair struct {
	Linear     string  // a regular expression that the whole name matches
	Norm       string  // its normalisation; $1 is what the first group of Linear matched
	First      bool    // the normalisation comes before the operator, which alone reads it; else the other way round
	Epsilon    float64 // 0: the State's
	Transposed bool    // the operator is a transposed convolution
	Preset     bool    // the pair is one of a preset
	With       string  // "", or a module of which there have to be tensors
	Without    string  // "", or a module of which there may be no tensors
}

// File is an open model. Its Model's constants read from the open files until Close.
type File interface {
	// Model is the network as stored. Callers may edit it: Write writes what it is then.
	Model() *model.Model
	// Inputs are the paths of all files of the model, the opened one first.
	Inputs() []string
	// Write writes the model as edited, rescaled constants through the backend, and beside it the files that belong to it.
	// Bytes that no edit touches are copied. It creates every file through out. renamed are the values that have other
	// names when the written file is opened, by their names in the edited model.
	Write(ctx context.Context, out Output, backend tensor.Backend) (renamed map[string]string, err error)
	Close() error
}

// Warner is a File that may have warnings for the report about what it wrote.
type Warner interface {
	// Warnings are whole sentences without a full stop, about the last Write.
	Warnings() []string
}

// Mover is a File that can write the files which belong to it under other names.
type Mover interface {
	// Move makes Write write the file that Beside calls rel as to, and refer to it by that. It fails if the format's
	// package cannot edit everything that refers to the file.
	Move(rel, to string) error
}

// Noter is a File that may have notes for the report about how it was read.
type Noter interface {
	// Notes are whole sentences without a full stop.
	Notes() []string
}

// Partial is a File whose Model is not the whole network.
type Partial interface {
	// Partial is why the model cannot be run, without a full stop; "" where it can.
	Partial() string
}

// Stateful is a File of a program whose parameters were replaced by Options.State.Tensors.
type Stateful interface {
	// Edits are the changes of those tensors that the edits of the model make.
	Edits() ([]Edit, error)
}

// Stored is a tensor of a checkpoint that replaces a program's parameter.
type Stored struct {
	DType tensor.DType
	Shape []int64
	Data  io.ReaderAt // the elements, little endian and side by side
	Fixed bool        // they must not change
}

// InCode is the reason why an operator of a checkpoint's graph stays.
const InCode = "the code that loads the checkpoint computes it"

// Edit is one tensor of a checkpoint that is dropped, changed or added.
type Edit struct {
	Name   string
	Like   string  // of a new tensor: the one behind which it is stored; "" for an existing one
	Pieces []Piece // its elements, side by side; nil where the tensor is gone
}

// Output creates the files of a model that is written. The caller of Write decides where they are, and when they become
// visible.
type Output interface {
	// Create makes a file for a path relative to the model's own folder; "" is the model file itself. It fails if the
	// path leaves the folder or was created before. Write closes what it creates.
	Create(rel string) (OutputFile, error)
}

// OutputFile is a file being written, usually an *os.File.
type OutputFile interface {
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
}

// Regular passes the result of Stat on, with an error that wraps ErrCorrupt if it is a folder, a pipe or anything else but
// a regular file.
func Regular(info fs.FileInfo, err error) (fs.FileInfo, error) {
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a file: %w", ErrCorrupt)
	}
	return info, err
}

// Beside is the path, relative to the model file's folder, under which another file of the model is written beside an
// output. A file from outside the folder is written under its base name.
func Beside(model, other string) string {
	if folder, err := filepath.EvalSymlinks(filepath.Dir(model)); err == nil {
		if rel, err := filepath.Rel(folder, other); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	if rel, err := filepath.Rel(filepath.Dir(model), other); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.Base(other)
}

// Exporter writes models of any format in another form.
type Exporter struct {
	Name    string // "metal", as in the manifest's export
	Suffix  string // of the file or folder that it writes: ".metal"
	Version int    // as Format.Version
	Main    string // the file that makes a folder complete: "index.json"; "" where one file is written
	// Export writes the model, its constants through the backend, as the file or folder rel of the output. rel "" is the
	// output's own file, or its folder.
	Export func(ctx context.Context, m *model.Model, out Output, rel string, backend tensor.Backend) error
}

// OverflowError says that a rescaled constant cannot be stored in its type: folding has to be planned again without it.
type OverflowError struct {
	Tensor string // the constant's name in the original model
	DType  tensor.DType
	Tally  tensor.Tally
}

// Error names the worst that happened: elements that become subnormal are named only if none overflows.
func (e *OverflowError) Error() string {
	switch t := e.Tally; {
	case t.NonFinite > 0:
		return fmt.Sprintf("tensor %q: %d elements are not finite", e.Tensor, t.NonFinite)
	case t.Overflow > 0:
		return fmt.Sprintf("tensor %q: %d elements would overflow %v", e.Tensor, t.Overflow, e.DType)
	default:
		return fmt.Sprintf("tensor %q: %d elements would become subnormal in %v", e.Tensor, t.Subnormal, e.DType)
	}
}

var registry struct {
	sync.RWMutex
	formats   []Format
	exporters []Exporter
}

// Register makes a format known; format packages call it from init.
func Register(f Format) {
	registry.Lock()
	defer registry.Unlock()
	at, _ := slices.BinarySearchFunc(registry.formats, f.Name, func(f Format, name string) int { return strings.Compare(f.Name, name) })
	registry.formats = slices.Insert(slices.Clone(registry.formats), at, f) // others may still read the list
}

// All are the formats that are known, in the order of their names.
func All() []Format { return slices.Clone(known()) }

// known is All, of which nothing may be changed.
func known() []Format {
	registry.RLock()
	defer registry.RUnlock()
	return registry.formats
}

// Settings are those of all formats, by their names in Options.Settings.
func Settings() iter.Seq2[string, Setting] {
	return func(yield func(string, Setting) bool) {
		for _, f := range known() {
			for _, s := range f.Settings {
				if !yield(f.Name+"."+s.Key, s) {
					return
				}
			}
		}
	}
}

// settled fills in the defaults of missing settings, and refuses settings that no format has.
func settled(given map[string]string) (map[string]string, error) {
	all := map[string]string{}
	for name, s := range Settings() {
		all[name] = cmp.Or(given[name], s.Words[0])
		if !slices.Contains(s.Words, all[name]) {
			return nil, fmt.Errorf("%s is %q, not one of %s", name, all[name], strings.Join(s.Words, ", "))
		}
	}
	for name := range given {
		if all[name] == "" {
			return nil, fmt.Errorf("no format has a setting %q", name)
		}
	}
	return all, nil
}

// RegisterExporter makes an exporter known; packages call it from init.
func RegisterExporter(e Exporter) {
	registry.Lock()
	defer registry.Unlock()
	registry.exporters = append(registry.exporters, e)
}

// FindExporter is the exporter of that name.
func FindExporter(name string) (Exporter, error) {
	registry.RLock()
	defer registry.RUnlock()
	for _, e := range registry.exporters {
		if e.Name == name {
			return e, nil
		}
	}
	return Exporter{}, fmt.Errorf("nothing exports to %q, only to %s", name, strings.Join(exporters(), ", "))
}

// Exporters are the names of all exporters, sorted.
func Exporters() []string {
	registry.RLock()
	defer registry.RUnlock()
	return exporters()
}

// exporters needs the registry's lock held.
func exporters() (names []string) {
	for _, e := range registry.exporters {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// Find is the format for a path, by its extension: by the longest one, where formats have .json and .index.json.
func Find(path string) (Format, error) {
	lower, longest, found := strings.ToLower(path), "", Format{}
	for _, f := range known() {
		for _, ext := range f.Extensions {
			if strings.HasSuffix(lower, ext) && len(ext) > len(longest) {
				longest, found = ext, f
			}
		}
	}
	if longest == "" {
		return Format{}, fmt.Errorf("%s: %w", path, ErrUnknown)
	}
	return found, nil
}

// Open opens a model file with the format that its path names.
func Open(ctx context.Context, path string, o Options) (File, error) {
	f, err := Find(path)
	if err != nil {
		return nil, err
	}
	if o.Settings, err = settled(o.Settings); err != nil {
		return nil, err
	}
	file, err := f.Open(ctx, path, o)
	if err != nil {
		return nil, err // a plain nil: callers close what is not nil, and an interface that holds a nil pointer is not
	}
	return file, nil
}

// Files are the further files of a model: those that the model file names, such as external data or shards, and those that
// belong to it by its name, such as weights, unless the options name others. Paths are relative to the model file's folder
// and stay in it, with slashes, each once. The files need not be there: of several names that one may have, all are in the
// list. Nothing is read but the model file, and of that no weights. Errors are as those of Open.
func Files(ctx context.Context, path string, o Options) ([]string, error) {
	f, err := Find(path)
	if err != nil || f.Files == nil {
		return nil, err
	}
	return f.Files(ctx, path, o)
}

// Named are the files that belong to a model file because they have its name with other extensions, unless the options name
// one.
func Named(path string, o Options, extensions ...string) (names []string) {
	if o.Weights != "" {
		return nil
	}
	stem := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	for _, ext := range extensions {
		names = append(names, stem+ext)
	}
	return names
}
