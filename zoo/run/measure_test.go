package run

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// starts keeps how a run began, and ended.
type starts struct {
	sink
	start *outcome.Start
}

func (s starts) Start(e outcome.Start) { *s.start = e }

func TestStart_SaysTheBytesOfAllFilesOfAModel(t *testing.T) {
	for _, workers := range []int{1, 3} {
		s := newScene(t, 0)
		s.pair(1, 2)
		s.put("zoo/plain.onnx", plain(t, 3))
		s.put("zoo/damaged.onnx", []byte("no model"))
		external, _, err := zootest.External(plain(t, 4), "missing.bin", 64)
		if err != nil {
			t.Fatal(err)
		}
		s.put("zoo/missing.onnx", external)
		s.settled()
		want := int64(0)
		for name, times := range map[string]int64{"encoder.onnx": 1, "decoder.onnx": 1, "data/w.bin": 2, "plain.onnx": 1, "damaged.onnx": 1, "missing.onnx": 1} {
			info, err := os.Stat(filepath.Join(s.zoo(), name))
			if err != nil {
				t.Fatal(err)
			}
			want += times * info.Size()
		}
		for _, night := range []string{"first", "second"} {
			var begun outcome.Start
			r, err := s.run(context.Background(), func(o *Options) {
				o.Workers = workers
				o.Sink = starts{o.Sink.(sink), &begun}
			})
			if err != nil || begun.Bytes != want {
				t.Errorf("%s night, %d workers: %d bytes of %d, %v", night, workers, begun.Bytes, want, err)
			}
			if r.Bytes != want || len(r.Unmatched) != 0 {
				t.Errorf("%s night: it ended with %d bytes of %d and %q unmatched", night, r.Bytes, want, r.Unmatched)
			}
		}
	}
}
