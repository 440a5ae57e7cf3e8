package keras

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
)

// Many repositories publish a network as two files: its configuration, JSON that model.to_json() makes, and its weights,
// HDF5 that model.save_weights() makes. The weights are laid out as in an .h5 file, but for what is above them, or, where
// their name ends in .weights.h5, as in a .keras file; an index, .weights.json, names several files of that kind (shards.go).
// The pair is written as a pair.

// isPair says whether a path names a network's configuration alone.
func isPair(path string) bool { return strings.EqualFold(filepath.Ext(path), ".json") }

// beside are the extensions of weights beside a configuration, in the order in which they are looked for.
var beside = []string{".weights.h5", ".weights.json", ".h5", ".hdf5"}

// files is what format.Files says of a model file: of a configuration alone the names that a file of weights beside it may
// have, or the first of those that is there; of an index of weights the files that it names, too.
func files(_ context.Context, path string, o format.Options) ([]string, error) {
	if !isPair(path) {
		return nil, nil
	}
	names, index := format.Named(path, o, beside...), o.Weights
	if index == "" {
		if index = weightsBeside(path); index != "" {
			names = []string{filepath.Base(index)}
		}
	}
	if !isPair(index) {
		return names, nil
	}
	more, err := shardNames(index)
	for _, name := range more {
		names = append(names, format.Beside(path, filepath.Join(filepath.Dir(index), name)))
	}
	return names, err
}

// weightsBeside is the path of the weights that lie beside a configuration under its name, the first of those that are there;
// "" if none is.
func weightsBeside(path string) string {
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	for _, extension := range beside {
		if _, err := os.Stat(stem + extension); err == nil {
			return stem + extension
		}
	}
	return ""
}

// openPair opens a configuration and the weights that belong to it; without a path those beside it that have its name.
func openPair(path, weights string) (*file, error) {
	text, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	tree, err := jsontext.Parse(strings.TrimPrefix(text, mark))
	if err != nil {
		return nil, err
	}
	if tree.Get("weight_map") != nil {
		return nil, fmt.Errorf("the index of a network's weights, and nothing of the network: match its JSON, as model.to_json() makes it, and name this file in the manifest's weights: %w", format.ErrCorrupt)
	}
	if className(tree) == "" {
		return nil, fmt.Errorf("not the configuration of a Keras model, as model.to_json() makes it: it has no class_name: %w", format.ErrCorrupt)
	}
	if weights == "" {
		if weights = weightsBeside(path); weights == "" {
			return nil, fmt.Errorf("it is the configuration of a network, and has no weights beside it: the manifest's weights names another file: %w", fs.ErrNotExist)
		}
	}
	h := &file{path: path, pair: &pair{weights, text}}
	if err := h.openWeights(tree); err != nil {
		h.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Base(weights), err)
	}
	if err := h.read(tree); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// pair is a configuration in a file of its own, and the file of its weights.
type pair struct {
	weights string // the path of the file with the weights
	text    string
}

// mark is the byte order mark, as some editors write it.
const mark = "\ufeff"

func readConfig(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	defer f.Close()
	if _, err := format.Regular(f.Stat()); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if len(text) > maxConfig {
		return "", fmt.Errorf("a configuration of more than %d bytes: %w", maxConfig, format.ErrLimit)
	}
	return string(text), err
}

// openTree reads the tree of a file of weights alone, or of several.
func (h *file) openTree() (err error) {
	if isPair(h.pair.weights) {
		h.shards, h.root, err = openShards(h.pair.weights)
		return err
	}
	if h.f, err = os.Open(h.pair.weights); err != nil {
		return errors.Unwrap(err)
	}
	info, err := format.Regular(h.f.Stat())
	if err != nil {
		return err
	}
	h.root, err = hdf5.Open(h.f, info.Size())
	return err
}

// openWeights reads the tree of weights alone.
func (h *file) openWeights(config *jsontext.Value) error {
	if err := h.openTree(); err != nil {
		return err
	}
	h.version = version{major: 2}
	if config.Get("module") != nil { // which Keras 3 writes for every class
		h.version = version{major: 3}
	}
	backend, _ := config.Get("backend").Str()
	for _, said := range []string{stringOf(config.Get("keras_version")), word(h.root, "keras_version")} {
		if said != "" {
			h.version = parseVersion(said, backend)
			break
		}
	}
	if whole, ok := h.root.Links[weightGroup].(*hdf5.Group); ok && h.shards == nil && hasAttr(whole, layerNames) { // a whole model's file, for its weights
		return nil
	}
	if h.layered = len(layersOf(h.root).Links) > 0 && !hasAttr(h.root, layerNames); h.layered {
		return nil
	}
	if h.shards != nil {
		return fmt.Errorf("not the weights of a Keras network: they have no group %s: %w", layerFolders[0], format.ErrCorrupt)
	}
	if names, err := texts(h.root.Attrs, layerNames); err != nil {
		return err
	} else if names == nil {
		return fmt.Errorf("not a file of a Keras network's weights: it has neither the attribute %s nor a group %s: %w", layerNames, layerFolders[0], format.ErrCorrupt)
	}
	h.root, h.inRoot = &hdf5.Group{Links: map[string]hdf5.Object{weightGroup: h.root}}, true
	return nil
}

func stringOf(v *jsontext.Value) string {
	s, _ := v.Str()
	return s
}

// edited is the text of the configuration's file with the configuration replaced.
func (p *pair) edited(config string) string {
	body := strings.TrimSpace(strings.TrimPrefix(p.text, mark))
	before, after, _ := strings.Cut(p.text, body)
	return before + strings.TrimSpace(config) + after
}
