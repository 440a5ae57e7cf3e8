// Package queue brings the models of a run to workers on other machines, and their answers back, through NATS with JetStream.
//
// There are four streams. zoofold-work is a work queue with one message a model, under a subject that says what a worker needs
// for it, and for which version of zoofold it is; a model that waits there already is not queued a second time. zoofold-answers
// keeps the answers until the run has read them all. The key-value bucket zoofold has the ledgers of the output folders, and
// zoofold-workers which workers there are.
package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/zeebo/xxh3"

	"github.com/zoofold/zoofold/zoo/run"
)

// Config says where the queue is, and how patient its users are.
type Config struct {
	URL         string // of one or more servers, with commas between: nats://host:4222
	Credentials string // file of a user's credentials, as nsc makes them; "": none
	CA          string // file of the authorities that servers' certificates are checked with; "": the system's
	Certificate string // files of the client's own certificate and its key; "": none
	Key         string
	Client      string // this process, as servers show it

	Replicas int           // servers that each stream is kept on, where this process makes or changes it; 0: 1 for new ones
	Lost     time.Duration // a worker that says nothing for so long is lost, and its models go to others; 0: 30 seconds
	Patience time.Duration // models that no worker can take are told of after this time; 0: 30 seconds
	Idle     time.Duration // how long a worker waits before it asks again; 0: half a second
	Tries    int           // how many workers may have a model in hand, one after the other, before it is given up; 0: 5
	Note     func(string)  // takes what is to be said of the connection; may be nil
}

// Queue is a connection to the servers.
type Queue struct {
	Config
	conn    *nats.Conn
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	workers jetstream.KeyValue
	work    jetstream.Stream
	answers jetstream.Stream
	makes   string

	lock   sync.Mutex
	failed []*nats.Msg // that were published and not stored
	cause  error       // why the last one was not
}

// The streams and their subjects.
const (
	workStream   = "zoofold-work"
	answerStream = "zoofold-answers"
	ledgerBucket = "zoofold"
	workerBucket = "zoofold-workers"
	workWord     = "zoofold.work"   // .makes.needs.folder.task
	answerWord   = "zoofold.answer" // .folder.task
	saidWord     = "zoofold.said"   // .folder; what is said while models are done is not kept
	triesWord    = "tries"          // a key of the ledger, .task: how many workers have taken a model that came more than once
)

const (
	// window is how many messages may be on their way to the servers.
	window = 4096
	// outage is how long servers may be away before what is asked of them fails. A cluster that has lost its leader has another
	// one after some seconds.
	outage = 2 * time.Minute
	// patience is how long one attempt waits for its answer.
	patience = 5 * time.Second
)

// Open connects, and makes the streams that are not there.
func Open(ctx context.Context, c Config) (q *Queue, err error) {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Lost, 30*time.Second)
	set(&c.Patience, 30*time.Second)
	set(&c.Idle, time.Second/2)
	if c.Tries == 0 {
		c.Tries = 5
	}
	q = &Queue{Config: c, makes: run.Makes()}
	if q.conn, err = nats.Connect(c.URL, q.options()...); err != nil {
		return nil, fmt.Errorf("the queue %s: %w", redacted(c.URL), err)
	}
	if err := q.streams(ctx); err != nil {
		q.conn.Close()
		return nil, fmt.Errorf("the queue %s: %w", redacted(c.URL), err)
	}
	return q, nil
}

// options are those of the connection. A server that a thousand workers ask at once takes seconds to answer each. A process
// that has had a connection waits for the next for ever: what it asks fails in time.
func (q *Queue) options() []nats.Option {
	list := []nats.Option{nats.Name("zoofold " + q.Client), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second / 2), nats.Timeout(2 * patience), nats.ErrorHandler(quiet)}
	if q.Credentials != "" {
		list = append(list, nats.UserCredentials(q.Credentials))
	}
	if q.CA != "" {
		list = append(list, nats.RootCAs(q.CA))
	}
	if q.Certificate != "" {
		list = append(list, nats.ClientCert(q.Certificate, q.Key))
	}
	if q.Note != nil {
		list = append(list,
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if err != nil {
					q.Note(fmt.Sprintf("the queue is away: %v; trying again", err))
				}
			}),
			nats.ReconnectHandler(func(c *nats.Conn) { q.Note("the queue is back: " + c.ConnectedUrlRedacted()) }))
	}
	return list
}

// quiet takes what the connection says by the way: what is asked over it has an error of its own.
func quiet(*nats.Conn, *nats.Subscription, error) {}

// redacted is a list of addresses without passwords.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for k, u := range list {
		if at := strings.LastIndex(u, "@"); at >= 0 {
			scheme := ""
			if s := strings.Index(u, "://"); s >= 0 {
				scheme = u[:s+3]
			}
			list[k] = scheme + u[at+1:]
		}
	}
	return strings.Join(list, ",")
}

// streams makes the streams, or finds them.
func (q *Queue) streams(ctx context.Context) (err error) {
	q.js, err = jetstream.New(q.conn, jetstream.WithPublishAsyncMaxPending(window), jetstream.WithPublishAsyncTimeout(patience),
		jetstream.WithDefaultTimeout(patience), jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { q.lost(m, err) }))
	if err != nil {
		return err
	}
	replicas := max(1, q.Replicas)
	q.work, err = q.stream(ctx, jetstream.StreamConfig{
		Name: workStream, Subjects: []string{workWord + ".>"}, Retention: jetstream.WorkQueuePolicy, Replicas: replicas,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1, Compression: jetstream.S2Compression,
	})
	if err != nil {
		return err
	}
	q.answers, err = q.stream(ctx, jetstream.StreamConfig{
		Name: answerStream, Subjects: []string{answerWord + ".>"}, Replicas: replicas, MaxMsgsPerSubject: 1, Compression: jetstream.S2Compression,
	})
	if err != nil {
		return err
	}
	if q.kv, err = q.bucket(ctx, jetstream.KeyValueConfig{Bucket: ledgerBucket, Replicas: replicas, LimitMarkerTTL: q.stuck(), Compression: true}); err != nil {
		return err
	}
	q.workers, err = q.bucket(ctx, jetstream.KeyValueConfig{Bucket: workerBucket, Replicas: replicas, TTL: 3 * q.Lost})
	return err
}

func (q *Queue) stream(ctx context.Context, c jetstream.StreamConfig) (s jetstream.Stream, err error) {
	err = q.again(ctx, func(ctx context.Context) error {
		s, err = q.js.Stream(ctx, c.Name) // which costs the servers less than to be asked for a new one
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = q.js.CreateStream(ctx, c)
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // since a moment ago
			s, err = q.js.Stream(ctx, c.Name)
		}
		if err == nil && q.Replicas > 0 && s.CachedInfo().Config.Replicas != q.Replicas {
			s, err = q.js.UpdateStream(ctx, c)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", c.Name, err)
	}
	return s, nil
}

// bucket is a key-value bucket that is always read from its leader: what a server that lags behind says of an output could
// make a file of zoofold's own look like somebody else's.
func (q *Queue) bucket(ctx context.Context, c jetstream.KeyValueConfig) (kv jetstream.KeyValue, err error) {
	err = q.again(ctx, func(ctx context.Context) error {
		s, err := q.js.Stream(ctx, "KV_"+c.Bucket)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if _, err = q.js.CreateKeyValue(ctx, c); err == nil || errors.Is(err, jetstream.ErrBucketExists) {
				s, err = q.js.Stream(ctx, "KV_"+c.Bucket)
			}
		}
		if err != nil {
			return err
		}
		now := s.CachedInfo().Config
		if now.AllowDirect || q.Replicas > 0 && now.Replicas != q.Replicas {
			now.AllowDirect, now.MirrorDirect = false, false
			if q.Replicas > 0 {
				now.Replicas = q.Replicas
			}
			if _, err := q.js.UpdateStream(ctx, now); err != nil {
				return err
			}
		}
		kv, err = q.js.KeyValue(ctx, c.Bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", c.Bucket, err)
	}
	return kv, nil
}

// stuck is how long a process that was killed may keep a key to itself.
func (q *Queue) stuck() time.Duration { return max(2*q.Lost, time.Second) }

// Close ends the connection.
func (q *Queue) Close() { q.conn.Close() }

// again does something until the servers answer it, for as long as an outage may last.
func (q *Queue) again(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, outage)
	defer cancel()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		once, stop := context.WithTimeout(ctx, patience)
		err := do(once)
		stop()
		if err == nil || !momentary(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// momentary says whether an error is of servers that are away, or have no leader at the moment.
func momentary(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == 503 || api.ErrorCode == 10008 || api.ErrorCode == 10074 // not available, no leader, peers offline
	}
	for _, e := range []error{
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionReconnecting, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrNoServers,
		context.DeadlineExceeded, jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled, jetstream.ErrAsyncPublishTimeout, jetstream.ErrTooManyStalledMsgs,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// post publishes a message; settled waits until it is stored.
func (q *Queue) post(ctx context.Context, m *nats.Msg) error {
	return q.again(ctx, func(ctx context.Context) error {
		_, err := q.js.PublishMsgAsync(m, jetstream.WithStallWait(patience))
		return err
	})
}

// lost takes a message that was not stored. One of a model that waits already need not be.
func (q *Queue) lost(m *nats.Msg, err error) {
	if isThere(err) {
		return
	}
	q.lock.Lock()
	defer q.lock.Unlock()
	q.failed, q.cause = append(q.failed, m), err
}

// isThere says whether a message was not stored since its subject has one.
func isThere(err error) bool {
	return err != nil && strings.Contains(err.Error(), "maximum messages per subject exceeded")
}

// settled waits until everything is stored that was published. What got lost on its way is published again.
func (q *Queue) settled(ctx context.Context) error {
	return q.again(ctx, func(once context.Context) error {
		select {
		case <-q.js.PublishAsyncComplete():
		case <-once.Done():
			return once.Err()
		}
		q.lock.Lock()
		failed, cause := q.failed, q.cause
		q.failed, q.cause = nil, nil
		q.lock.Unlock()
		if len(failed) > 0 && !momentary(cause) {
			return cause
		}
		for _, m := range failed {
			if err := q.post(ctx, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}); err != nil {
				q.lost(m, err)
			}
		}
		return cause // which is momentary: whether they are there now is seen the next time
	})
}

// folder names an output folder in subjects and keys.
func folder(out string) string {
	sum := xxh3.HashString128(out).Bytes()
	return fmt.Sprintf("%x", sum[:])
}
