package state

// The architectures are those of Hugging Face's transformers 5.24, src/transformers/models/NAME/modeling_NAME.py: which
// modules read the output of each normalisation. The test in language_test.go runs each before and after.

const (
	numbered = `layers\.\d+\.`
	decoder  = `(|model\.|language_model\.model\.|model\.language_model\.)` + numbered
)

// residual is the reason for normalisations whose output goes into a residual sum.
const residual = "the sum behind the next block"

// sandwich is the reason for normalisations behind a block.
const sandwich = "the sum behind the block"

// rotary is the reason for normalisations of queries and keys.
const rotary = "the rotation of queries and keys"

// gated is the architecture of Llama and its like: RMS normalisations before attention and before a gated MLP.
func gated(attention, mlp, others string, more ...reading) architecture {
	return architecture{
		rms: true, embeds: "embed_tokens",
		layers: []layer{{
			prefix: decoder,
			norms: append([]reading{
				{norm: "input_layernorm", readers: attention},
				{norm: "post_attention_layernorm", readers: mlp},
			}, more...),
			others: others,
		}},
		final: reading{norm: "norm", readers: "lm_head", others: "embed_tokens rotary_emb"},
	}
}

const (
	qkv    = "self_attn.q_proj self_attn.k_proj self_attn.v_proj"
	mlpIn  = "mlp.gate_proj mlp.up_proj"
	outs   = "self_attn.o_proj mlp.down_proj self_attn.rotary_emb"
	qNorm  = "self_attn.q_norm"
	kNorm  = "self_attn.k_norm"
	qProjB = "self_attn.q_b_proj"
)

// gemma is an architecture that stores γ − 1.
func gemma(a architecture) architecture {
	a.offset, a.tied = 1, true
	return a
}

// sandwiched has normalisations before and behind attention and MLP.
func sandwiched(more ...reading) architecture {
	a := gated(qkv, "", outs, more...)
	a.layers[0].norms[1] = reading{norm: "post_attention_layernorm", stays: sandwich}
	a.layers[0].norms = append(a.layers[0].norms,
		reading{norm: "pre_feedforward_layernorm", readers: mlpIn},
		reading{norm: "post_feedforward_layernorm", stays: sandwich})
	return gemma(a)
}

var deepseek = gated(
	"self_attn.q_proj? self_attn.q_a_proj? self_attn.kv_a_proj_with_mqa",
	"mlp.gate_proj? mlp.up_proj? mlp.gate? mlp.experts.*.gate_proj? mlp.experts.*.up_proj? mlp.shared_experts.gate_proj? mlp.shared_experts.up_proj?",
	outs+" mlp.experts.*.down_proj mlp.shared_experts.down_proj",
	reading{norm: "self_attn.q_a_layernorm", readers: qProjB},
	reading{norm: "self_attn.kv_a_layernorm", readers: "self_attn.kv_b_proj"},
)

// t5 are the layers of an encoder or a decoder: without the mean, and without β.
var t5 = architecture{
	rms: true,
	layers: []layer{{
		prefix: `()encoder\.block\.\d+\.`,
		norms: []reading{
			{norm: "layer.0.layer_norm", readers: "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v"},
			{norm: "layer.1.layer_norm", readers: "layer.1.DenseReluDense.wi? layer.1.DenseReluDense.wi_0? layer.1.DenseReluDense.wi_1?"},
		},
		others: "layer.0.SelfAttention.o layer.0.SelfAttention.relative_attention_bias layer.1.DenseReluDense.wo",
	}, {
		prefix: `()decoder\.block\.\d+\.`,
		norms: []reading{
			{norm: "layer.0.layer_norm", readers: "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v"},
			{norm: "layer.1.layer_norm", readers: "layer.1.EncDecAttention.q"},
			{norm: "layer.2.layer_norm", readers: "layer.2.DenseReluDense.wi? layer.2.DenseReluDense.wi_0? layer.2.DenseReluDense.wi_1?"},
		},
		others: "layer.0.SelfAttention.o layer.0.SelfAttention.relative_attention_bias layer.1.EncDecAttention.k layer.1.EncDecAttention.v layer.1.EncDecAttention.o layer.1.EncDecAttention.relative_attention_bias layer.2.DenseReluDense.wo",
	}},
	final: reading{norm: "decoder.final_layer_norm", stays: "the head, which transformers ties to the embedding"},
	more:  "encoder.final_layer_norm",
}

// pre is the architecture of encoders with layer normalisations before attention and MLP.
func pre(prefix, first, second, mlp, others string) layer {
	return layer{
		prefix: prefix,
		norms: []reading{
			{norm: first, readers: qkv},
			{norm: second, readers: mlp},
		},
		others: others,
	}
}

var clip = architecture{layers: []layer{
	pre(`(|clip\.|model\.)(?:text_model\.|vision_model\.)?encoder\.`+numbered, "layer_norm1", "layer_norm2", "mlp.fc1", "self_attn.out_proj mlp.fc2"),
}, more: "text_model.final_layer_norm vision_model.pre_layrnorm vision_model.post_layernorm final_layer_norm pre_layrnorm post_layernorm"}

// architectures are those that are known, by the model_type of their config.json.
var architectures = map[string]architecture{
	"llama":   gated(qkv, mlpIn, outs),
	"mistral": gated(qkv, mlpIn, outs),
	"qwen2":   gated(qkv, mlpIn, outs),
	"qwen3":   gated(qkv, mlpIn, outs, reading{norm: qNorm, stays: rotary}, reading{norm: kNorm, stays: rotary}),
	"phi3":    gated("self_attn.qkv_proj", "mlp.gate_up_proj", outs),
	"mixtral": gated(qkv, "block_sparse_moe.gate block_sparse_moe.experts.*.w1 block_sparse_moe.experts.*.w3", outs+" block_sparse_moe.experts.*.w2"),

	"gemma":       gemma(gated(qkv, mlpIn, outs)),
	"gemma2":      sandwiched(),
	"gemma3_text": sandwiched(reading{norm: qNorm, stays: rotary}, reading{norm: kNorm, stays: rotary}),
	"gemma3":      sandwiched(reading{norm: qNorm, stays: rotary}, reading{norm: kNorm, stays: rotary}),

	"deepseek_v2": deepseek,
	"deepseek_v3": deepseek,

	"gpt2": {
		conv1d: true, tied: true, embeds: "wte",
		layers: []layer{{
			prefix: `(|transformer\.)h\.\d+\.`,
			norms: []reading{
				{norm: "ln_1", readers: "attn.c_attn"},
				{norm: "ln_2", readers: "mlp.c_fc"},
				{norm: "ln_cross_attn", readers: "crossattention.q_attn?"},
			},
			others: "attn attn.c_proj mlp.c_proj crossattention crossattention.c_attn crossattention.c_proj",
		}},
		final: reading{norm: "ln_f", readers: "lm_head", others: "wte wpe"},
	},
	"gpt_neox": {
		embeds: "embed_in",
		layers: []layer{{
			prefix: `(|gpt_neox\.)` + numbered,
			norms: []reading{
				{norm: "input_layernorm", readers: "attention.query_key_value"},
				{norm: "post_attention_layernorm", readers: "mlp.dense_h_to_4h"},
			},
			others: "attention attention.dense attention.rotary_emb mlp.dense_4h_to_h",
		}},
		final: reading{norm: "final_layer_norm", readers: "embed_out", others: "embed_in rotary_emb"},
	},
	"opt": {
		tied:   true,
		layers: []layer{pre(`(|model\.|model\.decoder\.|decoder\.)`+numbered, "self_attn_layer_norm", "final_layer_norm", "fc1", "self_attn.out_proj fc2")},
		final:  reading{norm: "final_layer_norm", readers: "lm_head", others: "embed_tokens embed_positions"},
	},
	"bert": {
		tied: true,
		layers: []layer{{
			prefix: `(|bert\.)encoder\.layer\.\d+\.`,
			norms: []reading{
				{norm: "attention.output.LayerNorm", stays: residual},
				{norm: "output.LayerNorm", stays: residual},
			},
		}},
		final: reading{norm: "embeddings.LayerNorm", stays: residual},
	},
	"t5":  t5,
	"mt5": t5,
	"vit": {
		layers: []layer{{
			prefix: `(|vit\.)encoder\.layer\.\d+\.`,
			norms: []reading{
				{norm: "layernorm_before", readers: "attention.attention.query attention.attention.key attention.attention.value"},
				{norm: "layernorm_after", readers: "intermediate.dense"},
			},
			others: "attention.output.dense output.dense",
		}},
		final: reading{norm: "layernorm", readers: "classifier", others: "embeddings embeddings.patch_embeddings.projection"},
	},
	"clip":              clip,
	"clip_text_model":   clip,
	"clip_vision_model": clip,
	"whisper": {more: "encoder.layer_norm decoder.layer_norm", layers: []layer{
		pre(`(|model\.)encoder\.`+numbered, "self_attn_layer_norm", "final_layer_norm", "fc1", "self_attn.out_proj fc2"),
		{
			prefix: `(|model\.)decoder\.` + numbered,
			norms: []reading{
				{norm: "self_attn_layer_norm", readers: qkv},
				{norm: "encoder_attn_layer_norm", readers: "encoder_attn.q_proj"},
				{norm: "final_layer_norm", readers: "fc1"},
			},
			others: "self_attn.out_proj fc2 encoder_attn.k_proj encoder_attn.v_proj encoder_attn.out_proj",
		},
	}},
}
