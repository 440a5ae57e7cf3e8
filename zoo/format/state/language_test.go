package state_test

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
)

// write writes a safetensors file of tensors of one shape each, by their names, all of float32 but those that a type is
// given for, and a config.json beside it.
func write(t *testing.T, config string, shapes map[string][]int64, types map[string]string) string {
	t.Helper()
	header, body := map[string]any{}, []byte{}
	for name, shape := range shapes {
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		from, size := len(body), int64(4)
		dtype := "F32"
		if types[name] != "" {
			dtype, size = types[name], 1
		}
		for k := range n * size / 4 {
			body = binary.LittleEndian.AppendUint32(body, 0x3f000000+uint32(k%7)<<16)
		}
		header[name] = map[string]any{"dtype": dtype, "shape": shape, "data_offsets": []int{from, len(body)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "model.safetensors")
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	for name, data := range map[string][]byte{path: append(out, body...), filepath.Join(folder, "config.json"): []byte(config)} {
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// llama is one layer.
func llama() map[string][]int64 {
	shapes := map[string][]int64{"model.norm.weight": {4}, "model.embed_tokens.weight": {8, 4}}
	for _, name := range []string{"input_layernorm", "post_attention_layernorm"} {
		shapes["model.layers.0."+name+".weight"] = []int64{4}
	}
	for _, name := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		shapes["model.layers.0."+name+".weight"] = []int64{4, 4}
	}
	return shapes
}

// A normalisation stays where it is not sure what reads it.
func TestNormalisations_WithUnknownReadersStay(t *testing.T) {
	const attention, mlp = "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"
	for name, test := range map[string]struct {
		config string
		change func(shapes map[string][]int64, types map[string]string)
		went   string
	}{
		"all as it is":         {`{"model_type": "llama"}`, nil, attention + " " + mlp},
		"another architecture": {`{"model_type": "mamba"}`, nil, ""},
		"no architecture":      {`{}`, nil, ""},
		"an untied head": {`{"model_type": "llama"}`, func(s map[string][]int64, _ map[string]string) {
			s["lm_head.weight"] = []int64{8, 4}
		}, attention + " " + mlp + " model.norm"},
		"a tied head that is stored": {`{"model_type": "llama", "tie_word_embeddings": true}`, func(s map[string][]int64, _ map[string]string) {
			s["lm_head.weight"] = []int64{8, 4}
		}, attention + " " + mlp},
		"a second head": {`{"model_type": "llama"}`, func(s map[string][]int64, _ map[string]string) {
			s["lm_head.weight"], s["score.weight"] = []int64{8, 4}, []int64{2, 4}
		}, attention + " " + mlp},
		"an adapter": {`{"model_type": "llama"}`, func(s map[string][]int64, _ map[string]string) {
			s["model.layers.0.self_attn.q_proj.lora_A.weight"] = []int64{1, 4}
		}, ""},
		"a reader is missing": {`{"model_type": "llama"}`, func(s map[string][]int64, _ map[string]string) {
			delete(s, "model.layers.0.self_attn.k_proj.weight")
		}, mlp},
		"a quantised reader": {`{"model_type": "llama"}`, func(_ map[string][]int64, types map[string]string) {
			types["model.layers.0.mlp.up_proj.weight"] = "F8_E4M3"
		}, attention},
		"a quantised input": {`{"model_type": "llama"}`, func(s map[string][]int64, _ map[string]string) {
			s["model.layers.0.mlp.up_proj.input_scale"] = []int64{1}
		}, attention},
		"another width": {`{"model_type": "llama"}`, func(s map[string][]int64, _ map[string]string) {
			s["model.layers.0.mlp.up_proj.weight"] = []int64{4, 8}
		}, attention},
	} {
		shapes, types := llama(), map[string]string{}
		if test.change != nil {
			test.change(shapes, types)
		}
		for _, neutral := range []bool{false, true} {
			f, err := format.Open(t.Context(), write(t, test.config, shapes, types), format.Options{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			p, err := fold.Fold(t.Context(), f.Model(), fold.Options{Neutralize: neutral})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f.Close()
			went := map[string]bool{}
			for _, e := range p.Nodes {
				if _, name, ok := strings.Cut(e.Node, "RMSNormalization "); ok {
					went[strings.Trim(name, `"`)] = true
				}
			}
			for _, c := range p.Consts {
				if norm, ok := strings.CutSuffix(c.Name, ".weight"); ok && strings.Contains(norm, "norm") {
					went[norm] = true
				}
			}
			want := strings.Fields(test.went)
			for _, w := range want {
				if !went[w] {
					t.Errorf("%s, neutral %v: %s stays", name, neutral, w)
				}
			}
			if len(went) != len(want) {
				t.Errorf("%s, neutral %v: %v went, want %v", name, neutral, went, want)
			}
		}
	}
}

// The numbers of a plan tell what went: a γ that is 1 is no work any more.
func TestCount_OfFoldedGammas(t *testing.T) {
	f, err := format.Open(t.Context(), write(t, `{"model_type": "llama"}`, llama(), nil), format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := fold.Fold(t.Context(), f.Model(), fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if tally := p.Tally(); p.Before != 3 || p.After != 1 || tally.Folded != 2 || tally.Left != 1 {
		t.Errorf("%d -> %d per-channel nodes, %+v", p.Before, p.After, tally)
	}
}

// A head that shares the embedding's weight gets one of its own where that is asked for; the embedding stays.
func TestTiedHeads_AreUntied(t *testing.T) {
	head := func(s map[string][]int64, _ map[string]string) { s["lm_head.weight"] = []int64{8, 4} }
	for name, test := range map[string]struct {
		config string
		change func(map[string][]int64, map[string]string)
		untie  bool
		left   int
		says   string
	}{
		"not asked for":        {`{"model_type": "llama", "tie_word_embeddings": true}`, nil, false, 1, "the head, whose weight is the embedding's"},
		"asked for":            {`{"model_type": "llama", "tie_word_embeddings": true}`, nil, true, 0, ""},
		"the same, stored":     {`{"model_type": "llama", "tie_word_embeddings": true}`, head, true, 0, ""},
		"another one, stored":  {`{"model_type": "llama", "tie_word_embeddings": true}`, func(s map[string][]int64, types map[string]string) { head(s, types); types["lm_head.weight"] = "I8" }, true, 1, "is not the embedding's"},
		"one of another size":  {`{"model_type": "llama", "tie_word_embeddings": true}`, func(s map[string][]int64, _ map[string]string) { s["lm_head.weight"] = []int64{6, 4} }, true, 1, "is not the embedding's"},
		"nothing is tied":      {`{"model_type": "llama", "tie_word_embeddings": false}`, head, true, 0, ""},
		"no embedding":         {`{"model_type": "llama", "tie_word_embeddings": true}`, func(s map[string][]int64, _ map[string]string) { delete(s, "model.embed_tokens.weight") }, true, 1, "the head, whose embedding"},
		"something reads more": {`{"model_type": "llama", "tie_word_embeddings": true}`, func(s map[string][]int64, _ map[string]string) { s["score.weight"] = []int64{2, 4} }, true, 1, "score"},
	} {
		shapes, types := llama(), map[string]string{}
		if test.change != nil {
			test.change(shapes, types)
		}
		for _, neutral := range []bool{false, true} {
			p, written := folded(t, write(t, test.config, shapes, types), format.Options{State: format.State{Untie: test.untie, Config: configOf(t, test.config)}}, neutral)
			tally := p.Tally()
			if tally.Left != test.left || test.left > 0 && !strings.Contains(p.Remaining[0].Reason.Text, test.says) {
				t.Errorf("%s, neutral %v: %d left, %v", name, neutral, tally.Left, p.Remaining)
			}
			header, err := os.ReadFile(written)
			if err != nil {
				t.Fatal(err)
			}
			if has, want := strings.Contains(string(header), `"lm_head.weight"`), test.untie && test.left == 0 || shapes["lm_head.weight"] != nil; has != want {
				t.Errorf("%s, neutral %v: a head is stored: %v, want %v", name, neutral, has, want)
			}
		}
	}
}

// configOf is a config.json that stays where it is.
func configOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}
