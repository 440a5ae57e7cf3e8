package keras

import (
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
)

// Keras 1 has other names for layers and their settings than Keras 2 and 3.

var renamedClasses = map[string]string{
	"Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
	"AtrousConvolution1D": "Conv1D", "AtrousConvolution2D": "Conv2D", "SeparableConvolution2D": "SeparableConv2D",
}

var mergeModes = map[string]string{"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}

// renamedSettings are the new names of settings whose values are as they were.
var renamedSettings = map[string]string{
	"nb_filter": "filters", "border_mode": "padding", "subsample": "strides", "subsample_length": "strides",
	"atrous_rate": "dilation_rate", "bias": "use_bias", "filter_length": "kernel_size", "pool_length": "pool_size",
	"stride": "strides", "length": "size", "concat_axis": "axis", "p": "rate",
}

// oldSettings tell Keras 1's settings from later ones.
var oldSettings = []string{"border_mode", "bias", "mode", "dim_ordering", "pool_length", "length", "p"}

// modern translates a layer's class and settings to those of Keras 2 and 3. A layer without an equivalent gets an unknown
// class.
func (l *layer) modern() error {
	class, config := l.class, l.config
	l.old = slices.ContainsFunc(oldSettings, func(key string) bool { return config.Get(key) != nil })
	if !l.old {
		return nil
	}
	if name, ok := renamedClasses[class]; ok {
		class = name
	}
	out := &jsontext.Value{Kind: '{'}
	for k, key := range config.Keys {
		if name, ok := renamedSettings[key]; ok {
			key = name
		}
		if key == "output_dim" && class == "Dense" {
			key = "units"
		}
		out.Set(key, config.Items[k].String())
	}
	var kernel []string
	for _, key := range []string{"nb_row", "nb_col", "kernel_dim1", "kernel_dim2", "kernel_dim3"} {
		if v := config.Get(key); v != nil {
			kernel = append(kernel, v.String())
		}
	}
	if kernel != nil {
		out.Set("kernel_size", "["+strings.Join(kernel, ", ")+"]")
	}
	switch order, _ := config.Get("dim_ordering").Str(); order {
	case "tf":
		out.Set("data_format", `"channels_last"`)
	case "th":
		out.Set("data_format", `"channels_first"`)
	}
	mode, text := config.Get("mode").Str()
	switch {
	case class == "Merge" && text && mergeModes[mode] != "":
		class = mergeModes[mode]
	case class == "BatchNormalization" && config.Get("mode") != nil:
		if mode, ok := config.Get("mode").Int(); !ok || mode != 0 { // the statistics are the batch's, or the sample's
			class = "BatchNormalization of Keras 1"
		}
	}
	read, err := jsontext.Parse(out.String()) // so that lists have items
	l.class, l.config = class, read
	return err
}
