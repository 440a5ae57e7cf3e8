package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	rules["BN"] = bn
	rules["SyncBN"] = bn
	rules["CuDNNBatchNorm"] = bn
}

// minEpsilon is the smallest ε that cuDNN accepts: layers computed by cuDNN use at least that, others the value in the
// file.
const minEpsilon = 1e-5

// bn is the batch normalisation of two families of forks.
//
// PSPNet's (layers/bn_layer.cpp of yjxiong's and hszhao's Caffe) has the weights γ, β, mean and variance. In phase TEST, or
// if it is frozen, it is y = γ·(x − mean)/√(variance + eps) + β. SyncBN is the same over several devices, and
// CuDNNBatchNorm of GENet and SKNet the same by cuDNN.
//
// SegNet's has two weights, and is y = scale·x + shift once its statistics are merged into those, which bn_mode INFERENCE
// says; otherwise it normalises with the statistics of the batch.
func bn(b *builder) error {
	kind := "bn_param"
	if b.layer.typ == "CuDNNBatchNorm" {
		kind = "cudnn_batch_norm_param"
	}
	p := b.params(kind)
	if err := b.counts(1, 1); err != nil {
		return err
	}
	epsilon, mode := p.float("eps", float32Of(1e-5)), p.enum("bn_mode", "LEARN", "LEARN", "INFERENCE")
	in, n := b.shape(0), 4
	if in != nil && len(in) < 2 {
		return errOpaque
	}
	merged := mode == "INFERENCE"
	if merged {
		n = 2
	}
	switch {
	case len(b.layer.weights) == 2 && !merged:
		return opaque("without bn_mode: INFERENCE it normalises with the statistics of the batch")
	case !merged && epsilon < float32Of(minEpsilon):
		return opaque(fmt.Sprintf("eps is %g, but cuDNN uses at least %g", float32(epsilon), minEpsilon))
	}
	if err := b.wants(n); err != nil {
		return err
	}
	channels := b.layer.weights[0].count
	if in != nil && in[1] >= 0 {
		channels = in[1]
	}
	if err := b.wantVectors(n, channels); err != nil {
		return err
	}
	if err := few(channels); err != nil {
		return err
	}
	vector := func(k int, part string) *model.Value { return b.weight(k, part, []int64{channels}) }
	if merged {
		zero, one := b.all("mean", channels, 0), b.all("variance", channels, 1)
		b.stores(b.normalise(vector(0, "scale"), vector(1, "shift"), zero, one, 0), map[int]int{1: 0, 2: 1})
		return nil
	}
	y := b.normalise(vector(0, "slope"), vector(1, "bias"), vector(2, "mean"), vector(3, "variance"), epsilon)
	b.stores(y, map[int]int{1: 0, 2: 1, 3: 2, 4: 3})
	return nil
}

// wantVectors checks that the layer has n weights, each of one element for each channel: of shape [C], [1, C] or [1, C, 1, 1].
func (b *builder) wantVectors(n int, channels int64) error {
	if err := b.wants(n); err != nil {
		return err
	}
	for k, w := range b.layer.weights {
		if w.count != channels || slices.ContainsFunc(w.shape, func(d int64) bool { return d != 1 && d != channels }) {
			return fmt.Errorf("blob %d in %s has shape %v, want one element for each of %d channels: %w", k, b.weights.name, w.shape, channels, format.ErrCorrupt)
		}
	}
	return nil
}

// channels is the number of elements of weight k, which has one for each channel.
func (b *builder) channels(k int) (int64, error) {
	channels := int64(-1)
	if in := b.shape(0); in != nil {
		channels = in[1]
	}
	extents, err := b.weightShape(k, channels)
	if err != nil {
		return 0, err
	}
	return extents[0], few(extents[0])
}

// few refuses more channels than statistics are read for when a net is opened.
func few(channels int64) error {
	if channels > maxSmall {
		return fmt.Errorf("%d channels: %w", channels, format.ErrLimit)
	}
	return nil
}
