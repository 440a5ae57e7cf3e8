package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// config holds the fields of a config.json of Hugging Face's transformers that are used here.
type config struct {
	ModelType     string   `json:"model_type"`
	Architectures []string `json:"architectures"`
	Tied          *bool    `json:"tie_word_embeddings"`
	Before        *bool    `json:"do_layer_norm_before"`
	Text          *config  `json:"text_config"`
}

// modelConfig is its name, maxConfig bounds its bytes.
const (
	modelConfig = "config.json"
	maxConfig   = 4 << 20
)

// readConfig reads the config.json at a path; nil where there is none.
func readConfig(path string) (*config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a file: %w", filepath.Base(path), format.ErrCorrupt))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%s: more than %d bytes: %w", filepath.Base(path), maxConfig, format.ErrLimit)
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", filepath.Base(path), err, format.ErrCorrupt)
	}
	return &c, nil
}

// tied says whether the head's weight is the embedding's.
func (c *config) tied(byDefault bool) bool {
	switch {
	case c.Tied != nil:
		return *c.Tied
	case c.Text != nil && c.Text.Tied != nil:
		return *c.Text.Tied
	}
	return byDefault
}

// language makes a chain of every normalisation of a language model, if the config.json says that it is one.
func (b *builder) language(path string, o format.State) error {
	at, untie := o.Config, o.Untie
	if at == "" {
		at = filepath.Join(filepath.Dir(path), modelConfig)
	}
	b.used = append(b.used, at)
	b.complete = true // transformers' code does not load biases that it does not declare
	b.m.ScaleAlone = true
	c, err := readConfig(at)
	if err != nil {
		return err
	}
	dict := ""
	if len(b.dicts) > 0 {
		dict = b.dicts[0]
	}
	w := within{b, dict}
	if c != nil {
		if a, ok := architectures[c.ModelType]; !ok {
			b.warnings = append(b.warnings, fmt.Sprintf("%s says model_type %q, of which is not known what reads its normalisations", filepath.Base(at), c.ModelType))
		} else if len(b.dicts) > 1 {
			b.warnings = append(b.warnings, "the checkpoint holds several state dicts: a language model's is one")
		} else {
			w.untie = untie
			w.transformer(&a, c)
		}
	}
	for _, n := range w.norms() {
		w.lone(n)
	}
	b.settle()
	return nil
}

// architecture says which normalisations a transformer has, and what reads them.
type architecture struct {
	layers []layer
	final  reading // the normalisation behind the layers
	more   string  // further normalisations outside layers, which are outputs of the model
	rms    bool    // x·γ/√(mean(x²) + ε); else layer normalisations, with β
	offset float64 // γ minus the stored tensor
	conv1d bool    // the first axis of weights is the input's
	tied   bool    // the head's weight is the embedding's, unless the config says otherwise
	embeds string  // the embedding, if a tied head can be untied
}

// layer is one kind of layer.
type layer struct {
	prefix string    // a regular expression of what the names of a layer's tensors begin with; its first group is the root
	norms  []reading // with names relative to the prefix
	others string    // further modules of a layer
}

// reading says which modules read a normalisation, or why more than linear layers read it. Modules are separated by spaces;
// * stands for a number, and a module with ? behind it may be missing.
type reading struct {
	norm    string
	readers string
	stays   string
	others  string // of a final one: modules outside layers that do not read it
	head    *untied
}

// untied is a head that shares its weight with the embedding, and gets its own weight when that changes.
type untied struct {
	*linear
	stored *Tensor // its weight; nil if only the embedding's is stored
}

// instance is one layer, or all modules outside layers.
type instance struct {
	prefix, root string
	layer        *layer
	modules      []string // the modules of its tensors, in order
	seen         map[string]bool
}

// plain are the names of a linear layer's tensors, and of what mixtures of experts add to the router's output.
var plain = []string{"weight", "bias", "e_score_correction_bias"}

// transformer makes the chains of all normalisations.
func (w within) transformer(a *architecture, c *config) {
	if c.Before != nil && !*c.Before {
		w.warnings = append(w.warnings, "its normalisations come behind the sums (do_layer_norm_before: false), and the next sums read them")
		return
	}
	odd := map[string]string{} // modules that have more than a weight and a bias
	for _, t := range w.tensors {
		if last := t.Name[strings.LastIndexByte(t.Name, '.')+1:]; t.Dict == w.dict && !slices.Contains(plain, last) {
			odd[moduleOf(t.Name)] = last
		}
	}
	w.odd = odd
	patterns := make([]*regexp.Regexp, len(a.layers))
	for k, l := range a.layers {
		patterns[k] = regexp.MustCompile("^" + l.prefix)
	}
	outer := &instance{seen: map[string]bool{}}
	byPrefix, order := map[string]*instance{}, []*instance(nil)
	for _, t := range w.tensors {
		if t.Dict != w.dict {
			continue
		}
		i := outer
		for k, re := range patterns {
			if at := re.FindStringSubmatch(t.Name); at != nil {
				if i = byPrefix[at[0]]; i == nil {
					i = &instance{prefix: at[0], root: at[1], layer: &a.layers[k], seen: map[string]bool{}}
					byPrefix[at[0]], order = i, append(order, i)
				}
				break
			}
		}
		if m := moduleOf(strings.TrimPrefix(t.Name, i.prefix)); !i.seen[m] {
			i.seen[m], i.modules = true, append(i.modules, m)
		}
	}
	for _, i := range order {
		known := i.layer.others
		for _, r := range i.layer.norms {
			known += " " + r.norm + " " + r.readers
		}
		unknown := i.unknown(known)
		for _, r := range i.layer.norms {
			w.reading(a, i.prefix, r, i.readers(r.readers), unknown)
		}
	}
	if len(order) == 0 {
		return
	}
	if a.final.norm != "" {
		w.head(a, c, order[0].root, outer)
	}
	for _, name := range strings.Fields(a.more) {
		w.reading(a, order[0].root, reading{norm: name, stays: "what is behind the layers"}, nil, "")
	}
}

// head makes the chain of the normalisation behind the layers.
func (w within) head(a *architecture, c *config, root string, outer *instance) {
	r := a.final
	r.norm = root + r.norm
	above := root[:strings.LastIndexByte(strings.TrimSuffix(root, "."), '.')+1]
	var readers []string
	for _, name := range strings.Fields(r.readers) {
		readers = append(readers, above+name)
	}
	known := strings.Join(readers, " ") + " " + r.norm
	for _, name := range strings.Fields(r.others) {
		known += " " + root + name + " " + above + name
	}
	if r.stays == "" && c.tied(a.tied) {
		r.stays = "the head, whose weight is the embedding's"
		if w.untie && a.embeds != "" && root != "" {
			r.head, r.stays = w.untied(a, r.norm, root+a.embeds, readers[0])
		}
	}
	if r.stays == "" && r.head == nil && !slices.ContainsFunc(readers, func(name string) bool { return outer.seen[name] }) {
		r.stays = "whoever runs the model: no head is stored"
	}
	w.reading(a, "", r, readers, outer.unknown(known))
}

// untied is the head of a model whose config ties it to the embedding; stays is the reason why it stays tied.
func (w within) untied(a *architecture, norm, embedding, name string) (u *untied, stays string) {
	e, gamma := w.linear(embedding, false), w.get(norm+".weight")
	if e == nil || gamma == nil {
		return nil, "the head, whose embedding is not stored as a matrix of floats"
	}
	w.warnings = append(w.warnings, fmt.Sprintf("untie: %s.weight is a tensor of its own: whoever loads the output has to say tie_word_embeddings: false in its config.json", name))
	u = &untied{linear: &linear{name: name, weight: e.weight}}
	if u.stored = w.get(name + ".weight"); u.stored == nil {
		return u, ""
	}
	if l := w.linear(name, false); l != nil {
		u.linear = l
	}
	if scale := w.scale(gamma); slices.ContainsFunc(scale, func(x float64) bool { return x+a.offset != 1 }) && !same(u.stored, e.weight) {
		return nil, "the head, whose stored weight is not the embedding's, although the config ties them,"
	}
	return u, ""
}

// scale are a tensor's elements; nil where they cannot be read.
func (w within) scale(t *Tensor) []float64 {
	c := &model.Constant{DType: t.DType, Shape: t.Shape, Data: t.Data}
	values, _ := c.Float64s(maxGamma) // errors are reported where the tensor is used
	return values
}

// same says whether two tensors have the same elements.
func same(a, b *Tensor) bool {
	if a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) {
		return false
	}
	n, _ := tensor.Elements(a.Shape)
	size := n * int64(a.DType.Size())
	var x, y [1 << 16]byte
	for at := int64(0); at < size; at += int64(len(x)) {
		part := min(size-at, int64(len(x)))
		if _, err := io.ReadFull(io.NewSectionReader(a.Data, at, part), x[:part]); err != nil {
			return false
		}
		if _, err := io.ReadFull(io.NewSectionReader(b.Data, at, part), y[:part]); err != nil || !bytes.Equal(x[:part], y[:part]) {
			return false
		}
	}
	return true
}

// moduleOf is the module of a tensor: its name without the last part.
func moduleOf(name string) string { return name[:max(strings.LastIndexByte(name, '.'), 0)] }

// matches says whether a module's name matches a word, in which * is a number.
func matches(word, module string) bool {
	parts, names := strings.Split(strings.TrimSuffix(word, "?"), "."), strings.Split(module, ".")
	return slices.EqualFunc(parts, names, func(p, n string) bool {
		return p == n || p == "*" && n != "" && strings.Trim(n, "0123456789") == ""
	})
}

// unknown is the first module that is not in the list of known ones; "" if there is none.
func (i *instance) unknown(known string) string {
	words := strings.Fields(known)
	for _, m := range i.modules {
		if !slices.ContainsFunc(words, func(w string) bool { return matches(w, m) }) {
			if m == "" {
				m = "a tensor of the layer's own"
			}
			return m
		}
	}
	return ""
}

// readers are the modules of the layer that a list names; missing are those that it lacks and must have.
func (i *instance) readers(list string) (names []string) {
	for _, word := range strings.Fields(list) {
		found := false
		for _, m := range i.modules {
			if matches(word, m) {
				names, found = append(names, m), true
			}
		}
		if !found && !strings.HasSuffix(word, "?") {
			names = append(names, word)
		}
	}
	return names
}

// reading builds the chain of a normalisation and its readers.
func (w within) reading(a *architecture, prefix string, r reading, readers []string, unknown string) {
	name := prefix + r.norm
	gamma, beta := w.get(name+".weight"), w.get(name+".bias")
	if gamma == nil || len(gamma.Shape) != 1 || gamma.Shape[0] == 0 || !gamma.DType.Float() {
		return
	}
	if beta != nil && (a.rms || !slices.Equal(beta.Shape, gamma.Shape) || beta.DType != gamma.DType) {
		return
	}
	channels := gamma.Shape[0]
	x := w.input(name+".input", gamma.DType, 1, channels)
	typ := "LayerNormalization"
	if a.rms {
		typ = "RMSNormalization"
	}
	n := w.node(typ, name, name+".output", x.Shape, []*model.Value{x}, "axis", -1, "epsilon", 1e-5)
	if a.offset != 0 {
		w.shifted(n, gamma, a.offset)
	} else {
		w.read(n, 1, gamma, whole(gamma))
	}
	if beta != nil {
		w.read(n, 2, beta, whole(beta))
	}
	y := n.Outputs[0]
	opaque := func(typ, name string) {
		o := w.node(typ, name, name+".output", nil, []*model.Value{y})
		o.Domain = domain
		w.output(o.Outputs[0])
	}
	switch {
	case r.stays != "":
		opaque("Reader", r.stays)
		return
	case unknown != "":
		opaque("Reader", prefix+unknown+", of which is not known what it reads,")
		return
	}
	for _, reader := range readers {
		l := w.linear(prefix+reader, a.conv1d && prefix != "")
		if r.head != nil {
			l = r.head.linear
		}
		switch {
		case w.odd[prefix+reader] != "": // such as scales of a quantised input
			opaque("Reader", fmt.Sprintf("%s, which has a tensor %q besides its weight,", prefix+reader, w.odd[prefix+reader]))
		case l == nil || len(l.weight.Shape) != 2 || l.weight.DType != gamma.DType && l.weight.DType != tensor.Float32:
			opaque("Reader", prefix+reader+", whose weight is no matrix of floats,")
		case l.inputs() != channels || l.bias != nil && (l.bias.Shape[0] != l.outputs(0) || l.bias.DType != l.weight.DType):
			opaque("Reader", prefix+reader+", whose weight does not fit,")
		default:
			from := len(w.places)
			for _, y := range w.fully(l, y, l.blocks(), prefix+reader+".output") {
				w.output(y)
			}
			if r.head != nil {
				w.apart(r.head, from)
			}
		}
	}
}

// apart marks a head's places, from index from on: its weight changes without the embedding's, and it gains no bias.
func (w within) apart(u *untied, from int) {
	w.places = slices.DeleteFunc(w.places, func(p *place) bool { return p.beside == u.weight })
	for _, p := range w.places[from:] {
		if p.input != 1 {
			continue
		}
		p.apart = true
		if u.stored == nil {
			p.tensor, p.name, p.beside = nil, u.name+".weight", u.weight
		}
	}
}

// inputs is how many inputs a fully connected layer has.
func (l *linear) inputs() int64 {
	if l.transposed {
		return l.weight.Shape[0]
	}
	return l.weight.Shape[1]
}

// maxGamma bounds the elements of a γ that is computed from the stored tensor.
const maxGamma = 1 << 20

// shifted makes a tensor plus offset the scale of a node.
func (w within) shifted(n *model.Node, t *Tensor, offset float64) {
	c := &model.Constant{DType: t.DType, Shape: t.Shape, Data: t.Data}
	values, err := c.Float64s(maxGamma)
	if err != nil { // it stays then
		w.read(n, 1, t, whole(t))
		return
	}
	c = &model.Constant{DType: tensor.Float64, Shape: t.Shape, Values: slices.Clone(values)}
	for k := range c.Values {
		c.Values[k] += offset
	}
	n.Set(1, w.m.Graph.NewConst(w.full(t.Name)+" + 1", c))
	n.Edited = false
	w.places = append(w.places, &place{node: n, input: 1, tensor: t, rows: whole(t), was: c, offset: offset})
}
