package caffe_test

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// stem is an input and a convolution of four channels, behind which a test puts a layer.
const stem = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 6 dim: 7 } } }\n" +
	"layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } }\n"

func kernel() []byte { return weights("conv", random(4, 3, 3, 3)) }

func TestOpenCV_RunsFoldedNetsOfForks(t *testing.T) {
	python(t)
	var trials []trial
	var names []string
	for _, x := range []struct {
		name, text    string
		layers        [][]byte
		before, after int
	}{
		{
			"PSPNet's BN", "layer { name: 'bn' type: 'BN' bottom: 'conv' top: 'conv' bn_param { eps: 0.001 frozen: true } }", // in place, as there
			[][]byte{weights("bn", random(1, 4), random(1, 4), random(1, 4), absolute(1, 4))}, 1, 0,
		},
		{
			"SegNet's BN", "layer { name: 'bn' type: 'BN' bottom: 'conv' top: 'bn' bn_param { bn_mode: INFERENCE } }",
			[][]byte{weights("bn", random(1, 4, 1, 1), random(1, 4, 1, 1))}, 1, 0,
		},
		{
			"cuDNN's", "layer { name: 'bn' type: 'CuDNNBatchNorm' bottom: 'conv' top: 'bn' }",
			[][]byte{weights("bn", random(1, 4, 1, 1), random(1, 4, 1, 1), random(1, 4, 1, 1), absolute(1, 4, 1, 1))}, 1, 0,
		},
		{
			"NVIDIA's", "layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv' batch_norm_param { scale_bias: true } }",
			[][]byte{weights("bn", random(4), absolute(4), blob([]int64{1}, 1), random(4), random(4))}, 1, 0,
		},
		{
			"behind a sum with coefficients", "layer { name: 'conv2' type: 'Convolution' bottom: 'data' top: 'conv2' convolution_param { num_output: 4 kernel_size: 1 } }" +
				"layer { name: 'sum' type: 'Eltwise' bottom: 'conv' bottom: 'conv2' top: 'sum' eltwise_param { coeff: 0.5 coeff: -2 } }" +
				"layer { name: 'bn' type: 'BN' bottom: 'sum' top: 'bn' }",
			[][]byte{weights("conv2", random(4, 3, 1, 1), random(4)), weights("bn", random(4), random(4), random(4), absolute(4))}, 3, 2, // the coefficients are the sum's
		},
		{
			"behind a factor for each channel", "layer { name: 'conv2' type: 'Convolution' bottom: 'data' top: 'conv2' convolution_param { num_output: 4 kernel_size: 1 } }" +
				"layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool' pooling_param { pool: AVE global_pooling: true } }" +
				"layer { name: 'gate' type: 'Sigmoid' bottom: 'pool' top: 'gate' }" +
				"layer { name: 'axpy' type: 'Axpy' bottom: 'gate' bottom: 'conv2' bottom: 'conv2b' top: 'axpy' }" +
				"layer { name: 'bn' type: 'BN' bottom: 'axpy' top: 'bn' }",
			[][]byte{weights("conv2", random(4, 3, 1, 1), random(4)), weights("conv2b", random(4, 3, 1, 1), random(4)), weights("bn", random(4), random(4), random(4), absolute(4))}, 1, 0,
		},
		{
			"a pad of the height alone", "layer { name: 'conv2' type: 'Convolution' bottom: 'conv' top: 'conv2' convolution_param { num_output: 5 kernel_size: 3 pad_h: 1 } }" +
				"layer { name: 'scale' type: 'Scale' bottom: 'conv2' top: 'conv2' scale_param { bias_term: true } }",
			[][]byte{weights("conv2", random(5, 4, 3, 3), random(5)), weights("scale", random(5), random(5))}, 1, 0,
		},
		{
			"a scale of the batch and the channels", "layer { name: 'scale' type: 'Scale' bottom: 'conv' top: 'conv' scale_param { axis: 0 num_axes: 2 bias_term: true } }",
			[][]byte{weights("scale", random(1, 4), random(1, 4))}, 1, 0,
		},
		{
			"a bias that such a scale gains", "layer { name: 'r' type: 'ReLU' bottom: 'conv' top: 'conv' }" +
				"layer { name: 'scale' type: 'Scale' bottom: 'conv' top: 'conv' scale_param { axis: 0 num_axes: 2 } }" +
				"layer { name: 'bn' type: 'BN' bottom: 'conv' top: 'conv' bn_param { bn_mode: INFERENCE } }",
			[][]byte{weights("scale", random(1, 4)), weights("bn", random(4), random(4))}, 2, 1,
		},
	} {
		text := stem + strings.Replace(x.text, "layer { name: 'pool'", "layer { name: 'conv2b' type: 'Convolution' bottom: 'data' top: 'conv2b' convolution_param { num_output: 4 kernel_size: 1 } }layer { name: 'pool'", 1)
		path := net(t, text, append(x.layers, kernel())...)
		folded(t, path)
		one := try(t, path, "", filepath.Dir(path))
		if one.plan.Before != x.before || one.plan.After != x.after {
			t.Errorf("%s: %d -> %d per-channel nodes, want %d -> %d: %+v", x.name, one.plan.Before, one.plan.After, x.before, x.after, one.plan.Remaining)
		}
		if x.name == "a pad of the height alone" { // OpenCV takes none for it, Caffe does
			one.ONNX = ""
		}
		trials, names = append(trials, one), append(names, x.name)
	}
	for k, v := range ask(t, trials) {
		v.holds(t, names[k])
	}
}

// siamese is a net of two branches, whose layers share their weights by name. SECOND is what stands behind the second one's
// convolution instead.
func siamese(second string) string {
	branch := func(k, behind string) string {
		return strings.ReplaceAll("layer { name: 'dataK' type: 'Input' top: 'dataK' input_param { shape { dim: 1 dim: 3 dim: 6 dim: 7 } } }\n"+
			"layer { name: 'convK' type: 'Convolution' bottom: 'dataK' top: 'convK' param { name: 'w' } convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }\n"+
			behind+"layer { name: 'reluK' type: 'ReLU' bottom: 'convK' top: 'convK' }\n"+
			"layer { name: 'fcK' type: 'InnerProduct' bottom: 'convK' top: 'fcK' param { name: 'fw' } param { name: 'fb' } inner_product_param { num_output: 3 } }\n", "K", k)
	}
	norm := "layer { name: 'bnK' type: 'BatchNorm' bottom: 'convK' top: 'convK' param { name: 'm' } param { name: 'v' } param { name: 'f' } }\n"
	if second == "" {
		second = norm
	}
	return branch("1", norm) + branch("2", second) + "layer { name: 'sum' type: 'Eltwise' bottom: 'fc1' bottom: 'fc2' top: 'sum' eltwise_param { coeff: 1 coeff: -1 } }\n"
}

func TestWeights_SharedFoldWhereAllLayersFoldAlike(t *testing.T) {
	python(t)
	w, m, v, f, fw, fb := random(4, 3, 3, 3), random(4), absolute(4), blob([]int64{1}, 2), random(3, 80), random(3)
	layers := [][]byte{
		weights("conv1", w), weights("bn1", m, v, f), weights("fc1", fw, fb),
		weights("conv2", w), weights("bn2", m, v, f), weights("fc2", fw, fb),
	}
	path := net(t, siamese(""), layers...)
	written, plan := folded(t, path)
	if plan.Before != 2 || plan.After != 0 {
		t.Errorf("%d -> %d: %+v", plan.Before, plan.After, plan.Maps)
	}
	g := open(t, written)
	for _, part := range []string{"weight", "bias"} {
		if a, b := elements(t, g, "conv1/"+part), elements(t, g, "conv2/"+part); len(a) == 0 || !slices.Equal(a, b) {
			t.Errorf("the %ss of both convolutions are %v and %v", part, a, b)
		}
	}
	for k, v := range ask(t, []trial{try(t, path, "", filepath.Dir(path))}) {
		v.holds(t, strconv.Itoa(k))
	}
	for name, net := range map[string]string{
		"no normalisation":      net(t, siamese("layer { name: 'bn2' type: 'TanH' bottom: 'convK' top: 'convK' }\n"), layers...),
		"another normalisation": net(t, siamese("layer { name: 'bn2' type: 'BatchNorm' bottom: 'convK' top: 'convK' }\n"), layers...),
		"other copies":          net(t, siamese(""), slices.Replace(slices.Clone(layers), 3, 4, weights("conv2", noisy(4, 3, 3, 3)))...),
	} {
		_, plan := folded(t, net)
		if plan.After != plan.Before || plan.Maps[0].Reason.Code != fold.SharedOutput || !strings.Contains(plan.Maps[0].Reason.Text, `"conv2"`) {
			t.Errorf("%s: %d -> %d: %+v", name, plan.Before, plan.After, plan.Maps)
		}
	}
}

// noisy is a weight of that shape with other elements than random's.
func noisy(extents ...int64) []byte {
	n, _ := tensor.Elements(extents)
	return message(7, shape(extents...), floats(slices.Repeat([]float64{0.25}, int(n))...))
}

func TestLayers_UnknownWithStatisticsAreCountedWithAReason(t *testing.T) {
	one := blob([]int64{1}, 1)
	for _, x := range []struct {
		typ, params, why string
		blobs            [][]byte
	}{
		{"BatchRenorm", "", "the type is not known", [][]byte{random(4), random(4), random(1)}},
		{"BN", "bn_param { }", "it normalises with the statistics of the batch", [][]byte{random(4), random(4)}},
		{"BN", "bn_param { eps: 1e-9 }", "eps is 1e-09", [][]byte{random(4), random(4), random(4), random(4)}},
		{"BatchNorm", "batch_norm_param { scale_bias: true }", "its third blob is 2", [][]byte{random(4), random(4), blob([]int64{1}, 2), random(4), random(4)}},
		{"BatchNorm", "batch_norm_param { scale_bias: true eps: 1e-9 }", "eps is 1e-09", [][]byte{random(4), random(4), one, random(4), random(4)}},
		{"BatchNorm", "batch_norm_param { renorm: true }", "the parameter renorm is not known", [][]byte{random(4), random(4), one}},
	} {
		_, plan := folded(t, net(t, stem+"layer { name: 'n' type: '"+x.typ+"' bottom: 'conv' top: 'n' "+x.params+" }", kernel(), weights("n", x.blobs...)))
		if plan.Before != 1 || plan.After != 1 || plan.Maps[0].Reason.Code != fold.Unsupported || !strings.Contains(plan.Maps[0].Reason.Text, x.why) || !strings.Contains(plan.Maps[0].Reason.Text, `"n"`) {
			t.Errorf("%s %s: %d -> %d, %+v", x.typ, x.params, plan.Before, plan.After, plan.Maps)
		}
	}
	for typ, blobs := range map[string][][]byte{"Embed": {random(9, 4), random(4)}, "Attention": {random(4, 4), random(4), random(4)}, "Normalize": {random(4)}} { // these are no normalisations with statistics
		if _, plan := folded(t, net(t, stem+"layer { name: 'n' type: '"+typ+"' bottom: 'conv' top: 'n' }", kernel(), weights("n", blobs...))); plan.Before != 0 {
			t.Errorf("%s: %+v", typ, plan.Maps)
		}
	}
}
