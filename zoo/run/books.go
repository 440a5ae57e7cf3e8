package run

import "context"

// books are what is remembered of the models that were folded into an output folder: which outputs were made of which
// inputs, and what any run put there. A ledger keeps them in a file of the folder, for one process.
type books interface {
	// consult brings in what is known of a model and of its outputs, by their paths relative to the output folder: the
	// questions below are answered from what was brought in. The claims are those that other processes have on the outputs.
	consult(ctx context.Context, o owner, outputs []stamp) (claims map[string]claim, err error)

	// exclusive waits until no other model is between its claims and the ledger.
	exclusive(context.Context) (release func(), err error)

	get(owner) *entry                      // what is remembered of a model; nil: nothing
	all() []*entry                         // in the order of their models
	some(func(*entry) bool) []*entry       // those of them that are so
	sharing(path string, o owner) []*entry // entries of other models that have a file among their outputs
	leftOver(now *entry) []stamp           // files that a model's earlier runs wrote and this one does not
	made(path, hash string) bool           // whether a content of an output is one that a run put there
	knows(path string) bool                // whether a run has put a file there, whatever it holds now
	abs(rel string) string                 // the place of an output by its path relative to the output folder
	rel(path string) string                // the other way round
	holds(context.Context, stamp, bool) (stamp, bool)
	check(context.Context, *entry, bool) (*entry, bool)
	tell(*entry) *told // what was told of the model; the entry need not have it any longer

	// begin remembers outputs that are about to be put in their places, add that they are there, forget drops a model.
	begin(*entry) error
	add(*entry) error
	forget(owner) error
	takeBack(o owner, before *entry) error // says again what was said of a model before

	close() error
}

func (l *ledger) consult(context.Context, owner, []stamp) (map[string]claim, error) { return nil, nil }

func (l *ledger) exclusive(context.Context) (func(), error) {
	l.turn.Lock()
	return l.turn.Unlock, nil
}
