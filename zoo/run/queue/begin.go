package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zoofold/zoofold/zoo/run"
)

// Hand implements run.Remote. The message's id is the task's: what is published twice counts once, and what waits already is not
// queued again, however long it has waited.
func (q *Queue) Hand(ctx context.Context, out string, t run.Task) error {
	subject := fmt.Sprintf("%s.%s.%s.%s.%s", workWord, q.makes, t.Needs, folder(out), t.ID)
	return q.post(ctx, &nats.Msg{Subject: subject, Header: nats.Header{nats.MsgIdHdr: {t.ID}}, Data: t.Body})
}

// Handed implements run.Remote.
func (q *Queue) Handed(ctx context.Context) error { return q.settled(ctx) }

// Answers implements run.Remote. Where servers go away it goes on behind the answer that it had last.
func (q *Queue) Answers(ctx context.Context, out string, do func([]byte)) error {
	var one sync.Mutex
	said, err := q.conn.Subscribe(saidWord+"."+folder(out), func(m *nats.Msg) {
		one.Lock()
		defer one.Unlock()
		if ctx.Err() == nil {
			do(m.Data)
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = said.Unsubscribe() }() // the connection ends it, too
	last, through := uint64(0), false
	hear := func(data []byte) {
		one.Lock()
		defer one.Unlock()
		do(data)
	}
	for ctx.Err() == nil {
		config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{answerWord + "." + folder(out) + ".>"}}
		if last > 0 {
			config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
		}
		var c jetstream.Consumer
		var messages jetstream.MessagesContext
		err := q.again(ctx, func(once context.Context) (err error) {
			if c, err = q.answers.OrderedConsumer(once, config); err == nil {
				messages, err = c.Messages()
			}
			return err
		})
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if info := c.CachedInfo(); !through && info != nil && info.NumPending == 0 {
			through = true
			hear(nil)
		}
		stop := context.AfterFunc(ctx, messages.Stop)
		for {
			m, err := messages.Next()
			if err != nil {
				break // the servers went away, or ctx has ended
			}
			at, err := m.Metadata()
			if err != nil {
				continue // no message of a stream
			}
			last = at.Sequence.Stream
			hear(m.Data())
			if !through && at.NumPending == 0 {
				through = true
				hear(nil)
			}
		}
		stop()
		messages.Stop()
	}
	return nil
}

// Withdraw implements run.Remote.
func (q *Queue) Withdraw(ctx context.Context, out string) error {
	return q.again(ctx, func(ctx context.Context) error {
		return q.work.Purge(ctx, jetstream.WithPurgeSubject(workWord+".*.*."+folder(out)+".>"))
	})
}

// Forget implements run.Remote.
func (q *Queue) Forget(ctx context.Context, out string) error {
	return q.again(ctx, func(ctx context.Context) error {
		tries, err := q.js.Stream(ctx, "KV_"+ledgerBucket)
		if err == nil {
			err = tries.Purge(ctx, jetstream.WithPurgeSubject("$KV."+ledgerBucket+"."+folder(out)+"."+triesWord+".>"))
		}
		if err != nil {
			return err
		}
		return q.answers.Purge(ctx, jetstream.WithPurgeSubject(answerWord+"."+folder(out)+".>"))
	})
}

// Member is a worker as it says what it is and has.
type Member struct {
	Name    string    `json:"name"`
	Host    string    `json:"host"`
	Version string    `json:"version"` // of zoofold
	Makes   string    `json:"makes"`   // run.Makes
	Has     run.Needs `json:"has"`
	CUDA    string    `json:"cuda,omitempty"`   // the devices, or why there are none
	Engine  string    `json:"engine,omitempty"` // ONNX Runtime, or why there is none
	Memory  int64     `json:"memory,omitempty"` // of the machine, in bytes; 0: not known
	Places  int       `json:"places"`           // models at once
}

// Members are the workers that there are.
func (q *Queue) Members(ctx context.Context) (list []Member, err error) {
	err = q.again(ctx, func(ctx context.Context) error {
		list = nil
		w, err := q.workers.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			return err
		}
		defer func() { _ = w.Stop() }() // it was read
		for {
			select {
			case e, open := <-w.Updates():
				if e == nil && open {
					return nil
				}
				if !open {
					return nats.ErrDisconnected
				}
				var m Member
				if json.Unmarshal(e.Value(), &m) == nil {
					list = append(list, m)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// ours are those that make what this program makes.
func (q *Queue) ours(list []Member) []Member {
	return slices.DeleteFunc(slices.Clone(list), func(m Member) bool { return m.Makes != q.makes })
}

// Has implements run.Remote.
func (q *Queue) Has(ctx context.Context) (all run.Needs, err error) {
	list, err := q.Members(ctx)
	for _, m := range q.ours(list) {
		all.CUDA, all.Engine = all.CUDA || m.Has.CUDA, all.Engine || m.Has.Engine
	}
	return all, err
}

// Name implements run.Remote.
func (q *Queue) Name(ctx context.Context) string {
	list, err := q.Members(ctx)
	if err != nil {
		return "workers at " + redacted(q.URL)
	}
	places := 0
	for _, m := range q.ours(list) {
		places += m.Places
	}
	return fmt.Sprintf("%s for %s at %s", count(len(q.ours(list)), "worker"), count(places, "model"), redacted(q.URL))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Watch implements run.Remote. It looks each time that patience has passed, and tells what it sees the second time in a row, and
// then less and less often.
func (q *Queue) Watch(ctx context.Context, waiting func() map[run.Needs]int, tell func(string)) {
	seen, next := map[run.Needs]int{}, map[run.Needs]int{}
	tick := time.NewTicker(q.Patience / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		list, err := q.Members(ctx)
		if err != nil {
			continue // the connection tells of itself
		}
		counts := waiting()
		for _, n := range run.AllNeeds() {
			if counts[n] == 0 || slices.ContainsFunc(q.ours(list), func(m Member) bool { return m.Has.Meets(n) }) {
				seen[n], next[n] = 0, 2
				continue
			}
			if seen[n]++; seen[n] >= max(next[n], 2) {
				next[n] = 2 * seen[n]
				tell(q.nobody(list, n, counts[n]))
			}
		}
	}
}

// nobody says what no worker can take, and which ones there are.
func (q *Queue) nobody(list []Member, n run.Needs, models int) string {
	wait := "wait"
	if models == 1 {
		wait = "waits"
	}
	text := fmt.Sprintf("%s %s for a worker", count(models, "model"), wait)
	if n != (run.Needs{}) {
		text += " that has " + n.Describe()
	}
	switch ours := q.ours(list); {
	case len(list) == 0:
		return text + ": there is none"
	case len(ours) > 0:
		return text + ": none of " + names(ours, false) + " has"
	}
	return fmt.Sprintf("%s of this version of zoofold (%s): there is none, only %s", text, q.makes, names(list, true))
}

// names are some workers.
func names(list []Member, versions bool) string {
	const most = 5
	var words []string
	for _, m := range list[:min(len(list), most)] {
		word := m.Name
		if versions {
			word += fmt.Sprintf(" (zoofold %s, %s)", m.Version, m.Makes)
		}
		words = append(words, word)
	}
	if more := len(list) - most; more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

// errGone says that a worker's connection has ended.
var errGone = errors.New("the connection to the queue has ended")
