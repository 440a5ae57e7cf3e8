package zootest

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
	"github.com/zoofold/zoofold/zoo/format/zipped"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Checkpoint writes one small checkpoint of torch.save into a folder and returns its path: a ZIP file, a file in the older
// form, or an index with its shards. It holds one state dict, or several beside other objects, with parameters, tensors
// that share a storage, and tensors with permuted axes. Equal seeds make equal files, which torch.load(weights_only=True)
// loads.
func Checkpoint(seed uint64, folder string) (path string, o format.Options, err error) {
	s := newState(seed)
	c := &checkpoint{state: s}
	if seed%3 == 0 {
		for _, s.dict = range []string{"model", "ema"} {
			s.network()
		}
	} else {
		s.network()
	}
	if seed%12 == 10 {
		path = filepath.Join(folder, fmt.Sprintf("checkpoint%d.bin.index.json", seed))
		return path, s.o, c.sharded(path, 3)
	}
	value := c.object(seed%3 == 0)
	if o, ok := value.(*pickle.Object); ok && s.rng.IntN(2) == 0 { // two names of one tensor
		o.Dict = append(o.Dict, pickle.Item{Key: "alias", Value: o.Dict[0].Value})
	}
	extension := []string{".pt", ".pth", ".bin", ".ckpt"}[seed%4]
	path = filepath.Join(folder, fmt.Sprintf("checkpoint%d%s", seed, extension))
	if seed%5 == 2 {
		return path, s.o, c.legacy(path, value)
	}
	return path, s.o, c.zip(path, value)
}

// checkpoint is a checkpoint being made.
type checkpoint struct {
	*state
	keys     []string
	storages map[string][]byte
	counts   map[string]int64
}

var storageTypes = map[tensor.DType]string{
	tensor.Float16: "HalfStorage", tensor.BFloat16: "BFloat16Storage", tensor.Float32: "FloatStorage", tensor.Float64: "DoubleStorage", tensor.Int64: "LongStorage",
}

// store adds a storage.
func (c *checkpoint) store(d tensor.DType, data []byte) *pickle.Persistent {
	if c.storages == nil {
		c.storages, c.counts = map[string][]byte{}, map[string]int64{}
	}
	key := fmt.Sprint(len(c.keys))
	count := int64(len(data)) / int64(d.Size())
	c.keys = append(c.keys, key)
	c.storages[key], c.counts[key] = data, count
	return &pickle.Persistent{ID: &pickle.Tuple{Items: []pickle.Value{"storage", pickle.Global{Module: "torch", Name: storageTypes[d]}, key, "cpu", count}}}
}

func ordered(items []pickle.Item) *pickle.Object {
	return &pickle.Object{Func: pickle.Global{Module: "collections", Name: "OrderedDict"}, Args: &pickle.Tuple{}, Dict: items}
}

// tensor is a tensor as torch.save writes it.
func (c *checkpoint) tensor(t stateTensor) pickle.Value {
	shape, strides, data, offset := t.shape, tensor.Strides(t.shape), t.data, int64(0)
	switch c.rng.IntN(5) {
	case 0: // something before it and behind it
		size := t.dtype.Size()
		data = slices.Concat(make([]byte, 3*size), data, make([]byte, 2*size))
		offset = 3
	case 1: // channels last
		if len(shape) == 4 {
			strides = []int64{shape[1] * shape[2] * shape[3], 1, shape[3] * shape[1], shape[1]}
			stored := []int64{shape[0], shape[2], shape[3], shape[1]}
			moved := make([]byte, 0, len(data))
			size := int64(t.dtype.Size())
			in := tensor.Strides(shape)
			for a := range stored[0] {
				for b := range stored[1] {
					for d := range stored[2] {
						for e := range stored[3] {
							at := (a*in[0] + e*in[1] + b*in[2] + d*in[3]) * size
							moved = append(moved, data[at:at+size]...)
						}
					}
				}
			}
			data = moved
		}
	}
	var made pickle.Value = &pickle.Object{
		Func: pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"},
		Args: &pickle.Tuple{Items: []pickle.Value{c.store(t.dtype, data), offset, pickle.IntTuple(shape), pickle.IntTuple(strides), false, ordered(nil)}},
	}
	if t.dtype.Float() && c.rng.IntN(3) == 0 {
		made = &pickle.Object{Func: pickle.Global{Module: "torch._utils", Name: "_rebuild_parameter"}, Args: &pickle.Tuple{Items: []pickle.Value{made, true, ordered(nil)}}}
	}
	return made
}

// object is the whole: a state dict, or a dict of those.
func (c *checkpoint) object(several bool) pickle.Value {
	dicts := map[string]*pickle.Object{}
	var names []string
	for _, t := range c.tensors {
		d := dicts[t.dict]
		if d == nil {
			d = ordered(nil)
			version := &pickle.Dict{Items: []pickle.Item{{Key: "version", Value: int64(1)}}}
			d.State = &pickle.Dict{Items: []pickle.Item{{Key: "_metadata", Value: ordered([]pickle.Item{{Key: "", Value: version}})}}}
			dicts[t.dict] = d
			names = append(names, t.dict)
		}
		d.Dict = append(d.Dict, pickle.Item{Key: t.name, Value: c.tensor(t)})
	}
	if !several {
		return dicts[""]
	}
	all := &pickle.Dict{}
	for _, name := range names {
		all.Items = append(all.Items, pickle.Item{Key: name, Value: dicts[name]})
	}
	state := &pickle.Dict{Items: []pickle.Item{{Key: int64(0), Value: &pickle.Dict{Items: []pickle.Item{{Key: "step", Value: int64(7)}}}}}}
	all.Items = append(all.Items,
		pickle.Item{Key: "optimizer", Value: &pickle.Dict{Items: []pickle.Item{{Key: "state", Value: state}}}},
		pickle.Item{Key: "epoch", Value: int64(1 << 40)}, pickle.Item{Key: "loss", Value: 0.25}, pickle.Item{Key: "done", Value: true},
		pickle.Item{Key: "names", Value: &pickle.List{Items: []pickle.Value{"a", "b", pickle.None{}}}},
		pickle.Item{Key: "big", Value: new(big.Int).Lsh(big.NewInt(-3), 70)})
	return all
}

// sharded writes several files with their index.
func (c *checkpoint) sharded(path string, count int) error {
	all := c.tensors
	defer func() { c.tensors = all }()
	return c.shards(path, ".bin", count, func(at string, list []stateTensor) error {
		one := &checkpoint{state: c.state}
		one.tensors = list
		return one.zip(at, one.object(false))
	})
}

// zip writes a ZIP file.
func (c *checkpoint) zip(path string, value pickle.Value) error {
	text, err := pickle.Encode(value)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := zipped.NewWriter(f)
	put := func(name string, data []byte) {
		if err == nil {
			err = w.Bytes(zip.FileHeader{Name: "archive/" + name}, data)
		}
	}
	put("data.pkl", text)
	put(".format_version", []byte("1"))
	put("byteorder", []byte("little"))
	for _, key := range c.keys {
		put("data/"+key, c.storages[key])
	}
	put("version", []byte("3\n"))
	if err == nil {
		err = w.Close()
	}
	return errors.Join(err, f.Close())
}

// legacy writes a file in the form before ZIP files.
func (c *checkpoint) legacy(path string, value pickle.Value) error {
	magic, _ := new(big.Int).SetString("1950a86a20f9469cfc6c", 16)
	machine := &pickle.Dict{Items: []pickle.Item{{Key: "protocol_version", Value: int64(1001)}, {Key: "little_endian", Value: true}}}
	keys := &pickle.List{}
	for _, key := range c.keys {
		keys.Items = append(keys.Items, key)
	}
	_ = pickle.Walk(value, func(v pickle.Value) error { // whether a storage is a part of another one is said too
		if p, ok := v.(*pickle.Persistent); ok {
			id := p.ID.(*pickle.Tuple)
			id.Items = append(id.Items, pickle.None{})
		}
		return nil
	})
	var out []byte
	for _, v := range []pickle.Value{magic, int64(1001), machine, value, keys} {
		text, err := pickle.Encode(v)
		if err != nil {
			return err
		}
		out = append(out, text...)
	}
	for _, key := range c.keys {
		out = binary.LittleEndian.AppendUint64(out, uint64(c.counts[key]))
		out = append(out, c.storages[key]...)
	}
	return os.WriteFile(path, out, 0o666)
}
