// Package buckettest is an S3 in the process, for tests, that fails as it is told.
package buckettest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Fault is what goes wrong with a request.
type Fault string

// The faults.
const (
	None   Fault = ""
	Error  Fault = "error"       // 500, and nothing is done
	Late   Fault = "late error"  // 500 after all was done
	Hangs  Fault = "timeout"     // no answer ever
	Cut    Fault = "cut body"    // it is done, and the connection ends in the middle of the answer
	Unread Fault = "cut request" // the connection ends before the request is read
	Busy   Fault = "503"         // 503 with Retry-After: 7
	Denied Fault = "403"         // for good
)

// Faults are those that pass.
var Faults = []Fault{Error, Late, Hangs, Cut, Unread, Busy}

// Server is an S3 with one bucket.
type Server struct {
	*httptest.Server
	Bucket string

	lock     sync.Mutex
	requests []string
	fault    func(number int, r *http.Request) Fault
	closed   chan struct{}
}

// Start starts a server, and has the environment of the test lead to it.
func Start(t *testing.T) *Server {
	t.Helper()
	backend := s3mem.New()
	s := &Server{Bucket: "models", closed: make(chan struct{})}
	if err := backend.CreateBucket(s.Bucket); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0), gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s.Server = httptest.NewServer(s.faulty(conditional(inner)))
	t.Cleanup(func() {
		close(s.closed)
		s.CloseClientConnections()
		s.Close()
	})
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	return s
}

// Environment are the variables that lead to the server.
func (s *Server) Environment() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	}
}

// Fail makes requests fail as f says of each, counted from 0 from now on; nil: none does. f is called for several at once.
func (s *Server) Fail(f func(number int, r *http.Request) Fault) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.requests, s.fault = nil, f
}

// Requests are those since Fail was called last: "GET /models/key".
func (s *Server) Requests() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return append([]string(nil), s.requests...)
}

// faulty fails requests.
func (s *Server) faulty(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.lock.Lock()
		number, fault, says := len(s.requests), None, s.fault
		s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
		s.lock.Unlock()
		if says != nil {
			fault = says(number, r)
		}
		switch fault {
		case None:
			inner.ServeHTTP(w, r)
		case Error:
			refuse(w, http.StatusInternalServerError, "InternalError")
		case Late:
			inner.ServeHTTP(httptest.NewRecorder(), r)
			refuse(w, http.StatusInternalServerError, "InternalError")
		case Busy:
			_, _ = io.Copy(io.Discard, r.Body) // who is still sending might miss the answer
			w.Header().Set("Retry-After", "7")
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
		case Denied:
			refuse(w, http.StatusForbidden, "AccessDenied")
		case Hangs:
			select {
			case <-r.Context().Done():
			case <-s.closed:
			}
		case Unread:
			panic(http.ErrAbortHandler)
		case Cut:
			answer := httptest.NewRecorder()
			inner.ServeHTTP(answer, r)
			for key, values := range answer.Header() {
				w.Header()[key] = values
			}
			if w.Header().Get("Content-Length") == "" {
				w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()+1))
			}
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
}

func refuse(w http.ResponseWriter, code int, name string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>planted</Message></Error>`, name)
}

// conditional is S3's If-Match and If-None-Match where an upload of several parts is completed, and If-Match of a single part
// for an object that is gone.
func conditional(inner http.Handler) http.Handler {
	var turn sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		if r.Method != http.MethodPost && r.Method != http.MethodPut || match == "" && none == "" {
			inner.ServeHTTP(w, r)
			return
		}
		turn.Lock()
		defer turn.Unlock()
		head := httptest.NewRecorder()
		inner.ServeHTTP(head, httptest.NewRequest(http.MethodHead, r.URL.Path, bytes.NewReader(nil)))
		there := head.Code == http.StatusOK
		switch {
		case none != "" && there, match != "" && there && strings.Trim(match, `"`) != strings.Trim(head.Header().Get("ETag"), `"`):
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		case match != "" && !there:
			refuse(w, http.StatusNotFound, "NoSuchKey")
		default:
			r.Header.Del("If-Match")
			r.Header.Del("If-None-Match")
			inner.ServeHTTP(w, r)
		}
	})
}
