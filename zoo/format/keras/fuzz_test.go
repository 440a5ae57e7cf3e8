package keras

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// FuzzConfig reads configurations over the weights of models that are well, folds what is read, and writes it.
func FuzzConfig(f *testing.F) {
	folder := f.TempDir()
	var models []*file
	for seed := range uint64(8) {
		path, _, err := zootest.Keras(seed, folder)
		if err != nil {
			f.Fatal(err)
		}
		h, err := openFile(path, "")
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { h.Close() })
		models = append(models, h)
		f.Add(uint8(seed), h.config.String())
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		tryConfig(t, models[int(which)%len(models)], text)
	})
}

// tryConfig reads a configuration over the weights of a model, folds what is read and writes it.
func tryConfig(t *testing.T, over *file, text string) {
	h := *over
	config, err := jsontext.Parse(text)
	if err == nil {
		if got := config.String(); got != strings.Trim(text, " \t\r\n") {
			t.Errorf("%q is read as %q", text, got)
		}
		h.config = config
		h.net, h.built, err = read(config, h.root, h.layered, h.version)
	}
	if err != nil {
		if !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) && !errors.Is(err, format.ErrUnread) {
			t.Errorf("%v: it does not say whose fault it is\n%s", err, text)
		}
		return
	}
	h.built.m.Place, h.built.m.Stays = place, stays
	if _, err := fold.Fold(t.Context(), h.built.m, fold.Options{}); err != nil {
		t.Fatal(err)
	}
	var overflow *format.OverflowError
	if _, err := h.Write(context.Background(), &onnx.Memory{}, tensor.Reference{}); err != nil && !errors.As(err, &overflow) {
		t.Errorf("what was folded cannot be written: %v\n%s", err, difference(over.config.String(), text))
	}
}

// difference is what of b is not in a.
func difference(a, b string) string {
	k := 0
	for k < min(len(a), len(b)) && a[k] == b[k] {
		k++
	}
	for len(a) > k && len(b) > k && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return b[max(0, k-300):]
}

// Configurations in which something was replaced, taken out or said twice are refused, or read, folded and written.
func TestConfig_MutationsLeaveAModelOrAnError(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for seed := range uint64(12) {
		path, _, err := zootest.Keras(seed, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		h, err := openFile(path, "")
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for range 150 {
			copies := map[*jsontext.Value]*jsontext.Value{}
			config := h.config.Clone(copies)
			for range 1 + rng.IntN(2) {
				mutate(rng, config)
			}
			tryConfig(t, h, config.String())
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}

// mutate changes something in a configuration.
func mutate(rng *rand.Rand, config *jsontext.Value) {
	var all []*jsontext.Value
	var walk func(*jsontext.Value)
	walk = func(v *jsontext.Value) {
		all = append(all, v)
		for _, item := range v.Items {
			walk(item)
		}
	}
	walk(config)
	v := all[1+rng.IntN(len(all)-1)]
	k := slices.Index(v.Up.Items, v)
	words := []string{"null", "true", "false", "0", "1", "-1", "2", "7", "1e300", "NaN", `"same"`, `"relu"`, `"channels_first"`, "[]", "{}", "[1, 2]", "[[1, 1], [1, 1]]"}
	switch rng.IntN(6) {
	case 0:
		v.Up.Remove(v)
	case 1: // what stands elsewhere
		text := all[rng.IntN(len(all))].String()
		if read, err := jsontext.Parse(text); err == nil && len(text) < 2000 {
			read.Up, v.Up.Items[k] = v.Up, read
			v.Up.Edited()
		}
	case 2: // twice
		if v.Up.Kind == '[' {
			again := v.Clone(map[*jsontext.Value]*jsontext.Value{})
			again.Up = v.Up
			v.Up.Items = slices.Insert(v.Up.Items, k, again)
			v.Up.Edited()
		}
	case 3: // the other way round
		slices.Reverse(v.Items)
		v.Edited()
	default:
		read, err := jsontext.Parse(words[rng.IntN(len(words))])
		if err != nil {
			panic(err)
		}
		read.Up, v.Up.Items[k] = v.Up, read
		v.Up.Edited()
	}
}

// FuzzArchive opens, folds and writes .keras files.
func FuzzArchive(f *testing.F) {
	formattest.Fuzz(f, zootest.Keras, "model.keras", format.Options{}, 1, 3)
}

func TestSnakeCase_IsThatOfKeras(t *testing.T) {
	for class, want := range map[string]string{
		"Conv2D": "conv2d", "Conv2DTranspose": "conv2d_transpose", "BatchNormalization": "batch_normalization", "ReLU": "re_lu", "PReLU": "p_re_lu",
		"LSTM": "lstm", "GRU": "gru", "GlobalAveragePooling2D": "global_average_pooling2d", "TFOpLambda": "tf_op_lambda", "UpSampling2D": "up_sampling2d",
		"ELU": "elu", "MyLayer3": "my_layer3", "HTTPServer": "http_server",
	} {
		if got := snake(class); got != want {
			t.Errorf("%s: %s, want %s", class, got, want)
		}
	}
}
