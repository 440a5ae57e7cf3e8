package zootest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// What a layer of a huge language model has: 101 MB of bfloat16.
const (
	hugeHidden = 2048
	hugeInner  = 5632
	hugeVocab  = 32000
)

// WriteHugeCheckpoint writes FOLDER/model.safetensors.index.json with its shards, of six layers each, and config.json: a
// llama of bfloat16, of about that many bytes and one layer at least, in little memory. All weights are parts of one
// random block. It returns the bytes of the shards.
func WriteHugeCheckpoint(folder string, size int64) (int64, error) {
	const layer = 2 * hugeHidden * (4*hugeHidden + 3*hugeInner + 2)
	layers := max(1, int(size/layer))
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, hugeHidden*hugeInner)
	for k := range values {
		values[k] = 0.06*rng.Float64() - 0.03
	}
	block := make([]byte, 2*len(values))
	if err := tensor.Encode(block, values, tensor.BFloat16); err != nil {
		return 0, err
	}
	gamma := make([]byte, 2*hugeHidden)
	for k := range values[:hugeHidden] {
		values[k] = 0.5 + rng.Float64()
	}
	if err := tensor.Encode(gamma, values[:hugeHidden], tensor.BFloat16); err != nil {
		return 0, err
	}
	const perShard = 6
	count := (layers + perShard - 1) / perShard
	places, total := map[string]string{}, int64(0)
	for at := range count {
		s := &hugeShard{}
		if at == 0 {
			s.add("model.embed_tokens.weight", hugeVocab, hugeHidden)
		}
		for k := at * perShard; k < min(layers, (at+1)*perShard); k++ {
			name := fmt.Sprintf("model.layers.%d.", k)
			s.add(name+"input_layernorm.weight", hugeHidden)
			for _, part := range []string{"q_proj", "k_proj", "v_proj", "o_proj"} {
				s.add(name+"self_attn."+part+".weight", hugeHidden, hugeHidden)
			}
			s.add(name+"post_attention_layernorm.weight", hugeHidden)
			s.add(name+"mlp.gate_proj.weight", hugeInner, hugeHidden)
			s.add(name+"mlp.up_proj.weight", hugeInner, hugeHidden)
			s.add(name+"mlp.down_proj.weight", hugeHidden, hugeInner)
		}
		if at == count-1 {
			s.add("model.norm.weight", hugeHidden)
			s.add("lm_head.weight", hugeVocab, hugeHidden)
		}
		file := fmt.Sprintf("model-%05d-of-%05d.safetensors", at+1, count)
		for _, name := range s.names {
			places[name] = file
		}
		if err := s.write(filepath.Join(folder, file), block, gamma); err != nil {
			return 0, err
		}
		total += s.size
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": places})
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "model.safetensors.index.json"), index, 0o666)
	}
	return total, errors.Join(err, os.WriteFile(filepath.Join(folder, "config.json"), []byte(`{"model_type": "llama", "tie_word_embeddings": false}`), 0o666))
}

// hugeShard is a file being made.
type hugeShard struct {
	header []string
	names  []string
	sizes  []int64
	size   int64
}

func (s *hugeShard) add(name string, shape ...int64) {
	n, _ := tensor.Elements(shape)
	extents := strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ","), "[]")
	s.header = append(s.header, fmt.Sprintf(`"%s":{"dtype":"BF16","shape":[%s],"data_offsets":[%d,%d]}`, name, extents, s.size, s.size+2*n))
	s.names, s.sizes = append(s.names, name), append(s.sizes, 2*n)
	s.size += 2 * n
}

// write writes the file: a vector is γ, a matrix as much of the block as it needs, again and again.
func (s *hugeShard) write(path string, block, gamma []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	header := "{" + strings.Join(s.header, ",") + "}"
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	_, err = f.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...))
	for _, size := range s.sizes {
		from := block
		if size == int64(len(gamma)) {
			from = gamma
		}
		for left := size; left > 0 && err == nil; left -= int64(len(from)) {
			_, err = f.Write(from[:min(left, int64(len(from)))])
		}
	}
	return errors.Join(err, f.Close())
}
