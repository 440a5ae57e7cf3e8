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
// their name ends in .weights.h5, as in a .keras file. The pair is written as a pair.

// isPair says whether a path names a network's configuration alone.
func isPair(path string) bool { return strings.EqualFold(filepath.Ext(path), ".json") }

// files is what format.Files says of a model file: of a configuration alone the names that a file of weights beside it may
// have, or the first of those that is there.
func files(_ context.Context, path string, o format.Options) ([]string, error) {
	if !isPair(path) {
		return nil, nil
	}
	names := format.Named(path, o, ".weights.h5", ".h5", ".hdf5")
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err == nil {
			return []string{name}, nil
		}
	}
	return names, nil
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
		return nil, errSharded
	}
	if className(tree) == "" {
		return nil, fmt.Errorf("not the configuration of a Keras model, as model.to_json() makes it: it has no class_name: %w", format.ErrCorrupt)
	}
	if weights == "" {
		stem := strings.TrimSuffix(path, filepath.Ext(path))
		for _, weights = range []string{stem + ".weights.h5", stem + ".h5", stem + ".hdf5"} {
			if _, err := os.Stat(weights); err == nil {
				break
			}
		}
		if _, err := os.Stat(weights); err != nil {
			return nil, fmt.Errorf("it is the configuration of a network, and has no weights beside it: the manifest's weights names another file: %w", fs.ErrNotExist)
		}
	}
	if isPair(weights) {
		return nil, fmt.Errorf("%s: %w", filepath.Base(weights), errSharded)
	}
	f, err := os.Open(weights)
	if err != nil {
		return nil, err
	}
	h := &file{path: path, f: f, pair: &pair{weights, text}}
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

var errSharded = fmt.Errorf("weights in several files, with an index: save them in one, with save_weights and no max_shard_size: %w", format.ErrUnread)

// pair is what is known of a configuration in a file of its own.
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

// openWeights reads the tree of a file of weights alone.
func (h *file) openWeights(config *jsontext.Value) error {
	info, err := format.Regular(h.f.Stat())
	if err != nil {
		return err
	}
	if h.root, err = hdf5.Open(h.f, info.Size()); err != nil {
		return err
	}
	h.version = version{major: 2}
	if config.Get("module") != nil { // which Keras 3 says of every class
		h.version = version{major: 3}
	}
	backend, _ := config.Get("backend").Str()
	for _, said := range []string{stringOf(config.Get("keras_version")), word(h.root, "keras_version")} {
		if said != "" {
			h.version = parseVersion(said, backend)
			break
		}
	}
	if whole, ok := h.root.Links[weightGroup].(*hdf5.Group); ok && hasAttr(whole, layerNames) { // a whole model's file, for its weights
		return nil
	}
	if h.layered = len(layersOf(h.root).Links) > 0 && !hasAttr(h.root, layerNames); h.layered {
		return nil
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

// edited is the text of the configuration's file with another configuration.
func (p *pair) edited(config string) string {
	body := strings.TrimSpace(strings.TrimPrefix(p.text, mark))
	before, after, _ := strings.Cut(p.text, body)
	return before + strings.TrimSpace(config) + after
}
