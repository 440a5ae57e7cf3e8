package keras

import (
	"slices"
	"strings"
)

// Keras 1 called layers and their settings otherwise than Keras 2 and 3 do.

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

// modern makes a layer's class and settings what Keras 2 and 3 call them. What Keras 1 did that has no equal now gets a
// class that nobody knows.
func (l *layer) modern() error {
	class, config := l.class, l.config
	l.old = slices.ContainsFunc(oldSettings, func(key string) bool { return config.get(key) != nil })
	if !l.old {
		return nil
	}
	if name, ok := renamedClasses[class]; ok {
		class = name
	}
	out := &json{kind: '{'}
	for k, key := range config.keys {
		if name, ok := renamedSettings[key]; ok {
			key = name
		}
		if key == "output_dim" && class == "Dense" {
			key = "units"
		}
		out.set(key, config.items[k].String())
	}
	var kernel []string
	for _, key := range []string{"nb_row", "nb_col", "kernel_dim1", "kernel_dim2", "kernel_dim3"} {
		if v := config.get(key); v != nil {
			kernel = append(kernel, v.String())
		}
	}
	if kernel != nil {
		out.set("kernel_size", "["+strings.Join(kernel, ", ")+"]")
	}
	switch order, _ := config.get("dim_ordering").str(); order {
	case "tf":
		out.set("data_format", `"channels_last"`)
	case "th":
		out.set("data_format", `"channels_first"`)
	}
	mode, text := config.get("mode").str()
	switch {
	case class == "Merge" && text && mergeModes[mode] != "":
		class = mergeModes[mode]
	case class == "BatchNormalization" && config.get("mode") != nil:
		if mode, ok := config.get("mode").int(); !ok || mode != 0 { // the statistics are the batch's, or the sample's
			class = "BatchNormalization of Keras 1"
		}
	}
	read, err := parseJSON(out.String()) // so that lists have items
	l.class, l.config = class, read
	return err
}
