package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"

	fastjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeebo/xxh3"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// alike holds what became of the nodes of some models, for others of which the same is told: a zoo has the same architecture
// many times, and ten thousand models would take some 20 MB.
type alike struct {
	lock sync.Mutex
	by   map[xxh3.Uint128]nodes // by their JSON
}

// nodes are what is told of a model's nodes. Nobody changes them any more.
type nodes struct {
	Maps      []outcome.Map
	Remaining []outcome.Left
	Folds     []outcome.Fold
}

// nodesText are nodes as JSON; what is empty is left out.
type nodesText struct {
	Maps      jsontext.Value `json:"maps"`
	Remaining jsontext.Value `json:"remaining"`
	Folds     jsontext.Value `json:"folds"`
}

func (t *nodesText) key() xxh3.Uint128 {
	return xxh3.Hash128(bytes.Join([][]byte{t.Maps, t.Remaining, t.Folds}, []byte("\n")))
}

func (n *nodes) text() (t nodesText, err error) {
	err = errors.Join(encode(n.Maps, &t.Maps), encode(n.Remaining, &t.Remaining), encode(n.Folds, &t.Folds))
	return t, err
}

func (t *nodesText) read() (n nodes, err error) {
	err = errors.Join(decode(t.Maps, &n.Maps), decode(t.Remaining, &n.Remaining), decode(t.Folds, &n.Folds))
	return n, err
}

func encode[T any](list []T, to *jsontext.Value) (err error) {
	if len(list) > 0 {
		*to, err = json.Marshal(list)
	}
	return err
}

func decode[T any](text jsontext.Value, to *[]T) error {
	if len(text) == 0 {
		return nil
	}
	return fastjson.Unmarshal(text, to)
}

// mostAlike bounds how many are held.
const mostAlike = 1000

// share has a model refer to what another one has, if that is the same.
func (a *alike) share(m *outcome.Model) {
	own := nodes{m.Maps, m.Remaining, m.Folds}
	text, err := own.text()
	if err != nil {
		return
	}
	n, _ := a.of(text, func() (nodes, error) { return own, nil })
	m.Maps, m.Remaining, m.Folds = n.Maps, n.Remaining, n.Folds
}

// read has a model refer to the nodes that a text says, which is read unless another model has had the same.
func (a *alike) read(m *outcome.Model, text nodesText) error {
	n, err := a.of(text, text.read)
	m.Maps, m.Remaining, m.Folds = n.Maps, n.Remaining, n.Folds
	return err
}

// of are the nodes of a text: those that are held, or else made.
func (a *alike) of(text nodesText, made func() (nodes, error)) (nodes, error) {
	key := text.key()
	a.lock.Lock()
	known, ok := a.by[key]
	a.lock.Unlock()
	if ok {
		return known, nil
	}
	n, err := made()
	if err != nil {
		return n, err
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	if known, ok := a.by[key]; ok {
		return known, nil
	}
	if len(a.by) < mostAlike {
		if a.by == nil {
			a.by = map[xxh3.Uint128]nodes{}
		}
		a.by[key] = n
	}
	return n, nil
}
