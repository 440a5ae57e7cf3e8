// Package keras reads and writes Keras models: .h5 and .hdf5 files of Keras 1 and 2 (and Keras 3's in that form), .keras
// files of Keras 3, and configurations (.json) with a file of weights beside them, or several.
//
// A file is a configuration, JSON that lists layers and what they read, and their weights in HDF5. The configuration
// (config.go) becomes a graph of ONNX operators (graph.go and a file for each family of layers); what is not understood
// exactly is a node of the domain "keras". To write an edited graph, the same edits are made to the configuration and to
// the tree of weights (edit.go, place.go). The result is read again and has to match the edited graph (match.go).
//
// Lambda layers and other code in a file are never executed.
package keras

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	format.Register(format.Format{Name: "keras", Version: 3, Extensions: []string{".h5", ".hdf5", ".keras", ".json"}, Open: open, Files: files})
}

// file is an open model file.
type file struct {
	path    string
	f       *os.File
	archive *archive // of a .keras file
	pair    *pair    // of a configuration with a separate file of weights; f is that file
	shards  *shards  // of a configuration with weights in several files; f is nil then
	root    *hdf5.Group
	layered bool // the weights are laid out as in a .keras file, not as in an .h5 file
	inRoot  bool // the file's root group holds what .h5 files keep in a group of weights: root is a new group around it
	config  *jsontext.Value
	version version
	net     *network
	built   *builder
	dropped []string // what the written file lacks, for the report
}

// open reads a model's configuration and the tree of its weights. The weights stay in the file.
func open(_ context.Context, path string, o format.Options) (format.File, error) {
	h, err := openFile(path, o.Weights)
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) { // HDF5 of a kind that Keras does not write
			err = fmt.Errorf("%w: %w", err, format.ErrUnread)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

func openFile(path, weights string) (*file, error) {
	if isPair(path) {
		return openPair(path, weights)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the caller adds the path
	}
	h := &file{path: path, f: f}
	if err := h.open(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *file) open() error {
	info, err := format.Regular(h.f.Stat())
	if err != nil {
		return err
	}
	var text string
	if h.layered = strings.EqualFold(filepath.Ext(h.path), ".keras"); h.layered {
		text, err = h.openArchive(info.Size())
	} else {
		text, err = h.openLegacy(info.Size())
	}
	if err != nil {
		return err
	}
	config, err := jsontext.Parse(text)
	if err != nil {
		return err
	}
	return h.read(config)
}

// read builds the graph of the open file.
func (h *file) read(config *jsontext.Value) (err error) {
	h.config = config
	if h.net, h.built, err = read(h.config, h.root, h.layered, h.version); err != nil {
		return err
	}
	h.built.m.Shares = sharers
	h.built.m.Place, h.built.m.Stays, h.built.m.Twins = place, stays, twins
	return nil
}

// read makes a graph of a configuration and a tree of weights, which is laid out as in a .keras file or as in an .h5 file.
func read(config *jsontext.Value, root *hdf5.Group, layered bool, v version) (*network, *builder, error) {
	n, err := parseModel(config, v.major)
	if err != nil {
		return nil, nil, err
	}
	if layered {
		err = archiveWeights(root, n, map[string]*layer{})
	} else {
		err = legacyWeights(root, n)
	}
	if err != nil {
		return nil, nil, err
	}
	b, err := build(n, v)
	return n, b, err
}

// Names of an .h5 file's attributes.
const (
	modelConfig    = "model_config"
	trainingConfig = "training_config"
	optimizer      = "optimizer_weights"
)

// maxConfig bounds the text of a configuration.
const maxConfig = 32 << 20

// openLegacy opens an .h5 file, and returns the configuration.
func (h *file) openLegacy(size int64) (string, error) {
	var err error
	if h.root, err = hdf5.Open(h.f, size); err != nil {
		return "", err
	}
	v, ok := h.root.Attrs.Get(modelConfig)
	text, isText := v.Text()
	switch {
	case !ok && h.root.Links[weightGroup] == nil && h.root.Links["layers"] == nil && !hasAttr(h.root, layerNames):
		return "", fmt.Errorf("not a Keras model: the HDF5 file has no attribute %s: %w", modelConfig, format.ErrCorrupt)
	case !ok:
		return "", fmt.Errorf("the file holds weights only, and nothing of the network (no attribute %s): save the whole model with model.save, or match the network's JSON, as model.to_json() makes it, and name this file in the manifest's weights: %w", modelConfig, format.ErrCorrupt)
	case !isText:
		return "", fmt.Errorf("the attribute %s is no text: %w", modelConfig, format.ErrCorrupt)
	case len(text) > maxConfig:
		return "", fmt.Errorf("a configuration of %d bytes: %w", len(text), format.ErrLimit)
	}
	weights, _ := h.root.Links[weightGroup].(*hdf5.Group)
	if weights == nil {
		weights = &hdf5.Group{}
	}
	said, backend := word(weights, "keras_version"), word(weights, "backend")
	if said == "" {
		said = word(h.root, "keras_version")
	}
	h.version = parseVersion(said, backend)
	return text, nil
}

// word is a group's attribute that is a text, or nothing.
func word(group *hdf5.Group, name string) string {
	v, _ := group.Attrs.Get(name)
	s, _ := v.Text()
	return s
}

func hasAttr(g *hdf5.Group, name string) bool {
	_, ok := g.Attrs.Get(name)
	return ok
}

// Model is the network as stored, or as edited.
func (h *file) Model() *model.Model { return h.built.m }

// Inputs are the model file, and the files with its weights where they are others.
func (h *file) Inputs() []string {
	switch {
	case h.shards != nil:
		return append([]string{h.path, h.pair.weights}, h.shards.paths...)
	case h.pair != nil:
		return []string{h.path, h.pair.weights}
	}
	return []string{h.path}
}

// Warnings say which parts of the file, outside the network, the written file lacks.
func (h *file) Warnings() []string { return h.dropped }

// Close closes the file; constants cannot be read from then on.
func (h *file) Close() error {
	var err error
	if h.archive != nil {
		err = h.archive.close()
	}
	if h.shards != nil {
		err = h.shards.close()
	}
	if h.f != nil {
		err = errors.Join(err, h.f.Close())
	}
	return err
}
