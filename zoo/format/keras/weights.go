package keras

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// variable is one weight of a layer, as stored.
type variable struct {
	role string // "" where the layer's class is not known
	name string // in the file: what weight_names says, or a number
	set  *hdf5.Dataset

	// Set by expect: the type with which it is used, and its elements in that type, in stored order.
	dtype tensor.DType
	data  io.ReaderAt
}

// variable is the layer's weight of a role, or nil.
func (l *layer) variable(role string) *variable {
	for _, v := range l.vars {
		if v.role == role {
			return v
		}
	}
	return nil
}

// roles are those of the layer's weights, and false where its class is not known.
func (l *layer) roles() ([]string, bool) {
	c := classes[l.class]
	switch {
	case l.foreign || c == nil:
		return nil, false
	case c.weights == nil:
		return nil, true
	}
	return c.weights(l), true
}

// give assigns roles to the layer's weights, in the order in which they are stored.
func (l *layer) give(vars []*variable) error {
	roles, known := l.roles()
	if known && len(vars) != len(roles) {
		if l.special() { // it has more weights than its class has by default
			known = false
		} else {
			return wrong(l, "it has %d weights in the file, a %s with its settings has %d", len(vars), l.class, len(roles))
		}
	}
	for k, v := range vars {
		if v.role = ""; known {
			v.role = roles[k]
		}
	}
	l.vars = vars
	return nil
}

// special says whether a layer's settings ask for weights that its class does not have by default.
func (l *layer) special() bool {
	policy := className(l.config.Get("dtype"))
	return l.config.Get("renorm").Yes(false) || !l.config.Get("lora_rank").Null() || !l.config.Get("quantization_config").Null() ||
		strings.Contains(policy, "Quantized") || l.class == "BatchNormalization of Keras 1"
}

// version says which Keras wrote a file.
type version struct {
	major, minor int
	tf           bool   // TensorFlow's own Keras
	backend      string // what it ran on, where that is said
}

func parseVersion(text, backend string) version {
	v := version{major: 1, backend: backend, tf: strings.Contains(text, "tf")}
	parts := strings.SplitN(text, ".", 3)
	if n, err := strconv.Atoi(parts[0]); err == nil && n >= 1 && n < 100 {
		v.major = n
	}
	if len(parts) > 1 {
		v.minor, _ = strconv.Atoi(parts[1])
	}
	return v
}

// before says whether the version is older than another.
func (v version) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}

// Names of an .h5 file.
const (
	layerNames  = "layer_names"
	weightNames = "weight_names"
	weightGroup = "model_weights"
)

// texts are a list of names that is an attribute, or, where it is long, several ones numbered from 0.
func texts(attrs hdf5.Attributes, name string) ([]string, error) {
	if v, ok := attrs.Get(name); ok {
		list, ok := v.Texts()
		if !ok {
			return nil, fmt.Errorf("the attribute %s is no list of names: %w", name, format.ErrCorrupt)
		}
		return list, nil
	}
	var all []string
	for k := 0; ; k++ {
		v, ok := attrs.Get(name + strconv.Itoa(k))
		if !ok {
			break
		}
		list, ok := v.Texts()
		if !ok {
			return nil, fmt.Errorf("the attribute %s%d is no list of names: %w", name, k, format.ErrCorrupt)
		}
		all = append(all, list...)
	}
	return all, nil
}

// legacyWeights gives the layers of an .h5 file their weights: each layer of the whole model has a group, which lists those
// of all layers in it.
func legacyWeights(root *hdf5.Group, n *network) error {
	group, ok := root.Links[weightGroup].(*hdf5.Group)
	if !ok {
		return fmt.Errorf("the file has no group %q: it holds no weights: %w", weightGroup, format.ErrCorrupt)
	}
	listed, err := texts(group.Attrs, layerNames)
	if err != nil {
		return err
	}
	for _, l := range n.listed() {
		vars, err := legacyGroup(group, l.name)
		switch {
		case err != nil:
			return fmt.Errorf("layer %q: %w", l.name, err)
		case len(vars) > 0 && !slices.Contains(listed, l.name):
			return wrong(l, "its weights are in the file, but %s does not list it", layerNames)
		}
		if err := l.legacy(vars); err != nil {
			return err
		}
	}
	return nil
}

// legacyGroup are the weights that a layer's group lists; none where there is no group.
func legacyGroup(group *hdf5.Group, name string) ([]*variable, error) {
	own, ok := group.Get(name).(*hdf5.Group)
	if !ok {
		return nil, nil
	}
	names, err := texts(own.Attrs, weightNames)
	if err != nil {
		return nil, err
	}
	var vars []*variable
	for _, name := range names {
		set, ok := own.Get(name).(*hdf5.Dataset)
		if !ok {
			return nil, fmt.Errorf("its weight %q is not in the file: %w", name, format.ErrCorrupt)
		}
		vars = append(vars, &variable{name: name, set: set})
	}
	return vars, nil
}

// legacy gives a layer the weights that its group lists. A model's are those of its layers: first those that can be
// trained, then the others, each in the order of the layers.
func (l *layer) legacy(vars []*variable) error {
	if l.inner == nil {
		return l.give(vars)
	}
	slots, ok := l.slots(true)
	if !ok {
		l.vars, l.mixed = vars, true
		return nil
	}
	if len(slots) != len(vars) {
		return wrong(l, "it has %d weights in the file, its layers have %d", len(vars), len(slots))
	}
	own := map[*layer][]*variable{}
	for k, s := range legacyOrder(slots) {
		v := vars[k]
		last := strings.TrimSuffix(v.name[strings.LastIndex(v.name, "/")+1:], ":0")
		if last != s.role && knownRoles[last] && !(last == "depthwise_kernel" && s.role == "kernel") {
			l.vars, l.mixed = vars, true // in an unknown order
			return nil
		}
		own[s.layer] = append(own[s.layer], v)
	}
	for _, s := range slots {
		if err := s.layer.give(own[s.layer]); err != nil {
			return err
		}
	}
	return nil
}

var knownRoles = map[string]bool{
	"kernel": true, "bias": true, "gamma": true, "beta": true, "moving_mean": true, "moving_variance": true,
	"depthwise_kernel": true, "pointwise_kernel": true, "embeddings": true, "alpha": true, "mean": true, "variance": true, "count": true,
}

// slot is one weight that a layer should have.
type slot struct {
	layer     *layer
	role      string
	trainable bool
}

// slots are the weights that a model's layers should have, layer by layer; false if they are not known.
func (l *layer) slots(trainable bool) ([]slot, bool) {
	trainable = trainable && l.tree.Get("config", "trainable").Yes(true)
	if l.inner == nil {
		roles, known := l.roles()
		if !known || l.special() {
			return nil, false
		}
		var list []slot
		for _, role := range roles {
			list = append(list, slot{l, role, trainable && !frozen[role]})
		}
		return list, true
	}
	var list []slot
	for _, inner := range l.inner.listed() {
		more, ok := inner.slots(trainable)
		if !ok {
			return nil, false
		}
		list = append(list, more...)
	}
	return list, true
}

// legacyOrder is the order in which slots are stored.
func legacyOrder(slots []slot) []slot {
	var order []slot
	for _, trainable := range []bool{true, false} {
		for _, s := range slots {
			if s.trainable == trainable {
				order = append(order, s)
			}
		}
	}
	return order
}

// The folder of a model's layers in a .keras file, of Keras 3 and of Keras 2.13 to 2.15's functional models.
var layerFolders = []string{"layers", "_layer_checkpoint_dependencies"}

const varsFolder = "vars"

// archiveWeights gives the layers of a .keras file their weights, from the group that is the network's. A layer that is in
// several places is stored in the first one.
func archiveWeights(group *hdf5.Group, n *network, stored map[string]*layer) error {
	folder := layersOf(group)
	var called map[string]*hdf5.Group // by the layers' names in the groups' attributes
	listed, seen := n.listed(), map[string]bool{}
	for k, name := range folders(listed) {
		l := listed[k]
		if name == "" {
			return wrong(l, "its class %q names no folder", className(l.tree))
		}
		if seen[name] {
			return wrong(l, "its class and another one's share the folder %q", name)
		}
		seen[name] = true
		l.group, _ = folder.Links[name].(*hdf5.Group)
		if said := nameOf(l.group); l.group == nil || said != "" && said != l.name {
			if called == nil {
				called = map[string]*hdf5.Group{}
				for _, key := range folder.Names() {
					if g, ok := folder.Links[key].(*hdf5.Group); ok {
						called[nameOf(g)] = g
					}
				}
			}
			l.group = called[l.name]
		}
		id := l.tree.Get("shared_object_id")
		if l.twin && stored[id.String()] != nil {
			l.vars = stored[id.String()].vars
			continue
		}
		if l.twin {
			stored[id.String()] = l
		}
		if l.inner != nil {
			if err := archiveWeights(l.group, l.inner, stored); err != nil {
				return err
			}
			continue
		}
		if _, known := l.roles(); !known {
			continue
		}
		vars, err := archiveVars(l.own(l.group))
		if err != nil {
			return fmt.Errorf("layer %q: %w", l.name, err)
		}
		if err := l.give(vars); err != nil {
			return err
		}
	}
	return nil
}

// own is the group of a layer's own weights in a .keras file: of a TimeDistributed, that of the layer that it applies.
func (l *layer) own(group *hdf5.Group) *hdf5.Group {
	if group == nil || !l.timed {
		return group
	}
	inner, _ := group.Links["layer"].(*hdf5.Group)
	return inner
}

// layersOf is a model's group of layers; an empty one where it has none.
func layersOf(group *hdf5.Group) *hdf5.Group {
	if group == nil {
		return &hdf5.Group{}
	}
	for _, name := range layerFolders {
		if g, ok := group.Links[name].(*hdf5.Group); ok {
			return g
		}
	}
	return &hdf5.Group{}
}

// nameOf is the layer's name, an attribute that Keras 3.6 and later write.
func nameOf(group *hdf5.Group) string {
	if group == nil {
		return ""
	}
	vars, _ := group.Links[varsFolder].(*hdf5.Group)
	if vars == nil {
		return ""
	}
	v, _ := vars.Attrs.Get("name")
	name, _ := v.Text()
	return name
}

// archiveVars are a layer's weights: datasets numbered from 0.
func archiveVars(group *hdf5.Group) ([]*variable, error) {
	if group == nil {
		return nil, nil
	}
	folder, _ := group.Links[varsFolder].(*hdf5.Group)
	if folder == nil {
		return nil, nil
	}
	var vars []*variable
	for k := range len(folder.Links) {
		name := strconv.Itoa(k)
		set, ok := folder.Links[name].(*hdf5.Dataset)
		if !ok {
			return nil, fmt.Errorf("%d weights, and none of them is number %d: %w", len(folder.Links), k, format.ErrCorrupt)
		}
		vars = append(vars, &variable{name: name, set: set})
	}
	return vars, nil
}
