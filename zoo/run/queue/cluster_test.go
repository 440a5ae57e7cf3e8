package queue

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// wire is what stands between clients and a server, and can be cut.
type wire struct {
	listener net.Listener
	to       string

	lock    sync.Mutex
	cut     bool
	refused int           // connections since it was cut
	enough  chan struct{} // closed when as many were refused as were waited for
	want    int
	open    map[net.Conn]bool
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, to: u.Host, open: map[net.Conn]bool{}}
	go w.serve()
	t.Cleanup(func() { l.Close(); w.part(0) })
	return w
}

func (w *wire) url() string { return "nats://" + w.listener.Addr().String() }

func (w *wire) serve() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.join(c)
	}
}

func (w *wire) join(c net.Conn) {
	w.lock.Lock()
	if w.cut {
		c.Close()
		if w.refused++; w.refused == w.want {
			close(w.enough)
		}
		w.lock.Unlock()
		return
	}
	s, err := net.Dial("tcp", w.to)
	if err != nil {
		c.Close()
		w.lock.Unlock()
		return
	}
	w.open[c], w.open[s] = true, true
	w.lock.Unlock()
	go func() { _, _ = io.Copy(s, c); s.Close() }()
	_, _ = io.Copy(c, s)
	c.Close()
	w.lock.Lock()
	defer w.lock.Unlock()
	delete(w.open, c)
	delete(w.open, s)
}

// part cuts the wire until mend is called. The channel is closed when so many connections were refused since.
func (w *wire) part(refusals int) <-chan struct{} {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.cut, w.refused, w.want, w.enough = true, 0, refusals, make(chan struct{})
	for c := range w.open {
		c.Close()
	}
	return w.enough
}

func (w *wire) mend() {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.cut = false
}

// after calls something once so many models are done.
func after(n int, do func()) func(outcome.Model) {
	return func(outcome.Model) {
		if n--; n == 0 {
			do()
		}
	}
}

// Everybody loses the servers in the middle of a run, who began it and the workers, until they have tried in vain some times:
// twice a second each.
func TestRun_SurvivesAPartition(t *testing.T) {
	const models = 60
	refusals := 4 * oracle.Setting(t, "ZOOFOLD_PARTITION", 3)
	s := newScene(t, models, "")
	w := newWire(t, node(t, nil).ClientURL())
	serve(t, w.url(), s, 3, nil)
	q := connect(t, w.url(), "begins", nil)
	r := must(t, q, s.manifest, after(models/4, func() {
		refused := w.part(refusals)
		go func() {
			<-refused
			w.mend()
		}()
	}))
	s.same(t, r)
	empty(t, q)
}

func TestRun_SurvivesTheLossOfAServer(t *testing.T) {
	s := newScene(t, 60, "")
	nodes, all := cluster(t)
	q := connect(t, all, "begins", func(c *Config) { c.Replicas = 3 })
	for _, i := range []int{q.work.CachedInfo().Config.Replicas, q.answers.CachedInfo().Config.Replicas} {
		if i != 3 {
			t.Fatalf("a stream is kept on %d servers", i)
		}
	}
	serve(t, all, s, 3, nil)
	var gone sync.WaitGroup
	r := must(t, q, s.manifest, after(15, func() {
		lead := leader(nodes)
		if lead == nil {
			t.Error("no server leads")
			return
		}
		gone.Go(lead.Shutdown)
	}))
	gone.Wait()
	s.same(t, r)
	empty(t, q)
}

// leader is the server that leads the stream of models; nil where none does.
func leader(nodes []*server.Server) *server.Server {
	for _, n := range nodes {
		if n.JetStreamIsStreamLeader("$G", workStream) {
			return n
		}
	}
	return nil
}
