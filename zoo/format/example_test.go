package format_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/formattest"

	_ "github.com/zoofold/zoofold/zoo/format/darknet"
)

// network writes a Darknet network of one convolution with batch normalisation, of one channel.
func network() (path string, err error) {
	folder, err := os.MkdirTemp("", "zoofold-example-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(folder, "net.cfg")
	cfg := "[net]\nwidth=2\nheight=2\nchannels=1\n[convolutional]\nfilters=1\nsize=1\nbatch_normalize=1\nactivation=leaky\n"
	if err := os.WriteFile(path, []byte(cfg), 0o666); err != nil {
		return "", err
	}
	weights := make([]byte, 20) // the version, 0.2, and the number of images seen
	weights[4] = 2
	for _, x := range []float32{3, 2, 1, 4, 5} { // β, γ, μ, σ² and the kernel
		weights, err = binary.Append(weights, binary.LittleEndian, x)
		if err != nil {
			return "", err
		}
	}
	return path, os.WriteFile(filepath.Join(folder, "net.weights"), weights, 0o666)
}

// A model is opened by its extension. Constants stay in its files until they are read.
func ExampleOpen() {
	path, err := network()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(filepath.Dir(path))
	f, err := format.Open(context.Background(), path, format.Options{Settings: map[string]string{"darknet.epsilon": "opencv"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	for _, n := range f.Model().Graph.Nodes {
		fmt.Println(n)
	}
	// Output:
	// Conv "convolutional_0"
	// BatchNormalization "convolutional_0/norm"
	// LeakyRelu "convolutional_0/leaky"
}

// Fold edits the open model, Write writes what it is then: here into a folder. A run writes to a store.Folder instead, which
// refuses originals.
func ExampleFile() {
	path, err := network()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(filepath.Dir(path))
	f, err := format.Open(context.Background(), path, format.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	if _, err := fold.Fold(context.Background(), f.Model(), fold.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	out := filepath.Join(filepath.Dir(path), "folded")
	if _, err := f.Write(context.Background(), formattest.Folder{Path: out, Name: "net.cfg"}, cpu.New(1)); err != nil {
		fmt.Println(err)
		return
	}
	text, err := os.ReadFile(filepath.Join(out, "net.cfg"))
	if err != nil {
		fmt.Println(err)
		return
	}
	lines := strings.Split(string(text), "\n")
	fmt.Println(lines[slices.Index(lines, "size=1")+1])
	// Output:
	// batch_normalize=0
}

// A package of a format registers itself, with the settings that its files leave open. docs/extending.md goes through a whole
// one.
func ExampleRegister() {
	format.Register(format.Format{
		Name: "example", Version: 1, Extensions: []string{".example"},
		Settings: []format.Setting{{Key: "order", Words: []string{"rows", "columns"}, Doc: "what the weights of example files have side by side"}},
		Open: func(_ context.Context, path string, o format.Options) (format.File, error) {
			return nil, fmt.Errorf("%s: weights in %s: %w", path, o.Settings["example.order"], format.ErrUnread)
		},
	})
	f, err := format.Find("a.example")
	fmt.Println(f.Name, err)
	_, err = format.Open(context.Background(), "a.example", format.Options{})
	fmt.Println(err)
	_, err = format.Open(context.Background(), "a.example", format.Options{Settings: map[string]string{"example.order": "column"}})
	fmt.Println(err)
	// Output:
	// example <nil>
	// a.example: weights in rows: not supported
	// example.order is "column", not one of rows, columns
}
