// Package darknet reads and writes Darknet networks: a cfg, the text that lists the layers, and a file of weights, a header
// and floats, whose meaning the cfg determines. What the options mean, and in which order the floats come, is that of
// pjreddie/darknet's and AlexeyAB/darknet's src/parser.c; where these differ, the comments say so.
//
// The same programs run a folded network. A layer whose batch normalisation was folded says batch_normalize=0. A folded
// [batchnorm] becomes a [route] to the layer before it, so that no layer changes its number: options of other layers,
// scripts and programs refer to layers by number.
package darknet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	format.Register(format.Format{
		Name: "darknet", Version: 2, Extensions: []string{".cfg"},
		Settings: []format.Setting{{
			Key: "epsilon", Words: []string{"pjreddie", "alexeyab", "opencv"},
			Doc: "what Darknet's batch normalisations divide by: sqrt(variance) + 1e-6 (pjreddie), sqrt(variance + 1e-5) (alexeyab) or sqrt(variance + 1e-6) (opencv)",
		}},
		Open: func(_ context.Context, path string, o format.Options) (format.File, error) { return open(path, o) },
		Files: func(_ context.Context, path string, o format.Options) ([]string, error) {
			return format.Named(path, o, ".weights"), nil
		},
	})
}

// file is an open network.
type file struct {
	path    string
	net     *network
	weights *os.File
	header  int64             // bytes before the floats
	floats  *io.SectionReader // what the layers store
	model   *model.Model
	types   map[*model.Node]string // of its nodes, as they were opened
	names   map[*model.Node]string // of what they output
	epsilon epsilon
}

func open(path string, o format.Options) (_ *file, err error) {
	c, err := readCfg(path)
	if err != nil {
		return nil, err
	}
	convention := o.Settings["darknet.epsilon"]
	weights := o.Weights
	if weights == "" {
		weights = strings.TrimSuffix(path, filepath.Ext(path)) + ".weights"
	}
	f := &file{path: path}
	f.weights, err = os.Open(weights)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the weights of %s: %w (the manifest's weights: says where they are)", c.name, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.weights.Close()
		}
	}()
	transposed, err := f.readHeader()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(weights), err)
	}
	if err := f.layers(c, convention != "alexeyab"); err != nil {
		return nil, err
	}
	f.floats = io.NewSectionReader(f.weights, f.header, f.net.floats*floatSize)
	f.model = &model.Model{Opset: map[string]int64{"": 17}, Place: f.place}
	f.epsilon = epsilons[convention]
	b := &builder{net: f.net, model: f.model, floats: f.floats, transposed: transposed, epsilon: f.epsilon}
	if err := b.graph(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(weights), err)
	}
	if len(f.model.Graph.Outputs) == 0 {
		return nil, c.errorf(c.sections[0].line, format.ErrCorrupt, "no layer computes anything")
	}
	f.types, f.names = map[*model.Node]string{}, map[*model.Node]string{}
	for _, n := range f.model.Graph.Nodes {
		f.types[n], f.names[n] = n.Type, n.Outputs[0].Name
	}
	return f, nil
}

const floatSize = 4

// readHeader reads the versions, int32 major, minor and revision, behind which comes the number of images seen: of 64 bits
// since version 0.2. Very old programs wrote a large version to say that connected layers' weights are transposed.
func (f *file) readHeader() (transposed bool, err error) {
	var version [12]byte
	if _, err := io.ReadFull(f.weights, version[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, fmt.Errorf("it is shorter than a header of 16 bytes: %w", format.ErrCorrupt)
		}
		return false, err
	}
	major, minor := int64(int32(binary.LittleEndian.Uint32(version[:]))), int64(int32(binary.LittleEndian.Uint32(version[4:])))
	transposed = major > 1000 || minor > 1000
	f.header = 16
	if major*10+minor >= 2 && major < 1000 && minor < 1000 {
		f.header = 20
	}
	return transposed, nil
}

// layers reads the cfg's layers, and checks that the file of weights has as many floats as they store, with the biases of
// [batchnorm] layers or, if maybeBare, without.
func (f *file) layers(c *cfg, maybeBare bool) error {
	info, err := f.weights.Stat()
	if err != nil {
		return err
	}
	name, bytes := filepath.Base(f.weights.Name()), max(info.Size()-f.header, 0)
	if f.net, err = layersOf(c, false); err != nil {
		return err
	}
	if maybeBare && bytes != f.net.floats*floatSize {
		if bare, err := layersOf(c, true); err == nil && bytes == bare.floats*floatSize {
			f.net = bare
		}
	}
	switch need := f.net.floats; {
	case bytes < need*floatSize:
		k := 0
		for f.net.layers[k].end()*floatSize <= bytes {
			k++
		}
		l := f.net.layers[k]
		return fmt.Errorf("%s has %d floats, %s asks for %d: it ends in %s, whose floats end at %d (weights that are cut off, or of another network): %w",
			name, bytes/floatSize, c.name, need, l.where(), l.end(), format.ErrCorrupt)
	case bytes > need*floatSize:
		last := "there is no layer with weights"
		for _, l := range f.net.layers {
			if l.end() == need && need > 0 {
				last = "the last are those of " + l.where()
			}
		}
		return fmt.Errorf("%s has %d bytes of floats, %s asks for %d floats, %d bytes: %s (weights of another network, or a cfg of a part of it: cut the weights with darknet's partial): %w",
			name, bytes, c.name, need, need*floatSize, last, format.ErrCorrupt)
	}
	return nil
}

// place says whether the file stores input k of a node, as one of its layer's parts. Layers that share their parts get
// parts of their own if these change differently.
func (f *file) place(n *model.Node, k int) model.Place {
	l, ok := n.Source.(*layer)
	if !ok || !slices.ContainsFunc(l.parts, func(p *part) bool { return p.node == n && p.input == k }) {
		return model.NoPlace
	}
	if l.lender != nil || slices.ContainsFunc(f.net.layers, func(o *layer) bool { return o.lender == l }) {
		return model.Gained
	}
	return model.Stored
}

// Model is the network.
func (f *file) Model() *model.Model { return f.model }

// Inputs are the cfg and the weights.
func (f *file) Inputs() []string { return []string{f.path, f.weights.Name()} }

// Close closes the weights.
func (f *file) Close() error { return f.weights.Close() }
