package run

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/zoofold/zoofold/zoo/store"
)

// A staged file is written in any order, in any pieces, partly by the kernel and partly twice; its hash is that of its bytes.
func TestHash_OfAStagedFileIsThatOfItsContent(t *testing.T) {
	ctx, rng := context.Background(), rand.New(rand.NewPCG(3, 3))
	content := make([]byte, 1<<20)
	for k := range content {
		content[k] = byte(rng.Uint32())
	}
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, content, 0o666); err != nil {
		t.Fatal(err)
	}
	folder, err := store.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	remembered := 0
	for round := range 300 {
		s, err := newStage(disk{folder}, folder.Path(), filepath.Join(folder.Path(), "model"), 0o666)
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.Create("")
		if err != nil {
			t.Fatal(err)
		}
		size := 1 + rng.Int64N(int64(len(content)))
		var pieces [][2]int64
		for at := int64(0); at < size; {
			to := min(size, at+1+rng.Int64N(size))
			if round%2 == 0 {
				to = min(size, at+1+rng.Int64N(1+size/40))
			}
			pieces, at = append(pieces, [2]int64{at, to}), to
		}
		if round%3 > 0 {
			rng.Shuffle(len(pieces), func(a, b int) { pieces[a], pieces[b] = pieces[b], pieces[a] })
		}
		if round%5 == 0 { // a header that is mended at the end, after other bytes were in its place
			_, err = f.WriteAt(bytes.Repeat([]byte{1}, int(pieces[0][1]-pieces[0][0])), pieces[0][0])
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range pieces {
			switch rng.IntN(4) {
			case 0:
				_, err = f.WriteAt(content[p[0]:p[1]], p[0])
			case 1:
				if _, err = f.Seek(p[0], io.SeekStart); err == nil {
					_, err = f.Write(content[p[0]:p[1]])
				}
			case 2:
				err = section(f.(*stagedFile).copy, f, source, p)
			default:
				err = section(f.(*stagedFile).pass, f, source, p)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := s.open[""].hashed.whole(); ok {
			remembered++
		}
		got, err := s.hash(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(source+".want", content[:size], 0o666); err != nil {
			t.Fatal(err)
		}
		want, err := hashFile(ctx, disk{}, source+".want")
		if err != nil || got != want {
			t.Fatalf("round %d, %d bytes in %d pieces: %s, want %s %v", round, size, len(pieces), got, want, err)
		}
		if err := s.discard(); err != nil {
			t.Fatal(err)
		}
	}
	if remembered < 100 {
		t.Errorf("%d of 300 files were hashed while they were written", remembered)
	}
}

// section copies a range of a file, as Splice does, in one of the ways of ReadFrom.
func section(way func(io.Reader) (int64, error), to io.Seeker, source string, p [2]int64) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := to.Seek(p[0], io.SeekStart); err != nil {
		return err
	}
	if _, err := from.Seek(p[0], io.SeekStart); err != nil {
		return err
	}
	_, err = way(io.LimitReader(from, p[1]-p[0]))
	return err
}

// The ledgers of earlier versions have hashes that were made in one piece.
func TestHash_IsXXH3(t *testing.T) {
	for text, want := range map[string]string{"": "99aa06d3014798d86001c324468d497f", "a": "a96faf705af16834e6c632b61e964e1f"} { // XXH128's own
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := hashFile(context.Background(), disk{}, path)
		if err != nil || got != want {
			t.Errorf("%q: %s, want %s %v", text, got, want, err)
		}
	}
	if _, err := hashFile(context.Background(), disk{}, t.TempDir()); !errors.Is(err, store.ErrNotRegular) {
		t.Error(err)
	}
}

// An input is read in any order, in any pieces, twice or not at all; its hash is that of its bytes.
func TestHash_OfAnInputIsThatOfItsContentInAnyReadOrder(t *testing.T) {
	ctx, rng := context.Background(), rand.New(rand.NewPCG(4, 4))
	content := make([]byte, 1<<20)
	for k := range content {
		content[k] = byte(rng.Uint32())
	}
	path := filepath.Join(t.TempDir(), "input")
	for round := range 300 {
		size := 1 + rng.Int64N(int64(len(content)))
		if err := os.WriteFile(path, content[:size], 0o666); err != nil {
			t.Fatal(err)
		}
		want, err := hashFile(ctx, disk{}, path)
		if err != nil {
			t.Fatal(err)
		}
		l := &listener{}
		l.hashes([]string{path})
		step := int64(1 + rng.IntN(200_000))
		for at := int64(0); at < size; at += step {
			from := at
			switch round % 4 {
			case 1: // neighbours change places
				if from = at ^ 1; from >= size {
					from = at
				}
			case 2: // anywhere
				from = rng.Int64N(size)
			case 3: // with holes of all sizes
				from = min(at+rng.Int64N(step), size-1)
			}
			to := min(size, from+1+rng.Int64N(2*step))
			l.input(path).read(bytes.NewReader(content[:size]), content[from:to], from)
		}
		if l.input(path).until == 0 {
			continue // it was not begun
		}
		if got, err := l.hash(ctx, path, size); err != nil || got != want {
			t.Fatalf("round %d, %d bytes: %s, want %s %v", round, size, got, want, err)
		}
		if _, err := l.hash(ctx, path, size+1); err == nil {
			t.Fatalf("round %d: an input that has become shorter has a hash", round)
		}
		if _, err := l.hash(ctx, path, size-1); size > 1 && err == nil {
			t.Fatalf("round %d: an input that has become longer has a hash", round)
		}
	}
}

// BenchmarkHash is what a content costs to be hashed: read back from a file, and from memory as it passes.
func BenchmarkHash(b *testing.B) {
	const size, step = 64 << 20, 512 << 10
	path := filepath.Join(b.TempDir(), "file")
	content := bytes.Repeat([]byte{1, 2, 3, 4}, size/4)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		b.Fatal(err)
	}
	b.Run("file", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if _, err := hashFile(context.Background(), disk{}, path); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("as it passes", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			h := &hashed{}
			for at := 0; at < size; at += step {
				h.wrote(nil, content[:step], int64(at))
			}
			if _, ok := h.whole(); !ok {
				b.Fatal("the hash is not known")
			}
		}
	})
}
