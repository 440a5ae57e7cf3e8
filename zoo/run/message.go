package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Needs say what a worker must have for a model.
type Needs struct {
	CUDA   bool `json:"cuda,omitempty"`   // its rule asks for a device
	Engine bool `json:"engine,omitempty"` // its predictions have to be compared
}

// AllNeeds are all there are, those that fewest workers meet first.
func AllNeeds() []Needs { return []Needs{{CUDA: true, Engine: true}, {CUDA: true}, {Engine: true}, {}} }

// Meets says whether who has h has what n needs.
func (h Needs) Meets(n Needs) bool { return (h.CUDA || !n.CUDA) && (h.Engine || !n.Engine) }

// String names them: "any", "cuda", "engine", "cuda-engine".
func (n Needs) String() string {
	var words []string
	if n.CUDA {
		words = append(words, "cuda")
	}
	if n.Engine {
		words = append(words, "engine")
	}
	if len(words) == 0 {
		return "any"
	}
	return strings.Join(words, "-")
}

// Describe says in words what a worker needs.
func (n Needs) Describe() string {
	switch n {
	case Needs{CUDA: true, Engine: true}:
		return "CUDA and ONNX Runtime"
	case Needs{CUDA: true}:
		return "CUDA"
	case Needs{Engine: true}:
		return "ONNX Runtime"
	}
	return "anything"
}

// Task is the message of one model that is to be done elsewhere.
type Task struct {
	ID    string // of the model in its run
	Needs Needs
	Body  []byte
}

// messageVersion is that of the messages between who begins a run and the workers.
const messageVersion = 1

// Makes names what this program makes of models: workers of one run have to make the same. It holds the versions of what
// decides about outputs and proofs, and of the messages.
func Makes() string {
	list := []string{fmt.Sprintf("message@%d", messageVersion), fmt.Sprintf("ledger@%d", ledgerVersion), "fold@" + fold.Version}
	for _, f := range format.All() {
		list = append(list, fmt.Sprintf("%s@%d", f.Name, f.Version))
	}
	for _, name := range format.Exporters() {
		if e, err := format.FindExporter(name); err == nil {
			list = append(list, fmt.Sprintf("to-%s@%d", e.Name, e.Version))
		}
	}
	list = append(list, versioned(manifests.Checks)...)
	slices.Sort(list)
	return digest(list...)[:12]
}

// task is what a message says. It says no more than which model, below which folders, under which rule, and for which run.
type task struct {
	Version  int             `json:"version"`
	ID       string          `json:"id"`
	Run      string          `json:"run"`
	Zoo      string          `json:"zoo"`      // an absolute path, or the URL of a folder in a bucket
	Out      string          `json:"out"`      // the same
	Manifest string          `json:"manifest"` // as in the ledger
	Model    string          `json:"model"`    // relative to the zoo
	Bytes    int64           `json:"bytes"`
	Rule     json.RawMessage `json:"rule"`              // manifests.Rule.Text
	Settings string          `json:"settings"`          // runner.settings, for a worker to see that the rule says the same to it
	Latency  bool            `json:"latency,omitempty"` // Options.Latency
}

// answer is what becomes of a task, or says that a worker has it in hand.
type answer struct {
	Version int           `json:"version"`
	ID      string        `json:"id"`
	Run     string        `json:"run"`
	Worker  string        `json:"worker"`
	Began   bool          `json:"began,omitempty"`    // the worker has it in hand: nothing else is said
	GivenUp int           `json:"given_up,omitempty"` // so many workers had it in hand, and none answered
	Model   outcome.Model `json:"model,omitzero"`
	Kept    []string      `json:"kept,omitempty"`
	Entry   string        `json:"entry,omitempty"` // the line of the ledger of a success, without what is told
	Notes   []string      `json:"notes,omitempty"`
}

// maxTask bounds a task's bytes: a rule may be as long as a manifest.
const maxTask = 512 << 10

func (t *task) message() ([]byte, error) {
	named := *t
	for _, name := range []*string{&named.Zoo, &named.Out, &named.Manifest, &named.Model} {
		*name = written(*name)
	}
	text, err := json.Marshal(&named)
	if err == nil && len(text) > maxTask {
		err = fmt.Errorf("its rule is longer than %d bytes", maxTask)
	}
	return pack(text), err
}

// ErrMessage says that a message is not what it has to be.
var ErrMessage = errors.New("no message of zoofold")

// readTask takes a message apart, and no message that somebody made up further than its form.
func readTask(message []byte) (*task, error) {
	if len(message) > maxTask {
		return nil, fmt.Errorf("%w: %d bytes", ErrMessage, len(message))
	}
	t := &task{}
	if err := strict(message, maxTask, t); err != nil {
		return nil, err
	}
	for _, name := range []*string{&t.Zoo, &t.Out, &t.Manifest, &t.Model} {
		*name = read(*name)
	}
	switch {
	case t.Version != messageVersion:
		return nil, fmt.Errorf("%w: version %d, this program knows version %d", ErrMessage, t.Version, messageVersion)
	case t.ID == "" || t.Run == "" || t.Manifest == "":
		return nil, fmt.Errorf("%w: it does not say whose it is", ErrMessage)
	}
	for _, name := range []string{t.Zoo, t.Out} {
		if _, err := placeOf(name); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMessage, err)
		}
	}
	return t, nil
}

// placeOf is the place that a task names. What leads to its bucket does not come with tasks: it is the worker's.
func placeOf(name string) (p manifests.Place, err error) {
	if !bucket.IsURL(name) {
		if !filepath.IsAbs(name) || filepath.Clean(name) != name {
			return p, fmt.Errorf("%q is no absolute path", name)
		}
		return manifests.Place{Path: name}, nil
	}
	u, err := bucket.Parse(name)
	if err == nil && u.Text() != name {
		err = fmt.Errorf("%q is written %q", name, u.Text())
	}
	return manifests.Place{Path: u.Path(), URL: &u}, err
}

// nameOf is what tasks name a place.
func nameOf(path string, u *bucket.URL) string {
	if u != nil {
		return u.Text()
	}
	return path
}

// strict decodes JSON of at most so many bytes without unknown keys, and with nothing behind it.
func strict(message []byte, most int, to any) error {
	text, err := unpack(message)
	if err == nil && len(text) > most {
		err = fmt.Errorf("%d bytes", len(text))
	}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err = d.Decode(to); err == nil {
			if _, more := d.Token(); more != io.EOF {
				err = errors.New("something stands behind it")
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return nil
}

// message is the answer as it travels, in at most so many bytes; 0: any. One that is longer goes without its lists.
func (a *answer) message(most int) []byte {
	a.Version = messageVersion
	text, err := json.Marshal(a)
	packed := pack(text)
	if err != nil || most > 0 && len(packed) > most {
		a.Model.Maps, a.Model.Remaining = nil, nil
		a.Model.Warnings = []string{"the lists of its nodes are too long for the queue's messages: the report is without them"}
		text, _ = json.Marshal(a) // its numbers are finite
		packed = pack(text)
	}
	return packed
}

// readAnswer takes an answer apart.
func readAnswer(message []byte) (*answer, error) {
	a := &answer{}
	if err := strict(message, maxLine, a); err != nil {
		return nil, err
	}
	if a.Version != messageVersion {
		return nil, fmt.Errorf("%w: an answer of version %d", ErrMessage, a.Version)
	}
	return a, nil
}

// entry is that of a success, with what is told of the model; nil for anything else.
func (a *answer) entry() *entry {
	if a.Entry == "" {
		return nil
	}
	e := parseLine([]byte(a.Entry), &alike{})
	if e == nil || e.State != "" || len(e.Outputs) == 0 && a.Model.Status != outcome.Skipped {
		return nil
	}
	e.Told = &told{a.Model, a.Kept}
	e.Told.Path = e.Model
	return e
}

// Began is the message that a worker has a task in hand.
func Began(worker, id string) []byte {
	return (&answer{ID: id, Worker: worker, Began: true}).message(0)
}

// GaveUp is the answer to a task that so many workers had in hand without answering, and why the last could not.
func GaveUp(message []byte, worker string, times int, why error) ([]byte, error) {
	t, err := readTask(message)
	if err != nil {
		return nil, err
	}
	m := outcome.Model{Path: t.Model, Bytes: t.Bytes, Status: outcome.Failed, Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
	if why != nil {
		m.Error = oneLine(why)
	}
	return (&answer{ID: t.ID, Run: t.Run, Worker: worker, GivenUp: times, Model: m}).message(0), nil
}
