package run

import (
	"encoding/json"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// alike holds what became of the nodes of some models, for others of which the same is told: a zoo has the same architecture
// many times, and ten thousand models would take some 20 MB.
type alike struct {
	lock sync.Mutex
	by   map[xxh3.Uint128]nodes
}

// nodes are what is told of a model's nodes. Nobody changes them any more.
type nodes struct {
	Maps      []outcome.Map
	Remaining []outcome.Left
	Folds     []outcome.Fold
}

// mostAlike bounds how many are held.
const mostAlike = 1000

// share has a model refer to what another one has, if that is the same.
func (a *alike) share(m *outcome.Model) {
	n := nodes{m.Maps, m.Remaining, m.Folds}
	text, err := json.Marshal(n)
	if err != nil {
		return
	}
	key := xxh3.Hash128(text)
	a.lock.Lock()
	defer a.lock.Unlock()
	if known, ok := a.by[key]; ok {
		n = known
	} else if len(a.by) < mostAlike {
		if a.by == nil {
			a.by = map[xxh3.Uint128]nodes{}
		}
		a.by[key] = n
	}
	m.Maps, m.Remaining, m.Folds = n.Maps, n.Remaining, n.Folds
}
