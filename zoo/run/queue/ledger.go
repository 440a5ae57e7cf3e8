package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zoofold/zoofold/zoo/run"
)

// ledger is the part of the bucket that is an output folder's.
type ledger struct {
	*Queue
	folder string
}

// Store is where the ledger of an output folder is kept.
func (q *Queue) Store(_ context.Context, out string) (run.Store, error) {
	return &ledger{q, folder(out)}, nil
}

func (l *ledger) key(key string) string { return l.folder + "." + key }

// Get is run.Store's.
func (l *ledger) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	err = l.again(ctx, func(ctx context.Context) error {
		e, err := l.kv.Get(ctx, l.key(key))
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			value, revision = nil, 0
			return nil
		case err != nil:
			return err
		}
		value, revision = e.Value(), e.Revision()
		return nil
	})
	return value, revision, err
}

// Put is run.Store's. Where an attempt was lost on its way back, the next one finds another revision: the caller reads again.
func (l *ledger) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	return l.again(ctx, func(ctx context.Context) (err error) {
		if revision == 0 {
			_, err = l.kv.Create(ctx, l.key(key), value)
		} else {
			_, err = l.kv.Update(ctx, l.key(key), value, revision)
		}
		if errors.Is(err, jetstream.ErrKeyExists) || isWrongSequence(err) {
			return fmt.Errorf("%w: %w", run.ErrRevision, err)
		}
		return err
	})
}

func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// Set is run.Store's.
func (l *ledger) Set(ctx context.Context, key string, value []byte) error {
	return l.post(ctx, &nats.Msg{Subject: "$KV." + ledgerBucket + "." + l.key(key), Data: value})
}

// Remove is run.Store's.
func (l *ledger) Remove(ctx context.Context, key string) error {
	return l.post(ctx, &nats.Msg{Subject: "$KV." + ledgerBucket + "." + l.key(key), Header: nats.Header{"KV-Operation": {"DEL"}}})
}

// Flush is run.Store's.
func (l *ledger) Flush(ctx context.Context) error { return l.settled(ctx) }

// Each is run.Store's.
func (l *ledger) Each(ctx context.Context, word string, do func([]byte) error) error {
	w, err := l.kv.Watch(ctx, l.key(word)+".>", jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	for {
		select {
		case e, open := <-w.Updates():
			if e == nil && open {
				return nil // those are all
			}
			if !open {
				return errors.New("the servers went away while the ledger was read")
			}
			if err := do(e.Value()); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Exclusive is run.Store's. A process that was killed keeps the key for a while.
func (l *ledger) Exclusive(ctx context.Context, key string) (release func(), err error) {
	for {
		var mine uint64
		err := l.again(ctx, func(ctx context.Context) (err error) {
			mine, err = l.kv.Create(ctx, l.key(key), []byte(l.Client), jetstream.KeyTTL(l.stuck()))
			return err
		})
		if err == nil {
			return func() {
				end, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
				defer cancel()
				_ = l.kv.Delete(end, l.key(key), jetstream.LastRevision(mine)) // it ends by itself, too
			}, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) && !isWrongSequence(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10*time.Millisecond + rand.N(40*time.Millisecond)):
		}
	}
}
