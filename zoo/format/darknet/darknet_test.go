package darknet_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Darknet, Seeds: 30, Damages: 400}.Run(t)
}

// network writes a cfg and weights of version 0.2 into a new folder, and returns the cfg's path.
func network(t testing.TB, text string, floats []float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.cfg")
	head := []byte{0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, x := range floats {
		head = binary.LittleEndian.AppendUint32(head, math.Float32bits(x))
	}
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o666), os.WriteFile(strings.TrimSuffix(path, ".cfg")+".weights", head, 0o666)); err != nil {
		t.Fatal(err)
	}
	return path
}

// some are n positive numbers.
func some(n int) []float32 {
	out := make([]float32, n)
	for k := range out {
		out[k] = 0.25 + float32(k%7)/8
	}
	return out
}

// by are the options of a network for a program.
func by(convention string) format.Options {
	return format.Options{Settings: map[string]string{"darknet.epsilon": convention}}
}

func open(t testing.TB, path string, o format.Options) format.File {
	t.Helper()
	f, err := format.Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// folded is a network after folding.
type folded struct {
	plan   *fold.Plan
	path   string
	text   string
	header []byte
	floats []float32
}

// foldedBy folds a network, and proves it from the written files.
func foldedBy(t *testing.T, path string, o format.Options, how fold.Options) folded {
	t.Helper()
	f := open(t, path, o)
	plan, err := fold.Fold(t.Context(), f.Model(), how)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	renamed, err := f.Write(context.Background(), formattest.Folder{Path: dir, Name: "net.cfg"}, tensor.Reference{})
	if err != nil {
		t.Fatal(err)
	}
	out := folded{plan: plan, path: filepath.Join(dir, "net.cfg")}
	text, err := os.ReadFile(out.path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "net.weights"))
	if err != nil {
		t.Fatal(err)
	}
	out.text, out.header = string(text), raw[:20]
	for k := 20; k < len(raw); k += 4 {
		out.floats = append(out.floats, math.Float32frombits(binary.LittleEndian.Uint32(raw[k:])))
	}
	o.Weights = ""
	again := open(t, out.path, o)
	verify.Rename(again.Model(), renamed)
	r, err := verify.Algebra(context.Background(), open(t, path, o).Model(), again.Model(), plan)
	if err != nil || r.Failed != "" || len(r.NotRun) > 0 || r.Passed != len(plan.Regions) {
		t.Errorf("%d of %d regions hold, %s %v %v", r.Passed, len(plan.Regions), r.Failed, r.NotRun, err)
	}
	return out
}

const net3x8x8 = "[net]\nwidth=8\nheight=8\nchannels=3\n"

func TestWrite_EditsTheCfgInPlace(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		floats           int
	}{
		{
			"comments, order, spaces and unknown options stay",
			"# mine\n[net]\nwidth=8\nheight = 8\nchannels=3\n\n; first\n[convolutional]\nfilters = 2\n batch_normalize = 1\t# yes\nmine=1\nsize=3\nactivation=leaky\n\n\n[convolutional]\nactivation=linear\n",
			"# mine\n[net]\nwidth=8\nheight = 8\nchannels=3\n\n; first\n[convolutional]\nfilters = 2\n batch_normalize = 0\t# yes\nmine=1\nsize=3\nactivation=leaky\n\n\n[convolutional]\nactivation=linear\n",
			4*2 + 54 + 1 + 2,
		},
		{
			"so do line ends, the missing last one too",
			"[net]\r\nwidth=8\r\nheight=8\r\nchannels=3\r\n[conv]\r\nactivation=linear\r\nbatch_normalize=1",
			"[net]\r\nwidth=8\r\nheight=8\r\nchannels=3\r\n[conv]\r\nactivation=linear\r\nbatch_normalize=0",
			4 + 3,
		},
		{
			"an option that is given twice is changed twice: programs read one or the other",
			net3x8x8 + "[convolutional]\nbatch_normalize=1\nactivation=linear\nbatch_normalize=1\n",
			net3x8x8 + "[convolutional]\nbatch_normalize=0\nactivation=linear\nbatch_normalize=0\n",
			4 + 3,
		},
		{
			"cbn is a batch normalisation too",
			net3x8x8 + "[convolutional]\nactivation=linear\ncbn=1\n",
			net3x8x8 + "[convolutional]\nbatch_normalize=0\nactivation=linear\ncbn=0\n",
			4 + 3,
		},
		{
			"layers that share weights go on sharing them",
			net3x8x8 + "[convolutional]\nfilters=3\nbatch_normalize=1\nactivation=leaky\n[convolutional]\nfilters=3\nbatch_normalize=1\nactivation=leaky\nshare_index=-1\n",
			net3x8x8 + "[convolutional]\nfilters=3\nbatch_normalize=0\nactivation=leaky\n[convolutional]\nfilters=3\nbatch_normalize=0\nactivation=leaky\nshare_index=-1\n",
			4*3 + 9,
		},
		{
			"unless they need others from now on",
			net3x8x8 + "[convolutional]\nfilters=3\nbatch_normalize=1\nactivation=leaky\nflipped=1\n[convolutional]\nfilters=3\nbatch_normalize=1\nactivation=linear\n share_index = 0\n[batchnorm]\n",
			net3x8x8 + "[convolutional]\nfilters=3\nbatch_normalize=0\nactivation=leaky\nflipped=1\n[convolutional]\nflipped=1\nfilters=3\nbatch_normalize=0\nactivation=linear\n# share_index = 0\n[route]\nlayers=-1\n",
			4*3 + 9 + 4*3,
		},
		{
			"a connected layer",
			net3x8x8 + "[connected]\noutput=2\nbatch_normalize=1\nactivation=linear\n",
			net3x8x8 + "[connected]\noutput=2\nbatch_normalize=0\nactivation=linear\n",
			4*2 + 2*192,
		},
		{
			"a batchnorm becomes a route, so that layers keep their numbers",
			net3x8x8 + "[convolutional]\nfilters=2\nactivation=linear\n[maxpool]\nsize=2\nstride=2\n  [batchnorm]\t\r\n# kept\n[route]\nlayers=-1,1\n[convolutional]\nactivation=linear\n",
			net3x8x8 + "[convolutional]\nfilters=2\nactivation=linear\n[maxpool]\nsize=2\nstride=2\n  [route]\t\r\nlayers=-1\r\n# kept\n[route]\nlayers=-1,1\n[convolutional]\nactivation=linear\n",
			2 + 6 + 4*2 + 1 + 4,
		},
		{
			"the first layer has none before it to route to",
			net3x8x8 + "[batchnorm]\n[convolutional]\nactivation=linear\n",
			net3x8x8 + "[activation]\nactivation=linear\n[convolutional]\nactivation=linear\n",
			4*3 + 1 + 3,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := foldedBy(t, network(t, test.text, some(test.floats)), format.Options{}, fold.Options{})
			if got.text != test.want {
				t.Errorf("got\n%q, want\n%q", got.text, test.want)
			}
			if want := []byte{0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}; !bytes.Equal(got.header, want) {
				t.Errorf("the header became %v", got.header)
			}
		})
	}
}

// divisors are γ's by convention, in float64.
var divisors = map[string]func(variance float32) float64{
	"pjreddie": func(v float32) float64 { return math.Sqrt(float64(v)) + float64(float32(1e-6)) },
	"alexeyab": func(v float32) float64 { return math.Sqrt(float64(v) + float64(float32(1e-5))) },
	"opencv":   func(v float32) float64 { return math.Sqrt(float64(v) + float64(float32(1e-6))) },
}

func TestSetting_EveryWordIsAConvention(t *testing.T) {
	f, err := format.Find("net.cfg")
	if err != nil || len(f.Settings) != 1 {
		t.Fatal(f, err)
	}
	for _, word := range f.Settings[0].Words {
		if divisors[word] == nil {
			t.Errorf("no divisor is known of %s", word)
		}
	}
}

func TestFold_RoundsTheFormulaOnce(t *testing.T) {
	const n, in = 2, 3
	beta, gamma, mean, variance := []float32{0.5, -3}, []float32{1.5, -0.75}, []float32{0.125, -2}, []float32{3e-5, 0.7}
	w := []float32{0.1, -0.7, 1.3, 5, 1e-3, -0.2} // [n, in]
	transposed := []float32{0.1, 5, -0.7, 1e-3, 1.3, -0.2}
	norm := slices.Concat(gamma, mean, variance)
	for _, layer := range []struct {
		name, text string
		floats     []float32
		channel    func(k int) int // of weight k
		weights    []float32
	}{
		{"convolutional", "[convolutional]\nfilters=2\n", slices.Concat(beta, norm, w), func(k int) int { return k / in }, w},
		{"flipped", "[convolutional]\nfilters=2\nflipped=1\n", slices.Concat(beta, norm, transposed), func(k int) int { return k % n }, transposed},
		{"deconvolutional", "[deconvolutional]\nfilters=2\n", slices.Concat(beta, norm, transposed), func(k int) int { return k % n }, transposed},
		{"connected", "[connected]\noutput=2\n", slices.Concat(beta, w, norm), func(k int) int { return k / in }, w},
	} {
		for convention, divisor := range divisors {
			text := "[net]\nwidth=1\nheight=1\nchannels=3\n" + layer.text + "batch_normalize=1\nactivation=linear\n"
			got := foldedBy(t, network(t, text, layer.floats), by(convention), fold.Options{})
			var want []float32
			for c := range n {
				s := float64(gamma[c]) / divisor(variance[c])
				want = append(want, float32(float64(beta[c])-float64(mean[c])*s))
			}
			for k, x := range layer.weights {
				c := layer.channel(k)
				want = append(want, float32(float64(x)*(float64(gamma[c])/divisor(variance[c]))))
			}
			if len(got.floats) != len(want) {
				t.Fatalf("%s, %s: %d floats, want %d", layer.name, convention, len(got.floats), len(want))
			}
			for k, x := range want { // a root of a square may differ from the number in the last of 53 bits
				if d := math.Abs(float64(got.floats[k]) - float64(x)); d > 1e-7*math.Abs(float64(x)) {
					t.Errorf("%s, %s: float %d is %v, want %v", layer.name, convention, k, got.floats[k], x)
				}
			}
		}
	}
}

func TestFold_WhatIsLeftHasAReason(t *testing.T) {
	conv := "[convolutional]\nfilters=3\nbatch_normalize=1\nactivation=linear\n"
	for _, test := range []struct {
		name, text string
		floats     int
		left       int
		code       fold.Code
		how        fold.Options
	}{
		{"binary weights", net3x8x8 + conv + "xnor=1\n", 12 + 9, 1, fold.Nonlinear, fold.Options{}},
		{"a layer that is to be kept", net3x8x8 + conv, 12 + 9, 1, fold.Keep, fold.Options{Keep: []string{"convolutional_0"}}},
		{"a shift before padding", net3x8x8 + "[batchnorm]\n[convolutional]\nsize=3\npad=1\nactivation=linear\n", 12 + 1 + 27, 1, fold.Border, fold.Options{}},
		{"an activation that nothing passes", net3x8x8 + "[convolutional]\nactivation=mish\n[batchnorm]\n[convolutional]\nactivation=logistic\nsize=3\npad=1\n", 4 + 4 + 10, 1, fold.Border, fold.Options{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := foldedBy(t, network(t, test.text, some(test.floats)), format.Options{}, test.how)
			left := 0
			for _, m := range got.plan.Maps {
				if m.Verdict == fold.Left {
					left++
					if m.Reason.Code != test.code {
						t.Errorf("%s: %s: %s", m.Node, m.Reason.Code, m.Reason.Text)
					}
				}
			}
			if left != test.left || len(got.floats) != test.floats || got.text != test.text {
				t.Errorf("%d are left, %d floats, %q", left, len(got.floats), got.text)
			}
		})
	}
}

// A batch normalisation moves forward into a convolution whose own one stays: what it adds is put into the mean.
func TestFold_BiasGoesIntoTheMeanOfABatchNormalisationThatStays(t *testing.T) {
	text := net3x8x8 + "[batchnorm]\n[convolutional]\nfilters=2\nbatch_normalize=1\nactivation=linear\n"
	got := foldedBy(t, network(t, text, some(12+8+6)), format.Options{}, fold.Options{Keep: []string{"convolutional_1/norm"}})
	if got.plan.After != 1 || len(got.floats) != 8+6 {
		t.Errorf("%d normalisations and %d floats are left", got.plan.After, len(got.floats))
	}
	before := some(12 + 8 + 6)[12:]
	for k := range 8 {
		if changed := got.floats[k] != before[k]; changed != (k >= 4 && k < 6) {
			t.Errorf("float %d of biases, scales, mean and variance is %v, was %v", k, got.floats[k], before[k])
		}
	}
}

func TestFold_ReportsStatisticsThatAreNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range []struct {
		at    int // biases, scales, mean, variance
		value float32
	}{{1, nan}, {2, nan}, {2, inf}, {3, nan}, {3, -1}, {3, inf}} {
		floats := some(4 + 3)
		floats[bad.at] = bad.value
		got := foldedBy(t, network(t, net3x8x8+"[convolutional]\nbatch_normalize=1\nactivation=linear\n", floats), format.Options{}, fold.Options{})
		if len(got.plan.Maps) != 1 || got.plan.Maps[0].Reason == nil || got.plan.Maps[0].Reason.Code != fold.Statistics {
			t.Errorf("float %d is %v: %+v", bad.at, bad.value, got.plan.Maps)
		}
		if len(got.floats) != len(floats) {
			t.Errorf("float %d is %v: %d floats became %d", bad.at, bad.value, len(floats), len(got.floats))
		}
	}
}

func TestWrite_NamesAWeightThatWouldOverflow(t *testing.T) {
	floats := some(4 + 3)
	floats[1], floats[5] = 1e3, 1e38
	f := open(t, network(t, net3x8x8+"[convolutional]\nbatch_normalize=1\nactivation=linear\n", floats), format.Options{})
	if _, err := fold.Fold(t.Context(), f.Model(), fold.Options{}); err != nil {
		t.Fatal(err)
	}
	_, err := f.Write(context.Background(), formattest.Folder{Path: t.TempDir(), Name: "net.cfg"}, tensor.Reference{})
	var overflow *format.OverflowError
	if !errors.As(err, &overflow) || overflow.Tensor != "convolutional_0/weights" {
		t.Errorf("%v", err)
	}
}

func TestOpen_BadNetworksGetOneClearError(t *testing.T) {
	conv := net3x8x8 + "[convolutional]\nactivation=linear\n" // 1 bias, 3 weights
	many := net3x8x8 + strings.Repeat("[dropout]\n", 1_000_000)
	for _, test := range []struct {
		name, text string
		floats     int
		want       string
		kind       error
	}{
		{"one float too few", conv, 3, "net.weights has 3 floats, net.cfg asks for 4: it ends in layer 0 [convolutional] (net.cfg:5), whose floats end at 4", format.ErrCorrupt},
		{"one float too many", conv, 5, "net.weights has 20 bytes of floats, net.cfg asks for 4 floats, 16 bytes: the last are those of layer 0 [convolutional] (net.cfg:5)", format.ErrCorrupt},
		{"floats that no layer asks for", net3x8x8 + "[dropout]\n", 1, "asks for 0 floats, 0 bytes: there is no layer with weights", format.ErrCorrupt},
		{"huge numbers", net3x8x8 + "[convolutional]\nfilters=1152921504606846976\n", 4, "net.cfg:6: [convolutional] filters=1152921504606846976: Darknet's numbers have 31 bits", format.ErrLimit},
		{"numbers whose product is huge", net3x8x8 + "[connected]\noutput=2147483647\n[connected]\noutput=2147483647\n[connected]\noutput=2147483647\n", 4, "net.cfg:7: [connected] its weights would be of shape [2147483647 2147483647]", format.ErrLimit},
		{"images that are huge", "[net]\nwidth=65536\nheight=65536\nchannels=3\n[avgpool]\n", 0, "net.cfg:1: [net] an image of 3x65536x65536: Darknet counts its values in 31 bits", format.ErrLimit},
		{"a route to itself", net3x8x8 + "[dropout]\n[route]\nlayers=1\n", 0, "net.cfg:7: [route] layers=1: layer 1 does not come before this one, layer 1", format.ErrCorrupt},
		{"a route to a layer after it", net3x8x8 + "[route]\nlayers=1\n[route]\nlayers=0\n", 0, "net.cfg:6: [route] layers=1: layer 1 does not come before this one, layer 0", format.ErrCorrupt},
		{"a route to before the first", net3x8x8 + "[dropout]\n[route]\nlayers=-2\n", 0, "net.cfg:7: [route] layers=-2: layer -1 does not come", format.ErrCorrupt},
		{"a route to nowhere", net3x8x8 + "[dropout]\n[route]\n", 0, "net.cfg:6: [route] has no layers=", format.ErrCorrupt},
		{"a route with a gap", net3x8x8 + "[dropout]\n[route]\nlayers=-1,\n", 0, `net.cfg:7: [route] layers=-1,: "" is no number`, format.ErrCorrupt},
		{"a shortcut from nowhere", net3x8x8 + "[dropout]\n[shortcut]\nactivation=linear\n", 0, "net.cfg:6: [shortcut] has no from=", format.ErrCorrupt},
		{"a word for a number", net3x8x8 + "[convolutional]\nsize=big\n", 0, `net.cfg:6: [convolutional] size=big: "big" is no number`, format.ErrCorrupt},
		{"no filters", net3x8x8 + "[convolutional]\nfilters=0\n", 0, "net.cfg:6: [convolutional] filters=0: it has to be positive", format.ErrCorrupt},
		{"groups that do not divide", net3x8x8 + "[convolutional]\nfilters=4\ngroups=2\n", 0, "net.cfg:7: [convolutional] groups=2 does not divide its 3 channels and its 4 filters evenly", format.ErrCorrupt},
		{"a kernel larger than the image", net3x8x8 + "[convolutional]\nsize=9\n", 0, "net.cfg:5: [convolutional] a window of 9 does not fit into 3x8x8", format.ErrCorrupt},
		{"a convolution of a vector", "[net]\ninputs=9\n[convolutional]\n", 0, "net.cfg:3: [convolutional] it needs an image, what it reads is a vector of 9", format.ErrCorrupt},
		{"scales of other channels", net3x8x8 + "[dropout]\n[avgpool]\n[convolutional]\nfilters=2\n[scale_channels]\nfrom=-3\n", 8, "net.cfg:10: [scale_channels] an image of 2x1x1 does not fit that of 3x8x8 of layer 0", format.ErrCorrupt},
		{"weights shared with another shape", net3x8x8 + "[convolutional]\n[convolutional]\nshare_index=0\n", 4, "net.cfg:7: [convolutional] share_index=0: layer 0 [convolutional] (net.cfg:5) has no weights of its shape to share", format.ErrCorrupt},
		{"an unknown layer", net3x8x8 + "[convolutoinal]\n", 0, "net.cfg:5: [convolutoinal] Darknet has no such layer", format.ErrCorrupt},
		{"a layer for videos", net3x8x8 + "[conv_lstm]\n", 0, "net.cfg:5: [conv_lstm] the layer is of a type that is not known: not supported", format.ErrUnread},
		{"antialiasing", net3x8x8 + "[convolutional]\nantialiasing=1\n", 0, "net.cfg:6: [convolutional] the option antialiasing: not supported", format.ErrUnread},
		{"weights that are not in the file", net3x8x8 + "[convolutional]\ndontload=1\n", 0, "net.cfg:6: [convolutional] the option dontload: not supported", format.ErrUnread},
		{"no net", "[convolutional]\nfilters=1\n", 0, "net.cfg:1: the first section is not [net]", format.ErrCorrupt},
		{"an empty file", "", 0, "net.cfg:1: the first section is not [net]", format.ErrCorrupt},
		{"no layers", net3x8x8, 0, "net.cfg:1: there are no layers below [net]", format.ErrCorrupt},
		{"no size", "[net]\nwidth=8\n[dropout]\n", 0, "net.cfg:1: [net] says neither width, height and channels of the input nor inputs", format.ErrCorrupt},
		{"options before the first section", "width=8\n[net]\n", 0, `net.cfg:1: "width=8" stands before the first section`, format.ErrCorrupt},
		{"nothing that computes", net3x8x8 + "[dropout]\n", 0, "net.cfg:1: no layer computes anything", format.ErrCorrupt},
		{"binary garbage", "[net]\n\x00\x01\x02\xff", 0, "net.cfg:2: byte 0x00 in it: this is not text", format.ErrCorrupt},
		{"a section that does not close", "[net\n", 0, `net.cfg:1: "[net" is no section`, format.ErrCorrupt},
		{"a million sections", many, 0, "net.cfg:65540: more than 65536 sections", format.ErrLimit},
		{"a line without an end", "[net]\n" + strings.Repeat("x", 17<<20), 0, "net.cfg:1: a cfg of more than 16777216 bytes", format.ErrLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := format.Open(t.Context(), network(t, test.text, make([]float32, test.floats)), format.Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

func TestOpen_BadWeightsGetOneClearError(t *testing.T) {
	path := network(t, net3x8x8+"[dropout]\n", nil)
	weights := strings.TrimSuffix(path, ".cfg") + ".weights"
	for _, test := range []struct {
		name string
		data []byte
		want string
		kind error
	}{
		{"none", nil, "the weights of net.cfg: open", fs.ErrNotExist},
		{"empty", []byte{}, "net.weights: it is shorter than a header of 16 bytes", format.ErrCorrupt},
		{"half a header", make([]byte, 11), "net.weights: it is shorter than a header of 16 bytes", format.ErrCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.Remove(weights); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if test.data != nil {
				if err := os.WriteFile(weights, test.data, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			_, err := format.Open(t.Context(), path, format.Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestWrite_KeepsHeadersOfAllVersions(t *testing.T) {
	for _, test := range []struct {
		major, minor uint32
		bytes        int
	}{{0, 1, 16}, {0, 2, 20}, {0, 5, 20}, {1, 0, 20}, {0, 1001, 16}, {1001, 0, 16}} {
		var head []byte
		for _, x := range []uint32{test.major, test.minor, 7, 1234, 5678}[:test.bytes/4] {
			head = binary.LittleEndian.AppendUint32(head, x)
		}
		path := network(t, net3x8x8+"[connected]\noutput=2\nactivation=linear\nbatch_normalize=1\n", nil)
		for _, x := range some(8 + 2*192) {
			head = binary.LittleEndian.AppendUint32(head, math.Float32bits(x))
		}
		if err := os.WriteFile(strings.TrimSuffix(path, ".cfg")+".weights", head, 0o666); err != nil {
			t.Fatal(err)
		}
		f := open(t, path, format.Options{})
		if _, err := fold.Fold(t.Context(), f.Model(), fold.Options{}); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if _, err := f.Write(context.Background(), formattest.Folder{Path: dir, Name: "net.cfg"}, tensor.Reference{}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "net.weights"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:test.bytes], head[:test.bytes]) || len(got) != test.bytes+4*(2+2*192) {
			t.Errorf("version %d.%d: %d bytes, header %v", test.major, test.minor, len(got), got[:test.bytes])
		}
	}
}

// batchnorm layers are stored with biases by one program and without by the other: the number of floats tells.
func TestOpen_BatchnormWithAndWithoutBiases(t *testing.T) {
	text := net3x8x8 + "[convolutional]\nfilters=2\nactivation=linear\n[batchnorm]\n"
	for _, floats := range []int{2 + 6 + 8, 2 + 6 + 6} {
		got := foldedBy(t, network(t, text, some(floats)), format.Options{}, fold.Options{})
		if got.plan.After != 0 || len(got.floats) != 2+6 {
			t.Errorf("%d floats: %d are left, in %d floats", floats, got.plan.After, len(got.floats))
		}
	}
	if _, err := format.Open(t.Context(), network(t, text, some(2+6+6)), by("alexeyab")); !errors.Is(err, format.ErrCorrupt) {
		t.Errorf("AlexeyAB's program writes biases: %v", err)
	}
}

func TestOpen_LargeNetworkCostsItsHeaders(t *testing.T) {
	text := "[net]\ninputs=16384\n[connected]\noutput=16384\nbatch_normalize=1\nactivation=relu\n"
	path := network(t, text, nil)
	const size = 20 + 4*(4*16384+16384*16384) // a GiB, of holes
	if err := os.Truncate(strings.TrimSuffix(path, ".cfg")+".weights", size); err != nil {
		t.Skipf("no file of %d bytes can be made here: %v", size, err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	open(t, path, format.Options{})
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d KB were allocated", used>>10)
	}
}

func TestOpen_RefusesUnknownConvention(t *testing.T) {
	_, err := format.Open(t.Context(), network(t, net3x8x8+"[dropout]\n", nil), by("caffe"))
	if want := `darknet.epsilon is "caffe", not one of pjreddie, alexeyab, opencv`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
