package zootest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Safetensors writes one small checkpoint into a folder, one .safetensors file or an index with its shards, and returns its
// path. It holds the tensors of a convolutional network, with pairs for its normalisations, or of a language model, with
// its config.json. Equal seeds make equal files.
func Safetensors(seed uint64, folder string) (path string, o format.Options, err error) {
	s := newState(seed)
	if seed%4 == 3 {
		err = s.language(folder)
	} else {
		s.network()
	}
	if err != nil {
		return "", s.o, err
	}
	if seed%3 != 2 {
		path = filepath.Join(folder, fmt.Sprintf("model%d.safetensors", seed))
		return path, s.o, writeSafetensors(path, s.tensors, seed%2 == 0)
	}
	path = filepath.Join(folder, fmt.Sprintf("model%d.safetensors.index.json", seed))
	return path, s.o, s.shards(path, ".safetensors", 3, func(at string, list []stateTensor) error {
		return writeSafetensors(at, list, true)
	})
}

// stateTensor is a tensor of a checkpoint.
type stateTensor struct {
	dict, name string
	dtype      tensor.DType
	shape      []int64
	data       []byte
}

// state is a checkpoint being made.
type state struct {
	rng     *rand.Rand
	o       format.Options
	dict    string
	dtype   tensor.DType
	tensors []stateTensor
}

func newState(seed uint64) *state {
	s := &state{rng: rand.New(rand.NewPCG(seed, 0x57a7e)), dtype: tensor.Float32}
	s.dtype = []tensor.DType{tensor.Float32, tensor.Float32, tensor.BFloat16, tensor.Float16, tensor.Float64}[seed%5]
	return s
}

// add adds a tensor with elements around a mean.
func (s *state) add(name string, mean, spread float64, shape ...int64) {
	n, _ := tensor.Elements(shape)
	values := make([]float64, n)
	for k := range values {
		values[k] = mean + spread*(2*s.rng.Float64()-1)
	}
	data := make([]byte, n*int64(s.dtype.Size()))
	if err := tensor.Encode(data, values, s.dtype); err != nil {
		panic(err)
	}
	s.tensors = append(s.tensors, stateTensor{s.dict, name, s.dtype, shape, data})
}

// counter adds a count of batches.
func (s *state) counter(name string) {
	s.tensors = append(s.tensors, stateTensor{s.dict, name, tensor.Int64, []int64{}, binary.LittleEndian.AppendUint64(nil, 7)})
}

// linear adds the tensors of a linear operator.
func (s *state) linear(name string, bias bool, shape ...int64) {
	s.add(name+".weight", 0, 1/math.Sqrt(float64(shape[1])), shape...)
	if bias {
		s.add(name+".bias", 0, 1, shape[0])
	}
}

// norm adds the tensors of a batch normalisation.
func (s *state) norm(name string, channels int64) {
	if s.rng.IntN(5) > 0 {
		s.add(name+".weight", 1, 0.5, channels)
		s.add(name+".bias", 0, 1, channels)
	}
	s.add(name+".running_mean", 0, 1, channels)
	s.add(name+".running_var", 1, 0.9, channels)
	if s.rng.IntN(4) > 0 {
		s.counter(name + ".num_batches_tracked")
	}
}

// network makes a convolutional network's tensors.
func (s *state) network() {
	s.o.State = format.State{Epsilon: []float64{1e-5, 1e-3}[s.rng.IntN(2)], Pairs: []format.Pair{
		{Linear: `(stage\d+)\.conv(\d+)`, Norm: `$1.bn$2`},
		{Linear: `stem\.0`, Norm: "stem.1", Epsilon: 1e-4},
		{Linear: "up", Norm: "up_bn", Transposed: true},
		{Linear: "fc", Norm: "fc_norm", First: true},
		{Linear: "fc", Norm: "fc_out"},
	}}
	s.linear("stem.0", s.rng.IntN(2) == 0, 4, 3, 3, 3)
	s.norm("stem.1", 4)
	channels := int64(4)
	for k := range 1 + s.rng.IntN(4) {
		name := fmt.Sprintf("stage%d", k)
		out := int64(2 + s.rng.IntN(6))
		spatial := [][]int64{{3, 3}, {1, 1}, {5}, {1, 3, 3}}[s.rng.IntN(4)]
		s.linear(name+".conv1", s.rng.IntN(2) == 0, append([]int64{out, channels}, spatial...)...)
		s.norm(name+".bn1", out)
		if s.rng.IntN(2) == 0 {
			s.linear(name+".conv2", false, append([]int64{out, 1}, spatial...)...) // one group a channel
			s.norm(name+".bn2", out)
		}
		if s.rng.IntN(3) == 0 {
			s.norm(name+".norm", out) // of which nobody says what is before it
		}
		channels = out
	}
	if s.rng.IntN(2) == 0 {
		s.add("up.weight", 0, 0.5, channels, 3, 2, 2)
		s.norm("up_bn", 3)
	}
	if s.rng.IntN(2) == 0 {
		s.norm("fc_norm", channels)
	}
	s.linear("fc", s.rng.IntN(2) == 0, 5, channels)
	if s.rng.IntN(2) == 0 {
		s.norm("fc_out", 5)
	}
	s.counter("steps")
}

// language makes a language model's tensors, and its config.json.
func (s *state) language(folder string) error {
	const hidden, inner = 8, 12
	config := map[string]any{"model_type": "llama", "tie_word_embeddings": s.rng.IntN(2) == 0}
	gamma, mean := func(name string, mean float64) { s.add(name+".weight", mean, 0.5, hidden) }, 1.0
	switch s.rng.IntN(3) {
	case 0:
		config["model_type"] = "gemma"
		mean = 0
		fallthrough
	case 1:
		s.add("model.embed_tokens.weight", 0, 1, 20, hidden)
		for k := range 1 + s.rng.IntN(2) {
			layer := fmt.Sprintf("model.layers.%d.", k)
			gamma(layer+"input_layernorm", mean)
			for _, name := range []string{"q_proj", "k_proj", "v_proj"} {
				s.linear(layer+"self_attn."+name, s.rng.IntN(2) == 0, hidden, hidden)
			}
			s.linear(layer+"self_attn.o_proj", false, hidden, hidden)
			gamma(layer+"post_attention_layernorm", mean)
			s.linear(layer+"mlp.gate_proj", false, inner, hidden)
			s.linear(layer+"mlp.up_proj", false, inner, hidden)
			s.linear(layer+"mlp.down_proj", false, hidden, inner)
		}
		gamma("model.norm", mean)
		if config["tie_word_embeddings"] == false {
			s.linear("lm_head", false, 20, hidden)
		}
	default:
		config = map[string]any{"model_type": "gpt2"}
		s.add("transformer.wte.weight", 0, 1, 20, hidden)
		for k := range 1 + s.rng.IntN(2) {
			layer := fmt.Sprintf("transformer.h.%d.", k)
			gamma(layer+"ln_1", 1)
			s.add(layer+"ln_1.bias", 0, 1, hidden)
			s.add(layer+"attn.c_attn.weight", 0, 0.3, hidden, 3*hidden)
			s.add(layer+"attn.c_attn.bias", 0, 1, 3*hidden)
			s.add(layer+"attn.c_proj.weight", 0, 0.3, hidden, hidden)
			s.add(layer+"attn.c_proj.bias", 0, 1, hidden)
			gamma(layer+"ln_2", 1)
			s.add(layer+"ln_2.bias", 0, 1, hidden)
			s.add(layer+"mlp.c_fc.weight", 0, 0.3, hidden, inner)
			s.add(layer+"mlp.c_fc.bias", 0, 1, inner)
			s.add(layer+"mlp.c_proj.weight", 0, 0.3, inner, hidden)
			s.add(layer+"mlp.c_proj.bias", 0, 1, hidden)
		}
		gamma("transformer.ln_f", 1)
		s.add("transformer.ln_f.bias", 0, 1, hidden)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	s.o.State.Config = filepath.Join(folder, "config.json")
	return os.WriteFile(s.o.State.Config, text, 0o666)
}

var safetensorsTypes = map[tensor.DType]string{
	tensor.Float16: "F16", tensor.BFloat16: "BF16", tensor.Float32: "F32", tensor.Float64: "F64", tensor.Int64: "I64",
}

// writeSafetensors writes one file, with metadata or without.
func writeSafetensors(path string, tensors []stateTensor, metadata bool) error {
	var header strings.Builder
	var body []byte
	header.WriteByte('{')
	if metadata {
		header.WriteString(`"__metadata__":{"format":"pt","note":"a \"note\""},`)
	}
	for k, t := range tensors {
		if k > 0 {
			header.WriteByte(',')
		}
		shape, err := json.Marshal(append([]int64{}, t.shape...))
		if err != nil {
			return err
		}
		fmt.Fprintf(&header, `"%s":{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, t.name, safetensorsTypes[t.dtype], shape, len(body), len(body)+len(t.data))
		body = append(body, t.data...)
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))
	return os.WriteFile(path, append(append(out, header.String()...), body...), 0o666)
}

// shards writes several files of that extension, each with some of the tensors, and their index.
func (s *state) shards(path, extension string, count int, write func(path string, list []stateTensor) error) error {
	stem := strings.TrimSuffix(path, extension+".index.json")
	lists := make([][]stateTensor, count)
	weights, total := map[string]string{}, 0
	name := func(at int) string { return fmt.Sprintf("%s-%05d-of-%05d%s", stem, at+1, count, extension) }
	for k, t := range s.tensors {
		at := k * count / len(s.tensors)
		lists[at] = append(lists[at], t)
		weights[t.name] = filepath.Base(name(at))
		total += len(t.data)
	}
	for at, list := range lists {
		if err := write(name(at), list); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weights}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}
