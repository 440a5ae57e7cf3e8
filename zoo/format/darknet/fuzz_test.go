package darknet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// maxFuzzed bounds the floats that are made for a fuzzed cfg.
const maxFuzzed = 1 << 16

// pair writes a network.
func pair(t testing.TB, text string, weights []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.cfg")
	for name, data := range map[string][]byte{path: []byte(text), strings.TrimSuffix(path, ".cfg") + ".weights": weights} {
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// seeds adds generated networks to a corpus.
func seeds(f *testing.F, add func(text, weights []byte)) {
	for seed := range uint64(24) {
		path, _, err := zootest.Darknet(seed, f.TempDir())
		if err != nil {
			f.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		weights, err := os.ReadFile(strings.TrimSuffix(path, ".cfg") + ".weights")
		if err != nil {
			f.Fatal(err)
		}
		add(text, weights)
	}
}

// FuzzCfg opens, folds and writes networks of any text, with as many floats as it asks for.
func FuzzCfg(f *testing.F) {
	seeds(f, func(text, _ []byte) { f.Add(string(text)) })
	f.Add("[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\nbatch_normalize=1\n[route]\nlayers=-1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &cfg{name: "net.cfg", text: []byte(text)}
		floats := int64(0)
		if c.parse() == nil {
			if net, err := layersOf(c, false); err == nil {
				floats = min(net.floats, maxFuzzed)
			}
		}
		weights := make([]byte, 20+floats*floatSize)
		weights[4] = 2
		for k := 20; k < len(weights); k += floatSize {
			weights[k+2], weights[k+3] = byte(k<<2), 0x3f
		}
		formattest.Try(t, pair(t, text, weights), format.Options{})
	})
}

// FuzzWeights opens, folds and writes networks with any weights.
func FuzzWeights(f *testing.F) {
	seeds(f, func(text, weights []byte) { f.Add(string(text), weights) })
	f.Fuzz(func(t *testing.T, text string, weights []byte) {
		formattest.Try(t, pair(t, text, weights), format.Options{Settings: map[string]string{"darknet.epsilon": zootest.Conventions[len(weights)%3]}})
	})
}
