package torch_test

import (
	"archive/zip"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// FuzzProgram opens, folds and writes programs of any text, over the weights of a generated one.
func FuzzProgram(f *testing.F) {
	const seeds = 12
	var lists [seeds][]member
	for seed := range uint64(seeds) {
		path, _, err := zootest.Torch(seed, f.TempDir())
		if err != nil {
			f.Fatal(err)
		}
		lists[seed] = members(f, path)
		var texts [2]string
		for _, m := range lists[seed] {
			switch m.name {
			case programText:
				texts[0] = string(m.data)
			case weightsText:
				texts[1] = string(m.data)
			}
		}
		f.Add(int(seed), texts[0], texts[1])
	}
	f.Fuzz(func(t *testing.T, seed int, text, weights string) {
		list := append([]member{}, lists[uint(seed)%seeds]...)
		for k := range list {
			switch list[k].name {
			case programText:
				list[k].data = []byte(text)
			case weightsText:
				list[k].data = []byte(weights)
			}
		}
		formattest.Try(t, archive(t, list, zip.Store), format.Options{})
	})
}

// FuzzArchive opens, folds and writes files of any bytes.
func FuzzArchive(f *testing.F) {
	formattest.Fuzz(f, zootest.Torch, "program.pt2", format.Options{}, 0, 1, 2, 3, 4, 5)
}
