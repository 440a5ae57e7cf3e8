package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/zoofold/zoofold/zoo/run"
)

// Worker does models. A *run.Worker is one.
type Worker interface {
	Ready(context.Context) error // takes a place for a model, which Do or Release gives back
	Release()
	Do(ctx context.Context, message []byte, most int, of func(ctx context.Context, out string) (run.Store, error)) ([]byte, error)
}

// service is a worker at its queues.
type service struct {
	*Queue
	worker Worker
	me     Member
	want   chan struct{}      // takes who asks for a model, while there is a place for one
	models chan jetstream.Msg // that came
}

// Serve has a worker do what is queued until ctx ends, and then waits for the models that it has in hand. Those that it has
// to give up, when hands ends, go to other workers at once.
func (q *Queue) Serve(ctx, hands context.Context, w Worker, me Member) error {
	me.Makes = q.makes
	s := &service{Queue: q, worker: w, me: me, want: make(chan struct{}), models: make(chan jetstream.Msg)}
	var queues []jetstream.Consumer
	for _, n := range run.AllNeeds() {
		if !me.Has.Meets(n) {
			continue
		}
		err := q.again(ctx, func(ctx context.Context) error {
			name := q.makes + "-" + n.String()
			c, err := q.work.Consumer(ctx, name) // which costs the servers less than to be asked for a new one
			if errors.Is(err, jetstream.ErrConsumerNotFound) || err == nil && c.CachedInfo().Config.AckWait != q.Lost {
				c, err = q.work.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
					Durable: name, FilterSubject: fmt.Sprintf("%s.%s.%s.>", workWord, q.makes, n), AckPolicy: jetstream.AckExplicitPolicy,
					AckWait: q.Lost, MaxDeliver: -1, MaxAckPending: 1 << 20, InactiveThreshold: 30 * 24 * time.Hour,
				})
			}
			if err == nil {
				queues = append(queues, c)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("the queue of models that need %s: %w", n.Describe(), err)
		}
	}
	if err := s.register(ctx); err != nil {
		return err
	}
	living, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	var all sync.WaitGroup
	all.Go(func() { s.stay(living) })
	for _, c := range queues {
		all.Go(func() { s.ask(ctx, c) })
	}
	var models sync.WaitGroup
	for w.Ready(ctx) == nil {
		m := s.next(ctx)
		if m == nil {
			w.Release()
			break
		}
		models.Go(func() { s.do(hands, m) })
	}
	models.Wait()
	leave()
	all.Wait()
	if q.conn.IsClosed() && ctx.Err() == nil {
		return errGone
	}
	return nil
}

// register says that the worker is there.
func (s *service) register(ctx context.Context) error {
	text, err := json.Marshal(s.me)
	if err != nil {
		return err
	}
	return s.Queue.again(ctx, func(ctx context.Context) error {
		_, err := s.workers.Put(ctx, token(s.me.Name), text)
		return err
	})
}

// token is a name as keys may have it.
func token(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}

// stay says again and again that the worker is there, until it leaves.
func (s *service) stay(ctx context.Context) {
	tick := time.NewTicker(s.Lost)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			_ = s.workers.Delete(end, token(s.me.Name)) // it is forgotten in a moment anyway
			return
		case <-tick.C:
			_ = s.register(ctx) // the next time
		}
	}
}

// next is the next model; nil when ctx ends.
func (s *service) next(ctx context.Context) jetstream.Msg {
	for {
		select {
		case s.want <- struct{}{}: // every queue is asked that was not
		case m := <-s.models:
			return m
		case <-ctx.Done():
			return nil
		}
	}
}

// ask asks a queue for one model at a time, while there is a place for one, until ctx ends. A model that comes when another
// queue was quicker goes back at once.
func (s *service) ask(ctx context.Context, c jetstream.Consumer) {
	for ctx.Err() == nil {
		messages, err := c.Messages(jetstream.PullMaxMessages(1))
		if err != nil {
			s.pause(ctx)
			continue
		}
		stop := context.AfterFunc(ctx, messages.Stop)
		for s.wanted(ctx) {
			m, err := messages.Next()
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				continue // the servers are away
			}
			if err != nil {
				break
			}
			select {
			case s.models <- m:
			case <-time.After(s.Idle / 8):
				_ = m.Nak() // others get it in a moment otherwise
			}
		}
		stop()
		messages.Stop()
		s.pause(ctx)
	}
}

// wanted waits until there is a place for a model; it is false when ctx ends.
func (s *service) wanted(ctx context.Context) bool {
	select {
	case <-s.want:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits before something is tried again.
func (s *service) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(s.Idle):
	}
}

// do does a model, and says what became of it.
func (s *service) do(ctx context.Context, m jetstream.Msg) {
	at, err := m.Metadata()
	words := strings.Split(m.Subject(), ".")
	if err != nil || len(words) != 6 {
		s.worker.Release()
		_ = m.TermWithReason("no message of zoofold")
		return
	}
	place, id, times := words[4], words[5], int(at.NumDelivered)
	living, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.hold(living, m)
	if times > 1 && s.answered(living, place, id) { // who had it in hand answered, and then was lost
		s.worker.Release()
		s.done(living, m)
		return
	}
	if times > 1 { // a message that was lost on its way comes again, too: what counts is who took it
		if times, err = s.taken(living, place, id); err != nil {
			s.worker.Release()
			_ = m.NakWithDelay(s.Idle) // it comes again in a moment otherwise
			return
		}
	}
	if times > s.Tries {
		s.worker.Release()
		s.giveUp(living, m, place, id, times-1, nil)
		return
	}
	_ = s.conn.Publish(saidWord+"."+place, run.Began(s.me.Name, id)) // it only shows who has what
	reply, err := s.worker.Do(ctx, m.Data(), int(s.conn.MaxPayload())*9/10, s.Store)
	switch {
	case err == nil:
		s.answer(living, m, place, id, reply)
	case errors.Is(err, run.ErrObsolete), errors.Is(err, run.ErrMessage):
		_ = m.TermWithReason(err.Error()) // it comes again otherwise, and ends so
	case ctx.Err() != nil:
		_ = m.Nak() // others take it at once; they do in a moment otherwise
	case times >= s.Tries:
		s.giveUp(living, m, place, id, times, err)
	default:
		s.note(fmt.Sprintf("a model goes to another worker: %v", err))
		_ = m.NakWithDelay(min(time.Second<<(times-1), s.Lost)) // as above
	}
}

// taken says how many workers have taken a model in hand, this one and the first included.
func (s *service) taken(ctx context.Context, place, id string) (times int, err error) {
	l := &ledger{s.Queue, place}
	for {
		value, revision, err := l.Get(ctx, triesWord+"."+id)
		if err != nil {
			return 0, err
		}
		times, _ = strconv.Atoi(string(value)) // 0 where it is not there
		times = max(times, 1) + 1
		if err := l.Put(ctx, triesWord+"."+id, []byte(strconv.Itoa(times)), revision); !errors.Is(err, run.ErrRevision) {
			return times, err
		}
	}
}

func (s *service) note(text string) {
	if s.Note != nil {
		s.Note(text)
	}
}

// hold says while a model is in hand that it is.
func (s *service) hold(ctx context.Context, m jetstream.Msg) {
	tick := time.NewTicker(s.Lost / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = m.InProgress() // the next time
		}
	}
}

// giveUp answers for a model that came to no end.
func (s *service) giveUp(ctx context.Context, m jetstream.Msg, place, id string, times int, why error) {
	reply, err := run.GaveUp(m.Data(), s.me.Name, times, why)
	if err != nil {
		_ = m.TermWithReason(err.Error()) // it comes again otherwise, and ends so
		return
	}
	s.answer(ctx, m, place, id, reply)
}

// answer publishes what became of a model, and takes it from the queue then. If that fails it comes again.
func (s *service) answer(ctx context.Context, m jetstream.Msg, place, id string, reply []byte) {
	err := s.Queue.again(ctx, func(ctx context.Context) error {
		_, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: answerWord + "." + place + "." + id, Data: reply})
		return err
	})
	if err != nil {
		s.note(fmt.Sprintf("an answer could not be given: %v", err))
		_ = m.Nak() // as in do
		return
	}
	s.done(ctx, m)
}

func (s *service) done(ctx context.Context, m jetstream.Msg) {
	_ = s.Queue.again(ctx, m.DoubleAck) // it is answered: who gets it again sees that
}

// answered says whether a task has an answer.
func (s *service) answered(ctx context.Context, place, id string) (yes bool) {
	err := s.Queue.again(ctx, func(ctx context.Context) error {
		_, err := s.answers.GetLastMsgForSubject(ctx, answerWord+"."+place+"."+id)
		yes = err == nil
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		return err
	})
	return yes && err == nil
}
