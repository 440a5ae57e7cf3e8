package hdf5_test

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
)

var byteNumber = regexp.MustCompile(`byte -?\d+`)

// equal compares two trees with all that is in them, the elements of datasets too.
func equal(t *testing.T, what string, got, want *hdf5.Group) {
	t.Helper()
	if !reflect.DeepEqual(normal(got.Attrs), normal(want.Attrs)) {
		t.Errorf("%s: attributes %v, want %v", what, got.Attrs, want.Attrs)
	}
	if !slices.Equal(got.Names(), want.Names()) {
		t.Errorf("%s: links %q, want %q", what, got.Names(), want.Names())
		return
	}
	for name, o := range maps.All(want.Links) {
		what := what + "/" + name
		switch want := o.(type) {
		case *hdf5.Group:
			got, ok := got.Links[name].(*hdf5.Group)
			if !ok {
				t.Errorf("%s: a dataset, want a group", what)
				continue
			}
			equal(t, what, got, want)
		case *hdf5.Dataset:
			got, ok := got.Links[name].(*hdf5.Dataset)
			if !ok {
				t.Errorf("%s: a group, want a dataset", what)
				continue
			}
			if !reflect.DeepEqual(normal(got.Attrs), normal(want.Attrs)) {
				t.Errorf("%s: attributes %v, want %v", what, got.Attrs, want.Attrs)
			}
			if got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) || got.Null != want.Null || !slices.Equal(got.Strings, want.Strings) {
				t.Errorf("%s: %v %v %v, want %v %v %v", what, got.Type, got.Shape, got.Strings, want.Type, want.Shape, want.Strings)
			}
			if !bytes.Equal(elements(t, what, got), elements(t, what, want)) {
				t.Errorf("%s: other elements", what)
			}
		}
	}
}

// normal makes no difference between no elements and none at all.
func normal(list hdf5.Attributes) hdf5.Attributes {
	list = slices.Clone(list)
	for k := range list {
		v := &list[k].Value
		v.Shape, v.Raw, v.Strings = append([]int64{}, v.Shape...), append([]byte{}, v.Raw...), append([]string{}, v.Strings...)
	}
	return append(hdf5.Attributes{}, list...)
}

// sample is a tree as Keras writes one, with some more.
func sample() *hdf5.Group {
	root := &hdf5.Group{Attrs: hdf5.Attributes{
		{Name: "model_config", Value: hdf5.Text(`{"class_name": "Sequential"}`)},
		{Name: "keras_version", Value: hdf5.Text("")},
		{Name: "layer_names", Value: hdf5.Texts([]string{"conv2d", "größe", ""})},
		{Name: "weight_names", Value: hdf5.Texts(nil)},
		{Name: "number", Value: hdf5.Value{Type: hdf5.TypeOf(tensor.Int16), Raw: []byte{0xfd, 0xff}}},
		{Name: "none", Value: hdf5.Value{Type: hdf5.TypeOf(tensor.Float32), Null: true}},
	}}
	set := func(path string, o hdf5.Object) {
		if err := root.Set(path, o); err != nil {
			panic(err)
		}
	}
	for k, d := range []tensor.DType{tensor.Float16, tensor.Float32, tensor.Float64, tensor.Int8, tensor.Int64, tensor.Uint8, tensor.Uint64} {
		raw := make(tensor.Buffer, 6*d.Size())
		for i := range raw {
			raw[i] = byte(i * (k + 3))
		}
		set("model_weights/types/"+d.String(), &hdf5.Dataset{Type: hdf5.TypeOf(d), Shape: []int64{2, 3}, Data: raw})
	}
	for k := range 300 { // more than one level of a B-tree has
		set(fmt.Sprintf("many/%d", k), &hdf5.Group{})
	}
	set("scalar", &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Data: tensor.Buffer{0, 0, 0x80, 0x3f}})
	set("empty", &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Shape: []int64{0, 4}})
	set("null", &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Null: true})
	set("texts", &hdf5.Dataset{Type: hdf5.Text("").Type, Shape: []int64{2}, Strings: []string{"a", "b"}, Attrs: hdf5.Attributes{{Name: "of", Value: hdf5.Text("a dataset")}}})
	set("again/scalar", root.Get("scalar"))
	return root
}
