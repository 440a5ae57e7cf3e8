package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// ErrLocked says that another run works on the same output folder.
var ErrLocked = errors.New("locked by another run")

// stateFolder is where a run keeps its lock and its ledger, below the output folder.
const stateFolder = ".zoofold"

// lock makes this run the only one on an output folder. The lock goes with the process, however it ends.
func lock(out string) (unlock func(), err error) {
	folder := filepath.Join(out, stateFolder)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "lock")
	l := flock.New(path)
	held, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !held {
		owner, _ := os.ReadFile(path)
		who := strings.TrimSpace(string(owner))
		if who == "" {
			who = "another process"
		}
		return nil, fmt.Errorf("%s is %w: %s", out, ErrLocked, who)
	}
	note := fmt.Sprintf("process %d, since %s\n", os.Getpid(), time.Now().Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(note), 0o666); err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return func() { _ = l.Unlock() }, nil
}
