package store

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a folder with a file in it, whose syncs of everything are counted and end as said.
func counted(t *testing.T, end func(call int) error) (f *Folder, file *os.File, calls *int) {
	f, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if file, err = f.Create(filepath.Join(f.Path(), "file"), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(file.Close(), f.Close()) })
	calls = new(int)
	f.syncAll = func(*os.File) error { *calls++; return end(*calls) }
	return f, file, calls
}

func TestSync_CallsAtTheSameTimeAreOneAndBeginAfterAllOfThem(t *testing.T) {
	asked, begun, release := make(chan bool), make(chan bool), make(chan bool)
	f, file, calls := counted(t, func(call int) error {
		if call == 1 {
			begun <- true
			<-release
		}
		return nil
	})
	var all sync.WaitGroup
	all.Go(func() { _ = f.Sync(file) })
	<-begun
	for k := range 20 { // the round that is under way may not see what these wrote
		all.Go(func() {
			asked <- true
			var err error
			if k%2 == 0 {
				err = f.Sync(file)
			} else {
				err = f.SyncFolder(f.Path())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 20 {
		<-asked
	}
	if *calls != 1 {
		t.Errorf("%d syncs before the first has ended", *calls)
	}
	close(release)
	all.Wait()
	if *calls < 2 || *calls > 21 {
		t.Errorf("%d syncs for 21 calls", *calls)
	}
}

func TestSync_AfterARoundOfManyTheNextWaitsForMore(t *testing.T) {
	for _, first := range []int{crowd - 1, crowd} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan bool)
			f, file, calls := counted(t, func(int) error { <-release; return nil })
			var all sync.WaitGroup
			ask := func(times int) {
				for range times {
					all.Go(func() {
						if err := f.Sync(file); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
			}
			ask(1)
			ask(first) // the second round's
			release <- true
			synctest.Wait()
			ask(1) // the third's
			began := time.Now()
			close(release)
			synctest.Wait()
			ask(1)
			all.Wait()
			waited := time.Since(began)
			if many := first >= crowd; many != (waited >= while) || many != (*calls == 3) {
				t.Errorf("after a round of %d: %d rounds, after %v", first, *calls, waited)
			}
		})
	}
}

func TestSync_AfterAnErrorEachIsSyncedByItself(t *testing.T) {
	f, file, calls := counted(t, func(int) error { return errors.New("lost") })
	for range 3 { // the error may have been about another's file, and is said once: everybody asks for his own
		if err := errors.Join(f.Sync(file), f.SyncFolder(f.Path())); err != nil {
			t.Error(err)
		}
	}
	if *calls != 1 {
		t.Errorf("%d syncs of everything, want 1", *calls)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(file); err == nil {
		t.Error("a file that cannot be synced is said to be on disk")
	}
}

func TestSync_WhileOthersWriteMuchEachIsSyncedByItself(t *testing.T) {
	f, file, calls := counted(t, func(int) error { return nil })
	f.apart = time.Now().Add(time.Hour)
	if err := f.Sync(file); err != nil || *calls != 0 {
		t.Errorf("%v after %d syncs of everything", err, *calls)
	}
	f.apart = time.Now().Add(-time.Hour)
	if err := f.Sync(file); err != nil || *calls != 1 {
		t.Errorf("%v after %d syncs of everything, want 1", err, *calls)
	}
}
