package state

import (
	"fmt"
	"maps"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
)

// preset are the pairs of a family of networks, whose batch normalisations have one epsilon. Every pair was read from the
// code that is its source: the normalisation is applied to the operator's output and to nothing else, and nothing else
// reads that output.
type preset struct {
	epsilon float64
	pairs   []format.Pair
}

// Presets are the names of all presets, sorted.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// after is a pair of an operator and the normalisation behind it.
func after(linear, norm string) format.Pair { return format.Pair{Linear: linear, Norm: norm} }

var presets = map[string]preset{
	// torchvision/models/resnet.py: ResNet, ResNeXt, Wide ResNet. conv → bn → relu, downsample = Sequential(conv, bn).
	"torchvision/resnet": {1e-5, []format.Pair{
		after(`((?:layer\d+\.\d+\.)?)conv(\d)`, `${1}bn$2`),
		after(`(layer\d+\.\d+\.downsample)\.0`, `$1.1`),
	}},
	// torchvision/models/vgg.py: features = Sequential(conv, bn, relu, …), with a pool between stages.
	"torchvision/vgg": {1e-5, vgg()},
	// torchvision/models/mobilenetv2.py: features of Conv2dNormActivation, and in each block conv = Sequential(…, conv, bn).
	"torchvision/mobilenet_v2": {1e-5, []format.Pair{
		after(`(features\.\d+)\.0`, `$1.1`),
		after(`(features\.\d+\.conv\.\d+)\.0`, `$1.1`),
		after(`(features\.\d+\.conv)\.1`, `$1.2`),
		after(`(features\.\d+\.conv)\.2`, `$1.3`),
	}},
	// torchvision/models/mobilenetv3.py: norm_layer = partial(nn.BatchNorm2d, eps=0.001); blocks of Conv2dNormActivation.
	"torchvision/mobilenet_v3": {1e-3, []format.Pair{
		after(`(features\.\d+)\.0`, `$1.1`),
		after(`(features\.\d+\.block\.\d+)\.0`, `$1.1`),
	}},
	// torchvision/models/efficientnet.py, B0 to B4: nn.BatchNorm2d as it is.
	"torchvision/efficientnet": {1e-5, efficientNet},
	// torchvision/models/efficientnet.py, B5 to B7 and V2: partial(nn.BatchNorm2d, eps=0.001).
	"torchvision/efficientnet_v2": {1e-3, efficientNet},
	// torchvision/models/densenet.py: norm → relu → conv, so that only conv0 → norm0 and conv1 → norm2 within a layer are neighbours.
	"torchvision/densenet": {1e-5, []format.Pair{
		after(`features\.conv0`, `features.norm0`),
		after(`(features\.denseblock\d+\.denselayer\d+)\.conv1`, `$1.norm2`),
		after(`(features\.denseblock\d+\.denselayer\d+)\.conv\.1`, `$1.norm.2`), // as older files are called
	}},
	// torchvision/models/regnet.py: stem and blocks of Conv2dNormActivation, proj as well.
	"torchvision/regnet": {1e-5, []format.Pair{
		after(`stem\.0`, `stem.1`),
		after(`(trunk_output\.block\d+\.block\d+-\d+\.(?:proj|f\.[abc]))\.0`, `$1.1`),
	}},
	// torchvision/models/inception.py and googlenet.py: BasicConv2d, bn = nn.BatchNorm2d(out_channels, eps=0.001).
	"torchvision/inception": {1e-3, []format.Pair{after(`((?:.*\.)?)conv`, `${1}bn`)}},
	// efficientnet-lite-pytorch, efficientnet_lite_pytorch/model.py: BatchNorm2d(momentum=0.01, eps=1e-3).
	"efficientnet-lite": {1e-3, []format.Pair{
		after(`_conv_stem`, `_bn0`),
		after(`_conv_head`, `_bn1`),
		after(`(_blocks\.\d+)\._expand_conv`, `$1._bn0`),
		after(`(_blocks\.\d+)\._depthwise_conv`, `$1._bn1`),
		after(`(_blocks\.\d+)\._project_conv`, `$1._bn2`),
	}},
	// ultralytics/nn/modules/conv.py: Conv, conv → bn → act; utils/torch_utils.py initialize_weights: m.eps = 1e-3.
	"ultralytics/yolo": {1e-3, []format.Pair{after(`((?:.*\.)?)conv`, `${1}bn`)}},
	// timm/models/resnet.py: as torchvision's, with deep stems and downsample = Sequential(pool, conv, bn).
	"timm/resnet": {1e-5, []format.Pair{
		after(`((?:layer\d+\.\d+\.)?)conv(\d)`, `${1}bn$2`),
		after(`(layer\d+\.\d+\.downsample)\.0`, `$1.1`),
		after(`(layer\d+\.\d+\.downsample)\.1`, `$1.2`),
		after(`conv1\.0`, `conv1.1`), after(`conv1\.3`, `conv1.4`), after(`conv1\.6`, `bn1`),
	}},
	// timm/models/efficientnet.py and _efficientnet_blocks.py: which normalisation is a convolution's depends on the block.
	"timm/efficientnet": {1e-5, timmEfficientNet},
	// the same, of models whose names begin with tf_: eps=1e-3.
	"timm/tf_efficientnet": {1e-3, timmEfficientNet},
}

// efficientNet are features of Conv2dNormActivation, in MBConv and FusedMBConv as well.
var efficientNet = []format.Pair{
	after(`(features\.\d+)\.0`, `$1.1`),
	after(`(features\.\d+\.\d+\.block\.\d+)\.0`, `$1.1`),
}

var timmEfficientNet = []format.Pair{
	after(`conv_stem`, `bn1`),
	after(`conv_head`, `bn2`),
	after(`(blocks\.\d+\.\d+)\.conv_pwl`, `$1.bn3`), // InvertedResidual
	after(`(blocks\.\d+\.\d+)\.conv_pwl`, `$1.bn2`), // EdgeResidual, which has no bn3
	after(`(blocks\.\d+\.\d+)\.conv_exp`, `$1.bn1`), // EdgeResidual
	after(`(blocks\.\d+\.\d+)\.conv`, `$1.bn1`),     // ConvBnAct
	{Linear: `(blocks\.\d+\.\d+)\.conv_pw`, Norm: `$1.bn1`, With: `$1.conv_pwl`},
	{Linear: `(blocks\.\d+\.\d+)\.conv_dw`, Norm: `$1.bn2`, With: `$1.conv_pwl`},
	{Linear: `(blocks\.\d+\.\d+)\.conv_dw`, Norm: `$1.bn1`, Without: `$1.conv_pwl`}, // DepthwiseSeparableConv
	{Linear: `(blocks\.\d+\.\d+)\.conv_pw`, Norm: `$1.bn2`, Without: `$1.conv_pwl`},
}

// vgg are the convolutions of a Sequential, each with the normalisation of the next number.
func vgg() (pairs []format.Pair) {
	for k := range 64 {
		pairs = append(pairs, after(fmt.Sprintf(`features\.%d`, k), fmt.Sprintf("features.%d", k+1)))
	}
	return pairs
}
