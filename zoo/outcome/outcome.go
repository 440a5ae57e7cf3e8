// Package outcome holds the results of a run and its checks as plain data, between the packages that compute and those that
// render. As JSON they are the events of -json, the models of report.json and a part of the ledger.
package outcome

import "time"

// Sink receives a run's events. A run calls its methods from one goroutine at a time.
type Sink interface {
	Start(Start)    // once, first
	Begin(Begin)    // a worker begins a model
	Progress(int64) // so many more input bytes are done; the sum over a run reaches Start.Bytes
	Done(Model)     // a model has ended, whatever its status
	End(End)        // once, last
}

// Fallible is a Sink whose writes may fail: the terminal is gone, the disk is full.
type Fallible interface {
	Sink
	// Err is the first error of its writing, or nil.
	Err() error
}

// Start describes the run before its first model.
type Start struct {
	Time     time.Time `json:"time"`
	Version  string    `json:"version"`
	Manifest string    `json:"manifest"`
	Backend  string    `json:"backend"`       // "cpu, 8 workers"
	Why      string    `json:"why,omitempty"` // why this backend: "no CUDA: libcuda.so.1 not found"
	Engine   string    `json:"engine"`        // "ONNX Runtime 1.32.0 (path)", or why predictions cannot run
	Workers  int       `json:"workers"`
	Models   int       `json:"models"`
	Bytes    int64     `json:"bytes"` // of all models' inputs
	DryRun   bool      `json:"dry_run,omitempty"`
}

// Begin says that a model is being worked on.
type Begin struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// Status is how a model ended.
type Status string

// The statuses.
const (
	Folded      Status = "folded"      // written, with per-channel nodes folded
	Copied      Status = "copied"      // nothing can be folded: the output is a copy
	Skipped     Status = "skipped"     // nothing can be folded, and the manifest says unfoldable: skip
	Unchanged   Status = "unchanged"   // up to date, by the ledger: nothing was done
	Failed      Status = "failed"      // Error says why; nothing was committed
	Interrupted Status = "interrupted" // a signal came before it was done; nothing was committed
)

// Model is the result of one model.
type Model struct {
	Path        string   `json:"path"`             // relative to the zoo
	Output      string   `json:"output,omitempty"` // relative to the output folder
	Status      Status   `json:"status"`
	Error       string   `json:"error,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
	Bytes       int64    `json:"bytes"`
	OutputBytes int64    `json:"output_bytes"`           // without exports
	ExportBytes int64    `json:"export_bytes,omitempty"` // of the exports that the manifest asks for
	Before      int      `json:"before"`                 // per-channel nodes of the original
	After       int      `json:"after"`                  // per-channel nodes of the folded model
	Maps        []Map    `json:"maps,omitempty"`         // one for each of Before
	Remaining   []Left   `json:"remaining,omitempty"`    // one for each of After
	Folds       []Fold   `json:"folds,omitempty"`        // the most frequent kinds of change, with an example each
	Parity      Check    `json:"parity"`
	Algebra     Check    `json:"algebra"`
	Predictions Check    `json:"predictions"`
	Seconds     float64  `json:"seconds"`
}

// Map is one per-channel node of the original and what became of it.
type Map struct {
	Graph   string   `json:"graph,omitempty"`
	Node    string   `json:"node"`
	Verdict string   `json:"verdict"` // folded, merged, left
	Into    []string `json:"into,omitempty"`
	Code    string   `json:"code,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// Left is one per-channel node of the folded model and why it is there.
type Left struct {
	Graph  string `json:"graph,omitempty"`
	Node   string `json:"node"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// Fold is one kind of change: a part of the graph before and after folding.
type Fold struct {
	Graph  string `json:"graph,omitempty"`
	Times  int    `json:"times"` // how many parts of the graph change in this way, this one counted
	Before []Step `json:"before"`
	After  []Step `json:"after"` // empty if the part was the identity, or unused
}

// Step is a node of such a part.
type Step struct {
	Operator string `json:"operator"`
	Node     string `json:"node"`           // its name, or that of what it outputs; not printable characters of both are escaped
	From     []int  `json:"from,omitempty"` // the steps before it that it reads, from 0
	Fate     Fate   `json:"fate,omitempty"`
}

// Fate says what folding did to a node.
type Fate string

// The fates. A node without one did not change, or in nothing that is shown.
const (
	Gone Fate = "gone" // before: it is not in the folded model
	Took Fate = "took" // after: it took a per-channel node
	New  Fate = "new"  // after: it is not in the original
)

// CheckStatus is how a check ended.
type CheckStatus string

// The check statuses. A check that did not run is NotRun with a Note, never Passed.
const (
	NotRun   CheckStatus = "not run"
	Passed   CheckStatus = "passed"
	Mismatch CheckStatus = "failed"
)

// Check is the result of one of the three proofs.
type Check struct {
	Status     CheckStatus `json:"status"`
	Note       string      `json:"note,omitempty"`       // why it did not run, or where it failed
	Difference float64     `json:"difference,omitempty"` // predictions: largest difference relative to the output's largest value; algebra: largest share of the limit that was used
	Jitter     float64     `json:"jitter,omitempty"`     // predictions: the original's own response to a one-ulp jitter, in the same unit
	Decisions  int64       `json:"decisions,omitempty"`  // predictions: rows whose largest elements were compared
	Flipped    int64       `json:"flipped,omitempty"`    // predictions: rows whose largest element differs, within the noise
	Compared   int64       `json:"compared,omitempty"`   // parity: elements; algebra: regions; predictions: output elements
	Limit      float64     `json:"limit,omitempty"`      // predictions: the largest difference that passes
	Latency    *Latency    `json:"latency,omitempty"`    // predictions: nil if it was not asked for
}

// NotAsked is the note of a check that was not asked for.
const NotAsked = "not asked for"

// NotBegun is the error of a model that was not begun when the run was interrupted.
const NotBegun = "interrupted before it began"

// Proof is a check by its name.
type Proof struct {
	Name string
	Check
}

// CheckNames are the names of the three proofs, in the order in which they are told.
var CheckNames = []string{"parity", "algebra", "predictions"}

// Checks are the three proofs, in that order.
func (m Model) Checks() [3]Proof {
	return [3]Proof{{CheckNames[0], m.Parity}, {CheckNames[1], m.Algebra}, {CheckNames[2], m.Predictions}}
}

// MinLimit is the smallest Limit.
const MinLimit = 1e-5

// Limit is the largest difference of predictions that passes if no tolerance is given. The jitter is the original's own
// response to a change of its inputs by one unit in the last place. The unit is the rounding error of the type in which
// weights were rescaled; in float32 it does not matter. Both are relative.
func Limit(jitter, unit float64) float64 { return max(MinLimit, 32*unit, 4*jitter) }

// Lacks says whether the model was kept without a check that was asked for.
func (m Model) Lacks() bool {
	return m.Unchecked(m.Parity) || m.Unchecked(m.Algebra) || m.Unchecked(m.Predictions)
}

// Kept says whether the model has an output, or needs none: a failed model's numbers are no result.
func (m Model) Kept() bool { return m.Status != Failed && m.Status != Interrupted }

// Unchecked says whether the model was kept without a check that was asked for.
func (m Model) Unchecked(c Check) bool {
	return (m.Status == Folded || m.Status == Unchanged) && c.Status == NotRun && c.Note != NotAsked
}

// Latency is how long ONNX Runtime takes for a prediction before and after folding: one thread, its own optimisations on,
// the runs of both models interleaved. On Linux it is the processor time of that thread: the latency on an idle machine.
type Latency struct {
	Note   string  `json:"note,omitempty"` // why it was not measured; the other fields are 0 then
	Before float64 `json:"before"`         // median of the original's runs, in seconds
	After  float64 `json:"after"`          // median of the folded model's
	Ratio  float64 `json:"ratio"`          // median over the pairs of runs of after/before
	Low    float64 `json:"low"`            // a quarter of the pairs is below
	High   float64 `json:"high"`           // a quarter of the pairs is above
	Pairs  int     `json:"pairs"`
	Input  string  `json:"input"` // names and shapes: "x[1,3,320,320]"
}

// End sums the run up.
type End struct {
	Seconds     float64        `json:"seconds"`
	Counts      map[Status]int `json:"counts"`
	Unmatched   []string       `json:"unmatched,omitempty"` // files of the zoo that no rule matches
	Before      int            `json:"before"`
	After       int            `json:"after"`
	Bytes       int64          `json:"bytes"`
	OutputBytes int64          `json:"output_bytes"`           // without exports
	ExportBytes int64          `json:"export_bytes,omitempty"` // of the exports that the manifest asks for
	Unproven    int            `json:"unproven,omitempty"`     // models that were kept with less proof than was asked for
	PeakMemory  int64          `json:"peak_memory,omitempty"`  // bytes, of the process
	Orphans     []string       `json:"orphans,omitempty"`      // outputs, relative to the output folder, without a source model in the zoo
	Pruned      []string       `json:"pruned,omitempty"`       // those that were removed
	WouldRemove []string       `json:"would_remove,omitempty"` // dry run: those that would be
	Report      string         `json:"report,omitempty"`       // path of report.html
	Notes       []string       `json:"notes,omitempty"`        // problems that failed no model: with devices, the ledger, files that cannot be removed
	Exit        int            `json:"exit"`
}
