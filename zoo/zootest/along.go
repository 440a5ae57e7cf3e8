package zootest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// AlongProgram writes a program, as Torch does, and a .safetensors file with other elements for its parameters and buffers,
// whose graph it is. Equal seeds make equal files.
func AlongProgram(seed uint64, folder string) (path string, o format.Options, err error) {
	s, o, err := alongProgram(seed, folder)
	if err != nil {
		return "", o, err
	}
	path = filepath.Join(folder, fmt.Sprintf("model%d.safetensors", seed))
	return path, o, writeSafetensors(path, s.tensors, false)
}

// trained writes a program of 17 batch normalisations, network.pt2, and a checkpoint whose graph it is, trained.pth.
func trained(folder string) (path string, o format.Options, err error) {
	s, o, err := alongProgram(140, folder)
	if err != nil {
		return "", o, err
	}
	program := filepath.Join(folder, "network.pt2")
	if err := os.Rename(o.State.Graph, program); err != nil {
		return "", o, err
	}
	o.State.Graph = program
	c := &checkpoint{state: s}
	path = filepath.Join(folder, "trained.pth")
	return path, o, c.zip(path, c.object(false))
}

// alongProgram writes a program, and makes other elements for its parameters and buffers.
func alongProgram(seed uint64, folder string) (s *state, o format.Options, err error) {
	p := &torchProgram{rng: rand.New(rand.NewPCG(seed, 47)), metas: map[string]string{}, counts: map[string]int{}, free: seed%5 == 4}
	p.network()
	o.State.Graph = filepath.Join(folder, fmt.Sprintf("program%d.pt2", seed))
	f, err := os.Create(o.State.Graph)
	if err != nil {
		return nil, o, err
	}
	if err := errors.Join(p.write(f, "program"), f.Close()); err != nil {
		return nil, o, err
	}
	s = newState(seed)
	s.dtype = tensor.Float32
	for _, t := range p.stored {
		switch {
		case t.kind == "tensor_constant":
		case t.integer:
			s.tensors = append(s.tensors, stateTensor{"", t.name, tensor.Int64, t.shape, binary.LittleEndian.AppendUint64(nil, 9)})
		default:
			s.add(t.name, 1, 0.4, t.shape...)
		}
	}
	return s, o, nil
}

// AlongONNX writes an ONNX model and a checkpoint with other elements for its initializers, whose graph it is.
func AlongONNX(seed uint64, folder string) (path string, o format.Options, err error) {
	s, o, err := alongONNX(seed, folder)
	if err != nil {
		return "", o, err
	}
	c := &checkpoint{state: s}
	path = filepath.Join(folder, fmt.Sprintf("checkpoint%d.pth", seed))
	return path, o, c.zip(path, c.object(false))
}

// alongONNX writes an ONNX model, and makes other elements for its initializers.
func alongONNX(seed uint64, folder string) (s *state, o format.Options, err error) {
	m := Kinds[seed%uint64(len(Kinds))].Build(modeltest.New(seed), 4, 2)
	s = newState(seed)
	s.dtype = tensor.Float32
	for _, v := range m.Graph.Consts {
		n, _ := v.Const.Elements()
		if n <= 1 || !v.DType.Float() {
			continue
		}
		v.Name = fmt.Sprintf("layer%d.weight", len(s.tensors))
		s.add(v.Name, 1, 0.4, v.Const.Shape...)
	}
	o.State.Graph = filepath.Join(folder, fmt.Sprintf("graph%d.onnx", seed))
	var out onnx.Memory
	if err := onnx.Export(context.Background(), m, &out, "", tensor.Reference{}); err != nil {
		return nil, o, err
	}
	return s, o, os.WriteFile(o.State.Graph, out.Bytes(), 0o666)
}

// AlongBoth writes a checkpoint that holds a model's state and its moving average, and a program or an ONNX model that is
// the graph of both.
func AlongBoth(seed uint64, folder string) (path string, o format.Options, err error) {
	along := alongProgram
	if seed%3 == 2 {
		along = alongONNX
	}
	s, o, err := along(seed, folder)
	if err != nil {
		return "", o, err
	}
	first := s.tensors
	s.tensors = nil
	for _, dict := range []string{"model", "ema"} {
		for _, t := range first {
			if t.dict = dict; t.dtype.Float() && dict == "ema" {
				s.dict, s.dtype = dict, t.dtype
				s.add(t.name, 1, 0.4, t.shape...)
				continue
			}
			s.tensors = append(s.tensors, t)
		}
	}
	c := &checkpoint{state: s}
	path = filepath.Join(folder, fmt.Sprintf("both%d.ckpt", seed))
	return path, o, c.zip(path, c.object(true))
}
