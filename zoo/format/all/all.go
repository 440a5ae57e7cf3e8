// Package all makes every format and exporter of the program known; nothing else names them all.
package all

import (
	_ "github.com/zoofold/zoofold/zoo/format/caffe"
	_ "github.com/zoofold/zoofold/zoo/format/checkpoint"
	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	_ "github.com/zoofold/zoofold/zoo/format/keras"
	_ "github.com/zoofold/zoofold/zoo/format/metal"
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	_ "github.com/zoofold/zoofold/zoo/format/safetensors"
	_ "github.com/zoofold/zoofold/zoo/format/torch"
)
