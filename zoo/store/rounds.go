package store

// rounds are the syncs of one folder: the one that is running and the one that follows it.
type rounds struct{ now, next *round }

// round is one sync, for all who asked for it before it began.
type round struct {
	done chan struct{}
	err  error
}

// inRounds syncs a folder. Callers that come while a sync is running share the next one.
func (f *Folder) inRounds(rel string, sync func() error) error {
	f.lock.Lock()
	all := f.syncs[rel]
	if all == nil {
		all = &rounds{}
		f.syncs[rel] = all
	}
	if r := all.next; r != nil {
		f.lock.Unlock()
		<-r.done
		return r.err
	}
	r, before := &round{done: make(chan struct{})}, all.now
	all.next = r
	f.lock.Unlock()
	if before != nil {
		<-before.done
	}
	f.lock.Lock()
	all.now, all.next = r, nil // later callers may have changed what this sync does not see
	f.lock.Unlock()
	defer func() {
		f.lock.Lock()
		defer f.lock.Unlock()
		if all.now = nil; all.next == nil {
			delete(f.syncs, rel)
		}
		close(r.done)
	}()
	r.err = sync()
	return r.err
}
