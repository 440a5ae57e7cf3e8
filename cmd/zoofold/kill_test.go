package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// edition is one form of the zoo's models and weights, and what undisturbed folding makes of them, by path.
type edition struct{ originals, outputs map[string]string }

// siege is a zoo whose runs are killed.
type siege struct {
	*workshop
	rng      *rand.Rand
	editions [2]edition // all models have other weights in the second
	names    []string   // of all files
	zoo      map[string]string
	want     map[string]string // the outputs of the zoo as it is
	before   map[string]string // the outputs when it was last in order, or put out of order
	clock    time.Time         // of the last change of the zoo
	pace     time.Duration     // of folding a model

	kills, folded, again, swept int
}

func newSiege(t *testing.T, rng *rand.Rand, models int) *siege {
	s := &siege{workshop: newWorkshop(t, "  - match: '**/*.onnx'\n    verify: [parity]\n"), rng: rng, clock: time.Unix(1e9, 0)}
	for k := range s.editions {
		s.editions[k] = s.edition(k, models)
	}
	s.names = slices.Sorted(maps.Keys(s.editions[1].originals))
	s.zoo, s.want = maps.Clone(s.editions[1].originals), maps.Clone(s.editions[1].outputs)
	return s
}

// edition makes one and folds it. Every tenth model has its weights beside it.
func (s *siege) edition(number, models int) edition {
	s.t.Helper()
	e := edition{originals: map[string]string{}}
	for n := range models {
		kind := zootest.Kinds[n%len(zootest.Kinds)]
		data, err := kind.Bytes(uint64(1+n+number*models), 4, 2)
		if err != nil {
			s.t.Fatal(err)
		}
		folder := fmt.Sprintf("%s/%03d", kind.Name, n)
		if n%10 == 0 {
			model, weights, err := zootest.External(data, "weights.bin", 64)
			if err != nil {
				s.t.Fatal(err)
			}
			data, e.originals[folder+"/weights.bin"] = model, string(weights)
		}
		e.originals[folder+"/model.onnx"] = string(data)
	}
	for path := range e.originals {
		s.place(e, path)
	}
	started := time.Now()
	o := s.run("-verify", "none")
	s.pace = time.Since(started) / time.Duration(models)
	e.outputs = s.outputs()
	if o.exit != 0 || len(o.status) != models || len(e.outputs) != len(e.originals) {
		s.t.Fatalf("exit %d, %d models, %d outputs: %s", o.exit, len(o.status), len(e.outputs), o.stderr)
	}
	if err := os.RemoveAll(s.out()); err != nil {
		s.t.Fatal(err)
	}
	return e
}

// place puts an edition's file into the zoo.
func (s *siege) place(e edition, name string) {
	s.t.Helper()
	file := filepath.Join(s.workshop.zoo(), name)
	err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(e.originals[name]), 0o666), os.Chtimes(file, s.clock, s.clock))
	if err != nil {
		s.t.Fatal(err)
	}
}

// disturb gives the next run something to do: outputs or the ledger are lost, models have changed. It says
// whether what earlier runs did is known to the ledger.
func (s *siege) disturb() (known bool) {
	s.t.Helper()
	known = true
	var err error
	some := func(share float64, f func(name string)) {
		for _, name := range s.names {
			if s.rng.Float64() < share {
				f(name)
			}
		}
	}
	switch s.rng.IntN(5) {
	case 0:
		err = os.RemoveAll(s.out())
	case 1:
		known, err = false, os.Remove(filepath.Join(s.out(), ".zoofold", "ledger"))
	case 2:
		some(0.2, func(name string) { err = errors.Join(err, os.Remove(filepath.Join(s.out(), name))) })
	}
	if err != nil && s.kills > 0 { // before the first run there is nothing to lose
		s.t.Fatal(err)
	}
	s.clock = s.clock.Add(time.Second)
	some(s.rng.Float64(), func(name string) {
		e := s.editions[s.rng.IntN(2)]
		for _, other := range s.names {
			if path.Dir(other) == path.Dir(name) {
				s.place(e, other)
				s.zoo[other], s.want[other] = e.originals[other], e.outputs[other]
			}
		}
	})
	if !known { // without the ledger only outputs that are as they would be made now are known to be zoofold's
		for name, data := range s.outputs() {
			if data != s.want[name] {
				if err := os.Remove(filepath.Join(s.out(), name)); err != nil {
					s.t.Fatal(err)
				}
			}
		}
	}
	s.before = s.outputs()
	return known
}

// kill starts a run and kills it at a random moment; it says whether the run was still there.
func (s *siege) kill(workers int) (what string, killed bool) {
	s.t.Helper()
	pending := 5
	for name, data := range s.outputs() {
		if data != s.want[name] {
			pending++
		}
	}
	delay := time.Duration(s.rng.Int64N(int64(s.pace) * int64(pending+len(s.want)-len(s.outputs()))))
	what = fmt.Sprintf("kill %d, after %v", s.kills+1, delay)
	c := s.command("-quiet", "-j", fmt.Sprint(workers))
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(delay) // the moment is what is random: every one has to do
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	_ = c.Wait()
	if !c.ProcessState.Exited() {
		s.kills++
		return what, true
	}
	return what, false
}

// standing checks what a killed run may leave: whole outputs, old or new, fit for each other, and a ledger that can be read.
func (s *siege) standing(what string) {
	s.t.Helper()
	if !maps.Equal(s.originals(), s.zoo) {
		s.t.Fatalf("%s: the originals changed", what)
	}
	now := s.outputs()
	for name, data := range now {
		weights := name
		if path.Base(name) == "model.onnx" {
			weights = path.Dir(name) + "/weights.bin"
		}
		old, fresh := s.before, s.want
		if (data != old[name] || now[weights] != old[weights]) && (data != fresh[name] || now[weights] != fresh[weights]) {
			s.t.Fatalf("%s: %s has %d bytes that are neither the old output's nor the new one's, or do not fit its weights", what, name, len(data))
		}
	}
	if _, damaged, last := s.ledger(); damaged > 1 || damaged == 1 && !last {
		s.t.Fatalf("%s: %d lines of the ledger are damaged", what, damaged)
	}
	if data, err := os.ReadFile(filepath.Join(s.out(), "report.json")); err == nil && !json.Valid(data) {
		s.t.Fatalf("%s: report.json is not whole", what)
	}
}

// remembered are the models that the ledger knows, as they are, to have the outputs that are there; lost is how many have
// been written since disturb and are not known.
func (s *siege) remembered() (known map[string]bool, lost int) {
	entries, _, _ := s.ledger()
	now := s.outputs()
	known = map[string]bool{}
	for _, name := range s.names {
		if path.Base(name) != "model.onnx" {
			continue
		}
		e, ok := entries[name]
		for _, f := range e.Inputs {
			rel, _ := filepath.Rel(s.workshop.zoo(), f.Path)
			ok = ok && f.Hash == digest(s.zoo[filepath.ToSlash(rel)])
		}
		for _, f := range e.Outputs {
			ok = ok && f.Hash == digest(now[f.Path])
		}
		if known[name] = ok; !ok && now[name] == s.want[name] && s.before[name] != s.want[name] {
			lost++
		}
	}
	return known, lost
}

// finish runs to the end: what is missing is folded, the rest is not touched, and everything is in order then.
func (s *siege) finish(what string, workers int, known map[string]bool) {
	s.t.Helper()
	s.swept += len(s.leftovers())
	o := s.run("-j", fmt.Sprint(workers))
	if o.exit != 0 || o.stderr != "" || len(o.notes) > 0 {
		s.t.Fatalf("%s: exit %d, %s, notes %q", what, o.exit, o.stderr, o.notes)
	}
	for name, known := range known {
		switch status := o.status[name]; {
		case known && status == "unchanged":
		case !known && status == "folded":
			s.folded++
		default:
			s.t.Fatalf("%s: %s is %s; the ledger knew it: %v", what, name, status, known)
		}
	}
	if left := s.leftovers(); len(left) > 0 {
		s.t.Fatalf("%s: %q are left", what, left)
	}
	if !maps.Equal(s.outputs(), s.want) {
		s.t.Fatalf("%s: the outputs are not what they should be", what)
	}
	if entries, damaged, _ := s.ledger(); damaged > 0 || len(entries) != len(known) {
		s.t.Fatalf("%s: the ledger has %d models and %d damaged lines", what, len(entries), damaged)
	}
	if !maps.Equal(s.originals(), s.zoo) {
		s.t.Fatalf("%s: the originals changed", what)
	}
}

// line is a line of the ledger, as far as it matters here.
type line struct {
	Model, State    string
	Inputs, Outputs []struct{ Path, Hash string }
}

// ledger reads the ledger as it is described: lines of a checksum, a blank and JSON, later ones taking the place of earlier
// ones. It counts the lines that are damaged; end says whether the last one is.
func (s *siege) ledger() (entries map[string]line, damaged int, end bool) {
	s.t.Helper()
	entries = map[string]line{}
	data, err := os.ReadFile(filepath.Join(s.out(), ".zoofold", "ledger"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	for text := range strings.Lines(string(data)) {
		sum, body, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		var l line
		end = sum != fmt.Sprintf("%016x", xxh3.HashString(body)) || !strings.HasSuffix(text, "\n") || json.Unmarshal([]byte(body), &l) != nil
		switch {
		case end:
			damaged++
		case l.State == "":
			entries[l.Model] = l
		}
	}
	return entries, damaged, end
}

func digest(data string) string {
	sum := xxh3.HashString128(data).Bytes()
	return hex.EncodeToString(sum[:])
}

func TestKilled_LeavesWholeOutputsAndTheNextRunCompletes(t *testing.T) {
	t.Parallel()
	kills := oracle.Setting(t, "ZOOFOLD_KILLS", 30)
	rng, seed := chance(t)
	s := newSiege(t, rng, 200)
	again := func(what string) string {
		return fmt.Sprintf("%s; again: ZOOFOLD_SEED=%d ZOOFOLD_KILLS=%d go test -run Killed ./cmd/zoofold", what, seed, s.kills)
	}
	for s.kills < kills {
		know, before, workers := s.disturb(), s.kills, 1+rng.IntN(4)
		for more := 1 + rng.IntN(3); more > 0 && s.kills < kills; more-- {
			what, killed := s.kill(workers)
			s.standing(again(what))
			if !killed {
				break
			}
		}
		what := again(fmt.Sprintf("the run after kill %d", s.kills))
		known, lost := s.remembered()
		if s.again += lost; know && lost > workers*(s.kills-before) {
			t.Fatalf("%s: %d outputs were written and forgotten by %d workers", what, lost, workers)
		}
		s.finish(what, workers, known)
	}
	t.Logf("seed %d: %d kills over %d models; the runs after them folded %d models, %d again because the ledger had not heard of them, and swept %d folders", seed, s.kills, 200, s.folded, s.again, s.swept)
}
