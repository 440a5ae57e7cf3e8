package caffe

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// The fields of NetParameter, LayerParameter, V1LayerParameter and BlobProto that are read.
const (
	netLayersV1 = 2
	netLayer    = 100

	blobShapeDim = 1

	blobNum        = 1
	blobChannels   = 2
	blobHeight     = 3
	blobWidth      = 4
	blobData       = 5
	blobDiff       = 6
	blobShape      = 7
	blobDoubleData = 8
	blobDoubleDiff = 9
	blobRawType    = 10
	blobRawData    = 12
)

// layout is where the fields of a layer's message stand that differ between its two versions.
type layout struct {
	name, bottom, top, blobs protowire.Number
	params                   map[string]protowire.Number // parameters that hold bias_term
}

var layouts = map[bool]layout{ // by whether it is a V1LayerParameter
	false: {name: 1, bottom: 3, top: 4, blobs: 7, params: map[string]protowire.Number{"convolution_param": 106, "inner_product_param": 117, "scale_param": 142}},
	true:  {name: 4, bottom: 2, top: 3, blobs: 6, params: map[string]protowire.Number{"convolution_param": 10, "inner_product_param": 17}},
}

// biasTerm is the number of bias_term in those parameters.
var biasTerm = map[string]protowire.Number{"convolution_param": 2, "inner_product_param": 2, "scale_param": 4}

// maxBlobs bounds the layers and weights of a caffemodel.
const maxBlobs = 1 << 18

// weightsFile is an indexed caffemodel.
type weightsFile struct {
	wire.Reader
	path   string
	name   string // of the file, without its folder
	layers map[string]*storedLayer
	order  []*storedLayer
}

// storedLayer is a layer's message in a caffemodel.
type storedLayer struct {
	at      wire.Field
	name    string
	v1      bool
	weights []*weight
}

// weight is a BlobProto: one of a layer's tensors.
type weight struct {
	file     *weightsFile
	at       wire.Field
	label    string           // what messages call it
	constant string           // what the graph calls it
	shape    []int64          // as stored
	old      bool             // the shape is of four extents, as before 2014
	count    int64            // elements that are there
	held     protowire.Number // the field that holds them: data, double_data or raw_data
	first    wire.Field       // of that number
	pieces   int              // fields of that number
	raw      rawType
}

// rawType is the element type of raw_data, in the numbering of NVIDIA's Caffe and OpenCV.
type rawType uint64

const (
	rawDouble rawType = iota
	rawFloat
	rawHalf
)

// readWeights indexes a caffemodel, whose elements stay on disk.
func readWeights(path, name string) (*weightsFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	w := &weightsFile{Reader: wire.Reader{File: f}, path: path, name: name, layers: map[string]*storedLayer{}}
	if err := w.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return w, nil
}

func (w *weightsFile) read() error {
	info, err := w.File.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", format.ErrCorrupt)
	}
	w.Size = info.Size()
	if err := w.Recognise("a caffemodel"); err != nil {
		return err
	}
	blobs := 0
	return w.Each(format.Span{From: 0, To: w.Size}, func(f wire.Field) error {
		if f.Number != netLayer && f.Number != netLayersV1 {
			return nil
		}
		if f.Kind != protowire.BytesType {
			return wire.Corrupt(f.All.From, "a layer is no message")
		}
		if blobs++; blobs > maxBlobs {
			return fmt.Errorf("more than %d layers and blobs: %w", maxBlobs, format.ErrLimit)
		}
		l := &storedLayer{at: f, v1: f.Number == netLayersV1}
		layout := layouts[l.v1]
		var weights []wire.Field
		err := w.Each(f.Body, func(g wire.Field) (err error) {
			switch g.Number {
			case layout.name:
				l.name, err = w.Text(g)
			case layout.blobs:
				weights = append(weights, g)
				if blobs++; blobs > maxBlobs {
					err = fmt.Errorf("more than %d layers and blobs: %w", maxBlobs, format.ErrLimit)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		for k, g := range weights {
			x, err := w.weight(g)
			if err != nil {
				return fmt.Errorf("layer %q: blob %d: %w", l.name, k, err)
			}
			x.label = fmt.Sprintf("blob %d of layer %q", k, l.name)
			l.weights = append(l.weights, x)
		}
		if old := w.layers[l.name]; old == nil || len(old.weights) == 0 {
			w.layers[l.name] = l
		} else if len(l.weights) > 0 {
			return wire.Corrupt(f.All.From, "layer %q is there twice", l.name)
		}
		w.order = append(w.order, l)
		return nil
	})
}

// weight reads a BlobProto: its shape, and where its elements lie.
func (w *weightsFile) weight(f wire.Field) (*weight, error) {
	if f.Kind != protowire.BytesType {
		return nil, wire.Corrupt(f.All.From, "it is no message")
	}
	x := &weight{file: w, at: f, held: blobData}
	old := make([]int64, 4)
	bytes := int64(0)
	err := w.Each(f.Body, func(g wire.Field) (err error) {
		switch g.Number {
		case blobNum, blobChannels, blobHeight, blobWidth:
			old[g.Number-blobNum], x.old = int64(int32(g.Value)), true
		case blobShape:
			x.shape = nil
			err = w.Each(g.Body, func(d wire.Field) (err error) {
				if d.Number == blobShapeDim {
					x.shape, err = w.Numbers(x.shape, d, 32)
				}
				return err
			})
		case blobRawType:
			x.raw = rawType(g.Value)
		case blobData, blobDoubleData, blobRawData:
			single := map[protowire.Number]protowire.Type{blobData: protowire.Fixed32Type, blobDoubleData: protowire.Fixed64Type, blobRawData: protowire.BytesType}[g.Number]
			switch {
			case g.Kind != protowire.BytesType && g.Kind != single:
				return wire.Corrupt(g.All.From, "its elements are no floats")
			case g.Body.Len() == 0:
				return nil
			case bytes > 0 && (x.held != g.Number || x.held == blobRawData):
				return wire.Corrupt(g.All.From, "it has elements of two types, or raw ones twice")
			case g.Number != blobRawData && g.Body.Len()%(4*int64(1+g.Number/blobDoubleData)) != 0:
				return wire.Corrupt(g.All.From, "%d bytes are no whole number of elements", g.Body.Len())
			case bytes == 0:
				x.held, x.first = g.Number, g
			}
			bytes += g.Body.Len()
			x.pieces++
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if x.old {
		x.shape = old
	}
	width := int64(x.width())
	if width == 0 || bytes%width != 0 {
		return nil, wire.Corrupt(f.All.From, "it has %d bytes of elements of type %d", bytes, x.raw)
	}
	x.count = bytes / width
	if want, ok := tensor.Elements(x.shape); !ok || want != x.count {
		return nil, wire.Corrupt(f.All.From, "its shape is %v, but it has %d elements", x.shape, x.count)
	}
	return x, nil
}

// as is the weight as a float32 constant of that shape, which has to have as many elements: Caffe computes with float32,
// whatever type is stored.
func (x *weight) as(shape []int64) *model.Constant {
	c := &model.Constant{DType: tensor.Float32, Shape: shape, Source: x}
	if x.pieces == 1 && x.width() == 4 {
		c.Data = io.NewSectionReader(x.file.File, x.first.Body.From, x.first.Body.Len())
	} else {
		c.Data = tensor.Lazily(x.decode)
	}
	return c
}

// width is the number of bytes of an element as stored; 0 if its type is not known.
func (x *weight) width() int {
	switch x.held {
	case blobData:
		return 4
	case blobDoubleData:
		return 8
	}
	return map[rawType]int{rawDouble: 8, rawFloat: 4, rawHalf: 2}[x.raw]
}

// floats are the elements of a small weight, as float64.
func (x *weight) floats() ([]float64, error) {
	list, err := x.as(x.shape).Float64s(maxSmall)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", x.file.name, x.label, err)
	}
	return list, nil
}

// maxSmall bounds the elements of weights that are read when a model is opened: statistics, scalars.
const maxSmall = 1 << 22

// decode converts the elements of a weight that is not one piece of float32 to float32.
func (x *weight) decode() ([]byte, error) {
	out := make([]byte, 0, 4*x.count)
	width := x.width()
	r := &wire.Reader{File: x.file.File, Size: x.file.Size}
	err := r.Each(x.at.Body, func(g wire.Field) error {
		if g.Number != x.held {
			return nil
		}
		for from := g.Body.From; from < g.Body.To; {
			n := min(g.Body.To-from, 32<<10)
			raw, err := r.At(from, int(n))
			if err != nil {
				return err
			}
			if int64(len(raw)) < n || n%int64(width) != 0 {
				return wire.Corrupt(from, "%s has changed while it was read", x.label)
			}
			out = appendFloats(out, raw[:n], width)
			from += n
		}
		return nil
	})
	if err == nil && int64(len(out)) != 4*x.count {
		err = wire.Corrupt(x.at.All.From, "%s has changed while it was read", x.label)
	}
	return out, err
}

// appendFloats appends elements of that width, little endian, as float32.
func appendFloats(out, raw []byte, width int) []byte {
	le := binary.LittleEndian
	switch width {
	case 4:
		return append(out, raw...)
	case 2:
		for ; len(raw) > 0; raw = raw[2:] {
			out = le.AppendUint32(out, math.Float32bits(float32(tensor.Float16ToFloat64(le.Uint16(raw)))))
		}
	default:
		for ; len(raw) > 0; raw = raw[8:] {
			out = le.AppendUint32(out, math.Float32bits(float32(math.Float64frombits(le.Uint64(raw)))))
		}
	}
	return out
}
